"""The f-divergences a discriminator can estimate (Nowozin, Cseke & Tomioka 2016, "f-GAN").

For convex f with conjugate f*(t) = sup_u (ut - f(u)), and T any function into dom f*,

    D_f(p, q) = E_q f(p/q) >= E_p T - E_q f*(T),   with equality at T = f'(p/q).

A network gives the raw output V, and T = g_f(V). With u = p/q the rows are

    name               f(u)                          f*(t)          dom f*     f'(1)   optimal V
    kl                 u ln u                        e^(t-1)        all        1       1 + ln u
    reverse_kl         -ln u                         -1 - ln(-t)    t < 0      -1      ln u
    jensen_shannon     u ln u - (u+1) ln((u+1)/2)    -ln(2 - e^t)   t < ln 2   0       ln u
    gan                u ln u - (u+1) ln(u+1)        -ln(1 - e^t)   t < 0      -ln 2   ln u
    pearson            (u-1)²                        t²/4 + t       all        0       2 (u-1)
    squared_hellinger  (√u - 1)²                     t/(1-t)        t < 1      0       (ln u)/2
    total_variation    |u-1| / 2                     t              |t| ≤ 1/2  0       ±infinity

`jensen_shannon` is 2 JSD, twice the divergence usually called so, and `gan` is 2 JSD - ln 4. The
paper's first version prints g_f of reverse KL and squared Hellinger with e^v; here it is e^-v, so
that in every row a greater V means a greater p/q.

As losses on V, see `jaxgan.losses.f_gan`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from jaxgan.errors import UserError

Elementwise = Callable[[Float[Array, "..."]], Float[Array, "..."]]


@dataclass(frozen=True)
class Divergence:
    """One row of the table. Every function acts element by element, in its argument's dtype.

    `conjugate_activation` is f*(g_f(v)) in closed form. It is exact where the composition of the
    two would overflow or cancel, so losses use it. What still grows exponentially (KL for V → ∞,
    reverse KL for V → -∞, squared Hellinger for both) does so in the objective itself, and is
    infinite in float32 beyond |V| ≈ 88.
    """

    name: str
    f: Elementwise  # u >= 0
    conjugate: Elementwise  # f*, for t in dom f*
    activation: Elementwise  # g_f: all reals -> dom f*, increasing
    conjugate_activation: Elementwise  # v -> f*(g_f(v))
    threshold: float  # f'(1): T above it means p > q
    ratio: Elementwise  # p/q from an optimal V; UserError where V does not determine it


def _no_ratio(v: Float[Array, "..."]) -> Float[Array, "..."]:
    raise UserError(
        "total_variation has no density ratio: its optimal discriminator gives only the sign of "
        "p - q; train with another divergence (kl, gan, pearson, ...)"
    )


_ROWS = (
    Divergence(
        name="kl",
        f=lambda u: xlogy(u, u),
        conjugate=lambda t: jnp.exp(t - 1),
        activation=lambda v: v,
        conjugate_activation=lambda v: jnp.exp(v - 1),
        threshold=1.0,
        ratio=lambda v: jnp.exp(v - 1),
    ),
    Divergence(
        name="reverse_kl",
        f=lambda u: -jnp.log(u),
        conjugate=lambda t: -1 - jnp.log(-t),
        activation=lambda v: -jnp.exp(-v),
        conjugate_activation=lambda v: v - 1,
        threshold=-1.0,
        ratio=jnp.exp,
    ),
    Divergence(
        name="jensen_shannon",
        f=lambda u: xlogy(u, u) - (u + 1) * jnp.log((u + 1) / 2),
        conjugate=lambda t: -jnp.log(2 - jnp.exp(t)),
        activation=lambda v: math.log(2) - jax.nn.softplus(-v),
        conjugate_activation=lambda v: jax.nn.softplus(v) - math.log(2),
        threshold=0.0,
        ratio=jnp.exp,
    ),
    Divergence(
        name="gan",
        f=lambda u: xlogy(u, u) - (u + 1) * jnp.log(u + 1),
        conjugate=lambda t: -jnp.log(-jnp.expm1(t)),
        activation=lambda v: -jax.nn.softplus(-v),
        conjugate_activation=jax.nn.softplus,
        threshold=-math.log(2),
        ratio=jnp.exp,
    ),
    Divergence(
        name="pearson",
        f=lambda u: (u - 1) ** 2,
        conjugate=lambda t: t**2 / 4 + t,
        activation=lambda v: v,
        conjugate_activation=lambda v: v**2 / 4 + v,
        threshold=0.0,
        ratio=lambda v: v / 2 + 1,  # negative below V = -2, where no optimal V is
    ),
    Divergence(
        name="squared_hellinger",
        f=lambda u: (jnp.sqrt(u) - 1) ** 2,
        conjugate=lambda t: t / (1 - t),
        activation=lambda v: -jnp.expm1(-v),
        conjugate_activation=jnp.expm1,
        threshold=0.0,
        ratio=lambda v: jnp.exp(2 * v),
    ),
    Divergence(
        name="total_variation",
        f=lambda u: jnp.abs(u - 1) / 2,
        conjugate=lambda t: t,
        activation=lambda v: jnp.tanh(v) / 2,
        conjugate_activation=lambda v: jnp.tanh(v) / 2,
        threshold=0.0,
        ratio=_no_ratio,
    ),
)

DIVERGENCES = {row.name: row for row in _ROWS}
