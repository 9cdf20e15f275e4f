"""What a use took and made, as one picture."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxgan import pictures
from jaxgan.errors import UserError
from jaxgan.fields import Field, Points
from jaxgan.system import System, given_by, taken_by


def picture(
    takes: Mapping[str, Field],
    gives: Mapping[str, Field],
    taken: Mapping[str, Any],
    made: Mapping[str, Any],
    *,
    targets: Mapping[str, Any] | None = None,
    columns: int | None = None,
    whole: tuple[int, int] | None = None,
) -> Image.Image:
    """A grid of what was made; where something visible was taken, a row an example of it.

    The columns of a row are what was taken, what was made, and what it should have been. Points in
    the plane are scattered.

    Args:
        takes: fields of what was taken.
        gives: fields of what was made.
        taken: arrays [n, ...] as networks see them, by name.
        made: the same.
        targets: what the data have under the names that were made.
        columns: of a grid of single images; None: it is about square.
        whole: height and width that smaller images are enlarged to, by a whole number.

    Raises:
        UserError: nothing of it can be seen.
    """
    shown = [_shown(takes, taken)]
    plane = _plane(gives)
    if plane and not any(field.visible for field in gives.values()):
        return pictures.scatter(np.asarray(made[plane[0]]))
    shown += [_shown(gives, made), _shown(gives, targets or {})]
    rows = [[_enlarged(cell, whole) for cell in cells] for part in shown for cells in part]
    if not rows:
        raise UserError(f"nothing that can be seen is made: {', '.join(gives)}; save it as .npz")
    if len(rows) == 1:
        moves = any(field.moves for field in {**takes, **gives}.values())
        return pictures.grid(np.stack(_alike(rows[0])), 1 if moves else columns)
    # A column is as wide as its widest cell: strips of frames stand beside single images.
    height, _, channels = (max(c.shape[i] for cells in rows for c in cells) for i in range(3))
    alike = [_alike(cells, height, channels) for cells in rows]
    gap = np.full((height, pictures.GAP, channels), 255, np.uint8)
    strips = [
        np.concatenate([part for cell in example for part in (cell, gap)][:-1], 1)
        for example in zip(*alike, strict=True)
    ]
    return pictures.grid(np.stack(strips), 1)


def moving(
    gives: Mapping[str, Field], made: Mapping[str, Any]
) -> UInt8[np.ndarray, "t n h w c"] | None:
    """The frames of clips that were made, all clips of a time together; None: nothing moves."""
    for name, field in gives.items():
        if field.moves:
            return np.moveaxis(np.asarray(kept(field, made[name])), 1, 0)
    return None


def visible(gives: Mapping[str, Field]) -> bool:
    """Whether there is a picture of it."""
    return bool(_plane(gives)) or any(field.visible for field in gives.values())


def shown_use(system: System, *, data: bool = True) -> str | None:
    """The first use that is shown without anything being given; None: there is none.

    `data`: whether there are data to draw from.
    """
    for name, use in system.uses().items():
        takes = taken_by(system, use).values()
        if visible(given_by(use)) and all(t.drawn and (data or not t.origin) for t in takes):
            return name
    return None


def _plane(gives: Mapping[str, Field]) -> list[str]:
    """Points in the plane."""
    return [name for name, field in gives.items() if type(field) is Points and field.shape == (2,)]


def kept(field: Field, items: Any) -> Any:
    """Items [n, ...] that networks made as people see them; a list where they differ in shape."""
    if isinstance(items, list):
        return [field.from_network(item[None])[0] for item in items]
    return field.from_network(items)


def _shown(
    fields: Mapping[str, Field], values: Mapping[str, Any]
) -> list[list[UInt8[np.ndarray, "h w c"]]]:
    """Pictures of the items of each field that is visible, in the fields' order."""
    seen = {name: kept(field, values[name]) for name, field in fields.items() if name in values}
    return [
        [
            fields[name].show(item, {other: all_[row] for other, all_ in seen.items()})
            for row, item in enumerate(items)
        ]
        for name, items in seen.items()
        if fields[name].visible
    ]


def _enlarged(
    cell: UInt8[np.ndarray, "h w c"], whole: tuple[int, int] | None
) -> UInt8[np.ndarray, "h w c"]:
    """All grids of a run that grows are of one size, on which pixels show the resolution; those of
    resolutions that do not divide it have their own."""
    factor, rest = divmod(whole[0], cell.shape[0]) if whole else (1, 0)
    return cell if rest or not factor else cell.repeat(factor, 0).repeat(factor, 1)


def _alike(
    cells: list[UInt8[np.ndarray, "h w c"]], *least: int
) -> list[UInt8[np.ndarray, "h w c"]]:
    """Cells of one size, white where one is smaller, and of one number of channels.

    `least`: height and channels that they have at least.
    """
    height, width, channels = (max(cell.shape[i] for cell in cells) for i in range(3))
    height, channels = (max(a, b) for a, b in zip((height, channels), least or (0, 0), strict=True))
    alike = []
    for cell in cells:
        if cell.shape[2] == 3 and channels == 4:
            cell = np.concatenate([cell, np.full_like(cell[..., :1], 255)], -1)
        cell = np.broadcast_to(cell, (*cell.shape[:2], channels))
        short = (height - cell.shape[0], width - cell.shape[1])
        alike.append(np.pad(cell, ((0, short[0]), (0, short[1]), (0, 0)), constant_values=255))
    return alike
