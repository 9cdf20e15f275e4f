"""Which tensors of a file hold which variables of a network: one table, read and written by.

Paths of variables are Flax's, joined by "/", under their collection: "params/norm/scale". Layers
are named by their module in the file; tensors have PyTorch's layouts.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, PyTree

from jaxgan.convert.tensors import Matrix, Tensors, iterate
from jaxgan.errors import UserError
from jaxgan.system import System

Arrays = Sequence[np.ndarray]
Layout = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Spectral:
    """How a file keeps a layer whose weight is divided by its spectral norm.

    Attributes:
        weight: name of the weight, not yet divided, below the layer's.
        us: names of the left singular vectors' estimates, the largest value's first.
        v: name of the right one's; "": none, for that code does a power iteration in every pass,
            also in evaluation, from the first of `us`.
        row: the left vectors are stored as [1, rows].
        sigmas: names of the estimates of the singular values, which are written, and never read.
        spare_v: name of a right vector that is written, and never read.
    """

    weight: str
    us: tuple[str, ...]
    v: str = ""
    row: bool = False
    sigmas: tuple[str, ...] = ()
    spare_v: str = ""


@dataclasses.dataclass(frozen=True)
class _Row:
    """`read` makes the variables at `paths` of the tensors called `names`, and `write` the reverse.

    `write` goes on with those called `spare`, which reading passes over.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    read: Callable[..., Arrays]
    write: Callable[..., Arrays]
    spare: tuple[str, ...] = ()


def shapes(system: System, network: str) -> dict[str, tuple[int, ...]]:
    """{path: shape} of a network's variables."""
    module = system.networks()[network]
    like = jax.eval_shape(
        partial(module.init, train=True), jax.random.key(0), *system.inputs()[network]
    )
    return {path: leaf.shape for path, leaf in flatten_dict(like, sep="/").items()}


