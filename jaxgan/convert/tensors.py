"""From tensors by name to a network's variables, layer by layer; nothing is lost or made up."""

import fnmatch
from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, PyTree

from jaxgan.errors import UserError
from jaxgan.pth import Fact
from jaxgan.system import System

Matrix = Float[np.ndarray, "rows columns"]


class Tensors:
    """The tensors of a file, each of which must be taken, or left out by name."""

    def __init__(
        self, arrays: dict[str, np.ndarray], file: str, facts: Mapping[str, Fact] | None = None
    ):
        """Takes the names as they are, but for the `module.` of PyTorch's DataParallel.

        `facts` are settings that the file gives beside its tensors.
        """
        self.facts = facts or {}
        prefix = "module." if all(name.startswith("module.") for name in arrays) else ""
        self._arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        self._rest = dict.fromkeys(self._arrays)
        self._left: list[str] = []
        self.file = file

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def enter(self, prefix: str) -> None:
        """Goes on with the tensors below a prefix, if there are any; the others are left out."""
        inner = [name for name in self._arrays if name.startswith(prefix)]
        if inner:
            self._left += [name for name in self._arrays if name not in inner]
            self._arrays = {name.removeprefix(prefix): self._arrays[name] for name in inner}
            self._rest = dict.fromkeys(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, as it is in the file.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self._arrays:
            raise UserError(
                f"{self.file} has no tensor {name}: give a file of this format, of one network"
            )
        return self._arrays[name].shape

    def take(self, name: str) -> Float[np.ndarray, "..."]:
        """A tensor as float32.

        Raises:
            UserError: there is none of that name, or it is not finite.
        """
        self.shape(name)
        self._rest.pop(name, None)
        array = self._arrays[name].astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError(f"{self.file}: {name} is not finite, so its training had diverged")
        return array

    def count(self, pattern: str, step: int = 1) -> int:
        """How many of pattern.format(0), pattern.format(step), ... there are, without a gap."""
        number = 0
        while pattern.format(number * step) in self._arrays:
            number += 1
        return number

    def leave(self, *patterns: str) -> None:
        """Leaves out tensors by name; `*` stands for anything."""
        for pattern in patterns:
            for name in fnmatch.filter(list(self._rest), pattern):
                del self._rest[name]
                self._left.append(name)

    def finish(self, format: str) -> list[str]:
        """The tensors that were left out.

        Raises:
            UserError: there are tensors that were neither taken nor left out.
        """
        if self._rest:
            first = next(iter(self._rest))
            raise UserError(
                f"{self.file} holds {len(self._rest)} tensors that {format} does not know, such as "
                f"{first}: it is of another format or network"
            )
        return self._left


Weight = Callable[[Tensors, str], tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]
"""(tensors, layer) -> a spectrally normalised weight, u [k, rows] and v [columns], each None where
the file has none."""


class Target:
    """A network's variables, which are to be filled from a file.

    Paths are Flax's, joined by "/". Layers are told by the name of their module in the file; their
    weights come in PyTorch's layouts.
    """

    def __init__(
        self, system: System, network: str, tensors: Tensors, weight: Weight | None = None
    ):
        """Computes the shapes of `system`'s network; `weight` reads those with spectral norm."""
        module = system.networks()[network]
        like = jax.eval_shape(
            partial(module.init, train=True), jax.random.key(0), *system.inputs()[network]
        )
        self._shapes = {path: leaf.shape for path, leaf in flatten_dict(like, sep="/").items()}
        self._values: dict[str, np.ndarray] = {}
        self._system, self._tensors, self._weight = type(system).__name__, tensors, weight

    def put(self, path: str, name: str, value: np.ndarray) -> None:
        """Sets a variable, "params/norm/scale", to a value made of a tensor called `name`.

        Raises:
            UserError: the network has none there, or of another shape.
        """
        what = f"{self._tensors.file}: {name}"
        if path not in self._shapes:
            raise UserError(f"{what} has no place in {self._system} of the other tensors' sizes")
        if value.shape != self._shapes[path]:
            raise UserError(
                f"{what} does not fit the other tensors: as {path} it is {value.shape}, where "
                f"{self._system} of their sizes has {self._shapes[path]}"
            )
        self._values[path] = np.array(value, np.float32, order="C")

    def copy(self, path: str, name: str) -> None:
        """Sets a variable to a tensor as it is."""
        self.put(path, name, self._tensors.take(name))

    def batch_norm(self, path: str, name: str, stats: str = "") -> None:
        """An `nn.BatchNorm2d`; with `stats`, one without an affine map."""
        if not stats:
            self.copy(f"params/{path}/scale", f"{name}.weight")
            self.copy(f"params/{path}/bias", f"{name}.bias")
        self.copy(f"batch_stats/{path}/mean", f"{stats or name}.running_mean")
        self.copy(f"batch_stats/{path}/var", f"{stats or name}.running_var")

    def conv(self, path: str, name: str) -> None:
        """(o, i, h, w) to (h, w, i, o)."""
        self._layer(path, name, lambda a: a.transpose(2, 3, 1, 0))

    def conv_transpose(self, path: str, name: str, axis: int = -1) -> None:
        """(i, o, h, w), flipped, to (h, w, i, o); `axis` counts the rows for spectral norm."""
        self._layer(path, name, lambda a: a[:, :, ::-1, ::-1].transpose(2, 3, 0, 1), axis=axis)

    def dense(self, path: str, name: str, side: int = 0) -> None:
        """(o, i) to (i, o); with `side`, outputs (c, side, side) to (side, side, c)."""
        self._layer(path, name, np.transpose, side=side)

    def embed(self, path: str, name: str) -> None:
        """(classes, features), as it is."""
        self._layer(path, name, lambda a: a, axis=0)

    def _layer(
        self,
        path: str,
        name: str,
        layout: Callable[[np.ndarray], np.ndarray],
        *,
        side: int = 0,
        axis: int = -1,
    ) -> None:
        u = v = None
        normed = f"spectral/{path}/SpectralNorm_0"
        if self._weight and f"{normed}/u" in self._shapes:
            weight, u, v = self._weight(self._tensors, name)
        else:
            weight = self._tensors.take(f"{name}.weight")
        order: np.ndarray | slice = slice(None)
        if side:
            order = np.arange(len(weight)).reshape(-1, side, side).transpose(1, 2, 0).ravel()
        fits = weight.ndim == len(self._shapes.get(f"params/{path}/kernel", weight.shape))
        kernel = layout(weight[order]) if fits else weight
        self.put(f"params/{path}/kernel", f"{name}.weight", kernel)
        if f"params/{path}/bias" in self._shapes or f"{name}.bias" in self._tensors:
            bias = self._tensors.take(f"{name}.bias")
            self.put(f"params/{path}/bias", f"{name}.bias", bias[order])
        if u is None:
            return
        if u.shape[1] != len(weight) or (v is not None and v.size != weight[0].size):
            raise UserError(
                f"{self._tensors.file}: {name}'s singular vectors do not fit its weight"
            )
        matrix = _matrix(kernel, axis)
        if v is None:
            us, vs = iterate(matrix, u[:, order])
        else:
            us, vs = u[:, order], _matrix(layout(v.reshape(1, *weight.shape[1:])), axis)
        sigma = np.einsum("kr,rc,kc->k", us, matrix, vs)
        several = self._shapes[f"{normed}/sigma"]
        for key, value in (("u", us), ("v", vs), ("sigma", sigma)):
            self.put(f"{normed}/{key}", f"{name}'s {key}", value if several else value[0])

    def variables(self) -> tuple[PyTree, PyTree]:
        """(parameters, {collection: statistics}) when all are set."""
        if missing := set(self._shapes) - set(self._values):
            raise RuntimeError(f"not converted: {sorted(missing)}")
        tree = unflatten_dict(self._values, sep="/")
        return tree.pop("params"), tree


def _matrix(kernel: np.ndarray, axis: int) -> Matrix:
    """The matrix whose spectral norm `jaxgan.nn.spectral` takes."""
    return np.moveaxis(kernel.astype(np.float64), axis, 0).reshape(kernel.shape[axis], -1)


def iterate(
    matrix: Matrix, u: Float[np.ndarray, "k rows"]
) -> tuple[Float[np.ndarray, "k rows"], Float[np.ndarray, "k columns"]]:
    """One power iteration: for code that does one in every pass, also in evaluation.

    Vectors after the first are kept orthogonal to those before.
    """
    lefts: list[np.ndarray] = []
    rights: list[np.ndarray] = []
    for start in u[: min(matrix.shape)].astype(np.float64):
        rights.append(_unit(start @ matrix, rights))
        lefts.append(_unit(matrix @ rights[-1], lefts))
    return np.stack(lefts), np.stack(rights)


def _unit(vector: np.ndarray, before: list[np.ndarray]) -> np.ndarray:
    for unit in before:
        vector = vector - (vector @ unit) * unit
    return vector / max(np.linalg.norm(vector), 1e-12)
