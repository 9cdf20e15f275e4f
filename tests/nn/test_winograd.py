"""Winograd's forms are the convolution, as a float64 one of PyTorch has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jaxgan.nn import winograd

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def expected(x, kernel, kind):
    if kind == "up":
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    y = F.conv2d(x, kernel, padding=1)
    return 4 * F.avg_pool2d(y, 2) if kind == "down" else y


@pytest.mark.parametrize(
    ("kind", "size"), [("same", (8, 8)), ("same", (5, 3)), ("up", (3, 4)), ("down", (6, 10))]
)
def test_value_first_and_second_derivatives(kind, size, monkeypatch):
    monkeypatch.setattr(winograd, "_TILES", 4)  # in pieces
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((4, *size, 5)), rng.standard_normal((3, 3, 5, 7)) / 7

    def mine(x, kernel):
        def total(x, kernel):
            return jnp.sin(winograd.convolve(x, kernel, kind)).sum()

        def squares(x, kernel):
            return (jax.grad(total)(x, kernel) ** 2).sum()

        first, second = jax.grad(total, (0, 1)), jax.grad(squares, (0, 1))
        change = jax.jvp(total, (x, kernel), (x, kernel))[1]
        y = winograd.convolve(x, kernel, kind)
        return y, *first(x, kernel), *second(x, kernel), change

    got = jax.jit(mine, compiler_options=QUICK)(*(jnp.float32(a) for a in (x, kernel)))

    image = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    weight = torch.from_numpy(kernel).permute(3, 2, 0, 1).requires_grad_()
    y = expected(image, weight, kind)
    first = torch.autograd.grad(y.sin().sum(), (image, weight), create_graph=True)
    second = torch.autograd.grad((first[0] ** 2).sum(), (image, weight))
    change = sum((a * b).sum() for a, b in zip(first, (image, weight), strict=True))
    images, weights = (0, 2, 3, 1), (2, 3, 1, 0)
    orders = (images, images, weights, images, weights)
    want = [a.permute(order) for a, order in zip((y, *first, *second), orders, strict=True)]
    for a, b in zip(got, (*want, change), strict=True):
        b = b.detach().numpy()
        np.testing.assert_allclose(a / np.abs(b).max(), b / np.abs(b).max(), atol=2e-5)


def test_over_a_mapped_axis_and_again():
    x, kernel = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
    together = winograd.convolve(x.reshape(6, 4, 4, 2), kernel).reshape(x.shape)
    mapped = jax.vmap(winograd.convolve, (0, None))(x, kernel)
    np.testing.assert_allclose(mapped, together, atol=1e-5)
    np.testing.assert_array_equal(mapped, jax.vmap(winograd.convolve, (0, None))(x, kernel))
