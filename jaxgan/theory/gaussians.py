"""Gaussians on a line: their divergences, and what a discriminator's logits say of them.

Integrals are sums over an even grid, in float64. For such smooth functions, which are next to zero
at both ends, their error is that of rounding.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.divergences import Divergence

GRID = np.linspace(-9, 17, 2601)
"""Where densities and logits are looked at: nine deviations from all that is looked at here."""
_CELL = GRID[1] - GRID[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, deviation²); of arrays [...], as many distributions."""

    mean: Float[Array | np.ndarray, "..."] | float
    deviation: Float[Array | np.ndarray, "..."] | float

    def log_density(self) -> Float[np.ndarray, "... grid"]:
        """On the grid, in nats."""
        mean, deviation = (
            np.asarray(x, np.float64)[..., None] for x in (self.mean, self.deviation)
        )
        scaled = (GRID - mean) / deviation
        return -0.5 * scaled**2 - np.log(deviation * np.sqrt(2 * np.pi))

    def density(self) -> Float[np.ndarray, "... grid"]:
        """On the grid."""
        return np.exp(self.log_density())

    def draw(self, key: PRNGKeyArray, count: int) -> Float[Array, " b"]:
        """Samples, which can be differentiated by mean and deviation."""
        return jnp.asarray(self.mean) + self.deviation * jax.random.normal(key, (count,))


def integral(of: Float[np.ndarray, "... grid"]) -> Float[np.ndarray, "..."]:
    """Of a function of which the grid's values are given."""
    return np.asarray(of.sum(-1) * _CELL)


def true_divergence(row: Divergence, p: Gaussian, q: Gaussian) -> Float[np.ndarray, "..."]:
    """D_f(p, q) = E_q f(p/q)."""
    with jax.enable_x64(True):
        ratios = jnp.asarray(np.exp(p.log_density() - q.log_density()))
        return integral(q.density() * np.asarray(row.f(ratios)))


def estimated_divergence(
    row: Divergence, p: Gaussian, q: Gaussian, logits: Float[np.ndarray, "... grid"]
) -> Float[np.ndarray, "..."]:
    """E_p T - E_q f*(T), with T from a discriminator's raw outputs: never above the true one."""
    with jax.enable_x64(True):
        v = jnp.asarray(np.asarray(logits, np.float64))
        t, conjugate = np.asarray(row.activation(v)), np.asarray(row.conjugate_activation(v))
    return integral(p.density() * t - q.density() * conjugate)


def misplaced(
    row: Divergence, p: Gaussian, q: Gaussian, logits: Float[np.ndarray, " grid"]
) -> float:
    """The mass by which q, weighted with the ratio that the logits stand for, is not p.

    Half the integral of |q r - p|: 0 where r is p/q, 1 where nothing agrees.
    """
    ratios = np.asarray(row.ratio(jnp.asarray(logits)), np.float64)
    return float(integral(np.abs(q.density() * ratios - p.density())) / 2)
