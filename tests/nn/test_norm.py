from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.nn import initializers as jinit

from jaxgan.errors import UserError
from jaxgan.nn.initializers import normal, shifted_normal
from jaxgan.nn.norm import (
    AdaptiveInstanceNorm,
    BatchNorm,
    ChannelNorm,
    ClassBatchNorm,
    ClassInstanceNorm,
    ConditionalAffine,
    InstanceNorm,
    LayerNorm,
    LinearBatchNorm,
    PixelNorm,
)
from jaxgan.nn.spectral import SpectralNorm

SHAPE = (6, 4, 5, 3)


@pytest.fixture
def x():
    """Channels of unlike means and scales."""
    draws = np.random.default_rng(0).normal(size=SHAPE)
    return (draws * [0.5, 1, 3] + [-2, 0, 5]).astype(np.float32)


def to_torch(x):
    return torch.tensor(np.moveaxis(x, -1, 1))


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def randomized(variables, seed=1):
    """The same tree with every leaf drawn from N(1, 0.5^2)."""
    leaves, tree = jax.tree.flatten(variables)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(
        tree, [jnp.asarray(1 + 0.5 * rng.normal(size=v.shape), jnp.float32) for v in leaves]
    )


def standardized(x, axes, epsilon, ddof=0):
    x = x.astype(np.float64)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=ddof)
    return (x - mean) / np.sqrt(var + epsilon)


def test_batch_norm_train_agrees_with_torch(x):
    norm = BatchNorm()
    params = randomized(norm.init(jax.random.key(0), x, train=True)["params"])
    stats = {"mean": jnp.array([1.0, 2, 3]), "var": jnp.array([1.0, 4, 9])}
    cotangent = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)

    def loss(params, x):
        y, state = norm.apply(
            {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
        )
        return (y * cotangent).sum(), (y, state["batch_stats"])

    grads, (y, state) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)

    twin = torch.nn.BatchNorm2d(3)
    twin.weight.data = torch.tensor(np.asarray(params["scale"]))
    twin.bias.data = torch.tensor(np.asarray(params["bias"]))
    twin.running_mean = torch.tensor(np.asarray(stats["mean"]))
    twin.running_var = torch.tensor(np.asarray(stats["var"]))
    inputs = to_torch(x).requires_grad_()
    out = twin(inputs)
    (out * to_torch(cotangent)).sum().backward()

    np.testing.assert_allclose(y, from_torch(out), atol=1e-5)
    np.testing.assert_allclose(grads[1], from_torch(inputs.grad), atol=2e-5)
    np.testing.assert_allclose(grads[0]["scale"], twin.weight.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads[0]["bias"], twin.bias.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state["mean"], twin.running_mean, rtol=1e-6)
    # Flax's biased running variance, not PyTorch's.
    expected = 0.9 * np.array([1, 4, 9]) + 0.1 * x.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(state["var"], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_second_derivative_agrees_with_torch(x, kind):
    """Gradient penalties differentiate twice."""
    norm = BatchNorm(affine=False) if kind == "batch" else InstanceNorm()
    variables = norm.init(jax.random.key(0), x, train=True)

    def norm_of_gradient(x):
        gradient = jax.grad(lambda x: (norm.apply(variables, x, train=True) ** 3).sum())(x)
        return (gradient**2).mean()

    inputs = to_torch(x).requires_grad_()
    if kind == "batch":
        y = torch.nn.functional.batch_norm(inputs, None, None, training=True)
    else:
        y = torch.nn.functional.instance_norm(inputs)
    (gradient,) = torch.autograd.grad((y**3).sum(), inputs, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).mean(), inputs)
    np.testing.assert_allclose(
        jax.jit(jax.grad(norm_of_gradient))(x), from_torch(second), rtol=1e-3, atol=2e-3
    )


def test_batch_norm_eval_agrees_with_torch(x):
    norm = BatchNorm(epsilon=0.8)
    variables = randomized(norm.init(jax.random.key(0), x, train=False))
    twin = torch.nn.BatchNorm2d(3, eps=0.8).eval()
    twin.weight.data = torch.tensor(np.asarray(variables["params"]["scale"]))
    twin.bias.data = torch.tensor(np.asarray(variables["params"]["bias"]))
    twin.running_mean = torch.tensor(np.asarray(variables["batch_stats"]["mean"]))
    twin.running_var = torch.tensor(np.asarray(variables["batch_stats"]["var"]))
    y = norm.apply(variables, x, train=False)
    np.testing.assert_allclose(y, from_torch(twin(to_torch(x))), atol=1e-5)


