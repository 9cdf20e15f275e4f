from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.layers import Conv, ConvTranspose, Dense, Embed
from jaxgan.nn.spectral import SpectralNorm

X = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype(np.float32)


def matrix(kernel, axis):
    kernel = np.moveaxis(np.asarray(kernel, np.float64), axis, 0)
    return kernel.reshape(len(kernel), -1)


def iterate(layer, variables, x, times):
    @jax.jit
    def advance(variables):
        return {**variables, **layer.apply(variables, x, mutable=["spectral"])[1]}

    for _ in range(times):
        variables = advance(variables)
    return variables


@pytest.mark.parametrize("axis", [-1, -2, 0])
@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (partial(Dense, 5), X),
        (partial(Conv, 5), X),
        (partial(Conv, 5, kernel_size=4, stride=2, padding=1), X),
        (partial(ConvTranspose, 5), X),
        (partial(Embed, 5, classes=7), np.array([0, 3])),
    ],
)
def test_sigma_converges_to_the_largest_singular_value(layer, x, axis):
    if axis == -2 and layer.func in (Dense, Embed):
        axis = 0
    layer = layer(reparam=partial(SpectralNorm, axis=axis))
    variables = iterate(layer, layer.init(jax.random.key(1), x), x, 300)
    (state,) = variables["spectral"].values()
    w = matrix(variables["params"]["kernel"], axis)
    top = np.linalg.svd(w, compute_uv=False)[0]
    np.testing.assert_allclose(state["sigma"], top, rtol=1e-4)
    assert state["u"].shape == (w.shape[0],)
    assert state["v"].shape == (w.shape[1],)
    np.testing.assert_allclose(np.linalg.norm(state["u"]), 1, rtol=1e-5)


def test_the_two_readings_of_a_transposed_kernel_differ():
    """Rows of input or of output channels are different matrices, with different norms."""
    sigmas = []
    for axis in (-1, -2):
        layer = ConvTranspose(5, reparam=partial(SpectralNorm, axis=axis))
        variables = iterate(layer, layer.init(jax.random.key(1), X), X, 200)
        sigmas.append(float(variables["spectral"]["SpectralNorm_0"]["sigma"]))
    assert abs(sigmas[0] - sigmas[1]) > 0.01 * sigmas[0]


def test_output_is_that_of_the_divided_kernel():
    layer = Conv(5, reparam=SpectralNorm)
    variables = iterate(layer, layer.init(jax.random.key(1), X), X, 200)
    kernel = variables["params"]["kernel"]
    top = np.linalg.svd(matrix(kernel, -1), compute_uv=False)[0]
    plain = {"params": {**variables["params"], "kernel": kernel / top}}
    np.testing.assert_allclose(
        layer.apply(variables, X), Conv(5).apply(plain, X), rtol=1e-4, atol=1e-5
    )


def test_state_moves_only_where_it_is_mutable():
    layer = Dense(5, reparam=SpectralNorm)
    variables = layer.init(jax.random.key(1), X)
    first, second = layer.apply(variables, X), layer.apply(variables, X)
    np.testing.assert_array_equal(first, second)
    _, new = layer.apply(variables, X, mutable=["spectral"])
    before = variables["spectral"]["SpectralNorm_0"]["u"]
    assert (new["spectral"]["SpectralNorm_0"]["u"] != before).any()


def test_one_iteration_is_the_papers(rng):
    w = rng.normal(size=(6, 5)).astype(np.float32)
    u = rng.normal(size=5).astype(np.float32)
    variables = {
        "params": {"kernel": w},
        "spectral": {"SpectralNorm_0": {"u": u, "v": np.zeros(6), "sigma": np.ones(())}},
    }
    layer = Dense(5, use_bias=False, reparam=SpectralNorm)
    y, new = layer.apply(variables, np.eye(6, dtype=np.float32), mutable=["spectral"])
    m = w.T.astype(np.float64)
    v = m.T @ u / np.linalg.norm(m.T @ u)
    u = m @ v / np.linalg.norm(m @ v)
    state = new["spectral"]["SpectralNorm_0"]
    np.testing.assert_allclose(state["v"], v, atol=1e-6)
    np.testing.assert_allclose(state["u"], u, atol=1e-6)
    np.testing.assert_allclose(y, w / (u @ m @ v), rtol=1e-5)


