"""Data sets of the Hugging Face library `datasets`, and Parquet files, which it reads.

Nothing is downloaded: a data set is a folder, or lies in the library's cache already.
"""

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data.columns import Column, absent, columns_of, labels
from jaxgan.data.encoded import Encoded
from jaxgan.data.identity import content_hash
from jaxgan.data.store import LARGEST, Store
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image
from jaxgan.fields.pixels import USUAL, Reading
from jaxgan.files import is_name, read_regular
from jaxgan.schema import parse_json

_SPEC = re.compile(r"(?P<name>[^:]+)(?::(?P<split>.+))?")


class Table(Store):
    """Rows of a data set, of each of which one image is read.

    Args:
      rows: A `datasets.Dataset` whose column "image" is not decoded.
      name: As the user typed it.
      hashes: Of its files.
    """

    def __init__(self, rows: Any, *, name: str, hashes: Sequence[bytes]):
        self.name, self._rows, self._hashes = name, rows, tuple(hashes)
        self.members, self.passed = (), Counter()

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int, *, limit: int = LARGEST) -> bytes:
        """Return the file of a row's image, which may lie beside the table."""
        image = self._rows[number]["image"]
        content, path = (image or {}).get("bytes"), (image or {}).get("path")
        if content is not None and len(content) <= limit:
            return content
        try:
            if content is None and path and "://" not in path:
                return read_regular(path, limit=limit)
        except OSError as error:
            raise UserError(f"{self.place(number)}: {path} is {error.strerror}") from error
        has = "no image" if content is None else f"an image of {len(content):,} bytes"
        raise UserError(f"{self.place(number)}: found {has}, expected one: leave out the row")

    def place(self, number: int) -> str:
        """Return the table's name and the row."""
        return f"{self.name} (row {number})"

    def identity(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield the hash of each of its files, and the rows."""
        yield from self._hashes
        yield np.asarray(numbers, "<i8").tobytes()
        for number in numbers if self._apart() else ():
            yield hashlib.sha256(self.read(number, limit=2**40)).digest()

    def _apart(self) -> bool:
        """Whether images lie elsewhere than in the table's files."""
        content = self._rows.data.column("image").combine_chunks().field("bytes")
        return not self._hashes or content.null_count > 0


_LARGEST_README = 2**22


def open_hf(spec: str, reading: Reading = USUAL) -> Encoded:
    """Open `hf:NAME[:SPLIT]` or `hf:FOLDER[:SPLIT]`; the split is "train" by default.

    FOLDER is one that the library understands: of Parquet files, or saved by `save_to_disk`. NAME
    must be in the library's cache. The column "image", or else the only one of images, is the
    image; columns of class labels keep their names, and others become sentences or points.

    Raises:
      UserError: The library is not installed, or cannot open it; no images, or several columns
        of them; no such split.
    """
    rest = spec.removeprefix("hf:")
    if rest and Path(rest).expanduser().exists():
        return _open(spec, rest, None, reading)
    parsed = _SPEC.fullmatch(rest)
    if parsed is None:
        raise UserError(f"{spec!r} names no data set, expected hf:NAME or hf:NAME:SPLIT")
    return _open(spec, parsed["name"], parsed["split"], reading)


def open_parquet(name: str, reading: Reading = USUAL) -> Encoded:
    """Open a Parquet file, or a folder of them, as `open_hf` does.

    Raises:
      UserError: As `open_hf`.
    """
    return _open(name, name, None, reading)


def _open(spec: str, name: str, split: str | None, reading: Reading) -> Encoded:
    library = _library(spec)
    rows, notes = _split(spec, _loaded(library, spec, name), split)
    if isinstance(rows, library.IterableDataset):
        raise UserError(f"{spec} can only be read in order: give a data set that is on this disk")
    images = [key for key, kind in rows.features.items() if isinstance(kind, library.Image)]
    main = "image" if "image" in images else images[0] if len(images) == 1 else None
    if main is None:
        found = ", ".join(f"{key} ({_kind(kind)})" for key, kind in rows.features.items())
        raise UserError(
            f"{spec} has the columns {found}, expected one of images, or of several one called "
            "'image': rename it"
        )
    columns, unread = _columns(library, rows, main, spec)
    image = rows.select_columns([main]).cast_column(main, library.Image(decode=False))
    image = image if main == "image" else image.rename_column(main, "image")
    fields: dict[str, Field] = {"image": Image()}
    label = columns.get("label") or next(
        (each for each in columns.values() if each.field.kind() == "label"), None
    )
    files = [Path(each["filename"]) for each in rows.cache_files]
    source = Encoded(
        name=spec,
        columns=fields | {key: column.field for key, column in columns.items()},
        labels=None if label is None else np.asarray(label.items),
        notes=(*notes, *unread, *(absent(label) if label else [])),
        store=Table(image, name=spec, hashes=[content_hash(path) for path in files]),
        numbers=np.arange(len(rows)),
        others={key: column.items for key, column in columns.items()},
        reading=reading,
    )
    return source.without_damaged() if reading.skip_broken else source


def _library(spec: str) -> Any:
    """The library, which will not look for anything on a network."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        import datasets
        import huggingface_hub
    except ImportError:
        raise UserError(
            f"{spec} is read by the package datasets, which is not installed: "
            "pip install 'jaxgan[hf]'"
        ) from None
    # They read the environment when they are imported, which may have been earlier.
    datasets.config.HF_HUB_OFFLINE = True
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    # What it logs of a broken file, it raises too.
    datasets.logging.set_verbosity(logging.CRITICAL)
    huggingface_hub.logging.set_verbosity_error()
    return datasets


def _loaded(library: Any, spec: str, name: str) -> Any:
    """All splits that the library finds under a name, a folder or a file."""
    path = Path(name).expanduser()
    if path.is_dir():
        _refuse_elsewhere(spec, path)
    try:
        if path.is_file():
            return library.load_dataset("parquet", data_files={"train": [str(path)]})
        if path.is_dir():
            saved = [path / each for each in ("dataset_dict.json", "state.json")]
            if any(each.is_file() for each in saved):
                return library.load_from_disk(str(path))
            return library.load_dataset(str(path.resolve()))
        return library.load_dataset(name)
    except Exception as error:  # of the library, and of those that it stands on
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        hint = "" if path.exists() else " (nothing is downloaded: it must be in the cache)"
        raise UserError(f"{spec} cannot be opened by datasets{hint}: {reason}") from error


def _refuse_elsewhere(spec: str, folder: Path) -> None:
    """Refuses a folder whose own words lead the library out of it, to a network first of all.

    Its offline settings do not keep it from addresses that README.md gives for files.
    """
    import yaml  # which datasets needs, too

    readme = folder / "README.md"
    if readme.is_file():
        text = read_regular(readme, limit=_LARGEST_README).decode(errors="replace")
        head = text.split("\n---", 1)[0].removeprefix("---") if text.startswith("---") else ""
        try:
            facts = yaml.safe_load(head) or {}
        except yaml.YAMLError as error:
            raise UserError(f"{readme} begins with YAML that is broken: remove it") from error
        facts = facts if isinstance(facts, dict) else {}
        files = [facts.get(key) for key in ("configs", "data_files", "data_dir")]
        if "://" in json.dumps(files, default=str):
            raise UserError(
                f"{spec}: {readme} says that files are to be had from an address, and nothing is "
                "downloaded: get them, and remove that from it"
            )
    for state in (folder / "state.json", *folder.glob("*/state.json")):
        if state.is_file():
            try:
                found = parse_json(read_regular(state, limit=_LARGEST_README))
                names = [each["filename"] for each in found["_data_files"]]
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(f"{state} is broken: save the data set anew") from error
            if bad := [each for each in names if not is_name(str(each))]:
                raise UserError(f"{state} names a file outside of its folder ({bad[0]!r})")


def _split(spec: str, found: Any, wanted: str | None) -> tuple[Any, list[str]]:
    """One split of a data set, and a note on which, where there are several."""
    if not isinstance(found, dict):
        if wanted not in (None, str(found.split)):
            raise UserError(f"{spec}: it is one split, {found.split}: leave out :{wanted}")
        return found, []
    base, rest = re.fullmatch(r"([^\[]*)(.*)", wanted or "train").groups()  # type: ignore[union-attr]
    name = next(iter(found)) if wanted is None and len(found) == 1 else base
    if name not in found:
        raise UserError(f"{spec}: no split {name!r}, expected one of {', '.join(found)}")
    rows = found[name]
    if rest:
        rows = rows.select(_slice(spec, rest, len(rows)))
    others = [other for other in found if other != name]
    return rows, [f"split {name}, not {', '.join(others)}"] if others and wanted is None else []


def _slice(spec: str, text: str, count: int) -> range:
    """The rows that [a:b] asks for, in numbers or in percent."""
    parsed = re.fullmatch(r"\[(-?\d{0,12})(%?):(-?\d{0,12})(%?)\]", text)
    if parsed is None:
        raise UserError(f"{spec}: {text!r} is no part of a split, such as [:10%] or [100:200]")

    def at(number: str, percent: str, otherwise: int) -> int:
        if not number:
            return otherwise
        place = round(int(number) / 100 * count) if percent else int(number)
        return min(max(place + count if place < 0 else place, 0), count)

    first, last = at(parsed[1], parsed[2], 0), at(parsed[3], parsed[4], count)
    if first >= last:
        raise UserError(f"{spec}: {text} has no rows of {count:,}")
    return range(first, last)


def _columns(library: Any, rows: Any, main: str, spec: str) -> tuple[dict[str, Column], list[str]]:
    """All columns but the image's, and notes on those that are not read."""
    columns: dict[str, Column] = {}
    notes = []
    plain = {}
    for key, kind in rows.features.items():
        if key == main:
            continue
        if isinstance(kind, library.ClassLabel):
            values = rows.with_format("numpy").select_columns([key])[:][key]
            if None in kind.names or len(values) == 0 or min(values) < 0:
                notes.append(f"{key!r} is not read, for some have no class")
            else:
                columns[key] = labels(values.tolist(), f"{spec} column {key}", kind.names)
        elif isinstance(kind, library.Image):
            notes.append(f"{key!r} is not read, for {main!r} is the image")
        else:
            plain[key] = kind
    known = [key for key, kind in plain.items() if _is_plain(library, kind)]
    notes += [f"{key!r} is not read, for it is {_kind(plain[key])}" for key in plain.keys() - known]
    if known:
        entries = rows.select_columns(known).with_format(None)[:]
        found, unread = columns_of(
            [dict(zip(known, row, strict=True)) for row in zip(*entries.values(), strict=True)],
            spec,
        )
        columns |= found
        notes += unread
    return columns, notes


def _is_plain(library: Any, kind: Any) -> bool:
    """Whether values are strings, numbers, or lists of these."""
    if isinstance(kind, library.List):
        kind = kind.feature
    return isinstance(kind, library.Value)


def _kind(kind: Any) -> str:
    return getattr(kind, "dtype", None) or type(kind).__name__
