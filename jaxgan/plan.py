"""Compiles the training step for hardware that is not there, and reads off what it would cost.

The very step that `train` runs, with its shardings, is lowered and compiled by the target's own
compiler: libtpu's for TPUs, XLA's GPU compiler through the CUDA plugin. Neither needs the hardware.
"""

import dataclasses
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from jaxgan.backend import target
from jaxgan.config import Experiment
from jaxgan.errors import UserError
from jaxgan.parallel.hardware import CHIPS, Chip
from jaxgan.parallel.hlo import Program, flops_and_share
from jaxgan.parallel.mesh import AXES, check_batch, mesh_shape
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
_GPUS = {
    "h100": _GPU.format(
        shared=233472,
        optin=232448,
        cores=132,
        fpus=128,
        bandwidth=3352320000000,
        cache=52428800,
        clock=1.98,
        memory=84942979072,
        major=9,
    ),
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
        bytes_accessed: memory traffic of an iteration, as the compiler counts it.
        collectives: {kind: {"count", "bytes"}} of an iteration.
        step_seconds: estimate for an iteration; None where there is none.
        step_seconds_source: "compiler", or "roofline": the larger of FLOPs over peak FLOP/s and
            bytes over bandwidth, a bound that no program reaches.
        images_per_second: batch over step_seconds.
        mfu: share of the peak FLOP/s that this implies.
        bandwidth_used: share of the memory's bandwidth that this implies.
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
    bytes_accessed: float | None
    collectives: dict[str, dict[str, int]]
    step_seconds: float | None
    step_seconds_source: Literal["compiler", "roofline"] | None
    images_per_second: float | None
    mfu: float | None
    bandwidth_used: float | None
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
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=f"{version}:{sides}")
    except Exception as error:
        if "not installed" in str(error):
            raise UserError(f"{name} needs the TPU compiler: pip install 'jaxgan[tpu]'") from error
        raise UserError(f"no topology {name!r}: {_first_line(error)}") from error
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


def plan(experiment: Experiment, topology: str, *, stage: int = -1) -> Plan:
    """Lowers and compiles the step of one of the experiment's stages for a topology.

    Raises:
        UserError: no such topology, mesh, batch or stage, or nothing here that compiles for it.
    """
    place = find_topology(topology)
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
    options = {"xla_gpu_autotune_level": "0"} if place.platform == "gpu" else None
    compiled = lowered.compile(options)
    seconds = time.perf_counter() - begin

    memory, program = compiled.memory_analysis(), Program(compiled.as_text())
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    peak = arguments + temporary + memory.output_size_in_bytes - memory.alias_size_in_bytes
    chip = place.chip
    cost = compiled.cost_analysis() or {}
    flops, counted = flops_and_share(program, compiled, lowered, mesh.size)
    traffic = cost["bytes accessed"] / counted if "bytes accessed" in cost else None
    guess, source = _step_seconds(chip, flops, traffic, cost.get("optimal_seconds", 0.0) / counted)
    return Plan(
        topology=topology,
        devices=mesh.size,
        chips=place.chips,
        processes=len({device.process_index for device in place.devices}),
        mesh=dict(zip(AXES, sizes, strict=True)),
        batch=batch,
        parameters=sum(x.size for x in jax.tree.leaves(state.params)),
        argument_bytes=arguments,
        output_bytes=memory.output_size_in_bytes,
        temporary_bytes=temporary,
        peak_bytes=peak,
        memory_bytes=int(chip.memory) if chip else None,
        fits=peak <= chip.memory if chip else None,
        flops_per_step=flops,
        flops_per_image=flops * mesh.size / batch,
        bytes_accessed=traffic,
        collectives=program.collectives(),
        step_seconds=guess,
        step_seconds_source=source,
        images_per_second=batch / guess if guess else None,
        mfu=flops / guess / chip.flops if guess and chip else None,
        bandwidth_used=traffic / guess / chip.bandwidth if guess and chip and traffic else None,
        compile_seconds=seconds,
    )


def _step_seconds(
    chip: Chip | None, flops: float, traffic: float | None, estimate: float
) -> tuple[float | None, Literal["compiler", "roofline"] | None]:
    """The compiler's estimate where it can be true, else the roofline."""
    if chip is None:
        return None, None
    bound = max(flops / chip.flops, (traffic or 0.0) / chip.bandwidth)
    # Traffic within on-chip memory is counted too, so the bound itself may be a little high.
    return (estimate, "compiler") if estimate >= 0.5 * bound else (bound, "roofline")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
