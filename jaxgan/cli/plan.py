"""jaxgan plan CONFIG --topology T: what a training step would cost on hardware one lacks."""

import contextlib
import dataclasses
import json
import re
from typing import Annotated

import jax
import tyro
from rich.console import Console
from rich.table import Table

from jaxgan import config
from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import load_config, parse, take_target
from jaxgan.errors import UserError
from jaxgan.plan import Plan, plan
from jaxgan.ranges import Within

NOTE = """\
Bytes, FLOPs and collectives are per device and iteration. Times are estimates. "compiler": its
model of its own program, which knows no waiting for hosts or other chips; what a loop repeats is
scaled by FLOPs. "roofline": peak FLOP/s or bandwidth, whichever binds, a bound that no program
reaches; taken where the compiler says nothing that can be true. `jaxgan bench` measures."""


def main(argv: list[str]) -> int:
    """Parses, compiles for each topology in turn, prints a table or JSON."""
    target, options = take_target(argv, "plan", "CONFIG")
    loaded, _ = load_config(target)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        experiment: Annotated[config.Experiment, tyro.conf.arg(name="")] = loaded
        topology: tuple[str, ...] = ()
        """Hardware, such as tpu:v3:16x16, tpu:v5p:4x4x8, gpu:h100:8 or cpu:8; one or more."""
        stage: Annotated[int, Within(-1, 1000)] = -1
        """Which stage of the system, from 0; -1: the last."""
        json: bool = False
        """Print JSON: a list with one object a topology."""

    given = parse(
        Options,
        options,
        prog=f"jaxgan plan {target}",
        description="Compiles the training step for hardware that is not there. Every field of the "
        "config can be set here.",
    )
    if not given.topology:
        raise UserError("no --topology given: name one or more, such as tpu:v3:16x16 gpu:h100:8")
    jax.config.update("jax_platforms", "cpu")  # nothing runs, so a chip that is there stays free
    sizes = [int(n) for n in re.findall(r"\bcpu:(\d+)\b", " ".join(given.topology))]
    with contextlib.suppress(
        RuntimeError
    ):  # unless the backend is up, in a process of someone else
        jax.config.update("jax_num_cpu_devices", max([1, *sizes]))
    keep_compilations()
    plans = [plan(given.experiment, name, stage=given.stage) for name in given.topology]
    if given.json:
        print(json.dumps([dataclasses.asdict(each) for each in plans], indent=2))
    else:
        _print(plans)
    return 0


def _print(plans: list[Plan]) -> None:
    first = plans[0]
    console = Console(width=max(80, 26 + 18 * len(plans)))
    console.print(f"{first.parameters:,} parameters, batch {first.batch:,}", highlight=False)
    table = Table("", *(each.topology for each in plans), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    kinds = list(dict.fromkeys(kind for each in plans for kind in each.collectives))
    rows = [_rows(each, kinds) for each in plans]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    console.print(table)
    console.print(f"\n[dim]{NOTE}[/dim]", highlight=False)


def _rows(each: Plan, kinds: list[str]) -> dict[str, str]:
    """What the table says of one topology."""
    rows = {
        "devices": f"{each.devices:,} on {each.chips:,} chips",
        "processes": f"{each.processes:,}",
        "mesh": " x ".join(f"{name} {size}" for name, size in each.mesh.items()),
        "arguments": _gib(each.argument_bytes),
        "temporaries": _gib(each.temporary_bytes),
        "peak": _gib(each.peak_bytes),
        "memory": _gib(each.memory_bytes),
        "fits": {True: "yes", False: "NO", None: "-"}[each.fits],
        "FLOPs a step": f"{each.flops_per_step:.3g}",
        "FLOPs an image": f"{each.flops_per_image / 1e9:,.1f} G",
        "bytes accessed": "-"
        if each.bytes_accessed is None
        else f"{each.bytes_accessed / 1e9:.1f} GB",
    }
    for kind in kinds:
        found = each.collectives.get(kind)
        rows[kind] = f"{found['count']}, {found['bytes'] / 1e6:,.1f} MB" if found else "-"
    rows["step, estimated"] = "-"
    if each.step_seconds is not None:
        rows |= {
            "step, estimated": f"{1e3 * each.step_seconds:.1f} ms ({each.step_seconds_source})",
            "images/s": f"{each.images_per_second:,.0f}",
            "of peak FLOP/s": f"{each.mfu:.0%}",
            "of bandwidth": "-" if each.bandwidth_used is None else f"{each.bandwidth_used:.0%}",
        }
    return rows | {"compiled in": f"{each.compile_seconds:.0f} s"}


def _gib(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**30:.2f} GiB"
