"""How fast a config is here: its training step on random data, and what delivers its images."""

import itertools
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import data
from jaxgan.backend import return_freed_memory
from jaxgan.config import Experiment
from jaxgan.data.costs import costs
from jaxgan.errors import UserError
from jaxgan.parallel.distributed import part
from jaxgan.parallel.hardware import chip_of
from jaxgan.parallel.hlo import Program, flops_and_share
from jaxgan.parallel.mesh import batch_sharding, check_batch, make_mesh
from jaxgan.run.batches import batch_of, stage_feed
from jaxgan.system import Examples, Stage, data_fields, stages_of
from jaxgan.training.loop import to_devices
from jaxgan.training.step import init, make_step

WARM_UPS = 2
"""Steps, or batches, that are taken before the clock starts."""

SECONDS = 3.0
"""For how long input is timed."""

_TRACED = 3


class Stepper:
    """The step that `train` runs, compiled, with a State and random data on the devices.

    Attributes:
        facts: what is known before a step is timed.
        images: real images that a step consumes.
    """

    def __init__(self, name: str, experiment: Experiment, stage: int | None = None):
        """Makes the State, and compiles.

        Args:
            name: what the facts call it.
            experiment: what to train; its data are not opened.
            stage: which of the system's stages, from 0; None: the last.

        Raises:
            UserError: no such stage, or a batch that the devices cannot share.
        """
        system = experiment.system
        index, rules = _stage(experiment, stage)
        batch = batch_of(experiment, rules)
        mesh = make_mesh(experiment.mesh.data, experiment.mesh.fsdp)
        check_batch(batch, experiment.micro, mesh)
        self.images = batch * rules.draws
        self._batch = _random_batch(experiment, index, mesh)
        self._state = init(system, experiment.seed, mesh=mesh)
        step: Any = make_step(
            system,
            rules,
            seed=experiment.seed,
            micro=experiment.micro,
            mesh=mesh,
            augment=experiment.augment,
            freeze=experiment.freeze,
        )
        lowered, seconds, cached = self._compile(step)
        flops, _ = flops_and_share(
            Program(self._compiled.as_text()), self._compiled, lowered, mesh.size
        )
        memory = self._compiled.memory_analysis()
        self._devices = list(mesh.local_devices)
        chip = chip_of(self._devices[0])
        self.facts: dict[str, Any] = {
            "config": name,
            "system": type(system).__name__,
            "dtype": system.dtype,
            "data": {
                name: field.text() for name, field in data_fields(system, rules.resolution).items()
            },
            "stage": index,
            "batch": batch,
            "draws": rules.draws,
            "micro": experiment.micro,
            "device": self._devices[0].device_kind,
            "devices": mesh.size,
            "compile_seconds": seconds,
            "compile_cached": cached,
            "flops_per_step": flops * mesh.size,
            "peak_flops_per_second": None if chip is None else chip.flops * mesh.size,
            "program_memory_bytes": None
            if memory is None
            else memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes,
        }

    def _compile(self, step: Any) -> tuple[Any, float, bool]:
        """The lowered step, seconds to compile it, and whether it came from the cache."""
        hits: list[str] = []

        def note(event: str, **_: Any) -> None:
            if event == "/jax/compilation_cache/cache_hits":
                hits.append(event)

        jax.monitoring.register_event_listener(note)
        try:
            begin = time.perf_counter()
            lowered = step.lower(self._state, self._batch)
            self._compiled = lowered.compile()
            seconds = time.perf_counter() - begin
        finally:
            jax.monitoring.unregister_event_listener(note)
        return_freed_memory()
        return lowered, seconds, bool(hits)

    def __call__(self) -> float:
        """Takes a step; seconds until its results are there."""
        begin = time.perf_counter()
        with jax.transfer_guard("disallow"):
            self._state, metrics = self._compiled(self._state, self._batch)
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - begin

    def peak_memory(self) -> int | None:
        """Bytes at most in use on a device so far; for CPUs, of this process."""
        stats = [device.memory_stats() for device in self._devices]
        if all(s and "peak_bytes_in_use" in s for s in stats):
            return max(s["peak_bytes_in_use"] for s in stats)
        status = Path("/proc/self/status")
        if not status.exists():
            return None
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024