@pytest.mark.parametrize("rank", [2, 5])
def test_batch_norm_takes_vectors_and_video(rank):
    shape = {2: (7, 4), 5: (3, 2, 3, 2, 4)}[rank]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    norm = BatchNorm(affine=False)
    y = norm.apply(norm.init(jax.random.key(0), x, train=True), x, train=True)
    np.testing.assert_allclose(y, standardized(x, tuple(range(rank - 1)), 1e-5), atol=1e-5)


def test_running_statistics_move_only_when_training_and_mutable(x):
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["var"], 1)

    _, state = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])

    frozen = norm.apply(variables, x, train=True)  # would raise if it wrote
    moved, state = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(frozen, moved)
    assert np.all(np.asarray(state["batch_stats"]["mean"]) != 0)


def test_momentum_zero_stores_the_statistics_of_the_batch(x):
    norm = BatchNorm(momentum=0.0)
    variables = norm.init(jax.random.key(0), x, train=True)
    y, state = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(norm.apply({**variables, **state}, x, train=False), y, atol=1e-5)


def test_batch_norm_initialisers():
    x = np.zeros((2, 4000), np.float32)
    norm = BatchNorm(scale_init=shifted_normal(1.0, 0.02), bias_init=jinit.constant(3.0))
    params = norm.init(jax.random.key(0), x, train=True)["params"]
    assert abs(params["scale"].mean() - 1) < 2e-3
    assert abs(params["scale"].std() - 0.02) < 2e-3
    np.testing.assert_array_equal(params["bias"], 3)
    assert "params" not in BatchNorm(affine=False).init(jax.random.key(0), x, train=True)


def test_constant_batch_is_finite_with_finite_gradient():
    """E[x^2] - E[x]^2 rounds below zero in about half of these channels."""
    x = np.ones((8, 4, 4, 1), np.float32) * np.linspace(300, 900, 32, dtype=np.float32)
    norm = BatchNorm(affine=False)

    @jax.jit
    def output_and_gradient(x):
        variables = norm.init(jax.random.key(0), x, train=True)
        y, vjp = jax.vjp(lambda x: norm.apply(variables, x, train=True), x)
        return y, *vjp(jnp.ones_like(y))

    assert all(np.isfinite(a).all() for a in output_and_gradient(x))


def test_one_pass_variance_holds_to_a_mean_of_a_hundred_deviations():
    x = (100 + np.random.default_rng(0).normal(size=(4096, 2))).astype(np.float32)
    norm = BatchNorm(affine=False)
    y = norm.apply(norm.init(jax.random.key(0), x, train=True), x, train=True)
    np.testing.assert_allclose(y, standardized(x, (0,), 1e-5), atol=0.02)


