"""Penalties against closed forms, NumPy in float64, PyTorch and known optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.penalties import drift, gradient_penalty, orthogonal, r1, r2, root, zero_centred

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 4, 3, 3, 2)).astype(np.float32)
WEIGHT = RNG.normal(size=(3, 3, 2)).astype(np.float32)


def mix(x, key):
    return jax.random.uniform(key, (len(x),))


def linear(x, w=WEIGHT):
    return jnp.einsum("bhwc,hwc->b", x, w)


def test_linear_critic_is_penalised_independently_of_the_data():
    norm = np.linalg.norm(WEIGHT.astype(np.float64))
    for real, fake in ((REAL, FAKE), (100 * FAKE, REAL)):
        np.testing.assert_allclose(r1(linear, real), norm**2 / 2, rtol=1e-6)
        np.testing.assert_allclose(r2(linear, fake), norm**2 / 2, rtol=1e-6)
        zero = zero_centred(linear, real, fake, mix(real, KEY))
        np.testing.assert_allclose(zero, norm**2, rtol=1e-6)
        for target in (1.0, 2.5):
            penalty = gradient_penalty(linear, real, fake, mix(real, KEY), target)
            np.testing.assert_allclose(penalty, (norm - target) ** 2, rtol=1e-5)


def test_several_outputs_per_sample_are_summed():
    def patches(x):  # 2 x 3 outputs a sample, which add up to 5 linear(x)
        return linear(x)[:, None, None] * jnp.array([[1.0, 0, 2], [-1, 3, 0]])

    squared = np.square(WEIGHT.astype(np.float64)).sum()
    np.testing.assert_allclose(r1(patches, REAL), 25 * squared / 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_samples_are_penalised_in_float32(dtype):
    def critic(x):  # computes in half precision, as a mixed-precision network does
        return linear(x.astype(dtype), WEIGHT.astype(dtype))

    for value in (
        gradient_penalty(critic, REAL.astype(dtype), FAKE.astype(dtype), mix(REAL, KEY)),
        r1(critic, REAL.astype(dtype)),
        drift(jnp.array([100.0, 300.0], dtype)),  # 300² overflows float16
    ):
        assert value.dtype == jnp.float32
        assert np.isfinite(value)
    np.testing.assert_allclose(r1(critic, REAL.astype(dtype)), r1(linear, REAL), rtol=1e-2)


def test_gradient_of_a_flat_critic_is_zero_not_nan():
    def penalty(w):
        return gradient_penalty(lambda x: linear(x, w), REAL, FAKE, mix(REAL, KEY))

    value, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.zeros_like(WEIGHT))
    assert value == 1
    np.testing.assert_array_equal(gradient, 0)


def square(x):
    """A critic whose gradient is its argument."""
    return jnp.square(x).sum(axis=range(1, x.ndim)) / 2


def test_a_root_has_no_infinite_slope():
    squares = jnp.array([0.0, 4.0])
    np.testing.assert_array_equal(root(squares), [0, 2])
    slopes = jax.grad(lambda x: root(x).sum())(squares)
    np.testing.assert_allclose(slopes, [0, 0.25])


def test_squared_norms_are_over_all_axes_of_a_sample_and_averaged_over_samples():
    np.testing.assert_allclose(r1(square, REAL), (REAL**2).sum() / 4 / 2, rtol=1e-6)
    np.testing.assert_allclose(r2(square, FAKE), (FAKE**2).sum() / 4 / 2, rtol=1e-6)
    norms = np.sqrt((REAL**2).sum((1, 2, 3)))
    same = gradient_penalty(square, REAL, REAL, mix(REAL, KEY))
    np.testing.assert_allclose(same, ((norms - 1) ** 2).mean(), rtol=1e-5)


def test_interpolates_are_uniform_on_the_segment_with_one_weight_per_sample():
    # Real is all ones and fake all zeros, so ‖x̂‖² = n ε² for one ε, and n/3 for n of them.
    n = 500
    one, none = jnp.ones((1, 10, n // 10)), jnp.zeros((1, 10, n // 10))
    keys = jax.random.split(KEY, 400)
    draws = jax.jit(jax.vmap(lambda key: zero_centred(square, one, none, mix(one, key))))(keys)
    assert stats.kstest(np.sqrt(np.asarray(draws) / n), "uniform").pvalue > 0.01
    # Different samples of one batch draw differently: their mean is that of ε², not one draw.
    ones, zeros = jnp.ones((10_000, 1)), jnp.zeros((10_000, 1))
    batch = zero_centred(square, ones, zeros, mix(ones, KEY))
    np.testing.assert_allclose(batch, 1 / 3, atol=0.01)
    # Off the segment's line there is nothing: between equal ends everything is the end.
    ends = zero_centred(square, REAL, REAL, mix(REAL, KEY))
    np.testing.assert_allclose(ends, 2 * r1(square, REAL), rtol=1e-6)


@pytest.mark.parametrize("penalty", [gradient_penalty, zero_centred])
def test_unequal_shapes_are_refused(penalty):
    with pytest.raises(UserError, match=r"real \(4, 3, 3, 2\) and fake \(1, 3, 3, 2\)") as e:
        penalty(linear, REAL, FAKE[:1], mix(REAL, KEY))
    assert "\n" not in str(e.value)


def mlp(params, x):
    w1, b1, w2 = params
    return jnp.tanh(x @ w1 + b1) @ w2


def mlp_input_gradient(params, x):
    w1, b1, w2 = params
    return ((1 - np.tanh(x @ w1 + b1) ** 2) * w2) @ w1.T


def test_second_order_gradient_equals_finite_differences():
    rng = np.random.default_rng(1)
    params = [rng.normal(size=s) for s in ((3, 4), (4,), (4,))]
    x = rng.normal(size=(5, 3))

    def reference(params):  # equal ends make the interpolates known
        norms = np.linalg.norm(mlp_input_gradient(params, x), axis=1)
        return ((norms - 1) ** 2).mean(), (norms**2).mean() / 2

    h = 1e-6
    expected = [np.zeros((2, *p.shape)) for p in params]
    for i, p in enumerate(params):
        for j in np.ndindex(p.shape):
            up, down = [q.copy() for q in params], [q.copy() for q in params]
            up[i][j] += h
            down[i][j] -= h
            difference = np.subtract(reference(up), reference(down)) / (2 * h)
            expected[i][(slice(None), *j)] = difference

    with jax.enable_x64(True):
        penalties = (
            lambda p: gradient_penalty(lambda x: mlp(p, x), x, x, mix(x, KEY)),
            lambda p: r1(lambda x: mlp(p, x), x),
        )
        for k, penalty in enumerate(penalties):
            value, gradient = jax.jit(jax.value_and_grad(penalty))(params)
            assert value.dtype == jnp.float64
            np.testing.assert_allclose(value, reference(params)[k], rtol=1e-12)
            for g, e in zip(gradient, expected, strict=True):
                np.testing.assert_allclose(g, e[k], rtol=1e-6, atol=1e-8)


def test_second_order_gradient_equals_pytorch():
    rng = np.random.default_rng(2)
    params = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4,), (4,))]
    x = rng.normal(size=(5, 3)).astype(np.float32)
    penalty = lambda p: gradient_penalty(lambda x: mlp(p, x), x, x, mix(x, KEY))  # noqa: E731
    gradients = jax.jit(jax.grad(penalty))(params)

    w1, b1, w2 = theirs = [torch.tensor(p, requires_grad=True) for p in params]
    t = torch.tensor(x, requires_grad=True)
    (slope,) = torch.autograd.grad((torch.tanh(t @ w1 + b1) @ w2).sum(), t, create_graph=True)
    ((slope.norm(dim=1) - 1) ** 2).mean().backward()
    for g, p in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(g, p.grad, rtol=1e-4, atol=1e-6)


def test_optimum_of_wgan_gp_between_two_points():
    # min over w of -2w + 10 (|w| - 1)²: w = 1 + W/(2λ) = 1.1 with W = 2, and a gap of 2.2, not W.
    real, fake = jnp.full((2, 1), 2.0), jnp.zeros((2, 1))

    def objective(w):
        critic = lambda x: w * x[:, 0]  # noqa: E731
        adversarial = losses.wasserstein.discriminator(critic(real), critic(fake))
        return adversarial + 10 * gradient_penalty(critic, real, fake, mix(real, KEY))

    def step(w, _):
        return w - 0.02 * jax.grad(objective)(w), None

    w = jax.jit(lambda w: jax.lax.scan(step, w, length=100)[0])(jnp.float32(0.1))
    np.testing.assert_allclose(w, 1.1, rtol=1e-5)
    gap = -losses.wasserstein.discriminator(w * real, w * fake)
    np.testing.assert_allclose(gap, 2.2, rtol=1e-5)


def test_trained_critic_scores_real_samples_higher():
    real = 1 + 0.1 * RNG.normal(size=(64, 1)).astype(np.float32)
    fake = -1 + 0.1 * RNG.normal(size=(64, 1)).astype(np.float32)
    params = [0.1 * RNG.normal(size=s).astype(np.float32) for s in ((1, 8), (8,), (8,))]

    def objective(params):
        critic = lambda x: mlp(params, x)  # noqa: E731
        adversarial = losses.wasserstein.discriminator(critic(real), critic(fake))
        return adversarial + 10 * gradient_penalty(critic, real, fake, mix(real, KEY))

    def step(params, _):
        gradient = jax.grad(objective)(params)
        return jax.tree.map(lambda p, g: p - 0.02 * g, params, gradient), None

    params = jax.jit(lambda params: jax.lax.scan(step, params, length=300)[0])(params)
    gap = mlp(params, real).mean() - mlp(params, fake).mean()
    # W₁ = 2 and the slope is about 1.1 between the two.
    assert 1.8 < gap < 2.4


def test_drift_is_the_mean_square():
    np.testing.assert_allclose(drift(jnp.array([3.0, -4.0])), 12.5)


def biggan_gradient(w):
    """The gradient BigGAN's PyTorch code adds for β = 1, w[out, rest] in its own layout."""
    return 2 * (w @ w.T * (1 - np.eye(len(w)))) @ w


