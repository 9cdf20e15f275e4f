"""Compiles the training step for hardware that is not there, and reads off what it would cost.

The very step that `train` runs, with its shardings, is lowered and compiled by the target's own
compiler: libtpu's for TPUs, XLA's GPU compiler through the CUDA plugin. Neither needs the hardware.

Most of a compiler's time goes into machine code. `quick_plan` reads what the compiler has written
down before: the optimised program and where its arrays lie.
"""

import dataclasses
import functools
import math
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from jaxgan.backend import target
from jaxgan.config import Experiment
from jaxgan.errors import UserError
from jaxgan.interrupt import end_with_parent
from jaxgan.parallel.hardware import CHIPS, Chip
from jaxgan.parallel.hlo import Program, flops_and_share, memory_of
from jaxgan.parallel.mesh import AXES, check_batch, mesh_shape
from jaxgan.ranges import Within, checked
from jaxgan.run.batches import batch_of, shapes_of
from jaxgan.system import stages_of
from jaxgan.training.step import make_step, state_shapes

# XLA's description of a GPU: what its compiler asks the driver for where there is one.
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: {shared}
  shared_memory_per_block_optin: {optin} threads_per_core_limit: 2048
  core_count: {cores} fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {cache} clock_rate_ghz: {clock}
  device_memory_size: {memory}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability {{ major: {major} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
"""
_HOPPER = functools.partial(
    _GPU.format,
    shared=233472,
    optin=232448,
    cores=132,
    fpus=128,
    cache=52428800,
    clock=1.98,
    major=9,
)
_GPUS = {
    "h100": _HOPPER(bandwidth=3352320000000, memory=84942979072),
    "h200": _HOPPER(bandwidth=4800000000000, memory=150754820096),
    "a100": _GPU.format(
        shared=167936,
        optin=166912,
        cores=108,
        fpus=64,
        bandwidth=2039000000000,
        cache=41943040,
        clock=1.41,
        memory=84942979072,
        major=8,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a step costs on a topology. Bytes and FLOPs are per device, but FLOPs per image.

    Attributes:
        topology: as given.
        devices: that the mesh spans; a TPU v2 or v3 chip is two.
        chips: that hold them.
        processes: hosts that would run them.
        mesh: sizes of its axes.
        batch: images an update, over all devices.
        parameters: of all networks.
        argument_bytes: State and batch.
        output_bytes: the new State, nearly all in the place of the old one.
        temporary_bytes: activations, gradients and the like, at the worst moment.
        peak_bytes: arguments, temporaries and what of the outputs is not in the arguments' place.
        memory_bytes: of a device; None where it is not known.
        fits: peak within memory.
        flops_per_step: as the compiler counts the optimised program, loops by how often they run.
        flops_per_image: over all devices.
        bytes_accessed: memory traffic of an iteration, as the compiler counts it; where it does
            not, or not yet, as `Program.traffic` does.
        collectives: {kind: {"count", "bytes"}} of an iteration, bytes being those of outputs.
        wire_hidden_seconds: what the collectives of an iteration that run beside other work take
            on the links; None where their rates are not known. A bound, from the bytes that a chip
            receives at least and the peak rates of all its links, both directions of which are
            busy; no latency, no routes, and no network between hosts: GPUs are taken to be joined
            by NVLink.
        wire_exposed_seconds: the same of those that are waited for. No part of `step_seconds`,
            which knows only what collectives do to a device's own memory.
        step_seconds: estimate for an iteration; None where there is none.
        step_seconds_source: "compiler", or "roofline": the larger of FLOPs over peak FLOP/s and
            bytes over bandwidth, a bound that no program reaches.
        images_per_second: batch over step_seconds.
        mfu: share of the peak FLOP/s that this implies.
        bandwidth_used: share of the memory's bandwidth that this implies.
        effort: the compiler's, in [-1, 1]; None where it has no choice of it.
        quick: the compiler was ended before it generated code. FLOPs are then those of
            convolutions and matrix products, padding included; temporaries are without what code
            needs; and the time is never the compiler's.
        compile_seconds: lowering and compiling, here.
    """

    topology: str
    devices: int
    chips: int
    processes: int
    mesh: dict[str, int]
    batch: int
    parameters: int
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    peak_bytes: int
    memory_bytes: int | None
    fits: bool | None
    flops_per_step: float
    flops_per_image: float
    bytes_accessed: float
    collectives: dict[str, dict[str, int]]
    wire_hidden_seconds: float | None
    wire_exposed_seconds: float | None
    step_seconds: float | None
    step_seconds_source: Literal["compiler", "roofline"] | None
    images_per_second: float | None
    mfu: float | None
    bandwidth_used: float | None
    effort: float | None
    quick: bool
    compile_seconds: float


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices that may not be there.

    chip: of one device, which for TPU v2 and v3 is half a chip.
    """

    name: str
    platform: Literal["cpu", "gpu", "tpu"]
    devices: Sequence[Any]
    chips: int
    chip: Chip | None


def find_topology(name: str) -> Topology:
    """Describes "tpu:v3:16x16" (chips a side), "gpu:h100:8" or "cpu:8".

    Raises:
        UserError: there is no such topology, or its compiler is not installed.
    """
    kind, *rest = name.split(":")
    if kind == "tpu" and len(rest) == 2:
        return _tpu(name, *rest)
    if kind == "gpu" and len(rest) == 2 and rest[1].isdigit():
        return _gpu(name, rest[0], int(rest[1]))
    if kind == "cpu" and len(rest) == 1 and rest[0].isdigit():
        return _cpu(name, int(rest[0]))
    raise UserError(
        f"no topology {name!r}: give one such as tpu:v3:16x16, tpu:v5p:4x4x8, gpu:h100:8 or cpu:8"
    )


def _tpu(name: str, version: str, sides: str) -> Topology:
    if f"tpu {version}" not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", sides):
        known = ", ".join(key.removeprefix("tpu ") for key in CHIPS if key.startswith("tpu"))
        raise UserError(
            f"no topology {name!r}: TPU versions are {known}, and sizes are chips, as in 16x16"
        )
    # The compiler alone is wanted: no metadata server, and no lock on the one library.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "4")  # or files of its log stay in /tmp
    # It would say on four lines that it does not find what it is not to look for; no plan depends
    # on these, and what runs here later must not believe them.
    told = {"TPU_ACCELERATOR_TYPE": "v3-8", "TPU_WORKER_HOSTNAMES": "localhost"}
    told = {key: value for key, value in told.items() if key not in os.environ}
    os.environ.update(told)
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=f"{version}:{sides}")
    except Exception as error:
        if "not installed" in str(error):
            raise UserError(f"{name} needs the TPU compiler: pip install 'jaxgan[tpu]'") from error
        raise UserError(f"no topology {name!r}: {_first_line(error)}") from error
    finally:
        for key in told:
            del os.environ[key]
    chips = math.prod(int(side) for side in sides.split("x"))
    chip = CHIPS[f"tpu {version}"] / (len(found.devices) / chips)
    return Topology(name, "tpu", found.devices, chips, chip)


def _gpu(name: str, kind: str, count: int) -> Topology:
    if kind not in _GPUS or count < 1:
        raise UserError(f"no topology {name!r}: GPUs are {', '.join(_GPUS)}, as in gpu:h100:8")
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    try:
        found = topologies.get_topology_desc(
            platform="cuda",
            topology_name=kind,
            target_config=_GPUS[kind],
            topology=f"1x1x{count}",
        )
    except Exception as error:
        raise UserError(
            f"{name} needs the GPU compiler: pip install 'jaxgan[cuda]' ({_first_line(error)})"
        ) from error
    return Topology(name, "gpu", found.devices, count, CHIPS[f"gpu {kind}"])


def _cpu(name: str, count: int) -> Topology:
    if count < 1:
        raise UserError(f"no topology {name!r}: cpu:8 is eight devices")
    if len(jax.devices("cpu")) < count:
        raise UserError(
            f"{name} needs {count} CPU devices and this process has {len(jax.devices('cpu'))}: "
            "set XLA_FLAGS=--xla_force_host_platform_device_count before it starts"
        )
    return Topology(name, "cpu", jax.devices("cpu")[:count], 1, None)


@checked
def plan(
    experiment: Experiment,
    topology: str,
    *,
    stage: int = -1,
    effort: Annotated[float, Within(-1, 1)] = 0.0,
) -> Plan:
    """Lowers and compiles the step of one of the experiment's stages for a topology.

    Args:
        experiment: what `train` would train.
        topology: as for `find_topology`.
        stage: of the system, from 0; -1: the last.
        effort: of a TPU's compiler; -1 is fastest, and the program it makes is a little slower.

    Raises:
        UserError: no such topology, mesh, batch, stage or effort, nothing here that compiles for
            it, or the compiler refuses, as where memory does not suffice.
    """
    step = _lower(experiment, topology, stage, effort)
    compiled = _compile(step)
    seconds = time.perf_counter() - step.begin
    memory, program = compiled.memory_analysis(), Program(compiled.as_text())
    cost = compiled.cost_analysis() or {}
    flops, counted = flops_and_share(program, compiled, step.lowered, step.mesh.size)
    traffic = cost["bytes accessed"] / counted if "bytes accessed" in cost else program.traffic()
    return _plan(
        step,
        program,
        (
            memory.argument_size_in_bytes,
            memory.output_size_in_bytes,
            memory.alias_size_in_bytes,
            memory.temp_size_in_bytes,
        ),
        flops=flops,
        traffic=traffic,
        estimate=cost.get("optimal_seconds", 0.0) / counted,
        seconds=seconds,
    )


@checked
def quick_plan(
    load: Callable[[], Experiment],
    topology: str,
    *,
    stage: int = -1,
    effort: Annotated[float, Within(-1, 1)] = 0.0,
) -> Plan:
    """As `plan`, without waiting for machine code: seconds instead of minutes.

    A process of its own compiles, and is ended as soon as the compiler has written down the
    optimised program. What the plan then lacks stands at `Plan.quick`.

    Args:
        load: makes the experiment there. It is pickled, so `functools.partial(config.load, NAME)`
            or another function of a module; and a script that calls this needs the guard
            `if __name__ == "__main__":`, for the process imports it.
        topology: of TPUs or GPUs.
        stage: as for `plan`.
        effort: as for `plan`; it changes little before code is generated.

    Raises:
        UserError: as `plan` does.
    """
    check_choices([topology], effort=effort, quick=True)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    folder = tempfile.mkdtemp(prefix="jaxgan-plan-")
    other = context.Process(
        target=_answer, args=(there, Path(folder), load, topology, stage, effort), daemon=True
    )
    try:
        other.start()
        there.close()
        found = here.recv()
    except EOFError as error:
        other.join()
        if other.exitcode == -signal.SIGKILL:
            raise UserError(
                f"{topology}: the compiler was killed, as happens where this machine's memory "
                "does not suffice"
            ) from error
        raise RuntimeError(f"the process that compiles ended with {other.exitcode}") from error
    finally:
        if other.pid is not None:
            other.kill()
            other.join()
        here.close()
        shutil.rmtree(folder, ignore_errors=True)
    if isinstance(found, UserError):
        raise found
    return found


def _answer(
    there: Connection,
    folder: Path,
    load: Callable[[], Experiment],
    topology: str,
    stage: int,
    effort: float,
) -> NoReturn:
    """Sends the parent a quick plan, or why there is none, and ends while the compiler goes on."""
    end_with_parent(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    jax.config.update("jax_platforms", "cpu")  # nothing runs, so a chip that is there stays free
    jax.config.update("jax_enable_compilation_cache", False)  # what is known is not written down
    found: Plan | UserError
    try:
        found = _read_early(_lower(load(), topology, stage, effort), folder)
    except UserError as error:
        found = error
    there.send(found)
    os._exit(0)


def _read_early(step: "_Step", folder: Path) -> Plan:
    """The plan, as soon as the compiler has written what it needs into the folder.

    The compiler then goes on, in a thread that cannot be ended.
    """
    raised: list[BaseException] = []

    def compile() -> None:
        try:
            _compile(step, xla_dump_to=str(folder), xla_dump_hlo_as_text=True)
        except BaseException as error:
            raised.append(error)

    compiling = threading.Thread(target=compile, daemon=True)
    compiling.start()
    # Of the three files it is the last to be written, by libtpu and by the GPU compiler.
    report = "after_optimizations-memory-usage-report.txt"
    while not (reports := list(folder.glob(f"*{report}"))) and compiling.is_alive():
        compiling.join(0.1)
    if not (reports := reports or list(folder.glob(f"*{report}"))):  # and it has ended
        if raised:
            raise raised[0]
        raise UserError(
            f"no quick plan for {step.topology}: its compiler writes no {report}; leave out --quick"
        )
    seconds = time.perf_counter() - step.begin
    start = str(reports[0]).removesuffix("-memory-usage-report.txt")
    program = Program(Path(f"{start}.txt").read_text())
    products = program.product_flops()
    if step.place.platform == "gpu":  # convolutions are calls of cuDNN by then
        products = Program(step.lowered.as_text("hlo")).product_flops() / step.mesh.size
    return _plan(
        step,
        program,
        memory_of(Path(f"{start}-buffer-assignment.txt").read_text()),
        flops=products,
        traffic=program.traffic(),
        estimate=0.0,
        seconds=seconds,
        quick=True,
    )


@dataclasses.dataclass(frozen=True)
class _Step:
    """A step that is lowered for a topology.

    options: for its compiler. begin: when lowering began, by `time.perf_counter`.
    """

    topology: str
    place: Topology
    mesh: Mesh
    batch: int
    parameters: int
    lowered: Any
    options: dict[str, Any]
    effort: float | None
    begin: float


def check_choices(topologies: Sequence[str], *, effort: float, quick: bool) -> None:
    """Refuses choices that one of the compilers does not have.

    Raises:
        UserError: names the topology.
    """
    for topology in topologies:
        platform = topology.partition(":")[0]
        if effort and platform != "tpu":
            raise UserError(
                f"effort is {effort:g}, but {topology} has no such choice: leave out --effort"
            )
        if quick and platform == "cpu":
            raise UserError(
                f"no quick plan for {topology}: it is for TPUs and GPUs; leave out --quick"
            )


def _lower(experiment: Experiment, topology: str, stage: int, effort: float) -> _Step:
    place = find_topology(topology)
    check_choices([topology], effort=effort, quick=False)
    system, stages = experiment.system, stages_of(experiment.system)
    if not -len(stages) <= stage < len(stages):
        raise UserError(f"stage is {stage}, but there are {len(stages)}, counted from 0")
    part = stages[stage]
    sizes = mesh_shape(len(place.devices), experiment.mesh.data, experiment.mesh.fsdp)
    used = np.array(place.devices[: math.prod(sizes)])
    mesh = Mesh(used.reshape(sizes), AXES)
    batch = batch_of(experiment, part)
    check_batch(batch, experiment.micro, mesh)

    begin = time.perf_counter()
    with target(place.platform):
        state = state_shapes(system, mesh)
        step = make_step(
            system,
            part,
            seed=experiment.seed,
            micro=experiment.micro,
            mesh=mesh,
            augment=experiment.augment,
            freeze=experiment.freeze,
        )
        lowered = step.lower(state, shapes_of(experiment, part, mesh))  # type: ignore[attr-defined]
    options: dict[str, Any] = {}
    if place.platform == "gpu":
        options["xla_gpu_autotune_level"] = "0"
    if effort:
        options["exec_time_optimization_effort"] = effort
    return _Step(
        topology=topology,
        place=place,
        mesh=mesh,
        batch=batch,
        parameters=sum(x.size for x in jax.tree.leaves(state.params)),
        lowered=lowered,
        options=options,
        effort=effort if place.platform == "tpu" else None,
        begin=begin,
    )


def _compile(step: _Step, **options: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # What was compiled for absent devices can be kept, but not read again.
            warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
            return step.lowered.compile(step.options | options)
    except jax.errors.JaxRuntimeError as error:
        text = _first_line(error).rstrip(".")
        hint = ""
        if text.startswith("RESOURCE_EXHAUSTED"):
            hint = ": choose a smaller --batch, a larger --micro, or more devices"
        raise UserError(f"{step.topology} does not compile: {text}{hint}") from error


def _plan(
    step: _Step,
    program: Program,
    memory: tuple[int, int, int, int],
    *,
    flops: float,
    traffic: float,
    estimate: float,
    seconds: float,
    quick: bool = False,
) -> Plan:
    """The plan of a step.

    Args:
        step: as lowered.
        program: as compiled.
        memory: as `memory_of` gives it.
        flops: of a device, in an iteration.
        traffic: bytes of a device's memory, in an iteration.
        estimate: the compiler's, in seconds; 0: none.
        seconds: that it took.
        quick: whether code was not generated.
    """
    arguments, outputs, aliased, temporary = memory
    peak = arguments + temporary + outputs - aliased
    place, mesh, chip = step.place, step.mesh, step.place.chip
    guess, source = _step_seconds(chip, flops, traffic, estimate)
    return Plan(
        topology=step.topology,
        devices=mesh.size,
        chips=place.chips,
        processes=len({device.process_index for device in place.devices}),
        mesh=dict(zip(AXES, mesh.devices.shape, strict=True)),
        batch=step.batch,
        parameters=step.parameters,
        argument_bytes=arguments,
        output_bytes=outputs,
        temporary_bytes=temporary,
        peak_bytes=peak,
        memory_bytes=int(chip.memory) if chip else None,
        fits=peak <= chip.memory if chip else None,
        flops_per_step=flops,
        flops_per_image=flops * mesh.size / step.batch,
        bytes_accessed=traffic,
        collectives=program.collectives(),
        wire_hidden_seconds=_wire_seconds(step, program, hidden=True),
        wire_exposed_seconds=_wire_seconds(step, program, hidden=False),
        step_seconds=guess,
        step_seconds_source=source,
        images_per_second=step.batch / guess if guess else None,
        mfu=flops / guess / chip.flops if guess and chip else None,
        bandwidth_used=traffic / guess / chip.bandwidth if guess and chip else None,
        effort=step.effort,
        quick=quick,
        compile_seconds=seconds,
    )


def _wire_seconds(step: _Step, program: Program, *, hidden: bool) -> float | None:
    """What the busiest chip's links need for an iteration's collectives, hidden or exposed ones."""
    place = step.place
    if place.chip is None:
        return None
    links = place.chip.links * len(place.devices) / place.chips
    chips = [
        tuple(device.coords) if place.platform == "tpu" else device.id
        for device in step.mesh.devices.flat
    ]
    moved = (
        each.count * each.received(chips) for each in program.transfers if each.hidden == hidden
    )
    return sum(moved) / links


def _step_seconds(
    chip: Chip | None, flops: float, traffic: float, estimate: float
) -> tuple[float | None, Literal["compiler", "roofline"] | None]:
    """The compiler's estimate where it can be true, else the roofline."""
    if chip is None:
        return None, None
    bound = max(flops / chip.flops, traffic / chip.bandwidth)
    # Traffic within on-chip memory is counted too, so the bound itself may be a little high.
    return (estimate, "compiler") if estimate >= 0.5 * bound else (bound, "roofline")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
