"""Whole numbers as 32-bit words, by asymmetric numeral systems (Duda et al. 2015).

The coder is `constriction`'s (Bamler 2022). It is a stack: what is decoded first is encoded last.
So a `Writer` notes what is to be written, in the order in which a `Reader` will read it.
"""

from typing import Any

import numpy as np
from jaxtyping import Int, UInt32

from jaxgan.codec.tables import TOTAL
from jaxgan.errors import UserError

_LENGTHS = 32
"""Bits that numbers beyond a table may have."""


def constriction() -> Any:
    """The package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import constriction as package
    except ImportError as error:
        raise UserError(
            "files are written by the package constriction: pip install 'jaxgan[codec]'"
        ) from error
    return package


def _categorical(table: Int[np.ndarray, " n"]) -> Any:
    # Shares of 2^24 are exact in float64, and the package's own counts follow from them.
    return constriction().stream.model.Categorical(table / TOTAL, perfect=False)


def _uniform(size: int) -> Any:
    return constriction().stream.model.Uniform(size)


class Writer:
    """Notes whole numbers, and writes them."""

    def __init__(self) -> None:
        self._steps: list[tuple[Int[np.ndarray, " n"], Any]] = []

    def table(self, numbers: Int[np.ndarray, " n"], table: Int[np.ndarray, " m"]) -> None:
        """Numbers about 0 by one table (`jaxgan.codec.tables`); any of less than 2^31."""
        if not len(numbers):
            return
        reach = len(table) // 2 - 1
        beyond = np.abs(numbers) > reach
        places = np.where(beyond, len(table) - 1, numbers + reach).astype(np.int32)
        self._steps.append((places, _categorical(table)))
        for number in numbers[beyond].tolist():
            self._beyond(number, abs(number) - reach)

    def _beyond(self, number: int, excess: int) -> None:
        """Its sign, how many bits its excess has, and all of these but the first, which is 1."""
        length = excess.bit_length()
        bits = [int(number < 0), *(excess >> place & 1 for place in reversed(range(length - 1)))]
        self._steps.append((np.array([length - 1], np.int32), _uniform(_LENGTHS)))
        self._steps.append((np.array(bits, np.int32), _uniform(2)))

    def uniform(self, numbers: Int[np.ndarray, " n"], levels: int) -> None:
        """Numbers from 0 to levels - 1, each as likely."""
        if levels > 1 and len(numbers):
            self._steps.append((numbers.astype(np.int32), _uniform(levels)))

    def words(self) -> UInt32[np.ndarray, " w"]:
        """All that was noted."""
        coder = constriction().stream.stack.AnsCoder()
        for numbers, model in reversed(self._steps):
            coder.encode_reverse(numbers, model)
        return np.asarray(coder.get_compressed(), np.uint32)


class Reader:
    """Reads what a `Writer` wrote, by the same calls in the same order."""

    def __init__(self, words: UInt32[np.ndarray, " w"]):
        """Takes the words.

        Raises:
            UserError: a `Writer` never writes such.
        """
        package = constriction()
        try:
            self._coder = package.stream.stack.AnsCoder(words)
        except ValueError:
            raise UserError("is damaged: its stream ends as none does: get it anew") from None

    def table(self, count: int, table: Int[np.ndarray, " m"]) -> Int[np.ndarray, " n"]:
        """As many numbers by a table."""
        if not count:
            return np.zeros(0, np.int64)
        reach = len(table) // 2 - 1
        places = self._decoded(_categorical(table), count)
        numbers = places - reach
        for index in np.flatnonzero(places == len(table) - 1):
            numbers[index] = self._beyond(reach)
        return numbers

    def _beyond(self, reach: int) -> int:
        length = int(self._decoded(_uniform(_LENGTHS), 1)[0]) + 1
        sign, *bits = self._decoded(_uniform(2), length).tolist()
        excess = 1
        for bit in bits:
            excess = excess << 1 | bit
        return (-1 if sign else 1) * (excess + reach)

    def uniform(self, count: int, levels: int) -> Int[np.ndarray, " n"]:
        """As many numbers from 0 to levels - 1."""
        if levels == 1 or not count:
            return np.zeros(count, np.int64)
        return self._decoded(_uniform(levels), count)

    def _decoded(self, model: Any, count: int) -> Int[np.ndarray, " n"]:
        return np.asarray(self._coder.decode(model, count)).astype(np.int64)

    def done(self) -> bool:
        """Whether nothing is left."""
        return bool(self._coder.is_empty())


def to_bytes(words: UInt32[np.ndarray, " w"]) -> bytes:
    """Words, little-endian on every machine."""
    return words.astype("<u4").tobytes()


def to_words(content: bytes) -> UInt32[np.ndarray, " w"]:
    """Words of bytes, as many as a multiple of four."""
    return np.frombuffer(content, "<u4").astype(np.uint32)
