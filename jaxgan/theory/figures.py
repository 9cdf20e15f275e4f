"""Pictures of what `games` found."""

import math
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from jaxgan.divergences import DIVERGENCES
from jaxgan.losses import AdversarialLoss
from jaxgan.pictures import drawn, panels
from jaxgan.theory.games import (
    GAMES,
    REAL,
    WIDE,
    Discriminability,
    best_critic,
    generator_gradient,
)
from jaxgan.theory.gaussians import GRID, Gaussian


def discriminability(found: Discriminability) -> Image.Image:
    """Densities of fakes at three steps; the true and the estimated divergence over the steps."""
    figure, (left, right) = panels(2)
    left.fill_between(GRID, REAL.density(), color="0.85", label="real")
    steps = len(found.true)
    for step in (0, steps // 6, steps - 1):
        left.plot(GRID, found.fakes.density()[step], label=f"fake, step {step}")
    left.set(xlim=(-4, 7), ylim=(0, 0.65), xlabel="x", ylabel="density")
    left.legend(frameon=False, loc="upper right")
    right.plot(found.true, color="0.7", linewidth=5, label="Jensen-Shannon divergence")
    right.plot(found.estimated, color="C3", linewidth=1, label="D's estimate of it")
    right.axhline(math.log(2), color="0.5", linestyle=":", linewidth=1, label="ln 2: disjoint")
    right.set(xlabel="step of G", ylabel="nats", ylim=(0, None))
    right.legend(frameon=False)
    return drawn(figure)


def gradients(found: Mapping[str, Float[np.ndarray, " n"]]) -> Image.Image:
    """G's gradient by D's logit, by the distance of fakes where D is best, and as D learns."""
    figure, (by_logit, by_distance, by_step) = panels(3)
    logits, distances = jnp.linspace(-8, 4, 121), jnp.linspace(0.25, 8, 32)
    for name, (loss, _) in GAMES.items():
        values = loss.on_generated(logits)
        by_logit.plot(logits, np.abs(np.gradient(values, logits)), label=name.replace("_", "-"))
        by_distance.semilogy(distances, np.abs(jax.vmap(partial(_best_gradient, loss))(distances)))
        by_step.loglog(np.arange(1, len(found[name]) + 1), found[name])
    by_logit.set(xlabel="D's logit of a fake", ylabel="gradient of G's loss, by the logit")
    by_logit.legend(frameon=False)
    by_distance.set(xlabel="distance of fakes, D the best", ylabel="gradient, by the fakes' mean")
    by_step.set(xlabel="step of D, fakes 8 away", ylabel="gradient, by the fakes' mean")
    return drawn(figure)


def _best_gradient(loss: AdversarialLoss, distance: Float[Array, ""]) -> Float[Array, ""]:
    fakes = Gaussian(distance, 1.0)
    return generator_gradient(loss, best_critic(loss, fakes), fakes)


def ratios(found: Mapping[str, Float[np.ndarray, " grid"]]) -> Image.Image:
    """The two densities, and their ratio as discriminators of several divergences have it."""
    figure, (left, right) = panels(2)
    left.fill_between(GRID, REAL.density(), color="0.85", label="p, real")
    left.plot(GRID, WIDE.density(), color="C1", label="q, fake")
    left.set(xlim=(-4, 5), xlabel="x", ylabel="density")
    left.legend(frameon=False)
    true = np.exp(REAL.log_density() - WIDE.log_density())
    right.plot(GRID, true, color="0.7", linewidth=5, label="p / q")
    for name, logits in found.items():
        ratio = DIVERGENCES[name].ratio(jnp.asarray(logits))
        right.plot(GRID, ratio, linewidth=1, label=name.replace("_", " "))
    right.set(xlim=(-4, 5), ylim=(0, 3), xlabel="x", ylabel="density ratio")
    right.legend(frameon=False, fontsize=8)
    return drawn(figure)
