"""A run's generator for other programs: StableHLO that any JAX runs, or safetensors with a card."""

import json
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
from jaxgan.describe import summary
from jaxgan.errors import UserError, writing
from jaxgan.run import Run
from jaxgan.training.sampling import evaluation_view

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(run: Run) -> bytes:
    """The evaluated generator, weights inside, as `jax.export` serialises it.

    It is a function of latents [b, z] float32 and, for conditional systems, labels [b] int32, of
    any b, to images [b, h, w, c] float32 in [-1, 1], for CPU, CUDA and TPU. It is lowered in the
    forms that jaxgan takes on GPUs and TPUs; its own CPU forms sum in another order.

    `jax.export.deserialize(bytearray(content)).call(latents, labels)` runs it, without jaxgan.
    """
    system = run.system
    state = jax.tree.map(jnp.asarray, jax.device_get(run.state))  # on one device

    def draw(latent: jax.Array, *label: jax.Array) -> jax.Array:
        view = evaluation_view(system, state)
        labels = label[0][None] if label else None
        return system.generate(view, latent[None], labels)[0].astype(jnp.float32)

    (b,) = export.symbolic_shape("b")
    inputs = [jax.ShapeDtypeStruct((b, system.latent), jnp.float32)]
    if system.classes:
        inputs.append(jax.ShapeDtypeStruct((b,), jnp.int32))
    with target("gpu"):
        # One sample at a time under vmap: no network has to know of sizes that are symbols.
        return bytes(
            export.export(jax.jit(jax.vmap(draw)), platforms=PLATFORMS)(*inputs).serialize()
        )


def tensors(run: Run) -> dict[str, np.ndarray]:
    """All variables of the evaluated generator: {"params/block1/conv1/kernel": ...}.

    Parameters and batch norm's statistics are the averages where the run keeps them.
    """
    state = jax.device_get(run.state)
    average = state.ema.get("generator", {})
    tree = {"params": state.params["generator"], **state.stats.get("generator", {}), **average}
    return {path: np.array(leaf, order="C") for path, leaf in flatten_dict(tree, sep="/").items()}


def card(run: Run, licence: str) -> str:
    """A model card in Markdown: what it is, from what data, how good, and on what terms."""
    system, state = run.system, run.state
    config = to_json(run.experiment)
    scores = _scores(run)
    imported = run.folder / "import.json"
    origin = f"`{run.experiment.data.source}`"
    if imported.is_file():
        facts = json.loads(imported.read_text())
        files = ", ".join(
            f"`{Path(name).name}` ({sha[:12]})" for name, sha in facts["files"].items()
        )
        origin += f"; imported from {files} of {facts['format']}"
    average = "averaged over iterations" if "generator" in state.ema else "of the last iteration"
    inputs = f"latents [b, {system.latent}]"
    if system.classes:
        inputs += f" and labels [b], 0 to {system.classes - 1}"
    head = f"""\
---
license: {licence}
library_name: jaxgan
---

# {type(system).__name__}

{summary(type(system))}

| | |
|---|---|
| generates | images {"x".join(map(str, system.shape))} in [-1, 1], from {inputs} |
| weights | {average}, step {int(state.step):,} |
| data | {origin} |
| licence | {licence} |
"""
    return f"{head}\n## Scores\n\n{scores}\n## Config\n\n```json\n{config}```\n"


def _scores(run: Run) -> str:
    """The run's records as a table: what was measured, its value, and how."""
    path = run.folder / "evaluations.jsonl"
    if not path.is_file():
        return "Not evaluated.\n"
    rows = ["| metric | value | protocol |", "|---|---|---|"]
    for line in path.read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        metric, value = record.pop("metric", "?"), record.pop("value", None)
        number = f"{value:.4g}" if isinstance(value, int | float) else str(value)
        protocol = ", ".join(f"{key}: {it}" for key, it in record.items() if it is not None)
        rows.append(f"| {metric} | {number} | {protocol.replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def export_run(run: Run, format: str, out: str | Path, *, licence: str = "unknown") -> list[Path]:
    """Writes FILE and, for safetensors, its card beside it as FILE.md.

    Args:
        run: which generator.
        format: "stablehlo" or "safetensors".
        out: file; it is replaced if it exists.
        licence: of the weights, as an SPDX identifier such as "cc-by-4.0".

    Returns the files that were written.

    Raises:
        UserError: the run has no checkpoint, or the file cannot be written.
    """
    out = Path(out)
    if run.system.directions:
        raise UserError(
            f"{type(run.system).__name__} in {run.folder} makes images from images: only "
            "generators that draw from latents are exported"
        )
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out is {out}: give a file in a folder that exists")
    written = {}
    if format == "safetensors" and "generator" not in run.system.networks():
        raise UserError(
            f"{type(run.system).__name__} in {run.folder} has no network that is the generator: "
            "export it as stablehlo"
        )
    if format == "stablehlo":
        written[out] = stablehlo(run)
    else:
        text = card(run, licence)
        metadata = {
            "format": "jaxgan",
            "system": type(run.system).__name__,
            "config": to_json(run.experiment),
            "data": run.experiment.data.source,
            "step": str(int(run.state.step)),
            "license": licence,
            "model_card": text,
        }
        written[out] = safetensors.numpy.save(tensors(run), metadata)
        written[out.with_name(f"{out.name}.md")] = text.encode()
    with writing(out):
        for path, content in written.items():
            path.write_bytes(content)
    return list(written)