class Table:
    """The variables of one network, and the tensors of a file that hold them."""

    def __init__(self, system: System, network: str, spectral: Spectral | None = None):
        """Of `system`'s network; `spectral`: how its file keeps layers with spectral norm."""
        self._shapes = shapes(system, network)
        self._system, self._spectral = type(system).__name__, spectral
        self._rows: list[_Row] = []
        self._absent: list[str] = []

    def __contains__(self, path: str) -> bool:
        return path in self._shapes

    def add(
        self,
        paths: tuple[str, ...],
        names: tuple[str, ...],
        read: Callable[..., Arrays],
        write: Callable[..., Arrays],
    ) -> None:
        """Variables that `read` makes of tensors, and `write` back."""
        self._rows.append(_Row(paths, names, read, write))

    def map(self, path: str, name: str, read: Layout, write: Layout) -> None:
        """A variable that `read` makes of one tensor, and `write` back."""
        self.add((path,), (name,), lambda a: (read(a),), lambda a: (write(a),))

    def copy(self, path: str, name: str) -> None:
        """A variable that is stored as it is."""
        self.map(path, name, _same, _same)

    def spare(self, name: str, value: np.ndarray) -> None:
        """A tensor that says nothing, and that a file of that code has."""
        self._rows.append(_Row((), (), lambda: (), lambda: (value,), (name,)))

    def affine(self, path: str, name: str) -> None:
        """A norm's gains and biases."""
        self.copy(f"params/{path}/scale", f"{name}.weight")
        self.copy(f"params/{path}/bias", f"{name}.bias")

    def running(self, path: str, name: str) -> None:
        """An `nn.BatchNorm2d`'s running statistics."""
        self.copy(f"batch_stats/{path}/mean", f"{name}.running_mean")
        self.copy(f"batch_stats/{path}/var", f"{name}.running_var")
        self.spare(f"{name}.num_batches_tracked", np.zeros((), np.int64))

    def untouched(self, path: str, name: str) -> None:
        """An `nn.BatchNorm2d`'s running statistics where there are none here: as they start."""
        count = self._shapes[f"params/{path}/scale"]
        self.spare(f"{name}.running_mean", np.zeros(count, np.float32))
        self.spare(f"{name}.running_var", np.ones(count, np.float32))
        self.spare(f"{name}.num_batches_tracked", np.zeros((), np.int64))

    def batch_norm(self, path: str, name: str) -> None:
        """An `nn.BatchNorm2d`."""
        self.affine(path, name)
        self.running(path, name)

    def conv(self, path: str, name: str, spectral: Spectral | None = None) -> None:
        """(o, i, h, w) to (h, w, i, o)."""
        turned = partial(np.transpose, axes=(2, 3, 1, 0)), partial(np.transpose, axes=(3, 2, 0, 1))
        self._layer(path, name, *turned, spectral=spectral)

    def conv_transpose(self, path: str, name: str, axis: int = -1) -> None:
        """(i, o, h, w), flipped, to (h, w, i, o); `axis` counts the rows for spectral norm."""
        self._layer(
            path,
            name,
            lambda a: a[:, :, ::-1, ::-1].transpose(2, 3, 0, 1),
            lambda a: a.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1],
            axis=axis,
        )

    def dense(self, path: str, name: str, side: int = 0, spectral: Spectral | None = None) -> None:
        """(o, i) to (i, o); with `side`, outputs (c, side, side) to (side, side, c)."""
        self._layer(path, name, np.transpose, np.transpose, side=side, spectral=spectral)

    def modulated(self, path: str, name: str, style: str, *, up: bool, lead: int = 0) -> None:
        """A modulated convolution's kernel, and its style's dense layer, which is called `style`.

        Kernels of up-convolutions are flipped; in the file they have `lead` axes of 1 in front.
        """
        turn = -1 if up else 1
        self.map(
            f"params/{path}/kernel",
            f"{name}.weight",
            lambda a: a.reshape(a.shape[lead:])[:, :, ::turn, ::turn].transpose(2, 3, 1, 0),
            lambda a: a.transpose(3, 2, 0, 1)[(None,) * lead][..., ::turn, ::turn],
        )
        self.dense(f"{path}/affine", f"{name}.{style}")

    def dense_of_maps(self, path: str, name: str, side: int) -> None:
        """A dense layer of whole maps, (o, c * side * side), as the convolution that it is."""
        self.map(
            f"params/{path}/kernel",
            f"{name}.weight",
            lambda a: a.reshape(len(a), -1, side, side).transpose(2, 3, 1, 0),
            lambda a: a.transpose(3, 2, 0, 1).reshape(a.shape[-1], -1),
        )
        self.copy(f"params/{path}/bias", f"{name}.bias")

    def embed(self, path: str, name: str, spectral: Spectral | None = None) -> None:
        """(classes, features), as it is."""
        self._layer(path, name, _same, _same, axis=0, spectral=spectral)

    def _layer(
        self,
        path: str,
        name: str,
        read: Layout,
        write: Layout,
        *,
        side: int = 0,
        axis: int = -1,
        spectral: Spectral | None = None,
    ) -> None:
        kernel, bias = f"params/{path}/kernel", f"params/{path}/bias"
        order, back = _orders(self._shapes.get(kernel, ()), side)
        # Of another rank it has no layout; its shape will be told to be wrong.
        rank = len(self._shapes.get(kernel, ()))
        there: Layout = lambda a: read(a[order]) if a.ndim == rank else a  # noqa: E731
        home: Layout = lambda a: write(a)[back]  # noqa: E731
        spectral = spectral or self._spectral
        if spectral is not None and f"spectral/{path}/SpectralNorm_0/u" in self._shapes:
            several = bool(self._shapes[f"spectral/{path}/SpectralNorm_0/sigma"])
            layer = _Normed(spectral, name, there, home, order, back, axis, several)
            stem = f"spectral/{path}/SpectralNorm_0"
            paths = (kernel, f"{stem}/u", f"{stem}/v", f"{stem}/sigma")
            names, spare = layer.names()
            self._rows.append(_Row(paths, names, layer.read, layer.write, spare))
        else:
            self.map(kernel, f"{name}.weight", there, home)
        if bias in self._shapes:
            self.map(bias, f"{name}.bias", lambda a: a[order], lambda a: a[back])
        else:
            self._absent.append(f"{name}.bias")

    def read(self, tensors: Tensors, prefix: str = "") -> tuple[PyTree, PyTree]:
        """(parameters, {collection: statistics}) of a file, float32; `prefix` is that of all names.

        Raises:
            UserError: a tensor is missing, is not finite, or has a shape that does not fit the
                network's.
        """
        for name in self._absent:
            if prefix + name in tensors:
                raise UserError(f"{tensors.file}: {prefix}{name} {self._no_place()}")
        values: dict[str, np.ndarray] = {}
        for row in self._rows:
            tensors.leave(*(prefix + name for name in row.spare))
            taken = [tensors.take(prefix + name) for name in row.names]
            try:
                made = row.read(*taken)
            except _Misfit as error:
                raise UserError(f"{tensors.file}: {prefix}{error}") from error
            for path, value in zip(row.paths, made, strict=True):
                self._check(path, value, f"{tensors.file}: {prefix}{row.names[0]}")
                values[path] = np.array(value, np.float32, order="C")
        tree = unflatten_dict(self._whole(values), sep="/")
        return tree.pop("params"), tree

    def write(self, params: PyTree, stats: PyTree) -> dict[str, np.ndarray]:
        """{name: tensor} of the network's variables, in PyTorch's layouts."""
        values = flatten_dict({"params": params, **stats}, sep="/")
        self._whole({path: values[path] for row in self._rows for path in row.paths})
        tensors: dict[str, np.ndarray] = {}
        for row in self._rows:
            made = row.write(*(np.asarray(values[path]) for path in row.paths))
            tensors |= dict(zip((*row.names, *row.spare), made, strict=True))
        return {name: np.array(tensor, order="C") for name, tensor in tensors.items()}

    def _check(self, path: str, value: np.ndarray, what: str) -> None:
        if path not in self._shapes:
            raise UserError(f"{what} {self._no_place()}")
        if value.shape != self._shapes[path]:
            raise UserError(
                f"{what} does not fit the other tensors: as {path} it is {value.shape}, where "
                f"{self._system} of their sizes has {self._shapes[path]}"
            )

    def _no_place(self) -> str:
        return f"has no place in {self._system} of the other tensors' sizes"

    def _whole(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same, if they are all variables of the network."""
        if missing := set(self._shapes) - set(values):
            raise RuntimeError(f"not in the table: {sorted(missing)}")
        return values


class _Misfit(ValueError):
    """Tensors of one layer that do not fit each other."""


@dataclasses.dataclass(frozen=True)
class _Normed:
    """A layer's weight, and the vectors of its spectral norm.

    `there` and `home` are the weight's layouts, `order` and `back` those of its rows, `axis` the
    kernel's axis of rows, and `several` whether there are several singular values.
    """

    kind: Spectral
    name: str
    there: Layout
    home: Layout
    order: np.ndarray | slice
    back: np.ndarray | slice
    axis: int
    several: bool

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of the tensors that are read, and of those that are only written."""
        kind = self.kind
        read = (kind.weight, *kind.us, *filter(None, (kind.v,)))
        spare = (*kind.sigmas, *filter(None, (kind.spare_v,)))
        return (
            tuple(f"{self.name}.{name}" for name in read),
            tuple(f"{self.name}.{name}" for name in spare),
        )

    def read(self, weight: np.ndarray, *vectors: np.ndarray) -> Arrays:
        """Kernel, u, v and sigma."""
        count = len(self.kind.us)
        u = np.stack([vector.ravel() for vector in vectors[:count]])
        v = vectors[count] if self.kind.v else None
        kernel = self.there(weight)
        if u.shape[1] != len(weight) or (v is not None and v.size != weight[0].size):
            raise _Misfit(f"{self.name}'s singular vectors do not fit its weight")
        matrix = as_matrix(kernel, self.axis)
        if v is None:
            us, vs = iterate(matrix, u[:, self.order])
        else:
            line = v.reshape(1, *weight.shape[1:])
            us, vs = u[:, self.order], as_matrix(self._line(line), self.axis)
        sigma = np.einsum("kr,rc,kc->k", us, matrix, vs)
        return (kernel, *((us, vs, sigma) if self.several else (us[0], vs[0], sigma[0])))

    def write(self, kernel: np.ndarray, u: Arrays, v: Arrays, sigma: np.ndarray) -> Arrays:
        """Weight, left vectors, the right one; then what is only written."""
        us, vs = np.atleast_2d(u), np.atleast_2d(v)
        matrix = as_matrix(kernel, self.axis)
        right = self._column(vs[0], kernel.shape)
        if not self.kind.v:
            us = np.concatenate([_before(matrix, us[0], vs[0])[None], us[1:]])
        # A matrix has no more singular values than its shorter side.
        us = np.concatenate([us, np.zeros((len(self.kind.us) - len(us), us.shape[1]))])
        us = us[:, self.back].astype(np.float32)
        lefts = [each[None] if self.kind.row else each for each in us]
        sigmas = np.ones(max(1, len(self.kind.sigmas)), np.float32)
        sigmas[: np.size(sigma)] = np.ravel(sigma)[: len(sigmas)]
        return (
            self.home(kernel),
            *lefts,
            *([right] if self.kind.v else []),
            *(each[None] for each in sigmas[: len(self.kind.sigmas)]),
            *([right] if self.kind.spare_v else []),
        )

    def _line(self, line: np.ndarray) -> np.ndarray:
        """One row of a weight in the kernel's layout; its order is that of rows, so it has none."""
        return self.there(line) if isinstance(self.order, slice) else line.T

    def _column(self, v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A right vector in the order of the file's weight."""
        axis = self.axis % len(shape)
        line = np.moveaxis(v.reshape(1, *shape[:axis], *shape[axis + 1 :]), 0, axis)
        out = self.home(line) if isinstance(self.back, slice) else line.T
        return out.ravel().astype(np.float32)


def _before(matrix: Matrix, u: Float[np.ndarray, " r"], v: Float[np.ndarray, " c"]) -> np.ndarray:
    """A left vector of which one power iteration makes the singular value u^T W v.

    Code that does one in every pass then divides by the value that is divided by here. More than
    one iteration has been done in u, of which the value grows; so it is found between u and a
    vector of which it is smaller.
    """
    u = u.astype(np.float64)
    wanted = u @ matrix @ v.astype(np.float64)

    def value(left: np.ndarray) -> float:
        right = left @ matrix
        return float(np.linalg.norm(matrix @ (right / max(np.linalg.norm(right), 1e-12))))

    if value(u) <= wanted:
        return u
    near, far = u, _least(matrix)
    if value(far) >= wanted:  # of no vector is it as small
        return far
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (near, middle) if value(middle) <= wanted else (middle, far)
    return near / np.linalg.norm(near)


def _least(matrix: Matrix) -> np.ndarray:
    """The left singular vector of the least singular value that is not 0."""
    wide = matrix.shape[0] <= matrix.shape[1]
    squares, vectors = np.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    vector = vectors[:, np.argmax(squares > 1e-9 * squares[-1])]
    left = vector if wide else matrix @ vector
    return left / max(np.linalg.norm(left), 1e-12)


def as_matrix(kernel: np.ndarray, axis: int) -> Matrix:
    """The matrix whose spectral norm `jaxgan.nn.spectral` takes."""
    return np.moveaxis(kernel.astype(np.float64), axis, 0).reshape(kernel.shape[axis], -1)


def _orders(shape: tuple[int, ...], side: int) -> tuple[np.ndarray | slice, np.ndarray | slice]:
    """From the rows of a file to those here, and back."""
    if not side or not shape:
        return slice(None), slice(None)
    order = np.arange(shape[-1]).reshape(-1, side, side).transpose(1, 2, 0).ravel()
    return order, np.argsort(order)


def _same(array: np.ndarray) -> np.ndarray:
    return array
