"""jaxgan sample RUN: draws images as a grid, an .npz, a folder of PNGs, a GIF, or a table."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from jaxgan import pictures
from jaxgan.ahead import one_ahead
from jaxgan.backend import keep_compilations
from jaxgan.cli.options import Given, only, parse_with_use
from jaxgan.cli.out import check_out, write
from jaxgan.cli.parse import Opening
from jaxgan.console import say
from jaxgan.describe import next_command
from jaxgan.errors import UserError
from jaxgan.fields import Field, Label
from jaxgan.files import writing
from jaxgan.latent.directions import apply_moves, check_moves, parse_move
from jaxgan.latent.mixing import mix
from jaxgan.latent.search import best_of, refine
from jaxgan.latent.table import table
from jaxgan.latent.walk import walk
from jaxgan.ranges import Count, Number, Positive, Rate, Seed
from jaxgan.run import Run
from jaxgan.training.apply import Applied

_PORTION = 500
"""Rows drawn at a time where they go to a folder; those before are being written meanwhile."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """What to draw."""

    out: Path
    """FILE.png: a grid; FILE.npz: `images` uint8 NHWC, or `clip` NTHWC (and `labels`); FILE.gif: of
    clips (also .webp, .mp4), or with --interpolate; else a folder with a file for each."""
    num: Positive | None = None
    """Number of images (64); with --each-label, of each class (10); with --interpolate, of walks
    (16); with --mix, of columns (6); with --table, of steps (10)."""
    label: str | None = None
    """Class of all images, by its name or number; without it, classes are drawn uniformly."""
    labels: str | None = None
    """Classes to draw in turn, such as 0,1,2."""
    each_label: bool = False
    """Draw `num` images of every class, class by class."""
    truncation: Rate | None = None
    """Redraw components of the latents beyond +-truncation: fidelity for variety."""
    seed: Seed = 0
    """Of the latents: equal seeds give equal images."""
    standing_statistics: Count = 0
    """Measure batch norm's statistics anew, from this many batches of 100 with the same truncation,
    such as 16; 0: use those of training."""
    best: bool = False
    """Draw from the run's best checkpoint (train --evaluate.every), not the newest."""
    psi: Number | None = None
    """Styles at psi times their distance from the average, such as 0.7: for systems with styles."""
    mix: Seed | None = None
    """Seed of images whose coarse, middle and fine styles others take: a style-mixing table, for
    systems with styles."""
    interpolate: Positive | None = None
    """Frames of a walk through the latents, such as 60, as a .gif."""
    table: tuple[str, str] | None = None
    """What changes from row to row and from column to column of a table, all else being fixed, such
    as category code, or category code.1: classes, or one of several numbers."""
    sweep: tuple[Number, Number] | None = None
    """From where to where the numbers of --table's columns go; None: as far as they are drawn."""
    move: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """DIR:3:+2.0: by 2 sigma along the third direction, or one of that name, of a folder that
    `jaxgan directions` made; DIR:3:+2.0:4-7: in the layers 4 to 7, from 0. May be given again."""
    best_of: Positive = 1
    """Draw so many for each image, and keep the one that --by finds best."""
    by: Literal["discriminator", "classifier"] = "discriminator"
    """Judge of --best-of: the run's discriminator, or a small classifier of the run's data, which
    looks for the label, or for any class where there are no labels."""
    refine: Count = 0
    """Steps of Langevin's dynamics in latents by the discriminator (DDLS)."""
    size: str | None = None
    """Height and width, such as 64x192: for systems that draw images of any size."""
    attention: bool = False
    """Draw, beside each image, where four places of it look: for systems with attention maps."""


OWN = ("label", "psi", "size")
"""What a use takes, or its options, for which `Options` has an everyday form."""