def test_several_iterations_equal_several_calls():
    one, three = (Dense(5, reparam=partial(SpectralNorm, iterations=n)) for n in (1, 3))
    variables = one.init(jax.random.key(1), X)
    slow = iterate(one, variables, X, 3)["spectral"]["SpectralNorm_0"]
    fast = iterate(three, variables, X, 1)["spectral"]["SpectralNorm_0"]
    np.testing.assert_allclose(slow["u"], fast["u"], atol=1e-6)


def test_gradient_holds_the_vectors_fixed(rng):
    """Against finite differences of W / sigma(W), which agree once the vectors have converged."""
    w = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    direction = rng.normal(size=(4, 3))
    layer = Dense(3, use_bias=False, reparam=SpectralNorm)
    eye = np.eye(4, dtype=np.float32)
    variables = layer.init(jax.random.key(1), eye)
    variables = iterate(layer, {**variables, "params": {"kernel": w}}, eye, 300)
    weights = rng.normal(size=(4, 3))

    def ours(w):
        return jnp.sum(weights * layer.apply({**variables, "params": {"kernel": w}}, eye))

    def exact(w):
        return np.sum(weights * w / np.linalg.svd(w, compute_uv=False)[0])

    w64, step = np.asarray(w, np.float64), 1e-6
    slope = (exact(w64 + step * direction) - exact(w64 - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(jax.grad(ours)(w) * direction), slope, rtol=1e-3)


def test_a_fresh_layer_is_normalised_already():
    layer = Conv(16, reparam=SpectralNorm)
    variables = layer.init(jax.random.key(1), X)
    top = np.linalg.svd(matrix(variables["params"]["kernel"], -1), compute_uv=False)[0]
    sigma = variables["spectral"]["SpectralNorm_0"]["sigma"]
    np.testing.assert_allclose(sigma, top, rtol=0.05)


def test_three_singular_values_are_those_of_the_svd():
    layer = Conv(5, reparam=partial(SpectralNorm, singular_values=3))
    variables = iterate(layer, layer.init(jax.random.key(1), X), X, 300)
    state = variables["spectral"]["SpectralNorm_0"]
    w = matrix(variables["params"]["kernel"], -1)
    assert state["u"].shape == (3, 5)
    assert state["v"].shape == (3, 54)
    np.testing.assert_allclose(state["sigma"], np.linalg.svd(w, compute_uv=False)[:3], rtol=1e-5)
    for vectors in (state["u"], state["v"]):
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-5)


def test_only_the_first_of_several_singular_values_normalises():
    one, three = (Dense(5, reparam=partial(SpectralNorm, singular_values=n)) for n in (1, 3))
    variables = [iterate(layer, layer.init(jax.random.key(1), X), X, 3) for layer in (one, three)]
    np.testing.assert_allclose(
        one.apply(variables[0], X), three.apply(variables[1], X), rtol=1e-5, atol=2e-7
    )


def test_no_more_singular_values_than_the_matrix_has():
    layer = Dense(1, reparam=partial(SpectralNorm, singular_values=3))
    state = layer.init(jax.random.key(1), X)["spectral"]["SpectralNorm_0"]
    assert state["sigma"].shape == (1,)


@pytest.mark.parametrize("count", [1, 2])
def test_a_kernel_of_zeros_gives_zeros_and_finite_gradients(count):
    layer = Dense(3, reparam=partial(SpectralNorm, singular_values=count))
    x = jnp.ones((2, 4))
    made = layer.init(jax.random.key(0), x)
    zero = {**made, "params": jax.tree.map(jnp.zeros_like, made["params"])}

    def total(params, x):
        return layer.apply({**zero, "params": params}, x).sum()

    assert not layer.apply(zero, x).any()
    for gradient in jax.tree.leaves(jax.grad(total, (0, 1))(zero["params"], x)):
        assert np.isfinite(gradient).all()
    # One that is zero for a while is normalised again afterwards: its vectors keep a direction.
    later = iterate(layer, zero, x, 3)
    later = iterate(layer, {**later, "params": made["params"]}, x, 30)
    largest = np.linalg.svd(matrix(made["params"]["kernel"], -1), compute_uv=False)[0]
    sigma = np.atleast_1d(later["spectral"]["SpectralNorm_0"]["sigma"])[0]
    np.testing.assert_allclose(sigma, largest, rtol=1e-4)


def test_a_kernel_too_small_to_divide_by_is_not_infinite():
    layer = Dense(3, reparam=SpectralNorm)
    x = jnp.ones((2, 4))
    made = layer.init(jax.random.key(0), x)
    tiny = {**made, "params": jax.tree.map(lambda w: w * 1e-39, made["params"])}
    assert np.isfinite(layer.apply(tiny, x)).all()
