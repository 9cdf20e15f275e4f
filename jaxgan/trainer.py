"""Training an experiment in its folder: checks, resuming, and what is written between iterations.

A run is config.json, checkpoints/, samples/, metrics.jsonl and TensorBoard events.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from PIL import Image
from rich.console import Console

from jaxgan import data
from jaxgan.config import Experiment, differences, to_json
from jaxgan.errors import UserError
from jaxgan.metrics.images import stored
from jaxgan.metrics.judge import Judge
from jaxgan.parallel.distributed import LastWords, StopSignals, is_first, part, together
from jaxgan.parallel.mesh import check_batch, make_mesh
from jaxgan.run import Run, images_of
from jaxgan.system import Stage, State, System
from jaxgan.training import pictures
from jaxgan.training.checkpoint import Checkpoints, Diverged, saved_steps
from jaxgan.training.loop import Moment, spans
from jaxgan.training.loop import train as iterate
from jaxgan.training.report import Report, Watch
from jaxgan.training.sampling import (
    make_sampler,
    make_translator,
)
from jaxgan.training.step import init, state_shapes

_SEEN_WITHIN = 60
"""Seconds after which a file that one process wrote is expected to be there for the others."""


class Stopped(Exception):
    """Training was asked to stop, and saved.

    Attributes:
        signal: the signal's number.
        step: the step that was saved.
    """

    def __init__(self, number: int, step: int):
        super().__init__(f"stopped by {signal.Signals(number).name}, saved at step {step}")
        self.signal, self.step = number, step


def train(experiment: Experiment, folder: str | Path, *, console: Console | None = None) -> Run:
    """Trains to `experiment.steps`, from the newest checkpoint if the folder holds this run.

    Everything that can be wrong with what the user gave is found before the first file is written.
    Among many processes (`jaxgan.parallel.distributed`) all of them call this; the first one writes
    and speaks, all save, and an error or a signal at one of them ends all.

    Args:
        experiment: what to train.
        folder: where the run is, or will be; the same for all processes.
        console: where progress is shown; standard error by default.

    Raises:
        UserError: the experiment, its data or the folder cannot be used.
        Stopped: SIGTERM or Ctrl-C came; the State was saved.
        Diverged: a metric is not finite; the last good checkpoint is kept.
    """
    folder = Path(folder)
    console = console or Console(file=sys.stderr, emoji=False)  # image:china is no flag
    console = console if is_first() else Console(quiet=True)
    resumed, mesh, source, batches, judge, settings = together(
        lambda: _prepare(experiment, folder, console)
    )
    lock = together(lambda: _write(folder, settings) if is_first() else contextlib.nullcontext())
    together(lambda: _check_written(folder, settings))

    with (
        lock,
        LastWords(folder / "checkpoints", unless=(UserError, Stopped, Diverged)),
        Checkpoints(folder / "checkpoints", keep=experiment.checkpoint.keep) as checkpoints,
        Checkpoints(folder / "best", keep=1) if judge else contextlib.nullcontext() as best,
        StopSignals() as stop,
    ):
        if resumed and checkpoints.latest is not None:
            state = checkpoints.restore(state_shapes(experiment.system, mesh))
            console.print(
                f"{folder}: resuming at step {int(state.step)}",
                highlight=False,
                soft_wrap=True,
                emoji=False,
            )
        else:
            state = init(experiment.system, experiment.seed, mesh=mesh)
        start = int(state.step)
        if judge:
            judge.resume(start)
        moments = iterate(
            experiment.system,
            state,
            batches.__getitem__,
            steps=experiment.steps,
            seed=experiment.seed,
            micro=experiment.micro,
            mesh=mesh,
            augment=experiment.augment,
        )
        watch = Watch()
        if is_first():
            watch = Report(folder, start=start, steps=_end(experiment), console=console)
        picture = _pictures(experiment, source)
        _follow(experiment, folder, moments, picture, watch, checkpoints, stop, judge, best)
    return Run(folder)


def _prepare(
    experiment: Experiment, folder: Path, console: Console
) -> tuple[bool, jax.sharding.Mesh, data.Source, list[data.Batches], Judge | None, dict[str, str]]:
    """Checks all that a user can get wrong.

    Returns whether to resume, the mesh, the data, this process's batches of each stage, who scores,
    and the files that describe the run, by name.
    """
    mesh = make_mesh(experiment.mesh.data, experiment.mesh.fsdp)
    stages = experiment.system.stages()
    for stage in stages:
        check_batch(_batch(experiment, stage), experiment.micro, mesh)
    _check_own_batches(experiment, stages)
    _check_buildable(experiment.system)
    resumed = _check_folder(experiment, folder)
    source = data.open_source(experiment.data.source)
    report = _scan(experiment, source)
    batches = [
        stage_batches(experiment, source, number, part(mesh)) for number in range(len(stages))
    ]
    judge = None
    if experiment.evaluate.every and experiment.system.directions:
        raise UserError(
            f"--evaluate.every: {type(experiment.system).__name__} makes images from images and is "
            "not scored while it trains: leave it out"
        )
    if experiment.evaluate.every:
        judge = Judge(
            folder,
            lambda shape: stored(
                source,
                shape,
                resize=experiment.data.resize or shape != experiment.system.shape,
                crop=experiment.data.crop,
            ),
            experiment.evaluate.metrics,
            extractor=experiment.evaluate.extractor,
            shape=experiment.system.shape,
            classes=experiment.system.classes,
            mesh=mesh,
        )
    fingerprint = data.fingerprint(source)
    if resumed:
        _check_same_data(folder, fingerprint)
    console.print(report.text(), highlight=False, soft_wrap=True, emoji=False)
    settings = {
        "config.json": to_json(experiment),
        "data.json": json.dumps({"fingerprint": fingerprint}),
    }
    return resumed, mesh, source, batches, judge, settings


def _write(folder: Path, settings: dict[str, str]) -> IO[str]:
    """Writes a run's descriptions, each whole or not at all.

    The run is this process's as long as it holds the file that comes back open.

    Raises:
        UserError: another process trains it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UserError(
                f"{folder} is being trained by another process: wait, or choose another --out"
            ) from None
        for name, text in settings.items():
            (folder / f"{name}.tmp").write_text(text)
            os.replace(folder / f"{name}.tmp", folder / name)
        return lock
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{folder} cannot be written: {reason}; choose another --out") from error


