"""Which array goes where, and that a State keeps its layout through steps."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import Player, init, make_step
from jaxgan.fields import Image, Points
from jaxgan.nn.layers import Conv
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.nn.style import ModulatedConv
from jaxgan.parallel import sharding
from jaxgan.parallel.hlo import Program
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.parallel.sharding import state_shardings
from jaxgan.system import stages_of
from jaxgan.training.step import state_shapes
from tests.toys import Numbers, TinyGAN


@pytest.mark.parametrize(
    ("data", "fsdp", "shape", "parameter", "update"),
    [
        (8, 1, (3, 3, 64, 96), (3, 3, 64, 96), (3, 3, 64, 12)),
        (8, 1, (3, 3, 96, 36), (3, 3, 96, 36), (3, 3, 96, 9)),  # as many devices as divide it
        (4, 2, (3, 3, 64, 96), (3, 3, 64, 48), (3, 3, 64, 12)),
        (2, 3, (3, 3, 64, 96), (3, 3, 64, 32), (3, 3, 64, 16)),
        (1, 8, (3, 3, 64, 96), (3, 3, 64, 12), (3, 3, 64, 12)),
        (8, None, (3, 3, 64, 96), (3, 3, 64, 12), (3, 3, 64, 12)),
        (6, None, (3, 3, 64, 80), (3, 3, 64, 40), (3, 3, 64, 40)),  # a factor of the devices
        (8, 1, (20_000, 3), (20_000, 3), (20_000, 3)),
        (8, 1, (1024,), (1024,), (1024,)),  # small
        (1, 1, (3, 3, 64, 96), (3, 3, 64, 96), (3, 3, 64, 96)),
    ],
)
def test_the_rule(data, fsdp, shape, parameter, update):
    mesh, x = make_mesh(data, fsdp), jax.ShapeDtypeStruct(shape, jnp.float32)
    assert sharding._kept(mesh, x).shard_shape(shape) == parameter
    assert sharding._shared_out(mesh, x).shard_shape(shape) == update


def test_some_chips_split_less_finely(monkeypatch):
    mesh, x = make_mesh(8), jax.ShapeDtypeStruct((128, 256), jnp.float32)
    monkeypatch.setitem(sharding._MOST_WAYS, mesh.devices.flat[0].device_kind, 4)
    assert sharding._kept(mesh, x).shard_shape(x.shape) == (128, 64)
    assert sharding._shared_out(mesh, x).shard_shape(x.shape) == (128, 64)


@pytest.mark.parametrize("shape", [(8, 1), (4, 2), (2, 4)])
def test_a_share_of_the_update_lies_where_the_parameters_lie(shape):
    mesh, x = make_mesh(*shape), jax.ShapeDtypeStruct((128, 256), jnp.float32)
    held = sharding._kept(mesh, x).devices_indices_map(x.shape)
    shares = sharding._shared_out(mesh, x).devices_indices_map(x.shape)
    for device, (_, columns) in shares.items():
        start, stop, _ = held[device][-1].indices(256)
        assert start <= columns.start
        assert columns.stop <= stop


def test_a_state_keeps_its_layout(rng, monkeypatch):
    monkeypatch.setattr(sharding, "_WHOLE_BELOW", 0)
    system, mesh = TinyGAN(), make_mesh(4, 2)
    state = init(system, mesh=mesh)
    expected = state_shardings(mesh, state)
    assert not expected.params["generator"]["out"]["kernel"].is_fully_replicated
    images = rng.normal(size=(stages_of(system)[0].draws, 32, 2)).astype(np.float32).squeeze()
    batch = {"image": jax.device_put(images, batch_sharding(mesh, leading=images.ndim - 2))}
    step = make_step(system, mesh=mesh)
    for _ in range(2):
        for leaf, layout in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
            assert leaf.sharding.is_equivalent_to(layout, leaf.ndim)
        state, _ = step(state, batch)


class Modulated(nn.Module):
    """Styles to maps; the kernels' gradients also come through the maps' scales."""

    @nn.compact
    def __call__(self, style, *, train):
        constant = self.param("constant", nn.initializers.normal(), (1, 16, 16, 32))
        h = jnp.broadcast_to(constant, (len(style), *constant.shape[1:]))
        for index in range(2):
            h = nn.relu(ModulatedConv(64, name=f"conv{index}")(h, style))
        return h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maps(Numbers):
    """A network of modulated convolutions that is moved towards zero."""

    def data(self):
        return ({"image": Points((8,))},)

    def networks(self):
        return {"a": Modulated()}

    def inputs(self):
        return {"a": (jnp.zeros((1, 8)),)}


def test_no_map_travels():
    """A gradient's share of channels must not split maps by channels: they are split by images.

    It did while the kernel was multiplied by its gain before it was used and squared.
    """

    def loss(view, batch, key):
        return jnp.square(view("a", batch["image"])).mean(), {}

    player = Player(name="a", owns=("a",), loss=loss, optimizer=optax.adam(0.1))
    system, mesh = Maps(players=(player,)), make_mesh(8, 1)
    layout = batch_sharding(mesh, leading=0)
    batch = {"image": jax.ShapeDtypeStruct((32, 8), jnp.float32, sharding=layout)}
    lowered = make_step(system, mesh=mesh).lower(state_shapes(system, mesh), batch)
    found = Program(lowered.compile().as_text()).collectives()
    weights, a_map = 3 * 3 * (32 + 64) * 64 * 4, 32 * 16 * 16 * 64 * 4
    assert found["all-gather"]["bytes"] >= weights
    assert sum(each["bytes"] for each in found.values()) < a_map


class Layered(nn.Module):
    """A layer of the house, and one that is not, which gathers nothing itself."""

    @nn.compact
    def __call__(self, x, *, train):
        reparam = partial(SpectralNorm, epsilon=1e-6)
        h = Conv(64, scale="up", reparam=reparam, dtype=jnp.bfloat16, name="ours")(x)
        return nn.Dense(64, name="flax")(h.astype(jnp.float32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gathers(Numbers):
    """A network whose kernels are all split."""

    def data(self):
        return ({"image": Image((4, 4, 64))},)

    def networks(self):
        return {"a": Layered()}

    def inputs(self):
        return {"a": (jnp.zeros((1, 4, 4, 64)),)}


def test_a_layer_gathers_its_kernel_in_the_compute_type_and_others_as_they_are_stored(monkeypatch):
    """With the factor and the sums of taps done on each device's share."""
    monkeypatch.setattr(sharding, "_WHOLE_BELOW", 4096)

    def loss(view, batch, key):
        return jnp.square(view("a", batch["image"])).mean(), {}

    player = Player(name="a", owns=("a",), loss=loss, optimizer=optax.adam(0.1), writes=("a",))
    system, mesh = Gathers(players=(player,)), make_mesh(8)
    layout = batch_sharding(mesh, leading=0)
    batch = {"image": jax.ShapeDtypeStruct((32, 4, 4, 64), jnp.float32, sharding=layout)}
    lowered = make_step(system, mesh=mesh).lower(state_shapes(system, mesh), batch)
    # CPUs widen what they send, so the type is that of the program as it was written.
    wide = r"sharding_constraint .* <@mesh, \[\{\}, \{\}, \{\}, \{\}\]> : tensor<4x4x64x64xbf16>"
    assert re.search(wide, lowered.as_text())
    gathered = sorted(
        instruction.shapes[0][1]
        for body in Program(lowered.compile().as_text()).computations.values()
        for instruction in body.values()
        if instruction.opcode == "all-gather" and len(instruction.shapes[0][1]) > 1
    )
    assert gathered == [(4, 4, 64, 64), (64, 64)]