def bench(
    experiments: dict[str, Experiment],
    *,
    steps: int = 10,
    stage: int | None = None,
    trace: Path | None = None,
) -> list[dict[str, Any]]:
    """Times training steps; of several experiments interleaved, so that noise affects all alike.

    Each step is waited for, so what `train` overlaps (it does not wait) is not overlapped here.

    Args:
        experiments: by what the results call them.
        steps: timed, of each.
        stage: which of the systems' stages, from 0; None: the last.
        trace: folder for a profile of a few steps, for TensorBoard or Perfetto; None: none.

    Returns:
        For each: `config`, `system`, `dtype`, `data` (fields), `stage`, `batch` (images a draw),
        `draws`, `micro`, `device`, `devices`; `compile_seconds` (tracing, lowering and compiling)
        and whether that was `compile_cached` on disk; `steps` and `step_ms` (`median`, `min`,
        `max`); `images_per_second` (batch x draws / median); `flops_per_step` over all devices, in
        which every player moves, `flops_per_second`, `peak_flops_per_second`, `utilization`;
        `program_memory_bytes` a device, by the compiler; `peak_memory_bytes`, measured (see
        `Stepper.peak_memory`), of one experiment alone; `vs`, for each other one: `ratio` of the
        medians, own by other's, and `min` and `max` of the ratio in a turn. None: unknown.

    Raises:
        UserError: as `Stepper`; `steps` below 1; `trace` cannot be written.
    """
    if steps < 1:
        raise UserError(f"--steps is {steps}: it must be at least 1")
    if trace is not None:
        try:
            trace.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--trace is {trace}: it cannot be made: {error.strerror}") from error
    steppers = [Stepper(name, each, stage) for name, each in experiments.items()]
    for stepper in steppers:
        for _ in range(WARM_UPS):
            stepper()
    times: list[list[float]] = [[] for _ in steppers]
    for turn in range(steps):
        order = range(len(steppers)) if turn % 2 == 0 else reversed(range(len(steppers)))
        for index in order:
            times[index].append(steppers[index]())
    if trace is not None:
        with jax.profiler.trace(trace):
            for number, stepper in itertools.product(range(_TRACED), steppers):
                with jax.profiler.StepTraceAnnotation(stepper.facts["config"], step_num=number):
                    stepper()
    results = [_result(stepper, taken) for stepper, taken in zip(steppers, times, strict=True)]
    if len(steppers) == 1:
        results[0]["peak_memory_bytes"] = steppers[0].peak_memory()
    for one, other in itertools.permutations(range(len(results)), 2):
        ratios = [a / b for a, b in zip(times[one], times[other], strict=True)]
        results[one]["vs"][results[other]["config"]] = {
            "ratio": results[one]["step_ms"]["median"] / results[other]["step_ms"]["median"],
            "min": min(ratios),
            "max": max(ratios),
        }
    return results


def _result(stepper: Stepper, times: Sequence[float]) -> dict[str, Any]:
    facts, median = stepper.facts, statistics.median(times)
    flops, peak = facts["flops_per_step"], facts["peak_flops_per_second"]
    achieved = flops / median
    return {
        **facts,
        "steps": len(times),
        "step_ms": {"median": 1e3 * median, "min": 1e3 * min(times), "max": 1e3 * max(times)},
        "images_per_second": stepper.images / median,
        "flops_per_second": achieved,
        "utilization": None if peak is None else achieved / peak,
        "peak_memory_bytes": None,
        "vs": {},
    }


