"""A run on disk: config.json, checkpoints/, samples/, metrics.jsonl, TensorBoard events."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from rich.console import Console

from jaxgan import data
from jaxgan.config import Experiment, differences, from_json, to_json
from jaxgan.errors import UserError
from jaxgan.metrics.images import Drawn, stored
from jaxgan.metrics.judge import Judge
from jaxgan.metrics.path_length import slerp
from jaxgan.parallel.distributed import LastWords, StopSignals, is_first, part, together
from jaxgan.parallel.mesh import check_batch, make_mesh
from jaxgan.system import Stage, State, Styled, System, View
from jaxgan.training import pictures
from jaxgan.training.checkpoint import Checkpoints, Diverged, saved_steps
from jaxgan.training.loop import Moment, spans
from jaxgan.training.loop import train as iterate
from jaxgan.training.report import Report, Watch
from jaxgan.training.sampling import (
    Use,
    evaluation_view,
    make_sampler,
    make_translator,
    resolution_at,
    shape_at,
    standing_statistics,
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


class Run:
    """A trained or training system, opened from its folder."""

    def __init__(self, folder: str | Path, *, best: bool = False):
        """Reads config.json; the checkpoint is read when it is first needed.

        Args:
            folder: of the run.
            best: take the checkpoint that was evaluated best, not the newest.

        Raises:
            UserError: there is no run in the folder, or no best checkpoint.
        """
        self.folder = Path(folder)
        self._checkpoints = self.folder / ("best" if best else "checkpoints")
        config = self.folder / "config.json"
        if not config.is_file():
            what = "holds no run (no config.json)" if self.folder.is_dir() else "does not exist"
            raise UserError(f"{self.folder} {what}: give the folder that `jaxgan train` wrote")
        self.experiment: Experiment = from_json(config.read_text())
        self._translators: dict[str, Callable[..., Any]] = {}
        if best and not self._checkpoints.is_dir():
            raise UserError(
                f"{self.folder} has no best checkpoint: train it with --evaluate.every, or leave "
                "out --best"
            )

    @property
    def system(self) -> System:
        """The GAN, with the hyper-parameters of the run."""
        return self.experiment.system

    @functools.cached_property
    def state(self) -> State:
        """The newest State that can be read, on all devices of this process."""
        if not self._checkpoints.is_dir():
            raise UserError(f"{self.folder} holds no checkpoint yet: train it first")
        with Checkpoints(self._checkpoints) as reader:
            return reader.restore(state_shapes(self.system, make_mesh()))

    @property
    def step(self) -> int:
        """Step of the newest checkpoint; 0 before there is one."""
        if not self._checkpoints.is_dir():
            return 0
        with Checkpoints(self._checkpoints) as reader:
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
        standing_statistics: int = 0,
        psi: float | None = None,
    ) -> UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n d"]:
        """Draws `num` images (uint8, NHWC), or points (float32) of a two-dimensional system.

        Image i depends on the seed, on i and on its label alone, not on how many are drawn.

        Args:
            num: how many.
            label: one class for all, or one for each; None: drawn uniformly.
            truncation: redraw components of the latents beyond +-truncation; None: do not.
            seed: of the latents.
            standing_statistics: batches, of 100 with the same truncation, from which batch norm's
                statistics are measured anew; 0: it uses those of training.
            psi: how far styles may be from their average, 1 being as far as they are; None: 1.

        Raises:
            UserError: no such class, an unconditional system was given a label, or one without
                styles a psi.
        """
        return self.sample_with_labels(
            num,
            label=label,
            truncation=truncation,
            seed=seed,
            standing_statistics=standing_statistics,
            psi=psi,
        )[0]

    def sample_with_labels(
        self,
        num: int = 64,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
        standing_statistics: int = 0,
        start: int = 0,
        psi: float | None = None,
    ) -> tuple[np.ndarray, Int[np.ndarray, " n"] | None]:
        """As `sample`, with the labels of the images; None for unconditional systems.

        `start` is the number of the first image: 100 images are 60, and 40 from 60 on.
        """
        self._check_draws()
        _check_drawing(num, truncation)
        labels = None if label is None else self._labels(num, label)
        state = self._standing(standing_statistics, truncation, seed)
        sampler = self._sampler if psi is None else make_sampler(self.system, self._psi(psi))
        samples, drawn = sampler(state, num, labels, truncation, seed, start)
        return (samples if samples.ndim == 2 else pictures.to_uint8(samples)), drawn

    def drawn(self, num: int, *, truncation: float | None = None, seed: int = 0) -> Drawn:
        """Images to score (`jaxgan.metrics.evaluate`), drawn as `sample` draws them."""
        self._check_draws()
        _check_drawing(num, truncation)
        return _drawn(
            self.system,
            self._sampler,
            self.state,
            num,
            name=str(self.folder),
            truncation=truncation,
            seed=seed,
        )

    def attention(
        self,
        num: int = 8,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
        standing_statistics: int = 0,
    ) -> tuple[UInt8[np.ndarray, "n h w c"], tuple[Float[np.ndarray, "n q k"], ...]]:
        """Images as `sample` draws them, and where each place of the generator's maps looks.

        Returns images and a tuple of attention maps, first to last: [n, queries, keys], both in
        row order; rows sum to 1.

        Raises:
            UserError: a system without attention maps.
        """
        self._check_draws()
        _check_drawing(num, truncation)
        use = getattr(self.system, "attention", None)
        if use is None:
            raise UserError(f"{type(self.system).__name__} has no attention maps to draw")
        labels = None if label is None else self._labels(num, label)
        sampler = make_sampler(self.system, use, chunk=min(num, 16))
        state = self._standing(standing_statistics, truncation, seed)
        (images, maps), _ = sampler(state, num, labels, truncation, seed)
        return pictures.to_uint8(images), maps

    def translate(
        self,
        images: UInt8[np.ndarray, "n h w c"],
        *,
        direction: str | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> UInt8[np.ndarray, "n samples h w c"]:
        """Makes images of images, by a system that translates; [n, samples, h, w, c].

        Sample k of an image depends on the image, on k and on the seed alone. Where a system has no
        noise, all samples of an image are alike.

        Args:
            images: of any size and 1 to 4 channels; they are brought to the system's size and
                channels, the middle of them if they are of another aspect.
            direction: "AtoB" or "BtoA"; None: the system's first.
            samples: of each image.
            seed: of the noise.

        Raises:
            UserError: a system that does not translate, or not in this direction.
        """
        shape = self.translation_shape(direction)
        if samples < 1:
            raise UserError(f"asked for {samples} samples of an image: ask for at least 1")
        _check_seed(seed)
        fit = data.Fit(shape=(shape[0], shape[1], shape[2]), resize=True)
        given = np.stack([fit(image) for image in images]).astype(np.float32) / 127.5 - 1
        made = self._translator(direction or self.system.directions[0])(
            self.state,
            {"images": np.repeat(given, samples, 0)},
            np.tile(np.arange(samples), len(given)),
            seed,
        )
        return pictures.to_uint8(made).reshape(len(given), samples, *made.shape[1:])

    def translation_shape(self, direction: str | None = None) -> tuple[int, ...]:
        """Shape of what `translate` takes in a direction; None: the system's first.

        Raises:
            UserError: as `translate`.
        """
        name, known = type(self.system).__name__, self.system.directions
        if not known or self.system.input_shape is None:
            raise UserError(
                f"{name} in {self.folder} translates no images: draw some with `jaxgan sample`"
            )
        direction = direction or known[0]
        if direction not in known:
            raise UserError(f"{name} translates {' and '.join(known)} only, not {direction!r}")
        return self.system.input_shape if direction == "AtoB" else self.system.shape

    def _translator(self, direction: str) -> Callable[..., Any]:
        if direction not in self._translators:
            self._translators[direction] = make_translator(
                self.system,
                lambda view, examples, keys: self.system.translate(
                    view, examples["images"], keys, direction
                ),
            )
        return self._translators[direction]

    def _check_draws(self) -> None:
        if self.system.directions:
            raise UserError(
                f"{type(self.system).__name__} in {self.folder} makes images from images, not from "
                "latents: use `jaxgan translate`"
            )

    def mix(
        self,
        num: int = 6,
        *,
        seed: int = 0,
        other: int = 1,
        rows: int = 2,
        psi: float | None = None,
    ) -> UInt8[np.ndarray, "r c h w x"]:
        """A style-mixing table (StyleGAN, figure 3).

        The first row shows the `num` images of the seed `other`, after an empty place; the first
        column `rows` images of `seed`, three times. In between are the images of the first column
        with the other image's styles in their coarse layers, then in their middle, then in their
        fine ones: up to 4/18 of the layers, up to 8/18, and the rest.

        Raises:
            UserError: a system without styles.
        """
        _check_drawing(num, None)
        system, psi = self._styled(), 1.0 if psi is None else psi

        def styles_of(seed: int, count: int) -> np.ndarray:
            sampler = make_sampler(
                self.system, lambda view, z, y: system.styles(view, z, y, psi), chunk=count
            )
            return sampler(self.state, count, None, None, seed)[0]

        theirs, ours = styles_of(other, num), styles_of(seed, rows)
        layers = theirs.shape[1]
        cuts = [0, max(1, round(layers * 4 / 18)), max(2, round(layers * 8 / 18)), layers]
        table = []
        for begin, end in itertools.pairwise(cuts):
            for row in ours:
                mixed = np.broadcast_to(row, theirs.shape).copy()
                mixed[:, begin:end] = theirs[:, begin:end]
                table.append(np.concatenate([row[None], mixed]))
        resolution = resolution_at(self.system, self.state)

        @jax.jit
        def draw(state: State, styles: jax.Array) -> jax.Array:
            return system.synthesize(evaluation_view(self.system, state, resolution), styles)

        top = np.concatenate([theirs[:1], theirs])  # the first one's place stays empty
        images = np.stack(
            [pictures.to_uint8(jax.device_get(draw(self.state, x))) for x in (top, *table)]
        )
        images[0, 0] = 255
        return images

    def interpolate(
        self,
        frames: int = 60,
        *,
        num: int = 16,
        stops: int = 4,
        label: int | Sequence[int] | None = None,
        psi: float | None = None,
        seed: int = 0,
    ) -> UInt8[np.ndarray, "f n h w c"]:
        """Frames of `num` walks through the latents, each by `stops` of them and back to the first.

        On arcs about the origin, as Gaussian latents want it. Labels, if there are any, stay.

        Raises:
            UserError: fewer than `stops` frames, or as `sample` does.
        """
        _check_drawing(num, None)
        if frames < stops:
            raise UserError(f"a walk by {stops} latents in {frames} frames: give at least {stops}")
        if len(self.system.shape) != 3:
            raise UserError(f"{self.folder} draws points: walks are for images")
        if self.system.classes and label is None:
            label = list(np.arange(num) % self.system.classes)
        labels = None if label is None else self._labels(num, label)
        make = self.system.generate if psi is None else self._psi(psi)
        latents, _ = make_sampler(self.system, lambda view, z, y: z, chunk=num)(
            self.state, num * stops, None if labels is None else np.tile(labels, stops), None, seed
        )
        corners = latents.reshape(stops, num, -1)
        resolution = resolution_at(self.system, self.state)

        @jax.jit
        def draw(state: State, a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
            z = slerp(a, b, jnp.full(len(a), t))
            given = None if labels is None else jnp.asarray(labels)
            return make(evaluation_view(self.system, state, resolution), z, given)

        images = []
        for place in np.arange(frames) * stops / frames:
            corner = int(place)
            a, b = corners[corner], corners[(corner + 1) % stops]
            frame = draw(self.state, a, b, np.float32(place - corner))
            images.append(pictures.to_uint8(jax.device_get(frame)))
        return np.stack(images)

    def _styled(self) -> Styled:
        if not isinstance(self.system, Styled):
            raise UserError(
                f"{type(self.system).__name__} has no styles to mix or to bring nearer to their "
                "average: leave out psi and mix; truncation acts on latents"
            )
        return self.system

    def _psi(self, psi: float) -> Use:
        system = self._styled()
        if not 0 <= psi <= 2:
            raise UserError(f"psi is {psi}: it goes from 0, the average, over 1, as it is, to 2")
        return lambda view, z, y: system.synthesize(view, system.styles(view, z, y, psi))

    def _standing(self, passes: int, truncation: float | None, seed: int) -> State:
        _check_seed(seed)
        if not passes:
            return self.state
        return standing_statistics(
            self.system, self.state, passes, truncation=truncation, seed=seed
        )

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


def _drawn(
    system: System,
    sampler: Callable[..., Any],
    state: State,
    num: int,
    *,
    name: str,
    truncation: float | None = None,
    seed: int = 0,
) -> Drawn:
    """Images of a state, to score."""

    def sample(count: int, start: int) -> tuple[np.ndarray, np.ndarray | None]:
        samples, labels = sampler(state, count, None, truncation, seed, start)
        return pictures.to_uint8(samples), labels

    def generate(latents: jax.Array) -> jax.Array:
        labels = None
        if system.classes:
            labels = system.draw_labels(jax.random.key(seed), len(latents))
        return system.generate(evaluation_view(system, state, resolution), latents, labels)

    resolution = resolution_at(system, state)
    return Drawn(
        sample=sample,
        generate=generate,
        latents=lambda key, count: system.draw_latents(key, count, truncation),
        num=num,
        name=name,
        shape=shape_at(system, state),
        step=int(state.step),
        ema=bool(system.ema()),
        truncation=truncation,
        seed=seed,
    )


def _check_drawing(num: int, truncation: float | None) -> None:
    if num < 1:
        raise UserError(f"asked for {num} images: ask for at least 1")
    if truncation is not None and truncation <= 0:
        raise UserError(f"truncation is {truncation}: it must be above 0, such as 0.5")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it goes from 0 to 2^32 - 1")


def open_run(folder: str | Path, *, best: bool = False) -> Run:
    """Opens the run in a folder; `jaxgan.open` is this function.

    Args:
        folder: of the run.
        best: take the checkpoint that was evaluated best, not the newest.

    Raises:
        UserError: there is no run in the folder, or no best checkpoint.
    """
    return Run(folder, best=best)


def state_sha256(state: State) -> str:
    """A digest over every array of a State, with its name, type and shape, in order of names."""
    digest = hashlib.sha256()
    for name, value in _named_arrays(state):
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _named_arrays(state: State) -> list[tuple[str, np.ndarray]]:
    """Every array of a State on the host, in order of names."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    return [(name, np.ascontiguousarray(jax.device_get(leaf))) for name, leaf in sorted(named)]