def test_orthogonal_of_a_convolution_has_its_filters_in_the_last_axis():
    kernel = RNG.normal(size=(3, 3, 4, 5))
    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.value_and_grad(orthogonal))({"conv": {"kernel": kernel}})

    filters = kernel.transpose(3, 2, 0, 1).reshape(5, -1)  # PyTorch's (out, in, kh, kw), viewed
    gram = filters @ filters.T
    expected = sum(gram[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    np.testing.assert_allclose(value, expected, rtol=1e-12)

    w = kernel.reshape(-1, 5)
    analytic = 4 * w @ (w.T @ w * (1 - np.eye(5)))
    np.testing.assert_allclose(gradient["conv"]["kernel"].reshape(-1, 5), analytic, rtol=1e-10)
    theirs = biggan_gradient(filters).reshape(5, 4, 3, 3).transpose(2, 3, 1, 0)
    np.testing.assert_allclose(gradient["conv"]["kernel"], 2 * theirs, rtol=1e-10)


def test_orthogonal_of_more_filters_than_dimensions():
    w = RNG.normal(size=(3, 7))
    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.value_and_grad(orthogonal))({"kernel": w})
    gram = w.T @ w * (1 - np.eye(7))
    np.testing.assert_allclose(value, np.square(gram).sum(), rtol=1e-12)
    np.testing.assert_allclose(gradient["kernel"], 4 * w @ gram, rtol=1e-10)


def test_orthogonal_filters_of_any_norm_are_free():
    q, _ = np.linalg.qr(RNG.normal(size=(6, 4)))
    free = {"kernel": (q * [1, 2, 3, 0.5]).astype(np.float32)}
    np.testing.assert_allclose(orthogonal(free), 0, atol=1e-10)
    value, gradient = jax.jit(jax.value_and_grad(orthogonal))(
        {"kernel": np.ones((3, 2), np.float32)}
    )
    assert value == 2 * 3**2
    np.testing.assert_array_equal(gradient["kernel"], 4 * 3)


def test_orthogonal_counts_selected_parameters_with_two_axes():
    ones = np.ones((3, 2), np.float32)  # 18 each
    params = {
        "shared": {"embedding": ones},
        "block_0": {"conv": {"kernel": ones, "bias": np.ones(7, np.float32)}},
        "out": {"kernel": 2 * ones},
    }
    paths = []
    assert orthogonal(params, lambda path: paths.append(path) or True) == 18 + 18 + 16 * 18
    assert sorted(paths) == ["block_0/conv/kernel", "out/kernel", "shared/embedding"]
    assert orthogonal(params, lambda path: not path.startswith("shared/")) == 18 + 16 * 18


@pytest.mark.parametrize(
    ("params", "select"),
    [({"bias": np.ones(3)}, lambda path: True), ({"kernel": np.ones((3, 3))}, lambda path: False)],
)
def test_orthogonal_of_nothing_is_refused(params, select):
    with pytest.raises(UserError, match="applies to none of 1 parameters") as e:
        orthogonal(params, select)
    assert "\n" not in str(e.value)
