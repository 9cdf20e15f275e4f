"""Growing: a schedule of resolutions, each faded in, which ProGAN and StyleGAN share.

Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation", ICLR 2018, section 2 and appendix A. Training begins at a low resolution. At each new
one the new layers of both networks, and the detail of the real images, are blended in over some
thousands of images, and trained on for as many.

One stage for each resolution; how far it is faded in follows from the step. All layers exist from
the start, those of resolutions to come with no gradient. Adam's moments start anew at each
resolution; the authors' code also forgets them when a fade ends.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.errors import UserError
from jaxgan.nn.resample import downsample, upsample
from jaxgan.ranges import DecayRate, Positive, Rate, Shape, Weight
from jaxgan.state import State
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems.common.generative import Generative, duel
from jaxgan.view import View

Fade = float | Float[Array, ""] | None
"""From 0, the lower resolution alone, to 1; None where nothing is blended."""


def blend(low: Float[Array, "..."], high: Float[Array, "..."], fade: Any) -> Float[Array, "..."]:
    """`low` exactly at fade 0, `high` exactly at 1."""
    return (1 - fade) * low + fade * high


def reached(step: Any, begin: int, length: int) -> Float[Array, ""]:
    """How far what is faded in over `length` iterations from `begin` on is at a step: 0 to 1."""
    return jnp.clip(jnp.asarray(step - begin, jnp.float32) / length, 0, 1)


def doubled(shape: tuple[int, ...], name: str) -> list[int]:
    """Sides of the maps of a network for images of this shape: 4, 8, 16, ... up to theirs.

    Raises:
        UserError: no such squares; `name` is the system's.
    """
    side = shape[0]
    if len(shape) != 3 or shape[1] != side or side < 8 or side & (side - 1):
        raise UserError(
            f"image shape {shape}: {name} makes squares of 8, 16, 32, ... pixels; set `shape`, and "
            "resize the data to it"
        )
    return [4 << k for k in range(side.bit_length() - 2)]


def channels(sides: Sequence[int], width: int, most: int) -> tuple[int, ...]:
    """Channels of maps of these sides: `width` divided by a side, at most `most`."""
    return tuple(min(width // side, most) for side in sides)


class Level(NamedTuple):
    """A resolution in the schedule.

    Attributes:
        resolution: side of the images.
        batch: images a draw.
        rate: Adam's step size.
        begin: its first step.
        fade: iterations in which it is faded in.
        steps: iterations in all; None for the last.
    """

    resolution: int
    batch: int
    rate: float
    begin: int
    fade: int
    steps: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growing(Generative):
    """What systems that grow share: widths, schedule, stages. Subclasses add networks, losses."""

    shape: Shape = (1024, 1024, 3)
    """Height, width and channels of an image at the end."""
    latent: Positive = 512
    """Size of the latent vector."""
    width: Positive = 16_384
    """Channels of a map times its side."""
    max_channels: Positive = 512
    """Channels of a map at most."""
    start: Positive = 4
    """Side of the images of the first stage."""
    batches: tuple[Positive, ...] = (128, 128, 128, 64, 32, 16, 8, 4, 4)
    """Images a draw at 4, 8, 16, ... pixels."""
    rates: tuple[Rate, ...] = (1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1.5e-3)
    """Adam's step size for both players at 4, 8, 16, ... pixels."""
    fade_kimg: Weight = 600.0
    """Thousands of images over which a resolution after the first is faded in."""
    train_kimg: Rate = 600.0
    """Thousands of images of each resolution after that; the last one takes what the run has."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.99)
    """Adam's decay rates."""
    group: Positive = 4
    """Images over which minibatch standard deviation is taken."""

    def __post_init__(self) -> None:
        if self.start not in self._sides():
            raise UserError(
                f"start is {self.start}: growing begins at one of "
                f"{', '.join(map(str, self._sides()))} pixels"
            )
        for name in ("batches", "rates"):
            if len(getattr(self, name)) < len(self._sides()):
                raise UserError(
                    f"{name} has {len(getattr(self, name))} numbers, but up to {self._sides()[-1]} "
                    f"pixels it needs {len(self._sides())}: one each for "
                    f"{', '.join(map(str, self._sides()))}"
                )
        for level in self.levels():
            if self.group < 1 or level.batch % min(self.group, level.batch):
                raise UserError(
                    f"batches has {level.batch} for {level.resolution} pixels, but minibatch "
                    f"standard deviation takes groups of {self.group}: choose a multiple of it"
                )

    def _sides(self) -> list[int]:
        return doubled(self.shape, type(self).__name__)

    def widths(self) -> tuple[int, ...]:
        """Channels of the maps of 4, 8, 16, ... pixels."""
        return channels(self._sides(), self.width, self.max_channels)

    def levels(self) -> tuple[Level, ...]:
        """The schedule."""
        levels, begin = [], 0
        for side, batch, rate in zip(self._sides(), self.batches, self.rates, strict=False):
            if side < self.start:
                continue
            fade = round(1000 * self.fade_kimg / batch) if side > self.start else 0
            steps = fade + max(1, round(1000 * self.train_kimg / batch))
            last = side == self.shape[0]
            levels.append(Level(side, batch, rate, begin, fade, None if last else steps))
            begin += steps
        return tuple(levels)

    def iterations(self, kimg: float) -> int:
        """Iterations in which so many thousand real images are seen."""
        images = round(1000 * kimg)
        for level in self.levels():
            length = math.ceil(images / level.batch)
            if level.steps is None or length <= level.steps:
                return level.begin + length
            images -= level.steps * level.batch
        raise AssertionError("the last level has no end")

    def stages(self) -> tuple[Stage, ...]:
        """One for each resolution: the discriminator, then the generator."""
        return tuple(
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=optax.adam(level.rate, *self.betas),
                generator_optimizer=optax.adam(level.rate, *self.betas),
                stage={
                    "steps": level.steps,
                    "batch": level.batch,
                    "resolution": level.resolution,
                    "enter": forget_moments if level.begin else None,
                },
            )
            for level in self.levels()
        )

    def judged(
        self, view: View, taken: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], dict[str, Any]]:
        """As of all generators, and how far the newest layers are faded in."""
        inputs, options = super().judged(view, taken)
        return inputs, {**options, "fade": self.size(view)["fade"]}

    def size(self, view: View) -> dict[str, Any]:
        """What networks take of the stage and the step: {"resolution": side, "fade": how far}."""
        side = view.resolution or self.shape[0]
        fade: Float[Array, ""] | None = None
        for level in self.levels():
            if level.resolution == view.resolution and level.fade:
                fade = reached(view.step, level.begin, level.fade)
        return {"resolution": side, "fade": fade}

    @abstractmethod
    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The discriminator's."""

    @abstractmethod
    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The generator's."""


def faded(images: Float[Array, "b h w c"], fade: Fade) -> Float[Array, "b h w c"]:
    """Real images with their finest detail faded in, as the networks have theirs."""
    return images if fade is None else blend(upsample(downsample(images)), images, fade)


def progress(fade: Float[Array, ""] | None) -> Metrics:
    """The metric `fade`, while there is one."""
    return {} if fade is None else {"fade": fade}


def forget_moments(state: State, batch: Examples, key: PRNGKeyArray) -> State:
    """The optimisers as at the start."""
    return dataclasses.replace(state, opt=jax.tree.map(jnp.zeros_like, state.opt))