def test_class_batch_norm_agrees_with_numpy_per_class(x):
    label = np.array([0, 3, 1, 3, 2, 0])
    norm = ClassBatchNorm(classes=4)
    variables = norm.init(jax.random.key(0), x, label, train=True)
    assert {k: v.shape for k, v in variables["params"].items()} == {
        "scale": (4, 3),
        "bias": (4, 3),
    }
    plain = BatchNorm()
    expected = plain.apply(plain.init(jax.random.key(0), x, train=True), x, train=True)
    np.testing.assert_array_equal(norm.apply(variables, x, label, train=True), expected)

    params = randomized(variables["params"])
    y, state = norm.apply(
        {**variables, "params": params}, x, label, train=True, mutable=["batch_stats"]
    )
    normal = standardized(x, (0, 1, 2), 1e-5)
    for i, k in enumerate(label):
        expected = normal[i] * np.asarray(params["scale"])[k] + np.asarray(params["bias"])[k]
        np.testing.assert_allclose(y[i], expected, atol=1e-5)
    np.testing.assert_allclose(
        state["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5, atol=1e-6
    )


def test_a_label_outside_the_table_is_nan(x):
    norm = ClassBatchNorm(classes=4)
    label = np.array([0, 4, 1, 3, 2, 0])
    variables = norm.init(jax.random.key(0), x, label, train=True)
    y = np.asarray(norm.apply(variables, x, label, train=True))
    assert np.isnan(y[1]).all()
    assert np.isfinite(np.delete(y, 1, axis=0)).all()


@pytest.mark.parametrize("train", [True, False])
def test_linear_batch_norm_is_plain_at_zero_weights(x, train):
    norm, plain = LinearBatchNorm(initializer=normal(0.0)), BatchNorm(affine=False)
    condition = np.random.default_rng(3).normal(size=(6, 7)).astype(np.float32)
    variables = norm.init(jax.random.key(0), x, condition, train=True)
    stats = {"batch_stats": randomized(variables["batch_stats"])}
    np.testing.assert_array_equal(
        norm.apply({**variables, **stats}, x, condition, train=train),
        plain.apply(stats, x, train=train),
    )


def test_linear_batch_norm_agrees_with_numpy(x):
    norm = LinearBatchNorm(initializer=normal(0.3))
    condition = np.random.default_rng(3).normal(size=(6, 7)).astype(np.float32)
    variables = norm.init(jax.random.key(0), x, condition, train=True)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == 2 * 7 * 3
    y = norm.apply(variables, x, condition, train=True)
    scale = 1 + condition @ np.asarray(variables["params"]["scale"]["kernel"])
    bias = condition @ np.asarray(variables["params"]["bias"]["kernel"])
    normal_ = standardized(x, (0, 1, 2), 1e-5)
    np.testing.assert_allclose(
        y, normal_ * scale[:, None, None] + bias[:, None, None], rtol=1e-5, atol=1e-5
    )


def test_linear_batch_norm_reparametrises_both_kernels(x):
    norm = LinearBatchNorm(reparam=SpectralNorm)
    condition = np.random.default_rng(3).normal(size=(6, 7)).astype(np.float32)
    variables = norm.init(jax.random.key(0), x, condition, train=True)
    assert set(variables["spectral"]) == {"scale", "bias"}
    scaled = {**variables, "params": jax.tree.map(lambda p: 5 * p, variables["params"])}
    np.testing.assert_allclose(
        norm.apply(scaled, x, condition, train=True),
        norm.apply(variables, x, condition, train=True),
        atol=1e-5,
    )


def test_instance_norm_agrees_with_torch(x):
    twin = torch.nn.InstanceNorm2d(3, affine=True)
    norm = InstanceNorm(affine=True)
    variables = randomized(norm.init(jax.random.key(0), x))
    twin.weight.data = torch.tensor(np.asarray(variables["params"]["scale"]))
    twin.bias.data = torch.tensor(np.asarray(variables["params"]["bias"]))
    np.testing.assert_allclose(
        norm.apply(variables, x), from_torch(twin(to_torch(x))), rtol=1e-5, atol=1e-5
    )
    bare = InstanceNorm()
    assert not bare.init(jax.random.key(0), x)
    expected = torch.nn.functional.instance_norm(to_torch(x))
    np.testing.assert_allclose(bare.apply({}, x), from_torch(expected), atol=1e-5)


@pytest.mark.parametrize("affine", [False, True])
def test_running_instance_norm_agrees_with_torch_in_training_and_after(x, affine):
    """`track_running_stats`: running variances are unbiased, and samples' means averaged."""
    twin = torch.nn.InstanceNorm2d(3, affine=affine, track_running_stats=True)
    norm = InstanceNorm(affine=affine, running=True)
    variables = norm.init(jax.random.key(0), x, train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["var"], 1)
    if affine:
        variables["params"] = randomized(variables["params"])
        twin.weight.data = torch.tensor(np.asarray(variables["params"]["scale"]))
        twin.bias.data = torch.tensor(np.asarray(variables["params"]["bias"]))
    for factor in (1, 3):
        y, moved = norm.apply(variables, factor * x, train=True, mutable=["batch_stats"])
        np.testing.assert_allclose(y, from_torch(twin(to_torch(factor * x))), rtol=1e-5, atol=1e-5)
        variables = {**variables, **moved}
        np.testing.assert_allclose(moved["batch_stats"]["mean"], twin.running_mean, rtol=1e-5)
        np.testing.assert_allclose(moved["batch_stats"]["var"], twin.running_var, rtol=1e-5)
    expected = from_torch(twin.eval()(to_torch(x)))
    ours, kept = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])


def test_running_instance_norm_of_one_place_is_refused():
    with pytest.raises(UserError, match="one place"):
        InstanceNorm(running=True).init(jax.random.key(0), np.ones((2, 1, 1, 3)), train=True)


