import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.nn.attention import PooledSelfAttention, SelfAttention, _attend_by_sample
from jaxgan.nn.initializers import normal
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.residual import lift_bias
from jaxgan.nn.spectral import SpectralNorm

BOTH = pytest.mark.parametrize("layer", [SelfAttention(), PooledSelfAttention()], ids=type)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 4, 6, 16)).astype(np.float32)


def opened(layer, x, gate=0.7):
    """Initial variables with the gate at `gate`."""
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    name = "gamma" if isinstance(layer, SelfAttention) else "sigma"
    return {**variables, "params": {**variables["params"], name: jnp.float32(gate)}}


def weight(params, name):
    """A 1x1 kernel as PyTorch's (out, in, 1, 1)."""
    return torch.tensor(np.asarray(params[name]["kernel"]).transpose(3, 2, 0, 1))


@BOTH
def test_starts_as_the_identity(layer, x):
    y, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)[0]
    np.testing.assert_array_equal(y, x)


@BOTH
def test_rows_of_the_map_are_distributions(layer, x):
    _, attention = jax.jit(layer.apply)(opened(layer, x), x)
    assert attention.shape == (2, 24, 24 if isinstance(layer, SelfAttention) else 6)
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-6)
    assert (attention >= 0).all()


def test_full_form_agrees_with_torch(x):
    """heykeetae's order of operations: energy, softmax over keys, value times its transpose."""
    layer = SelfAttention(initializer=normal(0.5))
    variables = opened(layer, x)
    params = variables["params"]
    rng = np.random.default_rng(1)
    for name in ("query", "key", "value"):
        bias = rng.normal(size=params[name]["bias"].shape).astype(np.float32)
        params[name] = {**params[name], "bias": bias}
    inputs = torch.tensor(x.transpose(0, 3, 1, 2)).requires_grad_()

    def conv(name):
        bias = torch.tensor(params[name]["bias"])
        return torch.nn.functional.conv2d(inputs, weight(params, name), bias).flatten(2)

    energy = torch.bmm(conv("query").transpose(1, 2), conv("key"))
    expected_map = torch.softmax(energy, -1)
    out = torch.bmm(conv("value"), expected_map.transpose(1, 2)).reshape(inputs.shape)
    expected = 0.7 * out + inputs
    (expected**2).sum().backward()

    y, attention = jax.jit(layer.apply)(variables, x)
    np.testing.assert_allclose(attention, expected_map.detach(), atol=1e-6)
    np.testing.assert_allclose(
        y.transpose(0, 3, 1, 2), expected.detach().numpy(), rtol=1e-5, atol=2e-5
    )
    gradient = jax.jit(jax.grad(lambda x: (layer.apply(variables, x)[0] ** 2).sum()))(x)
    np.testing.assert_allclose(
        gradient.transpose(0, 3, 1, 2), inputs.grad.numpy(), rtol=1e-4, atol=1e-3
    )


def test_pooled_form_agrees_with_torch(x):
    layer = PooledSelfAttention(initializer=normal(0.5))
    variables = opened(layer, x)
    params = variables["params"]
    inputs = torch.tensor(x.transpose(0, 3, 1, 2)).requires_grad_()

    def conv(name, inputs=inputs):
        return torch.nn.functional.conv2d(inputs, weight(params, name))

    theta = conv("theta").flatten(2)
    phi = torch.nn.functional.max_pool2d(conv("phi"), 2).flatten(2)
    g = torch.nn.functional.max_pool2d(conv("g"), 2).flatten(2)
    expected_map = torch.softmax(torch.einsum("bcn,bcm->bnm", theta, phi), -1)
    out = torch.einsum("bcm,bnm->bcn", g, expected_map).unflatten(2, (4, 6))
    expected = inputs + 0.7 * conv("o", out)
    (expected**2).sum().backward()

    y, attention = jax.jit(layer.apply)(variables, x)
    np.testing.assert_allclose(attention, expected_map.detach(), atol=1e-6)
    np.testing.assert_allclose(
        y.transpose(0, 3, 1, 2), expected.detach().numpy(), rtol=1e-5, atol=2e-5
    )
    gradient = jax.jit(jax.grad(lambda x: (layer.apply(variables, x)[0] ** 2).sum()))(x)
    np.testing.assert_allclose(
        gradient.transpose(0, 3, 1, 2), inputs.grad.numpy(), rtol=1e-4, atol=1e-3
    )


