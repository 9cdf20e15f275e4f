"""What depends on the hardware: verbs that build the program that XLA is fast at there.

Each verb says which fault of XLA's it works around, with the date; `tests/test_backend.py` has a
test of each that fails once XLA no longer needs it. XLA's flags are set for CPUs alone (`cpu`);
launch/README.md says why none is for GPUs.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import cpu

# A jit cache key: a step traced for this machine is traced anew when it is compiled for another.
_target = jax.make_user_context(None)


def target(name: Literal["cpu", "gpu", "tpu"]) -> Any:
    """Context manager: build programs for `name` instead of the backend of this process.

    For programs that are compiled for hardware that this machine lacks. It is part of the key of
    jit's caches, so the same jitted function is traced once per backend.
    """
    return _target(name)


def on_cpu() -> bool:
    """Whether the program being traced is for a CPU."""
    return (_target.value or jax.default_backend()) == "cpu"


def scan(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
    """As `jax.lax.scan`; on CPUs with convolutions of the plain layout in its loop.

    XLA's CPU compiler brings convolutions to that layout, but not those in loops: a step of a tiny
    BigGAN with two discriminator updates takes 13 s instead of 0.6 there. Without a loop it is no
    faster, and compiles longer: SNGAN's five updates in 21 s of CPU time instead of 15 (jaxlib
    0.10.2, two cores, 2026-11).
    """
    if on_cpu():
        body = cpu.with_plain_convolutions(body)
    return jax.lax.scan(body, carry, xs)


def cond(
    predicate: Any,
    true_branch: Callable[..., Any],
    false_branch: Callable[..., Any],
    *operands: Any,
) -> Any:
    """As `jax.lax.cond`; on CPUs with convolutions of the plain layout in its branches.

    XLA's CPU compiler brings convolutions to that layout, but not those in branches: R1 at 32
    pixels takes 1,730 ms there instead of 250 (jaxlib 0.10.2, two cores, 2026-11).
    """
    if on_cpu():
        true_branch, false_branch = map(cpu.with_plain_convolutions, (true_branch, false_branch))
    return jax.lax.cond(predicate, true_branch, false_branch, *operands)


def after(key: PRNGKeyArray, value: Float[Array, ""]) -> PRNGKeyArray:
    """The same key; on CPUs what is drawn with it waits for a value that is never below -1.

    XLA's CPU scheduler would run the next player's first pass before this player's gradient, and
    keep the maps of both: 128 of 615 MB in a BigGAN of 32 pixels (jaxlib 0.10.2, 2026-11). It has
    lost sight of `jax.lax.optimization_barrier` by then.
    """
    if not on_cpu():
        return key
    never = (value < -1).astype(jnp.uint32)
    return jax.random.wrap_key_data(jax.random.key_data(key) + never)


def init_options() -> dict[str, Any] | None:
    """Options (`compiler_options` of `jax.jit`) for a program that draws a State and runs once.

    On a CPU, optimising the code of all its random draws takes longer than they do: the State of
    the quickstart compiles in 4.3 s, or in 1.4 s unoptimised, and is then drawn in 0.01 s either
    way (jaxlib 0.10.2, two cores, 2026-11).
    """
    return {"xla_backend_optimization_level": 0} if on_cpu() else None


def return_freed_memory() -> None:
    """Makes room for a step where compiling it has used the same memory; elsewhere nothing.

    On a CPU glibc keeps 0.1 to 0.3 GiB of what XLA has freed (jaxlib 0.10.2, 2026-11).
    """
    if on_cpu():
        cpu.return_freed_memory()


def cache() -> Path:
    """Where what can be made again is kept: ~/.cache/jaxgan, or below XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxgan"


def keep_compilations() -> None:
    """Compiled programs survive the process, in `cache()` unless JAX has another place."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
