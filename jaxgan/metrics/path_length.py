"""Perceptual path length: how much images change along short steps in latent space.

Karras et al. 2019, "A style-based generator architecture for generative adversarial networks",
section 4.1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxgan.errors import UserError
from jaxgan.interpolate import slerp
from jaxgan.metrics.base import Columns, Score
from jaxgan.metrics.images import Drawn
from jaxgan.metrics.lpips import Distance

Interpolation = Callable[[PyTree, PyTree, Float[Array, " b"]], PyTree]
"""(a, b, t) to what lies between, row by row: a at t = 0, b at t = 1."""


def perceptual_path_length(
    generate: Callable[[PyTree], Float[Array, "b h w c"]],
    draw: Callable[[PRNGKeyArray, int], PyTree],
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

    z(t) lies between two random latents, t ~ U[0, 1). The functions must be pure: they are compiled
    together. Latents are an array [b, ...], or a PyTree of such that `interpolation` maps. Images
    are those that `generate` gives, in [-1, 1], never rounded: steps are far smaller than one of
    255 levels. Cropping and shrinking is up to `distance`.

    Args:
      generate: images from latents. Both ends of a step are generated in calls of their own, at
        the same place in the batch, so noise and labels that it holds fixed are the same.
      draw: latents from a key and their number: z for `slerp`; for `lerp` what the mapping network
        makes of them, or uniform z.
      distance: of images, for each pair; a squared one in the small, as LPIPS is.
      interpolation: of latents: `slerp` or `lerp` for an array, else one for their PyTree.
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


class PPL(Score):
    """Perceptual path length of a run, as far as it interpolates its own latents."""

    name = "ppl"
    needs = frozenset({"generator"})
    better = "lower"
    of = "distance"
    summary = "how much images change along short steps between latents; of a run"
    published_as = (
        "LPIPS on VGG16, 100,000 steps of 1e-4 on arcs in Z, the middle 98% of them (Karras et al. "
        "2019)"
    )
    published_with = "lpips-vgg16"
    halved = True

    def gather(self, so_far: Drawn | None, batch: Columns) -> Drawn:
        """The generator."""
        return batch["generator"]

    def result(self) -> dict[str, float]:
        """{"ppl": mean}, over as many steps as images are to be scored."""
        drawn, distance = self.generated, self.network
        assert isinstance(distance, Distance)
        walk = drawn.walk
        params = jax.device_put(distance.params)
        length = perceptual_path_length(
            walk.generate,
            walk.latents,
            lambda a, b: distance.apply(params, a, b),
            interpolation=walk.between,
            num=drawn.num,
            seed=drawn.seed,
        )
        return {self.name: length}
