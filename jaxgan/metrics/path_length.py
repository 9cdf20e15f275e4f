"""Perceptual path length: how much images change along short steps in latent space.

Karras et al. 2019, "A style-based generator architecture for generative adversarial networks",
section 4.1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.errors import UserError

Interpolation = Callable[
    [Float[Array, "b ..."], Float[Array, "b ..."], Float[Array, " b"]], Float[Array, "b ..."]
]


def lerp(
    a: Float[Array, "b ..."], b: Float[Array, "b ..."], t: Float[Array, " b"]
) -> Float[Array, "b ..."]:
    """On the straight line from a (t = 0) to b (t = 1): for W, or for uniform latents."""
    return a + (b - a) * t.reshape(-1, *(1,) * (a.ndim - 1))


def slerp(
    a: Float[Array, "b ..."], b: Float[Array, "b ..."], t: Float[Array, " b"]
) -> Float[Array, "b ..."]:
    """On the arc from a (t = 0) to b (t = 1), about the origin: for Gaussian latents (White 2016).

    Norms go from that of a to that of b. StyleGAN normalises its latents: give it normalised ones.
    Latents on one line through the origin are on no single arc; they get the straight line.
    """
    a_flat, b_flat = a.reshape(len(a), -1), b.reshape(len(b), -1)
    norms = jnp.linalg.norm(a_flat, axis=1) * jnp.linalg.norm(b_flat, axis=1)
    angle = jnp.arccos(jnp.clip((a_flat * b_flat).sum(1) / norms, -1, 1))
    sine = jnp.sin(angle)
    straight = sine < 1e-6
    sine = jnp.where(straight, 1, sine)
    from_a = jnp.where(straight, 1 - t, jnp.sin((1 - t) * angle) / sine)[:, None]
    to_b = jnp.where(straight, t, jnp.sin(t * angle) / sine)[:, None]
    return (from_a * a_flat + to_b * b_flat).reshape(a.shape)


def perceptual_path_length(
    generate: Callable[[Float[Array, "b ..."]], Float[Array, "b h w c"]],
    draw: Callable[[PRNGKeyArray, int], Float[Array, "b ..."]],
    distance: Callable[[Float[Array, "b h w c"], Float[Array, "b h w c"]], Float[Array, " b"]],
    *,
    interpolation: Interpolation = slerp,
    ends: bool = False,
    num: int = 100_000,
    batch: int = 50,
    epsilon: float = 1e-4,
    seed: int = 0,
) -> float:
    """E d(G(z(t)), G(z(t + ε))) / ε², without the lowest and the highest hundredth.

    z(t) lies between two random latents, t ~ U[0, 1). The three functions must be pure: they are
    compiled together. Images are those that `generate` gives, in [-1, 1], never rounded: steps are
    far smaller than one of 255 levels. Cropping and shrinking is up to `distance`.

    Args:
      generate: images from latents. Both ends of a step are generated in calls of their own, at
        the same place in the batch, so noise and labels that it holds fixed are the same.
      draw: latents from a key and their number: z for `slerp`; for `lerp` what the mapping network
        makes of them, or uniform z.
      distance: of images, for each pair; a squared one in the small, as LPIPS is.
      interpolation: `slerp` or `lerp`.
      ends: steps start at t = 0 only; with `lerp` in W this is StyleGAN2's figure.
      num: steps.
      batch: steps at a time.
      epsilon: length of a step.
      seed: of latents and t.

    Raises:
      UserError: fewer than 1 step, or distances that are not finite.
    """
    if num < 1 or batch < 1:
        raise UserError(f"{num} steps, {batch} at a time: a path length needs at least 1 of each")

    @jax.jit
    def lengths(index: jax.Array) -> Float[Array, " b"]:
        a_key, b_key, t_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 3)
        a, b = draw(a_key, batch), draw(b_key, batch)
        t = jnp.zeros(batch) if ends else jax.random.uniform(t_key, (batch,))
        here, there = (generate(interpolation(a, b, at)) for at in (t, t + epsilon))
        return distance(here, there) / epsilon**2

    values = np.concatenate([lengths(np.uint32(i)) for i in range(-(-num // batch))])[:num]
    if not np.isfinite(values).all():
        raise UserError(
            "path lengths are not finite: look for NaN in the generator's images or the distance"
        )
    low = np.percentile(values, 1, method="lower")
    high = np.percentile(values, 99, method="higher")
    return float(values[(values >= low) & (values <= high)].mean(dtype=np.float64))
