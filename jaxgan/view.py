"""What a loss, or a use of trained networks, sees."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import InterceptorContext
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PRNGKeyArray, PyTree

from jaxgan.errors import UserError
from jaxgan.fields import Field, Resolution, draw_items
from jaxgan.nn import shares

Place = tuple[str, str]
"""A network, and the path of a module in it, such as ("generator", "block3"); "" is the network."""

Edit = Callable[[Array, Any], Array]
"""(a module's output, what was given for it) -> what stands in its place; a module-level function,
so that it can be part of a compiled program's key."""


class View:
    """The networks with their current values.

    `view("generator", z)` applies a network and records what it wrote (running means of batch
    norm); the next application starts from there, as it would in PyTorch. `view.frozen(...)`
    applies without recording: for use under `jax.grad`, as in gradient penalties.

    Spectral state never moves here: the engine advances it once for each update of a player that
    writes the network, however often the loss applies it.

    Either runs networks in the view's mode; the option `train=False` applies one in evaluation mode
    while others train. Pretrained networks always run in evaluation mode and record nothing.

    A loss gets the same key for every micro-batch; what is drawn through `view.keys` or `view.draw`
    differs between them as it should.

    Attributes:
        stats: as `State.stats`, with what has been recorded.
        memory: as `State.memory`; a loss replaces what its player writes.
        out: arrays for the batches of the players that move later in the iteration.
        captured: {place: output} of the modules that were asked for.
        applied: names of the networks that were applied.
        observe: called with the place and the output of every module, in the order of their calls.
        train: whether networks run in training mode.
        step: iterations done, a traced scalar: for what changes within a stage, such as a fade.
        resolution: `Stage.resolution` of the stage, static; None where stages have none.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        params: Mapping[str, PyTree],
        stats: Mapping[str, PyTree],
        *,
        train: bool,
        memory: Mapping[str, PyTree] | None = None,
        pretrained: Mapping[str, tuple[nn.Module, PyTree]] | None = None,
        mesh: Mesh | None = None,
        micro: tuple[int, int | Int[Array, ""]] = (1, 0),
        step: int | Int[Array, ""] = 0,
        resolution: Resolution | None = None,
        augment: Callable[["View", Array], Array] | None = None,
        captures: Sequence[Place] = (),
        edits: Sequence[tuple[Place, Edit, Any]] = (),
    ):
        self._networks, self._params, self._mesh, self._micro = networks, params, mesh, micro
        self._pretrained, self._augment = pretrained or {}, augment
        self._captures, self._edits = captures, edits
        self.step, self.resolution = step, resolution
        self.stats = dict(stats)
        self.memory = dict(memory or {})
        self.out: dict[str, Array] = {}
        self.captured: dict[Place, Array] = {}
        self.applied: set[str] = set()
        self._edited_places: set[Place] = set()
        self.observe: Callable[[Place, Any], None] | None = None
        self.train = train

    def __call__(self, network: str, *inputs: Any, **options: Any) -> Any:
        """Applies a network and records what it wrote."""
        if network in self._pretrained:
            return self.frozen(network, *inputs, **options)
        stats = self.stats.get(network, {})
        mutable = [name for name in stats if name != "spectral"] if self.train else []
        outputs, written, _ = self._apply(network, inputs, options, mutable)
        self.stats[network] = {**stats, **written}
        return outputs

    def together(self, network: str, *batches: tuple) -> tuple[Any, ...]:
        """Applies a network once to several batches of one size; their outputs, one by one.

        For networks that treat every sample alone (no batch norm): one large product is faster
        than two small ones. Samples are interleaved, so that a batch that is split over devices
        stays where it is; end to end, parts of it would travel.

        `real, fake = view.together("discriminator", (x, label), (generated, its_label))`
        """

        def interleave(*parts: Array) -> Array:
            return jnp.stack(parts, 1).reshape(-1, *parts[0].shape[1:])

        outputs = self(network, *jax.tree.map(interleave, *batches))
        return tuple(
            jax.tree.map(lambda x: x.reshape(-1, len(batches), *x.shape[1:])[:, i], outputs)  # noqa: B023
            for i in range(len(batches))
        )

    def keys(self, key: PRNGKeyArray, count: int) -> Key[Array, " count"]:
        """A key for each row of this (micro-)batch.

        It depends on the row's number in the whole batch, so accumulating over micro-batches sees
        the numbers that one large batch would.
        """
        _, index = self._micro
        rows = jnp.arange(count, dtype=jnp.uint32) + jnp.asarray(index, jnp.uint32) * count
        return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)

    def draw(self, fields: Mapping[str, Field], key: PRNGKeyArray, count: int) -> dict[str, Array]:
        """Items of drawable fields for this (micro-)batch, [count, ...] by name."""
        return draw_items(fields, self.keys(key, count))

    def augment(self, images: Array) -> Array:
        """What a discriminator sees of images: augmented afresh, where training augments.

        DiffAugment's T (`jaxgan.augment`): a loss applies it to all images that it has judged.
        """
        return images if self._augment is None else self._augment(self, images)

    def frozen(self, network: str, *inputs: Any, **options: Any) -> Any:
        """Applies a network and records nothing."""
        return self._apply(network, inputs, options, [])[0]

    def capture(
        self, network: str, paths: Sequence[str], *inputs: Any, **options: Any
    ) -> tuple[Any, dict[str, Array]]:
        """Applies a network and records nothing; its output, and those of the modules at `paths`.

        Raises:
            UserError: no module was called at one of the paths.
        """
        outputs, _, found = self._apply(network, inputs, options, [], paths)
        return outputs, {path: found[path] for path in paths}

    def _module(self, network: str) -> tuple[nn.Module, dict[str, PyTree], bool]:
        """A network, its variables, and whether it runs in training mode."""
        if network in self._pretrained:
            return *self._pretrained[network], False
        variables = shares.variables(self._mesh, self._params[network])
        variables |= self.stats.get(network, {})
        return self._networks[network], variables, self.train

    def _apply(
        self,
        network: str,
        inputs: tuple,
        options: dict,
        mutable: list[str],
        wanted: Sequence[str] = (),
    ) -> tuple[Any, Any, dict[str, Any]]:
        """A network's outputs, what it wrote, and the outputs of modules that were asked for."""
        self.applied.add(network)
        module, variables, train = self._module(network)
        options = {"train": train, **options}
        asked = {path for name, path in self._captures if name == network}
        found: dict[str, Any] = {}
        if paths := [*asked, *wanted]:
            options["capture_intermediates"] = _at(paths)
            mutable = [*mutable, "intermediates"]
        with self._edited(network), shares.used_on(self._mesh):
            outputs, written = module.apply(
                variables, *split_over_devices(inputs, self._mesh), mutable=mutable, **options
            )
        if paths:
            written = dict(written)
            found = _outputs(paths, written.pop("intermediates", {}))
            for path in set(wanted) - set(found):
                raise _no_module(network, path)
            self.captured |= {(network, path): found[path] for path in asked & set(found)}
        return outputs, written, found

    @contextlib.contextmanager
    def _edited(self, network: str) -> Iterator[None]:
        """While it holds, the outputs of a network's modules are what the edits make of them."""
        edits = [
            (path, edit, given) for (name, path), edit, given in self._edits if name == network
        ]
        if not edits and self.observe is None:
            yield
            return

        def change(
            method: Callable[..., Any], args: Any, options: Any, context: InterceptorContext
        ) -> Any:
            outputs = method(*args, **options)
            if context.method_name == "__call__":
                here = "/".join(context.module.path)
                for path, edit, given in edits:
                    if path == here:
                        outputs = edit(outputs, given)
                        self._edited_places.add((network, path))
                if self.observe is not None:
                    self.observe((network, here), outputs)
            return outputs

        with nn.intercept_methods(change):
            yield

    def check_places(self) -> None:
        """Refuses captures and edits that nothing that was applied has reached.

        Raises:
            UserError: no module was called at one of the paths.
        """
        edited = {place for place, _, _ in self._edits}
        for network, path in {*self._captures} - {*self.captured} | edited - self._edited_places:
            raise _no_module(network, path)


def _at(paths: Sequence[str]) -> Callable[[nn.Module, str], bool]:
    """Which calls Flax is to capture."""
    return lambda module, method: method == "__call__" and "/".join(module.path) in paths


def _outputs(paths: Sequence[str], intermediates: PyTree) -> dict[str, Any]:
    """{path: output} of what Flax captured; a network may be applied in parts, by its methods."""
    flat = flatten_dict(intermediates, sep="/")
    found = {}
    for path in paths:
        name = f"{path}/__call__" if path else "__call__"
        if name in flat:
            found[path] = flat[name][-1]  # the last call's
    return found


def _no_module(network: str, path: str) -> UserError:
    return UserError(f"{network} calls no module at {path!r}: see `jaxgan info RUN`")


def split_over_devices(inputs: PyTree, mesh: Mesh | None) -> PyTree:
    """Lays the first axis of every array over the devices of the mesh.

    Latents are drawn in a loss, so no sharding reaches them from the batch: without this hint each
    device would compute all of them. Arrays that do not divide are left alone.
    """
    if mesh is None or mesh.size == 1:
        return inputs

    def lay(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.ndim == 0 or x.shape[0] % mesh.size:
            return x
        return jax.lax.with_sharding_constraint(
            x, NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        )

    return jax.tree.map(lay, inputs)
