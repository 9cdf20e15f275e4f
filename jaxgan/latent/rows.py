"""A function of rows, compiled once and laid over the devices, for gradients by codes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxgan.nn.shares import gathered
from jaxgan.parallel.mesh import batch_sharding
from jaxgan.run.open import Run
from jaxgan.state import State
from jaxgan.training.apply import call_keys, evaluation_view, mesh_of, on_host, placed
from jaxgan.view import View

CHUNK = 64
"""Rows at a time."""

Body = Callable[[View, PyTree, dict[str, Array], Array, Array], dict[str, Array]]
"""(view, arrays for all rows, {name: [b, ...]}, keys [b], which call) -> {name: [b, ...]}."""


def repeat(
    run: Run,
    body: Body,
    arrays: PyTree,
    rows: Mapping[str, Any],
    *,
    steps: int = 1,
    numbers: np.ndarray | None = None,
    seed: int = 0,
    state: State | None = None,
    each: Callable[[int, dict[str, np.ndarray]], None] | None = None,
) -> dict[str, np.ndarray]:
    """Rows after a body has been applied to them so many times.

    Row i depends on row i, on its number and on the seed alone, on any number of devices.

    Args:
        run: whose networks the body sees, in evaluation mode.
        body: pure; what it returns replaces rows of the same name.
        arrays: what it is given for all rows, such as a classifier's weights.
        rows: {name: [n, ...]}.
        steps: how often.
        numbers: of the rows; None: 0, 1, ...
        seed: of their keys.
        state: another State of the system than the run's.
        each: is shown, after each step of each chunk, the first row's number and the rows.
    """
    state = dataclasses.replace(state or run.stored, opt={})
    mesh = mesh_of(state)
    resolution, system = run.resolution, run.system

    @jax.jit
    def step(
        state: State, arrays: PyTree, rows: dict[str, Array], numbers: Array, turn: Array
    ) -> dict[str, Array]:
        if mesh is not None:
            state = gathered(mesh, state)
            rows, numbers = jax.lax.with_sharding_constraint(
                (rows, numbers), batch_sharding(mesh, leading=0)
            )
        view = evaluation_view(system, state, resolution)
        made = body(view, arrays, rows, call_keys(seed, numbers), turn)
        return {**rows, **made}

    count = len(next(iter(rows.values())))
    numbers = np.arange(count) if numbers is None else numbers
    size = 1 if mesh is None else mesh.size
    chunk = -(-min(count, CHUNK) // size) * size
    parts = []
    for start in range(0, count, chunk):
        taken = np.minimum(np.arange(start, start + chunk), count - 1)
        own = min(chunk, count - start)
        own_rows = {name: np.asarray(x)[taken] for name, x in rows.items()}
        now, where = placed((own_rows, numbers[taken].astype(np.uint32)), mesh)
        for turn in range(steps):
            now = step(state, arrays, now, where, np.uint32(turn))
            if each is not None:
                each(start, on_host(now, own))
        parts.append(on_host(now, own))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
