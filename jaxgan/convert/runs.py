"""An ordinary run from another framework's checkpoint: to sample, evaluate and train on."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.config import Data, Experiment, to_json
from jaxgan.convert import Converted, load
from jaxgan.errors import UserError
from jaxgan.run.folder import CHECKPOINTS, CONFIG, IMPORT, write_whole
from jaxgan.system import System
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.step import init_around

UNKNOWN = "unknown"
"""The data source of a run that was imported without one."""


def import_run(
    format: str,
    generator: str | Path,
    out: str | Path,
    *,
    discriminator: str | Path | None = None,
    data: Data | None = None,
    settings: Mapping[str, Any] | None = None,
    adjust: Callable[[System], System] | None = None,
) -> dict[str, Any]:
    """Writes a run whose networks are those of the files, at step 0.

    Averages, where the system keeps them, are the file's, or start as the imported weights.
    Networks that no file holds start anew, as all optimisers do.

    Args:
        format: one of `jaxgan.convert.FORMATS`.
        generator: file.
        out: folder of the run, new or empty.
        discriminator: file of the same training, for `jaxgan.convert.load`.
        data: what the run is to be trained on; None: it cannot be trained.
        settings: other fields of the Experiment.
        adjust: sets fields of the system, for `jaxgan.convert.load`.

    Returns what `out`/import.json holds, too: the format, the files' SHA-256, the uses of the
    system, the networks that start anew, the tensors that were left out, the fields that were
    guessed and set, and notes.

    Raises:
        UserError: the files cannot be converted (`jaxgan.convert.load`), or `out` not written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is no empty folder: choose another --out")
    converted = load(format, generator, discriminator, adjust)
    experiment = Experiment(
        system=converted.system, data=data or Data(source=UNKNOWN), **(settings or {})
    )
    state = init_around(
        experiment.system,
        converted.params,
        converted.stats,
        converted.averages,
        experiment.seed,
    )
    facts = _facts(format, converted, sorted(set(state.params) - set(converted.params)))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with Checkpoints(out / CHECKPOINTS, keep=experiment.checkpoint.keep) as checkpoints:
            checkpoints.save(state)
        write_whole(out / IMPORT, json.dumps(facts, indent=2) + "\n")
        # Last, so that a folder with a config holds all.
        write_whole(out / CONFIG, to_json(experiment))
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{out} cannot be written: {reason}; choose another --out") from error
    return facts


def _facts(format: str, converted: Converted, anew: list[str]) -> dict[str, Any]:
    """What import.json holds."""
    return {
        "format": format,
        "files": {
            path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in converted.files
        },
        "uses": list(converted.system.uses()),
        "parameters": {
            name: sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(tree))
            for name, tree in converted.params.items()
        },
        "anew": anew,
        "left_out": list(converted.left_out),
        "guessed": {
            name: {"value": value, "why": why} for name, (value, why) in converted.guessed.items()
        },
        "set": converted.chosen,
        "notes": list(converted.notes),
    }
