"""LPIPS of pairs: how far images look from those that they should be.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric". The
distance is that of `lpips.py`, by AlexNet, as the published code has it by default.
"""

from collections.abc import Callable
from functools import cached_property

import jax
import numpy as np

from jaxgan.metrics.base import Columns, Score
from jaxgan.metrics.lpips import Distance


class LPIPS(Score):
    """Mean distance of pairs, and its deviation over them."""

    name = "lpips"
    needs = needs_real = frozenset({"image"})
    paired = True
    better = "lower"
    of = "distance"
    summary = "how far images look from those that they should be; of pairs"
    published_as = "LPIPS on AlexNet, mean over pairs (Zhang et al. 2018)"
    published_with = "lpips-alexnet"

    @cached_property
    def _distances(self) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
        distance = self.network
        assert isinstance(distance, Distance)
        params, compare = jax.device_put(distance.params), jax.jit(distance.apply)
        return lambda a, b: compare(params, *(x.astype(np.float32) / 127.5 - 1 for x in (a, b)))

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Compares row i of one side with row i of the other."""
        assert generated is not None
        assert real is not None
        found = np.asarray(self._distances(generated["image"], real["image"]))
        self.generated = [*(self.generated or []), found]

    def result(self) -> dict[str, tuple[float, float]]:
        """{"lpips": (mean, deviation)}."""
        found = np.concatenate(self.generated).astype(np.float64)
        return {self.name: (float(found.mean()), float(found.std()))}