def main(argv: list[str]) -> int:
    """Parses, draws, writes."""
    folder, run, options = parse_with_use(
        argv,
        "sample",
        Options,
        "generate",
        _check_draws,
        description="Draws images from a run.",
        known=OWN,
    )
    _check_out(options, run.gives("generate"))
    keep_compilations()
    run = Run(folder, best=True, trust_code=options.trust_code) if options.best else run
    given = Given.of(run, "generate", options, Options)
    static = {**given.options, **_static(options)}
    if options.mix is not None or options.interpolate is not None or options.table is not None:
        return _draw_many(options, run, dataclasses.replace(given, options=static))
    use = "attention" if options.attention else "generate"
    if use not in run.system.uses():
        raise UserError(f"{run.name} has no attention maps: leave out --attention")
    if options.num is None and given.count > 64:
        options = dataclasses.replace(options, num=given.count)  # none is left out in silence
    num, labels, columns = _labels(options, run)
    everyday = {} if labels is None else {"label": labels}
    if options.psi is not None:
        everyday["psi"] = [options.psi]
    # Several are drawn in turn, as labels are.
    turns = {name: _in_turn(each, num) for name, each in {**given.items, **everyday}.items()}
    columns = columns or (given.count if 1 < given.count <= 16 else None)
    items, chosen = run.split(use, {**turns, **static})
    takes, gives = run.takes(use, chosen), run.gives(use, chosen)
    only(options, Options, {"by": ("--best-of",)}, ["--best-of"] if options.best_of > 1 else [])
    moves = [parse_move(each) for each in options.move]
    if moves:
        check_moves(run, moves)
    if use == "attention" and _searches(options):
        raise UserError("--attention draws without --move, --best-of and --refine: leave these out")
    _check_memory(options.out, num, gives)
    state = run.standing(
        options.standing_statistics, truncation=options.truncation, seed=options.seed
    )
    size = num if options.out.suffix else _PORTION

    def portion(start: int) -> tuple[Applied, list[str]]:
        rows = np.arange(start, min(start + size, num))
        mine = {n: x if len(x) == 1 else x[start : start + size] for n, x in items.items()}
        how: dict[str, Any] = {"numbers": rows, "seed": options.seed, "options": chosen}
        how["truncation"] = options.truncation
        if options.best_of > 1:
            mine = best_of(run, options.best_of, mine, by=options.by, state=state, **how)
        if options.refine:
            mine = refine(run, mine, steps=options.refine, state=state, **how)
        if moves:
            applied = apply_moves(run, moves, mine, state=state, **how)
        else:
            applied = run.apply(use, mine, state=state, **how)
        labels = applied.taken.get("label", [None] * len(rows))
        names = [
            given.name(int(row)) if k is None else f"{given.name(int(row))}_label{k}"
            for row, k in zip(rows, labels, strict=True)
        ]
        return applied, names

    for applied, names in one_ahead(map(portion, range(0, num, size))):
        write(options.out, takes, gives, applied, names=names, columns=columns, plural=True)
    say(f"{options.out}: {num} samples of {folder}")
    return 0


def _searches(options: Options) -> bool:
    """Whether samples are moved, or searched for."""
    return bool(options.move) or options.best_of > 1 or options.refine > 0


def _check_memory(out: Path, num: int, gives: Mapping[str, Field]) -> None:
    """Refuses what is made whole in memory, and does not fit into it."""
    each = sum(4 * math.prod(n or 1 for n in field.shape) for field in gives.values())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if out.suffix and num * each > memory:
        raise UserError(
            f"--num is {num:,}: {out} of so many would be made of {num * each / 1e9:,.0f} GB in "
            "memory; give fewer, or a folder"
        )


def _check_draws(run: Run) -> None:
    if "generate" not in run.system.uses():
        command = " ".join(next_command(run.system, run.folder).split()[:2])
        raise UserError(
            f"{run.name} draws nothing of latents alone, it has {', '.join(run.system.uses())}: "
            f"use `{command}`"
        )


