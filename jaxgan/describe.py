"""What an experiment consists of, as plain data: computed from shapes alone, so instantly."""

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import jax

from jaxgan.config import Experiment
from jaxgan.fields import Number, Resolution
from jaxgan.run.batches import batch_of
from jaxgan.run.open import translations
from jaxgan.system import System, Taken, given_by, stages_of, taken_by
from jaxgan.training.loop import spans
from jaxgan.training.show import shown_use

About = Mapping[str, Mapping[str, Any]]
"""What only the data know of fields, by name: `Run.about`."""

WHENCE = {
    "random": "drawn at random",
    "data": "drawn from the data",
    "default": "",
    "given": "must be given",
}
"""Where a use has from what it is not given, in words."""


def parameter_counts(system: System) -> dict[str, int]:
    """{network: number of trainable scalars}, without computing any of them.

    Pretrained networks, which are not trained, are not among them.
    """
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
        for name, tree in params.items()
    }


def describe(
    experiment: Experiment, *, resolution: Resolution | None = None, about: About | None = None
) -> dict[str, Any]:
    """System, uses, networks, players, stages and data as JSON-able values.

    Args:
        experiment: what to describe.
        resolution: at which uses are described; None: of the last stage.
        about: what only the data know.
    """
    system = experiment.system
    stages = stages_of(system)
    players = {
        (player.name, player.owns): player
        for player in itertools.chain.from_iterable(stage.players for stage in stages)
    }
    return {
        "system": type(system).__name__,
        "summary": summary(type(system)),
        "uses": uses(system, resolution or stages[-1].resolution, about),
        "networks": {
            name: {"parameters": count} for name, count in parameter_counts(system).items()
        },
        "pretrained": {name: {"sha256": it.sha256} for name, it in system.pretrained().items()},
        "players": [
            {
                "name": player.name,
                "owns": list(player.owns),
                "repeats": player.repeats,
                "every": player.every,
                "slot": player.slot,
            }
            for player in players.values()
        ],
        "stages": [
            {
                "steps": end - begin,
                "batch": batch_of(experiment, stage),
                "draws": stage.draws,
                "resolution": stage.resolution,
            }
            for stage, begin, end in spans(stages, experiment.steps)
        ],
        "data": {
            **dataclasses.asdict(dataclasses.replace(experiment.data, source="")),
            "source": experiment.data.name,
            "columns": list(experiment.data.columns),
            "fields": [
                {name: field.text() for name, field in group.items()} for group in system.data()
            ],
        },
    }


def uses(
    system: System, resolution: Resolution | None = None, about: About | None = None
) -> dict[str, dict[str, Any]]:
    """What a system can do: of each use what it takes, gives, and its options, in words."""
    about = about or {}

    def described(use: Any) -> dict[str, Any]:
        return {
            "summary": use.summary,
            "takes": {
                name: {
                    "field": taken.field.bind(about.get(taken.origin or name, {})).text(),
                    "from": whence(taken),
                }
                for name, taken in taken_by(system, use, None, resolution).items()
            },
            "gives": {
                name: field.text() for name, field in given_by(use, None, resolution).items()
            },
            "options": {
                field.name: {
                    "default": getattr(use.options, field.name),
                    "help": docstrings(type(use.options)).get(field.name, ""),
                }
                for field in (dataclasses.fields(use.options) if use.options else ())
            },
        }

    return {name: described(use) for name, use in system.uses().items()}


def whence(taken: Taken) -> str:
    """Where a use has something from that it is not given: one of `WHENCE`."""
    if taken.origin:
        return "data"
    if isinstance(taken.field, Number):
        return "default"
    return "random" if taken.drawn else "given"


def docstrings(kind: type) -> dict[str, str]:
    """What stands below the fields of a dataclass, by their names; {} where there is no source."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def next_command(system: System, folder: Any) -> str:
    """The command that shows what a trained system does: the first that works."""
    if "generate" in system.uses():
        return f"jaxgan sample {folder} --out samples.png"
    if translations(system):
        return f"jaxgan translate {folder} INPUT OUT"
    if name := shown_use(system):
        return f"jaxgan apply {folder} {name} --out picture.png"
    return f"jaxgan info {folder}"


def summary(kind: type) -> str:
    """The first line of the module's docstring: the paper's name and what it is."""
    module = inspect.getmodule(kind)
    text = (module.__doc__ if module else None) or kind.__doc__ or ""
    return text.strip().splitlines()[0] if text.strip() else ""
