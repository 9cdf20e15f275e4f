"""Compression by colourisation: luma by a standard coder, chroma painted by a pix2pix generator.

No paper: the construction is this library's, of Isola et al. 2017's parts. An image is luma, which
a standard coder keeps (PNG or WebP without loss for stills; H.264 or FFV1 without loss, or AV1, for
clips), and chroma, of which a file has little or nothing: a mean for each cell of `cell` pixels, of
every `keys`-th frame of a clip. A U-Net paints chroma from luma and from what chroma is known: the
cells of a still or of a key frame, else the chroma painted in the frame before. It learns from the
L1 distance and from a PatchGAN that judges luma and chroma together.

YCbCr is that of BT.601 in full range, 4:4:4 (`jaxgan.colour`), in whole numbers. What is decoded
has the coder's luma exactly: colours that no RGB has are brought towards grey, and green is rounded
to what gives that luma. Frames are painted in their order while it learns, too, each beside the
painted frame before it, through which no gradient goes. Networks follow `jaxgan.systems.pix2pix`,
but decoding has no dropout, so that a file has one image.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxgan import colour, losses
from jaxgan.backend import scan
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Coded, Field, FromData, Image, Padded, PaddedClip
from jaxgan.nn.patchgan import smallest_side
from jaxgan.nn.unet import UNet, halvings
from jaxgan.ranges import Positive, Weight, Within
from jaxgan.system import Examples, Metrics, Stage, Use
from jaxgan.systems.common.generative import duel, mean_logits
from jaxgan.systems.common.translation import Translation
from jaxgan.view import View

STILLS = ("png", "webp")
FILMS = ("h264", "ffv1", "av1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Colourise(Translation):
    """A codec that paints the colours of images, or of clips, for square frames of 2^n pixels.

    It learns from such; it codes any size, as images of multiples of these.
    """

    coder: Literal["png", "webp", "h264", "ffv1", "av1"] = "png"
    """Of luma: png or webp for images, h264 or ffv1 (without loss) or av1 for clips."""
    cell: Annotated[int, Within(0, 64)] = 0
    """Pixels a side whose mean chroma is in the file, of images and of key frames; 0: none is."""
    levels: Annotated[int, Within(2, 256)] = 32
    """Values that such a mean may have, each of Cb and Cr."""
    keys: Positive = 16
    """Frames from one key frame to the next; the first is one."""
    dropout: Annotated[float, Within(0, 1, below=True)] = 0.5
    """Share of the numbers that the generator's dropout zeroes while it trains."""
    l1: Weight = 100.0
    """Weight of the L1 distance in the generator's loss."""

    def __post_init__(self) -> None:
        if len(self.shape) not in (3, 4) or self.shape[-1] != 3:
            raise UserError(
                f"shape is {self.shape}: give height, width and 3 channels, or frames before them"
            )
        halvings(self.frame)
        if self.coder not in (known := FILMS if self.moves else STILLS):
            what = "clips" if self.moves else "images"
            raise UserError(f"coder is {self.coder!r}: of {what} give one of {', '.join(known)}")
        if self.cell & (self.cell - 1) or self.cell > self.frame[0]:
            raise UserError(f"cell is {self.cell}: give 0, 1, 2, 4, ... up to {self.frame[0]}")
        least = smallest_side(self.patch_halvings, self.patch_kernel)
        if self.frame[0] < least:
            raise UserError(
                f"shape {self.shape}: a discriminator with patch_halvings {self.patch_halvings} "
                f"judges frames of at least {least} pixels a side; take fewer"
            )

    @property
    def moves(self) -> bool:
        """Whether it is for clips."""
        return len(self.shape) == 4

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of an image, or of a frame."""
        return self.shape[-3:]

    @property
    def hinted(self) -> bool:
        """Whether the generator is given chroma that is known already."""
        return bool(self.cell) or self.moves

    @property
    def item(self) -> str:
        """What the data call what it compresses."""
        return "clip" if self.moves else "image"

    def data(self) -> tuple[dict[str, Field], ...]:
        """Images, or clips."""
        return ({self.item: self._field()},)

    def _field(self) -> Image:
        return Clip(self.shape) if self.moves else Image(self.shape)

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        depth = halvings(self.frame)
        return {
            "generator": UNet(2, self.width, self.dropout, dtype=dtype, depth=depth),
            "discriminator": self.patchgan(affine=True),
        }

    def inputs(self) -> dict[str, tuple]:
        """Luma, and chroma beside it that is known; luma and chroma."""
        size = self.frame[:2]
        return {
            "generator": (jnp.zeros((1, *size, 3 if self.hinted else 1)),),
            "discriminator": (jnp.zeros((1, *size, 3)),),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator, then the generator."""
        adam = self.adam()
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam,
                generator_optimizer=adam,
            ),
        )

    # --- luma, chroma, and what a file has of it

    def _frames(self, x: Float[Array, "b ..."]) -> Float[Array, "b t h w c"]:
        return x if self.moves else x[:, None]

    def parts(
        self, x: Float[Array, "b t h w 3"]
    ) -> tuple[Int[Array, "b t h w 1"], Int[Array, "b t h w 2"]]:
        """Luma and chroma, 0 to 255, of frames in [-1, 1]."""
        pixels = jnp.round((x + 1) * 127.5).astype(jnp.int32)
        return colour.luma(pixels), colour.chroma(pixels)

    def hints(self, found: Int[Array, "b t h w 2"]) -> Int[Array, "b k y x 2"]:
        """Levels of the mean chroma of cells, of key frames; whole numbers."""
        keyed = found[:, :: self.keys]
        b, k, h, w, _ = keyed.shape
        split = keyed.reshape(b, k, h // self.cell, self.cell, w // self.cell, self.cell, 2)
        total, most = split.sum((3, 5)), 255 * self.cell**2
        return (2 * total * (self.levels - 1) + most) // (2 * most)

    def spread(self, hints: Array) -> Float[Array, "... h w 2"]:
        """What levels of cells say of each pixel, as the generator is given it."""
        found = hints.astype(jnp.float32) * (255 / (self.levels - 1))
        return jnp.repeat(jnp.repeat(scaled(found), self.cell, -3), self.cell, -2)

    def paint(
        self,
        view: View,
        luma: Int[Array, "b h w 1"],
        known: Float[Array, "b h w 2"],
        noise: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b h w 2"]:
        """Chroma of a frame in [-1, 1], of luma and of chroma that is known."""
        given = luma / 127.5 - 1
        if self.hinted:
            given = jnp.concatenate([given, known], -1)
        return view("generator", given, noise)

    def painted(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, "n h w 3"], Float[Array, "n h w 3"]]:
        """Frames as they are and as they are painted, luma and chroma in [-1, 1]."""
        luma, found = self.parts(self._frames(batch[self.item]))
        hints = self.spread(self.hints(found)) if self.cell else None
        known, made = jnp.zeros(found[:, 0].shape), []
        for place in range(luma.shape[1]):
            if hints is not None and place % self.keys == 0:
                known = hints[:, place // self.keys]
            noise = view.keys(jax.random.fold_in(key, place), len(luma))
            made.append(self.paint(view, luma[:, place], known, noise))
            known = jax.lax.stop_gradient(made[-1])
        bright = luma / 127.5 - 1
        pairs = (scaled(found), jnp.stack(made, 1))
        real, fake = (
            jnp.concatenate([bright, each], -1).reshape(-1, *self.frame) for each in pairs
        )
        return real, fake

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Half the binary cross entropy, a mean over patches of all frames."""
        pairs = ((view.augment(x),) for x in self.painted(view, batch, key))
        real, fake = view.together("discriminator", *pairs)
        loss = losses.non_saturating.discriminator(real, fake) / 2
        return loss, mean_logits(real, fake)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of real frames, and L1 of chroma."""
        real, fake = self.painted(view, batch, key)
        verdict = losses.non_saturating.generator(view("discriminator", view.augment(fake)))
        l1 = jnp.abs(real - fake)[..., 1:].mean()
        return verdict + self.l1 * l1, {"adversarial": verdict, "l1": l1}

    # --- what it can do

    def uses(self) -> dict[str, Use]:
        """Reconstructs images or clips; and the parts of a codec."""
        start = (None,) * (len(self.shape) - 1)
        multiple = self.frame[0]
        kind = PaddedClip if self.moves else Padded
        any_size = kind((*start, 3), multiple=multiple)
        holds: dict[str, Field] = {"luma": Coded((*start, 1), coder=self.coder, cell=1)}
        if self.cell:
            holds["chroma"] = Coded((*start, 2), levels=self.levels, cell=self.cell)
        return {
            "reconstruct": Use(
                call=self.reconstruct,
                takes={self.item: FromData(column=self.item)},
                gives={self.item: self._field()},
                summary=f"makes of {self.item}s what is left when they have been compressed",
            ),
            "encode": Use(
                call=self.encode,
                takes={self.item: any_size},
                gives=holds,
                summary=f"makes luma of {self.item}s, and what chroma files hold",
            ),
            "decode": Use(
                call=self.decode,
                takes=holds,
                gives={self.item: any_size},
                summary=f"paints {self.item}s of luma",
            ),
        }

    def encode(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Luma, 0 to 255, and levels of chroma of cells."""
        del view, keys, options
        luma, found = self.parts(self._frames(taken[self.item]))
        made = {"luma": luma}
        if self.cell:
            made["chroma"] = self.hints(found)
        made = {name: x.astype(jnp.float32) for name, x in made.items()}
        return made if self.moves else {name: x[:, 0] for name, x in made.items()}

    def decode(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Images of luma and levels; a clip's frames one after the other."""
        del keys, options
        luma = self._frames(taken["luma"]).astype(jnp.int32)
        hints = self.spread(self._frames(taken["chroma"])) if self.cell else None

        def next_frame(known: Array, place: Array) -> tuple[Array, Array]:
            if hints is not None:
                known = jnp.where(place % self.keys == 0, hints[:, place // self.keys], known)
            made = self.paint(view, luma[:, place], known)
            return made, made

        start = jnp.zeros((*luma[:, 0].shape[:-1], 2))
        if self.moves:
            _, made = scan(next_frame, start, jnp.arange(luma.shape[1]))
            made = jnp.moveaxis(made, 0, 1)
        else:
            made = next_frame(start, jnp.zeros((), jnp.int32))[1][:, None]
        pixels = colour.rgb_of(luma, made * 127.5 + 128).astype(jnp.float32) / 127.5 - 1
        return {self.item: pixels if self.moves else pixels[:, 0]}

    def reconstruct(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Images or clips, coded and decoded; luma as it is, whatever the coder of files."""
        return self.decode(view, self.encode(view, taken, keys, options), keys, options)


def scaled(found: Array) -> Float[Array, "*s"]:
    """Chroma, 128 where there is no colour, about [-1, 1]."""
    return (found - 128) / 127.5
