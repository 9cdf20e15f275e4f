"""What a compressed file begins and ends with.

| bytes      | what                                                                       |
| ---------- | -------------------------------------------------------------------------- |
| 3          | "JGC"                                                                      |
| 1          | version of the format                                                      |
| 4          | of the hash of the run's system and weights                                |
| 1, 1 to 5… | how many sides the original has, and each (7 bits a byte, lowest first)    |
| 4          | CRC-32 of what the models said: scales, means, tables                      |
| 1 to 5…    | length of each payload                                                     |
| …          | payloads, and the words of the stream, to the end                          |
| 4          | CRC-32 of all bytes before                                                 |

Numbers of 4 bytes, and words, are little-endian.
"""

import dataclasses
import math
import zlib

from jaxgan.errors import UserError
from jaxgan.fields.pixels import MAX_PIXELS

MAGIC = b"JGC"
VERSION = 1
_LEAST = len(MAGIC) + 1 + 4 + 1 + 4 + 4


@dataclasses.dataclass(frozen=True)
class Header:
    """What is read of a file, or written to it.

    Attributes:
        run: the first 4 bytes of the run's hash.
        size: of the original, such as (height, width).
        check: CRC-32 of what the models said.
        payloads: of coders with a format of their own.
        words: the stream's bytes.
    """

    run: bytes
    size: tuple[int, ...]
    check: int
    payloads: tuple[bytes, ...]
    words: bytes

    def to_bytes(self) -> bytes:
        """The file."""
        content = MAGIC + bytes([VERSION]) + self.run + bytes([len(self.size)])
        content += b"".join(_varint(side) for side in self.size)
        content += self.check.to_bytes(4, "little")
        content += b"".join(_varint(len(each)) for each in self.payloads)
        content += b"".join(self.payloads) + self.words
        return content + zlib.crc32(content).to_bytes(4, "little")


def of_run(content: bytes) -> bytes:
    """The run's hash, of a file that is whole.

    Raises:
        UserError: it is no such file, of another version, cut, or changed.
    """
    if len(content) < _LEAST or content[: len(MAGIC)] != MAGIC:
        raise UserError("is no file that `jaxgan compress` wrote, or its beginning is damaged")
    if content[3] != VERSION:
        raise UserError(
            f"is of version {content[3]} of the format, and this is version {VERSION}: decompress "
            "it by the jaxgan that wrote it, unless it is damaged"
        )
    if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
        raise UserError("is damaged, cut or changed (its checksum is wrong): get it anew")
    return content[4:8]


def parse(
    content: bytes, payloads: int, *, sides: int | None = None, max_pixels: int = MAX_PIXELS
) -> Header:
    """A file, in which there are so many payloads, of an original with so many sides.

    Raises:
        UserError: as `of_run`; or its numbers make no sense.
    """
    run = of_run(content)
    body, place = content[:-4], 9
    if sides not in (None, content[8]):
        raise UserError("is of a form that this run does not write: it is another run's")
    size = []
    for _ in range(content[8]):
        side, place = _number(body, place)
        size.append(side)
    if not math.prod(size):
        raise UserError("says that it has no pixels, as no file does: get it anew")
    if math.prod(size) > max_pixels:
        raise UserError(
            f"says that it has {math.prod(size):,} pixels, more than {max_pixels:,}: allow as many "
            "by --max-pixels"
        )
    check, place = int.from_bytes(body[place : place + 4], "little"), place + 4
    lengths = []
    for _ in range(payloads):
        length, place = _number(body, place)
        lengths.append(length)
    parts = []
    for length in lengths:
        parts.append(body[place : place + length])
        place += length
    words = body[place:]
    if place > len(body) or len(words) % 4:
        raise UserError("is of a form that this run does not write: it is another run's")
    return Header(run, tuple(size), check, tuple(parts), words)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def _number(content: bytes, place: int) -> tuple[int, int]:
    """A number and the place after it."""
    number = 0
    for index in range(5):
        if place + index >= len(content):
            break
        byte = content[place + index]
        number |= (byte % 128) << 7 * index
        if byte < 128:
            return number, place + index + 1
    raise UserError("is of a form that this run does not write: it is another run's")
