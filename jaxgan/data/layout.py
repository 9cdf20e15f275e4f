"""Which members of a store are items, and what their classes and other columns are."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data.advice import skipped
from jaxgan.data.columns import (
    LONGEST,
    Column,
    absent,
    columns_of,
    json_object,
    labels,
    record,
    records,
)
from jaxgan.data.encoded import Encoded
from jaxgan.data.store import LARGEST, Store, Tar, TooLarge
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label
from jaxgan.fields.pixels import USUAL, Reading, extensions

METADATA = "metadata.jsonl"
"""What Hugging Face's ImageFolder calls the file that describes images: an object a line."""

DATASET = "dataset.json"
"""What StyleGAN's tools call the file of labels: {"labels": [[file, class], ...]}."""

_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
"""What parts of a data set are called, which are seldom its classes."""

_SPARE, _VALUES = 100_000, 4096
"""Values that a description of n images may have: as a vector of numbers each, and some more."""

_BESIDE = ("cls", "txt", "json")
"""Endings of what WebDataset keeps beside an image."""


@dataclasses.dataclass(frozen=True)
class _Listing:
    """A store's members by what they are; paths as (path, number), sorted folder by folder.

    Attributes:
      store: Whose they are.
      images: Files that can be read.
      others: Files that cannot, or are none.
      folders: Paths of folders, as far as they are listed.
      inside: The one folder that holds all; "" if there is none. Paths begin within it.
    """

    store: Store
    images: list[tuple[str, int]]
    others: list[tuple[str, int]]
    folders: list[str]
    inside: str

    @classmethod
    def of(cls, store: Store, wrapped: bool) -> "_Listing":
        """Sorts a store's members; `wrapped`: a folder that holds all is passed through."""
        members = list(enumerate(store.members))
        tops = {path.partition("/")[0] for _, path in members if "/" in path}
        inside = ""
        if wrapped and len(tops) == 1 and all("/" in path for _, path in members):
            inside = f"{tops.pop()}/"
        files = [(p.removeprefix(inside), n) for n, p in members if not p.endswith("/")]
        files.sort(key=lambda each: (each[0].split("/"), each[1]))
        known = extensions()
        return cls(
            store=store,
            images=[each for each in files if each[0].lower().endswith(known)],
            others=[each for each in files if not each[0].lower().endswith(known)],
            folders=sorted(
                p.removeprefix(inside)[:-1] for _, p in members if p.endswith("/") and p != inside
            ),
            inside=inside.removesuffix("/"),
        )

    @property
    def name(self) -> str:
        """Of the store."""
        return self.store.name

    def number(self, path: str) -> int | None:
        """That of a file that is no image."""
        return next((number for other, number in self.others if other == path), None)

    def notes(self) -> list[str]:
        """What is said of files that are not read, or only in part."""
        found = [f"all in the folder {self.inside}"] if self.inside else []
        if text := skipped((path for path, _ in self.others), self.store.passed):
            found.append(f"skipped {text}")
        return found

    def no_images(self, where: str = "") -> UserError:
        """There are none, at a place within the store, or anywhere."""
        under = f"{where}/" if where else ""
        paths = [path for path, _ in self.others if path.startswith(under)]
        found = skipped(paths, None if where else self.store.passed)
        rest = f" but {found}" if found else ""
        return UserError(
            f"{Path(self.name, where)} holds no images{rest}, expected files in "
            f"{', '.join(extensions())}" + (": add some or remove the sub-folder" if where else "")
        )


def arrange(store: Store, reading: Reading = USUAL, *, wrapped: bool = False) -> Encoded:
    """Make a data set of a store's images.

    In this order: `metadata.jsonl` or StyleGAN's `dataset.json` describes them; in tar files,
    WebDataset's .cls, .txt and .json beside them do; they lie flat, without classes; or there is a
    sub-folder a class.

    Args:
      store: Where they lie.
      reading: How.
      wrapped: Whether one folder that holds all else is passed through, as in archives.

    Raises:
      UserError: There are none, or their classes would be a guess; damaged ones that are to be
        skipped are more than half.
    """
    listing = _Listing.of(store, wrapped)
    if (number := listing.number(METADATA)) is not None:
        files = _described(listing, number)
    elif (number := listing.number(DATASET)) is not None and "labels" in (
        facts := _json(listing, number)
    ):
        files = _numbered(listing, facts["labels"], store.place(number))
    elif isinstance(store, Tar) and (beside := _beside(store, listing)):
        files = _webdataset(store, listing, beside)
    else:
        files = _by_folder(listing, reading)
    files = dataclasses.replace(files, reading=reading)
    return files.without_damaged() if reading.skip_broken else files


