"""Scores of generated images, and the networks that they compare images by.

One file a score, one a network. `SCORES` is the table: a new score is a file and a row.
"""

from jaxgan.errors import UserError
from jaxgan.metrics.base import Score
from jaxgan.metrics.classification_accuracy import CAS
from jaxgan.metrics.clips import ClipFID, Consistency, SpeedError
from jaxgan.metrics.fidelity import BPP, MSSSIM, PSNR, SSIM, Chroma
from jaxgan.metrics.frechet import FID, IntraFID
from jaxgan.metrics.inception_score import InceptionScore
from jaxgan.metrics.kernel import KID
from jaxgan.metrics.manifold import DensityCoverage, PrecisionRecall
from jaxgan.metrics.path_length import PPL
from jaxgan.metrics.perceptual import LPIPS
from jaxgan.metrics.prediction import EPE, MSE
from jaxgan.metrics.r_precision import RPrecision
from jaxgan.metrics.segmentation import Accuracy, Dice, IoU
from jaxgan.metrics.wasserstein import SWD

SCORES: dict[str, type[Score]] = {
    score.name: score
    for score in (
        FID,
        KID,
        InceptionScore,
        PrecisionRecall,
        DensityCoverage,
        IntraFID,
        SWD,
        PPL,
        LPIPS,
        PSNR,
        SSIM,
        MSSSIM,
        Chroma,
        BPP,
        MSE,
        EPE,
        CAS,
        RPrecision,
        IoU,
        Dice,
        Accuracy,
        ClipFID,
        Consistency,
        SpeedError,
    )
}
"""By the name that the command line takes."""


def giving(value: str) -> type[Score]:
    """The score whose result has a value of this name: "recall" is one of precision_recall.

    Raises:
        UserError: no score gives it.
    """
    for score in SCORES.values():
        if value in (score.gives or (score.name,)):
            return score
    known = [name for score in SCORES.values() for name in score.gives or (score.name,)]
    raise UserError(f"no score gives {value!r}: there are {', '.join(known)}")
