"""TensorFlow Datasets, read at random and without TensorFlow."""

import contextlib
import dataclasses
import difflib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxgan.bucket import in_bucket
from jaxgan.data.base import Item, Source
from jaxgan.data.copies import on_disk
from jaxgan.data.identity import content_hashes
from jaxgan.errors import UserError, printable
from jaxgan.fields import Clip, Field, Image, Label, Text
from jaxgan.fields.pixels import USUAL, Reading, channels, read


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tfds(Source):
    """A prepared TFDS data set; made by `open_tfds`.

    Attributes:
      records: Examples with "image" still encoded.
      root: The folder that they lie in.
      shards: Files in it, with how many examples of each are passed over and then taken; -1: all.
      depth: Channels that TFDS promises, to which images are converted; None if it does not.
      texts: Columns of sentences: features by name, those within a sequence after a dot.
      film: The feature of frames that is the column "clip"; "": there are single images.
      reading: How images are read.
    """

    records: Sequence[dict[str, Any]] = dataclasses.field(repr=False)
    root: Path
    shards: tuple[tuple[str, int, int], ...] = dataclasses.field(repr=False)
    depth: int | None
    texts: tuple[str, ...] = ()
    film: str = ""
    reading: Reading = USUAL

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Item:
        record = self.records[index]
        name = f"{self.name} (item {index})"
        item: Item
        if self.film:
            frames = [bytes(frame) for frame in record[self.film]]
            if not frames:
                raise UserError(f"{name} holds no frames: choose another data set")
            film = Film(frames=frames, name=name, depth=self.depth, reading=self.reading)
            item = {"clip": film}
        else:
            image = read(record["image"], name=name, max_pixels=self.reading.max_pixels)
            item = {"image": image if self.depth is None else channels(image, self.depth)}
        if "label" in self.columns:
            item["label"] = np.int32(record["label"])
        return item | {name: _words(record, name) for name in self.texts}

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column, without decoding images for sentences."""
        if name not in self.texts:
            return super().column(name)
        return [_words(record, name) for record in self.records]

    def identity(self) -> Iterator[bytes]:
        """Yield names of classes, and each shard's name, chosen examples and hash of its bytes."""
        yield json.dumps(self.classes).encode()
        files = list(dict.fromkeys(file for file, _, _ in self.shards))
        hashes = dict(zip(files, content_hashes(self.root, files), strict=True))
        for file, skip, take in self.shards:
            yield f"{file} {skip} {take}".encode()
            yield hashes[file]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """Encoded frames of a record, decoded when they are indexed by an array of numbers.

    Attributes:
      frames: Of a clip, encoded.
      name: Of the item.
      depth: Channels to which they are converted; None: they are not.
      reading: How they are read.
    """

    frames: Sequence[bytes]
    name: str
    depth: int | None
    reading: Reading

    def _frame(self, number: int) -> np.ndarray:
        most = self.reading.max_pixels
        frame = read(self.frames[number], name=f"{self.name}, frame {number}", max_pixels=most)
        return frame if self.depth is None else channels(frame, self.depth)

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames, and the size of the first."""
        return len(self), *self._frame(0).shape

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, chosen: Int[np.ndarray, " n"]) -> list[np.ndarray]:
        return [self._frame(number) for number in chosen.tolist()]


def open_tfds(name: str, reading: Reading = USUAL) -> Tfds:
    """Open `tfds:NAME[:SPLIT]`; NAME may carry /config and :version, SPLIT is train by default.

    The environment variable TFDS_DATA_DIR says where data sets lie, as everywhere in TFDS; from a
    bucket, the data set is copied to this machine. Features "image" and, if it is a class label,
    "label" are used, or else frames of a video as "clip", and those of text, one or a sequence of
    them.

    Raises:
      UserError: Unknown name, version or split; not prepared on this disk, or not for random
        access; neither a feature "image" nor one of videos; TensorFlow, which TFDS needs to say
        what videos are, is not installed.
    """
    # Imported here because it takes half a second that only users of TFDS should pay.
    import tensorflow_datasets as tfds

    # Neither `data_dir=...`, which TFDS takes in names, too, nor a namespace of others' code.
    parsed = re.fullmatch(r"tfds:(\w+(?:/[\w.+-]+)?(?::\d+\.\d+\.\d+)?)(?::(.+))?", name)
    if parsed is None:
        raise UserError(f"{name!r} names no data set, expected tfds:NAME or tfds:NAME:SPLIT")
    dataset, split = parsed[1], parsed[2] or "train"
    prepare = f"python -c \"import tensorflow_datasets as t; t.data_source('{dataset}')\""
    prepare += " (needs, once, pip install tensorflow)"
    builder = _builder(dataset)
    if not builder.is_prepared():
        raise UserError(f"{name} is not prepared in {builder.data_dir}: run {prepare}")
    features = dict(builder.info.features.items())
    film, pictured = _pictured(name, features, reading)
    # Encoded images go through `read` like any file: what TFDS's own decoder makes of palettes and
    # alpha depends on whether OpenCV is installed. Other images of an example stay undecoded.
    image = tfds.features.Image
    skip = {
        k: _as_they_are()
        for k, f in features.items()
        if isinstance(f, image) or k in _films(features)
    }
    try:
        records = builder.as_data_source(split, decoders=skip)
    except ValueError:
        raise UserError(
            f"{name}: no split {split!r}, expected one of {', '.join(sorted(builder.info.splits))}"
        ) from None
    except NotImplementedError:
        raise UserError(
            f"{name} is prepared as {builder.info.file_format.value} in {builder.data_dir}, which "
            f"cannot be read at random: delete that folder and run {prepare}"
        ) from None
    shape = pictured.shape
    known = Image() if None in shape else Image(tuple(shape))
    columns: dict[str, Field] = {"clip": Clip((None, *known.shape))} if film else {"image": known}
    label = features.get("label")
    if isinstance(label, tfds.features.ClassLabel):
        columns["label"] = Label(classes=len(label.names), names=tuple(label.names))
    texts = tuple(_texts(features))
    return Tfds(
        name=name,
        columns=columns | dict.fromkeys(texts, Text()),
        records=records,
        root=Path(builder.data_dir),
        shards=tuple(
            (str(Path(each.filename).relative_to(builder.data_dir)), each.skip, each.take)
            for each in builder.info.splits[split].file_instructions
        ),
        depth=shape[-1],
        texts=texts,
        film=film,
        reading=reading,
    )


def _pictured(name: str, features: Mapping[str, Any], reading: Reading) -> tuple[str, Any]:
    """The feature of frames, "" where there are single images; and what an image or a frame is.

    Raises:
      UserError: There is neither; pixels that are none; a frame rate, which no feature has.
    """
    import tensorflow_datasets as tfds

    found, film = features.get("image"), ""
    if not isinstance(found, tfds.features.Image):
        films = _films(features)
        if not films:
            raise UserError(
                f"{name} has the features {', '.join(sorted(features))}, expected one called "
                "'image' that is an image, or one of videos: choose another data set"
            )
        film, found = films[0], features[films[0]].feature
        if reading.fps is not None:
            raise UserError(
                f"{name} has frames without times, so that --data.fps says nothing: leave it out, "
                "and give --stride"
            )
    if found.np_dtype == np.float32:
        raise UserError(f"{name} has float32 images, expected 8 or 16 bits: choose another one")
    return film, found


def _as_they_are() -> Any:
    """A decoder of TFDS that decodes nothing, of sequences, too, as its own does not (4.9.10)."""
    import tensorflow_datasets as tfds

    class Undecoded(tfds.decode.SkipDecoding):
        def decode_batch_example_np(self, batch: Any) -> Any:
            return batch

        def __reduce__(self) -> tuple[Any, tuple[()]]:
            return _as_they_are, ()  # a class within a function cannot be pickled

    return Undecoded()


def _films(features: Mapping[str, Any]) -> list[str]:
    """Names of the features that are sequences of images, as videos are."""
    import tensorflow_datasets as tfds

    return [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Sequence)
        and isinstance(feature.feature, tfds.features.Image)
    ]


def _texts(features: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Names of the features that are sentences, one an example or several in a sequence."""
    import tensorflow_datasets as tfds

    for name, feature in features.items():
        inner = getattr(feature, "feature", feature) if not above else feature
        if isinstance(inner, tfds.features.FeaturesDict):
            if not above and inner is not feature:  # a sequence of dicts, as captions of COCO are
                yield from _texts(dict(inner.items()), f"{name}.")
        elif isinstance(inner, tfds.features.Text) or _is_string(inner):
            yield f"{above}{name}"


