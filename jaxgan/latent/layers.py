"""Layers of a generator that make maps, and interventions in them.

A layer is named by the path of its module, such as `block3` or `synthesis/conv5`; where several
networks have a module there, by that of the network, too: `generator2/block3`. Its units are the
channels of what the module gives. Of a module that gives several things, they are the first's.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgan.errors import UserError, nearest
from jaxgan.fields import Image
from jaxgan.run.open import Run
from jaxgan.system import use_of
from jaxgan.training.apply import CHUNK, Applied, call_keys, evaluation_view
from jaxgan.view import Edit, Place

_NUMBERS = 2**25
"""Of maps in memory at a time."""

Intervention = tuple[Any, Any, Any]
"""Where [1 or b, h, w], how strongly each unit [u], and to which level each is set [u]."""


def maps_of(outputs: Any) -> Array:
    """The maps among what a module gives."""
    found: Array = outputs[0] if isinstance(outputs, tuple) else outputs
    return found


def _with(outputs: Any, maps: Array) -> Any:
    return (maps, *outputs[1:]) if isinstance(outputs, tuple) else maps


def intervene(outputs: Any, given: Sequence[Intervention]) -> Any:
    """An edit (`jaxgan.view.Edit`): units go to levels at places, one intervention after another.

    At a strength of 0, and outside of the places, they stay as they are, to the bit; at 1 they are
    at their level.
    """
    maps = maps_of(outputs)
    for where, strength, level in given:
        share = (where[..., None] * strength).astype(maps.dtype)
        maps = (1 - share) * maps + share * level.astype(maps.dtype)
    return _with(outputs, maps)


def shift(outputs: Any, by: Float[Array, "1 h w u"]) -> Any:
    """An edit: something is added to the maps."""
    maps = maps_of(outputs)
    return _with(outputs, maps + by.astype(maps.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A layer of a run's generator, in one of the uses that apply it.

    Attributes:
        run: whose generator.
        use: that makes images.
        given: what the use is given for all rows, as networks see it.
        options: of the use.
        place: network, and path of the module.
        shape: height, width and units of its maps.
    """

    run: Run
    use: str
    given: Mapping[str, Any]
    options: Any
    place: Place
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, run: Run, path: str, use: str = "generate", **given: Any) -> "Layer":
        """The layer at a path.

        Args:
            run: whose generator.
            path: of the module.
            use: that makes images.
            given: what the use takes and is not to be drawn; and its options.

        Raises:
            UserError: no such layer, or a use that makes no images.
        """
        items, options = run.split(use, given)
        options = use_of(run.system, use).options if options is None else options
        found = layers(run, use, options)
        place = place_of(found, path, run, use)
        return cls(run, use, items, options, place, found[place])

    @property
    def image(self) -> tuple[str, Image]:
        """What its images are called, and what they are."""
        return image_of(self.run, self.use, self.options)

    @property
    def path(self) -> str:
        """Network and path, as `of` takes them."""
        return "/".join(self.place)

    @property
    def later(self) -> list[Place]:
        """Layers beside it in the same module that are called after it and have kernels, but for
        those that make images. Others, such as those that add noise, change the maps of the layer
        before them, which may be this one."""
        found = layers(self.run, self.use, self.options)
        places = list(found)
        parent, channels = _parent(self.place), self.image[1].shape[-1]
        return [
            place
            for place in places[places.index(self.place) + 1 :]
            if _parent(place) == parent
            and found[place][-1] != channels
            and self._has_kernels(place)
        ]

    def _has_kernels(self, place: Place) -> bool:
        tree: Any = self.run.stored.params[place[0]]
        for name in place[1].split("/"):
            tree = tree.get(name, {})
        return any(leaf.ndim > 1 for leaf in jax.tree.leaves(tree))

    def drawn(
        self, num: int, seed: int, first: int = 0
    ) -> Iterator[tuple[np.ndarray, Float[np.ndarray, "n h w c"], Float[np.ndarray, "n y x u"]]]:
        """Numbers of rows from `first` on, a part at a time, their images and their maps."""
        chunk = max(1, min(CHUNK, num, _NUMBERS // int(np.prod(self.shape))))
        for start in range(first, first + num, chunk):
            numbers = np.arange(start, min(start + chunk, first + num))
            applied = self.apply(numbers, seed, chunk=chunk, captures=[self.place])
            maps = np.asarray(maps_of(applied.captured[self.place]), np.float32)
            yield numbers, np.asarray(applied.made[self.image[0]]), maps

    def apply(
        self,
        numbers: np.ndarray,
        seed: int,
        *interventions: Intervention,
        chunk: int | None = None,
        edits: Mapping[tuple[Place, Edit], Any] | None = None,
        captures: Sequence[Place] = (),
    ) -> Applied:
        """The use, with interventions in this layer at the same places of all rows."""
        arrays = tuple(
            tuple(np.asarray(each, np.float32) for each in given) for given in interventions
        )
        mine = {(self.place, intervene): arrays} if interventions else {}
        return self.run.apply(
            self.use,
            self.given,
            numbers=numbers,
            seed=seed,
            options=self.options,
            chunk=chunk or min(len(numbers), CHUNK),
            captures=captures,
            edits={**mine, **(edits or {})},
        )


def image_of(run: Run, use: str, options: Any = None) -> tuple[str, Image]:
    """Name and field of the images that a use makes.

    Raises:
        UserError: it makes none.
    """
    name, field = next(iter(run.gives(use, options).items()))
    if type(field) is not Image or field.extent is None:
        raise UserError(f"{use} of {run.name} gives {field.text()}: give a run that draws images")
    return name, field


def layers(run: Run, use: str = "generate", options: Any = None) -> dict[Place, tuple]:
    """Modules that a use applies and that give maps, in the order of their calls, by place.

    Their values are height, width and units.
    """
    image_of(run, use, options)
    found = activations(run, use, options)
    return {
        place: shape
        for place, shape in found.items()
        if len(shape) == 3 and shape[0] * shape[1] > 1
    }


def activations(run: Run, use: str = "generate", options: Any = None) -> dict[Place, tuple]:
    """Modules that a use applies and that give arrays [b, ...], in the order of their calls.

    Their values are the arrays' shapes, but for the rows.
    """
    chosen = use_of(run.system, use)
    options = chosen.options if options is None else options
    view = evaluation_view(run.system, run.stored, run.resolution)
    found: dict[Place, tuple] = {}

    def observe(place: Place, outputs: Any) -> None:
        maps = outputs[0] if isinstance(outputs, tuple) else outputs
        if place[1] and getattr(maps, "ndim", 0) > 1:
            found.pop(place, None)  # of several calls, the last
            found[place] = tuple(maps.shape[1:])

    view.observe = observe
    rows = {name: field.zeros() for name, field in run.takes(use, options).items()}
    keys = call_keys(0, jnp.zeros(1, jnp.uint32))
    jax.eval_shape(lambda rows: chosen.call(view, rows, keys, options), rows)
    return found


def place_of(found: Mapping[Place, Any], path: str, run: Run, use: str) -> Place:
    """The place, of those that a use of a run has, that a path names.

    Raises:
        UserError: none, or several.
    """
    named = {"/".join(place): place for place in found}
    places = [place for place in found if place[1] == path]
    places += [named[path]] if path in named else []
    if len(places) != 1:
        known = _distinct(found)
        what = f"{len(places)} networks have a layer" if places else "there is no layer"
        raise UserError(
            f"{what} {path!r} in {use} of {run.name}: it has {', '.join(known)}"
            f"{nearest(path, known)}"
        )
    return places[0]


def _distinct(places: Mapping[Place, Any]) -> list[str]:
    """Paths, after the network's name where several networks have layers."""
    several = len({network for network, _ in places}) > 1
    return ["/".join(place) if several else place[1] for place in places]


def pooled(masks: Float[Array, "b y x c"], size: tuple[int, int]) -> Float[Array, "b h w c"]:
    """Means over the pixels of each cell of a grid; cells overlap where sizes do not divide."""
    rows, columns = (_cells(n, cells) for n, cells in zip(masks.shape[1:3], size, strict=True))
    return jnp.einsum("hy,wx,byxc->bhwc", rows, columns, masks, precision="highest")


def _cells(pixels: int, cells: int) -> Float[np.ndarray, "cells pixels"]:
    """Weights of pixels in the mean of each cell: PyTorch's adaptive pooling."""
    weights = np.zeros((cells, pixels), np.float32)
    for cell in range(cells):
        first, last = cell * pixels // cells, -(-(cell + 1) * pixels // cells)
        weights[cell, first:last] = 1 / (last - first)
    return weights


def _parent(place: Place) -> tuple[str, str]:
    return place[0], place[1].rpartition("/")[0]