def _items(
    listing: _Listing,
    items: list[int],
    columns: Mapping[str, Column],
    notes: list[str],
) -> Encoded:
    label = columns.get("label")
    fields: dict[str, Field] = {"image": Image()}
    return Encoded(
        name=listing.name,
        columns=fields | {name: column.field for name, column in columns.items()},
        labels=None if label is None else np.asarray(label.items),
        notes=tuple(notes + (absent(label) if label else [])),
        store=listing.store,
        numbers=np.array(items, np.int64),
        others={name: column.items for name, column in columns.items()},
    )


# --- folders


def _by_folder(listing: _Listing, reading: Reading) -> Encoded:
    """Flat, or a sub-folder a class."""
    name = listing.name
    tops = [path for path, _ in listing.images if "/" not in path]
    everything = [path for path, _ in (*listing.images, *listing.others)]
    inside = {path.partition("/")[0] for path in everything if "/" in path}
    folders = sorted(inside | {path.partition("/")[0] for path in listing.folders})
    if not reading.recursive:
        _refuse_nested(listing, tops, folders)
    if not listing.images:
        raise listing.no_images()
    if inner := next((p for p, _ in listing.others if p.endswith(f"/{METADATA}")), None):
        raise UserError(
            f"{name} holds {inner}, which describes the images beside it alone: did you mean "
            f"{Path(name, inner).parent}? Or move all into one {METADATA}"
        )
    notes = listing.notes()
    if tops or not folders:
        if reading.recursive and folders:
            notes.insert(0, f"no classes, for {len(tops):,} images lie beside the sub-folders")
        return _items(listing, [number for _, number in listing.images], {}, notes)
    of = [path.partition("/")[0] for path, _ in listing.images]
    classes = sorted(set(of))
    if empty := [folder for folder in folders if folder not in classes]:
        if not reading.recursive:
            raise listing.no_images(empty[0])
        notes.append(f"no images in {len(empty):,} of {len(folders):,} sub-folders ({empty[0]})")
    if set(map(str.lower, classes)) <= _SPLITS:
        notes.insert(
            0, f"classes are called {', '.join(classes)}: give {name}/{classes[0]} for one"
        )
    if reading.recursive:
        notes.insert(0, f"classes are the {len(classes):,} sub-folders of {name}")
    number = {folder: label for label, folder in enumerate(classes)}
    field = Label(classes=len(classes), names=tuple(classes))
    column = Column(field, np.array([number[folder] for folder in of], np.int32))
    return _items(listing, [number for _, number in listing.images], {"label": column}, notes)


def _refuse_nested(listing: _Listing, tops: list[str], folders: list[str]) -> None:
    """Refuse what has no one meaning: images beside folders, folders in folders."""
    name = listing.name
    if folders and tops:
        raise UserError(
            f"{name} holds both images ({tops[0]}) and sub-folders ({folders[0]}), expected one "
            "or the other: move the images into one sub-folder per class, or add --recursive to "
            "read all without classes"
        )
    deep = [path for path, _ in listing.images if path.count("/") > 1]
    deep = sorted([path.rpartition("/")[0] for path in deep] + listing.folders)
    nested = next((path for path in deep if "/" in path), None)
    if nested is None:
        return
    first, second = nested.split("/")[:2]
    near = f"did you mean {Path(name, first)}? Or " if Path(name).is_dir() else ""
    raise UserError(
        f"{name} is nested too deep ({first}/{second}), expected one sub-folder per class with "
        f"only images in it: {near}add --recursive to read all, {folders[0]} and so on being "
        "the classes"
    )


# --- descriptions


def _json(listing: _Listing, number: int) -> dict[str, Any]:
    """A description of all images at once, which may have some values for each."""
    most = _SPARE + _VALUES * len(listing.images)
    return json_object(_description(listing, number), listing.store.place(number), most=most)


def _description(listing: _Listing, number: int) -> bytes:
    """The content of a file that describes all images."""
    try:
        return listing.store.read(number)
    except TooLarge as error:
        raise UserError(
            f"{listing.store.place(number)} has more than {LARGEST:,} bytes, which is the most of "
            "a file that describes images: give sentences, not their vectors, or tar files with a "
            "NAME.json beside each image NAME"
        ) from error


def _known(listing: _Listing, where: str) -> dict[str, int]:
    """Numbers of the images by path."""
    known = dict(listing.images)
    if len(known) < len(listing.images):
        raise UserError(f"{where} describes files of which two have one name: zip them anew")
    return known


def _found(listing: _Listing, names: list[str], where: str) -> tuple[list[int], list[str]]:
    """The numbers of named images, and a note on those that are not named."""
    known = _known(listing, where)
    for name in names:
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise UserError(f"{where} names {name!r}, expected a path within {listing.name}")
    if missing := [name for name in names if name not in known]:
        there = {path for path, _ in listing.others}
        unread = [name for name in missing if name in there]
        why = f"that cannot be read: {skipped(unread)}" if unread else "that are not there"
        count = len(unread or missing)
        raise UserError(
            f"{where} names {count:,} files of {len(names):,} {why} (first: "
            f"{(unread or missing)[0]!r}): add the files, or remove their entries"
        )
    counts = Counter(names)
    if len(counts) < len(names):
        raise UserError(f"{where} names {counts.most_common(1)[0][0]!r} twice: remove one")
    left = [path for path in known if path not in counts]
    notes = [f"skipped {len(left):,} images that {where} does not name ({left[0]})"] if left else []
    return [known[name] for name in names], notes


