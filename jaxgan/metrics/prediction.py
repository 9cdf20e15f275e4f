"""How near predicted frames and flows are to those that came: mean squared error, end-point error.

Beside an error stand those of what knows nothing but the frames seen: of copying the last one, and
of constant velocity, where each pixel goes on as it came. How it came is the best match of the
pixels around it in the frame before, among whole shifts; no network is asked.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgan.errors import UserError
from jaxgan.metrics.base import Columns, Score

REACH = 6
"""Pixels that a shift is sought up to, in either direction."""
WINDOW = 9
"""Pixels a side of what is matched around a pixel."""

Frames = UInt8[np.ndarray, "n h w c"]
Clips = UInt8[np.ndarray, "n t h w c"]


def matched_flow(before: Frames, after: Frames) -> Int[np.ndarray, "n h w 2"]:
    """Whole flows to the right and down by which each pixel of `after` is found in `before`.

    That with the least squared difference over the window; of equal ones the shortest.
    """
    span = range(-REACH, REACH + 1)
    shifts = sorted(((x, y) for x in span for y in span), key=lambda at: at[0] ** 2 + at[1] ** 2)
    after = after.astype(np.int64)
    best = np.full(after.shape[:3], np.iinfo(np.int64).max)
    flow = np.zeros((*after.shape[:3], 2), int)
    for shift in shifts:
        constant = np.broadcast_to(np.array(shift), flow.shape)
        cost = _windowed(((moved(before, constant) - after) ** 2).sum(-1))
        better = cost < best
        best[better], flow[better] = cost[better], shift
    return flow


def moved(frames: Frames, flow: Int[np.ndarray, "n h w 2"]) -> Frames:
    """What lies at p + flow(p) of each frame; beyond the edges lie their pixels."""
    count, height, width = frames.shape[:3]
    x = np.clip(np.arange(width) + flow[..., 0], 0, width - 1)
    y = np.clip(np.arange(height)[:, None] + flow[..., 1], 0, height - 1)
    return frames[np.arange(count)[:, None, None], y, x]


def _windowed(values: Int[np.ndarray, "n h w"]) -> Int[np.ndarray, "n h w"]:
    """Sums over the window around each place; nothing lies beyond the edges."""
    half = WINDOW // 2
    for axis in (1, 2):
        edges = [(0, 0)] * 3
        edges[axis] = (half + 1, half)
        sums = np.pad(values, edges).cumsum(axis)
        size = values.shape[axis]
        high, low = (range(at, at + size) for at in (WINDOW, 0))
        values = sums.take(high, axis) - sums.take(low, axis)
    return values


def constant_velocity(seen: Clips, count: int) -> Clips:
    """`count` frames after those seen, of which there are two at least: pixels go on as they came.

    Raises:
        UserError: fewer frames are seen.
    """
    if seen.shape[1] < 2:
        raise UserError("constant velocity is of two frames at least, and fewer are seen")
    last, flow = seen[:, -1], matched_flow(seen[:, -2], seen[:, -1])
    return np.stack([carried(last, flow, ahead + 1) for ahead in range(count)], 1)


def carried(frames: Frames, flow: Int[np.ndarray, "n h w 2"], times: int) -> Frames:
    """Each pixel p of a frame at p - times flow(p); the fastest lies on top.

    Where none comes to lie, what `moved` has there: it came from there, so it is what is uncovered.
    """
    count, height, width = frames.shape[:3]
    made = moved(frames, times * flow)
    order = np.argsort((flow**2).sum(-1).reshape(count, -1), axis=1, kind="stable")
    y, x = np.unravel_index(order, (height, width))
    rows = np.arange(count)[:, None]
    to_x, to_y = x - times * flow[rows, y, x, 0], y - times * flow[rows, y, x, 1]
    inside = (to_x >= 0) & (to_x < width) & (to_y >= 0) & (to_y < height)
    for row in range(count):
        at = inside[row]
        made[row, to_y[row][at], to_x[row][at]] = frames[row, y[row][at], x[row][at]]
    return made


class MSE(Score):
    """Mean squared error of predicted frames, beside those of copying and of constant velocity."""

    name = "mse"
    gives = (
        "mse",
        "mse_copy",
        "mse_velocity",
        "next_mse",
        "next_mse_copy",
        "next_mse_velocity",
    )
    kinds = ("clip",)
    needs = frozenset({"clip"})
    needs_real = frozenset({"clip", "seen"})
    paired = True
    better = "lower"
    of = "pixels"
    summary = (
        "mean squared error of predicted frames, of all and of the next one; of copying the last "
        "frame, and of constant velocity"
    )
    published_as = "mean over clips and predicted frames, of pixels in [0, 1] (Liang et al. 2017)"
    published_with = "pixels"

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Compares row i of one side with row i of the other."""
        assert generated is not None
        assert real is not None
        true, seen = real["clip"], real["seen"]
        guesses = {"mse": generated["clip"]}
        if seen.shape[1]:
            guesses["mse_copy"] = np.broadcast_to(seen[:, -1:], true.shape)
        if seen.shape[1] > 1:
            guesses["mse_velocity"] = constant_velocity(seen, true.shape[1])
        errors = {name: _squared(clips, true) for name, clips in guesses.items()}
        self.generated = [*(self.generated or []), errors]

    def result(self) -> dict[str, tuple[float, float]]:
        """{name: (mean, deviation over clips)} for all of `gives` that the seen frames allow."""
        found = {}
        for name in self.generated[0]:
            errors = np.concatenate([batch[name] for batch in self.generated])
            found[name] = _spread(errors.mean(1))
            found[f"next_{name}"] = _spread(errors[:, 0])
        return {name: found[name] for name in self.gives if name in found}


def _squared(a: Clips, b: Clips) -> Float[np.ndarray, "n t"]:
    """Of pixels in [0, 1], by frame."""
    return ((a.astype(np.float64) - b) ** 2).mean((2, 3, 4)) / 255**2


class EPE(Score):
    """End-point error of flows, beside that of no motion."""

    name = "epe"
    gives = ("epe", "epe_still")
    kinds = ("clip",)
    needs = needs_real = frozenset({"flow"})
    paired = True
    better = "lower"
    of = "pixels"
    summary = "how far flows miss where pixels come from, in pixels; and that of no motion"
    published_as = "mean over pixels whose true flow is known (Baker et al. 2011)"
    published_with = "pixels"

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Compares row i of one side with row i of the other."""
        assert generated is not None
        assert real is not None
        true = np.asarray(real["flow"], np.float64)
        known: Any = np.isfinite(true).all(-1)
        found = [
            (_length(flow[at] - each[at]), _length(each[at]))
            for flow, each, at in zip(generated["flow"], true, known, strict=True)
            if at.any()
        ]
        self.generated = [*(self.generated or []), *found]

    def result(self) -> dict[str, tuple[float, float]]:
        """{"epe": (mean, deviation over clips), "epe_still": the same}.

        Raises:
            UserError: no flow is known.
        """
        if not self.generated:
            raise UserError(
                "epe compares flows, and the data know none of these clips: leave it out"
            )
        errors, still = np.array(self.generated).T
        return {"epe": _spread(errors), "epe_still": _spread(still)}


def _length(flows: Float[np.ndarray, "n 2"]) -> float:
    """On average."""
    return float(np.linalg.norm(flows, axis=-1).mean())


def _spread(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std())
