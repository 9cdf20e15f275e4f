"""Three games of Gaussians on a line that show what the theory says.

- Goodfellow et al. 2014, "Generative adversarial nets", section 4: the best discriminator's loss
  is a divergence, which falls as G improves.
- Arjovsky & Bottou 2017, "Towards principled methods for training generative adversarial networks",
  theorems 2.4 and 2.6, and Arjovsky et al. 2017, "Wasserstein GAN", figure 2: the gradient of the
  saturating loss vanishes as D becomes sure, a Lipschitz critic's does not.
- Nowozin et al. 2016, "f-GAN", section 2: what is learned for an f-divergence is the density ratio.

The generator shifts and scales a standard Gaussian, so what it makes is a Gaussian, too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from jaxgan import losses
from jaxgan.divergences import DIVERGENCES
from jaxgan.losses import AdversarialLoss
from jaxgan.penalties import gradient_penalty
from jaxgan.theory.gaussians import GRID, Gaussian, estimated_divergence, true_divergence

REAL = Gaussian(0.0, 1.0)
FAR = Gaussian(8.0, 1.0)
"""Fakes that are told from real samples with certainty."""
WIDE = Gaussian(1.0, 1.5)
"""Samples whose density ratio to real ones, at most 2.3, no divergence makes hard to learn."""
RATIOS = ("kl", "reverse_kl", "jensen_shannon", "pearson", "squared_hellinger")
BATCH = 256


class Discriminator(nn.Module):
    """Two hidden layers; a logit for each number."""

    @nn.compact
    def __call__(self, x: Float[Array, " b"]) -> Float[Array, " b"]:
        """[b] to [b]."""
        h = x[:, None] / 4
        for _ in range(2):
            h = nn.silu(nn.Dense(64)(h))
        return nn.Dense(1)(h)[:, 0]


def _logits(params: PyTree, x: Float[Array, " b"]) -> Float[Array, " b"]:
    logits: Any = Discriminator().apply(params, x)
    return logits


def _learner(
    loss: AdversarialLoss, rate: optax.ScalarOrSchedule = 2e-3, penalty: float = 0.0
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(init, step) of a discriminator; its state is (parameters, Adam's)."""
    optimiser = optax.adam(rate, b2=0.99)

    def init(key: PRNGKeyArray) -> PyTree:
        params = Discriminator().init(key, jnp.zeros(1))
        return params, optimiser.init(params)

    def step(state: PyTree, fakes: Gaussian, key: PRNGKeyArray) -> PyTree:
        real_key, fake_key, between = jax.random.split(key, 3)
        real, fake = REAL.draw(real_key, BATCH), fakes.draw(fake_key, BATCH)

        def objective(params: PyTree) -> Float[Array, ""]:
            found = loss.discriminator(_logits(params, real), _logits(params, fake))
            if penalty:
                epsilon = jax.random.uniform(between, (BATCH,))
                found += penalty * gradient_penalty(
                    lambda x: _logits(params, x[:, 0]), real[:, None], fake[:, None], epsilon
                )
            return found

        params, moments = state
        changes, moments = optimiser.update(jax.grad(objective)(params), moments)
        return optax.apply_updates(params, changes), moments

    return init, step


@dataclasses.dataclass(frozen=True, eq=False)
class Discriminability:
    """What a GAN's fakes are before each of its steps, and how far from real ones; n steps.

    Attributes:
        fakes: n distributions.
        true: their Jensen-Shannon divergences from the real one, in nats; 0 to ln 2.
        estimated: what the discriminator of that step says, a lower bound of it.
    """

    fakes: Gaussian
    true: Float[np.ndarray, " n"]
    estimated: Float[np.ndarray, " n"]


