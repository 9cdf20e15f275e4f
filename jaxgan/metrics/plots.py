"""Scores as pictures: over the steps of a run, and fidelity against variety by truncation."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxgan.metrics import giving
from jaxgan.metrics.records import Record
from jaxgan.pictures import drawn, panels

_TRADES = (("recall", "precision"), ("coverage", "density"), ("fid", "is"))
"""Variety and fidelity: scores that truncation moves along a curve."""


def over_steps(records: Sequence[Record]) -> Image.Image:
    """A panel for each score: its value by step, with its deviation where it has one."""
    labels = list(dict.fromkeys(record.label for record in records))
    figure, axes = panels(len(labels))
    for axis, label in zip(axes, labels, strict=True):
        # An evaluation that was repeated counts once, as it came out last.
        mine = {record.step or 0: record for record in records if record.label == label}
        steps = sorted(mine)
        axis.errorbar(
            steps,
            [mine[step].value for step in steps],
            [mine[step].deviation or 0 for step in steps],
            marker="o",
            markersize=3,
            elinewidth=0.8,
        )
        axis.set_xlabel("step")
        axis.set_ylabel(_with_direction(mine[steps[0]]))
    return drawn(figure)


def over_truncations(records: Sequence[Record]) -> Image.Image:
    """Variety against fidelity where both were measured, else each score by truncation.

    A point for each truncation, joined in their order; without truncation comes last.
    """
    scores: dict[str, dict[float, Record]] = {}
    for record in records:
        truncation = float("inf") if record.truncation is None else record.truncation
        scores.setdefault(record.metric, {})[truncation] = record
    trades = [(scores[x], scores[y]) for x, y in _TRADES if x in scores and y in scores]
    alone = [] if trades else list(scores.values())
    figure, axes = panels(len(trades) or len(alone))
    for axis, (x, y) in zip(axes, trades, strict=False):
        truncations = sorted(x.keys() & y.keys())
        points = [(x[truncation].value, y[truncation].value) for truncation in truncations]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4)
        for truncation, point in zip(truncations, points, strict=True):
            axis.annotate(_text(truncation), point, (4, 4), textcoords="offset points", fontsize=8)
        axis.set_xlabel(_with_direction(x[truncations[0]]))
        axis.set_ylabel(_with_direction(y[truncations[0]]))
    for axis, y in zip(axes, alone, strict=False):
        truncations = sorted(y)
        axis.plot(list(map(_text, truncations)), [y[t].value for t in truncations], marker="o")
        axis.set_xlabel("truncation")
        axis.set_ylabel(_with_direction(y[truncations[0]]))
    return drawn(figure)


def _text(truncation: float) -> str:
    return "none" if np.isinf(truncation) else f"{truncation:g}"


def _with_direction(record: Record) -> str:
    return f"{record.label} ({giving(record.metric).better} is better)"
