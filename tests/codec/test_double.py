import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.codec.double import double, in_double


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(x, kernel):
    """Float32, bfloat16 and a function with a derivative of its own, as networks have them."""
    y = jax.lax.conv_general_dilated(
        x,
        kernel.astype(jnp.bfloat16).astype(jnp.float32),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jnp.round(nn.silu(y).astype(jnp.float32).sum(-1) * 1000)


def test_sums_in_another_order_round_alike():
    x, kernel = numbers(1, 16, 16, 512), numbers(3, 3, 512, 64, seed=1)
    order = np.random.default_rng(2).permutation(512)
    pairs = (x, kernel), (x[..., order], kernel[:, :, order])
    narrow = [np.asarray(jax.jit(network)(*pair)) for pair in pairs]
    assert (narrow[0] != narrow[1]).any()  # what would make noise of a file
    wide = [in_double(network)(*double(pair)) for pair in pairs]
    np.testing.assert_array_equal(*wide)
    assert wide[0].dtype == np.float64


def test_it_computes_what_numpy_does_in_float64():
    weights = numbers(5, 5) / 4

    def loop(weights, start):
        def body(carry, k):
            carry = jnp.tanh(weights @ carry) + k * jnp.float32(0.1)
            return carry, carry[0] * 2

        last, kept = jax.lax.scan(body, start, jnp.arange(4), reverse=True)
        return {"last": last, "kept": kept, "whole": jnp.int32(3) + k_of(start)}

    def k_of(x):
        return jnp.argmax(x)

    made = in_double(loop)(*double((weights, numbers(5, seed=1))))
    x, kept = np.float64(numbers(5, seed=1)), []
    for k in (3, 2, 1, 0):
        x = np.tanh(np.float64(weights) @ x) + k * np.float64(np.float32(0.1))
        kept.insert(0, x[0] * 2)
    np.testing.assert_allclose(made["last"], x, rtol=1e-14)
    np.testing.assert_allclose(made["kept"], kept, rtol=1e-14)
    assert made["whole"] == 3 + np.argmax(numbers(5, seed=1))
    assert made["whole"].dtype == np.int32


@pytest.mark.parametrize(
    ("numbers_of", "how"),
    [
        (("NHWC", "HWIO", "NHWC"), {"window_strides": (2, 1), "padding": ((1, 2), (0, 1))}),
        (
            ("NCHW", "OIHW", "NCHW"),
            {
                "window_strides": (1, 2),
                "padding": ((3, -1), (2, 2)),
                "lhs_dilation": (2, 3),
                "rhs_dilation": (1, 2),
            },
        ),
    ],
)
def test_convolutions_of_any_layout_are_jaxs(numbers_of, how):
    x, kernel = numbers(2, 7, 8, 5), numbers(3, 2, 5, 4, seed=1)
    if numbers_of[0] == "NCHW":
        x, kernel = x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)

    def convolution(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=numbers_of, **how)

    made = in_double(convolution)(*double((x, kernel)))
    with jax.enable_x64(True):
        want = convolution(np.float64(x), np.float64(kernel))
    np.testing.assert_allclose(made, want, rtol=1e-12, atol=1e-12)


def test_branches_are_refused():
    def branch(x):
        return jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)

    with pytest.raises(NotImplementedError, match="cond"):
        in_double(branch)(double(numbers(3)))
