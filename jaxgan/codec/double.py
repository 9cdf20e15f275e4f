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


def _wide(x: Any) -> Any:
    if not _is_real(getattr(x, "dtype", None)):
        return x
    return x.astype(np.float64) if hasattr(x, "astype") else np.float64(x)  # a literal is a float


def _narrow(dtype: Any) -> Any:
    return np.dtype(np.float32) if _is_real(dtype) else dtype


def _is_real(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating)
