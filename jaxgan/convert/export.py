"""What a run can do, for other programs: StableHLO, ONNX, safetensors, or PyTorch's files."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict
from jax import export

from jaxgan.backend import target
from jaxgan.config import to_json
from jaxgan.convert import FORMATS, onnx, peers
from jaxgan.convert.program import function_of
from jaxgan.describe import summary
from jaxgan.errors import UserError, printable
from jaxgan.files import refuse_bucket, writing
from jaxgan.metrics.records import read_records
from jaxgan.run.folder import read_import
from jaxgan.run.open import Run
from jaxgan.training.apply import evaluated

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(run: Run, use: str = "generate") -> bytes:
    """A use of the evaluated networks, weights inside, as `jax.export` serialises it.

    It is a function of ({name: [b, ...]} of all that the use takes, numbers [b] uint32), of any b,
    to {name: [b, ...]}, as networks see them: images float32 in [-1, 1], labels int32. The numbers
    say which noise a row has, where the use has any of its own. It runs on CPU, CUDA and TPU, and
    is lowered in the forms that jaxgan takes on GPUs and TPUs; its CPU forms sum in another order.

    `jax.export.deserialize(bytearray(content)).call({"z": z}, numbers)` runs it, without jaxgan.

    Raises:
        UserError: the system has no such use, or it takes something of no fixed size.
    """
    takes, of_rows = function_of(run, use)

    def call(taken: dict[str, jax.Array], number: jax.Array) -> dict[str, jax.Array]:
        made = of_rows({name: x[None] for name, x in taken.items()}, number[None])
        return {name: x[0] for name, x in made.items()}

    (b,) = export.symbolic_shape("b")
    inputs = {
        name: jax.ShapeDtypeStruct((b, *field.shape), field.dtype) for name, field in takes.items()
    }
    with target("gpu"):
        # One sample at a time under vmap: no network has to handle sizes that are symbols.
        program = export.export(jax.jit(jax.vmap(call)), platforms=PLATFORMS)
        return bytes(program(inputs, jax.ShapeDtypeStruct((b,), jnp.uint32)).serialize())


def tensors(run: Run, use: str = "generate") -> dict[str, np.ndarray]:
    """All variables of the networks that a use applies: {"params/block1/conv1/kernel": ...}.

    Under the network's name where there are several. They are those that it is evaluated with:
    averages where the run keeps them.
    """
    params, stats = jax.device_get(evaluated(run.system, run.stored))
    found: dict[str, Any] = {}
    names = _applied(run, use)
    for name in names:
        variables = {"params": params[name], **stats.get(name, {})}
        found |= {name: variables} if len(names) > 1 else variables
    return {path: np.array(leaf, order="C") for path, leaf in flatten_dict(found, sep="/").items()}


def _applied(run: Run, use: str) -> list[str]:
    """The trained networks that a use applies."""
    return sorted(run.applied(use) & set(run.system.networks()))


def card(run: Run, licence: str, use: str = "generate") -> str:
    """A model card in Markdown: what it is, from what data, how good, and on what terms."""
    system, state = run.system, run.stored
    config = to_json(run.experiment)
    origin = f"`{run.experiment.data.name}`"
    if imported := read_import(run.folder):
        files = ", ".join(
            f"`{_cell(Path(name).name)}` ({_cell(sha[:12])})"
            for name, sha in imported.files.items()
        )
        origin += f"; imported from {files} of {_cell(imported.format)}"
    averaged = set(_applied(run, use)) & set(state.ema)
    average = "averaged over iterations" if averaged else "of the last iteration"
    takes, gives = (
        ", ".join(f"{name} ({field.text()})" for name, field in fields.items())
        for fields in (run.takes(use), run.gives(use))
    )
    head = f"""\
---
license: {licence}
library_name: jaxgan
---

# {type(system).__name__}

{summary(type(system))}

