"""A table of what a generator draws as two of the things that it takes go through their values."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxgan.errors import UserError, nearest
from jaxgan.fields import Drawable, Field, Image
from jaxgan.ranges import Number, Positive, Seed, checked
from jaxgan.run.open import Run


@checked
def table(
    run: Run,
    rows: str,
    columns: str,
    *,
    num: Positive = 10,
    sweep: tuple[Number, Number] | None = None,
    seed: Seed = 0,
    **given: Any,
) -> UInt8[np.ndarray, "r c h w x"]:
    """What codes mean (InfoGAN, figure 2): all else is held fixed.

    Classes are all shown. Of numbers, one goes from the least that is drawn to the most, of
    Gaussian ones from -2 to 2: the first, or that of the index in `NAME.INDEX`.

    Args:
        run: of a system with the use "generate".
        rows: what changes from row to row, by its name in what "generate" takes.
        columns: what changes from column to column.
        num: steps of what is no class.
        sweep: from where to where the columns go; None: as above.
        seed: of what is held fixed.
        given: what "generate" takes and is not to be drawn; and its options.

    Raises:
        UserError: nothing of that name that can be drawn, the same for both, or no images.
    """
    if rows == columns:
        raise UserError(f"rows and columns are both {rows}: name two")
    items, options = run.split("generate", given)
    takes, gives = run.takes("generate", options), run.gives("generate", options)
    (down, down_at), (right, right_at) = (_found(run, takes, name) for name in (rows, columns))
    name, field = next(iter(gives.items()))
    if not isinstance(field, Image):
        raise UserError(f"{run.name} draws {field.text()}: tables are of images")
    fixed = run.draw("generate", items, numbers=1, seed=seed, options=options)
    cells: list[dict[str, np.ndarray | np.generic]] = []
    downwards = _along(takes[down], fixed[down][0], num, down_at, None)
    for below in downwards:
        row = {**{each: x[0] for each, x in fixed.items()}, down: below}
        rightwards = _along(takes[right], row[right], num, right_at, sweep)
        cells += [{**row, right: beside} for beside in rightwards]
    # One number for all, so that noise, where there is any, is the same.
    made = run.apply(
        "generate",
        {each: np.stack([cell[each] for cell in cells]) for each in fixed},
        numbers=np.zeros(len(cells), int),
        seed=seed,
        options=options,
    ).made
    images = field.from_network(made[name])
    return images.reshape(len(downwards), -1, *images.shape[1:])


def _found(run: Run, takes: dict[str, Field], name: str) -> tuple[str, int]:
    """What is taken under that name, and which of its numbers changes."""
    each, _, place = name.partition(".")
    known = [n for n, field in takes.items() if isinstance(field, Drawable)]
    if each not in known or (place and not place.isdigit()):
        raise UserError(
            f"{run.name} draws {', '.join(known) or 'nothing'}, not {name}{nearest(each, known)}"
        )
    return each, int(place or 0)


def _along(
    field: Field,
    item: np.ndarray | np.generic,
    num: int,
    place: int,
    span: tuple[float, float] | None,
) -> np.ndarray:
    assert isinstance(field, Drawable)
    return field.along(item, num, place, span)
