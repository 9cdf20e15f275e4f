"""Training an experiment in its folder: checks, resuming, and what happens between iterations.

What a run's folder holds stands in jaxgan/README.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console

from jaxgan import data, pictures
from jaxgan.bucket import Staged, as_path
from jaxgan.code import Code
from jaxgan.config import OWN, Checkpoint, Experiment, Mesh, differences, from_json, parse, to_json
from jaxgan.console import Plain, line
from jaxgan.errors import Unwritten, UserError, keeping
from jaxgan.fields import Label, Resolution
from jaxgan.metrics.evaluate import find
from jaxgan.metrics.evaluator import Evaluator
from jaxgan.parallel.distributed import (
    Alarm,
    LastWords,
    Stopped,
    StopSignals,
    agree,
    is_first,
    part,
    together,
)
from jaxgan.parallel.mesh import check_batch, make_mesh
from jaxgan.ranges import Count, Ranged
from jaxgan.run import folder as files
from jaxgan.run.batches import batch_of, shapes_of, stage_feed, table
from jaxgan.run.code import Kept, note, of_experiment, resume, same_system
from jaxgan.run.open import Run
from jaxgan.run.scored import images_of, of_sentences, real_images, scored
from jaxgan.state import State
from jaxgan.system import Stage, System, data_fields, given_by, stages_of, taken_by, use_of
from jaxgan.training.apply import apply, resolution_at
from jaxgan.training.checkpoint import Checkpoints, Diverged, saved_steps
from jaxgan.training.debug import debugged_step
from jaxgan.training.frozen import check_frozen
from jaxgan.training.loop import Moment, iterate, spans
from jaxgan.training.report import Report, Watch
from jaxgan.training.show import moving, picture, shown_use, visible
from jaxgan.training.step import drawn, init, make_step, state_shapes, with_pretrained
from jaxgan.training.trackers import TRACKERS, named
from jaxgan.training.transfer import Classes, transfer

Hook = Callable[[Moment, bool], None]
"""What is called after an iteration, with whether it is the last one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look(Ranged):
    """How closely training is looked at; what it learns is the same.

    Attributes:
        debug: look at all numbers of every step, on one device: the first step's parameters and
            gradients are shown, and what is not finite is traced to its operation.
        eager: run operation by operation, without jit, so that `print` and `breakpoint()` in a
            system's code see numbers; looks at all of them, too.
        profile: iterations whose profile is kept in the run's folder for TensorBoard, from the
            fourth on; 0: none.
    """

    debug: bool = False
    eager: bool = False
    profile: Count = 0

    @property
    def closely(self) -> bool:
        """Whether all numbers are looked at."""
        return self.debug or self.eager


_SILENT = Plain(quiet=True)


