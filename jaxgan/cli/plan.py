"""jaxgan plan CONFIG --topology T: what a training step would cost on hardware one lacks."""

import contextlib
import dataclasses
import functools
import json
import re
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console
from rich.table import Table

from jaxgan import config
from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import load_config, parse, take_target
from jaxgan.errors import UserError
from jaxgan.plan import Plan, check_choices, plan, quick_plan
from jaxgan.ranges import Within

NOTE = """\
Bytes, FLOPs and collectives are per device and iteration. Times are estimates. "compiler": its
model of its own program, which knows no waiting for hosts or other chips; what a loop repeats is
scaled by FLOPs. "roofline": peak FLOP/s or bandwidth, whichever binds, a bound that no program
reaches; taken where the compiler says nothing that can be true. "wire": what collectives take on
the links between chips, apart from the step's time; exposed: those that are waited for; hidden:
those that run beside other work. It is a bound, from what a chip receives at least and the peak
rates of all its links in both directions, without latency. `jaxgan bench` measures."""

QUICK = """\
Quick: read before code was generated. FLOPs are those of convolutions and products, padding
included, up to a tenth too many; bytes accessed are counted in the program's text, to about a
tenth; temporaries lack what code needs; the time is the roofline, never the compiler's."""


def main(argv: list[str]) -> int:
    """Parses, compiles for each topology in turn, prints a table or JSON."""
    target, options = take_target(argv, "plan", "CONFIG")
    given = _given(target, options)
    if not given.topology:
        raise UserError("no --topology given: name one or more, such as tpu:v3:16x16 gpu:h100:8")
    check_choices(given.topology, effort=given.effort, quick=given.quick)
    if given.quick:
        load = functools.partial(_experiment, target, options)
        plans = [
            quick_plan(load, name, stage=given.stage, effort=given.effort)
            for name in given.topology
        ]
    else:
        jax.config.update("jax_platforms", "cpu")  # nothing runs, so a chip that is there is free
        sizes = [int(n) for n in re.findall(r"\bcpu:(\d+)\b", " ".join(given.topology))]
        with contextlib.suppress(
            RuntimeError
        ):  # unless the backend is up, in a process of someone else
            jax.config.update("jax_num_cpu_devices", max([1, *sizes]))
        if all(name.startswith("cpu:") for name in given.topology):
            keep_compilations()  # others' programs could not be read again
        plans = [
            plan(given.experiment, name, stage=given.stage, effort=given.effort)
            for name in given.topology
        ]
    if given.json:
        print(json.dumps([dataclasses.asdict(each) for each in plans], indent=2))
    else:
        _print(plans)
    return 0


def _given(target: str, options: list[str]) -> Any:
    """The options of a command line for a config."""
    loaded, _ = load_config(target)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        experiment: Annotated[config.Experiment, tyro.conf.arg(name="")] = loaded
        topology: tuple[str, ...] = ()
        """Hardware, such as tpu:v3:16x16, tpu:v5p:4x4x8, gpu:h100:8 or cpu:8; one or more."""
        stage: Annotated[int, Within(-1, 1000)] = -1
        """Which stage of the system, from 0; -1: the last."""
        effort: Annotated[float, Within(-1, 1)] = 0.0
        """Of the TPU's compiler, from -1 (fast) to 1. At -1 large models compile in a fraction of
        the time, and their steps are estimated about 4% slower, with more temporaries; so compare
        only plans of the same effort."""
        quick: bool = False
        """End the compiler before it generates code, for TPUs and GPUs: in a fraction of the time,
        with collectives, wire time, memory and a roofline, but no estimate of the compiler's."""
        json: bool = False
        """Print JSON: a list with one object a topology."""

    return parse(
        Options,
        options,
        prog=f"jaxgan plan {target}",
        description="Compiles the training step for hardware that is not there. Every field of the "
        "config can be set here.",
    )


def _experiment(target: str, options: list[str]) -> config.Experiment:
    """The experiment of a command line, also in another process."""
    return _given(target, options).experiment


def _print(plans: list[Plan]) -> None:
    first = plans[0]
    console = Console(width=max(80, 26 + 18 * len(plans)))
    quick = ", quick" if first.quick else ""
    console.print(f"{first.parameters:,} parameters, batch {first.batch:,}{quick}", highlight=False)
    table = Table("", *(each.topology for each in plans), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    kinds = list(dict.fromkeys(kind for each in plans for kind in each.collectives))
    rows = [_rows(each, kinds) for each in plans]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    console.print(table)
    for note in (NOTE, QUICK) if first.quick else (NOTE,):
        text = note.replace("\n", " ")  # as wide as the table
        console.print(f"\n[dim]{text}[/dim]", highlight=False)


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
        "bytes accessed": f"{each.bytes_accessed / 1e9:.1f} GB",
    }
    for kind in kinds:
        found = each.collectives.get(kind)
        rows[kind] = f"{found['count']}, {found['bytes'] / 1e6:,.1f} MB" if found else "-"
    rows |= {
        "wire, exposed": _ms(each.wire_exposed_seconds),
        "wire, hidden": _ms(each.wire_hidden_seconds),
        "step, estimated": "-",
    }
    if each.step_seconds is not None:
        rows |= {
            "step, estimated": f"{_ms(each.step_seconds)} ({each.step_seconds_source})",
            "images/s": f"{each.images_per_second:,.0f}",
            "of peak FLOP/s": f"{each.mfu:.0%}",
            "of bandwidth": "-" if each.bandwidth_used is None else f"{each.bandwidth_used:.0%}",
        }
    return rows | {
        "effort": "-" if each.effort is None else f"{each.effort:g}",
        "compiled in": f"{each.compile_seconds:.0f} s",
    }


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.1f} ms"


def _gib(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**30:.2f} GiB"
