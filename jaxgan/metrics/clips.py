"""Scores of clips, by a network that looks at single frames, and by where brightness lies.

FID of clips: the Fréchet distance of pairs (features of a frame, their difference to the next
frame's), so that both how frames look and how they change count. Papers have the distance of I3D's
features of whole clips (Unterthiner et al. 2018, FVD), whose weights cannot be had here; which
network made the features is in the record.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.errors import UserError
from jaxgan.fields.pixels import text
from jaxgan.metrics.base import Columns, Score, joined
from jaxgan.metrics.frechet import Moments, frechet_distance

CERTAIN = 0.9
"""The probability of a class from which on a frame is recognised."""


class ClipFID(Score):
    """Fréchet distance of frames and of what changes between them."""

    name = "clip_fid"
    kinds = ("clip",)
    needs = needs_real = frozenset({"frame_features"})
    statistics = Moments
    better = "lower"
    of = "features"
    summary = "Fréchet distance of features of frames and of their differences"
    published_as = "FVD: the distance of I3D's features of whole clips (Unterthiner et al. 2018)"
    published_with = "i3d"

    def gather(self, so_far: Moments | None, batch: Columns) -> Moments:
        """Moments of (features of a frame, their difference to the next frame's)."""
        seen = batch["frame_features"]
        if seen.shape[1] < 2:
            raise UserError(f"{self.name} is of clips of two frames or more: leave it out")
        pairs = np.concatenate([seen[:, :-1], np.diff(seen, axis=1)], -1)
        moments = Moments.of(pairs.reshape(-1, pairs.shape[-1]))
        return moments if so_far is None else so_far + moments

    def result(self) -> dict[str, float]:
        """{"clip_fid": distance}."""
        return {self.name: frechet_distance(self.generated, self.real)}


class Consistency(Score):
    """Whether frames are recognised, and as one thing all along a clip.

    "recognised": the share of frames of one class with a probability of `CERTAIN` or more.
    "consistency": of the frames of a clip, those of the class that most are of. "consistent_clips":
    the share of clips all of whose frames are of one class.
    """

    name = "consistency"
    kinds = ("clip",)
    gives = ("recognised", "consistency", "consistent_clips")
    needs = frozenset({"frame_logits"})
    better = "higher"
    of = "features"
    summary = "frames that are recognised, and as what the others of their clip are; shares"
    published_as = "identities of faces, compared by OpenFace (Tulyakov et al. 2018)"
    published_with = "openface"

    def result(self) -> dict[str, float]:
        """The three shares, in [0, 1]."""
        logits = joined(self.generated, "frame_logits").astype(np.float64)
        chances = np.exp(logits - logits.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        classes = logits.argmax(-1)
        most = np.array([np.bincount(row).max() for row in classes]) / classes.shape[1]
        return {
            "recognised": float((chances.max(-1) >= CERTAIN).mean()),
            "consistency": float(most.mean()),
            "consistent_clips": float((most == 1).mean()),
        }


class SpeedError(Score):
    """How far the speed of what is bright is from the data's: |mean / mean - 1|.

    For clips of bright things on black; speed is how far the centre of brightness moves from frame
    to frame.
    """

    name = "speed_error"
    kinds = ("clip",)
    needs = needs_real = frozenset({"clip"})
    better = "lower"
    of = "pixels"
    summary = "how far the mean speed of the centre of brightness is from the data's, a share"
    published_as = "no protocol; of clips such as Moving MNIST's (Srivastava et al. 2015)"
    published_with = "pixels"

    def gather(self, so_far: Any, batch: Columns) -> Any:
        """Speeds of clips."""
        return (*(so_far or ()), speed(batch["clip"]))

    def result(self) -> dict[str, float]:
        """{"speed_error": share}."""
        made, real = (float(np.concatenate(each).mean()) for each in (self.generated, self.real))
        if not real:
            raise UserError(f"{self.name}: nothing moves in the data: leave it out")
        return {self.name: abs(made / real - 1)}


def speed(clips: UInt8[np.ndarray, "n t h w c"]) -> Float[np.ndarray, " n"]:
    """How far the centre of brightness moves from frame to frame, in pixels, on average."""
    if clips.shape[1] < 2:
        raise UserError(f"clips are {text(clips.shape)}: speed is of two frames or more")
    light = clips.astype(np.float64).mean(-1)
    total = np.maximum(light.sum((2, 3)), 1e-9)
    rows, columns = (np.arange(size) for size in light.shape[2:])
    down = (light.sum(3) * rows).sum(2) / total
    across = (light.sum(2) * columns).sum(2) / total
    return np.hypot(np.diff(down, axis=1), np.diff(across, axis=1)).mean(1)