def train(
    experiment: Experiment,
    folder: str | Path,
    *,
    console: Console | None = None,
    look: Look = Look(),  # frozen
    code: Code | None = None,
    accept_code: bool = False,
    trust_code: bool = False,
) -> Run:
    """Trains to `experiment.steps`, from the newest checkpoint if the folder holds this run.

    Everything that can be wrong with what the user gave is found before the first file is written.
    Among many processes (`jaxgan.parallel.distributed`) all of them call this; the first one writes
    and prints, all save, and an error or a signal at one of them ends all.

    Args:
        experiment: what to train.
        folder: where the run is, or will be; the same for all processes.
        console: where progress is shown; standard error by default.
        look: how closely it is looked at.
        code: of its config file; the run keeps it, where the system or the data are made there.
        accept_code: go on with code that has changed since the run was trained, and record it.
        trust_code: of the run that `init` names, as `jaxgan.open` takes it.

    Raises:
        UserError: the experiment, its data or the folder cannot be used.
        Stopped: SIGTERM or Ctrl-C came; the State was saved.
        Diverged: a metric is not finite, or says that training has failed (`System.failed`); the
            last good checkpoint is kept.
        Unwritten: a disk is full, or the like; what could be saved is.
    """
    folder = as_path(folder)
    staged = Staged(folder, keeps=is_first())
    console = (console or Plain(file=sys.stderr)) if is_first() else _SILENT
    if look.closely:
        experiment = _alone(experiment)
    own = _Own(code, accept_code, trust_code)
    ready, lock = _taken(experiment, folder, own, staged.here)

    with (
        lock,
        staged,
        LastWords(folder / files.CHECKPOINTS, unless=(UserError, Stopped, Diverged, Unwritten)),
        # Around what waits for the last save: Ctrl-C then comes too late to cost it.
        StopSignals(_end(experiment)) as stop,
        Checkpoints(folder / files.CHECKPOINTS, keep=experiment.checkpoint.keep) as checkpoints,
        Checkpoints(folder / files.BEST, keep=1)
        if ready.evaluator
        else contextlib.nullcontext() as best,
    ):
        state = _begin(experiment, folder, ready, checkpoints, console)
        start = int(state.step)
        if ready.evaluator:
            ready.evaluator.resume(start)
        with (
            _watch(experiment, staged.here, ready, start, console) as report,
            contextlib.closing(
                _moments(experiment, state, ready, look, console, report.doing)
            ) as moments,
        ):
            hooks = _hooks(experiment, folder, ready, report, (checkpoints, best))
            if look.profile:
                hooks.append(_Profile(staged.here, start, look.profile, console))
            hooks.append(lambda moment, last: staged.keep(now=last))
            _follow(experiment, moments, report, hooks, stop)
    return Run(folder, find=lambda _: type(experiment.system))


def _moments(
    experiment: Experiment,
    state: State,
    ready: _Ready,
    look: Look,
    console: Console,
    tell: Callable[[str], None],
) -> Generator[Moment, None, None]:
    """The iterations, from a State on; `tell` takes what they wait for."""
    looked = functools.partial(
        debugged_step, experiment.system, eager=look.eager, tell=console.print
    )
    return iterate(
        experiment.system,
        state,
        ready.feeds.__getitem__,
        steps=experiment.steps,
        seed=experiment.seed,
        micro=experiment.micro,
        mesh=ready.mesh,
        augment=experiment.augment,
        freeze=experiment.freeze,
        step_of=looked if look.closely else None,
        tell=tell,
    )


def _taken(
    experiment: Experiment, folder: Path, own: _Own, here: Path
) -> tuple[_Ready, contextlib.AbstractContextManager]:
    """What training needs, and the folder, which is this run's from now on; all agree on both."""
    agree({"--out": str(folder), **json.loads(to_json(experiment))})
    ready = together(lambda: _prepare(experiment, folder, own, here))
    agree(ready.settings)
    lock = together(
        lambda: files.take(folder, ready.settings) if is_first() else contextlib.nullcontext()
    )
    together(lambda: files.wait_for(folder, ready.settings))
    return ready, lock


def _watch(
    experiment: Experiment, folder: Path, ready: _Ready, start: int, console: Console
) -> Watch:
    """Who reports: the first process."""
    if not is_first():
        return Watch()
    settings = json.loads(ready.settings[files.CONFIG])
    trackers = [TRACKERS[name](folder, start, settings) for name in named(experiment.log.to)]
    return Report(folder, start=start, steps=_end(experiment), console=console, trackers=trackers)


def _hooks(
    experiment: Experiment,
    folder: Path,
    ready: _Ready,
    report: Watch,
    kept: tuple[Checkpoints, Checkpoints | None],
) -> list[Hook]:
    """What happens after every iteration, in turn."""
    hooks: list[Hook] = [
        _Log(experiment.system, report, experiment.log.every),
        # Before pictures: a use that fails must not cost what was trained.
        _Saves(folder, ready, report, kept[0], experiment.checkpoint),
        *([_Pictures(experiment, ready, report)] if ready.shown else []),
    ]
    if ready.evaluator:
        captions = ready.table if of_sentences(experiment.system) else None
        hooks.append(_Scores(experiment, folder, ready.evaluator, report, kept[1], captions))
    return hooks


