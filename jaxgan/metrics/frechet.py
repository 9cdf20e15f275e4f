"""Fréchet distance of two sets of features: FID where the features are Inception's.

Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium", equation 6: ‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½), of Gaussians with the sets' means
and covariances.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from jaxgan import npz
from jaxgan.errors import UserError
from jaxgan.metrics.base import Columns, Score, warn


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of features, all that the distance needs of them.

    They are taken batch by batch, in float64: `Moments.of(a) + Moments.of(b)` are those of all
    features of a and b. Deviations from the means are what is summed, never raw products, so large
    means cost no digits.

    Attributes:
      mean: [d].
      covariance: [d, d], divided by count - 1; zeros for one sample.
      count: of samples; None where a file does not tell.
    """

    mean: Float64[np.ndarray, " d"]
    covariance: Float64[np.ndarray, "d d"]
    count: int | None

    @classmethod
    def of(cls, features: Float[np.ndarray, "n d"]) -> "Moments":
        """Moments of one batch.

        Raises:
          UserError: not a matrix with at least one row, or not finite.
        """
        if features.ndim != 2 or not len(features):
            raise UserError(
                f"features have shape {features.shape}, expected [samples, size] with at least one "
                "sample"
            )
        mean = features.mean(0, dtype=np.float64)
        if not np.isfinite(mean).all():
            raise UserError("features are not finite: look for NaN in images or in weights")
        deviations = features - mean
        covariance = deviations.T @ deviations / max(len(features) - 1, 1)
        return cls(mean, covariance, len(features))

    def __add__(self, other: "Moments") -> "Moments":
        _same_size(self, other)
        if self.count is None or other.count is None:
            raise UserError(
                "statistics without a count cannot be merged with others: make them anew from the "
                "images"
            )
        # Chan, Golub & LeVeque 1983, equation 2.1, as covariances.
        count = self.count + other.count
        delta = other.mean - self.mean
        between = np.outer(delta, delta * (self.count * other.count / count))
        within = (self.count - 1) * self.covariance + (other.count - 1) * other.covariance
        return Moments(
            self.mean + delta * (other.count / count), (within + between) / (count - 1), count
        )

    def save(self, path: str | Path) -> None:
        """Write an npz file with `mu`, `sigma` (as pytorch-fid has them) and, if known, `count`."""
        arrays = {"mu": self.mean, "sigma": self.covariance}
        if self.count is not None:
            arrays["count"] = np.array(self.count)
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Moments":
        """Read what `save` wrote, or the statistics of pytorch-fid and TTUR, which have no count.

        Raises:
          UserError: no such file, or not such a file. Pickled objects are refused.
        """
        arrays = npz.read(path, "statistics")
        if not {"mu", "sigma"} <= arrays.keys():
            raise UserError(
                f"{path}: has arrays {', '.join(arrays) or 'none'}, expected mu and sigma: make "
                "statistics anew from the images"
            )
        mean, covariance = arrays["mu"], arrays["sigma"]
        if mean.ndim != 1 or covariance.shape != mean.shape * 2:
            raise UserError(
                f"{path}: mu has shape {mean.shape} and sigma {covariance.shape}, expected [d] and "
                "[d, d]"
            )
        if any(x.dtype.kind != "f" or not np.isfinite(x).all() for x in (mean, covariance)):
            raise UserError(f"{path}: statistics are not finite floats; make them anew")
        count = int(arrays["count"]) if "count" in arrays else None
        return cls(mean.astype(np.float64), covariance.astype(np.float64), count)


def frechet_distance(a: Moments, b: Moments) -> float:
    """‖μ₁ - μ₂‖² + Tr Σ₁ + Tr Σ₂ - 2 Tr (Σ₁ Σ₂)^½, never negative, symmetric.

    With Σ₁ = F Fᵀ, the product Σ₁ Σ₂ has the eigenvalues of the symmetric, positive semidefinite
    Fᵀ Σ₂ F. So no square root of a matrix is needed, nothing turns complex, and covariances may be
    singular: with fewer samples than dimensions the result is exact to about 1e-8 of the largest
    eigenvalue times the number of dimensions.

    Raises:
      UserError: features of different sizes, or fewer than 2 samples.
    """
    _same_size(a, b)
    for moments in (a, b):
        if moments.count is not None and moments.count < 2:
            raise UserError(f"a Fréchet distance needs 2 samples a side, got {moments.count}")
    variances, axes = np.linalg.eigh(a.covariance)
    # What is below rounding is noise, and its root would be 1e-8 of the largest, not 1e-16.
    kept = variances > variances[-1] * len(variances) * np.finfo(np.float64).eps
    factor = axes[:, kept] * np.sqrt(variances[kept])
    eigenvalues = np.linalg.eigvalsh(factor.T @ b.covariance @ factor)
    root = np.sqrt(eigenvalues.clip(min=0)).sum()
    delta = a.mean - b.mean
    distance = delta @ delta + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root
    return max(float(distance), 0.0)


