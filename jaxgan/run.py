"""A run on disk: config.json, checkpoints/, samples/, metrics.jsonl, TensorBoard events."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from rich.console import Console

from jaxgan import data
from jaxgan.config import Experiment, differences, from_json, to_json
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import check_batch, make_mesh
from jaxgan.parallel.sharding import state_shardings
from jaxgan.system import Stage, State, System, View
from jaxgan.training import pictures
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.loop import spans
from jaxgan.training.loop import train as iterate
from jaxgan.training.report import Report
from jaxgan.training.sampling import evaluation_view, make_sampler
from jaxgan.training.step import init, state_shapes


class Stopped(Exception):
    """Training was asked to stop, and saved.

    Attributes:
        signal: the signal's number.
        step: the step that was saved.
    """

    def __init__(self, number: int, step: int):
        super().__init__(f"stopped by {signal.Signals(number).name}, saved at step {step}")
        self.signal, self.step = number, step


class Run:
    """A trained or training system, opened from its folder."""

    def __init__(self, folder: str | Path):
        """Reads config.json; the checkpoint is read when it is first needed.

        Raises:
            UserError: there is no run in the folder.
        """
        self.folder = Path(folder)
        config = self.folder / "config.json"
        if not config.is_file():
            what = "holds no run (no config.json)" if self.folder.is_dir() else "does not exist"
            raise UserError(f"{self.folder} {what}: give the folder that `jaxgan train` wrote")
        self.experiment: Experiment = from_json(config.read_text())

    @property
    def system(self) -> System:
        """The GAN, with the hyper-parameters of the run."""
        return self.experiment.system

    @functools.cached_property
    def state(self) -> State:
        """The newest State that can be read, on all devices of this process."""
        checkpoints = self.folder / "checkpoints"
        if not checkpoints.is_dir():
            raise UserError(f"{self.folder} holds no checkpoint yet: train it first")
        with Checkpoints(checkpoints) as reader:
            return reader.restore(state_like(self.system, make_mesh()))

    @property
    def step(self) -> int:
        """Step of the newest checkpoint; 0 before there is one."""
        checkpoints = self.folder / "checkpoints"
        if not checkpoints.is_dir():
            return 0
        with Checkpoints(checkpoints) as reader:
            return reader.latest or 0

    @property
    def view(self) -> View:
        """The networks as they are evaluated: averaged weights where there are, running means."""
        return evaluation_view(self.system, self.state)

    @functools.cached_property
    def _sampler(self) -> Callable[..., Any]:
        return make_sampler(self.system)

    def sample(
        self,
        num: int = 64,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
    ) -> UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n d"]:
        """Draws `num` images (uint8, NHWC), or points (float32) of a two-dimensional system.

        Image i depends on the seed, on i and on its label alone, not on how many are drawn.

        Args:
            num: how many.
            label: one class for all, or one for each; None: drawn uniformly.
            truncation: redraw components of the latents beyond +-truncation; None: do not.
            seed: of the latents.

        Raises:
            UserError: no such class, or an unconditional system was given a label.
        """
        return self.sample_with_labels(num, label=label, truncation=truncation, seed=seed)[0]

    def sample_with_labels(
        self,
        num: int = 64,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
    ) -> tuple[np.ndarray, Int[np.ndarray, " n"] | None]:
        """As `sample`, with the labels of the images; None for unconditional systems."""
        _check_drawing(num, truncation)
        labels = None if label is None else self._labels(num, label)
        samples, drawn = self._sampler(self.state, num, labels, truncation, seed)
        return (samples if samples.ndim == 2 else pictures.to_uint8(samples)), drawn

    def attention(
        self,
        num: int = 8,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
    ) -> tuple[UInt8[np.ndarray, "n h w c"], tuple[Float[np.ndarray, "n q k"], ...]]:
        """Images as `sample` draws them, and where each place of the generator's maps looks.

        Returns images and a tuple of attention maps, first to last: [n, queries, keys], both in
        row order; rows sum to 1.

        Raises:
            UserError: a system without attention maps.
        """
        _check_drawing(num, truncation)
        use = getattr(self.system, "attention", None)
        if use is None:
            raise UserError(f"{type(self.system).__name__} has no attention maps to draw")
        labels = None if label is None else self._labels(num, label)
        sampler = make_sampler(self.system, use, chunk=min(num, 16))
        (images, maps), _ = sampler(self.state, num, labels, truncation, seed)
        return pictures.to_uint8(images), maps

    def _labels(self, num: int, label: int | Sequence[int]) -> Int[np.ndarray, " num"]:
        classes = self.system.classes
        if not classes:
            raise UserError(
                f"{type(self.system).__name__} in {self.folder} was trained without labels: "
                "leave out the label"
            )
        labels = np.broadcast_to(np.asarray(label, np.int32), (num,))
        if bad := [int(k) for k in labels if not 0 <= k < classes]:
            raise UserError(f"label {bad[0]}: this run has {classes} classes, 0 to {classes - 1}")
        return labels


def _check_drawing(num: int, truncation: float | None) -> None:
    if num < 1:
        raise UserError(f"asked for {num} images: ask for at least 1")
    if truncation is not None and truncation <= 0:
        raise UserError(f"truncation is {truncation}: it must be above 0, such as 0.5")


def open_run(folder: str | Path) -> Run:
    """Opens the run in a folder; `jaxgan.open` is this function.

    Raises:
        UserError: there is no run in the folder.
    """
    return Run(folder)


def state_like(system: System, mesh: jax.sharding.Mesh) -> State:
    """Shapes, types and shardings of a system's State on a mesh, without computing any of it."""
    shapes = state_shapes(system)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


