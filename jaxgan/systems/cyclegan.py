"""CycleGAN: from one kind of images to another and back, learned without pairs.

Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017. Two generators and two discriminators with least-squares losses. Where no pair
says what an output should be, the way there and back must end at the start (cycle loss), and an
image of the wanted kind must stay as it is (identity loss, section 5.2). The discriminators see
fakes from a pool of the last fifty, so that they do not chase the newest ones only.

"input" of a batch is kind A, "image" kind B, and neither belongs to the other. Follows the authors'
PyTorch code: the generators move first, in one Adam, then the discriminators, in another, on the
fakes that the generators have just been judged by; the squared errors have a factor 1/2 for the
discriminators and none for the generators. The pools are in `State.memory`. One thing differs: the
step size falls from iteration to iteration to 0, in the code once an epoch, in n epochs by 1/(n +
1) of it each.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree, UInt32

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Image
from jaxgan.nn.translator import Translator
from jaxgan.ranges import Count, Few, Weight, Within
from jaxgan.system import Decay, Examples, Metrics, Player, Stage, Use
from jaxgan.systems.common.translation import Translation
from jaxgan.view import View

Pool = dict[str, Array]
"""images [size, ...], and their count, an int32 scalar."""

GENERATORS = ("generator_ab", "generator_ba")
DISCRIMINATORS = ("discriminator_a", "discriminator_b")


def empty_pool(size: int, shape: tuple[int, ...]) -> Pool:
    """A pool without images, with room for `size`."""
    return {"images": jnp.zeros((size, *shape)), "count": jnp.zeros((), jnp.int32)}


def draw_words(keys: Key[Array, " b"]) -> UInt32[Array, "b 2"]:
    """What `exchange` decides by, for each image of its key: a coin and a place."""
    return jax.vmap(lambda key: jax.random.bits(key, (2,), jnp.uint32))(keys)


def exchange(
    pool: Pool, images: Float[Array, "b ..."], words: UInt32[Array, "b 2"]
) -> tuple[Pool, Float[Array, "b ..."]]:
    """Shows a pool new images, one after the other; the pool after it, and what it gives back.

    While there is room, an image is kept and given back. Then, with probability 1/2, it is given
    back and not kept; otherwise it takes the place of a random one, which is given back
    (Shrivastava et al. 2017, section 2.3, in the form of CycleGAN's code).

    Where each image goes is found on their numbers alone, and then all move at once.

    Args:
        pool: of `empty_pool`, or what came back from here.
        images: new ones, in order.
        words: of `draw_words`.
    """
    size = len(pool["images"])

    def show(
        held: Int[Array, " size"], new: tuple[Int[Array, ""], UInt32[Array, " 2"]]
    ) -> tuple[Int[Array, " size"], Int[Array, ""]]:
        number, (coin, place) = new
        filled = pool["count"] + number
        room = filled < size
        swap = coin >> 31 == 1
        slot = jnp.where(room, filled, (place % size).astype(jnp.int32))
        given = jnp.where(room | ~swap, size + number, held[slot])
        kept = jnp.where(room | swap, size + number, held[slot])
        return held.at[slot].set(kept), given

    numbers = jnp.arange(len(images), dtype=jnp.int32)
    held, given = jax.lax.scan(show, jnp.arange(size, dtype=jnp.int32), (numbers, words))
    everything = jnp.concatenate([pool["images"], images])
    count = jnp.minimum(pool["count"] + len(images), size)
    return {"images": everything[held], "count": count}, everything[given]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGAN(Translation):
    """Image-to-image translation without pairs, for heights and widths that are multiples of 4."""

    blocks: Few = 9
    """Residual blocks of a generator: 9 for 256 pixels, 6 for 128."""
    cycle: Weight = 10.0
    """Weight of the way there and back, in both directions."""
    input_channels: Annotated[int, Within(0, 4)] = 0
    """Channels of an image of kind A; 0: those of `shape`, which is of kind B."""
    identity: Weight = 5.0
    """Weight of leaving an image as it is that is of the wanted kind already."""
    pool: Count = 50
    """Fakes of either kind that are kept for the discriminators; 0: they see the newest."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(side < 8 or side % 4 for side in self.shape[:2]):
            raise UserError(
                f"image shape {self.shape}: height and width must be multiples of 4, at least 8; "
                "change `shape` and resize the data"
            )
        if self.identity and len(set(self._shapes())) > 1:
            raise UserError(
                f"input_channels is {self.input_channels} and shape {self.shape}, but with "
                "identity a generator is given images of either kind: set identity to 0"
            )
        super().__post_init__()

    def data(self) -> tuple[dict[str, Field], ...]:
        """Two unrelated sets of images, as high and as wide."""
        a, b = map(Image, self._shapes())
        return {"image": b}, {"input": a}

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of images of kind A, and of kind B."""
        return (*self.shape[:2], self.input_channels or self.shape[-1]), self.shape

    def uses(self) -> dict[str, Use]:
        """There and back, both ways; and either way alone. There is no noise."""
        kind_a, kind_b = map(Image, self._shapes())
        a, b = FromData(column="input"), FromData(column="image")

        def cycle(view: View, taken: dict[str, Array], keys: Any, options: Any) -> dict[str, Array]:
            fake_b = view("generator_ab", taken["input"])
            fake_a = view("generator_ba", taken["image"])
            return {
                "fake_b": fake_b,
                "back_a": view("generator_ba", fake_b),
                "fake_a": fake_a,
                "back_b": view("generator_ab", fake_a),
            }

        return {
            "cycle": Use(
                call=cycle,
                takes={"input": a, "image": b},
                gives={"fake_b": kind_b, "back_a": kind_a, "fake_a": kind_a, "back_b": kind_b},
                summary="makes images of inputs, inputs of images, and both again of these",
            ),
            "AtoB": Use(
                call=lambda view, taken, keys, options: {
                    "image": view("generator_ab", taken["input"])
                },
                takes={"input": a},
                gives={"image": kind_b},
                summary="makes images of inputs",
            ),
            "BtoA": Use(
                call=lambda view, taken, keys, options: {
                    "input": view("generator_ba", taken["image"])
                },
                takes={"image": b},
                gives={"input": kind_a},
                summary="makes inputs of images",
            ),
        }

    def networks(self) -> dict[str, nn.Module]:
        """A generator each way, and a discriminator of either kind."""
        dtype = jnp.dtype(self.dtype)
        a, b = (Translator(shape[-1], self.width, self.blocks, dtype) for shape in self._shapes())
        discriminator = self.patchgan(affine=False)
        return dict(zip(GENERATORS, (b, a), strict=True)) | dict.fromkeys(
            DISCRIMINATORS, discriminator
        )

    def inputs(self) -> dict[str, tuple]:
        """Images."""
        a, b = (jnp.zeros((1, *shape)) for shape in self._shapes())
        return {
            name: (images,)
            for name, images in zip(GENERATORS + DISCRIMINATORS, (a, b, a, b), strict=True)
        }

    def memory(self, key: PRNGKeyArray) -> dict[str, PyTree]:
        """An empty pool of either kind."""
        del key
        return {
            name: empty_pool(self.pool, shape)
            for name, shape in zip(self._pools(), self._shapes(), strict=False)
        }

    def _pools(self) -> tuple[str, ...]:
        return ("pool_a", "pool_b") if self.pool else ()

    def ema(self) -> Mapping[str, Decay]:
        """Averages of both generators, if any; the paper keeps none."""
        return dict.fromkeys(GENERATORS, self.ema_decay) if self.ema_decay else {}

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the generators, then the discriminators."""
        adam = self.adam()
        return (
            Stage(
                players=(
                    Player(
                        name="generator",
                        owns=GENERATORS,
                        loss=self.generator_loss,
                        optimizer=adam,
                    ),
                    Player(
                        name="discriminator",
                        owns=DISCRIMINATORS,
                        loss=self.discriminator_loss,
                        optimizer=adam,
                        reuse=True,
                        writes=self._pools(),
                    ),
                )
            ),
        )

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Adversarial, cycle and identity losses of both generators (equation 3, section 5.2)."""
        del key
        a, b = batch["input"], batch["image"]
        if self.identity:
            fake_b, same_b = view.together("generator_ab", (a,), (b,))
            fake_a, same_a = view.together("generator_ba", (b,), (a,))
        else:
            fake_b, same_b = view("generator_ab", a), b
            fake_a, same_a = view("generator_ba", b), a
        adversarial = jnp.zeros(())
        for name, fake in zip(DISCRIMINATORS, (fake_a, fake_b), strict=True):
            # The code's squared error has no 1/2.
            adversarial += 2 * losses.least_squares.generator(view(name, view.augment(fake)))
        cycle = _distance(view("generator_ba", fake_b), a)
        cycle += _distance(view("generator_ab", fake_a), b)
        identity = _distance(same_a, a) + _distance(same_b, b)
        view.out = {"fake_a": fake_a, "fake_b": fake_b}
        loss = adversarial + self.cycle * cycle + self.identity * identity
        return loss, {"adversarial": adversarial, "cycle": cycle, "identity": identity}

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Half the least-squares losses, on real images and on fakes that the pools give back."""
        keys = jax.random.split(key)
        total, seen = jnp.zeros(()), []
        for index, kind in enumerate("ab"):
            real, fake = batch[("input", "image")[index]], batch[f"fake_{kind}"]
            if self.pool:
                name, words = f"pool_{kind}", draw_words(view.keys(keys[index], len(fake)))
                view.memory[name], fake = exchange(view.memory[name], fake, words)
            judged = (view.augment(real),), (view.augment(fake),)
            logits = view.together(f"discriminator_{kind}", *judged)
            total += losses.least_squares.discriminator(*logits)
            seen.append(jnp.stack([x.mean() for x in logits]))
        real_logits, fake_logits = jnp.stack(seen).mean(0)
        return total, {"real_logits": real_logits, "fake_logits": fake_logits}


def _distance(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Float[Array, ""]:
    return jnp.abs(x - y).mean()