def _follow(
    experiment: Experiment,
    moments: Iterable[Moment],
    report: Watch,
    hooks: Sequence[Hook],
    stop: StopSignals,
) -> None:
    """Goes along with the iterations; after each, every hook is called in turn."""
    end = _end(experiment)
    for moment in moments:
        report.record(moment, batch_of(experiment, moment.stage) * moment.stage.draws)
        # Read once: a signal that comes while this step is written takes effect after the next.
        stopping = stop.at(moment.step)
        last = moment.step == end or stopping is not None
        failed = None
        for hook in hooks:
            try:
                hook(moment, last)
            except Unwritten as error:
                failed = failed or error
        if failed is not None:
            # What else is written may still be: a checkpoint first of all.
            for hook in hooks:
                if isinstance(hook, _Saves):
                    hook(moment, True)
            raise failed
        if stopping is not None and moment.step < end:
            raise Stopped(stopping, moment.step)


# --- hooks


class _Log:
    """Writes rows of metrics, the first after the first iteration, and ends what has failed."""

    def __init__(self, system: System, report: Watch, every: int):
        self._system, self._report, self._every, self._seen = system, report, every, False

    def __call__(self, moment: Moment, last: bool) -> None:
        if last or moment.step % self._every == 0 or not self._seen:
            latest = self._report.log(moment)
            if said := self._system.failed(moment.step, latest):
                raise Diverged(f"step {moment.step}: {said}")
        self._seen = True


