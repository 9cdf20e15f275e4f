"""Inception score: are single images recognisable, and are they of many classes?

Salimans et al. 2016, "Improved techniques for training GANs", section 4:
exp E_x KL(p(y|x) ‖ p(y)), where p(y) is the mean of p(y|x) over a split.
"""

import numpy as np
from jaxtyping import Float

from jaxgan.errors import UserError
from jaxgan.metrics.base import Score, joined, warn

_TOLERATED = 0.02
"""Share of the score that may be lost without a word."""


def inception_score(
    logits: Float[np.ndarray, "n classes"], *, splits: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of the score over splits; between 1 and the number of classes.

    Args:
      logits: unnormalised log probabilities. Probabilities p go in as log p; -inf is allowed.
      splits: equal parts, up to one sample, each scored for itself. With less than thousands of
        samples a split p(y) is noisy, its entropy too small, and so is the score: see `shortfall`.
      seed: of the shuffle before the split, because sets often lie sorted by class.

    Raises:
      UserError: fewer samples than splits, or no split.
    """
    if not 1 <= splits <= len(logits):
        raise UserError(
            f"{len(logits)} samples in {splits} splits: an Inception score needs at least one "
            "split, and a sample in each"
        )
    shuffled = np.random.default_rng(seed).permutation(logits.astype(np.float64))
    scores = []
    for part in np.split(shuffled, [len(logits) * i // splits for i in range(1, splits)]):
        p = _probabilities(part)
        scores.append(np.exp(_neg_entropy(p).mean() - _neg_entropy(p.mean(0))))
    return float(np.mean(scores)), float(np.std(scores))


def shortfall(logits: Float[np.ndarray, "n classes"], *, splits: int = 10) -> float:
    """The share by which a score of splits is expected below that of endless samples.

    To second order, a mean of m samples has less entropy than the mean of endless ones by
    Σₖ Var p(k|x) / (2 m p(k)), with m = n / splits; the score is the exponential. Good to a tenth
    while it is below a tenth.

    Args:
      logits: as for `inception_score`.
      splits: the same.
    """
    p = _probabilities(logits.astype(np.float64))
    mean = p.mean(0)
    seen = mean > 0
    lost = (p.var(0)[seen] / mean[seen]).sum() * splits / (2 * len(logits))
    return float(-np.expm1(-lost))


def _probabilities(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def _neg_entropy(p: Float[np.ndarray, "*b classes"]) -> Float[np.ndarray, "*b"] | np.floating:
    """Σ p ln p, with 0 ln 0 = 0."""
    return (p * np.log(np.where(p > 0, p, 1))).sum(-1)


class InceptionScore(Score):
    """Inception score of class logits, over 10 splits."""

    name = "is"
    needs = frozenset({"logits"})
    better = "higher"
    of = "features"
    summary = "are images recognisable, and of many classes; by class logits"
    published_as = (
        "Inception-v3, mean and standard deviation over 10 splits of 50,000 generated images "
        "(Salimans et al. 2016)"
    )
    published_with = "inception-v3-fid"

    def result(self) -> dict[str, tuple[float, float]]:
        """{"is": mean and standard deviation over splits}; warns where there are too few images."""
        logits = joined(self.generated, "logits")
        score = inception_score(logits, seed=self.seed)
        if (lost := shortfall(logits)) > _TOLERATED:
            warn(
                f"{self.name} of {len(logits):,} images in 10 splits: with so few it is expected "
                f"about {lost:.0%} too low"
            )
        return {self.name: score}