def _is_string(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    plain = type(feature) is tfds.features.Tensor or type(feature) is tfds.features.Scalar
    return plain and feature.shape == () and feature.np_dtype in (object, np.str_, np.bytes_)


def _words(record: Mapping[str, Any], name: str) -> str | list[str]:
    """The sentences of an example, of a feature that `_texts` names."""
    found: Any = record
    for part in name.split("."):
        found = found[part]
    if isinstance(found, str | bytes):
        return _decoded(found)
    return [_decoded(each) for each in found]


def _decoded(text: str | bytes) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _builder(dataset: str) -> Any:
    """What TFDS calls a data set that may be prepared."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    try:
        with _no_code():
            return tfds.builder(dataset, data_dir=_copied(dataset))
    except DatasetNotFoundError:
        near = difflib.get_close_matches(dataset, tfds_names(), n=1, cutoff=0.0)[0]
        bare = importlib.util.find_spec("tensorflow") is None
        more = " (sets of videos need TensorFlow: pip install tensorflow)" if bare else ""
        raise UserError(
            f"TFDS has no data set {dataset!r}: did you mean tfds:{near}?{more}"
        ) from None
    except UserError as error:
        raise UserError(f"tfds:{dataset}: {error}") from error
    except ImportError as error:
        raise UserError(
            f"TFDS needs {error.name or 'a package'} to open {dataset!r}: pip install "
            f"{error.name or 'it'}"
        ) from error
    except (ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"TFDS cannot open {dataset!r}: {reason}") from error


@contextlib.contextmanager
def _no_code() -> Iterator[None]:
    """Refuses features.json that name features of modules, which TFDS would import (4.9.10)."""
    from tensorflow_datasets.core.features.feature import FeatureConnector

    usual, kept = FeatureConnector.cls_from_name, vars(FeatureConnector)["cls_from_name"]

    def known(name: str) -> Any:
        if name.partition(".")[0] == "tensorflow_datasets":
            return usual(name)
        raise UserError(
            f"its features.json names {printable(name)[:100]!r}, which is no feature of TFDS, but "
            "code of a module: it is not imported; choose another data set"
        )

    FeatureConnector.cls_from_name = staticmethod(known)
    try:
        yield
    finally:
        FeatureConnector.cls_from_name = kept


def _copied(dataset: str) -> Path | None:
    """Where a data set of a bucket was copied to; None: it is not in one."""
    place = os.environ.get("TFDS_DATA_DIR", "")
    return on_disk(f"{place}/{re.split('[/:]', dataset)[0]}").parent if in_bucket(place) else None


def tfds_names() -> list[str]:
    """List the data sets TFDS knows."""
    import tensorflow_datasets as tfds

    # Community data sets are listed on a server.
    return tfds.list_builders(with_community_datasets=False)
