"""Scores as pictures: over the steps of a run, and fidelity against variety by truncation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jaxgan.metrics.records import LOWER_IS_BETTER, Record

_TRADES = (("recall", "precision"), ("coverage", "density"), ("fid", "is"))
"""Variety and fidelity: scores that truncation moves along a curve."""


def over_steps(records: Sequence[Record]) -> Image.Image:
    """A panel for each metric: its value by step, with its deviation where it has one."""
    metrics = list(dict.fromkeys(record.metric for record in records))
    figure, axes = _panels(len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        # An evaluation that was repeated counts once, as it came out last.
        mine = {record.step or 0: record for record in records if record.metric == metric}
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
        axis.set_ylabel(_label(metric))
    return _drawn(figure)


def over_truncations(records: Sequence[Record]) -> Image.Image:
    """Variety against fidelity where both were measured, else each metric by truncation.

    A point for each truncation, joined in their order; without truncation comes last.
    """
    values: dict[str, dict[float, float]] = {}
    for record in records:
        truncation = float("inf") if record.truncation is None else record.truncation
        values.setdefault(record.metric, {})[truncation] = record.value
    trades = [(x, y) for x, y in _TRADES if x in values and y in values]
    alone = [] if trades else list(values)
    figure, axes = _panels(len(trades) or len(alone))
    for axis, (x, y) in zip(axes, trades, strict=False):
        truncations = sorted(values[x].keys() & values[y].keys())
        points = [(values[x][truncation], values[y][truncation]) for truncation in truncations]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4)
        for truncation, point in zip(truncations, points, strict=True):
            text = "none" if np.isinf(truncation) else f"{truncation:g}"
            axis.annotate(text, point, (4, 4), textcoords="offset points", fontsize=8)
        axis.set_xlabel(_label(x))
        axis.set_ylabel(_label(y))
    for axis, metric in zip(axes, alone, strict=False):
        truncations = sorted(values[metric])
        texts = [
            "none" if np.isinf(truncation) else f"{truncation:g}" for truncation in truncations
        ]
        axis.plot(texts, [values[metric][truncation] for truncation in truncations], marker="o")
        axis.set_xlabel("truncation")
        axis.set_ylabel(_label(metric))
    return _drawn(figure)


def _label(metric: str) -> str:
    return f"{metric} ({'lower' if metric in LOWER_IS_BETTER else 'higher'} is better)"


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * count, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
    return figure, axes


def _drawn(figure: Any) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
