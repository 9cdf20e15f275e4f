"""jaxgan import FORMAT FILE: an ordinary run from another framework's checkpoint."""

import dataclasses
from pathlib import Path

from jaxgan.cli.parse import parse, take_target
from jaxgan.config import Data
from jaxgan.convert import FORMATS
from jaxgan.convert.runs import UNKNOWN, import_run
from jaxgan.describe import next_command
from jaxgan.ranges import Positive, Seed
from jaxgan.run import Run

NO_DATA = Data(source=UNKNOWN)
_FORMATS = "\n".join(f"  {name:17}{text}" for name, text in FORMATS.items())
_USAGE = f"usage: jaxgan import FORMAT FILE --out RUN [options]\n\n{_FORMATS}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What belongs to the generator's file, and where it goes."""

    out: Path
    """Folder of the run."""
    discriminator: Path | None = None
    """File of the discriminator of the same training, where it has one of its own that the format
    does not find by its name; None: it starts anew."""
    data: Data = NO_DATA
    batch: Positive = 64
    """Images a draw, if the run is trained."""
    seed: Seed = 0
    """Of what starts anew, and of training."""


def main(argv: list[str]) -> int:
    """Parses, converts, prints what was converted."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{_USAGE}\n\n`jaxgan import FORMAT FILE --help` lists the options.")
        return 0
    format, rest = take_target(argv, "import", "FORMAT FILE")
    file, rest = take_target(rest, f"import {format}", "FILE")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan import {format} {file}",
        description="Makes an ordinary run of another framework's checkpoint. Files are read as "
        "tensors; nothing in them is executed.",
    )
    facts = import_run(
        format,
        file,
        options.out,
        discriminator=options.discriminator,
        data=options.data,
        settings={"batch": options.batch, "seed": options.seed},
    )
    for name, count in facts["parameters"].items():
        print(f"{options.out}: {name} of {format}, {count:,} parameters")
    for name in facts["anew"]:
        print(f"{options.out}: the {name} starts anew, for no file of it was given")
    if left := facts["left_out"]:
        print(f"{options.out}: {len(left)} tensors left out, see {options.out}/import.json")
    print(f"  {next_command(Run(options.out).system, options.out)}")
    return 0
