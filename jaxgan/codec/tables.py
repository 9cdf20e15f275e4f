"""How likely whole numbers are, as tables of counts.

A table has the counts, out of 2^24, of the numbers from -reach to reach, and last that of an
escape: numbers beyond are coded as one, followed by themselves. Tables are derived from whole
numbers, so that the last bits of a network's floats do not reach them; those of `math`'s functions
are far below the 2^-24 that shares are rounded to. A file's check covers its tables all the same.
"""

import decimal
import functools
import itertools
import math

import numpy as np
from jaxtyping import Int

from jaxgan.nn.entropy import LARGEST_SCALE, LEAST_SCALE, LEVELS, LOGITS

TOTAL = 1 << 24
"""Counts of a table sum to this, as the coder's models have it."""

_LEAST, _LARGEST = (decimal.Decimal(str(scale)) for scale in (LEAST_SCALE, LARGEST_SCALE))
_UNIT = 1 << 20

_TAIL = 2.0**-20
"""Mass of a Gaussian that is left to the escape, at most."""


@functools.cache
def scales() -> tuple[int, ...]:
    """The 64 scales from 0.11 to 256, evenly spaced by their logarithms, in units of 2^-20."""
    with decimal.localcontext(decimal.Context(prec=40)):
        low, high = _LEAST.ln(), _LARGEST.ln()
        steps = [low + (high - low) * place / (LEVELS - 1) for place in range(LEVELS)]
        return tuple(int((step.exp() * _UNIT).to_integral_value()) for step in steps)


@functools.cache
def gaussian(level: int) -> Int[np.ndarray, " n"]:
    """The table of whole numbers that are a rounded Gaussian of mean 0 and the level's scale."""
    root = scales()[level] / _UNIT * math.sqrt(2)
    reach = 1
    while math.erfc((reach + 0.5) / root) > _TAIL:
        reach += max(1, reach // 16)
    # Of places below 0, where differences of tails keep their digits; the other side mirrors them.
    edges = [math.erfc((place + 0.5) / root) / 2 for place in range(reach + 1)]
    side = [upper - lower for upper, lower in itertools.pairwise(edges)]
    middle = 1 - 2 * edges[0]
    return counts(np.array([*side[::-1], middle, *side, 2 * edges[-1]]))


def of_logits(logits: Int[np.ndarray, " e"]) -> Int[np.ndarray, " n"]:
    """The table of a cumulative function whose logits at -reach - 1/2 ... reach + 1/2 are known.

    Args:
        logits: in units of 1/1024, rising; an even number of them.
    """
    logits = np.maximum.accumulate(logits.astype(np.float64)) / LOGITS
    side = np.where(logits[1:] + logits[:-1] > 0, -1, 1)
    mass = np.abs(_sigmoid(side * logits[1:]) - _sigmoid(side * logits[:-1]))
    return counts(np.append(mass, _sigmoid(logits[0]) + _sigmoid(-logits[-1])))


def _sigmoid(x: np.ndarray | np.float64) -> np.ndarray:
    return np.vectorize(lambda v: 1 / (1 + math.exp(-v)), otypes=[np.float64])(x)


def counts(mass: np.ndarray) -> Int[np.ndarray, " n"]:
    """Shares as counts of at least 1 that sum to `TOTAL`; what rounding leaves goes to the largest.

    Args:
        mass: not negative, of a sum about 1.
    """
    whole = np.maximum(np.rint(mass / mass.sum() * TOTAL), 1).astype(np.int64)
    whole[np.argmax(mass)] += TOTAL - whole.sum()
    return whole


def information(table: Int[np.ndarray, " n"], symbols: Int[np.ndarray, " s"]) -> float:
    """Bits that a table gives to places in it, in all."""
    return float(-np.log2(table[symbols] / TOTAL).sum())
