"""Emoji with their names: real pictures of 64 pixels, captions, classes, masks and pairs.

`emoji:FOLDER[:google|twitter][:textures][:train|test]` reads the npm packages
`emoji-datasource-google` (Noto, Apache-2.0) and `emoji-datasource-twitter` (Twemoji, CC-BY 4.0),
unpacked:

    npm pack emoji-datasource-google emoji-datasource-twitter
    mkdir -p emoji/google emoji/twitter
    tar xzf emoji-datasource-google-*.tgz -C emoji/google
    tar xzf emoji-datasource-twitter-*.tgz -C emoji/twitter

| column | what                                                                      |
| ------ | ------------------------------------------------------------------------- |
| image  | 64x64 RGBA; what is transparent is on white for systems that draw RGB     |
| input  | the same emoji by the other vendor, where both packages are there         |
| mask   | the alpha of the image                                                    |
| label  | its category                                                              |
| text   | several sentences: its name, its short names, category and subcategory    |

`:test` is every emoji of a tenth of the names, with all its skin tones, and `:train` the others.

With `:textures` each lies on a ground of its own (`jaxgan.data.textures`), a function of its file's
name alone: the image is 64x64 RGB, the mask is 255 where the alpha is above a half and 0 elsewhere,
and there is no input. Test and train share the textures, and no cut of them but by chance.
"""

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxgan.data.base import Columns
from jaxgan.data.columns import labels
from jaxgan.data.textures import on_texture
from jaxgan.errors import UserError, nearest
from jaxgan.fields import Field, Image, Mask, Text
from jaxgan.fields.pixels import USUAL, Reading, channels, read
from jaxgan.files import is_name, read_text
from jaxgan.schema import LARGEST, parse_json

VENDORS = ("google", "twitter")
"""Whose pictures there are; the first that is found makes the images, where none is named."""

SIDE = 64
"""Pixels."""

