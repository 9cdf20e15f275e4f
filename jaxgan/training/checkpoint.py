"""Checkpoints: the whole State through Orbax, written in the background, read back with care."""

import dataclasses
import logging
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from jaxgan.errors import UserError
from jaxgan.parallel.distributed import is_first, told
from jaxgan.parallel.mesh import make_mesh
from jaxgan.state import State
from jaxgan.system import System
from jaxgan.training.step import state_shapes, with_pretrained

FORMAT = 2
"""Of the dictionary that a checkpoint is; 1 was the State itself, when it had no memory."""


class Checkpoints:
    """The checkpoints of a run, `FOLDER/STEP/`.

    A save goes to a temporary folder that is renamed when it is whole, so a killed or failed save
    leaves the one before. Use it as a context: leaving waits for the last save. Among many
    processes each writes what its devices hold, and all do the same in the same order.
    """

    def __init__(self, folder: Path, *, keep: int | None = None, create: bool | None = None):
        """Opens a folder, which need not exist.

        Args:
            folder: where the checkpoints are.
            keep: how many of the latest stay; None keeps all.
            create: whether the folder is made; None: where `keep` is given, for readers do not.
        """
        writes = keep is not None if create is None else create
        if writes:
            # Before Orbax has it, which fails in threads of its own and then never ends.
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise UserError(f"{folder} cannot be written: {error.strerror}") from error
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=writes),
            item_handlers=ocp.StandardCheckpointHandler(),
        )
        self._folder = folder
        self._unreadable: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, state: State) -> None:
        """Saves the State under its step, if it is not there; returns while bytes are written.

        Raises:
            Diverged: an array is not finite; nothing is saved, so the good ones stay.
        """
        step = int(state.step)
        if step in self._unreadable:
            self._manager.delete(step)
            self._unreadable.remove(step)
        if step not in self._manager.all_steps():
            _check_finite(state)
            self._manager.save(step, args=ocp.args.StandardSave(_as_dict(state)))

    def restore(self, like: State) -> State:
        """The newest State that can be read, on the devices that `like` names.

        A checkpoint that a process cannot read is passed over by all, with a warning that says so.

        Args:
            like: the State's shapes, types and shardings (`jax.ShapeDtypeStruct` leaves). Its
                pretrained networks, which no checkpoint holds, are those of what comes back.

        Raises:
            UserError: there is no checkpoint, or none that can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise UserError(f"{self._folder} holds no checkpoint: train the run first")
        for step in steps:
            complaint = ""
            try:
                self._check_shapes(step, like)
                found = self._manager.restore(step, args=ocp.args.StandardRestore(_as_dict(like)))
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                complaint = lines[0][:200]
            reasons = [text for text in told(complaint) if text]
            if not reasons:
                version = int(found.pop("format"))
                if version != FORMAT:
                    raise UserError(
                        f"{self._folder / str(step)} is a checkpoint of format {version}, this "
                        f"version of jaxgan reads {FORMAT}"
                    )
                return dataclasses.replace(like, **found)
            self._unreadable.add(step)
            if is_first():
                logging.getLogger("jaxgan").warning(
                    "checkpoint %s cannot be read (%s); falling back to the one before",
                    self._folder / str(step),
                    reasons[0],
                )
        raise UserError(
            f"{self._folder}: none of {len(steps)} checkpoints can be read ({reasons[0]})"
        )

    def _check_shapes(self, step: int, like: State) -> None:
        """Refuses arrays of another system's shapes before reading, which Orbax would abandon."""
        metadata = self._manager.item_metadata(step)
        kept = {leaf.name: leaf.shape for leaf in jax.tree.leaves(getattr(metadata, "tree", {}))}
        for path, leaf in jax.tree_util.tree_leaves_with_path(_as_dict(like)):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            if kept.get(name, leaf.shape) != leaf.shape:
                raise ValueError(f"{name} is {kept[name]} there, {leaf.shape} in the system")


def save(state: State, folder: str | Path) -> None:
    """Saves a State as `FOLDER/STEP/`, for loops of one's own; returns when it is written.

    All checkpoints stay. One of the same step that is there already is kept as it is.

    Raises:
        UserError: it cannot be written.
        Diverged: an array is not finite; nothing is saved.
    """
    try:
        with Checkpoints(Path(folder), create=True) as checkpoints:
            checkpoints.save(state)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{folder} cannot be written: {reason}; choose another") from error


def restore(system: System, folder: str | Path, *, mesh: Mesh | None = None) -> State:
    """The newest State in a folder that `save` or a run has written.

    With a mesh, its arrays are laid out by `jaxgan.parallel.sharding`, on any number of devices.

    Raises:
        UserError: there is none, or none of this system that can be read.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder} does not exist: give the folder of checkpoints")
    mesh = mesh or make_mesh(1, 1)
    with Checkpoints(Path(folder)) as checkpoints:
        state = checkpoints.restore(state_shapes(system, mesh))
    return with_pretrained(system, state, mesh)


class Diverged(RuntimeError):
    """A metric, or an array of the State, is not a number, or infinite: says where and when."""


def _check_finite(state: State) -> None:
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(state), strict=True)
    for path, finite in zip(paths, jax.device_get(_all_finite(leaves)), strict=True):
        if not finite:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise Diverged(f"step {int(state.step)}: {name} is not finite")


@jax.jit
def _all_finite(leaves: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return tuple(jnp.isfinite(leaf).all() for leaf in leaves)


def saved_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, by their names alone; half-written ones have others."""
    return [int(path.name) for path in folder.glob("*") if path.name.isdigit()]


def _as_dict(state: State) -> dict[str, Any]:
    """What a checkpoint holds: all but the pretrained networks, under names that do not depend on
    the State's class."""
    names = ("step", "params", "stats", "memory", "opt", "ema")
    # On the host: among many processes a device's own array belongs to none of them.
    return {"format": np.array(FORMAT, np.int32), **{name: getattr(state, name) for name in names}}
