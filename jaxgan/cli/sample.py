"""jaxgan sample RUN: draws images as a grid, an .npz, a folder of PNGs, or a GIF."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import parse, take_target
from jaxgan.errors import UserError, writing
from jaxgan.run import Run
from jaxgan.training import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw."""

    out: Path
    """FILE.png: a grid; FILE.npz: `images` uint8 NHWC (and `labels`); FILE.gif: with --interpolate;
    else a folder of PNGs."""
    num: int | None = None
    """Number of images (64); with --each-label, of each class (10); with --interpolate, of walks
    (16); with --mix, of columns (6)."""
    label: int | None = None
    """Class of all images; without it, classes are drawn uniformly."""
    labels: str | None = None
    """Classes to draw in turn, such as 0,1,2."""
    each_label: bool = False
    """Draw `num` images of every class, class by class."""
    truncation: float | None = None
    """Redraw components of the latents beyond +-truncation: fidelity for variety."""
    seed: int = 0
    """Of the latents: equal seeds give equal images."""
    standing_statistics: int = 0
    """Measure batch norm's statistics anew, from this many batches of 100 with the same truncation,
    such as 16; 0: use those of training."""
    best: bool = False
    """Draw from the run's best checkpoint (train --evaluate.every), not the newest."""
    psi: float | None = None
    """Styles at psi times their distance from the average, such as 0.7: for systems with styles."""
    mix: int | None = None
    """Seed of images whose coarse, middle and fine styles others take: a style-mixing table, for
    systems with styles."""
    interpolate: int | None = None
    """Frames of a walk through the latents, such as 60, as a .gif."""
    size: str | None = None
    """Height and width, such as 64x192: for systems that draw images of any size."""
    attention: bool = False
    """Draw, beside each image, where four places of it look: for systems with attention maps."""


def main(argv: list[str]) -> int:
    """Parses, draws, writes."""
    folder, rest = take_target(argv, "sample", "RUN")
    options = parse(
        Options, rest, prog=f"jaxgan sample {folder}", description="Draws images from a run."
    )
    keep_compilations()
    run = Run(folder, best=options.best)
    _check_out(options)
    if options.interpolate is not None and options.num is None and not options.each_label:
        options = dataclasses.replace(options, num=16)
    num, labels, columns = _labels(options, run)
    if options.mix is not None or options.interpolate is not None:
        return _draw_many(options, run, num, labels)
    how: dict[str, Any] = {
        "truncation": options.truncation,
        "seed": options.seed,
        "standing_statistics": options.standing_statistics,
    }
    if options.attention:
        if options.psi is not None or options.size is not None:
            raise UserError("--attention excludes --psi and --size: give one")
        if options.out.suffix != ".png":
            raise UserError(f"--out is {options.out}: attention maps are drawn as a .png")
        images, maps = run.attention(num, label=labels, **how)
        with writing(options.out):
            pictures.attention(images, maps[-1]).save(options.out)
        print(f"{options.out}: attention in {num} samples of {folder}")
        return 0
    size = None if options.size is None else _size(options.size)
    images, drawn = run.sample_with_labels(num, label=labels, psi=options.psi, size=size, **how)
    with writing(options.out):
        _write(options.out, images, drawn, columns)
    print(f"{options.out}: {num} samples of {folder}")
    return 0


def _draw_many(options: Options, run: Run, num: int, labels: list[int] | int | None) -> int:
    """A style-mixing table, or a walk."""
    others = (options.truncation, options.size)
    if others != (None, None) or options.standing_statistics or options.attention:
        raise UserError(
            "--mix and --interpolate draw without --truncation, --standing-statistics, --size and "
            "--attention: leave these out"
        )
    if options.mix is not None:
        if options.interpolate is not None or labels is not None:
            raise UserError("--mix excludes --interpolate and labels: leave these out")
        table = run.mix(
            6 if options.num is None else options.num,
            seed=options.seed,
            other=options.mix,
            psi=options.psi,
        )
        picture = pictures.grid(table.reshape(-1, *table.shape[2:]), table.shape[1])
        with writing(options.out):
            picture.save(options.out)
        print(f"{options.out}: styles of {table.shape[1] - 1} samples of {run.folder}, mixed")
        return 0
    frames = run.interpolate(
        options.interpolate or 0, num=num, label=labels, psi=options.psi, seed=options.seed
    )
    with writing(options.out):
        pictures.animate(frames, options.out)
    print(f"{options.out}: {len(frames)} frames of {num} walks of {run.folder}")
    return 0


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UserError(f"--size is {text!r}: give height and width, such as 64x192")
    return int(height), int(width)


def _labels(options: Options, run: Run) -> tuple[int, list[int] | int | None, int | None]:
    """How many, their labels, and the columns of a grid of them."""
    given = [options.label is not None, options.labels is not None, options.each_label]
    if sum(given) > 1:
        raise UserError("--label, --labels and --each-label exclude each other: give one")
    if options.each_label:
        classes = run.system.classes
        if not classes:
            raise UserError(f"{run.folder} was trained without labels: leave out --each-label")
        each = 10 if options.num is None else options.num
        if each < 1:
            raise UserError(f"--num is {each}: ask for at least 1 image of each label")
        return each * classes, list(np.repeat(np.arange(classes), each)), each
    num = 64 if options.num is None else options.num
    if options.labels is None:
        return num, options.label, None
    try:
        cycle = [int(part) for part in options.labels.split(",")]
    except ValueError:
        raise UserError(
            f"--labels is {options.labels!r}: give whole numbers with commas, such as 0,1,2"
        ) from None
    return num, [cycle[i % len(cycle)] for i in range(num)], len(cycle)


def _check_out(options: Options) -> None:
    """Refuses what could not be written, before anything is computed."""
    out = options.out
    if (options.interpolate is not None) != (out.suffix == ".gif"):
        raise UserError(f"--out is {out}: --interpolate writes a .gif, all else a .png or .npz")
    if options.mix is not None and out.suffix != ".png":
        raise UserError(f"--out is {out}: a style-mixing table is drawn as a .png")
    if out.suffix and out.suffix not in (".png", ".npz", ".gif"):
        raise UserError(f"--out is {out}: give a .png, an .npz, or a folder")
    if out.suffix and not out.parent.is_dir():
        raise UserError(f"--out is {out}: there is no folder {out.parent}")
    if out == Path():
        raise UserError("--out is empty: give a .png, an .npz, or a folder")
    if not out.suffix and out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out is {out}, which holds files already: give a new or empty folder")
    if out.is_dir() == bool(out.suffix) and out.exists():
        raise UserError(f"--out is {out}: that is a {'folder' if out.is_dir() else 'file'}")


def _write(out: Path, images: np.ndarray, labels: np.ndarray | None, columns: int | None) -> None:
    if out.suffix == ".npz":
        arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
        np.savez_compressed(out, allow_pickle=False, **arrays)
    elif images.ndim == 2:
        if out.suffix != ".png":
            raise UserError(f"--out is {out}: points are drawn as one .png, or saved as .npz")
        pictures.scatter(images).save(out)
    elif out.suffix == ".png":
        pictures.grid(images, columns).save(out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            name = f"{index:06d}" if labels is None else f"{index:06d}_label{labels[index]}"
            pictures.as_image(image).save(out / f"{name}.png")
