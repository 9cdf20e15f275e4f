"""Looking at the data before training: a mistake found now costs seconds, later hours."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jaxgan.data.base import FIRST, Source
from jaxgan.data.match import Groups, Match, match, refuse_unsuitable
from jaxgan.data.pipeline import Stepwise
from jaxgan.data.sentences import encoded
from jaxgan.errors import UserError, printable
from jaxgan.fields import PLAIN, Field, Framing, Label

_ROWS = 20
"""Classes that a report lists."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a scan found.

    Attributes:
      name: As the user typed it.
      count: Items.
      kind: What they are, in the plural.
      shape: Of every item as the system sees it.
      found: What the items were before: one shape, or the smallest and the largest.
      classes: Items by class; None where counting would mean reading them all.
      conditional: Whether the system uses the classes.
      crop: Side of the centre crop, pixels; None for none.
      others: What is to be told of other columns.
      notes: What was guessed or left out when the data were opened, a line each.
    """

    name: str
    count: int
    kind: str
    shape: tuple[int | None, ...]
    found: str
    classes: dict[str, int | None]
    conditional: bool
    crop: int | None = None
    others: str = ""
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return one line on the data set, then those of notes and of the first classes."""
        line = f"{printable(self.name)}: {self.count:,} {self.kind}"
        if self.found:
            line += f", {self.found}"
            if self.crop is not None:
                line += f" cropped to the middle {self.crop}x{self.crop}"
            if self.found != _text(self.shape):
                line += f" made {_text(self.shape)}"
        line += self.others
        if self.classes:
            unused = "" if self.conditional else " (not used)"
            line += f", {len(self.classes)} classes{unused}"
        counts = {printable(name): n for name, n in self.classes.items() if n is not None}
        rows = dict(list(counts.items())[:_ROWS])
        width = max(map(len, rows), default=0)
        lines = [line, *(f"  {printable(note)}" for note in self.notes)]
        lines += [*(f"  {name:<{width}} {count:>9,}" for name, count in rows.items())]
        if len(counts) > _ROWS:
            rest = list(counts.values())[_ROWS:]
            lines.append(f"  ... and {len(rest):,} more of {min(rest):,} to {max(rest):,} each")
        return "\n".join(lines)


def scan(
    source: Source,
    groups: Groups,
    *,
    framing: Framing = PLAIN,
    columns: Mapping[str, str] | None = None,
) -> Report:
    """Check that a system can learn from the data.

    Every file of a folder is decoded, in threads, so that a damaged one is found now; of a TFDS set
    or a packed folder only a few items are. A set smaller than a batch is fine: it repeats.
    Channels of image files are converted as the system needs them; a source whose one shape is
    known needs `resize` for that too.

    Args:
      source: The data set.
      groups: What the system learns from, as `System.data()` returns it.
      framing: How items of other sizes are brought to the system's.
      columns: What the data call otherwise than the system does, as for `match`.

    Raises:
      UserError: It cannot; the first damaged file in sorted order is named, and of two sizes
        without `resize` one file each.
    """
    matches = match(groups, source, columns)
    refuse_unsuitable(source, matches, framing)
    found, first = _look(matches, framing), matches[0]
    main = next((n for n, f in first.fields.items() if f.extent), next(iter(first.fields)))
    field = first.fields[main]
    # Where none had to be read, their shape is known.
    found[main] = found[main] or _text(first.source.columns[first.columns[main]].shape)
    sized = field.extent is not None
    return Report(
        name=source.name,
        count=len(first.source),
        kind=f"{field.kind()}s" if sized else field.plural(),
        shape=field.shape,
        found=found[main] if sized else "",
        classes=_classes(source),
        conditional=any(isinstance(f, Label) for each in matches for f in each.fields.values()),
        crop=framing.crop,
        others=_others(source, matches, main, found),
        notes=notes_of(source),
    )


def notes_of(source: Source) -> tuple[str, ...]:
    """Return what was guessed or left out when a set, and those that it is made of, were opened."""
    return tuple(
        note if each is source else f"{each.name}: {note}"
        for each in source.within()
        for note in each.notes
    )


