"""A trained system as a codec: what its uses "encode" and "decode" need to become files.

The room knows no system. "encode" takes an image first, and gives the fields of a file in their
order (`jaxgan.fields.Coded`); each names its coder and, where that needs one, the use that is its
model and takes fields that stand before it. "decode" takes of these fields what it needs. What
reads a file runs in float64 on the host, a row at a time, each model alone (`double.py`): the same
numbers then come of the same file in another process and on another kind and number of devices.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from jaxgan.backend import target
from jaxgan.codec.coders import CODERS, Model, Parts
from jaxgan.codec.double import double, in_double
from jaxgan.codec.header import Header, of_run, parse
from jaxgan.codec.stream import Reader, Writer, to_bytes, to_words
from jaxgan.errors import UserError
from jaxgan.fields import Coded, Field, PaddedMask
from jaxgan.fields.coded import reflected
from jaxgan.fields.pixels import MAX_PIXELS
from jaxgan.state import State
from jaxgan.system import System, given_by, taken_by, use_of
from jaxgan.training.apply import apply, call_keys, evaluated, evaluation_view, resolution_at

NEEDED = ("encode", "decode")
"""Uses of a system that writes files."""


@dataclasses.dataclass(frozen=True)
class Written:
    """An image as a file.

    Attributes:
        content: of the file.
        image: what is decoded of it, of the original's size.
    """

    content: bytes
    image: UInt8[np.ndarray, "h w c"]

    @property
    def bits_per_pixel(self) -> float:
        """All bits of the file, by the pixels of the original."""
        return 8 * len(self.content) / float(np.prod(self.image.shape[:-1]))


class Codec:
    """Compresses images, or clips, by a system with trained weights."""

    def __init__(self, system: System, state: State, *, name: str = ""):
        """Lays the weights on one device.

        Args:
            system: it needs the uses "encode" and "decode".
            state: of it.
            name: of the run, for messages.

        Raises:
            UserError: the system writes no files.
        """
        self._name = name or type(system).__name__
        if missing := [use for use in NEEDED if use not in system.uses()]:
            raise UserError(
                f"{self._name} writes no files, for it cannot {missing[0]}: give a run that "
                "compresses"
            )
        self._system = system
        whole = dataclasses.replace(state, opt={})
        self._state: State = jax.device_put(whole, jax.local_devices()[0])
        self._takes = self._fields(taken_by(system, use_of(system, "encode")))
        self._holds: dict[str, Any] = given_by(use_of(system, "encode"))
        if wrong := [n for n, field in self._holds.items() if not isinstance(field, Coded)]:
            raise ValueError(f"encode gives {wrong[0]}, which no file holds: make it a Coded")

    @staticmethod
    def _fields(takes: Mapping[str, Any]) -> dict[str, Field]:
        return {name: each.field for name, each in takes.items()}

    @property
    def _image(self) -> str:
        return next(iter(self._takes))

    @property
    def moves(self) -> bool:
        """Whether it compresses clips."""
        return self._takes[self._image].moves

    @functools.cached_property
    def digest(self) -> bytes:
        """The hash of the system and of the weights that files depend on (SHA-256)."""
        params, stats = evaluated(self._system, self._state)
        digest = hashlib.sha256(repr(self._system).encode())
        for network in sorted(self._networks()):
            # Of what is published the hash is part of the code.
            tree = {"params": params.get(network, {}), "stats": stats.get(network, {})}
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                digest.update(f"{network}{jax.tree_util.keystr(path)}".encode())
                digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.digest()

    def _networks(self) -> set[str]:
        """Those that are applied."""
        view = evaluation_view(self._system, self._state)
        side = math.lcm(64, getattr(self._takes[self._image], "multiple", 1))
        zeros = {name: _of_side(field, side).zeros() for name, field in self._takes.items()}
        keys = call_keys(0, jnp.zeros(1, jnp.uint32))

        def all_uses(made: dict[str, Any]) -> Any:
            made = made | use_of(self._system, "encode").call(
                view, made, keys, use_of(self._system, "encode").options
            )
            for use in (*(f.model for f in self._holds.values() if f.model), "decode"):
                chosen = use_of(self._system, use)
                takes = {n: made[n] for n in taken_by(self._system, chosen)}
                chosen.call(view, takes, keys, chosen.options)
            return made

        jax.eval_shape(all_uses, zeros)
        return view.applied

    def compress(self, image: Any, **given: Any) -> Written:
        """Makes a file of an image.

        Args:
            image: bytes [h, w, c] of any size, [t, h, w, c] for a system of clips.
            given: further takes of "encode", one item each: masks as large as the image, in bytes
                or files.

        Raises:
            UserError: it is no image that the system takes, or the system makes no numbers of it; a
                mask is missing, unknown, or of another size.
        """
        image = np.asarray(image)
        rows = self._rows(image, given)
        made = apply(self._system, self._state, "encode", rows, numbers=1, chunk=1).made
        made = {name: np.asarray(each)[0] for name, each in made.items()}
        parts, held = Parts(Writer(), []), dict[str, np.ndarray]()
        for name, field in self._holds.items():
            model = self._model(field, held)
            shape = made[name].shape
            chosen = field.held(shape, image.shape[:-1])
            kept = made[name][tuple(map(slice, chosen))]
            held[name] = _put_back(CODERS[field.coder].write(field, kept, model, parts), shape)
        header = Header(
            self.digest[:4],
            image.shape[:-1],
            parts.check,
            tuple(parts.payloads),
            to_bytes(parts.writer.words()),
        )
        return Written(header.to_bytes(), self._decoded(held, header.size))

    def _rows(self, image: np.ndarray, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """All that "encode" takes, as networks see it."""
        further = [name for name in self._takes if name != self._image]
        if unknown := sorted(set(given) - set(further)):
            has = f"takes {', '.join(further)}" if further else "takes images alone"
            raise UserError(f"{unknown[0]} is given, and {self._name} {has}: leave it out")
        rows = {self._image: _row(self._takes[self._image], image)}
        for name in further:
            field = self._takes[name]
            if name in given:
                item = given[name]
            elif isinstance(field, PaddedMask) and field.filled:
                item = np.full((*image.shape[:2], 1), 255, np.uint8)
            else:
                raise UserError(f"{self._name} codes images with a {name}: give it")
            rows[name] = _row(field, item)
            if rows[name].shape[-3:-1] != rows[self._image].shape[-3:-1]:
                raise UserError(f"{name} is of another size than the image: give one as large")
        return rows

    def decompress(
        self, content: bytes, *, max_pixels: int = MAX_PIXELS
    ) -> UInt8[np.ndarray, "h w c"]:
        """The image in a file, bit for bit `Written.image`.

        Args:
            content: of the file.
            max_pixels: of the image, or of all frames of a clip, that are decoded.

        Raises:
            UserError: it is no such file, damaged, or of another run; or this machine computes
                other numbers of its side information than the one that wrote it. What the message
                says follows the file's name.
        """
        payloads = sum(CODERS[field.coder].payload for field in self._holds.values())
        run = of_run(content)
        if run != self.digest[:4]:
            raise UserError(
                f"was written by another run or checkpoint ({run.hex()}) than {self._name} "
                f"({self.digest[:4].hex()}): give that one"
            )
        sides = len(self._takes[self._image].shape) - 1
        header = parse(content, payloads, sides=sides, max_pixels=max_pixels)
        parts = Parts(Reader(to_words(header.words)), list(header.payloads))
        held = dict[str, np.ndarray]()
        shapes = self._shapes(header.size)
        for name, field in self._holds.items():
            model = self._model(field, held)
            shape = field.held(shapes[name], header.size)
            read = CODERS[field.coder].read(field, shape, model, parts)
            held[name] = _put_back(read, shapes[name])
        if parts.check != header.check or not parts.reader.done():
            raise UserError(
                "cannot be decoded here, where the run's side information gives other numbers than "
                "where it was written: use that kind of device and that version of JAX"
            )
        return self._decoded(held, header.size)

    def _model(self, field: Coded, held: Mapping[str, np.ndarray]) -> Model:
        """What says how likely a field's numbers are."""
        if not field.model:
            return {}
        takes = taken_by(self._system, use_of(self._system, field.model))
        return self._apply(field.model, {name: held[name][None] for name in takes})

    def _decoded(
        self, held: Mapping[str, np.ndarray], size: tuple[int, ...]
    ) -> UInt8[np.ndarray, "h w c"]:
        use = use_of(self._system, "decode")
        rows = {name: held[name][None] for name in taken_by(self._system, use)}
        name, field = next(iter(given_by(use).items()))
        whole = field.from_network(self._apply("decode", rows)[name][None])[0]
        return np.ascontiguousarray(whole[tuple(slice(side) for side in size)])

    def _apply(self, use: str, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a use gives of one row, exactly."""
        made = self._exactly(use)(self._wide, dict(rows))
        return {name: each[0] for name, each in made.items()}

    @functools.cached_property
    def _wide(self) -> State:
        return double(self._state)

    @functools.cache  # noqa: B019 (a codec lives as long as its process)
    def _exactly(self, use: str) -> Callable[..., dict[str, np.ndarray]]:
        """A use as a function of (state, rows), in float64."""
        chosen = use_of(self._system, use)
        resolution = resolution_at(self._system, self._state)

        def call(state: State, rows: dict[str, Array]) -> dict[str, Array]:
            with target("cpu"):
                view = evaluation_view(self._system, state, resolution)
                keys = call_keys(0, jnp.zeros(1, jnp.uint32))
                return chosen.call(view, rows, keys, chosen.options)

        return in_double(call)

    def _shapes(self, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of what "encode" gives of an image of a size."""
        field = self._takes[self._image]
        blank = np.zeros((*size, field.shape[-1] or 3), np.uint8)
        return self._shapes_of(_row(field, blank).shape)

    @functools.cache  # noqa: B019 (a codec lives as long as its process)
    def _shapes_of(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        view, use = evaluation_view(self._system, self._state), use_of(self._system, "encode")
        keys = call_keys(0, jnp.zeros(1, jnp.uint32))
        # Further takes, such as masks, are as large as the image.
        rows = {
            name: jax.ShapeDtypeStruct(
                (*shape[:-1], field.shape[-1] or shape[-1]) if len(field.shape) > 1 else (1,),
                field.dtype,
            )
            for name, field in self._takes.items()
        }
        made = jax.eval_shape(lambda rows: use.call(view, rows, keys, use.options), rows)
        return {name: each.shape[1:] for name, each in made.items()}


def _put_back(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers as "encode" gave them, of those that a file holds (`Coded.held`)."""
    return values if values.shape == shape else reflected(values, *shape[-3:-1])


def _row(field: Field, item: Any) -> np.ndarray:
    """An item as networks see it, [1, ...]."""
    found = field.accept(item)
    return np.asarray(found).reshape(1, *np.shape(found)[-len(field.shape) :])


def _of_side(field: Field, side: int) -> Field:
    """The field, with sides of that length where it has any; a clip has two frames."""
    if len(field.shape) < 3:
        return field
    *frames, height, width, channels = field.shape
    sides = (*(n or 2 for n in frames), height or side, width or side, channels)
    return dataclasses.replace(field, shape=sides)
