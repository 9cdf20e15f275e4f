"""AC-GAN's auxiliary classifier, for any discriminator of labelled images.

Odena, Olah, Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017. The
discriminator has a second head, which classifies, in place of seeing the label; the generator
makes images that it classifies as what was asked for. As in WGAN-GP's code the head learns from
real images alone, where the paper shows it generated ones, too.
"""

import dataclasses
from collections.abc import Mapping

import optax
from jaxtyping import Array, Float

from jaxgan.errors import UserError
from jaxgan.nn.projection import Scores
from jaxgan.ranges import Weight
from jaxgan.system import Metrics
from jaxgan.systems.common.generative import Conditional


def split(scores: Scores) -> tuple[Float[Array, " b"], Float[Array, "b classes"] | None]:
    """Logits, and class logits if the discriminator classifies."""
    return scores if isinstance(scores, tuple) else (scores, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifying(Conditional):
    """A game whose discriminator can classify: its networks then give (logits, class logits)."""

    class_weights: tuple[Weight, Weight] = (0.0, 0.0)
    """Weight of the cross entropy of the class in the discriminator's and in the generator's loss.
    With either the discriminator classifies and does not see the label (AC-GAN)."""

    def __post_init__(self) -> None:
        if any(self.class_weights) and not self.classes:
            raise UserError(
                f"class_weights is {self.class_weights} without classes: a discriminator learns "
                "to classify from labelled data; set `classes`, or `class_weights` to (0, 0)"
            )

    @property
    def classifies(self) -> bool:
        """Whether the discriminator has the second head."""
        return bool(self.classes) and any(self.class_weights)

    def with_classes(
        self,
        loss: Float[Array, ""],
        metrics: Metrics,
        scores: Scores,
        labelled: Mapping[str, Array],
        weight: float,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss and, if the discriminator classifies, `weight` times the cross entropy.

        Args:
            loss: without it.
            metrics: of the loss.
            scores: what the discriminator says of the images.
            labelled: with the labels that these have, or were made for.
            weight: one of `class_weights`.
        """
        _, logits = split(scores)
        if logits is None:
            return loss, metrics
        wrong = optax.softmax_cross_entropy_with_integer_labels(logits, labelled["label"]).mean()
        return loss + weight * wrong, {**metrics, "class_loss": wrong}
