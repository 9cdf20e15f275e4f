"""jaxgan translate RUN INPUT OUT: makes images from images, a file or a folder of them."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import say
from jaxgan.data.folder import listing
from jaxgan.errors import UserError
from jaxgan.fields.pixels import extensions
from jaxgan.files import writing
from jaxgan.ranges import Positive, Seed
from jaxgan.run import Run

_PORTION = 64
"""Files in memory at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """Which way, and how many."""

    direction: str | None = None
    """Which way, AtoB or BtoA, for systems that go both; None: the system's first."""
    samples: Positive = 1
    """Outputs for each image, of those that it may have, in a row: for systems with noise."""
    seed: Seed = 0
    """Of the noise: equal seeds give equal images."""


def main(argv: list[str]) -> int:
    """Parses, translates, writes."""
    folder, rest = take_target(argv, "translate", "RUN INPUT OUT")
    given, rest = take_target(rest, f"translate {folder}", "INPUT OUT")
    out, rest = take_target(rest, f"translate {folder} {given}", "OUT")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan translate {folder} {given} {out}",
        description="Makes images from images, by a run that has learned to. INPUT is a file or a "
        "folder of images, OUT a .png or a folder of them. Images are brought to the size that the "
        "run was trained at.",
    )
    keep_compilations()
    run = Run(folder, trust_code=options.trust_code)
    direction = run.direction(options.direction)
    targets = _targets(Path(given), Path(out))
    for portion in _portions(list(targets), _PORTION):
        made = run.translate(
            portion, direction=direction, samples=options.samples, seed=options.seed
        )
        for path, samples in zip(portion, made, strict=True):
            with writing(targets[path], "OUT"):
                targets[path].parent.mkdir(parents=True, exist_ok=True)
                pictures.grid(samples, len(samples)).save(targets[path])
    count = "1 image" if len(targets) == 1 else f"{len(targets):,} images"
    say(f"{out}: {count} translated by {folder}")
    return 0


def _targets(given: Path, out: Path) -> dict[Path, Path]:
    """{file to read: file to write}; refuses what could not be read or written."""
    if given.is_file():
        if out.suffix != ".png":
            raise UserError(f"OUT is {out}: give a .png, as INPUT is a file")
        if not out.parent.is_dir():
            raise UserError(f"OUT is {out}: there is no folder {out.parent}")
        if out.is_dir() or (out.exists() and out.samefile(given)):
            raise UserError(f"OUT is {out}, which is {'a folder' if out.is_dir() else 'INPUT'}")
        return {given: out}
    if not given.is_dir():
        raise UserError(f"INPUT is {given}, which does not exist: give an image, or a folder")
    names = listing(given)[1]
    if not names:
        raise UserError(f"INPUT is {given}, which holds no images in {', '.join(extensions())}")
    if out.suffix:
        raise UserError(f"OUT is {out}: give a folder, as INPUT is one")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"OUT is {out}, which exists already: give a new or empty folder")
    targets = {given / name: out / f"{Path(name).stem}.png" for name in names}
    if len(set(targets.values())) < len(targets):
        raise UserError(f"INPUT is {given}, where two images differ only in their type: rename one")
    return targets


def _portions(paths: list[Path], size: int) -> Iterator[list[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]