def discriminability(seed: int = 0, steps: int = 300) -> Discriminability:
    """Trains G from N(3, 1) towards N(0, 1), with ten steps of D before each of G's.

    Before the first, D has learned for as long as it does in twenty steps of G.
    """
    init, learn = _learner(losses.non_saturating)
    optimiser = optax.adam(optax.cosine_decay_schedule(0.08, steps), b1=0.5)
    start = {"mean": jnp.array(3.0), "log_deviation": jnp.array(0.0)}
    key, init_key, first_key = jax.random.split(jax.random.key(seed), 3)

    def made(params: PyTree) -> Gaussian:
        return Gaussian(params["mean"], jnp.exp(params["log_deviation"]))

    def taught(judge: PyTree, fakes: Gaussian, keys: Key[Array, " n"]) -> PyTree:
        return jax.lax.scan(lambda judge, key: (learn(judge, fakes, key), None), judge, keys)[0]

    @jax.jit
    def play(keys: Key[Array, " n"]) -> PyTree:
        def step(state: PyTree, key: PRNGKeyArray) -> tuple[PyTree, PyTree]:
            params, moments, judge = state
            keys = jax.random.split(key, 11)
            judge = taught(judge, made(params), keys[1:])
            seen = made(params).mean, made(params).deviation, _logits(judge[0], jnp.array(GRID))

            def objective(params: PyTree) -> Float[Array, ""]:
                fake = made(params).draw(keys[0], BATCH)
                return losses.non_saturating.generator(_logits(judge[0], fake))

            changes, moments = optimiser.update(jax.grad(objective)(params), moments)
            return (optax.apply_updates(params, changes), moments, judge), seen

        judge = taught(init(init_key), made(start), jax.random.split(first_key, 200))
        return jax.lax.scan(step, (start, optimiser.init(start), judge), keys)[1]

    mean, deviation, logits = map(np.asarray, play(jax.random.split(key, steps)))
    row, fakes = DIVERGENCES["jensen_shannon"], Gaussian(mean, deviation)
    # That row is twice what is usually called so.
    return Discriminability(
        fakes=fakes,
        true=true_divergence(row, REAL, fakes) / 2,
        estimated=estimated_divergence(row, REAL, fakes, logits) / 2,
    )


def generator_gradient(
    loss: AdversarialLoss,
    critic: Callable[[Float[Array, " b"]], Float[Array, " b"]],
    fakes: Gaussian,
) -> Float[Array, ""]:
    """d/dm of E on_generated(d(x)), x ~ N(m, s²): how fast a step moves the fakes' mean.

    An integral, not a mean of samples, so that it is exact where it all but vanishes.
    """
    z = jnp.linspace(-8, 8, 801)
    weights = norm.pdf(z) * (z[1] - z[0])

    def objective(mean: Float[Array, ""]) -> Float[Array, ""]:
        return (weights * loss.on_generated(critic(mean + fakes.deviation * z))).sum()

    return jax.grad(objective)(jnp.asarray(fakes.mean))


def best_critic(loss: AdversarialLoss, fakes: Gaussian) -> Callable[..., Float[Array, " b"]]:
    """The best discriminator between real samples and fakes, of one deviation.

    Its logit is ln p/q; of the Wasserstein game's critics with slopes up to 1 it is the linear one.
    """
    if loss is losses.wasserstein:
        return lambda x: -jnp.sign(fakes.mean) * x
    return lambda x: fakes.mean * (fakes.mean / 2 - x)


GAMES = {
    "saturating": (losses.saturating, 0.0),
    "non_saturating": (losses.non_saturating, 0.0),
    "wasserstein": (losses.wasserstein, 10.0),
}
"""Generators' losses, and the gradient penalty of their discriminator."""


def gradients(seed: int = 0, steps: int = 1000) -> dict[str, Float[np.ndarray, " n"]]:
    """The gradients' sizes of G that makes `FAR` after each of D's steps, by the loss of G.

    The discriminators begin alike and see the same samples.
    """
    keys = jax.random.split(jax.random.key(seed), steps + 1)

    def watched(loss: AdversarialLoss, penalty: float) -> Float[np.ndarray, " n"]:
        init, learn = _learner(loss, optax.cosine_decay_schedule(2e-3, steps), penalty)

        def step(state: PyTree, key: PRNGKeyArray) -> tuple[PyTree, Float[Array, ""]]:
            state = learn(state, FAR, key)
            return state, generator_gradient(loss, lambda x: _logits(state[0], x), FAR)

        played = jax.jit(lambda keys: jax.lax.scan(step, init(keys[0]), keys[1:])[1])
        return np.abs(played(keys))

    return {name: watched(*game) for name, game in GAMES.items()}


def ratios(seed: int = 0, steps: int = 1000) -> dict[str, Float[np.ndarray, " grid"]]:
    """The raw outputs on the grid of discriminators of real samples and `WIDE`, by divergence."""
    keys = jax.random.split(jax.random.key(seed), steps + 1)

    def learned(name: str) -> Float[np.ndarray, " grid"]:
        init, learn = _learner(
            losses.f_gan(DIVERGENCES[name]), optax.cosine_decay_schedule(5e-3, steps)
        )

        def step(state: PyTree, key: PRNGKeyArray) -> tuple[PyTree, None]:
            return learn(state, WIDE, key), None

        played = jax.jit(lambda keys: jax.lax.scan(step, init(keys[0]), keys[1:])[0])
        return np.asarray(_logits(played(keys)[0], jnp.array(GRID)))

    return {name: learned(name) for name in RATIOS}