def bench_input(
    experiment: Experiment, *, stage: int | None = None, seconds: float | None = None
) -> dict[str, Any]:
    """Times the delivery of an experiment's images to the devices, with nothing else going on.

    They come as `train` gets them: read, decoded, cropped, resized and flipped by the same threads
    or processes, and placed on the devices.

    Args:
        experiment: what to train.
        stage: which of the system's stages, from 0; None: the last.
        seconds: for how long, at least; None: `SECONDS`.

    Returns:
        `source`, `workers`, `batches`, `seconds`, `images_per_second`; `stages_us`, microseconds an
        image of one thread alone, to `read`, `decode`, `fit` (crop, resize), `assemble` (mirror,
        stack, convert) and `copy` (to the devices); `bottleneck`, the largest of them, and `hint`,
        what may help. None: batches of one's own, which have no such stages.

    Raises:
        UserError: the data cannot be opened, read, or used by the system.
    """
    seconds = SECONDS if seconds is None else seconds
    index, rules = _stage(experiment, stage)
    mesh = make_mesh(experiment.mesh.data, experiment.mesh.fsdp)
    batch = batch_of(experiment, rules)
    check_batch(batch, experiment.micro, mesh)
    source = data.as_source(experiment.data.source, experiment.data.reading)
    batches = stage_feed(experiment, source, index, part(mesh))
    layout = _sharding(experiment, rules, mesh)
    stream = batches.iterate()
    feed = to_devices(stream, layout)
    try:
        for _ in range(WARM_UPS):
            jax.block_until_ready(next(feed))
        begin, count, elapsed = time.perf_counter(), 0, 0.0
        while elapsed < seconds or count < WARM_UPS:
            jax.block_until_ready(next(feed))
            count += 1
            elapsed = time.perf_counter() - begin
        stream.close()  # nothing runs beside what is timed now
        stages = _stages_of_input(batches, layout)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{experiment.data.name} cannot be read: {error}") from error
    finally:
        stream.close()
    return {
        "source": experiment.data.name,
        "workers": experiment.data.workers,
        "batches": count,
        "seconds": elapsed,
        "images_per_second": count * batch * rules.draws / elapsed,
        **stages,
    }


def _stages_of_input(
    batches: data.Batches | data.Stepwise, layout: jax.sharding.NamedSharding
) -> dict[str, Any]:
    """What each stage of the way to the devices costs, which is the largest, and what may help."""
    if isinstance(batches, data.Stepwise):
        return {"stages_us": None, "bottleneck": None, "hint": None}
    begin = batches.begin
    spent = costs(batches, begin)
    batch = batches[begin]
    start = time.perf_counter()
    jax.block_until_ready(next(to_devices([batch], layout)))
    rows = batches.order.draws * batches.order.batch // batches.order.processes
    spent["copy"] = (time.perf_counter() - start) / rows
    largest = max(spent, key=lambda name: spent[name])
    name = batches.groups[0].match.source.name
    return {
        "stages_us": {name: 1e6 * seconds for name, seconds in spent.items()},
        "bottleneck": largest,
        "hint": _hint(largest, name, batches),
    }


def _hint(stage: str, name: str, batches: data.Batches) -> str:
    """What may make a stage of input faster."""
    if stage == "copy":
        return "the devices take no more: a smaller --batch, or fewer data, alone would help"
    extent = next((f.extent for group in batches.groups for f in group.fields.values()), None)
    cpus = os.cpu_count() or 1
    more = (
        f"--data.workers {cpus}" if not batches.workers and cpus > 1 else "a machine of more CPUs"
    )
    if stage == "read":
        return f"`jaxgan data pack {name} OUT` on a disk of this machine"
    if stage in ("decode", "fit") and extent is not None and extent[0] == extent[1]:
        return f"`jaxgan data pack {name} OUT --size {extent[0]}`, or {more}"
    return more


def _stage(experiment: Experiment, index: int | None) -> tuple[int, Stage]:
    stages = stages_of(experiment.system)
    index = len(stages) - 1 if index is None else index
    if not 0 <= index < len(stages):
        has = "1 stage, 0" if len(stages) == 1 else f"{len(stages)} stages, 0 to {len(stages) - 1}"
        raise UserError(f"--stage is {index}: {type(experiment.system).__name__} has {has}")
    return index, stages[index]


def _sharding(
    experiment: Experiment, stage: Stage, mesh: jax.sharding.Mesh
) -> jax.sharding.NamedSharding:
    return batch_sharding(mesh, leading=(stage.draws > 1) + (experiment.micro > 1))


def _random_batch(experiment: Experiment, number: int, mesh: jax.sharding.Mesh) -> Examples:
    """A batch of noise, as the pipeline arranges the real ones."""
    stage = stages_of(experiment.system)[number]
    lead = stage.lead(experiment.micro)
    rows = batch_of(experiment, stage) // experiment.micro // part(mesh)[1]
    rng = np.random.default_rng(0)
    batch: dict[str, np.ndarray] = {}
    for name, field in data_fields(experiment.system, stage.resolution).items():
        items = field.to_network(field.noise(rng, min(rows, 256)))  # they repeat
        shape = (*lead, rows, *items.shape[1:])
        batch[name] = np.resize(items, shape).astype(field.dtype)
    return next(to_devices([batch], _sharding(experiment, stage, mesh)))