def test_class_instance_norm_agrees_with_torch_class_by_class(x):
    label = np.array([0, 3, 1, 3, 2, 0])
    norm = ClassInstanceNorm(classes=4)
    variables = norm.init(jax.random.key(0), x, label)
    assert {k: v.shape for k, v in variables["params"].items()} == {
        "scale": (4, 3),
        "bias": (4, 3),
    }
    np.testing.assert_array_equal(norm.apply(variables, x, label), InstanceNorm().apply({}, x))

    variables = randomized(variables)
    y = norm.apply(variables, x, label)
    tables = {k: torch.tensor(np.asarray(v)) for k, v in variables["params"].items()}
    for i, k in enumerate(label):
        expected = torch.nn.functional.instance_norm(
            to_torch(x[i : i + 1]), weight=tables["scale"][k], bias=tables["bias"][k]
        )
        np.testing.assert_allclose(y[i : i + 1], from_torch(expected), rtol=1e-5, atol=1e-5)


def test_class_instance_norm_blends_classes_by_weights(x):
    norm = ClassInstanceNorm(classes=4)
    label = np.array([0, 3, 1, 3, 2, 0])
    variables = randomized(norm.init(jax.random.key(0), x, label))
    one_hot = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(
        norm.apply(variables, x, one_hot[label]), norm.apply(variables, x, label), atol=1e-5
    )
    blend = norm.apply(variables, x, np.tile(0.3 * one_hot[1] + 0.7 * one_hot[2], (6, 1)))
    first, second = (norm.apply(variables, x, np.full(6, k)) for k in (1, 2))
    np.testing.assert_allclose(blend, 0.3 * first + 0.7 * second, atol=1e-5)

    outside = np.asarray(norm.apply(variables, x, np.array([0, 4, 1, 3, 2, 0])))
    assert np.isnan(outside[1]).all()
    assert np.isfinite(np.delete(outside, 1, axis=0)).all()