def skipped_of(source: Source | Stepwise) -> tuple[str, ...]:
    """Return what is wrong with each file that was left out as damaged."""
    if isinstance(source, Stepwise):
        return ()
    return tuple(line for each in source.within() for line in each.skipped)


def _classes(source: Source) -> dict[str, int | None]:
    """Items of each class, by its name."""
    label = next((f for f in source.columns.values() if isinstance(f, Label)), Label())
    counts: list[int | None] = [None] * label.classes
    if source.labels is not None:
        counts = np.bincount(source.labels, minlength=label.classes).tolist()
    return {label.name(number): count for number, count in enumerate(counts)}


def _others(source: Source, matches: tuple[Match, ...], main: str, found: dict[str, str]) -> str:
    """What a report says of all columns but the main one and the labels."""
    said, line = {matches[0].columns[main]}, ""
    for each in matches:
        for name, column in each.columns.items():
            if column in said or isinstance(each.fields[name], Label):
                continue
            said.add(column)
            if each.source is matches[0].source:
                line += f", each with its {column}"
            else:
                line += f", and {len(each.source):,} {column}s"
            line += f", {found[name]}" if found[name] else ""
    left = {name: field for name, field in source.columns.items() if name not in said}
    return line + "".join(
        f" ({name}s not used)" for name, field in left.items() if not isinstance(field, Label)
    )


def _look(matches: tuple[Match, ...], framing: Framing) -> dict[str, str]:
    """Check all items that must be read; say what shapes each field's have, "" if none was read."""
    seen: dict[tuple[int, str], dict[tuple[int, ...], str]] = {}
    found: dict[str, str] = {}
    for each in matches:
        told = encoded(each, each.fields)
        found |= {name: sentences.text() for name, sentences in told.items()}
        fields = {name: field for name, field in each.fields.items() if name not in told}
        for name, field in fields.items():
            column = each.columns[name]
            if (id(each.source), column) not in seen:
                # By shape, the first item that has it. What has no axes has no shape to show.
                firsts: dict[tuple[int, ...], str] = {}
                for what, shape in each.source.shapes(column) if field.shape else ():
                    firsts.setdefault(shape, what)
                seen[id(each.source), column] = firsts
            found[name] = _fits(each.source, column, field, framing, seen[id(each.source), column])
        for index in range(min(FIRST, len(each.source)) if fields else 0):
            item = each.source[index]
            for name, field in fields.items():
                try:
                    field.fit(item[each.columns[name]], framing)
                except UserError as error:
                    raise UserError(f"{each.source.name} (item {index}): {error}") from error
    return found


def _fits(
    source: Source,
    column: str,
    field: Field,
    framing: Framing,
    firsts: dict[tuple[int, ...], str],
) -> str:
    """Check that every shape that was read can be fitted; say what shapes there are."""
    sizes: dict[tuple[int, ...], str] = {}
    for shape, name in firsts.items():
        sizes.setdefault(field.size(shape), name)
    for size, name in sizes.items():
        open_ = (None,) * (len(field.shape) - len(size))
        found = dataclasses.replace(source.columns[column], shape=(*size, *open_))
        if problem := field.refusal(found, framing):
            scaled = field.refusal(found, dataclasses.replace(framing, resize=True)) is None
            others = [other for other in sizes if other != size]
            if others and scaled and framing.crop is None:
                raise UserError(
                    f"{source.name} holds {field.kind()}s of different sizes ({field.axes}: "
                    f"{name} is {_text(size)}, {sizes[others[0]]} is {_text(others[0])}), the "
                    f"system draws {_text(field.shape)}: add --resize"
                )
            raise UserError(f"{name} {problem}")
    ordered = sorted(sizes, key=math.prod)
    if len(ordered) > 1:
        return f"{_text(ordered[0])} to {_text(ordered[-1])}"
    rest = sorted({shape[len(ordered[0]) :] for shape in firsts}) if ordered else []
    channels = " or ".join(_text(each) for each in rest if each)
    return "x".join(part for part in (*map(_text, ordered), channels) if part)


def _text(shape: tuple[int | None, ...]) -> str:
    """Write a shape as messages do."""
    return "x".join("?" if n is None else str(n) for n in shape)
