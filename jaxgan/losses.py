"""Adversarial losses on logits: pairs of what the discriminator and the generator minimise.

All are means over every element of the logits, so a map of patch logits counts each patch alike.
"""

import difflib
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.divergences import DIVERGENCES, Divergence, Elementwise
from jaxgan.errors import UserError


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The same values in float32, or in float64 where they are that already."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@dataclass(frozen=True)
class AdversarialLoss:
    """A game in which both losses are means of a function of single logits.

    Computed in float32 whatever the dtype of the logits (float64 stays float64).
    """

    name: str
    on_real: Elementwise
    on_fake: Elementwise
    on_generated: Elementwise

    def discriminator(
        self, real_logits: Float[Array, "..."], fake_logits: Float[Array, "..."]
    ) -> Float[Array, ""]:
        """E on_real(d(x)) + E on_fake(d(G(z))), minimised by the discriminator.

        The two batches may differ in size.
        """
        real = self.on_real(at_least_float32(real_logits))
        fake = self.on_fake(at_least_float32(fake_logits))
        return real.mean() + fake.mean()

    def generator(self, fake_logits: Float[Array, "..."]) -> Float[Array, ""]:
        """E on_generated(d(G(z))), minimised by the generator."""
        return self.on_generated(at_least_float32(fake_logits)).mean()


non_saturating = AdversarialLoss(
    name="non_saturating",
    on_real=lambda d: jax.nn.softplus(-d),
    on_fake=jax.nn.softplus,
    on_generated=lambda d: jax.nn.softplus(-d),
)
"""Binary cross entropy; G maximises ln D (Goodfellow et al. 2014, section 3, last paragraph)."""

saturating = AdversarialLoss(
    name="saturating",
    on_real=lambda d: jax.nn.softplus(-d),
    on_fake=jax.nn.softplus,
    on_generated=lambda d: -jax.nn.softplus(d),
)
"""The minimax game: G minimises ln(1 - D) (Goodfellow et al. 2014, equation 1).

G's gradient vanishes where D is sure of the fake.
"""

hinge = AdversarialLoss(
    name="hinge",
    on_real=lambda d: jax.nn.relu(1 - d),
    on_fake=lambda d: jax.nn.relu(1 + d),
    on_generated=lambda d: -d,
)
"""Lim & Ye 2017; Miyato et al. 2018 (SNGAN), equations 16 and 17."""

wasserstein = AdversarialLoss(
    name="wasserstein",
    on_real=lambda d: -d,
    on_fake=lambda d: d,
    on_generated=lambda d: -d,
)
"""Arjovsky et al. 2017, with the paper's sign: real samples score higher.

The critic maximises E d(x) - E d(G(z)), so minus its loss estimates K W₁ >= 0 for a K-Lipschitz
critic. The authors' published code trains -d instead, which is the same game with scores negated;
under the paper's sign a score means the same as in every other loss here.
"""

least_squares = AdversarialLoss(
    name="least_squares",
    on_real=lambda d: (d - 1) ** 2 / 2,
    on_fake=lambda d: d**2 / 2,
    on_generated=lambda d: (d - 1) ** 2 / 2,
)
"""Mao et al. 2017, equation 9: targets 0 and 1, and a factor 1/2 in both losses.

CycleGAN halves the discriminator's loss only: its generator minimises twice this one.
"""


def f_gan(divergence: Divergence, practical: bool = True) -> AdversarialLoss:
    """The game that estimates and lowers an f-divergence, on raw outputs V (Nowozin et al. 2016).

    The discriminator minimises -(E_p T - E_q f*(T)) with T = g_f(V), so minus its loss is a lower
    bound of the divergence. The generator maximises E_q T if `practical` (section 3.2), and
    otherwise minimises -E_q f*(T), the divergence itself. With divergence "gan" these are
    `non_saturating` and `saturating`.
    """

    def minus_activation(v: Float[Array, "..."]) -> Float[Array, "..."]:
        return -divergence.activation(v)

    def minus_conjugate(v: Float[Array, "..."]) -> Float[Array, "..."]:
        return -divergence.conjugate_activation(v)

    return AdversarialLoss(
        name=f"f_gan_{divergence.name}" + ("" if practical else "_saturating"),
        on_real=minus_activation,
        on_fake=divergence.conjugate_activation,
        on_generated=minus_activation if practical else minus_conjugate,
    )


LOSSES = {
    loss.name: loss
    for loss in (
        non_saturating,
        saturating,
        hinge,
        wasserstein,
        least_squares,
        *(f_gan(row, practical) for row in DIVERGENCES.values() for practical in (True, False)),
    )
}
"""Every loss by name: the five above and f_gan_DIVERGENCE, f_gan_DIVERGENCE_saturating."""


def get(name: str) -> AdversarialLoss:
    """The loss called `name` in `LOSSES`.

    Raises:
      UserError: there is none; the message proposes the nearest name.
    """
    if name not in LOSSES:
        nearest = difflib.get_close_matches(name, LOSSES, n=1, cutoff=0.0)[0]
        raise UserError(
            f"adversarial loss {name!r} is unknown: did you mean {nearest!r}? "
            f"(choose from {', '.join(LOSSES)})"
        )
    return LOSSES[name]
