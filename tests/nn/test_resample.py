"""Every form of a resampling convolution is the same function, and that of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jaxgan.backend import target
from jaxgan.errors import UserError
from jaxgan.nn import resample
from jaxgan.nn.layers import Conv

# The tests spend their time compiling.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def nchw(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def oihw(kernel):
    return torch.from_numpy(kernel).permute(3, 2, 0, 1)


def nhwc(x):
    return x.detach().permute(0, 2, 3, 1).numpy()


def value_and_gradients(f, x, kernel):
    """Result, and the gradients of a nonlinear function of it."""

    def total(x, kernel):
        y = f(x, kernel)
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size), y

    gradients, y = jax.jit(jax.grad(total, (0, 1), has_aux=True), compiler_options=QUICK)(x, kernel)
    return y, *gradients


def assert_equal_forms(f, forms, x, kernel):
    first, *others = [
        value_and_gradients(lambda x, k, form=form: f(x, k, form=form), x, kernel) for form in forms
    ]
    for other in others:
        for a, b in zip(first, other, strict=True):
            scale = np.abs(a).max()
            np.testing.assert_allclose(b / scale, a / scale, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (1, 1), (5, 3), (2, 7)])
def test_conv_up_forms_agree_and_match_torch(size):
    x, kernel = arrays((2, *size, 3), (3, 3, 3, 5))
    kernel /= 5
    assert_equal_forms(resample.conv_up, ["plain", "native", "phases"], x, kernel)
    up = F.interpolate(nchw(x), scale_factor=2, mode="nearest")
    expected = nhwc(F.conv2d(up, oihw(kernel), padding=1))
    np.testing.assert_allclose(resample.conv_up(x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (2, 2), (6, 10)])
def test_conv_down_forms_agree_and_match_torch(size):
    x, kernel = arrays((2, *size, 3), (3, 3, 3, 5))
    kernel /= 5
    assert_equal_forms(resample.conv_down, ["plain", "native"], x, kernel)
    expected = nhwc(F.avg_pool2d(F.conv2d(nchw(x), oihw(kernel), padding=1), 2))
    np.testing.assert_allclose(resample.conv_down(x, kernel), expected, atol=1e-5)


def test_pointwise_kernels_commute_with_resampling():
    x, kernel = arrays((2, 4, 6, 3), (1, 1, 3, 5))
    plain = jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])
    np.testing.assert_allclose(resample.conv_up(x, kernel), resample.upsample(plain), atol=1e-5)
    np.testing.assert_allclose(resample.conv_down(x, kernel), resample.downsample(plain), atol=1e-5)


TRANSPOSED = {  # name: (k, stride, padding, output_padding, size)
    "dcgan": (4, 2, 1, 0, (4, 4)),
    "dcgan, odd": (4, 2, 1, 0, (3, 5)),
    "projection": (4, 1, 0, 0, (1, 1)),
    "projection of a map": (4, 1, 0, 0, (2, 3)),
    "cyclegan": (3, 2, 1, 1, (4, 5)),
    "five": (5, 2, 2, 1, (3, 4)),
    "cogan": (6, 1, 1, 0, (3, 4)),
    "stride 3": (3, 3, 0, 0, (2, 3)),
    "odd result": (3, 2, 0, 0, (2, 3)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose_forms_agree_and_match_torch(name):
    k, stride, padding, output_padding, size = TRANSPOSED[name]
    x, kernel = arrays((2, *size, 3), (k, k, 3, 5))
    kernel /= 5
    how = {"stride": stride, "padding": padding, "output_padding": output_padding}

    def f(x, kernel, form=None):
        return resample.conv_transpose(x, kernel, **how, form=form)

    forms = ["native", "phases", "spread"] + ["matmul"] * (size == (1, 1) and output_padding == 0)
    assert_equal_forms(f, forms, x, kernel)
    weight = torch.from_numpy(kernel[::-1, ::-1].copy()).permute(2, 3, 0, 1)
    expected = nhwc(F.conv_transpose2d(nchw(x), weight, **how))
    np.testing.assert_allclose(f(x, kernel), expected, atol=1e-5)


STRIDED = {  # name: (k, stride, padding, size)
    "dcgan": (4, 2, 1, (8, 6)),
    "dcgan, odd": (4, 2, 1, (7, 5)),
    "score": (4, 1, 0, (4, 4)),
    "patch": (4, 1, 1, (5, 6)),
    "cyclegan": (3, 2, 1, (6, 7)),
    "five": (5, 2, 2, (8, 9)),
    "pointwise": (1, 1, 0, (3, 4)),
    "patches": (3, 3, 0, (7, 6)),
}


@pytest.mark.parametrize("name", STRIDED)
def test_conv_forms_agree_and_match_torch(name):
    k, stride, padding, size = STRIDED[name]
    x, kernel = arrays((2, *size, 3), (k, k, 3, 5))
    kernel /= 5
    how = {"stride": stride, "padding": padding}
    forms = ["native"] + ["matmul"] * (size == (k, k)) + ["folded"] * (stride == 1)

    def f(x, kernel, form=None):
        return resample.conv(x, kernel, **how, form=form)

    assert_equal_forms(f, forms, x, kernel)
    expected = nhwc(F.conv2d(nchw(x), oihw(kernel), **how))
    np.testing.assert_allclose(f(x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 5), (5, 2)])
@pytest.mark.parametrize(("taps", "padding"), [((7, 7), 0), ((3, 4), (1, 2))])
def test_kernels_folded_at_either_end_are_the_same(inputs, outputs, taps, padding):
    x, kernel = arrays((2, 8, 9, inputs), (*taps, inputs, outputs))
    kernel /= 7

    def f(x, kernel, form=None):
        return resample.conv(x, kernel, 1, padding, form=form)

    def slopes(x, kernel, form=None):
        return jax.grad(lambda x: jnp.sin(f(x, kernel, form)).sum())(x)

    assert_equal_forms(f, ["native", "folded"], x, kernel)
    assert_equal_forms(slopes, ["native", "folded"], x, kernel)


def test_images_are_convolved_by_one_column_on_a_cpu():
    f = jax.jit(resample.conv)

    def columns(inputs, outputs, taps):
        x, kernel = arrays((1, 8, 8, inputs), (taps, taps, inputs, outputs))
        text = f.lower(x, kernel).as_text()
        return f"tensor<{taps}x1x" in text

    for name in ("cpu", "gpu"):
        with target(name):
            assert columns(16, 3, 3) == columns(3, 16, 7) == (name == "cpu")
            assert not columns(3, 16, 3)
            assert not columns(16, 16, 7)


def test_down_undoes_up_and_shapes():
    (x,) = arrays((2, 3, 5, 4))
    assert resample.upsample(x).shape == (2, 6, 10, 4)
    np.testing.assert_array_equal(resample.downsample(resample.upsample(x)), x)
    expected = F.avg_pool2d(nchw(x[:, :2, :4]), 2)
    np.testing.assert_allclose(resample.downsample(x[:, :2, :4]), nhwc(expected), atol=1e-6)


def test_odd_images_cannot_be_halved():
    x, kernel = arrays((1, 5, 4, 1), (3, 3, 1, 1))
    with pytest.raises(UserError, match="5x4"):
        resample.downsample(x)
    with pytest.raises(UserError, match="5x4"):
        resample.conv_down(x, kernel)


def test_backend_chooses_the_form_and_is_part_of_the_jit_cache():
    x, kernel = arrays((1, 4, 4, 2), (3, 3, 2, 2))
    f = jax.jit(resample.conv_up)

    def dilated():
        return "lhs_dilate = [2, 2]" in f.lower(x, kernel).as_text()

    with target("cpu"):
        assert not dilated()
    with target("tpu"):
        assert dilated()
    with target("cpu"):
        assert not dilated()


def test_kernels_are_summed_in_float32_then_cast():
    # 256 + 1 + 1 is 258 in bfloat16, but adding one at a time in bfloat16 leaves 256.
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[0, :2, 0, 0] = 256, 1
    kernel[1, :1, 0, 0] = 1
    x = np.ones((1, 2, 2, 1), np.float32)
    for form in ("native", "phases"):
        y = resample.conv_up(x, kernel, dtype=jnp.bfloat16, form=form)
        assert y.dtype == jnp.bfloat16
        assert y[0, 3, 3, 0] == 258


@pytest.mark.parametrize("name", ["cpu", "gpu"])
@pytest.mark.parametrize("taps", [1, 3])
def test_widened_kernels_and_their_gradients(name, taps):
    kernel, cotangent = arrays((taps, taps, 2, 4), (taps + 1, taps + 1, 2, 4))
    factor = np.array([0.5, 1.0, 2.0, 3.0], np.float32)

    def boxed(kernel, factor):
        k = jnp.pad(kernel * factor, ((1, 1), (1, 1), (0, 0), (0, 0)))
        return k[:-1, :-1] + k[:-1, 1:] + k[1:, :-1] + k[1:, 1:]

    with target(name):
        found, back = jax.vjp(resample.widen, kernel, factor)
        gradients = back(cotangent)
    expected, back = jax.vjp(boxed, kernel, factor)
    for a, b in zip((found, *gradients), (expected, *back(cotangent)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gradient_of_a_gradient_agrees():
    x, kernel = arrays((1, 3, 3, 2), (3, 3, 2, 2))

    def penalty(kernel, form):
        g = jax.grad(lambda x: jnp.sum(jnp.sin(resample.conv_up(x, kernel, form=form))))(x)
        return jnp.sum(g**2)

    grad = jax.jit(jax.grad(penalty), static_argnums=1, compiler_options=QUICK)
    expected = grad(kernel, "plain")
    for form in ("native", "phases"):
        np.testing.assert_allclose(grad(kernel, form), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "dilation"), [((4, 4), 2), ((5, 3), 2), ((7, 8), 3), ((4, 4), 1)])
def test_dilated_convolution_is_torchs(size, dilation):
    x, kernel = arrays((2, *size, 3), (3, 3, 3, 5))
    ours = resample.conv_dilated(x, kernel, dilation)
    theirs = F.conv2d(nchw(x), oihw(kernel), padding=dilation, dilation=dilation)
    np.testing.assert_allclose(ours, nhwc(theirs), atol=1e-4)


@pytest.mark.parametrize("scale", ["up", "down"])
def test_a_layer_dilates_between_upsampling_and_the_mean(scale):
    x, kernel = arrays((2, 4, 4, 3), (3, 3, 3, 5))
    layer = Conv(5, use_bias=False, scale=scale, dilation=2)
    ours = layer.apply({"params": {"kernel": kernel}}, x)
    inner = nchw(x)
    inner = F.interpolate(inner, scale_factor=2) if scale == "up" else inner
    inner = F.conv2d(inner, oihw(kernel), padding=2, dilation=2)
    inner = F.avg_pool2d(inner, 2) if scale == "down" else inner
    np.testing.assert_allclose(ours, nhwc(inner), atol=1e-4)
