"""What a use made, in files: a picture, arrays, an animation, or a folder."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label
from jaxgan.fields.video import FILMS, av_of, write_film
from jaxgan.files import refuse_bucket, writing
from jaxgan.training.apply import Applied
from jaxgan.training.show import kept, picture, visible

_LARGE = 2**14
"""Bytes of an item that several threads are worth: of smaller ones most of the time goes into
making files, which threads do not speed up."""

HOW = "give a .png, an .npz, of clips a .gif, .webp or .mp4, or a folder"


def check_out(out: Path, gives: Mapping[str, Field]) -> None:
    """Refuses what could not be written, before anything is computed.

    Raises:
        UserError: another ending, no folder to write to, or something that is there already; a
            .gif, .webp or .mp4 where nothing that the use gives moves; PyAV is not installed, for
            an .mp4.
    """
    refuse_bucket(out)
    if out == Path():
        raise UserError(f"--out is empty: {HOW}")
    films = FILMS if any(field.moves for field in gives.values()) else ()
    if out.suffix not in (".png", ".npz", "", *(films if gives else (".gif",))):
        raise UserError(f"--out is {out}: {HOW}")
    if out.suffix == ".mp4":
        av_of(str(out))
    if out.suffix == ".png" and not visible(gives or {"": Image()}):
        made = ", ".join(gives)
        raise UserError(f"--out is {out}: {made} cannot be seen; give an .npz, or a folder")
    if out.suffix and not out.parent.is_dir():
        raise UserError(f"--out is {out}: there is no folder {out.parent}")
    if not out.suffix and out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out is {out}, which holds files already: give a new or empty folder")
    if out.is_dir() == bool(out.suffix) and out.exists():
        raise UserError(f"--out is {out}: that is a {'folder' if out.is_dir() else 'file'}")


def write(
    out: Path,
    takes: Mapping[str, Field],
    gives: Mapping[str, Field],
    applied: Applied,
    *,
    names: Sequence[str] | None = None,
    columns: int | None = None,
    plural: bool = False,
) -> None:
    """Writes what came of a use, as the ending of `out` says.

    Args:
        out: .png: one picture; .npz: arrays, as people see them, and the labels that were taken;
            .gif, .webp, .mp4: the clips, side by side; else a folder with a file for each row.
        takes: fields of what was taken.
        gives: fields of what was made.
        applied: what was taken and made.
        names: of the rows, for a folder; None: their numbers.
        columns: of a grid of single images.
        plural: whether "image" and "label" are called "images" and "labels" in an .npz, which then
            has the names of all "classes", too.

    Raises:
        UserError: nothing that can be seen, or moves, is made; or it cannot be written.
    """
    made = {name: kept(field, applied.made[name]) for name, field in gives.items()}
    if out.suffix == ".png":
        image = picture(takes, gives, applied.taken, applied.made, columns=columns)
        with writing(out):
            image.save(out)
    elif out.suffix == ".npz":
        labels = {
            name: applied.taken[name]
            for name, field in takes.items()
            if isinstance(field, Label) and name not in made
        }
        arrays = {
            f"{name}s" if plural and name in ("image", "label") else name: _array(name, each)
            for name, each in {**made, **labels}.items()
        }
        if plural and labels and (label := takes["label"]).about().get("names"):
            arrays["classes"] = np.array(label.about()["names"])
        with writing(out):
            np.savez_compressed(out, allow_pickle=False, **arrays)
    elif out.suffix in FILMS:
        clips = next(made[name] for name, field in gives.items() if field.moves)
        with writing(out):
            write_film(np.moveaxis(np.asarray(clips), 1, 0), out, columns)
    else:
        _write_folder(out, gives, made, names)


def _write_folder(
    out: Path,
    gives: Mapping[str, Field],
    made: Mapping[str, Sequence[np.ndarray]],
    names: Sequence[str] | None,
) -> None:
    """A file for each row and field: ROW.png, or ROW_FIELD.png where there are several fields."""

    def write_one(name: str, row: int) -> None:
        stem = f"{row:06d}" if names is None else names[row]
        end = f"_{name}" if len(gives) > 1 else ""
        gives[name].write(made[name][row], out / f"{stem}{end}{gives[name].suffix}")

    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in gives:
            rows = range(len(made[name]))
            large = np.asarray(made[name][0]).nbytes >= _LARGE
            with ThreadPoolExecutor(min(16, os.cpu_count() or 1) if large else 1) as threads:
                for _ in threads.map(write_one, [name] * len(rows), rows):
                    pass  # raises what writing raised, and then no more are begun


def _array(name: str, items: Sequence[np.ndarray]) -> np.ndarray:
    if len({np.shape(item) for item in items}) > 1:
        raise UserError(f"{name} is of several sizes: write a folder, not an .npz")
    return np.asarray(items)
