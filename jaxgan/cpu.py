"""What only concerns CPUs; `jaxgan.backend` says when it is needed."""

import ctypes
import gc
import importlib.util
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

from jaxgan.replay import Bind, replay

_YNN = "xla_cpu_experimental_ynn_fusion_type"


def tune_cpu() -> None:
    """Turns off a fusion that makes weight gradients of 3x3 convolutions two to six times slower.

    With jaxlib 0.10.2 on two cores (2026-11), the gradient of a 32x32x32x256 convolution takes 280
    ms with XLA's YNNPACK fusions and 140 ms without; on another machine, 3,900 and 650 ms. It acts
    through XLA_FLAGS, before the backend starts; a flag that this XLA does not know would abort the
    process, so its library is asked first. Whoever has set the flag keeps their choice.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _YNN in flags or not _knows(_YNN):
        return
    os.environ["XLA_FLAGS"] = f"{flags} --{_YNN}=".strip()


def _knows(flag: str) -> bool:
    spec = importlib.util.find_spec("jaxlib")
    folder = Path(spec.submodule_search_locations[0]) if spec else Path()  # type: ignore[index]
    for library in folder.glob("libjax_common.*"):
        with (
            library.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(flag.encode()) >= 0
    return False


def with_plain_convolutions(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of arrays, fast on CPUs in `jax.lax.cond` and `jax.lax.scan`.

    XLA's CPU compiler brings convolutions to the one layout that it has fast code for, but not
    those in branches and loops, where gradients, which have other layouts, take 10 to 15 times as
    long (jaxlib 0.10.2): R1 at 32 pixels 1,730 ms instead of 250. Here axes are permuted before and
    after, as that compiler would, in every convolution that differentiation has left.
    """

    def plain(*args: Any) -> Any:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        results = replay(traced, jax.tree.leaves(args), _plainly)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return plain


def _plainly(equation: core.JaxprEqn, given: Sequence[Any], bind: Bind) -> Sequence[Any]:
    """What an equation gives, its convolutions in the fast layout."""
    if equation.primitive is lax.conv_general_dilated_p:
        return [_convolution(*given, **equation.params)]
    if equation.primitive.name in ("jit", "pjit"):
        return replay(equation.params["jaxpr"], given, _plainly)
    if "prevent_cse" in equation.params:  # of `jax.checkpoint`, whose primitive changes its name
        inner = core.ClosedJaxpr(equation.params["jaxpr"], ())
        plain = jax.make_jaxpr(lambda *args: replay(inner, args, _plainly))(*given)
        if not plain.consts:
            params = {**equation.params, "jaxpr": plain.jaxpr}
            return bind(equation.replace(params=params), given)
    return bind(equation, given)


def _convolution(x: jax.Array, kernel: jax.Array, *, dimension_numbers: Any, **params: Any) -> Any:
    """A convolution of any layout as one of NHWC images and HWIO kernels."""
    (n, c, *sides), (o, i, *taps), (to_n, to_c, *to_sides) = dimension_numbers
    params.pop("out_sharding", None)
    y = lax.conv_general_dilated(
        lax.transpose(x, (n, *sides, c)),
        lax.transpose(kernel, (*taps, i, o)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **params,
    )
    return lax.transpose(y, tuple(map(int, np.argsort((to_n, *to_sides, to_c)))))


def return_freed_memory() -> None:
    """Gives back to Linux what this process has freed, which glibc keeps.

    Tracing leaves cycles: 0.05 GiB after a step of BigGAN of 32 pixels (jax 0.10.2, 2026-11).
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in other C libraries
        if trim is not None:
            trim(0)