_PARTS = ("train", "test")
_TEXTURES = "textures"
_TENTH = 10
_TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
"""Of skin, by the code point that makes it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Emoji:
    """A picture in a package's list.

    Attributes:
      file: Its name.
      made_by: The vendors that have it.
      category: One of ten.
      texts: What it is called.
      test: Whether it is held out.
    """

    file: str
    made_by: frozenset[str]
    category: str
    texts: tuple[str, ...]
    test: bool


def open_emoji(spec: str, reading: Reading = USUAL) -> Columns:
    """Open `emoji:FOLDER[:google|twitter][:textures][:train|test]`.

    FOLDER is an unpacked package, or holds one or both: in sub-folders `google` and `twitter`, or
    as `node_modules` does. The vendor that is named makes the images.

    Raises:
      UserError: No package there, or one that is damaged; no textures are installed.
    """
    folder, vendor, part, textured = _parsed(spec)
    found = _packages(Path(folder).expanduser())
    if not found or (vendor and vendor not in found):
        raise _none(spec, folder, vendor, found)
    vendor = vendor or next(iter(found))
    other = None if textured else next((each for each in found if each != vendor), None)
    drawn_by = {each for each in (vendor, other) if each}
    listed = _listed(found[vendor] / "emoji.json")
    chosen = [
        each
        for each in listed
        if drawn_by <= each.made_by and (not part or each.test == (part == "test"))
    ]
    if not chosen:
        raise UserError(f"{spec}: {found[vendor] / 'emoji.json'} lists no emoji: unpack it anew")
    images = [_picture(found[vendor], vendor, each, reading) for each in chosen]
    masks = np.stack([image[:, :, 3:] for image in images])
    if textured:
        masks = np.where(masks > 127, np.uint8(255), np.uint8(0))
        # By name, so that an emoji has one ground in whatever part of the set it is.
        grounds = [zlib.crc32(f"{vendor}/{each.file}".encode()) for each in chosen]
        images = [on_texture(*each) for each in zip(images, grounds, strict=True)]
    names = sorted({each.category for each in listed})  # the same of each part
    label = labels([names.index(each.category) for each in chosen], spec, names)
    fields: dict[str, Field] = {
        # As many channels as are wanted: a list, for an array's would be four.
        "image": Image((SIDE, SIDE, 3 if textured else None)),
        "mask": Mask((SIDE, SIDE, 1)),
        "label": label.field,
        "text": Text(),
    }
    items: dict[str, Any] = {
        "image": images,
        "mask": masks,
        "label": label.items,
        "text": [each.texts for each in chosen],
    }
    if other:
        fields["input"] = fields["image"]
        items["input"] = [_picture(found[other], other, each, reading) for each in chosen]
    return Columns(items, fields, name=spec)


def _parsed(spec: str) -> tuple[str, str, str, bool]:
    """The folder, the vendor, the part, "" for what is not named; and whether on textures."""
    folder = spec.removeprefix("emoji:")
    said: dict[tuple[str, ...], str] = {}
    kinds = (VENDORS, _PARTS, (_TEXTURES,))
    while ":" in folder:
        rest, _, word = folder.rpartition(":")
        kind = next((kind for kind in kinds if word in kind), None)
        if kind is None:
            break
        if kind in said:
            raise UserError(
                f"{spec}: give one vendor and one part, as in emoji:FOLDER:google:textures:test"
            )
        said[kind], folder = word, rest
    return folder, said.get(VENDORS, ""), said.get(_PARTS, ""), (_TEXTURES,) in said


def _packages(root: Path) -> dict[str, Path]:
    """The packages in a folder, by vendor."""
    found = {}
    for vendor in VENDORS:
        package = f"emoji-datasource-{vendor}"
        inside = ("", "package", vendor, f"{vendor}/package", package, f"{package}/package")
        for place in (*inside, f"node_modules/{package}"):
            folder = root / place
            if (folder / "emoji.json").is_file() and _pictures(folder, vendor).is_dir():
                found[vendor] = folder
                break
    return found


def _pictures(package: Path, vendor: str) -> Path:
    return package / "img" / vendor / str(SIDE)


def _none(spec: str, folder: str, vendor: str, found: Mapping[str, Path]) -> UserError:
    wanted = vendor or VENDORS[0]
    package = f"emoji-datasource-{wanted}"
    here = f"{folder!r} holds {', '.join(found) or 'no such package'}"
    if not Path(folder).expanduser().is_dir():
        before, _, word = folder.rpartition(":")
        if before and Path(before).expanduser().is_dir():
            known = (*VENDORS, *_PARTS, _TEXTURES)
            return UserError(
                f"{spec}: {word!r} is none of {', '.join(known)}, which may follow the folder"
                f"{nearest(word, known)}"
            )
        here = f"no folder {folder!r} here"
    return UserError(
        f"{spec}: {here}, expected the npm package {package}, unpacked: npm pack {package} && "
        f"mkdir -p emoji/{wanted} && tar xzf {package}-*.tgz -C emoji/{wanted}, then --data "
        "emoji:emoji (Noto is Apache-2.0, Twemoji CC-BY 4.0)"
    )


def _listed(path: Path) -> list[_Emoji]:
    """All emoji of a package's list, each with its skin tones after it."""
    try:
        entries = parse_json(read_text(path, limit=LARGEST))
        return [each for entry in entries for each in _of_entry(entry)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no list of emoji ({type(error).__name__}: {error}): unpack the package anew"
        ) from error


def _of_entry(entry: Mapping[str, Any]) -> Iterator[_Emoji]:
    short = [word.replace("_", " ") for word in entry["short_names"]]
    sentence = f"{entry['category']} {entry['subcategory']} {entry['name']}"
    texts = [text.lower() for text in (entry["name"], *short, sentence)]
    # By name, so that no tone of what is held out is learnt from.
    test = zlib.crc32(entry["unified"].encode()) % _TENTH == 0
    variations = entry.get("skin_variations", {})
    for tones, picture in (("", entry), *variations.items()):
        words = " and ".join(_TONES[tone] for tone in dict.fromkeys(tones.split("-")) if tone)
        called = [f"{text}, {words} skin tone" if words else text for text in texts]
        if not is_name(picture["image"]):
            raise ValueError(f"{picture['image']!r} is no file name")
        yield _Emoji(
            file=picture["image"],
            made_by=frozenset(v for v in VENDORS if picture.get(f"has_img_{v}")),
            category=str(entry["category"]),
            texts=tuple(dict.fromkeys(called)),
            test=test,
        )


def _picture(
    package: Path, vendor: str, emoji: _Emoji, reading: Reading
) -> UInt8[np.ndarray, "64 64 4"]:
    path = _pictures(package, vendor) / emoji.file
    image = channels(read(path, max_pixels=reading.max_pixels), 4)
    if image.shape != (SIDE, SIDE, 4):
        raise UserError(
            f"{path} is {image.shape[0]}x{image.shape[1]}, expected {SIDE}x{SIDE}: unpack the "
            "package anew"
        )
    return image
