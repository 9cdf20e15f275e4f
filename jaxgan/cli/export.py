"""jaxgan export RUN: what it can do as a program, or its weights, for other frameworks."""

import dataclasses
from pathlib import Path
from typing import Literal

from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import say
from jaxgan.convert.export import export_run
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """As what, and where to."""

    out: Path
    """FILE; safetensors also write their model card, FILE.md. For pytorch, a FOLDER of all
    networks, or a FILE.pth or FILE.safetensors of one."""
    format: Literal["stablehlo", "safetensors", "pytorch", "onnx"] = "stablehlo"
    """stablehlo: a function that `jax.export` loads, without jaxgan; safetensors: arrays by name,
    with a model card; pytorch: state dicts with the names of the code whose files are imported;
    onnx: a function for ONNX's runtimes (needs jax2onnx)."""
    best: bool = False
    """Export the run's best checkpoint (train --evaluate.every), not the newest."""
    use: str | None = None
    """What the program does, or whose networks are written; see `jaxgan info RUN`. None:
    generate."""
    licence: str = "unknown"
    """Of the weights, for the model card: an SPDX identifier such as cc-by-4.0."""


def main(argv: list[str]) -> int:
    """Parses, exports, names the files."""
    folder, rest = take_target(argv, "export", "RUN")
    options = parse(
        Options, rest, prog=f"jaxgan export {folder}", description="Exports what a run can do."
    )
    run = Run(folder, best=options.best, trust_code=options.trust_code)
    written, notes = export_run(
        run, options.format, options.out, use=options.use, licence=options.licence
    )
    for path in written:
        say(f"{path}: {path.stat().st_size:,} bytes")
    for note in notes:
        say(f"{options.out}: {note}")
    return 0
