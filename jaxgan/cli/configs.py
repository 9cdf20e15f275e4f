"""jaxgan configs: the table of systems and configs."""

import dataclasses
import json
import sys
from pathlib import Path

from rich.table import Table

from jaxgan import config
from jaxgan.cli.parse import parse
from jaxgan.console import Plain, say
from jaxgan.errors import UserError
from jaxgan.system import data_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where to look."""

    folder: Path | None = None
    """Folder with configs; None: those that ship with jaxgan, which are known by their names."""
    json: bool = False
    """Print JSON."""


def main(argv: list[str]) -> int:
    """Parses, loads every config, prints a row each."""
    options = parse(
        Options,
        argv,
        prog="jaxgan configs",
        description="Lists the configs of a folder with their systems.",
    )
    folder = options.folder or config.shipped_configs()
    paths = sorted(folder.glob("*.py"))
    if not paths:
        raise UserError(f"no configs in {folder}: give another --folder")
    rows = []
    for path in paths:
        try:
            experiment = config.load(path)
        except Exception as error:  # whatever a file does that is no config
            say(f"jaxgan: {path} left out: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        rows.append(
            {
                "config": str(path) if options.folder else path.stem,
                "system": type(experiment.system).__name__,
                "data": experiment.data.name,
                "learns from": ", ".join(
                    field.text() for field in data_fields(experiment.system).values()
                ),
                "batch": experiment.batch,
                "steps": experiment.steps,
            }
        )
    if not rows:
        raise UserError(f"no config in {folder} can be loaded")
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table(*rows[0], box=None)
    for row in sorted(rows, key=lambda row: (str(row["system"]), str(row["config"]))):
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    width = None if Plain().is_terminal else 140
    Plain(width=width).print(table)
    return 0
