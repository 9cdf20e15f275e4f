"""jaxgan import FORMAT FILE: an ordinary run from another framework's checkpoint."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxgan.cli.parse import parse, take_target
from jaxgan.config import Data
from jaxgan.console import say
from jaxgan.convert import FORMATS
from jaxgan.convert.runs import UNKNOWN, import_run
from jaxgan.describe import next_command
from jaxgan.errors import UserError, nearest
from jaxgan.files import refuse_bucket
from jaxgan.ranges import Positive, Seed
from jaxgan.run import Run
from jaxgan.system import System

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
    resolution: Annotated[tuple[Positive, ...], tyro.conf.arg(metavar="SIDE|HEIGHT WIDTH")] = ()
    """Pixels of an image, where files do not say them (CycleGAN); (): as the format guesses."""
    set: tuple[str, ...] = ()
    """FIELD=VALUE ...: fields of the system that files do not say, such as epsilon=1e-4."""
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
    refuse_bucket(options.out)
    facts = import_run(
        format,
        file,
        options.out,
        discriminator=options.discriminator,
        data=options.data,
        settings={"batch": options.batch, "seed": options.seed},
        adjust=partial(_adjust, options),
    )
    for note in facts["notes"]:
        say(f"{options.out}: {note}")
    if guessed := facts["guessed"]:
        each = ", ".join(f"{name} {it['value']} ({it['why']})" for name, it in guessed.items())
        say(f"{options.out}: guessed, for the files do not say: {each}")
    if chosen := facts["set"]:
        each = ", ".join(f"{name} {value}" for name, value in chosen.items())
        say(f"{options.out}: set: {each}")
    for name, count in facts["parameters"].items():
        say(f"{options.out}: {name} of {format}, {count:,} parameters")
    for name in facts["anew"]:
        say(f"{options.out}: the {name} starts anew when it is trained: no file held it")
    if left := facts["left_out"]:
        say(f"{options.out}: {len(left)} tensors left out, see {options.out}/import.json")
    say(f"  {next_command(Run(options.out).system, options.out)}")
    return 0


def _adjust(options: Options, system: System) -> System:
    """The system of the files, with what was given on the command line."""
    changes: dict[str, Any] = {}
    if sides := options.resolution:
        if len(sides) > 2 or "shape" not in _names(system):
            raise UserError(
                f"--resolution is {' '.join(map(str, sides))}: give one side of square images of "
                f"{type(system).__name__}, or height and width"
            )
        changes["shape"] = (sides[0], sides[-1], *system.shape[2:])  # type: ignore[attr-defined]
    for word in options.set:
        name, equals, value = word.partition("=")
        if not equals or not value:
            raise UserError(f"--set {word}: give FIELD=VALUE, such as epsilon=1e-4")
        name = name.replace("-", "_")
        if name not in _names(system):
            near = nearest(name, _names(system), hint=f"; it has {', '.join(_names(system))}")
            raise UserError(f"--set {word}: {type(system).__name__} has no field {name}{near}")
        if name == "shape":
            raise UserError(f"--set {word}: sizes of images are given by --resolution")
        changes[name] = vars(_parsed(system, name, value))[name]
    return dataclasses.replace(system, **changes) if changes else system


def _names(system: System) -> list[str]:
    return [field.name for field in dataclasses.fields(system) if field.init]


def _parsed(system: System, name: str, value: str) -> System:
    """The system with a field set to a word, which has the field's type."""

    given = system

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Fields:
        system: Annotated[type(given), tyro.conf.arg(name="")] = given

    try:
        words = value.replace(",", " ").split()
        prefix = f"--{name.replace('_', '-')}"
        return parse(Fields, [prefix, *words], prog="jaxgan import", description="").system
    except UserError as error:
        raise UserError(f"--set {name}={value}: {error}") from error
