"""Fidelity and variety apart: precision and recall, density and coverage.

A set's manifold is taken as the union of balls around its samples, each reaching as far as the
k-th nearest other sample of the same set. All four scores count which samples of one set lie in
balls of the other.

Distances are computed block by block, in bounded memory, as |x|² + |y|² - 2 x·y in float32 with
full-precision products (no TF32, no bfloat16). Their rounding error is about 1e-7 (|x|² + |y|²),
and would swamp distances between features that lie far from the origin. So the origin is first
moved to the real sample nearest to the reals' mean: norms are then of the order of distances, and
squared distances good to about 1e-6. A sample changes sides only if it lies that close to a ball's
surface. A sample is taken, and not the mean itself, to keep integer features integers: their
distances, and what lies on a surface, are exact below 2^24.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int

from jaxgan.errors import UserError
from jaxgan.metrics.base import Score, joined, warn

_FEW = 2000
"""Images a side below which a score is told to depend on their number."""

_BLOCK = 4096  # samples a side of a block of distances: 64 MiB


class PrecisionAndRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float
    recall: float


class DensityAndCoverage(NamedTuple):
    """Density may exceed 1, coverage is a share."""

    density: float
    coverage: float


def precision_recall(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m e"], *, k: int = 3
) -> PrecisionAndRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    Precision: the share of fakes in the reals' manifold. Recall: the share of reals in the fakes'.
    A ball's surface belongs to it (≤). Both depend on how many samples there are: compare only
    scores of equal numbers, as many fakes as reals.

    Raises:
      UserError: features of different sizes, or a side with no more than k samples.
    """
    _check(real, fake, k)
    rows, columns = _in_blocks(real, fake)
    real_radii, fake_radii = _radii(rows, k), _radii(columns, k)
    recalled, precise = np.zeros(real_radii.shape, bool), np.zeros(fake_radii.shape, bool)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            in_real, in_fake = _memberships(
                _squared_distances(row, column), real_radii[i], fake_radii[j]
            )
            precise[j] |= in_real
            recalled[i] |= in_fake
    return PrecisionAndRecall(_mean(precise, len(fake)), _mean(recalled, len(real)))


def density_coverage(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m e"], *, k: int = 5
) -> DensityAndCoverage:
    """Density and coverage (Naeem et al. 2020, equations 4 and 5).

    Density: in how many of the reals' balls a fake lies, on average, over k. Coverage: the share of
    the reals' balls with a fake in them. A ball's surface does not belong to it (<). Both are 1 if
    the sets are identical. On average density does not depend on the number of fakes; coverage
    grows with it.

    Raises:
      UserError: features of different sizes, or a side with no more than k samples.
    """
    _check(real, fake, k)
    rows, columns = _in_blocks(real, fake)
    radii = _radii(rows, k)
    balls = np.zeros((len(columns), len(columns[0].norms)), int)
    covered = np.zeros(radii.shape, bool)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            of_fakes, of_balls = _occupancy(_squared_distances(row, column), radii[i])
            balls[j] += of_fakes
            covered[i] |= of_balls
    return DensityAndCoverage(_mean(balls, len(fake)) / k, _mean(covered, len(real)))


class _Block(NamedTuple):
    """Samples; filling at the end has infinite norms, and so is infinitely far from all."""

    points: Float[Array, "b d"]
    norms: Float[Array, " b"]