def _described(listing: _Listing, number: int) -> Encoded:
    """Hugging Face's ImageFolder: an object a line, with file_name and other keys."""
    where = listing.store.place(number)
    entries: list[dict[str, Any]] = []
    names: list[str] = []
    for entry in records(_description(listing, number), where):
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise UserError(f"{where}: entry {len(names) + 1} has no file_name: give each one")
        entries.append(entry)
        names.append(name.removeprefix("./"))
        if len(names) > _SPARE + len(listing.images):
            break  # some are not there, which is told of those so far
    items, notes = _found(listing, names, where)
    columns, unread = columns_of(entries, where, leave=("file_name",))
    folders = {name.partition("/")[0] for name in names if "/" in name}
    if len(folders) > 1 and "label" not in columns:
        unread.append(f"sub-folders are no classes, for {METADATA} describes the files: add label")
    said = [path for path, _ in listing.others if path != METADATA]
    return _items(listing, items, columns, [*notes, *unread, *_but(listing, said)])


def _but(listing: _Listing, paths: list[str]) -> list[str]:
    """Notes on these files, which are not read."""
    return dataclasses.replace(listing, others=[(path, -1) for path in paths]).notes()


def _numbered(listing: _Listing, given: Any, where: str) -> Encoded:
    """StyleGAN's dataset.json."""
    said = _but(listing, [path for path, _ in listing.others if path != DATASET])
    if given is None:
        return _items(listing, [number for _, number in listing.images], {}, said)
    if not isinstance(given, list) or not all(
        isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in given
    ):
        raise UserError(f"{where}: expected labels as [[file, class], ...], or null")
    items, notes = _found(listing, [each[0] for each in given], where)
    values = [each[1] for each in given]
    if values and all(isinstance(value, list) for value in values):
        note = f"{where}: labels are not read, for they are vectors, not classes"
        return _items(listing, items, {}, [*notes, note, *said])
    return _items(listing, items, {"label": labels(values, where)}, [*notes, *said])


# --- WebDataset


def _key(store: Tar, path: str, number: int) -> tuple[int, str]:
    """WebDataset's: the path up to the first dot of the file's name, within a shard."""
    folder, slash, name = path.rpartition("/")
    return store.shard(number), f"{folder}{slash}{name.partition('.')[0]}"


def _beside(store: Tar, listing: _Listing) -> dict[tuple[int, str], dict[str, int]]:
    """What lies beside images: numbers of members by key and ending."""
    keys = {_key(store, path, number) for path, number in listing.images}
    found: dict[tuple[int, str], dict[str, int]] = {}
    for path, number in listing.others:
        key, last = _key(store, path, number), path.rpartition("/")[2].partition(".")[2].lower()
        if key in keys and last in _BESIDE:
            found.setdefault(key, {})[last] = number
    return found


def _webdataset(
    store: Tar, listing: _Listing, beside: dict[tuple[int, str], dict[str, int]]
) -> Encoded:
    """Images with a class (.cls), sentences (.txt, one a line) or an object (.json) beside each."""
    entries, seen = [], set()
    for path, number in listing.images:
        key = _key(store, path, number)
        if key in seen:
            raise UserError(
                f"{store.place(number)}: there are two images of the key {key[1]!r}, expected one"
            )
        seen.add(key)
        entries.append(_entry(store, beside.get(key, {})))
    columns, unread = columns_of(entries, listing.name)
    used = {number for each in beside.values() for number in each.values()}
    said = _but(listing, [path for path, number in listing.others if number not in used])
    return _items(listing, [number for _, number in listing.images], columns, [*unread, *said])


def _entry(store: Tar, beside: Mapping[str, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if "json" in beside:
        entry |= record(store.read(beside["json"]), store.place(beside["json"]))
    if "txt" in beside:
        lines = [line.strip() for line in _text(store, beside["txt"]).splitlines()]
        several = [line for line in lines if line]
        entry["text"] = several if len(several) > 1 else "".join(several)
    if "cls" in beside:
        label = _text(store, beside["cls"])
        entry["label"] = int(label) if label.isdecimal() and len(label) < 10 else label
    return entry


def _text(store: Tar, number: int) -> str:
    """A member's text."""
    content, place = store.read(number), store.place(number)
    if len(content) > LONGEST:
        raise UserError(f"{place} has {len(content):,} bytes, the most is {LONGEST:,}")
    try:
        return content.decode().strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is no UTF-8 text: mend it") from error
