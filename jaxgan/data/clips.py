"""Clips of files: videos, animations, strips of frames, and folders of frames.

| spec          | a clip is                                                                     |
| ------------- | ----------------------------------------------------------------------------- |
| clips:FOLDER  | a file of it, or of its sub-folders, whose names are then the classes: MP4,   |
|               | WebM, ... (PyAV), GIF, APNG, WebP (Pillow); a still image is a strip of       |
|               | square frames side by side                                                    |
| frames:FOLDER | a sub-folder of images, its frames by name, or one of a sub-folder of classes |

Frames are decoded when a batch takes them, up to the last that it takes.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from jaxgan.data.advice import skipped
from jaxgan.data.base import Item, Source
from jaxgan.data.damaged import check_damaged, each_shape
from jaxgan.data.store import Directory, Store
from jaxgan.errors import UserError, printable
from jaxgan.fields import Clip, Field, Image, Label
from jaxgan.fields.pixels import USUAL, Reading, extensions
from jaxgan.fields.video import LARGEST, Shot, counted, endings, shots, stills, thinned


@dataclasses.dataclass(frozen=True, eq=False)
class Footage:
    """The frames of a clip: indexed by an array of numbers, decoded then.

    Attributes:
      store: Where its files lie.
      numbers: Of its files in the store: one, or one a frame.
      folder: Whether each file is a frame.
      reading: How it is read.
    """

    store: Store
    numbers: tuple[int, ...]
    folder: bool
    reading: Reading

    @property
    def name(self) -> str:
        """Where it lies."""
        place = self.store.place(self.numbers[0])
        return str(Path(place).parent) if self.folder else place

    def _stills(self, numbers: Sequence[int]) -> Iterator[Shot]:
        """These frames, of a folder."""
        members = [self.numbers[number] for number in numbers]
        names = [self.store.place(member) for member in members]
        files = [functools.partial(self.store.read, member) for member in members]
        return stills(files, names, self.reading.max_pixels)

    def _shots(self) -> Iterator[Shot]:
        if self.folder:
            return self._stills(range(len(self.numbers)))
        content = self.store.read(self.numbers[0], limit=LARGEST)
        return shots(content, self.name, self.reading.max_pixels)

    @functools.cached_property
    def _facts(self) -> tuple[Int[np.ndarray, " t"], tuple[int, int]]:
        """Numbers of the frames that count, of those that there are; height and width."""
        seconds, size = [], (0, 0)
        for shot in self._shots():
            seconds.append(shot.seconds)
            size = shot.size
        if self.reading.fps is None:
            return np.arange(len(seconds)), size
        if None in seconds:
            raise UserError(
                f"{self.name} has frames without times, so that --data.fps says nothing: leave it "
                "out, and give --stride"
            )
        return thinned(np.array(seconds, float), self.reading.fps, self.name), size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Frames, height, width; channels, which are converted anyway."""
        frames, size = self._facts
        return len(frames), *size, 3

    def __len__(self) -> int:
        return len(self._facts[0])

    def __getitem__(self, chosen: Int[np.ndarray, " n"]) -> list[UInt8[np.ndarray, "h w c"]]:
        wanted = self._facts[0][chosen].tolist()
        numbers = sorted(set(wanted))
        if self.folder:
            taken = self._stills(numbers)
        else:  # a film is decoded from its beginning
            begun = enumerate(itertools.islice(self._shots(), numbers[-1] + 1))
            taken = (shot for number, shot in begun if number in numbers)
        found = {number: shot.pixels() for number, shot in zip(numbers, taken, strict=True)}
        return [found[number] for number in wanted]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clips(Source):
    """Clips of a folder; made by `open_clips`.

    Attributes:
      footage: Of all clips.
      store: Where they lie.
    """

    footage: Sequence[Footage] = dataclasses.field(repr=False)
    store: Store = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.footage)

    def __getitem__(self, index: int) -> Item:
        item: Item = {"clip": self.footage[index]}
        if self.labels is not None:
            item["label"] = self.labels[index]
        return item

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield place and shape of every clip, in order: a damaged one is found now."""
        if column != "clip":
            return
        for footage, found in zip(self.footage, self._decoded(), strict=True):
            if isinstance(found, UserError):
                raise found
            yield footage.name, found

    def _decoded(self) -> Iterator[tuple[int, ...] | UserError]:
        return each_shape(lambda index: self.footage[index].shape, len(self))

    def without_damaged(self) -> "Clips":
        """Decode all; return the data set without the damaged ones, which its notes count.

        Raises:
          UserError: They are more than half.
        """
        found = list(self._decoded())
        damaged = [str(each) for each in found if isinstance(each, UserError)]
        if not damaged:
            return self
        check_damaged(damaged, len(self), name=self.name, what="clips")
        kept = [i for i, each in enumerate(found) if not isinstance(each, UserError)]
        return dataclasses.replace(
            self,
            footage=[self.footage[i] for i in kept],
            labels=None if self.labels is None else self.labels[kept],
            notes=(*self.notes, f"skipped {len(damaged):,} damaged of {len(self):,} clips"),
            skipped=tuple(map(printable, damaged)),
        )

    def identity(self) -> Iterator[bytes]:
        """Yield what the files are called and hold, and how frames are taken of them."""
        yield json.dumps([self.classes, self.footage[0].reading.fps]).encode()
        yield from self.store.identity([n for each in self.footage for n in each.numbers])


def open_clips(spec: str, reading: Reading = USUAL) -> Clips:
    """Open `clips:FOLDER` or `frames:FOLDER`.

    Raises:
      UserError: No such folder; no clips in it, or some in sub-folders and some beside these.
    """
    kind, _, folder = spec.partition(":")
    root, apart = Path(folder).expanduser(), kind == "frames"
    if not folder or not root.is_dir():
        raise UserError(f"{spec}: there is no folder {folder!r}: give one of clips")
    try:
        store = Directory(root, deep=True, name=spec)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    known = extensions() if apart else endings()
    members = ((p.split("/"), n) for n, p in enumerate(store.members) if not p.endswith("/"))
    files = sorted(members, key=lambda each: [counted(part) for part in each[0]])
    others = ["/".join(p) for p, _ in files if not p[-1].lower().endswith(known)]
    groups: dict[tuple[str, ...], list[int]] = {}
    for path, number in files:
        if path[-1].lower().endswith(known):
            groups.setdefault(tuple(path[:-1] if apart else path), []).append(number)
    depths = {len(path) for path in groups}
    what = "sub-folders of frames" if apart else f"files in {', '.join(endings())}"
    if not groups:
        raise UserError(f"{spec} holds no clips, expected {what}")
    if () in groups:
        raise UserError(f"{spec} holds frames itself, expected {what}: give the folder above it")
    if len(depths) > 1 or not depths <= {1, 2}:
        raise UserError(
            f"{spec} holds clips at several depths, expected {what}, all of them in the folder or "
            "all in sub-folders, one a class"
        )
    columns: dict[str, Field] = {"clip": Clip()}
    labels = None
    if depths == {2}:
        names = sorted({path[0] for path in groups})
        labels = np.array([names.index(path[0]) for path in groups], np.int32)
        columns["label"] = Label(classes=len(names), names=tuple(names))
    clips = Clips(
        name=spec,
        columns=columns,
        labels=labels,
        notes=(f"skipped {skipped(others)}",) if others else (),
        footage=[Footage(store, tuple(each), apart, reading) for each in groups.values()],
        store=store,
    )
    return clips.without_damaged() if reading.skip_broken else clips


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stills(Source):
    """A frame of each clip of a set, as an image; made by `open_stills`.

    Attributes:
      source: The clips.
    """

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        item = self.source[index]
        clip = item.pop("clip")
        # Frame after frame, clip after clip, by steps that are prime to most lengths.
        frame = index % len(self) * 7 % len(clip)
        return {"image": clip[np.array([frame])][0], **item}

    def identity(self) -> Iterator[bytes]:
        """Yield those of the clips."""
        yield b"stills"
        yield from self.source.identity()


def open_stills(spec: str, open_: Callable[[str], Source]) -> Stills:
    """Open `stills:DATA`: of each clip one frame, for what looks at frames alone.

    Raises:
      UserError: The set holds no clips.
    """
    source = open_(spec.removeprefix("stills:"))
    if not isinstance(clip := source.columns.get("clip"), Clip):
        raise UserError(f"{spec}: {source.name} holds no clips: give a set that does")
    others = {name: field for name, field in source.columns.items() if name != "clip"}
    return Stills(
        name=spec,
        columns={"image": Image(clip.shape[1:]), **others},
        labels=source.labels,
        source=source,
    )
