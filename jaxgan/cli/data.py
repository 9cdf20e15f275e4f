"""jaxgan data pack DATA OUT: a data set of images into ArrayRecord shards."""

import dataclasses
import signal
import sys
from typing import Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxgan.cli.parse import parse, take_target
from jaxgan.console import say
from jaxgan.data import pack
from jaxgan.errors import UserError
from jaxgan.fields import Label
from jaxgan.fields.pixels import MAX_PIXELS, Reading
from jaxgan.ranges import Positive, Within

_USAGE = "usage: jaxgan data pack DATA OUT [options]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to pack."""

    size: Annotated[int, Within(1, 2**14)] | None = None
    """Side of the images, pixels: the centre square is cut and resized, and kept as PNG. None:
    files stay as they are."""
    shard_images: Positive = 8192
    """Images a file."""
    max_pixels: Positive = MAX_PIXELS
    """Height times width of the largest image that is decoded."""
    recursive: bool = False
    """Read folders within sub-folders too: the first level are the classes."""
    skip_broken: bool = False
    """Leave out damaged files, and list them in OUT/skipped.txt."""


def main(argv: list[str]) -> int:
    """Parses, packs, prints what was packed."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{_USAGE}\n\n`jaxgan data pack DATA OUT --help` lists the options.")
        return 0
    if argv[0] != "pack":
        raise UserError(f"no command data {argv[0]!r}; {_USAGE}")
    folder, rest = take_target(argv[1:], "data pack", "DATA OUT")
    out, rest = take_target(rest, f"data pack {folder}", "OUT")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan data pack {folder} {out}",
        description="Packs a data set of images into a few large files, which `--data OUT` reads.",
    )
    before = signal.signal(signal.SIGTERM, _leave)
    columns = (TextColumn("packing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    try:
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task("packing", total=None)
            packed = pack(
                folder,
                out,
                size=options.size,
                shard_images=options.shard_images,
                reading=Reading(
                    max_pixels=options.max_pixels,
                    recursive=options.recursive,
                    skip_broken=options.skip_broken,
                ),
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    except KeyboardInterrupt:
        say(f"jaxgan: stopped; {out} was not written", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    for note in packed.notes:
        say(f"{folder}: {note}")
    label = packed.columns.get("label")
    classes = f", {label.classes} classes" if isinstance(label, Label) else ""
    say(f"{out}: {len(packed):,} images{classes}; train with --data {out}")
    return 0


def _leave(number: int, frame: Any) -> None:
    """Ends the process in an orderly way, so that half a pack is removed."""
    raise SystemExit(128 + number)
