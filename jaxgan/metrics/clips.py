"""Scores of clips, by a network that looks at single frames.

FID of clips: the Fréchet distance of pairs (features of a frame, their difference to the next
frame's), so that both how frames look and how they change count. There is no published network for
it: which one made the features is in the record. Content consistency: the share of frames that are
recognised as what most frames of their clip are.
"""

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, UInt8

from jaxgan.errors import UserError
from jaxgan.fields.pixels import text
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.frechet import Moments, frechet_distance
from jaxgan.metrics.images import features
from jaxgan.metrics.records import Record
from jaxgan.parallel.mesh import make_mesh

Clips = UInt8[np.ndarray, "n t h w c"]

_PORTION = 64
"""Clips whose frames are in memory as features at a time."""


def moments_of_clips(clips: Clips, extractor: Extractor, *, mesh: Mesh | None = None) -> Moments:
    """Moments of (features of a frame, their difference to the next frame's), over all frames.

    Raises:
      UserError: No clips, or clips of one frame.
    """
    _check(clips)
    extract, found = features(extractor, mesh or make_mesh()), None
    for start in range(0, len(clips), _PORTION):
        part = clips[start : start + _PORTION]
        seen, _ = extract(part.reshape(-1, *part.shape[2:]))
        seen = seen.reshape(*part.shape[:2], -1)
        pairs = np.concatenate([seen[:, :-1], np.diff(seen, axis=1)], -1)
        moments = Moments.of(pairs.reshape(-1, pairs.shape[-1]))
        found = moments if found is None else found + moments
    assert found is not None
    return found


def consistency(
    clips: Clips, extractor: Extractor, *, mesh: Mesh | None = None
) -> tuple[float, float]:
    """Shares of frames, and of clips, that are recognised as one thing.

    The first: frames of the class that most frames of their clip are of. The second: clips all of
    whose frames are of one class.

    Raises:
      UserError: The extractor has no classes; no clips.
    """
    _check(clips)
    if not extractor.classes:
        raise UserError(f"{extractor.name} recognises no classes: give a classifier")
    _, logits = features(extractor, mesh or make_mesh())(clips.reshape(-1, *clips.shape[2:]))
    assert logits is not None
    classes = logits.argmax(-1).reshape(clips.shape[:2])
    most = np.array([np.bincount(row).max() for row in classes]) / clips.shape[1]
    return float(most.mean()), float((most == 1).mean())


def score_clips(
    made: Clips,
    real: Clips,
    extractor: Extractor,
    *,
    source: str,
    data: str,
    step: int | None = None,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> list[Record]:
    """Records of the scores of clips: "clip_fid" and, where frames are recognised, "consistency".

    Args:
      made: What is scored.
      real: What it is compared with, of as many frames of the same size.
      extractor: The network; its name and weights are in the records.
      source: Who made the clips.
      data: Fingerprint of the real ones.
      step: Iterations of the run.
      seed: Of the latents.
      mesh: Devices that share the work; all by default.

    Raises:
      UserError: The shapes differ; no clips, or clips of one frame.
    """
    if made.shape[1:] != real.shape[1:]:
        raise UserError(
            f"clips of {text(made.shape[1:])} are compared with clips of {text(real.shape[1:])}: "
            "bring them to one size and length"
        )
    both = [moments_of_clips(clips, extractor, mesh=mesh) for clips in (made, real)]
    values = {"clip_fid": frechet_distance(*both)}
    if extractor.classes:
        values["consistency"], _ = consistency(made, extractor, mesh=mesh)
    return [
        Record(
            metric=name,
            value=float(value),
            deviation=None,
            images=len(made),
            real_images=len(real) if name == "clip_fid" else 0,
            extractor=extractor.name,
            weights=extractor.weights,
            resize=extractor.resize,
            data=data,
            shape=text(made.shape[1:]),
            source=source,
            step=step,
            ema=None,
            truncation=None,
            seed=seed,
            classes="",
        )
        for name, value in values.items()
    ]


def speed(clips: Clips) -> Float[np.ndarray, " n"]:
    """How far the centre of brightness moves from frame to frame, in pixels, on average: [n].

    For clips of one bright thing on black.
    """
    light = clips.astype(np.float64).mean(-1)
    total = np.maximum(light.sum((2, 3)), 1e-9)
    rows, columns = (np.arange(size) for size in light.shape[2:])
    down = (light.sum(3) * rows).sum(2) / total
    across = (light.sum(2) * columns).sum(2) / total
    return np.hypot(np.diff(down, axis=1), np.diff(across, axis=1)).mean(1)


def _check(clips: Clips) -> None:
    if not len(clips) or clips.shape[1] < 2:
        raise UserError(f"clips are {text(clips.shape)}: give at least one, of two frames or more")
