"""Networks by the names of the code whose files are imported: what import reads, written."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict

from jaxgan.convert import FORMATS, module_of
from jaxgan.convert.files import Part
from jaxgan.errors import UserError
from jaxgan.pth import writer
from jaxgan.run.open import Run
from jaxgan.system import System
from jaxgan.training.apply import evaluated
from jaxgan.training.step import undrawn

SUFFIXES = (".pth", ".pt", ".safetensors")
"""Of files; another --out is a folder."""


def format_of(system: System) -> str:
    """The format of `jaxgan.convert.FORMATS` that has the system's networks.

    Raises:
        UserError: there is none.
    """
    for name in FORMATS:
        if type(system) in module_of(name).SYSTEMS:
            return name
    raise UserError(
        f"{type(system).__name__} has no code in PyTorch whose files are imported here, and so no "
        "names for --format pytorch: give --format safetensors, stablehlo or onnx"
    )


def files(run: Run) -> dict[str, dict[str, Any]]:
    """{name of a file: tensors by name, below the network's name where it holds several}.

    Generators are as they are evaluated, averaged where the run keeps averages; where that code
    keeps both, the last iteration's is there, too. Networks that have no start yet are left out.

    Raises:
        UserError: there is no such code, or it has no such network.
    """
    system, state = run.system, run.stored
    format = format_of(system)
    module = module_of(format)
    averaged = jax.device_get(evaluated(system, state))
    last = jax.device_get((state.params, state.stats))
    absent = undrawn(state)
    found: dict[str, dict[str, Any]] = {}
    for name, parts in module.FILES.items():
        for prefix, part in parts.items():
            if _twice(part, module, run) or part.network in absent:
                continue
            params, stats = averaged if part.average else last
            table = module.table(system, part.network)
            tensors = table.write(params[part.network], stats.get(part.network, {}))
            held = found.setdefault(name, {})
            held |= {prefix.removesuffix("."): tensors} if prefix else tensors
    return found


def _twice(part: Part, module: ModuleType, run: Run) -> bool:
    """Whether a network is the same as its average, in a format that has both."""
    both = any(Part(part.network, True) in parts.values() for parts in module.FILES.values())
    return both and not part.average and part.network not in run.stored.ema


def file_of(run: Run, networks: list[str]) -> str:
    """The name of the file that holds the networks, as they are evaluated.

    Raises:
        UserError: they are in several files.
    """
    names = set()
    for network in networks:
        wanted = Part(network, True), Part(network)
        held = module_of(format_of(run.system)).FILES
        names.add(
            next(name for part in wanted for name, parts in held.items() if part in parts.values())
        )
    if len(names) != 1:
        raise UserError(
            f"{' and '.join(networks)} are in files of their own, {', '.join(sorted(names))}: give "
            "a folder as --out, or another --use"
        )
    return names.pop()


def notes(run: Run) -> tuple[str, ...]:
    """Where that code computes otherwise with the files, in sentences."""
    module = module_of(format_of(run.system))
    said = module.exported(run.system) if hasattr(module, "exported") else ()
    absent = undrawn(run.stored)
    return (*said, *(f"without the {name}, which has not begun to train" for name in absent))


def content(name: str | Path, tensors: Mapping[str, Any]) -> bytes:
    """What a file of that suffix holds."""
    if Path(name).suffix != ".safetensors":
        return writer.dumps(tensors)
    flat: dict[str, np.ndarray] = flatten_dict(dict(tensors), sep=".")
    return safetensors.numpy.save(flat, {"format": "pt"})