def _check_written(folder: Path, settings: dict[str, str]) -> None:
    """Refuses a process that would train something else, or keep its checkpoints elsewhere."""
    for name, text in settings.items():
        path = folder / name
        # A network file system may show an old folder for a while.
        until = time.monotonic() + _SEEN_WITHIN
        while not path.is_file() or path.read_text() != text:
            if time.monotonic() > until:
                if path.is_file():
                    raise UserError(
                        f"{path} of process 0 differs: give all the same command and data"
                    )
                raise UserError(f"{path} of process 0 is not there: give --out on a shared disk")
            time.sleep(0.2)


def _check_folder(experiment: Experiment, folder: Path) -> bool:
    """Whether the folder holds a State of this very experiment; refuses what it must not touch."""
    if (folder / "config.json").is_file():
        saved = saved_steps(folder / "checkpoints")
        if not saved:  # it failed before it had trained
            return False
        stored = Run(folder).experiment
        if type(stored.system) is not type(experiment.system):
            raise UserError(
                f"{folder} holds a run of {type(stored.system).__name__}, not of "
                f"{type(experiment.system).__name__}: choose another --out"
            )
        # What was imported has seen no data yet: it goes on with any.
        changed = list(differences(experiment, stored))
        if max(saved) == 0:
            changed = [line for line in changed if line.startswith("system")]
        if changed:
            raise UserError(
                f"{folder} was trained with other settings ({'; '.join(changed)}): "
                "give the same ones to resume, or choose another --out"
            )
        if max(saved) > experiment.steps:
            raise UserError(
                f"{folder} is at step {max(saved)} already, beyond --steps {experiment.steps}: "
                "give more, or choose another --out"
            )
        return True
    if folder.exists() and (
        not folder.is_dir() or any(path.suffix != ".tmp" for path in folder.iterdir())
    ):
        raise UserError(f"{folder} exists and holds no run: choose another --out")
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{folder} cannot be written: {parent} is not a folder one may write to")
    return False


def _check_own_batches(experiment: Experiment, stages: Sequence[Stage]) -> None:
    """Refuses a batch that no stage would take, because each has its own."""
    if all(stage.batch for stage in stages) and experiment.batch != stages[-1].batch:
        raise UserError(
            f"--batch is {experiment.batch}, but {type(experiment.system).__name__} has a batch "
            f"for every stage, {stages[-1].batch} in the last: change those, and give that one"
        )