| | |
|---|---|
| {use} gives | {gives}; images in [-1, 1] |
| from | {takes} |
| weights | {average}, step {int(state.step):,} |
| data | {origin} |
| licence | {licence} |
"""
    return f"{head}\n## Scores\n\n{_scores(run)}\n## Config\n\n```json\n{config}```\n"


def _scores(run: Run) -> str:
    """The run's records as a table: what was measured, its value, and how."""
    found = read_records(run.folder)
    if not found:
        return "Not evaluated.\n"
    rows = ["| metric | value | protocol |", "|---|---|---|"]
    for each in found:
        record: dict[str, Any] = dataclasses.asdict(each)
        metric, value = record.pop("metric"), record.pop("value")
        protocol = ", ".join(f"{key}: {it}" for key, it in record.items() if it not in (None, ""))
        rows.append(f"| {metric} | {value:.4g} | {_cell(protocol)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """A text in a table of Markdown."""
    return printable(text).replace("|", "/").replace("`", "'")


def export_run(
    run: Run,
    format: str,
    out: str | Path,
    *,
    use: str | None = None,
    licence: str = "unknown",
) -> tuple[list[Path], tuple[str, ...]]:
    """Writes FILE, and for safetensors its card beside it as FILE.md; or a folder of files.

    Args:
        run: of which system.
        format: "stablehlo", "safetensors", "onnx" or "pytorch".
        out: file; it is replaced if it exists. For "pytorch" also a folder, of all networks.
        use: what the program does, or whose networks are written; None: "generate".
        licence: of the weights, as an SPDX identifier such as "cc-by-4.0".

    Returns the files that were written, and what is to be known of them, in sentences.

    Raises:
        UserError: no such use, the run has no checkpoint, a format that the system cannot be
            written in, or the file cannot be written.
    """
    out = Path(out)
    refuse_bucket(out)
    folder = format == "pytorch" and out.suffix not in peers.SUFFIXES
    if not out.parent.is_dir() or (out.is_dir() and not folder):
        raise UserError(f"--out is {out}: give a file in a folder that exists")
    if folder and out.exists() and not out.is_dir():
        raise UserError(f"--out is {out}: give a folder, or a file in {', '.join(peers.SUFFIXES)}")
    if folder and use is not None:
        raise UserError(f"--use is {use}, but a folder holds all networks: give a file as --out")
    notes: tuple[str, ...] = ()
    if format == "pytorch":
        written, notes = _of_peer(run, out, None if folder else use or "generate")
    elif format == "onnx":
        content, notes = onnx.program(run, use or "generate")
        written = {out: content}
    elif format == "stablehlo":
        written = {out: stablehlo(run, use or "generate")}
    else:
        written = _with_card(run, out, use or "generate", licence)
    with writing(out):
        if folder:
            out.mkdir(exist_ok=True)
        for path, content in written.items():
            path.write_bytes(content)
    return list(written), notes


def _of_peer(run: Run, out: Path, use: str | None) -> tuple[dict[Path, bytes], tuple[str, ...]]:
    """Files by the names of the code that is imported; `use` chooses one, None: all."""
    format = peers.format_of(run.system)
    held = None if use is None else peers.file_of(run, _applied(run, use))
    found = peers.files(run)
    notes = (f"the layout of {format}, {FORMATS[format]}", *peers.notes(run))
    if held is None:
        return {out / name: peers.content(name, it) for name, it in found.items()}, notes
    if rest := [name for name in found if name != held]:
        notes += (f"without {' and '.join(rest)}: a folder as --out holds them, too",)
    return {out: peers.content(out, found[held])}, notes


def _with_card(run: Run, out: Path, use: str, licence: str) -> dict[Path, bytes]:
    """Variables as safetensors, and their card."""
    text = card(run, licence, use)
    metadata = {
        "format": "jaxgan",
        "system": type(run.system).__name__,
        "config": to_json(run.experiment),
        "data": run.experiment.data.name,
        "step": str(int(run.stored.step)),
        "license": licence,
        "model_card": text,
    }
    return {
        out: safetensors.numpy.save(tensors(run, use), metadata),
        out.with_name(f"{out.name}.md"): text.encode(),
    }