def test_pooling_changes_nothing_on_a_constant_map():
    x = np.tile(np.random.default_rng(0).normal(size=(2, 1, 1, 16)), (1, 4, 6, 1))
    x = x.astype(np.float32)
    layer = PooledSelfAttention(initializer=normal(0.5))
    variables = opened(layer, x)
    p = variables["params"]
    full = SelfAttention()
    # The unpooled form with the same function: value = o after g, and no biases.
    value = p["g"]["kernel"][0, 0] @ p["o"]["kernel"][0, 0]
    pairs = (("query", p["theta"]["kernel"][0, 0]), ("key", p["phi"]["kernel"][0, 0]))
    unpooled = {
        name: {"kernel": kernel[None, None], "bias": jnp.zeros(kernel.shape[-1])}
        for name, kernel in (*pairs, ("value", value))
    }
    expected, _ = full.apply({"params": {**unpooled, "gamma": p["sigma"]}}, x)
    y, _ = layer.apply(variables, x)
    assert abs(y - x).max() > 0.1
    np.testing.assert_allclose(y, expected, atol=1e-5)


def swapped(x, first, second):
    x = np.array(x)
    x[:, *first], x[:, *second] = x[:, *second].copy(), x[:, *first].copy()
    return x


@pytest.mark.parametrize(
    ("first", "second", "commutes"),
    [((2, 2), (3, 3), True), ((0, 4), (0, 5), True), ((0, 1), (0, 2), False)],
)
def test_pooled_form_commutes_with_swaps_inside_a_cell_only(x, first, second, commutes):
    layer = PooledSelfAttention(initializer=normal(0.5))
    variables = opened(layer, x)
    swap_then_attend = layer.apply(variables, swapped(x, first, second))[0]
    attend_then_swap = swapped(layer.apply(variables, x)[0], first, second)
    difference = abs(swap_then_attend - attend_then_swap).max()
    assert difference < 1e-5 if commutes else difference > 1e-2


def test_full_form_commutes_with_any_permutation(x):
    layer = SelfAttention(initializer=normal(0.5))
    variables = opened(layer, x)
    order = np.random.default_rng(5).permutation(24)

    def permuted(x):
        return np.asarray(x).reshape(2, 24, 16)[:, order].reshape(x.shape)

    np.testing.assert_allclose(
        layer.apply(variables, permuted(x))[0],
        permuted(layer.apply(variables, x)[0]),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("channels", [64, 128])
def test_parameter_counts(channels):
    x = jax.ShapeDtypeStruct((1, 4, 4, channels), jnp.float32)

    def count(layer):
        params = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
        return sum(p.size for p in jax.tree.leaves(params))

    assert count(PooledSelfAttention()) == {64: 5_121, 128: 20_481}[channels]
    assert count(SelfAttention()) == 5 * channels * (channels + 1) // 4 + 1


def test_spectral_norm_reaches_every_kernel(x):
    layer = PooledSelfAttention(reparam=SpectralNorm)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert set(variables["spectral"]) == {"theta", "phi", "g", "o"}
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == 1.25 * 16**2 + 1


@BOTH
def test_softmax_is_float32_under_bfloat16(layer, x):
    x = jnp.asarray(x, jnp.bfloat16)
    variables = opened(layer, x)
    y, attention = jax.jit(layer.apply)(variables, x)
    assert y.dtype == jnp.bfloat16
    assert attention.dtype == jnp.float32
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-6)
    full, _ = jax.jit(layer.apply)(variables, x.astype(jnp.float32))
    np.testing.assert_allclose(np.asarray(y, np.float32), full, rtol=0.02, atol=0.03)