def _in_blocks(*sets: Float[np.ndarray, "_ d"]) -> list[list[_Block]]:
    """Each set's samples in blocks, all of one size, about the first's sample nearest its mean."""
    size = min(_BLOCK, max(map(len, sets)))
    parts = [[x[i : i + size].astype(np.float32) for i in range(0, len(x), size)] for x in sets]
    mean = sets[0].mean(0, dtype=np.float64).astype(np.float32)
    nearest = np.concatenate([np.square(part - mean).sum(1) for part in parts[0]]).argmin()
    origin = parts[0][nearest // size][nearest % size]
    return [[_block(part - origin, size) for part in blocks] for blocks in parts]


def _block(points: Float32[np.ndarray, "n d"], size: int) -> _Block:
    filling = (0, size - len(points))
    norms = np.pad(np.square(points).sum(1), filling, constant_values=np.inf)
    return _Block(jnp.asarray(np.pad(points, (filling, (0, 0)))), jnp.asarray(norms))


# A program of its own, whose result is stored: the same pair must give the same bits where a radius
# is found and where it is compared with, or no sample would ever lie exactly on a surface.
@jax.jit
def _squared_distances(rows: _Block, columns: _Block) -> Float[Array, "a b"]:
    products = jnp.matmul(rows.points, columns.points.T, precision=lax.Precision.HIGHEST)
    return jnp.maximum(rows.norms[:, None] + columns.norms - 2 * products, 0)


@jax.jit
def _nearest(nearest: Float[Array, "a k"], distances: Float[Array, "a b"]) -> Float[Array, "a k"]:
    """The k smallest of both, ascending."""
    both = jnp.concatenate([nearest, distances], axis=1)
    return -lax.top_k(-both, nearest.shape[1])[0]


def _radii(blocks: list[_Block], k: int) -> Float32[np.ndarray, "blocks b"]:
    """Squared distance of each sample to the k-th nearest other; -1, no ball, for the filling."""
    radii = []
    for rows in blocks:
        # With itself the sample meets k + 1.
        nearest = jnp.full((len(rows.norms), k + 1), jnp.inf)
        for columns in blocks:
            nearest = _nearest(nearest, _squared_distances(rows, columns))
        radii.append(np.where(np.isfinite(rows.norms), nearest[:, -1], -1))
    return np.stack(radii)


@jax.jit
def _memberships(
    distances: Float[Array, "a b"], row_radii: Float[Array, " a"], column_radii: Float[Array, " b"]
) -> tuple[Bool[Array, " b"], Bool[Array, " a"]]:
    """Whether a column lies in any row's ball, and a row in any column's."""
    return (distances <= row_radii[:, None]).any(0), (distances <= column_radii).any(1)


@jax.jit
def _occupancy(
    distances: Float[Array, "a b"], row_radii: Float[Array, " a"]
) -> tuple[Int[Array, " b"], Bool[Array, " a"]]:
    """In how many rows' balls a column lies, and whether a column lies in a row's ball."""
    inside = distances < row_radii[:, None]
    return inside.sum(0), inside.any(1)


def _mean(values: np.ndarray, count: int) -> float:
    """Mean of the first `count` in blocks: the rest is filling."""
    return float(values.reshape(-1)[:count].mean())


def _check(real: np.ndarray, fake: np.ndarray, k: int) -> None:
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"features of {real.shape[1]} and {fake.shape[1]} dimensions do not compare: take both "
            "sides' from one extractor"
        )
    if k < 1 or min(len(real), len(fake)) <= k:
        raise UserError(
            f"{k} nearest neighbours among {len(real)} real and {len(fake)} generated samples: "
            "give more images, or ask for at least 1 and for fewer neighbours"
        )


class _Manifolds(Score):
    """What both scores share: as many features of real images as of generated ones."""

    needs = needs_real = frozenset({"features"})
    better = "higher"
    of = "features"
    published_with = "vgg16-fc2"

    def _sides(self) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        real, fake = joined(self.real, "features"), joined(self.generated, "features")
        count = min(len(real), len(fake))
        if len(real) != len(fake):
            warn(
                f"{self.name} takes as many of both: {count:,} of {len(fake):,} generated and "
                f"{len(real):,} real images"
            )
        if count < _FEW:
            warn(
                f"{self.name} of {count:,} images a side: the fewer they are, the larger are the "
                "balls about them; compare it with scores of as many alone"
            )
        return real[:count], fake[:count]


class PrecisionRecall(_Manifolds):
    """Improved precision and recall, of 3 nearest neighbours."""

    name = "precision_recall"
    gives = ("precision", "recall")
    summary = "shares of fakes like reals, and of reals like fakes"
    published_as = (
        "VGG16's second fully connected layer, k = 3, 50,000 images a side (Kynkaanniemi et al. "
        "2019)"
    )

    def result(self) -> dict[str, float]:
        """{"precision": share, "recall": share}."""
        return precision_recall(*self._sides())._asdict()


class DensityCoverage(_Manifolds):
    """Density and coverage, of 5 nearest neighbours."""

    name = "density_coverage"
    gives = ("density", "coverage")
    summary = "how many reals a fake is like, and the share of reals with a fake near"
    published_as = (
        "VGG16's second fully connected layer, k = 5, 10,000 images a side (Naeem et al. 2020)"
    )

    def result(self) -> dict[str, float]:
        """{"density": mean number over k, "coverage": share}."""
        return density_coverage(*self._sides())._asdict()
