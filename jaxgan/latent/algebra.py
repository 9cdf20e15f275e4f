"""Closed forms for directions in spaces of codes, on plain arrays, in float64.

Shen, Zhou, "Closed-Form Factorization of Latent Semantics in GANs" (SeFa), CVPR 2021; Harkonen et
al., "GANSpace", NeurIPS 2020; Shen et al., "InterFaceGAN", TPAMI 2020.
"""

from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgan.errors import UserError
from jaxgan.ranges import Positive, Rate, Seed, Share, Within, checked

_EXACT = 2048
"""Dimensions up to which a covariance is decomposed whole."""

_TINY = 1e-12


@checked
def sefa(
    matrix: Float[np.ndarray, "o d"], count: Positive | None = None, *, unit_rows: bool = True
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """Directions that change a linear layer's output most (SeFa, equation 7).

    Eigenvectors of A^T A, largest eigenvalues first; the number of largest size of each is
    positive. The authors' code sorts nothing and leaves signs to the solver.

    Args:
        matrix: A, of codes [d] to outputs [o].
        count: directions; None: as many as codes have numbers.
        unit_rows: every output's row is divided by its norm first, as in the authors' code; the
            paper does not. Rows of zeros are left out.

    Returns unit directions [k, d], and their eigenvalues.
    """
    rows = np.asarray(matrix, np.float64)
    if unit_rows:
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows[norms[:, 0] > _TINY] / norms[norms[:, 0] > _TINY]
    values, vectors = np.linalg.eigh(rows.T @ rows)
    order = np.argsort(-values, kind="stable")[:count]
    return signed(vectors.T[order]), values[order]


def signed(vectors: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k d"]:
    """Each with the sign for which its number of largest size is positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    return vectors * np.where(largest < 0, -1.0, 1.0)


class Components(NamedTuple):
    """Principal components.

    mean: [d].
    vectors: [k, d], unit, of the largest variance first.
    sigma: [k], standard deviations along them.
    share: [k], of the whole variance.
    """

    mean: Float[np.ndarray, " d"]
    vectors: Float[np.ndarray, "k d"]
    sigma: Float[np.ndarray, " k"]
    share: Float[np.ndarray, " k"]


@checked
def principal(x: Float[np.ndarray, "n d"], count: Positive, seed: Seed = 0) -> Components:
    """Principal components of rows.

    Up to 2,048 dimensions from the whole covariance; above, by a seeded subspace iteration with 10
    more vectors than are asked for and 6 rounds (Halko, Martinsson, Tropp 2011).

    Args:
        x: at least two rows.
        count: components; there are at most as many as dimensions, or rows less one, and those that
            carry less than a millionth of the variance, which may be rounding, are left out.
        seed: of the subspace iteration's start.
    """
    rows, size = x.shape
    count = min(count, size, rows - 1)
    mean = x.mean(0, dtype=np.float64)
    centred = x - mean.astype(x.dtype)
    if size <= _EXACT:
        values, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred / (rows - 1))
        values, vectors = values[::-1][:count], vectors.T[::-1][:count]
    else:
        wide = min(count + 10, rows, size)
        start = np.random.default_rng(seed).standard_normal((wide, rows)).astype(x.dtype)
        basis = np.linalg.qr((start @ centred).T)[0]
        for _ in range(6):
            basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
        _, values, turned = np.linalg.svd((centred @ basis).astype(np.float64), full_matrices=False)
        vectors, values = (turned @ basis.T)[:count], values[:count] ** 2 / (rows - 1)
    values = np.maximum(values, 0)
    whole = max(float(np.square(centred, dtype=np.float64).sum() / (rows - 1)), _TINY)
    kept = max(1, int(np.sum(values > 1e-6 * whole)))
    vectors, values = vectors[:kept], values[:kept]
    return Components(mean, signed(vectors), np.sqrt(values), values / whole)


def regression(
    coordinates: Float[np.ndarray, "n k"], codes: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "k d"]:
    """Directions in codes for coordinates in units of their deviations (GANSpace, equation 3).

    Least squares without an intercept, argmin |coordinates U - codes|; rows of unit norm. A row of
    zeros stays.
    """
    found = np.linalg.lstsq(coordinates.astype(np.float64), codes.astype(np.float64), rcond=None)[0]
    return unit(found)


def unit(vectors: Float[np.ndarray, "*k d"]) -> Float[np.ndarray, "*k d"]:
    """Each divided by its norm; zeros stay."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norm > _TINY, norm, 1)


def spread(
    codes: Float[np.ndarray, "n d"], vectors: Float[np.ndarray, "k d"]
) -> Float[np.ndarray, " k"]:
    """Standard deviation of codes along unit directions: the unit in which they are moved."""
    return (codes.astype(np.float64) @ vectors.T.astype(np.float64)).std(0)


def machine(
    x: Float[np.ndarray, "n d"],
    positive: np.ndarray,
    *,
    c: float = 1.0,
    tolerance: float = 1e-4,
    most: int = 200_000,
) -> tuple[Float[np.ndarray, " d"], float]:
    """A linear support vector machine: (w, b) for which w x + b has the sign of the class.

    The dual with its equality constraint, as scikit-learn's SVC(kernel="linear") has it, by pairs
    of second order (Fan, Chen, Lin, "Working set selection using second order information for
    training support vector machines", JMLR 2005).

    Args:
        x: rows of two classes.
        positive: bool [n], which class.
        c: what an error weighs.
        tolerance: by which the optimality conditions may be violated.
        most: steps.
    """
    x = x.astype(np.float64)
    y = np.where(positive, 1.0, -1.0)
    gram = x @ x.T
    weights, gradient = np.zeros(len(x)), -np.ones(len(x))
    diagonal = np.diag(gram)
    high = low = 0.0
    for _ in range(most):
        scores = -y * gradient
        up = np.where(positive, weights < c, weights > 0)
        down = np.where(positive, weights > 0, weights < c)
        first = int(np.where(up, scores, -np.inf).argmax())
        high, low = float(scores[first]), float(scores[down].min())
        if high - low < tolerance:
            break
        gap = high - scores
        bend = np.maximum(diagonal[first] + diagonal - 2 * gram[first], _TINY)
        second = int(np.where(down & (gap > 0), gap * gap / bend, -np.inf).argmax())
        room = (
            c - weights[first] if positive[first] else weights[first],
            weights[second] if positive[second] else c - weights[second],
        )
        step = min(gap[second] / bend[second], *room)
        for index, by in ((first, step), (second, -step)):
            weights[index] = np.clip(weights[index] + y[index] * by, 0, c)
        gradient += y * (gram[:, first] - gram[:, second]) * step
    return (weights * y) @ x, (high + low) / 2


class Boundary(NamedTuple):
    """A hyperplane between codes with high and with low scores.

    normal: [d], unit, towards high scores.
    offset: where it lies along the normal: normal code - offset is a code's distance.
    held: accuracy on the extremes that were held out.
    rest: accuracy on all codes that are no extremes, split half way between the least and the
        largest score; NaN where there are none.
    """

    normal: Float[np.ndarray, " d"]
    offset: float
    held: float
    rest: float


@checked
def boundary(
    codes: Float[np.ndarray, "n d"],
    scores: Float[np.ndarray, " n"],
    *,
    others: Float[np.ndarray, "k d"] | None = None,
    extremes: Annotated[float, Within(0, 0.5, above=True)] = 0.02,
    split: Share = 0.7,
    c: Rate = 1.0,
    seed: Seed = 0,
) -> Boundary:
    """The boundary of a linear support vector machine in codes (InterFaceGAN, section 3).

    Args:
        codes: of samples.
        scores: of the same, of one attribute.
        others: normals of boundaries that the normal is then conditioned on (`conditioned`). The
            plane turns about the point in which the line along the new normal from the codes' mean
            meets it: codes that are like the mean in all else are parted where they were. What is
            measured is measured of that plane.
        extremes: share of the codes with the highest scores, and as many with the lowest, that it
            learns from.
        split: share of these for training; the others are held out.
        c: what an error weighs.
        seed: of which are held out.

    Raises:
        UserError: too few codes, equal scores, or a normal that is made of the others.
    """
    chosen = int(len(codes) * extremes)
    trained = int(chosen * split)
    if trained < 1 or trained == chosen:
        raise UserError(
            f"{len(codes):,} codes have {chosen} extremes a side, of which {trained} train and "
            f"{chosen - trained} test: draw more, or take a larger share"
        )
    order = np.argsort(scores, kind="stable")
    lowest, rest, highest = np.split(order, [chosen, len(order) - chosen])
    if scores[lowest[-1]] >= scores[highest[0]]:
        raise UserError(
            f"{chosen} samples with the highest scores and {chosen} with the lowest have the same, "
            f"{scores[lowest[-1]]:g}: the attribute does not vary; draw more samples"
        )
    rng = np.random.default_rng(seed)
    sides = [rng.permutation(side) for side in (lowest, highest)]
    taken = np.concatenate([side[:trained] for side in sides])
    held = np.concatenate([side[trained:] for side in sides])
    middle = (float(scores.max()) + float(scores.min())) / 2
    found, intercept = machine(codes[taken], np.repeat([False, True], trained), c=c)
    normal, offset = unit(found), -intercept / max(float(np.linalg.norm(found)), _TINY)
    if others is not None:
        turned, mean = conditioned(normal, others), codes.mean(0, dtype=np.float64)
        offset = float(mean @ turned + (offset - mean @ normal) / (turned @ normal))
        normal = turned

    def accuracy(rows: Int[np.ndarray, " r"], positive: np.ndarray) -> float:
        if not len(rows):
            return float("nan")
        return float(((codes[rows] @ normal > offset) == positive).mean())

    return Boundary(
        normal,
        offset,
        accuracy(held, np.repeat([False, True], chosen - trained)),
        accuracy(rest, scores[rest] > middle),
    )


def conditioned(
    normal: Float[np.ndarray, " d"], others: Float[np.ndarray, "k d"]
) -> Float[np.ndarray, " d"]:
    """The direction without what it shares with others: n - B^T (B B^T)^-1 B n, of unit norm.

    InterFaceGAN, section 3.3: along it the others' attributes stay, as far as they are linear.

    Raises:
        UserError: nothing of it is left.
    """
    n, basis = normal.astype(np.float64), others.astype(np.float64)
    # Twice: what the first leaves by rounding, of parallel directions, the second takes.
    for _ in range(2):
        n = n - basis.T @ (np.linalg.pinv(basis @ basis.T, rcond=1e-10) @ (basis @ n))
    if np.linalg.norm(n) < 1e-6 * max(float(np.linalg.norm(normal)), _TINY):
        raise UserError("the direction is made of those that it is conditioned on: nothing is left")
    return unit(n)