def test_gradient_penalties_can_differentiate_twice(x):
    layer = PooledSelfAttention(initializer=normal(0.3))
    params = opened(layer, x)["params"]

    @jax.jit
    def penalty(params):
        score = jax.grad(lambda x: jnp.sum(layer.apply({"params": params}, x)[0] ** 2))
        return jnp.mean(score(x) ** 2)

    gradient = jax.grad(penalty)(params)
    direction = jax.tree.map(lambda g: g / 100, gradient)
    step = 1e-2
    ahead, behind = (
        penalty(jax.tree.map(lambda p, d, s=s: p + s * step * d, params, direction))
        for s in (1, -1)
    )
    slope = sum(
        jnp.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-2)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_odd_maps_are_refused(shape):
    with pytest.raises(UserError, match=rf"{shape[0]}x{shape[1]} map.*even"):
        PooledSelfAttention().init(jax.random.key(0), jnp.zeros((1, *shape, 16)))


@BOTH
def test_narrow_maps_are_refused(layer):
    with pytest.raises(UserError, match=r"over 4 channels.*at least 8"):
        layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 4)))


def test_attention_by_sample_is_the_same_function(rng: np.random.Generator):
    """What a single CPU device computes, in value and gradient; the suite has eight devices."""
    query, key = rng.normal(size=(2, 3, 16, 4)).astype(np.float32)
    value, weight = rng.normal(size=(2, 3, 16, 8)).astype(np.float32)

    def plain(query, key, value):
        maps = jax.nn.softmax(jnp.einsum("bnk,bmk->bnm", query, key))
        return jnp.einsum("bnm,bmv->bnv", maps, value)

    def loss(f):
        return lambda *inputs: jnp.sum(weight * f(*inputs))

    inputs = (query, key, value)
    np.testing.assert_allclose(_attend_by_sample(*inputs), plain(*inputs), atol=1e-5)
    got = jax.grad(loss(_attend_by_sample), (0, 1, 2))(*inputs)
    want = jax.grad(loss(plain), (0, 1, 2))(*inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


class Twice(nn.Module):
    """A biased layer, attention, attention, batch norm; `plain` ones are simply added."""

    plain: bool = False

    @nn.compact
    def __call__(self, x):
        conv = Conv(8, initializer=normal(0.3), inert_bias=not self.plain, name="conv")
        h, shift = conv(x), None if self.plain else jnp.zeros(8)
        shift = shift if self.plain else shift + lift_bias(conv)
        for name in ("first", "second"):
            h, _, *after = PooledSelfAttention(normal(0.5), name=name)(h, shift)
            shift = None if self.plain else after[0]
        return BatchNorm(name="norm")(h, train=True)


def test_the_shift_after_attention_reaches_the_next_one(rng):
    """Gradients of biases before two attentions are those of the plain formula."""
    x = jnp.asarray(rng.normal(size=(3, 4, 4, 5)), jnp.float32)
    weight = rng.normal(size=(3, 4, 4, 8))
    params = Twice().init(jax.random.key(0), x)["params"]
    params["conv"]["bias"] = jnp.asarray(rng.normal(size=8), jnp.float32)
    for name in ("first", "second"):
        params[name]["sigma"] = jnp.float32(0.7)

    def slopes(plain):
        def loss(params):
            y, _ = Twice(plain).apply({"params": params}, x, mutable=["batch_stats"])
            return (weight * y).sum()

        return jax.jit(jax.grad(loss))(params)

    ours, plain = slopes(plain=False), slopes(plain=True)
    assert abs(plain["conv"]["bias"]).max() > 1e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, plain)
