"""Kernel distance of two sets of features: KID where the features are Inception's.

Bińkowski et al. 2018, "Demystifying MMD GANs", section 4: the squared maximum mean discrepancy for
the kernel (xᵀy / d + 1)³, estimated without bias, on average over subsets.
"""

import numpy as np
from jaxtyping import Float, Float64

from jaxgan.errors import UserError
from jaxgan.metrics.base import Score, joined


def kernel_distance(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m e"],
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation, over subsets, of the unbiased estimate of MMD².

    Unbiased estimates of a distance near 0 are negative as often as positive. In float64, because
    sums of size² kernel values of about 1 cancel down to 1e-3 and less. Memory is size².

    Args:
      x: features of one side.
      y: of the other.
      subsets: how many pairs of subsets.
      size: samples of a subset, drawn from each side without replacement. It is never cut: a mean
        over smaller subsets is noisier.
      seed: of the subsets.

    Raises:
      UserError: features of different sizes, a side with fewer than `size` samples, no subsets, or
        subsets of fewer than 2.
    """
    if x.shape[1] != y.shape[1]:
        raise UserError(
            f"features of {x.shape[1]} and {y.shape[1]} dimensions do not compare: take both "
            "sides' from one extractor"
        )
    if subsets < 1 or size < 2:
        raise UserError(
            f"{subsets} subsets of {size}: a kernel distance needs at least 1 subset of 2 samples"
        )
    if size > min(len(x), len(y)):
        raise UserError(
            f"subsets of {size} samples from sides of {len(x)} and {len(y)}: give more images or "
            "ask for smaller subsets"
        )
    rng = np.random.default_rng(seed)
    estimates = [
        _squared_mmd(
            *(
                side[rng.choice(len(side), size, replace=False)].astype(np.float64)
                for side in (x, y)
            )
        )
        for _ in range(subsets)
    ]
    return float(np.mean(estimates)), float(np.std(estimates))


def _squared_mmd(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n d"]) -> float:
    """E k(x, x') + E k(y, y') - 2 E k(x, y), no sample paired with itself (equation 4)."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        base = a @ b.T / a.shape[1] + 1
        return base * base * base

    def within(a: np.ndarray) -> float:
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


class KID(Score):
    """Kernel distance of features; subsets are smaller than 1,000 where there are fewer images."""

    name = "kid"
    needs = needs_real = frozenset({"features"})
    better = "lower"
    of = "features"
    summary = "kernel distance of features"
    published_as = (
        "Inception-v3 pool3, mean and standard deviation over 100 subsets of 1,000 images a side "
        "(Binkowski et al. 2018)"
    )
    published_with = "inception-v3-fid"

    def result(self) -> dict[str, tuple[float, float | None]]:
        """{"kid": mean and standard deviation over subsets}.

        The deviation is None where subsets share most of their images, for it is then of no use as
        an error: with subsets of more than half of a side.
        """
        x, y = joined(self.generated, "features"), joined(self.real, "features")
        size = min(1000, len(x), len(y))
        if size == len(x) == len(y):  # the one subset of this size is the whole
            mean, _ = kernel_distance(x, y, subsets=1, size=size, seed=self.seed)
            return {self.name: (mean, None)}
        mean, deviation = kernel_distance(x, y, size=size, seed=self.seed)
        return {self.name: (mean, deviation if 2 * size <= min(len(x), len(y)) else None)}
