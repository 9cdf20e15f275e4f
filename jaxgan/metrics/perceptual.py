"""LPIPS of pairs: how far images look from those that they should be.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric". The
distance is that of `lpips.py`, by AlexNet and of whole images, as the published code has it.
"""

import math
from collections.abc import Callable
from functools import cached_property

import jax
import numpy as np

from jaxgan.metrics.base import Columns, Score
from jaxgan.metrics.lpips import Distance

_PIXELS = 100 * 256 * 256
"""Of each side, compared at a time: maps of large images are large."""


class LPIPS(Score):
    """Mean distance of pairs, and its deviation over them."""

    name = "lpips"
    kinds = ("image", "clip")
    needs = needs_real = frozenset({"image"})
    paired = True
    better = "lower"
    of = "distance"
    summary = "how far images look from those that they should be; of pairs"
    published_as = "LPIPS on AlexNet, mean over pairs (Zhang et al. 2018)"
    published_with = "lpips-alexnet"

    @cached_property
    def _distances(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        distance = self.network
        assert isinstance(distance, Distance)
        params, compare = jax.device_put(distance.params), jax.jit(distance.apply)

        def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            size = max(1, _PIXELS // math.prod(a.shape[1:3]))
            parts = [
                compare(params, *(x[i : i + size].astype(np.float32) / 127.5 - 1 for x in (a, b)))
                for i in range(0, len(a), size)
            ]
            return np.concatenate([np.asarray(part) for part in parts])

        return distances

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Compares row i of one side with row i of the other."""
        assert generated is not None
        assert real is not None
        found = self._distances(generated["image"], real["image"])
        self.generated = [*(self.generated or []), found]

    def result(self) -> dict[str, tuple[float, float]]:
        """{"lpips": (mean, deviation)}."""
        found = np.concatenate(self.generated).astype(np.float64)
        return {self.name: (float(found.mean()), float(found.std()))}
