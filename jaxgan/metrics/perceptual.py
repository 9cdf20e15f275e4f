"""LPIPS of pairs: how far images look from those that they should be.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric". The
distance is that of `lpips.py`, by AlexNet and of whole images, as the published code has it.
"""

import math
from collections.abc import Callable
from functools import cached_property, partial

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.metrics.base import PairScore
from jaxgan.metrics.lpips import Distance

_PIXELS = 100 * 256 * 256
"""Of each side, compared at a time: maps of large images are large."""


class LPIPS(PairScore):
    """Mean distance of pairs, and its deviation over them."""

    name = "lpips"
    better = "lower"
    of = "distance"
    summary = "how far images look from those that they should be; of pairs"
    published_as = "LPIPS on AlexNet, mean over pairs (Zhang et al. 2018)"
    published_with = "lpips-alexnet"

    @cached_property
    def _compare(self) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
        distance = self.network
        assert isinstance(distance, Distance)
        return partial(jax.jit(distance.apply), jax.device_put(distance.params))

    def each(
        self, a: UInt8[np.ndarray, "n h w c"], b: UInt8[np.ndarray, "n h w c"]
    ) -> Float[np.ndarray, " n"]:
        """The distance of each pair."""
        size = max(1, _PIXELS // math.prod(a.shape[1:3]))
        parts = [
            self._compare(*(x[i : i + size].astype(np.float32) / 127.5 - 1 for x in (a, b)))
            for i in range(0, len(a), size)
        ]
        return np.concatenate([np.asarray(part) for part in parts])
