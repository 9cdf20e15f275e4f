"""MoCoGAN: clips whose content stays and whose motion goes on.

Tulyakov, Liu, Yang, Kautz, "MoCoGAN: Decomposing Motion and Content for Video Generation", CVPR
2018. A frame is made of a content, the same in all frames of a clip, of a category, where there are
any, and of a motion code, which a recurrent network makes of noise from frame to frame. One
discriminator judges single frames, the other whole clips; the latter also names categories.

Follows the authors' code: two convolutional discriminators in two forms each, without biases;
noise before their convolutions, where `noise` is above 0, in evaluation, too (not here); the
category joins the frame's code, not the recurrent network's input; weight decay is that of
PyTorch's Adam. The turns are the frames' discriminator, the clips', the generator, each with fakes
of its own. Networks have as many layers as halve the frames to 4 pixels; the published one has 64.

Differences: a fake frame is one of a clip of its own, where the code draws 2nT frames of 2n clips
and keeps n: as good as independent, and 2T times cheaper. Both discriminators see the same clips of
the data, of which the frames' one is shown a random frame each; the code draws them apart, in
batches of two sizes. Without labels, what the clips' discriminator recognises are the categories of
its fakes, as in InfoGAN; the code then trains nothing to recognise them. Three settings are not the
paper's, for trainings of minutes: categories that are named of frames, too (`named`), more frames
than clips (`judged`), and spectral norm in the clips' discriminator (`spectral`).
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Field, FromData, Label, Normal, Points
from jaxgan.nn.initializers import TORCH_TRANSPOSED
from jaxgan.nn.layers import ClipConv, Conv, ConvTranspose
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.recurrent import GRUCell
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Shape, Weight
from jaxgan.system import Decay, Examples, Metrics, Player, Stage, System, Use
from jaxgan.systems.common.generative import mean_logits
from jaxgan.view import View

SMALLEST = 4
"""Side of the smallest map, in pixels."""
TAPS = 4
"""Pixels a side, and frames, that kernels span."""

Form = Literal["whole", "patch"]

Judged = tuple[Float[Array, "b ..."], Float[Array, "b k"] | None]
"""Logits of reality, and of categories."""


class Motion(nn.Module):
    """Noise to motion codes, each from the one before.

    Attributes:
        features: numbers of a code.
    """

    features: int

    @nn.compact
    def __call__(
        self, start: Float[Array, "b m"], noise: Float[Array, "b t m"]
    ) -> Float[Array, "b t m"]:
        """The codes of all frames, of the state before the first and noise for each."""
        cell, state, codes = GRUCell(self.features, name="cell"), start, []
        for frame in range(noise.shape[1]):
            state = cell(noise[:, frame], state)
            codes.append(state)
        return jnp.stack(codes, 1)


class Generator(nn.Module):
    """Content, motion and category to frames in [-1, 1].

    Attributes:
        width: channels before the last layer; each layer before has twice as many.
        motion: numbers of a motion code.
        classes: categories; 0: there are none.
        doublings: of the resolution, from 4 pixels.
        channels: of a frame.
        dtype: compute type of the convolutions.
    """

    width: int
    motion: int
    classes: int
    doublings: int
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        content: Float[Array, "b k"],
        start: Float[Array, "b m"],
        noise: Float[Array, "b t m"],
        category: Int[Array, " b"] | None = None,
        frame: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b ..."]:
        """Clips [b, t, h, w, c], or of each clip one frame [b, h, w, c]."""
        codes = Motion(self.motion, name="motion")(start, noise)
        if frame is not None:
            codes = codes[jnp.arange(len(frame)), frame][:, None]
        still = [content]
        if self.classes:
            still.append(jax.nn.one_hot(category, self.classes))
        count = codes.shape[1]
        same = [jnp.broadcast_to(x[:, None], (len(x), count, x.shape[-1])) for x in still]
        h = jnp.concatenate([*same, codes], -1).reshape(len(content) * count, 1, 1, -1)
        for layer in range(self.doublings + 1):
            last = layer == self.doublings
            features = self.channels if last else self.width * 2 ** (self.doublings - 1 - layer)
            h = ConvTranspose(
                features,
                stride=2 if layer else 1,
                padding=1 if layer else 0,
                use_bias=False,
                initializer=TORCH_TRANSPOSED,
                dtype=self.dtype,
                name=f"conv{layer + 1}",
            )(h)
            if not last:
                h = nn.relu(BatchNorm(name=f"norm{layer + 1}")(h, train=train))
        h = jnp.tanh(h.astype(jnp.float32))
        return h if frame is not None else h.reshape(len(content), count, *h.shape[1:])


class Discriminator(nn.Module):
    """Frames, or clips, to logits, and clips to logits of categories.

    Attributes:
        form: "whole": convolutions down to 4 pixels, then one kernel over all of it; "patch": one
            convolution less, and the last is as the others, so that each of 4x4 places judges a
            patch.
        width: channels after the first layer; each layer after has twice as many.
        halvings: of the resolution, to 4 pixels.
        clips: whether it judges clips; else single frames.
        classes: categories that it names; 0: none.
        noise: deviation of what is added before convolutions, where there are keys.
        spectral: whether kernels have spectral norm; otherwise maps have batch norm.
        dtype: compute type.
    """

    form: Form
    width: int
    halvings: int
    clips: bool
    classes: int = 0
    noise: float = 0.0
    spectral: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], keys: Key[Array, " b"] | None = None, *, train: bool
    ) -> tuple[Float[Array, "b ..."], Float[Array, "b k"] | None]:
        """[b, h, w, c] or [b, t, h, w, c] to logits [b, ...] of places, and [b, classes]."""
        kind = ClipConv if self.clips else Conv
        how: dict[str, Any] = {"reparam": SpectralNorm} if self.spectral else {"use_bias": False}
        conv = partial(kind, kernel_size=TAPS, dtype=self.dtype, **how)
        patch = self.form == "patch"
        layers = self.halvings - patch
        for layer in range(layers):
            # The authors' patches of clips, alone, are judged without noise before the last layer.
            x = _noisy(x, keys, layer, self.noise)
            name = f"conv{layer + 1}"
            x = conv(self.width * 2**layer, stride=2, padding=1, name=name)(x)
            if layer and not self.spectral:
                x = BatchNorm(name=f"norm{layer + 1}")(x, train=train)
            x = nn.leaky_relu(x, 0.2)
        if patch and not self.clips:
            x = _noisy(x, keys, layers, self.noise)
        stride, padding = (2, 1) if patch else (1, 0)
        outputs = 1 + self.classes
        x = conv(outputs, stride=stride, padding=padding, name=f"conv{layers + 1}")(x)
        x = x.astype(jnp.float32)
        # A clip of the least length has one place.
        named = x[..., 1:].mean(range(1, x.ndim - 1)) if self.classes else None
        return x[..., 0], named


def _noisy(
    x: Float[Array, "b ..."], keys: Key[Array, " b"] | None, layer: int, deviation: float
) -> Float[Array, "b ..."]:
    """Normal noise on top, another for each layer."""
    if keys is None or not deviation:
        return x

    def draw(key: PRNGKeyArray) -> Array:
        return jax.random.normal(jax.random.fold_in(key, layer), x.shape[1:], x.dtype)

    return x + deviation * jax.vmap(draw)(keys)


@dataclasses.dataclass(frozen=True)
class Length:
    """How long clips are."""

    frames: Count = 0
    """Frames of a clip; 0: as many as the system learned from. Beyond them motion may repeat."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCoGAN(System):
    """Motion and content decomposed, for squares of 8, 16, 32, ... pixels."""

    shape: Shape = (16, 64, 64, 3)
    """Frames, height, width and channels of a clip."""
    content: Positive = 50
    """Numbers of the content, the same in all frames."""
    motion: Positive = 10
    """Numbers of a motion code, and of the noise that each is made of."""
    classes: Count = 0
    """Categories; 0: none."""
    labelled: bool = False
    """Whether categories are the data's labels; otherwise they are found, as in InfoGAN."""
    information: Weight = 1.0
    """Weight of the cross entropy of categories in the generator's loss, which is to make what the
    discriminator recognises; 0 without labels: nobody recognises any."""
    frames: Form = "patch"
    """What judges frames: whole ones, or patches."""
    clips: Form = "whole"
    """What judges clips; patches name no categories."""
    named: Literal["clips", "both"] = "clips"
    """What categories are named of: clips, or frames, too."""
    judged: Positive = 1
    """Frames that are judged for each clip of a batch; fake ones are of a clip of its own each."""
    noise: Weight = 0.0
    """Deviation of the noise before the discriminators' convolutions."""
    spectral: bool = False
    """Whether the discriminator of clips has spectral norm in place of batch norm."""
    width: Positive = 64
    """Channels of the generator's layer next to the frame; the layers before have more."""
    discriminator_width: Positive = 64
    """Channels of the discriminators' first layers."""
    frame_width: Count = 0
    """Channels of the first layer of the discriminator of frames; 0: as many."""
    learning_rate: Rate = 2e-4
    """Adam's step size."""
    discriminator_rate: Weight = 0.0
    """Adam's step size for discriminators; 0: the same."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""
    weight_decay: Weight = 1e-5
    """Of all parameters, added to their gradients."""
    ema_decay: DecayRate = 0.0
    """What the average of the generator's weights keeps in an iteration; 0: no average."""

    def __post_init__(self) -> None:
        shown = "x".join(map(str, self.shape))
        if len(self.shape) != 4 or self.shape[1] != self.shape[2] or not self._halvings:
            raise UserError(
                f"clips are {shown}: give frames x height x width x channels, with equal height "
                "and width of 8, 16, 32, ... pixels"
            )
        layers = self._halvings + (self.clips == "whole")
        if self.shape[0] < (least := (TAPS - 1) * layers + 1):
            raise UserError(
                f"clips are {shown}, {self.shape[0]} frames: the {layers} convolutions of the "
                f"discriminator of clips need {least} at least"
            )
        if self.labelled and not self.classes:
            raise UserError(
                "labelled is true, but classes is 0: say how many the data have, or set it to false"
            )
        if self._recognises and self.clips == "patch":
            raise UserError(
                'clips is "patch", which names no categories: set it to "whole", or classes to 0'
            )
        if self.named == "both" and not (self._recognises and self.frames == "whole"):
            raise UserError(
                'named is "both", so the discriminator of frames names categories: set it to '
                '"clips", or frames to "whole" and classes above 0'
            )

    @property
    def _halvings(self) -> int:
        """From the frames' size to 4 pixels; 0 where these do not lead there."""
        count = (self.shape[1] // SMALLEST).bit_length() - 1
        return count if count > 0 and SMALLEST << count == self.shape[1] else 0

    @property
    def _recognises(self) -> bool:
        """Whether the discriminator of clips names categories."""
        return bool(self.classes) and (self.labelled or self.information > 0)

    def data(self) -> tuple[dict[str, Field], ...]:
        """Clips, with labels where these are the categories."""
        return ({"clip": Clip(self.shape), **(self._category() if self.labelled else {})},)

    def _category(self) -> dict[str, Field]:
        name = "label" if self.labelled else "category"
        return {name: Label(classes=self.classes)} if self.classes else {}

    def latents(self, frames: int = 0) -> dict[str, Field]:
        """What a clip of so many frames (0: the system's) is made of."""
        return {
            "content": Normal((self.content,)),
            "start": Normal((self.motion,)),
            "motion": Normal((frames or self.shape[0], self.motion)),
            **self._category(),
        }

    def networks(self) -> dict[str, nn.Module]:
        """The generator and two discriminators."""
        dtype = jnp.dtype(self.dtype)
        judge = partial(Discriminator, halvings=self._halvings, noise=self.noise, dtype=dtype)
        named = self.classes if self._recognises else 0
        return {
            "generator": Generator(
                width=self.width,
                motion=self.motion,
                classes=self.classes,
                doublings=self._halvings,
                channels=self.shape[-1],
                dtype=dtype,
            ),
            "frame_discriminator": judge(
                form=self.frames,
                width=self.frame_width or self.discriminator_width,
                clips=False,
                classes=named if self.named == "both" else 0,
            ),
            "clip_discriminator": judge(
                form=self.clips,
                width=self.discriminator_width,
                clips=True,
                classes=named,
                spectral=self.spectral,
            ),
        }

    def inputs(self) -> dict[str, tuple]:
        """Latents; a frame; a clip."""
        return {
            "generator": tuple(field.zeros() for field in self.latents().values()),
            "frame_discriminator": (jnp.zeros((1, *self.shape[1:])),),
            "clip_discriminator": (jnp.zeros((1, *self.shape)),),
        }

    def uses(self) -> dict[str, Use]:
        """Draws clips, and says what the discriminators make of them."""

        def judge(
            view: View, taken: dict[str, Array], keys: Array, options: None
        ) -> dict[str, Array]:
            clips = taken["clip"]
            logits, _ = view("clip_discriminator", clips)
            frames, _ = view("frame_discriminator", clips.reshape(-1, *clips.shape[2:]))
            return {
                "logit": logits.reshape(len(logits), -1).mean(1),
                "frames": frames.reshape(*clips.shape[:2], -1).mean(2),
            }

        return {
            "generate": Use(
                call=lambda view, taken, keys, options: {"clip": self.make(view, taken)},
                takes=lambda options, resolution: self.latents(options.frames),
                gives=lambda options, resolution: {
                    "clip": Clip((options.frames or self.shape[0], *self.shape[1:]))
                },
                options=Length(),
                summary="draws clips",
            ),
            "judge": Use(
                call=judge,
                takes={"clip": FromData(column="clip")},
                gives={"logit": Points(()), "frames": Points((self.shape[0],))},
                summary="how real the discriminators find a clip, and each of its frames: logits",
            ),
        }

    def ema(self) -> Mapping[str, Decay]:
        """The generator's average, where one is kept."""
        return {"generator": self.ema_decay} if self.ema_decay else {}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b ..."]:
        """Clips [b, t, h, w, c] of latents; of those that have a "frame", that frame alone."""
        category = taken.get("label", taken.get("category"))
        given = (taken["content"], taken["start"], taken["motion"], category, taken.get("frame"))
        return view("generator", *given)

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator of frames, that of clips, the generator."""
        both = ("frame_discriminator", "clip_discriminator")

        def player(name: str, loss: str, **options: object) -> Player:
            rate = (self.discriminator_rate if name in both else 0) or self.learning_rate
            decay = optax.add_decayed_weights(self.weight_decay)
            return Player(
                name=name,
                owns=(name,),
                loss=getattr(self, loss),
                optimizer=optax.chain(decay, optax.adam(rate, *self.betas)),
                **options,  # type: ignore[arg-type]
            )

        return (
            Stage(
                players=(
                    player(both[0], "frame_loss", writes=(both[0], "generator")),
                    player(both[1], "clip_loss", reuse=True, writes=(both[1], "generator")),
                    player("generator", "generator_loss", reuse=True, writes=("generator", *both)),
                )
            ),
        )

    def _judged(
        self, view: View, network: str, items: Float[Array, "b ..."], key: PRNGKeyArray
    ) -> Judged:
        """What a discriminator says of real or made items, with noise of the key."""
        keys = view.keys(key, len(items)) if self.noise else None
        return view(network, view.augment(items), keys)

    def fakes(
        self, view: View, key: PRNGKeyArray, count: int, *, single: bool = False
    ) -> tuple[Float[Array, "b ..."], dict[str, Array]]:
        """Clips for a batch, or one frame of each, and what was drawn for them."""
        frame = {"frame": Label(classes=self.shape[0])} if single else {}
        drawn = view.draw(self.latents() | frame, key, count)
        return self.make(view, drawn), drawn

    def _discriminated(
        self,
        real: Judged,
        fake: Judged,
        labels: Int[Array, " b"] | None,
        drawn: Mapping[str, Array],
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy; and of categories, of labels of real items or else of fakes."""
        loss = losses.non_saturating.discriminator(real[0], fake[0])
        metrics = mean_logits(real[0], fake[0])
        if labels is not None and real[1] is not None:
            wrong = _cross_entropy(real[1], labels)
        elif fake[1] is not None:
            wrong = self.information * _cross_entropy(fake[1], drawn["category"])
        else:
            return loss, metrics
        return loss + wrong, metrics | {"category_loss": wrong}

    def frame_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy of frames (the first two terms of equation 7 of the paper)."""
        clips, keys = batch["clip"], jax.random.split(key, 4)
        rows = jnp.repeat(jnp.arange(len(clips)), self.judged)
        frame = view.draw({"frame": Label(classes=self.shape[0])}, keys[0], len(rows))["frame"]
        fake, drawn = self.fakes(view, keys[1], len(rows), single=True)
        name = "frame_discriminator"
        real = self._judged(view, name, clips[rows, frame], keys[2])
        labels = batch["label"][rows] if self.labelled else None
        return self._discriminated(real, self._judged(view, name, fake, keys[3]), labels, drawn)

    def clip_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy of clips, and the cross entropy of categories."""
        clips, keys = batch["clip"], jax.random.split(key, 3)
        fake, drawn = self.fakes(view, keys[0], len(clips))
        name = "clip_discriminator"
        real = self._judged(view, name, clips, keys[1])
        labels = batch.get("label")
        return self._discriminated(real, self._judged(view, name, fake, keys[2]), labels, drawn)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Both discriminators' binary cross entropies, with the labels of real ones; categories."""
        count, keys = len(batch["clip"]), jax.random.split(key, 4)
        frames, of_frames = self.fakes(view, keys[0], count * self.judged, single=True)
        frame, frame_named = self._judged(view, "frame_discriminator", frames, keys[1])
        clips, of_clips = self.fakes(view, keys[2], count)
        clip, clip_named = self._judged(view, "clip_discriminator", clips, keys[3])
        parts = {
            "frame_loss": losses.non_saturating.generator(frame),
            "clip_loss": losses.non_saturating.generator(clip),
        }
        for name, named, drawn in (
            ("category_loss", clip_named, of_clips),
            ("frame_category_loss", frame_named, of_frames),
        ):
            if named is not None and self.information:
                category = drawn["label" if self.labelled else "category"]
                parts[name] = self.information * _cross_entropy(named, category)
        return sum(parts.values(), jnp.float32(0)), parts


def _cross_entropy(logits: Float[Array, "b k"], category: Int[Array, " b"]) -> Float[Array, ""]:
    """Of the categories, in nats, on average."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, category).mean()