def state_sha256(state: State) -> str:
    """A digest over every array of a State, with its name, type and shape, in order of names."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for path, leaf in sorted(leaves, key=lambda item: jax.tree_util.keystr(item[0])):
        value = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def train(experiment: Experiment, folder: str | Path, *, console: Console | None = None) -> Run:
    """Trains to `experiment.steps`, from the newest checkpoint if the folder holds this run.

    Everything that can be wrong with what the user gave is found before the first file is written.

    Args:
        experiment: what to train.
        folder: where the run is, or will be.
        console: where progress is shown; standard error by default.

    Raises:
        UserError: the experiment, its data or the folder cannot be used.
        Stopped: SIGTERM or Ctrl-C came; the State was saved.
        Diverged: a metric is not finite; the last good checkpoint is kept.
    """
    folder, console = Path(folder), console or Console(file=sys.stderr)
    system = experiment.system
    mesh = make_mesh(experiment.mesh.data, experiment.mesh.fsdp)
    stages = system.stages()
    for stage in stages:
        check_batch(stage.batch or experiment.batch, experiment.micro, mesh)
    like = state_like(system, mesh)
    resumed = _check_folder(experiment, folder)
    source = data.open_source(experiment.data.source)
    report = _scan(experiment, source)
    for stage in stages:
        _batches(experiment, source, stage)
    fingerprint = data.fingerprint(source)
    _check_same_data(folder, fingerprint)
    console.print(report.text(), highlight=False, soft_wrap=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(to_json(experiment))
        (folder / "data.json").write_text(json.dumps({"fingerprint": fingerprint}))
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{folder} cannot be written: {reason}; choose another --out") from error

    with (
        Checkpoints(folder / "checkpoints", keep=experiment.checkpoint.keep) as checkpoints,
        StopSignals() as stop,
    ):
        if resumed and checkpoints.latest is not None:
            state = checkpoints.restore(like)
            console.print(
                f"{folder}: resuming at step {int(state.step)}", highlight=False, soft_wrap=True
            )
        else:
            state = init(system, experiment.seed, mesh=mesh)
        _train(experiment, folder, console, mesh, state, source, checkpoints, stop)
    return Run(folder)


def _check_folder(experiment: Experiment, folder: Path) -> bool:
    """Whether the folder holds this very experiment; refuses one that holds another."""
    if (folder / "config.json").is_file():
        stored = Run(folder).experiment
        if type(stored.system) is not type(experiment.system):
            raise UserError(
                f"{folder} holds a run of {type(stored.system).__name__}, not of "
                f"{type(experiment.system).__name__}: choose another --out"
            )
        if changed := list(differences(experiment, stored)):
            raise UserError(
                f"{folder} was trained with other settings ({'; '.join(changed)}): "
                "give the same ones to resume, or choose another --out"
            )
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and holds no run: choose another --out")
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{folder} cannot be written: {parent} is not a folder one may write to")
    return False


def _check_same_data(folder: Path, fingerprint: str) -> None:
    """Refuses to resume on data that has changed: the same steps would see other images."""
    stored = folder / "data.json"
    if stored.is_file() and json.loads(stored.read_text())["fingerprint"] != fingerprint:
        raise UserError(
            f"the data has changed since {folder} was started: restore it, or choose another --out"
        )


def _scan(experiment: Experiment, source: data.Source) -> data.Report:
    return data.scan(
        source,
        shape=experiment.system.shape,
        classes=experiment.system.classes,
        resize=experiment.data.resize,
        crop=experiment.data.crop,
    )


def _train(
    experiment: Experiment,
    folder: Path,
    console: Console,
    mesh: jax.sharding.Mesh,
    state: State,
    source: data.Source,
    checkpoints: Checkpoints,
    stop: StopSignals,
) -> None:
    """Iterates, and between iterations logs, draws, saves and stops."""
    system, steps = experiment.system, experiment.steps
    moments = iterate(
        system,
        state,
        lambda stage: _batches(experiment, source, stage),
        steps=steps,
        seed=experiment.seed,
        micro=experiment.micro,
        mesh=mesh,
    )
    sampler = make_sampler(system, chunk=experiment.log.grid)
    start, end = int(state.step), spans(system.stages(), steps)[-1][2]
    with Report(folder, start=start, steps=end, console=console) as report:
        for moment in moments:
            report.record(moment, (moment.stage.batch or experiment.batch) * moment.stage.draws)
            # Read once: a signal that comes while this step is written takes effect after the next.
            stopping = stop.received
            last = moment.step == end or stopping is not None
            if last or moment.step % experiment.log.every == 0 or moment.step == start + 1:
                report.log(moment)
            if last or moment.step % experiment.log.samples == 0:
                picture = _sample_picture(system, sampler, moment.state, experiment.log.grid)
                report.picture(moment.step, picture)
            if last or moment.step % experiment.checkpoint.every == 0:
                report.check()
                checkpoints.save(moment.state)
            if stopping is not None and moment.step < end:
                raise Stopped(stopping, moment.step)


def _batches(experiment: Experiment, source: data.Source, stage: Stage) -> data.Batches:
    shape = experiment.system.shape
    if stage.resolution is not None:
        shape = (stage.resolution, stage.resolution, shape[-1])
    return data.batches(
        source,
        shape=shape,
        classes=experiment.system.classes,
        batch=stage.batch or experiment.batch,
        draws=stage.draws,
        micro=experiment.micro,
        seed=experiment.seed,
        flip=experiment.data.flip,
        resize=experiment.data.resize,
        crop=experiment.data.crop,
        workers=experiment.data.workers,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


def _sample_picture(
    system: System, sampler: Callable[..., Any], state: State, count: int
) -> Image.Image:
    """Samples of fixed latents: classes in columns where there are few, in order where many."""
    columns = None
    labels = None
    if system.classes:
        columns = system.classes if system.classes <= 16 else None
        labels = np.arange(count) % system.classes
    samples, _ = sampler(state, count, labels)
    if samples.ndim == 2:
        return pictures.scatter(samples)
    return pictures.grid(pictures.to_uint8(samples), columns)


class StopSignals:
    """Notes SIGTERM and Ctrl-C instead of dying of them; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread, where signals belong to somebody else
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
