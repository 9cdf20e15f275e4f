"""One mesh of devices with the axes `data` and `fsdp`; one device is a mesh of one."""

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan.errors import UserError

AXES = ("data", "fsdp")


def make_mesh(data: int = -1, fsdp: int | None = None) -> Mesh:
    """Devices as [data, fsdp]; -1 for `data` takes all that are left, fewer use the first ones.

    None for `fsdp` makes one row of them: [1, data].

    Raises:
        UserError: there are not as many devices, or not a whole number of rows.
    """
    devices = jax.devices()
    sizes = mesh_shape(len(devices), data, fsdp)
    return Mesh(np.array(devices[: math.prod(sizes)]).reshape(sizes), AXES)


def mesh_shape(devices: int, data: int, fsdp: int | None) -> tuple[int, int]:
    """Sizes of the axes, with what is -1 or None worked out.

    Raises:
        UserError: there are not as many devices, or not a whole number of rows.
    """
    if (fsdp is not None and fsdp < 1) or data == 0 or data < -1:
        asked = f"data {data}" if fsdp is None else f"data {data}, fsdp {fsdp}"
        raise UserError(f"mesh is {asked}: sizes are positive, or data is -1")
    row = fsdp or 1
    if data == -1:
        data = devices // row
        if data * row != devices:
            raise UserError(
                f"mesh has fsdp {fsdp}, which does not divide {devices} devices: "
                "choose --mesh.fsdp among their divisors"
            )
    if data * row > devices:
        asked = f"data {data}" if fsdp is None else f"data {data} x fsdp {fsdp}"
        raise UserError(
            f"mesh is {asked}, but there are {devices} devices: "
            "choose fewer, or --mesh.data -1 for all"
        )
    return (1, data) if fsdp is None else (data, fsdp)


def batch_sharding(mesh: Mesh, *, leading: int) -> NamedSharding:
    """Batches [draws, micro, b, ...] are split over b, which has `leading` axes before it."""
    return NamedSharding(mesh, PartitionSpec(*[None] * leading, mesh.axis_names))


def check_batch(batch: int, micro: int, mesh: Mesh) -> None:
    """Refuses a batch that the devices and micro-batches cannot share evenly."""
    if batch < 1 or micro < 1 or batch % (micro * mesh.size):
        size = micro * mesh.size
        raise UserError(
            f"batch is {batch}, not divisible by {mesh.size} devices x {micro} micro-batches: "
            f"choose a multiple of {size}, such as {max(size, batch // size * size)}"
        )
