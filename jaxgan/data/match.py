"""Which column of the data each field of a system is."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxgan.data.base import Source
from jaxgan.errors import UserError, nearest
from jaxgan.fields import PLAIN, Field, Framing

Groups = Sequence[Mapping[str, Field]]
"""What `System.data()` returns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """Where the fields of a group are found.

    Attributes:
      source: The set of items.
      fields: As the system declares them, by name.
      columns: Of the set, by the field's name.
    """

    source: Source
    fields: Mapping[str, Field]
    columns: Mapping[str, str]


def match(
    groups: Groups, source: Source, renames: Mapping[str, str] | None = None
) -> tuple[Match, ...]:
    """Find the column of each field: the one that `renames` says, or that is called as the field
    is, or else the only one of the field's kind that no other field is.

    Args:
      groups: Fields by name; those of a group belong to one item.
      source: The data set.
      renames: {name of a field, or what it is called in `Field.column`: column of the data}.

    Raises:
      UserError: No column, or several; the columns of a group are of unrelated sets.
    """
    found = _resolve(groups, source, dict(renames or {}))
    sets = source.sets
    matches = []
    for group in groups:
        columns = {name: found[name] for name in group}
        holding = [each for each in sets if set(columns.values()) <= set(each.columns)]
        if not holding:
            raise UserError(
                f"{source.name} does not tell which images belong together, from which the system "
                "learns: give pairs:FOLDER or edges:DATA"
            )
        matches.append(Match(source=holding[0], fields=group, columns=columns))
    return tuple(matches)


def _resolve(groups: Groups, source: Source, renames: dict[str, str]) -> dict[str, str]:
    """{name of each field: column}."""
    fields = {name: field for group in groups for name, field in group.items()}
    # What other groups take from a column of the same name goes with it.
    wanted = {name: field.column or name for name, field in fields.items()}
    known = set(fields) | set(wanted.values())
    for name, column in renames.items():
        if name not in known:
            raise UserError(
                f"--data.columns {name}={column}: the system takes {', '.join(fields)}, not "
                f"{name}{nearest(name, known)}"
            )
        if column not in source.columns:
            raise UserError(
                f"--data.columns {name}={column}: {source.name} has {', '.join(source.columns)}, "
                f"not {column}{nearest(column, source.columns)}"
            )
    found = {}
    for name, called in wanted.items():
        column = renames.get(name, renames.get(called, called))
        if column in source.columns:
            found[name] = column
    left = {called: fields[name] for name, called in wanted.items() if name not in found}
    free = {n: field for n, field in source.columns.items() if n not in found.values()}
    chosen = {called: _only(called, left, free, source, groups) for called in left}
    return {name: found.get(name) or chosen[called] for name, called in wanted.items()}


def _only(
    called: str,
    left: Mapping[str, Field],
    free: Mapping[str, Field],
    source: Source,
    groups: Groups,
) -> str:
    """The only free column of the kind of a field that is called so."""
    field = left[called]
    columns = [name for name, each in free.items() if each.kind() == field.kind()]
    rivals = [name for name, each in left.items() if each.kind() == field.kind()]
    if len(columns) < len(rivals):
        group = next(g for g in groups if field in g.values())
        apart = [each.kind() for each in group.values()].count(field.kind()) == 1
        # What was left out may be what is missed.
        left_out = ("is not read, for", "are read from metadata.jsonl")
        unread = (note for note in source.notes if any(words in note for words in left_out))
        why = next((f" ({note})" for note in unread), "")
        raise UserError(f"{source.name} {field.absence(source.columns, apart=apart)}{why}")
    if len(columns) > 1:
        raise UserError(
            f"{source.name} has {' and '.join(columns)}, each of which could be "
            f"{' or '.join(rivals)}: say which, as in --data.columns {rivals[0]}={columns[0]}"
        )
    return columns[0]


def refuse_unsuitable(source: Source, matches: Sequence[Match], framing: Framing = PLAIN) -> None:
    """Refuse what can be refused without reading an item.

    Raises:
      UserError: No items; columns that no transform can make into the system's fields; a framing
        that suits none of them.
    """
    if framing.crop is not None and framing.crop < 1:
        raise UserError(f"--crop {framing.crop}: expected at least 1 pixel")
    for each in matches:
        if not len(each.source):
            name = source.name if len(source.sets) == 1 else each.source.name
            raise UserError(f"{name} is empty, expected at least one image")
        _refuse_jitter(each, framing)
        for name, field in each.fields.items():
            if problem := field.refusal(each.source.columns[each.columns[name]], framing):
                raise UserError(f"{each.source.name} {problem}")
    fields = [field for each in matches for field in each.fields.values()]
    asked = dataclasses.replace(framing, draft=False) != PLAIN
    if asked and not any(field.extent for field in fields):
        raise UserError(f"{source.name} holds {fields[0].plural()}: drop --resize and --crop")


def _refuse_jitter(found: Match, framing: Framing) -> None:
    """Refuse what cannot be cut out of its items at random places."""
    if framing.jitter is None:
        return
    fields = list(found.fields.values())
    first = next((field for field in fields if field.extent), fields[0])
    if first.extent is None or framing.jitter < first.extent[0]:
        size = "x".join(map(str, first.shape))
        raise UserError(
            f"--jitter {framing.jitter}: expected the height of images that {size} is cut out of, "
            "or None"
        )
    if fixed := next((field for field in fields if not field.mirrors), None):
        raise UserError(
            f"{found.source.name} holds {fixed.kind()}, which cannot be cut out at random places "
            "with their images: drop --jitter"
        )


def about(
    source: Source, groups: Groups, renames: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """What a run must know of each field, such as the names of classes, by the field's name."""
    return {
        name: each.fields[name].about() | each.source.columns[column].about()
        for each in match(groups, source, renames)
        for name, column in each.columns.items()
    }
