"""jaxgan compare RUN...: a table of the runs' scores, ranked where they may be."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxgan.cli.parse import parse
from jaxgan.errors import UserError
from jaxgan.metrics.records import LOWER_IS_BETTER, Record, differing, read_records
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared."""

    metric: str = "fid"
    """The score to rank by."""
    json: bool = False
    """Print the records as JSON, best first."""


def main(argv: list[str]) -> int:
    """Parses, reads, ranks, prints."""
    first = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    runs, rest = argv[:first], argv[first:]
    options = parse(
        Options,
        rest,
        prog="jaxgan compare RUN...",
        description="Tables the scores of runs, and ranks them if they were measured alike.",
    )
    if not runs:
        raise UserError("no RUN given; usage: jaxgan compare RUN... [options]")
    found = [record for run in runs for record in _newest(Run(run), options.metric)]
    if differ := differing(found):
        name, values = differ
        raise UserError(
            f"these scores cannot be ranked, for {name} differs ({', '.join(map(str, values))}): "
            "evaluate the runs alike"
        )
    sign = 1 if options.metric in LOWER_IS_BETTER else -1
    found.sort(key=lambda record: sign * record.value)
    if options.json:
        print(json.dumps([dataclasses.asdict(record) for record in found], indent=2))
    else:
        _print(found)
    return 0


def _newest(run: Run, metric: str) -> list[Record]:
    """The run's last score of that metric, for each truncation."""
    records = [record for record in read_records(run.folder) if record.metric == metric]
    if not records:
        raise UserError(
            f"{run.folder} has no {metric}: run `jaxgan evaluate {run.folder} --metrics ...` first"
        )
    last: dict[Any, Record] = {record.truncation: record for record in records}
    return list(last.values())


def _print(records: list[Record]) -> None:
    first = records[0]
    table = Table("run", "step", "truncation", first.metric, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for record in records:
        spread = "" if record.deviation is None else f" +- {record.deviation:.2g}"
        table.add_row(
            str(Path(record.source)),
            "-" if record.step is None else f"{record.step:,}",
            "-" if record.truncation is None else f"{record.truncation:g}",
            f"{record.value:.4g}{spread}",
        )
    console = Console()
    console.print(table)
    real = "a file's" if first.real_images is None else f"{first.real_images:,}"
    against = f" against {real}" if first.real_images != 0 else ""
    console.print(
        f"{first.images:,} images{against}, {first.extractor}, {first.shape}", highlight=False
    )
