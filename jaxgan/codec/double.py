"""Programs in float64 on the host's CPU, whatever type they are written in.

A file is read with the very numbers that it was written with. In float32 the last bits of a
convolution depend on the device and on how many threads share its sum, and a byte of 30,000 lies
near enough to an edge of rounding to turn over. In float64 those bits are a billion times smaller.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import PyTree

from jaxgan.errors import UserError
from jaxgan.replay import Bind, replay


def double(tree: PyTree) -> PyTree:
    """Arrays of real numbers as float64, on the host; others as they are.

    Raises:
        UserError: JAX was told to leave the CPU out.
    """
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise UserError(
            "files are read and written on the CPU, which JAX_PLATFORMS leaves out: add cpu to it"
        ) from None
    with jax.enable_x64(True):
        return jax.device_put(jax.tree.map(_wide, jax.device_get(tree)), host)


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of trees of arrays, in float64, to be called with what `double` gives.

    Loops stay loops, which compile once however often they go round.

    Raises:
        NotImplementedError: what is called holds a branch or a loop without a fixed end.
    """

    @jax.jit
    def wide(*args: Any) -> Any:
        with jax.enable_x64(False):
            narrow = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, _narrow(x.dtype)), args)
            program, shapes = jax.make_jaxpr(function, return_shape=True)(*narrow)
        made = replay(program, jax.tree.leaves(args), _widely)
        return jax.tree.unflatten(jax.tree.structure(shapes), made)

    def called(*args: Any) -> Any:
        with jax.enable_x64(True):
            return jax.device_get(wide(*args))

    return called


def _widely(equation: core.JaxprEqn, given: Sequence[Any], bind: Bind) -> Sequence[Any]:
    """What an equation gives, of real numbers in float64."""
    params, name = equation.params, equation.primitive.name
    given = [_wide(x) for x in given]
    if name in ("cond", "while"):
        raise NotImplementedError(f"a program in float64 with {name}")
    if name == "scan":
        return _scan(given, **params)
    inner = params.get("call_jaxpr", params.get("jaxpr"))
    if inner is not None:
        closed = inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
        return replay(closed, given, _widely)
    if name == "conv_general_dilated" and params["feature_group_count"] == 1:
        return [_convolution(*given, **params)]
    if name == "reduce_precision":
        return given
    types = {key: np.dtype(np.float64) for key, each in params.items() if _is_real(each)}
    return bind(equation.replace(params={**params, **types}), given)


def _scan(
    given: Sequence[Any],
    *,
    jaxpr: core.ClosedJaxpr,
    num_consts: int,
    num_carry: int,
    reverse: bool,
    length: int,
    **rest: Any,
) -> Sequence[Any]:
    del rest  # how it is unrolled, and what is linear
    consts, first = given[:num_consts], given[num_consts : num_consts + num_carry]

    def body(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        made = replay(jaxpr, [*consts, *carry, *xs], _widely)
        return made[:num_carry], made[num_carry:]

    last, ys = jax.lax.scan(
        body, list(first), list(given[num_consts + num_carry :]), length, reverse=reverse
    )
    return [*last, *ys]


def _convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    dimension_numbers: Any,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    **rest: Any,
) -> jax.Array:
    """A convolution as a product of matrices for each row of the kernel's taps.

    XLA's CPU compiler has no fast convolutions of float64: 3x3 of 480 channels at 32x32 takes 2,070
    ms, and so 124 (jaxlib 0.10.2, two busy cores, 2026-11).
    """
    del rest  # one group; the precision and type are float64's
    (n, c, *sides), (o, i, *taps), (to_n, to_c, *to_sides) = dimension_numbers
    x, kernel = x.transpose(n, *sides, c), kernel.transpose(*taps, i, o)
    edges = [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(padding, lhs_dilation, strict=True)
    ]
    x = jax.lax.pad(x, np.float64(0), [(0, 0, 0), *edges, (0, 0, 0)])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel.shape, rhs_dilation, strict=False)]
    sizes = zip(x.shape[1:], spans, window_strides, strict=False)
    counts = [(size - span) // stride + 1 for size, span, stride in sizes]
    strides = list(zip(counts, window_strides, rhs_dilation, strict=True))

    def span(tap: int, count: int, stride: int, dilation: int) -> slice:
        return slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride)

    y: Any = 0
    # One product for all taps of the last side, which may have few channels each.
    for tap in np.ndindex(*kernel.shape[:-3]):
        rows = x[(slice(None), *(span(t, *each) for t, each in zip(tap, strides, strict=False)))]
        products = jnp.einsum("...i,kio->...ko", rows, kernel[tap])
        for last in range(kernel.shape[-3]):
            y = y + products[..., span(last, *strides[-1]), last, :]
    return y.transpose(*map(int, np.argsort((to_n, *to_sides, to_c))))


def _wide(x: Any) -> Any:
    if not _is_real(getattr(x, "dtype", None)):
        return x
    return x.astype(np.float64) if hasattr(x, "astype") else np.float64(x)  # a literal is a float


def _narrow(dtype: Any) -> Any:
    return np.dtype(np.float32) if _is_real(dtype) else dtype


def _is_real(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating)
