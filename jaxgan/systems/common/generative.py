"""What GANs share that draw images, or points, from latents."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.fields import Attention, Field, FromData, Image, Label, Normal, Points
from jaxgan.ranges import Count, DecayRate, Positive, Shape
from jaxgan.system import Decay, Loss, Metrics, Player, Stage, System, Use
from jaxgan.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generative(System):
    """A generator of latents and, where there are classes, of labels.

    Subclasses add networks, called "generator" and "discriminator", and losses.
    """

    shape: Shape
    """Shape of one sample: height, width, channels of an image, or (dimensions,) of a point."""
    latent: Positive = 128
    """Size of the latent vector."""
    ema_decay: DecayRate = 0.0
    """What the average of the generator's weights keeps in an iteration; 0: no average."""

    def sample(self) -> Field:
        """What it draws, and learns from."""
        return Points(self.shape) if len(self.shape) == 1 else Image(self.shape)

    def labels(self) -> dict[str, Field]:
        """The label, under its name, for systems that have classes."""
        return {}

    def latents(self) -> dict[str, Field]:
        """What a sample is made of."""
        return {"z": Normal((self.latent,)), **self.labels()}

    def data(self) -> tuple[dict[str, Field], ...]:
        """Samples, with labels where there are classes."""
        return ({"image": self.sample(), **self.labels()},)

    def inputs(self) -> dict[str, tuple]:
        """Latents; samples; and labels for both, where there are classes."""
        return {
            "generator": tuple(field.zeros() for field in self.latents().values()),
            "discriminator": tuple(field.zeros() for field in self.data()[0].values()),
        }

    def uses(self) -> dict[str, Use]:
        """Draws samples, and says what the discriminator makes of them."""
        return {
            "generate": Use(
                call=lambda view, taken, keys, options: {"image": self.make(view, taken)},
                takes=self.latents(),
                gives={"image": self.sample()},
                summary="draws samples",
            ),
            "judge": Use(
                call=lambda view, taken, keys, options: {"logit": self.logits(view, taken)},
                takes={name: FromData(column=name) for name in ("image", *self.labels())},
                gives={"logit": Points(())},
                summary="how real the discriminator finds samples: its logits",
            ),
        }

    def ema(self) -> Mapping[str, Decay]:
        """The generator's average, where one is kept."""
        return {"generator": self.ema_decay} if self.ema_decay else {}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b ..."]:
        """Samples [b, *shape] in [-1, 1] of what `latents` declares."""
        return view("generator", taken["z"], *label_of(taken))

    def judged(
        self, view: View, taken: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], dict[str, Any]]:
        """What the discriminator is given of samples [b, *shape] and labels: inputs, options."""
        del view
        return (taken["image"], *label_of(taken)), {}

    def logits(self, view: View, taken: Mapping[str, Array]) -> Float[Array, " b"]:
        """Logits of samples, and of their labels where there are classes.

        Each is judged alone, so that it counts for itself: where a discriminator compares a batch
        (minibatch standard deviation), there is nothing to compare.
        """
        inputs, options = self.judged(view, taken)

        def alone(*row: Array) -> Any:
            return view.frozen("discriminator", *(x[None] for x in row), **options)

        scores = jax.vmap(alone)(*inputs)
        first = jax.tree.leaves(scores)[0]  # classes or maps of attention may follow
        return first.reshape(len(first))

    def fakes(
        self, view: View, key: PRNGKeyArray, count: int
    ) -> tuple[Float[Array, "b ..."], dict[str, Array]]:
        """Samples for a batch, and what was drawn for them."""
        drawn = view.draw(self.latents(), key, count)
        return self.make(view, drawn), drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditional(Generative):
    """A generator that can use labels."""

    classes: Count = 0
    """Number of classes; 0 trains without labels."""

    def labels(self) -> dict[str, Field]:
        """The label, where there are classes."""
        return {"label": Label(classes=self.classes)} if self.classes else {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attentive(Generative):
    """A generator with self-attention, which returns (samples, a tuple of attention maps)."""

    @abstractmethod
    def attention_shape(self) -> tuple[int, int] | None:
        """Places that look, and places that are looked at, of the last map; None: there is none."""

    def uses(self) -> dict[str, Use]:
        """Draws samples, and shows where the last map looks."""

        def call(view: View, taken: dict[str, Array], keys: Any, options: Any) -> dict[str, Array]:
            samples, maps = view("generator", taken["z"], *label_of(taken))
            return {"image": samples, "attention": maps[-1]}

        shape = self.attention_shape()
        if shape is None:
            return super().uses()
        attention = Use(
            call=call,
            takes=self.latents(),
            gives={"image": self.sample(), "attention": Attention(shape)},
            summary="draws samples, and where each place of the generator's last map looks",
        )
        return {**super().uses(), "attention": attention}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b ..."]:
        """Samples [b, *shape] in [-1, 1] of what `latents` declares."""
        return view("generator", taken["z"], *label_of(taken))[0]


def label_of(batch: Mapping[str, Array]) -> tuple[Array, ...]:
    """(label,), or () where there is none: the rest of a network's inputs."""
    return (batch["label"],) if "label" in batch else ()


def duel(
    *,
    discriminator: Loss,
    generator: Loss,
    discriminator_optimizer: optax.GradientTransformation,
    generator_optimizer: optax.GradientTransformation,
    updates: int = 1,
    writes: tuple[str, ...] = (),
    every_turn: bool = False,
    stage: Mapping[str, Any] | None = None,
    **options: Any,
) -> Stage:
    """The stage of two players: the discriminator `updates` times, then the generator.

    Args:
        discriminator: its loss.
        generator: its loss; it sees the discriminator's last batch again.
        discriminator_optimizer: its optimiser.
        generator_optimizer: its optimiser.
        updates: of the discriminator, each on a fresh batch.
        writes: networks whose statistics the discriminator's turn moves.
        every_turn: both players' turns move the generator's statistics and those of `writes`;
            otherwise the generator's own moves just its own.
        stage: further attributes of the Stage.
        options: further attributes of the discriminator's Player.
    """
    return Stage(
        players=(
            Player(
                name="discriminator",
                owns=("discriminator",),
                loss=discriminator,
                optimizer=discriminator_optimizer,
                repeats=updates,
                writes=(*writes, "generator") if every_turn else writes,
                **options,
            ),
            Player(
                name="generator",
                owns=("generator",),
                loss=generator,
                optimizer=generator_optimizer,
                reuse=True,
                writes=("generator", *writes) if every_turn else ("generator",),
            ),
        ),
        **(stage or {}),
    )


def falling_adam(
    learning_rate: float, betas: tuple[float, float], decay: tuple[int, int], updates: int = 1
) -> optax.GradientTransformation:
    """Adam, whose step size falls linearly to 0 from iteration to iteration.

    Args:
        learning_rate: the step size before it falls.
        betas: decay rates.
        decay: iterations between which it falls; equal ones: it does not.
        updates: of the player in an iteration, all with one step size.
    """
    start, end = decay
    if end <= start:
        return optax.adam(learning_rate, *betas)
    falling = optax.linear_schedule(learning_rate, 0.0, end - start, start)
    return optax.adam(lambda count: falling(count // updates), *betas)


def mean_logits(real: Float[Array, "r ..."], fake: Float[Array, "f ..."]) -> Metrics:
    """What a discriminator says of real and of generated samples, on average."""
    return {"real_logits": real.mean(), "fake_logits": fake.mean()}