def _check_buildable(system: System) -> None:
    """Refuses settings that no network can have; a system of the user's own shows its traceback."""
    try:
        state_shapes(system)
    except (ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, UserError) or not type(system).__module__.startswith("jaxgan."):
            raise
        raise UserError(
            f"{type(system).__name__} cannot be built with these settings: {error}"
        ) from error


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
        jitter=experiment.data.jitter,
        input_shape=experiment.system.input_shape,
        aligned=experiment.system.aligned,
    )


def _follow(
    experiment: Experiment,
    folder: Path,
    moments: Iterable[Moment],
    picture: Callable[[State], Image.Image],
    watch: Watch,
    checkpoints: Checkpoints,
    stop: StopSignals,
    judge: Judge | None,
    best: Checkpoints | None,
) -> None:
    """Goes along with the iterations, and between them logs, draws, saves, scores and stops."""
    system, end = experiment.system, _end(experiment)
    judged = make_sampler(system)
    with watch as report:
        for number, moment in enumerate(moments):
            report.record(moment, _batch(experiment, moment.stage) * moment.stage.draws)
            # Read once: a signal that comes while this step is written takes effect after the next.
            stopping = stop.at(moment.step)
            last = moment.step == end or stopping is not None
            if last or moment.step % experiment.log.every == 0 or number == 0:
                report.log(moment)
            if last or moment.step % experiment.log.samples == 0:
                report.picture(moment.step, picture(moment.state))
            if last or moment.step % experiment.checkpoint.every == 0:
                report.check()
                checkpoints.save(moment.state)
            if judge and (moment.step == end or moment.step % experiment.evaluate.every == 0):
                report.check()
                images = images_of(
                    system, judged, moment.state, experiment.evaluate.num, name=str(folder)
                )
                records, is_best = judge(images)
                report.scores(moment.step, {record.label: record.value for record in records})
                if is_best and best:
                    best.save(moment.state)
            if stopping is not None and moment.step < end:
                raise Stopped(stopping, moment.step)


def _end(experiment: Experiment) -> int:
    """Iterations of the run; fewer than it asks for if the stages have fewer."""
    return spans(experiment.system.stages(), experiment.steps)[-1][2]


def stage_batches(
    experiment: Experiment, source: data.Source, number: int, part: tuple[int, int] = (0, 1)
) -> data.Batches:
    """The data of a stage, by its number, or one of so many equal parts of every batch."""
    process, processes = part
    *before, stage = experiment.system.stages()[: number + 1]
    return data.batches(
        source,
        shape=experiment.system.shape,
        resolution=stage.resolution,
        begin=sum(each.steps or 0 for each in before),
        seen=sum((each.steps or 0) * each.draws * _batch(experiment, each) for each in before),
        classes=experiment.system.classes,
        batch=_batch(experiment, stage),
        draws=stage.draws,
        micro=experiment.micro,
        seed=experiment.seed,
        flip=experiment.data.flip,
        resize=experiment.data.resize,
        crop=experiment.data.crop,
        jitter=experiment.data.jitter,
        input_shape=experiment.system.input_shape,
        aligned=experiment.system.aligned,
        workers=experiment.data.workers,
        process=process,
        processes=processes,
    )


def _pictures(experiment: Experiment, source: data.Source) -> Callable[[State], Image.Image]:
    """What draws the picture that shows how far training is."""
    system, count = experiment.system, experiment.log.grid
    if system.input_shape is None:
        sampler = make_sampler(system, chunk=count)
        return lambda state: _sample_picture(system, sampler, state, count)
    # The same examples all the time, from all over the data, neither flipped nor cut at random.
    still = dataclasses.replace(
        experiment.data,
        flip=False,
        jitter=None,
        resize=experiment.data.resize or experiment.data.jitter is not None,
    )
    rows = max(1, count // 8)
    batches = stage_batches(
        dataclasses.replace(experiment, data=still), source, len(system.stages()) - 1
    )
    examples = batches.examples(np.linspace(0, len(source) - 1, rows).astype(int))
    translator = make_translator(system, system.preview, chunk=rows)
    numbers = np.zeros(rows, int)
    return lambda state: pictures.columns(translator(state, examples, numbers, 0))


def _batch(experiment: Experiment, stage: Stage) -> int:
    return stage.batch or experiment.batch


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
    # All grids of a run that grows are of one size, on which pixels show the resolution; those of
    # resolutions that do not divide it have their own.
    factor, rest = divmod(system.shape[0], samples.shape[1])
    if not rest:
        samples = samples.repeat(factor, 1).repeat(factor, 2)
    return pictures.grid(pictures.to_uint8(samples), columns)
