"""Ways between two arrays of latents: straight lines, and arcs about the origin."""

import jax.numpy as jnp
from jaxtyping import Array, Float


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
    cosine = (a_flat * b_flat).sum(1) / jnp.where(norms > 0, norms, 1)
    # Nor is there an arc to or from the origin itself.
    angle = jnp.where(norms > 0, jnp.arccos(jnp.clip(cosine, -1, 1)), 0)
    sine = jnp.sin(angle)
    straight = sine < 1e-6
    sine = jnp.where(straight, 1, sine)
    from_a = jnp.where(straight, 1 - t, jnp.sin((1 - t) * angle) / sine)[:, None]
    to_b = jnp.where(straight, t, jnp.sin(t * angle) / sine)[:, None]
    return (from_a * a_flat + to_b * b_flat).reshape(a.shape)