def _same_size(a: Moments, b: Moments) -> None:
    if a.mean.shape != b.mean.shape:
        raise UserError(
            f"features of {a.mean.size} and {b.mean.size} dimensions do not compare: take both "
            "sides' from one extractor"
        )


def expected_bias(
    covariance: Float64[np.ndarray, "d d"], count: int, other: int | None = None
) -> float:
    """The distance to be expected of two samples of one Gaussian: what a perfect generator scores.

    The means differ by (1/n + 1/m) Tr Σ. To second order in their difference Δ the distance of the
    covariances is ½ Σᵢⱼ Δᵢⱼ² / (λᵢ + λⱼ), with Σ's eigenvalues λ; Wishart's variances of Δ make
    that (1/n + 1/m) (½ Σᵢⱼ λᵢ λⱼ / (λᵢ + λⱼ) + ¼ Tr Σ), which is at most 2 Tr Σ. Good to a tenth
    where samples are more than dimensions that matter; with fewer it is the order of magnitude.

    Args:
      covariance: of the Gaussian.
      count: samples of one side, n.
      other: of the other, m; None: so many that they do not matter.
    """
    variances = np.linalg.eigvalsh(covariance)
    variances = variances[variances > variances[-1] * len(variances) * np.finfo(np.float64).eps]
    trace = variances.sum()
    halves = np.outer(variances, variances) / np.add.outer(variances, variances)
    share = 1 / count + (1 / other if other else 0)
    return float(share * trace + min(share * (halves.sum() / 2 + trace / 4), 2 * trace))


_FEW = 2000
"""Images below which a distance is mostly bias, whatever the size of features."""


def _warn_of_few(score: str, generated: Moments, real: Moments) -> None:
    counts = [moments.count for moments in (generated, real) if moments.count is not None]
    size = len(real.mean)
    if min(counts, default=_FEW) >= max(_FEW, size) or generated.count is None:
        return
    bias = expected_bias(real.covariance, generated.count, real.count)
    against = "" if real.count is None else f" against {real.count:,}"
    warn(
        f"{score} of {generated.count:,} images{against}, by features of {size:,} dimensions: with "
        f"so few even perfect ones would score about {bias:.3g}, not 0"
    )


class FID(Score):
    """Fréchet distance of features. Of either side it keeps the moments alone."""

    name = "fid"
    needs = needs_real = frozenset({"features"})
    statistics = Moments
    better = "lower"
    of = "features"
    summary = "Fréchet distance of features"
    published_as = (
        "Inception-v3 pool3, 50,000 generated images against the training set (Heusel et al. 2017)"
    )
    published_with = "inception-v3-fid"

    def gather(self, so_far: Moments | None, batch: Columns) -> Moments:
        """Moments of all features so far."""
        moments = Moments.of(batch["features"])
        return moments if so_far is None else so_far + moments

    def result(self) -> dict[str, float]:
        """{"fid": distance}; warns where it is mostly bias."""
        distance = frechet_distance(self.generated, self.real)
        _warn_of_few(self.name, self.generated, self.real)
        return {self.name: distance}


class IntraFID(Score):
    """Mean of the classes' FIDs, of classes that are on both sides."""

    name = "intra_fid"
    needs = needs_real = frozenset({"features", "label"})
    better = "lower"
    of = "features"
    summary = "mean of the classes' FIDs"
    published_as = (
        "mean over classes of FIDs of Inception-v3 pool3, against the class's training images "
        "(Miyato & Koyama 2018)"
    )
    published_with = "inception-v3-fid"

    def gather(self, so_far: dict[int, Moments] | None, batch: Columns) -> dict[int, Moments]:
        """Moments of each class so far."""
        found = dict(so_far or {})
        for k in map(int, np.unique(batch["label"])):
            moments = Moments.of(batch["features"][batch["label"] == k])
            found[k] = found[k] + moments if k in found else moments
        return found

    def result(self) -> dict[str, float]:
        """{"intra_fid": mean distance}; warns where the smallest class's is mostly bias."""
        both = sorted(self.generated.keys() & self.real.keys())
        if not both:
            raise UserError(f"{self.name}: no class is on both sides: leave it out")
        every = self.generated.keys() | self.real.keys()
        self.over = f"{len(both)} of {len(every)}"
        if few := len(every) - len(both) - self._unlike(every):
            warn(f"{self.name}: {few:,} classes have no images on one side, and do not count")
        distances = [frechet_distance(self.generated[k], self.real[k]) for k in both]
        least = min(both, key=lambda k: self.generated[k].count)
        _warn_of_few(f"{self.name}, class {least},", self.generated[least], self.real[least])
        return {self.name: float(np.mean(distances))}

    def _unlike(self, classes: Iterable[int]) -> int:
        """How many of the classes one side does not know, of which it was told already."""
        return 0 if self.common is None else sum(k not in self.common for k in classes)
