import jax
import numpy as np
import pytest
import torch

from jaxgan.nn.initializers import TORCH, TORCH_TRANSPOSED, glorot_uniform, normal, orthogonal
from jaxgan.nn.layers import Conv, ConvTranspose, Dense, Embed

X = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype(np.float32)


def torch_map(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (5, 1, 2)])
def test_convolution_is_that_of_torch(kernel, stride, padding):
    layer = Conv(5, kernel_size=kernel, stride=stride, padding=padding)
    variables = layer.init(jax.random.key(0), X)
    module = torch.nn.Conv2d(6, 5, kernel, stride, padding)
    with torch.no_grad():
        weight = np.asarray(variables["params"]["kernel"]).transpose(3, 2, 0, 1)
        module.weight.copy_(torch.from_numpy(weight.copy()))
        module.bias.copy_(torch.from_numpy(np.array(variables["params"]["bias"])))
        want = np.moveaxis(module(torch_map(X)).numpy(), 1, -1)
    np.testing.assert_allclose(layer.apply(variables, X), want, atol=1e-5)


def test_an_inert_bias_is_added_and_never_moved():
    for layer, x in ((Dense(4, inert_bias=True), X), (Conv(4, inert_bias=True), X)):
        variables = layer.init(jax.random.key(0), x)
        live = layer.clone(inert_bias=False)
        np.testing.assert_array_equal(layer.apply(variables, x), live.apply(variables, x))
        gradient = jax.grad(lambda v: layer.apply(v, x).sum())(variables)["params"]  # noqa: B023
        np.testing.assert_array_equal(gradient["bias"], np.zeros(4))
        assert (np.asarray(gradient["kernel"]) != 0).any()


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        (Dense(64), torch.nn.Linear(128, 64)),
        (Conv(64, kernel_size=4), torch.nn.Conv2d(128, 64, 4)),
        (
            ConvTranspose(64, initializer=TORCH_TRANSPOSED),
            torch.nn.ConvTranspose2d(128, 64, 4),
        ),
    ],
)
def test_default_initialisers_have_the_limits_of_torch(layer, module):
    x = np.zeros((1, 4, 4, 128), np.float32)
    params = layer.init(jax.random.key(0), x)["params"]
    torch.manual_seed(0)
    module.reset_parameters()
    for mine, theirs in ((params["kernel"], module.weight), (params["bias"], module.bias)):
        limit = float(theirs.detach().abs().max())
        np.testing.assert_allclose(np.abs(mine).max(), limit, rtol=0.06)
        np.testing.assert_allclose(np.std(mine), float(theirs.detach().std()), rtol=0.15)


def test_initialisers_have_the_spread_they_promise():
    key, shape = jax.random.key(0), (3, 3, 64, 128)
    fan_in, fan_out = 9 * 64, 9 * 128
    assert np.std(normal(0.02).kernel(key, shape)) == pytest.approx(0.02, rel=0.02)
    glorot = glorot_uniform(np.sqrt(2)).kernel(key, shape)
    assert np.abs(glorot).max() == pytest.approx(np.sqrt(12 / (fan_in + fan_out)), rel=0.01)
    square = np.asarray(orthogonal().kernel(key, shape)).reshape(-1, 128)
    np.testing.assert_allclose(square.T @ square, np.eye(128), atol=1e-5)
    assert np.abs(TORCH.bias(100)(key, (1000,))).max() == pytest.approx(0.1, rel=0.01)


def test_embedding_takes_rows():
    layer = Embed(3, classes=4)
    variables = layer.init(jax.random.key(0), np.zeros(1, int))
    rows = layer.apply(variables, np.array([2, 0]))
    np.testing.assert_array_equal(rows, variables["params"]["kernel"][np.array([2, 0])])


@pytest.mark.parametrize("layer", [Dense(4), Conv(4), Conv(4, scale="up"), ConvTranspose(4)])
def test_bfloat16_computes_in_it_and_keeps_float32_parameters(layer):
    layer = layer.clone(dtype="bfloat16")
    variables = layer.init(jax.random.key(0), X)
    assert layer.apply(variables, X).dtype == "bfloat16"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}


def test_gradients_of_a_row_that_many_samples_have_are_summed_in_float32():
    layer, label = Embed(3, classes=4, dtype=jax.numpy.bfloat16), np.full(2000, 1)
    params = layer.init(jax.random.key(0), label)

    def total(params):
        return layer.apply(params, label).astype(jax.numpy.float32).sum()

    gradient = np.asarray(jax.grad(total)(params)["params"]["kernel"])
    np.testing.assert_array_equal(gradient[1], 2000)
