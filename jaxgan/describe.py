"""What an experiment consists of, as plain data: computed from shapes alone, so instantly."""

import dataclasses
import inspect
import itertools
import math
from typing import Any

import jax

from jaxgan.config import Experiment
from jaxgan.system import System
from jaxgan.training.loop import spans


def parameter_counts(system: System) -> dict[str, int]:
    """{network: number of trainable scalars}, without computing any of them."""
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
        for name, tree in params.items()
    }


def describe(experiment: Experiment) -> dict[str, Any]:
    """System, networks, players, stages and data as JSON-able values."""
    system = experiment.system
    stages = system.stages()
    players = {
        (player.name, player.owns): player
        for player in itertools.chain.from_iterable(stage.players for stage in stages)
    }
    return {
        "system": type(system).__name__,
        "summary": summary(type(system)),
        "networks": {
            name: {"parameters": count} for name, count in parameter_counts(system).items()
        },
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
                "batch": stage.batch or experiment.batch,
                "draws": stage.draws,
                "resolution": stage.resolution,
            }
            for stage, begin, end in spans(stages, experiment.steps)
        ],
        "data": {
            **dataclasses.asdict(experiment.data),
            "shape": list(system.shape),
            **({} if system.input_shape is None else {"input_shape": list(system.input_shape)}),
            "classes": system.classes,
        },
    }


def summary(kind: type) -> str:
    """The first line of the module's docstring: the paper's name and what it is."""
    module = inspect.getmodule(kind)
    text = (module.__doc__ if module else None) or kind.__doc__ or ""
    return text.strip().splitlines()[0] if text.strip() else ""
