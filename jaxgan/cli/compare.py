"""jaxgan compare RUN...: a table of the runs' scores, ranked where they may be."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from jaxgan import data
from jaxgan.bucket import as_path
from jaxgan.cli.parse import parse
from jaxgan.console import Plain, say
from jaxgan.errors import UserError
from jaxgan.metrics import giving
from jaxgan.metrics.records import Record, differing, read_records
from jaxgan.run.folder import check_run


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
    giving(options.metric)
    found = [record for run in runs for record in _newest(as_path(run), options.metric)]
    if old := [record for record in found if data.by_names(record.data)]:
        raise UserError(
            f"{old[0].source} was scored by a version that told real images apart by names and "
            "sizes of their files: evaluate it again"
        )
    if differ := differing(found):
        name, values = differ
        if not options.json:
            _print(found, name)
        raise UserError(
            f"these scores cannot be ranked, for {name} differs ({', '.join(map(str, values))}): "
            "evaluate the runs alike"
        )
    highest_first = giving(options.metric).better == "higher"
    found.sort(key=lambda record: record.value, reverse=highest_first)
    if options.json:
        print(json.dumps([dataclasses.asdict(record) for record in found], indent=2))
    else:
        _print(found)
        best = found[0]
        real = "a file's" if best.real_images is None else f"{best.real_images:,}"
        against = f" against {real}" if best.real_images != 0 else ""
        say(f"{best.images:,} images{against}, {best.extractor}, {best.shape}")
    return 0


def _newest(folder: Path, metric: str) -> list[Record]:
    """The run's last score of that metric, for each truncation; the run itself is not opened."""
    check_run(folder)
    records = [record for record in read_records(folder) if record.metric == metric]
    if not records:
        raise UserError(
            f"{folder} has no {metric}: run `jaxgan evaluate {folder} --metrics ...` first"
        )
    last: dict[Any, Record] = {record.truncation: record for record in records}
    return list(last.values())


def _print(records: list[Record], *facts: str) -> None:
    """A row for each record, with such facts of its protocol."""
    table = Table("run", "step", "truncation", records[0].label, *facts, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for record in records:
        spread = "" if record.deviation is None else f" +- {record.deviation:.2g}"
        table.add_row(
            str(Path(record.source)),
            "-" if record.step is None else f"{record.step:,}",
            "-" if record.truncation is None else f"{record.truncation:g}",
            f"{record.value:.4g}{spread}",
            *(str(getattr(record, fact)) for fact in facts),
        )
    Plain().print(table)