def _draw_many(options: Options, run: Run, given: Given) -> int:
    """A style-mixing table, a walk, or a table of what codes mean."""
    ways = {"--mix": options.mix, "--interpolate": options.interpolate, "--table": options.table}
    *_, way = (name for name, value in ways.items() if value is not None)
    if sum(value is not None for value in ways.values()) > 1:
        raise UserError(f"{', '.join(ways)} exclude each other: give one")
    if (options.truncation, options.size) != (None, None) or (
        options.standing_statistics or options.attention or _searches(options)
    ):
        raise UserError(
            f"{way} draws without --truncation, --standing-statistics, --size, --attention, "
            "--move, --best-of and --refine: leave these out"
        )
    labelled = options.label is not None or options.labels is not None or options.each_label
    if labelled and way != "--interpolate":
        raise UserError(f"{way} excludes labels: leave these out")
    how = given.items | given.options
    if options.psi is not None:
        how["psi"] = options.psi
    if way == "--interpolate":
        return _walk(options, run, how, given.items)
    if options.mix is not None:
        num = 6 if options.num is None else options.num
        images = mix(run, num, seed=options.seed, other=options.mix, **how)
        text = f"styles of {images.shape[1] - 1} samples of {run.folder}, mixed"
    else:
        assert options.table is not None
        num = 10 if options.num is None else options.num
        how |= {"num": num, "sweep": options.sweep, "seed": options.seed}
        images = table(run, *options.table, **how)
        text = f"{options.table[0]} by {options.table[1]} of {run.folder}"
    with writing(options.out):
        pictures.grid(images.reshape(-1, *images.shape[2:]), images.shape[1]).save(options.out)
    say(f"{options.out}: {text}")
    return 0


def _walk(options: Options, run: Run, how: dict[str, Any], given: dict[str, Any]) -> int:
    if options.num is None and not options.each_label:
        options = dataclasses.replace(options, num=16)
    if any(field.moves for field in run.gives("generate").values()):
        raise UserError(
            f"{run.name} draws clips, of which there are no walks: leave out --interpolate"
        )
    num, labels, _ = _labels(options, run)
    takes = run.takes("generate")
    turns = {name for name in given if not takes[name].walks}
    how = {name: _in_turn(each, num) if name in turns else each for name, each in how.items()}
    if labels is not None:
        how["label"] = _in_turn(labels, num)
    frames = walk(run, options.interpolate or 0, num=num, seed=options.seed, **how)
    with writing(options.out):
        pictures.animate(frames, options.out)
    say(f"{options.out}: {len(frames)} frames of {num} walks of {run.folder}")
    return 0


def _static(options: Options) -> dict[str, Any]:
    """The use's options that have an everyday form."""
    if options.size is None:
        return {}
    height, _, width = options.size.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UserError(f"--size is {options.size!r}: give height and width, such as 64x192")
    return {"size": (int(height), int(width))}


def _in_turn(items: Any, num: int) -> Any:
    """One item for all rows, or several by turns."""
    return items if len(items) == 1 else [items[row % len(items)] for row in range(num)]


def _labels(options: Options, run: Run) -> tuple[int, list[Any] | None, int | None]:
    """How many, their labels, and the columns of a grid of them."""
    given = [options.label is not None, options.labels is not None, options.each_label]
    if sum(given) > 1:
        raise UserError("--label, --labels and --each-label exclude each other: give one")
    if any(given) and "label" not in run.takes("generate"):
        raise UserError(f"{run.name} was trained without labels: leave them out")
    num = 64 if options.num is None else options.num
    if options.each_label:
        field = run.takes("generate")["label"]
        assert isinstance(field, Label)
        each = 10 if options.num is None else options.num
        return each * field.classes, np.repeat(np.arange(field.classes), each).tolist(), each
    if options.label is not None:
        return num, [options.label], None
    if options.labels is not None:
        cycle = [word.strip() for word in options.labels.split(",")]
        return num, cycle, len(cycle)
    return num, None, None


def _check_out(options: Options, gives: dict[str, Field]) -> None:
    """Refuses what could not be written, before anything is computed."""
    out = options.out
    if options.interpolate is not None and out.suffix != ".gif":
        raise UserError(f"--out is {out}: --interpolate writes a .gif")
    if (options.mix is not None or options.table is not None) and out.suffix != ".png":
        raise UserError(f"--out is {out}: a table is drawn as a .png")
    check_out(out, gives if options.interpolate is None else {})