def largest_difference(state: State, other: State) -> tuple[float, str]:
    """The largest absolute difference between arrays of two States, and which array has it.

    NaN counts as the largest of all where the other State has a number; the name is empty where
    nothing differs.

    Raises:
        UserError: the States are not of one system.
    """
    ours, theirs = (dict(_named_arrays(each)) for each in (state, other))
    if {n: x.shape for n, x in ours.items()} != {n: x.shape for n, x in theirs.items()}:
        raise UserError("the runs hold arrays of other names or shapes: compare runs of one system")
    largest, where = 0.0, ""
    for name, value in ours.items():
        mine, its = (np.asarray(x, np.float64) for x in (value, theirs[name]))
        apart = np.where(np.isnan(mine) & np.isnan(its), 0.0, np.abs(mine - its))
        most = float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
        if most > largest:
            largest, where = most, name
    return largest, where


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
    folder, console = Path(folder), console or Console(file=sys.stderr)
    console = console if is_first() else Console(quiet=True)
    resumed, mesh, source, judge, settings = together(lambda: _prepare(experiment, folder, console))
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
                f"{folder}: resuming at step {int(state.step)}", highlight=False, soft_wrap=True
            )
        else:
            state = init(experiment.system, experiment.seed, mesh=mesh)
        start = int(state.step)
        if judge:
            judge.resume(start)
        moments = iterate(
            experiment.system,
            state,
            lambda number: stage_batches(experiment, source, number, part(mesh)),
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
) -> tuple[bool, jax.sharding.Mesh, data.Source, Judge | None, dict[str, str]]:
    """Checks all that a user can get wrong.

    Returns whether to resume, the mesh, the data, who scores, and the files that describe the run,
    by name.
    """
    mesh = make_mesh(experiment.mesh.data, experiment.mesh.fsdp)
    mine = part(mesh)
    stages = experiment.system.stages()
    for stage in stages:
        check_batch(_batch(experiment, stage), experiment.micro, mesh)
    _check_own_batches(experiment, stages)
    _check_buildable(experiment.system)
    resumed = _check_folder(experiment, folder)
    source = data.open_source(experiment.data.source)
    report = _scan(experiment, source)
    for number in range(len(stages)):
        stage_batches(experiment, source, number, mine)
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
    console.print(report.text(), highlight=False, soft_wrap=True)
    settings = {
        "config.json": to_json(experiment),
        "data.json": json.dumps({"fingerprint": fingerprint}),
    }
    return resumed, mesh, source, judge, settings


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
                images = _drawn(
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
    # All grids of a run that grows are of one size, on which pixels show the resolution.
    factor = system.shape[0] // samples.shape[1]
    samples = samples.repeat(factor, 1).repeat(factor, 2)
    return pictures.grid(pictures.to_uint8(samples), columns)