def test_layer_norm_agrees_with_torch(x):
    norm = LayerNorm()
    variables = randomized(norm.init(jax.random.key(0), x))
    expected = torch.nn.functional.layer_norm(to_torch(x), (3, 4, 5))
    expected = from_torch(expected) * np.asarray(variables["params"]["scale"])
    expected += np.asarray(variables["params"]["bias"])
    np.testing.assert_allclose(norm.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_layer_norm_keeps_samples_apart(x):
    norm = LayerNorm()
    variables = norm.init(jax.random.key(0), x)
    jacobian = jax.jit(jax.jacrev(lambda x: (norm.apply(variables, x) ** 3).mean((1, 2, 3))))(x)
    assert abs(jacobian).max() > 1e-3
    others = jacobian * (1 - np.eye(6))[:, :, None, None, None]
    np.testing.assert_array_equal(others, 0)


def test_channel_norm_agrees_with_torch(x):
    """HiFiC's code: `torch.var`, which is unbiased."""
    norm = ChannelNorm()
    variables = randomized(norm.init(jax.random.key(0), x))
    inputs = to_torch(x)
    mean, var = inputs.mean(1, keepdim=True), inputs.var(1, keepdim=True)
    expected = from_torch((inputs - mean) * torch.rsqrt(var + 1e-3))
    expected = expected * np.asarray(variables["params"]["scale"])
    expected += np.asarray(variables["params"]["bias"])
    np.testing.assert_allclose(norm.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_adaptive_instance_norm_sets_mean_and_deviation(x):
    norm = AdaptiveInstanceNorm()
    style = np.random.default_rng(4).normal(size=(6, 5)).astype(np.float32)
    variables = norm.init(jax.random.key(0), x, style)
    dense = variables["params"]["style"]
    s = style @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    y = np.asarray(norm.apply(variables, x, style))
    np.testing.assert_allclose(y.mean((1, 2)), s[:, 3:], atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), abs(s[:, :3] + 1), rtol=1e-5)


def test_adaptive_instance_norm_survives_a_constant_map():
    """StyleGAN's first map is constant until its noise weights grow."""
    x = np.full((2, 4, 4, 3), 1.1, np.float32)
    norm = AdaptiveInstanceNorm(initializer=normal(1.0))
    style = np.ones((2, 5), np.float32)
    variables = norm.init(jax.random.key(0), x, style)
    apply = jax.jit(lambda x: norm.apply(variables, x, style))
    y = apply(x)
    shift = style @ np.asarray(variables["params"]["style"]["kernel"])[:, 3:]
    np.testing.assert_allclose(y, np.broadcast_to(shift[:, None, None], y.shape), atol=1e-2)
    assert np.isfinite(jax.grad(lambda x: apply(x).sum())(x)).all()


@pytest.mark.parametrize(
    ("norm", "axes", "options"),
    [
        (BatchNorm, (0, 1, 2), {"train": True}),
        (partial(InstanceNorm, running=True), (1, 2), {"train": True}),
        (InstanceNorm, (1, 2), {}),
        (LayerNorm, (1, 2, 3), {}),
        (partial(ChannelNorm, epsilon=1e-5), (3,), {}),
    ],
)
def test_conditional_affine_agrees_with_torchs_perceptron_over_any_norm(x, norm, axes, options):
    condition = np.random.default_rng(3).normal(size=(6, 7)).astype(np.float32)
    conditional = ConditionalAffine(norm, hidden=(5, 4))
    variables = conditional.init(jax.random.key(0), x, condition, **options)
    assert "norm" not in variables["params"]
    ours = conditional.apply(variables, x, condition, **options)

    def dense(name, h):
        layer = variables["params"][name]
        weight, bias = (torch.tensor(np.asarray(layer[key])) for key in ("kernel", "bias"))
        return torch.nn.functional.linear(h, weight.T, bias)

    h = torch.relu(dense("hidden2", torch.relu(dense("hidden1", torch.tensor(condition)))))
    scale, bias = (np.asarray(dense(name, h))[:, None, None] for name in ("scale", "bias"))
    assert min(scale.std(), bias.std()) > 1e-2
    normal_ = standardized(x, axes, 1e-5, ddof=int(axes == (3,)))
    np.testing.assert_allclose(ours, normal_ * (1 + scale) + bias, rtol=1e-4, atol=1e-4)


def test_conditional_affine_takes_running_statistics_after_training(x):
    condition = np.zeros((6, 7), np.float32)
    conditional = ConditionalAffine(BatchNorm, initializer=normal(0.1))
    variables = randomized(conditional.init(jax.random.key(0), x, condition, train=True))
    plain = BatchNorm(affine=False)
    stats = {"batch_stats": variables["batch_stats"]["norm"]}
    other = conditional.apply(variables, x, condition + 1, train=False)
    normal_ = plain.apply(stats, x, train=False)
    variables["params"] = jax.tree.map(jnp.zeros_like, variables["params"])
    ours = conditional.apply(variables, x, condition, train=False)
    np.testing.assert_allclose(ours, normal_, rtol=1e-6)
    assert abs(np.asarray(other - ours)).max() > 0.1


def test_pixel_norm_has_unit_mean_square(x):
    y = np.asarray(PixelNorm().apply({}, x))
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(y / x, (y / x)[..., :1] * np.ones(3), rtol=1e-5)
    np.testing.assert_array_equal(PixelNorm().apply({}, np.zeros((1, 4), np.float32)), 0)


@pytest.mark.parametrize("norm", [BatchNorm(), ClassBatchNorm(classes=1), LinearBatchNorm()])
def test_bfloat16_batches_have_float32_statistics(norm):
    """Sums of 16,384 ones stop at 256 in bfloat16."""
    x = jnp.asarray(1 + 0.25 * np.random.default_rng(0).normal(size=(16, 32, 32, 2)), jnp.bfloat16)
    condition = {
        BatchNorm: (),
        ClassBatchNorm: (jnp.zeros(16, int),),
        LinearBatchNorm: (jnp.zeros((16, 3)),),
    }[type(norm)]
    variables = norm.init(jax.random.key(0), x, *condition, train=True)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    y, state = norm.apply(variables, x, *condition, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    assert state["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        state["batch_stats"]["var"], 0.9 + 0.1 * exact.var((0, 1, 2)), rtol=1e-5
    )
    expected = standardized(exact, (0, 1, 2), 1e-5)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "axes", "ddof"),
    [
        (InstanceNorm(), (1, 2), 0),
        (LayerNorm(), (1, 2, 3), 0),
        (ChannelNorm(epsilon=1e-5), (3,), 1),
    ],
)
def test_bfloat16_samples_have_float32_statistics(norm, axes, ddof):
    x = jnp.asarray(1 + 0.25 * np.random.default_rng(0).normal(size=(2, 16, 16, 32)), jnp.bfloat16)
    y = norm.apply(norm.init(jax.random.key(0), x), x)
    assert y.dtype == jnp.bfloat16
    expected = standardized(np.asarray(x, np.float64), axes, 1e-5, ddof)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-5)
