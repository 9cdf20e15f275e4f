"""Checkpoints: the whole State through Orbax, written in the background, read back with care."""

import contextlib
import dataclasses
import gc
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from jaxgan.bucket import as_path, check_writable, in_bucket
from jaxgan.errors import Unwritten, UserError, reason_of
from jaxgan.parallel.distributed import is_first, told
from jaxgan.parallel.mesh import make_mesh
from jaxgan.state import State
from jaxgan.system import System
from jaxgan.training.digest import saved_sha256
from jaxgan.training.step import drawn, state_shapes, with_pretrained

FORMAT = 3
"""Of the dictionary that a checkpoint is; 1 was the State itself, when it had no memory; 2 had no
digest, and is still read."""

HALF_WRITTEN = "*.orbax-checkpoint-tmp*"
"""Folders of checkpoints that are not whole."""

_DIGEST = "state_sha256"
"""Where a checkpoint's metadata hold the digest of its State."""


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
        _hush()
        writes = keep is not None if create is None else create
        if writes:
            # Before Orbax has it, which fails in threads of its own and then never ends.
            check_writable(folder)
        self._manager = ocp.CheckpointManager(
            folder if in_bucket(folder) else folder.resolve(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=writes),
            item_handlers=ocp.StandardCheckpointHandler(),
        )
        self._folder, self._writes, self._saving = folder, writes, False
        self._unreadable: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for the last save, unless it is too late for that.

        Raises:
            Unwritten: it failed, and the block did not.
        """
        if isinstance(error, KeyboardInterrupt):
            return
        failed = None
        try:
            with self._keeping():
                self._manager.close()
        except Unwritten as unwritten:
            failed = unwritten
        if (failed or error) and self._writes and is_first() and not in_bucket(self._folder):
            # What is half written takes the room of what is not.
            for path in self._folder.glob(HALF_WRITTEN):
                shutil.rmtree(path, ignore_errors=True)
        if failed and error is None:
            raise failed

    def check(self) -> None:
        """Asks whether what is written in the background could be, without waiting for it.

        Raises:
            Unwritten: it could not.
        """
        # Among many processes waiting, even for what is over, is done together.
        if not self._saving or jax.process_count() > 1 or self._manager.is_saving_in_progress():
            return
        self._saving = False
        with self._keeping():
            self._manager.wait_until_finished()

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, state: State) -> None:
        """Saves the State under its step, if it is not there; returns while bytes are written.

        Raises:
            Diverged: an array is not finite; nothing is saved, so the good ones stay.
            Unwritten: it cannot be written, or the one before could not.
        """
        step = int(state.step)
        if step not in self._unreadable and step in self._manager.all_steps():
            return
        _check_finite(state)
        about = {_DIGEST: saved_sha256(state)}
        with self._keeping():
            if step in self._unreadable:
                self._manager.delete(step)
                self._unreadable.remove(step)
            self._manager.save(
                step, args=ocp.args.StandardSave(_as_dict(state), custom_metadata=about)
            )
            self._saving = True

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Whatever a save raises, or one in the background that is waited for."""
        try:
            yield
        except Exception as error:
            raise Unwritten(
                f"a checkpoint in {self._folder} cannot be written: {reason_of(error)}"
            ) from error

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
        for number, step in enumerate(steps, 1):
            with _unheard():
                found = self._read(step, like)
            if isinstance(found, State):
                return found
            self._unreadable.add(step)
            if is_first() and number < len(steps):
                logging.getLogger("jaxgan").warning(
                    "checkpoint %s cannot be read (%s); falling back to the one before",
                    self._folder / str(step),
                    found,
                )
        raise UserError(
            f"{self._folder}: none of {len(steps)} checkpoints can be read ({found}): restore one "
            "from a copy, or train anew in another folder"
        )

    def _read(self, step: int, like: State) -> State | str:
        """The State of a step, or the first complaint of a process that cannot read it."""
        state, complaint = like, ""
        try:
            digest = self._checked(step, like)
            found = self._manager.restore(step, args=ocp.args.StandardRestore(_as_dict(like)))
            version = int(found.pop("format"))
            state = dataclasses.replace(like, **found)
            if version not in (2, FORMAT):
                complaint = f"it is of format {version}, this jaxgan reads {FORMAT}"
            elif version == FORMAT and digest is None:
                complaint = "its digest is missing"
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            complaint = lines[0][:200]
        if reasons := [text for text in told(complaint) if text]:
            return reasons[0]
        # A disk, a copy or a cable may change bits of an array that still looks like one.
        if version == FORMAT and saved_sha256(state) != digest:
            return "its arrays are not those that were saved: a bit has changed"
        return state

    def _checked(self, step: int, like: State) -> str | None:
        """The digest of a step, whose arrays have the names and shapes that are looked for.

        Orbax would say what differs in hundreds of lines, and abandon what it has begun to read.
        """
        metadata = self._manager.item_metadata(step)
        kept = {leaf.name: leaf.shape for leaf in jax.tree.leaves(metadata.tree)}
        wanted = {
            jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path(_as_dict(like))
        }
        if missing := sorted(set(wanted) - set(kept)):
            raise ValueError(f"it lacks {_few(missing)}")
        if strange := sorted(set(kept) - set(wanted)):
            raise ValueError(f"it has {_few(strange)}, which the system has not")
        for name, shape in wanted.items():
            if kept[name] != shape:
                raise ValueError(f"{name} is {kept[name]} there, {shape} in the system")
        return (metadata.custom_metadata or {}).get(_DIGEST)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Without what is printed of the reads that Orbax abandons when one of them fails."""
    _Hook.silent = True
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        try:
            yield
        finally:
            gc.collect()  # abandoned tasks speak as they are collected
            _Hook.silent = False


def _hush() -> None:
    """Leaves out what Orbax and its threads print of errors that are raised: hundreds of lines."""
    if isinstance(sys.unraisablehook, _Hook):
        return
    sys.unraisablehook = _Hook(sys.unraisablehook)
    warnings.filterwarnings("ignore", f"coroutine '({_OF_ORBAX})' was never awaited")
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(
        lambda record: not re.search("orbax|OCDBT|TensorStore", record.getMessage())
    )


_OF_ORBAX = (
    r"\w*Handler\.\w+|_\w*serialize\S*|_read_array\w*"
    r"|async_serialize_from_host\.<locals>\.write_fragment"
)
"""What it begins and abandons when something cannot be read or written."""


class _Hook:
    """Passes on what no code could catch, but for threads that come back and find nobody."""

    silent = False

    def __init__(self, hook: Callable[[Any], Any]):
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        if not self.silent and str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)


def _few(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def save(state: State, folder: str | Path) -> None:
    """Saves a State as `FOLDER/STEP/`, for loops of one's own; returns when it is written.

    All checkpoints stay. One of the same step that is there already is kept as it is.

    Raises:
        UserError: it cannot be written.
        Diverged: an array is not finite; nothing is saved.
    """
    try:
        with Checkpoints(as_path(folder), create=True) as checkpoints:
            checkpoints.save(state)
    except (OSError, Unwritten) as error:
        raise UserError(
            f"{folder} cannot be written: {reason_of(error)}; choose another"
        ) from error


def restore(system: System, folder: str | Path, *, mesh: Mesh | None = None) -> State:
    """The newest State in a folder that `save` or a run has written.

    With a mesh, its arrays are laid out by `jaxgan.parallel.sharding`, on any number of devices.
    Networks that an imported run's files did not hold are drawn, with seed 0.

    Raises:
        UserError: there is none, or none of this system that can be read.
    """
    if not as_path(folder).is_dir():
        raise UserError(f"{folder} does not exist: give the folder of checkpoints")
    mesh = mesh or make_mesh(1, 1)
    with Checkpoints(as_path(folder)) as checkpoints:
        state = checkpoints.restore(state_shapes(system, mesh))
    return with_pretrained(system, drawn(system, state, mesh=mesh), mesh)


class Diverged(RuntimeError):
    """A metric, or an array of the State, is not a number, or infinite: says where and when.

    Or metrics say that training has failed.
    """


def _check_finite(state: State) -> None:
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(state), strict=True)
    # What lies on the host, as an imported run's State does, is looked at there: no copies.
    host = {i: np.isfinite(leaf).all() for i, leaf in enumerate(leaves) if type(leaf) is np.ndarray}
    there = [i for i in range(len(leaves)) if i not in host]
    found = jax.device_get(_all_finite(tuple(leaves[i] for i in there)))
    every = host | dict(zip(there, found, strict=True))
    for path, finite in zip(paths, (every[i] for i in range(len(leaves))), strict=True):
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