class _Pictures:
    """Draws what one of the system's uses makes: the same examples all the time."""

    def __init__(self, experiment: Experiment, ready: _Ready, report: Watch):
        assert ready.shown is not None
        self._system, self._name, self._report = experiment.system, ready.shown, report
        self._every, self._count = experiment.log.samples, experiment.log.grid
        self._table, self._feeds, self._first = ready.table, ready.feeds, not ready.resumed

    def __call__(self, moment: Moment, last: bool) -> None:
        if last or moment.step % self._every == 0:
            shown, frames = self._picture(moment.state)
            if self._first:  # so that crops, flips and transparency are seen as networks see them
                shown = pictures.beside(self._batch(moment), shown)
            self._first = False
            self._report.picture(moment.step, shown)
            if frames is not None:
                self._report.film(moment.step, frames)

    def _batch(self, moment: Moment) -> Image.Image:
        """Real items of this iteration's batch."""
        fields = data_fields(self._system, moment.stage.resolution)
        seen = sum(visible({name: field}) for name, field in fields.items())
        rows = self._count if seen == 1 else max(1, self._count // 8)
        items = {
            name: x.reshape(-1, *fields[name].shape)[:rows]
            for name, x in self._feeds[moment.number][moment.step - 1].items()
        }
        return picture({}, fields, {}, items)

    def _picture(self, state: State) -> tuple[Image.Image, UInt8[np.ndarray, "t n h w c"] | None]:
        system = self._system
        name, use = self._name, use_of(system, self._name)
        resolution = resolution_at(system, state)
        takes, gives = taken_by(system, use, None, resolution), given_by(use, None, resolution)
        fields = {n: taken.field for n, taken in takes.items()}
        seen = any(field.visible for field in fields.values()) or len(gives) > 1
        rows = max(1, self._count // 8) if seen else self._count
        given, columns = {}, None
        origins = {n: taken.origin for n, taken in takes.items() if taken.origin}
        shown = self._table(resolution) if origins else None

        def spread(column: str) -> np.ndarray:
            """Items from all over the data, neither mirrored nor cut at random."""
            assert shown is not None
            return shown.items(column, np.linspace(0, shown.count(column) - 1, rows).astype(int))

        for n, origin in origins.items():
            given[n] = spread(origin)
        for n, field in fields.items():
            if isinstance(field, Label) and n not in given:
                given[n] = np.arange(rows) % field.classes
                columns = field.classes if field.classes <= 16 else None
        applied = apply(system, state, name, given, numbers=rows, chunk=rows)
        group = {n for each in system.data() if set(origins.values()) & set(each) for n in each}
        targets = {n: spread(n) for n in gives if n in group}
        final = next(iter(given_by(use).values())).extent
        image = picture(
            fields,
            gives,
            applied.taken,
            applied.made,
            targets=targets,
            columns=columns,
            whole=final,
        )
        return image, moving(gives, applied.made)


class _Profile:
    """Keeps a profile of some iterations, after those that compile and warm up."""

    _WARM_UPS = 3

    def __init__(self, folder: Path, start: int, count: int, console: Console):
        self._folder, self._console = folder, console
        self._begin, self._end = start + self._WARM_UPS, start + self._WARM_UPS + count

    def __call__(self, moment: Moment, last: bool) -> None:
        if moment.step == self._begin and not last:
            jax.block_until_ready(moment.state)
            jax.profiler.start_trace(str(self._folder))
        elif self._begin < moment.step <= self._end and (last or moment.step == self._end):
            jax.block_until_ready(moment.state)
            jax.profiler.stop_trace()
            line(
                self._console,
                f"profile of steps {self._begin + 1} to {moment.step}: tensorboard --logdir "
                f"{self._folder} (pip install tensorboard-plugin-profile)",
            )


class _Saves:
    """Keeps checkpoints, of States whose metrics are finite."""

    def __init__(
        self, folder: Path, ready: _Ready, report: Watch, checkpoints: Checkpoints, when: Checkpoint
    ):
        self._folder, self._settings = folder, ready.settings
        self._report, self._checkpoints, self._every = report, checkpoints, when.every
        self._alarm = Alarm(when.minutes)

    def __call__(self, moment: Moment, last: bool) -> None:
        self._checkpoints.check()
        rings = self._alarm.at(moment.step)
        if last or rings or moment.step % self._every == 0:
            self._report.check()
            self._checkpoints.save(moment.state)
            self._alarm.reset()
            self._stay()

    def _stay(self) -> None:
        """Refuses to go on where the run was moved away, and leaves what is saved resumable."""
        if is_first() and not files.is_run(self._folder):
            with keeping(self._folder):
                files.describe(self._folder, self._settings)
            raise Unwritten(f"{self._folder} was moved away or emptied while it was trained")


class _Scores:
    """Scores what is drawn against the data, and keeps the best State."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        evaluator: Evaluator,
        report: Watch,
        best: Checkpoints | None,
        captions: TableAt | None,
    ):
        self._experiment, self._folder = experiment, folder
        self._evaluator, self._report, self._best = evaluator, report, best
        self._captions = captions

    def __call__(self, moment: Moment, last: bool) -> None:
        experiment = self._experiment
        end = moment.step == _end(experiment)
        if not end and moment.step % experiment.evaluate.every:
            return
        self._report.check()
        resolution = resolution_at(experiment.system, moment.state)
        images = images_of(
            experiment.system,
            moment.state,
            experiment.evaluate.num,
            name=str(self._folder),
            about=files.read_data(self._folder).get("fields", {}),
            captions=self._captions(resolution) if self._captions else None,
        )
        records, is_best = self._evaluator(images)
        self._report.scores(moment.step, {record.label: record.value for record in records})
        if is_best and self._best:
            self._best.save(moment.state)


# --- before the first iteration

TableAt = Callable[[Resolution | None], data.Batches]
"""The data whose items are shown, at a stage's resolution."""


@dataclasses.dataclass(frozen=True)
class _Own:
    """The config's code, whether it may have changed, and whether that of `init` is trusted."""

    code: Code | None
    accept: bool
    trust: bool


@dataclasses.dataclass(frozen=True)
class _Ready:
    """What training needs, checked.

    Attributes:
        resumed: whether the folder holds a State of this experiment.
        text: what the data are, in a line a column.
        lender: the run that lends its State at the start; None: there is none, or it has.
        classes: of each label, here and in that run.
        mesh: devices.
        feeds: this process's batches of each stage.
        table: data to show.
        shown: the use that pictures are of; None: there are none.
        evaluator: who scores; None: nobody.
        settings: the files that describe the run, by name.
    """

    resumed: bool
    text: str
    lender: Run | None
    classes: dict[str, Classes]
    mesh: jax.sharding.Mesh
    feeds: list[Any]
    table: TableAt
    shown: str | None
    evaluator: Evaluator | None
    settings: dict[str, str | bytes]


def _prepare(experiment: Experiment, folder: Path, own: _Own, here: Path) -> _Ready:
    """Checks all that a user can get wrong; `here` is where scores are kept."""
    mesh = make_mesh(experiment.mesh.data, experiment.mesh.fsdp)
    shapes = _built(experiment.system)
    check_frozen(experiment.freeze, shapes.params)
    stages = stages_of(experiment.system)
    for stage in stages:
        check_batch(batch_of(experiment, stage), experiment.micro, mesh)
    _check_own_batches(experiment, stages)
    named(experiment.log.to)
    find(experiment.evaluate.metrics)  # kept in the run, though perhaps not used before it resumes
    if experiment.augment:  # a system whose losses augment nothing is found when they are traced
        step = make_step(experiment.system, micro=experiment.micro, augment=experiment.augment)
        jax.eval_shape(step, shapes, shapes_of(experiment, stages[0]))
    _check_kept(experiment)
    kept, code = of_experiment(experiment, own.code)
    resumed, kept, lines = _resumes(experiment, folder, kept, accept=own.accept)
    files.check_places(folder)
    files.check_room(folder, _size(dataclasses.replace(shapes, pretrained={})))
    settings = experiment.data
    source = data.as_source(settings.source, settings.reading)
    groups = experiment.system.data()
    if isinstance(source, data.Stepwise):
        text, fingerprint, about = f"{settings.name}: batches of one's own, not looked at", "", {}
    else:
        framing, renames = settings.framing, settings.renames
        text = data.scan(source, groups, framing=framing, columns=renames).text()
        fingerprint = data.fingerprint(source)
        about = data.about(source, groups, renames)
    feeds = [stage_feed(experiment, source, number, part(mesh)) for number in range(len(stages))]
    evaluator = _evaluator(experiment, here, source, mesh) if experiment.evaluate.every else None
    if resumed:
        former = files.read_data(folder)
        if not former and max(saved_steps(folder / files.CHECKPOINTS), default=0) > 0:
            lines.append(f"{folder} has no {files.DATA}: its data may be others than it began with")
        _check_same_data(folder, former, fingerprint)
        _check_same_weights(folder, former, experiment.system)
        _check_same_encoders(folder, former, about)
    if is_first() and (reason := note(experiment, code)):
        lines.append(
            f"{folder}: --trust-code will be needed, for its code cannot be noted ({reason})"
        )
    init = experiment.init
    lender = None if resumed or init is None else _lender(init, own.trust)
    published = {name: each.sha256 for name, each in experiment.system.pretrained().items()}
    facts = {"fingerprint": fingerprint, "fields": about, "pretrained": published}
    settings_files: dict[str, str | bytes] = {
        **({f"{OWN}/{name}": text for name, text in code.files.items()} if code else {}),
        files.CODE: kept.to_json(),
        files.CONFIG: to_json(experiment),
        files.DATA: json.dumps(facts, indent=1) + "\n",
    }
    if skipped := data.skipped_of(source):
        settings_files[files.SKIPPED] = "".join(f"{line}\n" for line in skipped)
    return _Ready(
        resumed,
        "\n".join([*lines, text]),
        lender,
        {} if lender is None else _classes(lender, about, fingerprint),
        mesh,
        feeds,
        # A picture shows the same items each time: a set in memory is fitted once a resolution.
        functools.cache(functools.partial(table, experiment, source)),
        shown_use(experiment.system, data=not isinstance(source, data.Stepwise)),
        evaluator,
        settings_files,
    )


def _alone(experiment: Experiment) -> Experiment:
    """The experiment on one device."""
    if jax.process_count() > 1:
        raise UserError("--debug looks at one process: leave out the others")
    return dataclasses.replace(experiment, mesh=Mesh(data=1, fsdp=1))


def _begin(
    experiment: Experiment, folder: Path, ready: _Ready, checkpoints: Checkpoints, console: Console
) -> State:
    """The State that training goes on with, or begins with; says which, before all else."""
    system, mesh = experiment.system, ready.mesh

    def say(*lines: str) -> None:
        for each in (*lines, ready.text):
            line(console, each)

    if ready.resumed and checkpoints.latest is not None:
        state = checkpoints.restore(state_shapes(system, mesh))
        say(f"{folder}: resuming at step {int(state.step)}")
        # Of an imported run, whose files did not hold all networks.
        state = drawn(system, state, experiment.seed, mesh=mesh)
        return with_pretrained(system, state, mesh)
    if ready.lender is None:
        say(f"{folder}: from scratch (--init RUN would begin with a run's weights)")
        if is_first():
            (folder / files.INIT).unlink(missing_ok=True)  # of a start that came to nothing
        return init(system, experiment.seed, mesh=mesh)
    with Checkpoints(ready.lender.folder / files.CHECKPOINTS) as reader:
        lent = reader.restore(state_shapes(ready.lender.system, mesh))
    step = int(lent.step)
    try:
        begun = transfer(system, init(system, experiment.seed, mesh=mesh), lent, ready.classes)
    except UserError as error:
        raise UserError(f"--init {experiment.init}: {error}: choose another run") from error
    say(
        f"{folder}: from {experiment.init} at step {step}: {begun.taken} of {begun.of} arrays; "
        "optimisers start anew",
        *(f"not taken: {line}" for line in _shortened(begun.left, f"see {folder / files.INIT}")),
    )
    if is_first():
        facts = {"run": experiment.init, "step": step, "taken": begun.taken, "left": begun.left}
        with keeping(folder / files.INIT):
            files.write_whole(folder / files.INIT, json.dumps(facts, indent=1) + "\n")
    return begun.state


def _size(shapes: State) -> int:
    """Bytes of a State."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def _lender(name: str, trust: bool) -> Run:
    """The run that another one begins with.

    Raises:
        UserError: it is none, or has no checkpoint.
    """
    try:
        run = Run(name, trust_code=trust)
    except UserError as error:
        raise UserError(f"--init: {error}") from error
    if not saved_steps(run.folder / files.CHECKPOINTS):
        raise UserError(f"--init: {name} holds no checkpoint: train it first")
    return run


def _classes(lender: Run, about: Mapping[str, Any], fingerprint: str) -> dict[str, Classes]:
    """Names of classes here and in the run that lends, by the label's name."""
    theirs = files.read_data(lender.folder)
    alike = bool(fingerprint) and theirs.get("fingerprint") == fingerprint
    return {
        name: Classes(
            here=tuple(known.get("names", ())),
            there=tuple(theirs.get("fields", {}).get(name, {}).get("names", ())),
            alike=alike,
        )
        for name, known in about.items()
    }


def _shortened(lines: Sequence[str], rest: str, most: int = 20) -> list[str]:
    """The first lines, and how many more there are."""
    more = [f"{len(lines) - most} more; {rest}"] if len(lines) > most else []
    return [*lines[:most], *more]


def _evaluator(
    experiment: Experiment,
    folder: Path,
    source: data.Source | data.Stepwise,
    mesh: jax.sharding.Mesh,
) -> Evaluator:
    """Who scores what is drawn against the data."""
    if isinstance(source, data.Stepwise):
        raise UserError("--evaluate.every: batches of one's own have no images to score against")
    system = experiment.system
    uses = system.uses()
    if "generate" not in uses:
        raise UserError(
            f"--evaluate.every: {type(system).__name__} draws no images of its own (it has "
            f"{', '.join(uses)}) and is not scored while it trains: leave it out"
        )
    shape, classes = scored(system, captions=True)
    return Evaluator(
        folder,
        functools.partial(real_images, experiment, source),
        experiment.evaluate.metrics,
        extractor=experiment.evaluate.extractor,
        shape=shape,
        classes=classes,
        mesh=mesh,
    )


def _resumes(
    experiment: Experiment, folder: Path, kept: Kept, *, accept: bool
) -> tuple[bool, Kept, list[str]]:
    """Whether the folder holds a State of this very experiment; refuses what it must not touch.

    Also what is to be kept of its code, and what is to be told of that.
    """
    config = folder / files.CONFIG
    if not config.is_file():
        files.refuse_unusable(folder)
        return False, kept, []
    saved = saved_steps(folder / files.CHECKPOINTS)
    if not saved:  # it failed before it had trained
        return False, kept, []
    name = files.naming(config, parse)["system"]["type"]
    if not same_system(name, experiment.system):
        raise UserError(
            f"{folder} holds a run of {name.rpartition(':')[2]}, not of "
            f"{type(experiment.system).__name__}: choose another --out"
        )
    kept, lines = resume(folder, kept, step=max(saved), accept=accept)
    # Other code may have other settings; the run's class is not asked, which would run its code.
    kind = type(experiment.system)
    known = {field.name for field in dataclasses.fields(kind)} if accept else None
    former = files.naming(config, lambda text: from_json(text, lambda _: kind, known=known))
    # What was imported has seen no data yet: it goes on with any.
    changed = list(differences(experiment, former))
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
    return True, kept, lines


def _check_kept(experiment: Experiment) -> None:
    """Refuses settings that could not be read back from the run."""
    kind = type(experiment.system)
    try:
        from_json(to_json(experiment), lambda _: kind)
    except UserError as error:
        reason = str(error).removeprefix("config: ")
        raise UserError(f"the config cannot be kept in a run: {reason}") from error


def _check_own_batches(experiment: Experiment, stages: Sequence[Stage]) -> None:
    """Refuses a batch that no stage would take, because each has its own."""
    if all(stage.batch for stage in stages) and experiment.batch != stages[-1].batch:
        raise UserError(
            f"--batch is {experiment.batch}, but {type(experiment.system).__name__} has a batch "
            f"for every stage, {stages[-1].batch} in the last: change those, and give that one"
        )


def _built(system: System) -> State:
    """Shapes of a system's State; refuses settings that no network, or no memory, can have.

    A system of the user's own shows its traceback.
    """
    try:
        shapes = state_shapes(system)
    except (ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, UserError) or not type(system).__module__.startswith("jaxgan."):
            raise
        raise UserError(
            f"{type(system).__name__} cannot be built with these settings: {error}"
        ) from error
    size = _size(shapes)
    # XLA waits for ever for memory that a CPU's machine does not have.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory and jax.default_backend() == "cpu":
        raise UserError(
            f"{type(system).__name__} with these settings has {size / 1e9:,.0f} GB of weights, "
            f"averages and optimisers, this machine {memory / 1e9:,.0f} GB of memory: give smaller "
            "sizes"
        )
    return shapes


def _check_same_weights(folder: Path, former: dict[str, Any], system: System) -> None:
    """Refuses to resume with other published weights than the run began with."""
    known = former.get("pretrained", {})
    for name, each in system.pretrained().items():
        if known.get(name, each.sha256) != each.sha256:
            raise UserError(
                f"{folder} was trained with weights of {name} of sha256 {known[name][:12]}, these "
                f"are {each.sha256[:12]}: restore them, or choose another --out"
            )


def _check_same_encoders(folder: Path, former: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Refuses to resume with sentences encoded otherwise than the run began with."""
    for name, each in former.get("fields", {}).items():
        before, now = each.get("encoder"), about.get(name, {}).get("encoder")
        if before and name in about and before != now:
            raise UserError(
                f"{folder} was trained with {name} encoded by {before}, this is "
                f"{now or 'another encoder'}: restore that one, or choose another --out"
            )


def _check_same_data(folder: Path, former: dict[str, Any], fingerprint: str) -> None:
    """Refuses to resume on data that has changed: the same steps would see other images."""
    known = former.get("fingerprint", "")
    if former and known != fingerprint:
        if fingerprint and data.by_names(known):
            raise UserError(
                f"{folder} was started by a version that identified data by names and sizes, which "
                "do not say whether these are the same: if you know that they are, remove its "
                f"{files.DATA} and start again"
            )
        raise UserError(
            f"the data has changed since {folder} was started: restore it, or choose another --out"
        )


# --- stages


def _end(experiment: Experiment) -> int:
    """Iterations of the run; fewer than it asks for if the stages have fewer."""
    return spans(stages_of(experiment.system), experiment.steps)[-1][2]
