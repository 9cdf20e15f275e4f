"""jaxgan info CONFIG|RUN: what it can do, networks, players, stages, data."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from jaxgan import config
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import Plain, bold, say
from jaxgan.describe import WHENCE, describe
from jaxgan.run import Run
from jaxgan.training.digest import largest_difference, state_sha256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """What to print."""

    compare: Path | None = None
    """Another run: print the largest difference of any array of the two States, and stop."""
    json: bool = False
    """Print JSON."""


def main(argv: list[str]) -> int:
    """Parses, describes, prints."""
    target, rest = take_target(argv, "info", "CONFIG|RUN")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan info {target}",
        description="Tells what a config or a run consists of, without training anything.",
    )
    if options.compare is not None:
        run, other = (Run(x, trust_code=options.trust_code) for x in (target, options.compare))
        return _compare(run, other, options.json)
    path = Path(target)
    if path.suffix == ".py" or (not path.is_dir() and config.find(path)):
        facts = describe(config.load(target))
    else:
        run = Run(target, trust_code=options.trust_code)
        state = run.stored
        facts = describe(run.experiment, resolution=run.resolution, about=run.about)
        if classes := _classes(run):
            facts["classes"] = classes
        facts |= {"step": int(state.step), "state_sha256": state_sha256(state)}
    print(json.dumps(facts, indent=2, default=str)) if options.json else _print(facts)
    return 0


def _compare(run: Run, other: Run, as_json: bool) -> int:
    """Prints where two States differ most."""
    difference, name = largest_difference(run.stored, other.stored)
    if as_json:
        print(json.dumps({"largest_difference": difference, "array": name}))
    else:
        say(f"largest difference {difference:.3g}, in {name}" if name else "no difference")
    return 0


def _classes(run: Run) -> dict[str, list[str]]:
    """Names of classes, where they are more than the classes' numbers, by the label's name."""
    found = {name: list(known.get("names", ())) for name, known in run.about.items()}
    return {
        name: names
        for name, names in found.items()
        if names and names != [str(number) for number in range(len(names))]
    }


def _print(facts: dict[str, Any]) -> None:
    console = Plain()
    console.print(bold(facts["system"]), "", facts["summary"])
    console.print()
    console.print(_uses(facts["uses"]))
    for name, names in facts.get("classes", {}).items():
        numbered = [f"{number} {each}" for number, each in enumerate(names[:20])]
        text = ", ".join([*numbered, *(["..."] if len(names) > 20 else [])])
        console.print(f"\n{name}: {text}")
    networks = Table("network", "parameters", box=None)
    networks.columns[1].justify = "right"
    for name, network in facts["networks"].items():
        networks.add_row(name, f"{network['parameters']:,}")
    players = Table("player", "owns", "updates", "every", "optimiser slot", box=None)
    for player in facts["players"]:
        players.add_row(
            player["name"],
            ", ".join(player["owns"]),
            str(player["repeats"]),
            str(player["every"]),
            player["slot"],
        )
    stages = Table("stage", "iterations", "batch", "draws", "resolution", box=None)
    for index, stage in enumerate(facts["stages"]):
        stages.add_row(
            str(index),
            f"{stage['steps']:,}",
            str(stage["batch"]),
            str(stage["draws"]),
            _size(stage["resolution"]),
        )
    for table in (networks, players, stages):
        console.print()
        console.print(table)
    console.print()
    data = dict(facts["data"])
    groups = data.pop("fields")
    for group in groups:
        text = ", ".join(f"{name} ({field})" for name, field in group.items())
        console.print(f"learns from {text}")
    console.print("  ".join(f"{key}: {value}" for key, value in data.items()))
    for key in ("step", "state_sha256"):
        if key in facts:
            console.print(f"{key}: {facts[key]}", soft_wrap=True)


def _uses(uses: dict[str, Any]) -> Table:
    """A row for each thing that a use takes or gives, and for each of its options."""
    table = Table("use", "", "name", "what", "", box=None)
    for name, use in uses.items():
        table.add_row(bold(name), "", "", use["summary"])
        rows = [("takes", n, it["field"], WHENCE[it["from"]]) for n, it in use["takes"].items()]
        rows += [("gives", n, text, "") for n, text in use["gives"].items()]
        rows += [
            ("option", n, it["help"], f"default: {it['default']}")
            for n, it in use["options"].items()
        ]
        for kind, *row in rows:
            table.add_row("", kind, *row)
    return table


def _size(resolution: int | tuple[int, int] | None) -> str:
    if resolution is None:
        return "-"
    return str(resolution) if isinstance(resolution, int) else "x".join(map(str, resolution))
