"""Where codes enter a generator: the linear layers that take them before any other layer.

Found by following a code through the networks, so it needs no word of any architecture: the first
dense or (transposed) convolution layer of DCGAN, SNGAN and ProGAN, the first one and the norms'
linear layers of BigGAN, which take the latent's parts, and the styles' layers of StyleGAN.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.module import InterceptorContext
from jaxtyping import Array, Float, Int

from jaxgan.errors import UserError
from jaxgan.latent.space import Space
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.state import State
from jaxgan.training.apply import call_keys, evaluation_view

_LAYERS = (Dense, Conv, ConvTranspose, nn.Dense, nn.Conv, nn.ConvTranspose)

_PROBES = 8
"""Random changes of a code by which its numbers are told apart."""

Ask = Callable[[str, Array], Array | None]
"""(number and path of a layer, its inputs [b, ...]) -> other inputs that it is asked about."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A layer that takes numbers of a code.

    Attributes:
        path: of the module in its network.
        matrix: [outputs, inputs], the layer without its bias, of those inputs that are of the code.
        places: of these inputs in the code, flat.
    """

    path: str
    matrix: Float[np.ndarray, "o i"]
    places: Int[np.ndarray, " i"]


def entries(space: Space) -> list[Entry]:
    """The layers that a code enters, in the order in which they are applied.

    What lies before them may scale a code as a whole, as ProGAN's pixel norm does: it is taken
    for the code itself, as SeFa's authors do.

    Raises:
        UserError: no layer takes the code, or one takes what is more than a part of it.
    """
    code = space.draw(1)
    size = code.size
    rng = np.random.default_rng(0)
    # A change across the code is scaled by pixel norm, but not turned.
    probes = rng.standard_normal((_PROBES, size))
    probes -= np.outer(probes @ code.ravel(), code.ravel()) / np.square(code).sum()
    others, options = space.others(1)
    repeated = {name: np.repeat(x, _PROBES, 0) for name, x in others.items()}
    codes = np.repeat(code, _PROBES, 0)
    tangents = probes.reshape(codes.shape).astype(np.float32)

    def inputs(state: State, codes: Array) -> dict[str, Array]:
        found: dict[str, Array] = {}

        def ask(name: str, x: Array) -> None:
            found[name] = x.reshape(len(x), -1)

        _follow(space, state, codes, repeated, options, ask, {})
        return found

    @jax.jit
    def changes(state: State, codes: Array, tangents: Array) -> dict[str, Array]:
        return jax.jvp(lambda codes: inputs(state, codes), (codes,), (tangents,))[1]

    state = dataclasses.replace(space.run.stored, opt={})
    known = probes / np.linalg.norm(probes, axis=0)
    places = {
        name: _places(space, name, np.asarray(change, np.float64), known)
        for name, change in changes(state, codes, tangents).items()
        if np.abs(change).max() > 0
    }
    if not places:
        raise UserError(f"{space.run.name} has no linear layer that takes codes of {space.name}")

    @jax.jit
    def matrices(state: State) -> dict[str, Array]:
        found: dict[str, Array] = {}

        def ask(name: str, x: Array) -> Array | None:
            if name not in places:
                return None
            basis = jnp.eye(x[0].size, dtype=x.dtype).reshape(-1, *x.shape[1:])
            return jnp.concatenate([jnp.zeros_like(basis[:1]), basis])

        first = {name: x[:1] for name, x in repeated.items()}
        _follow(space, state, jnp.asarray(code), first, options, ask, found)
        return {name: (y[1:] - y[:1]).reshape(len(y) - 1, -1).T for name, y in found.items()}

    found = {name: np.asarray(x, np.float64) for name, x in matrices(state).items()}
    return [
        Entry(name.partition(":")[2], found[name][:, where >= 0], where[where >= 0])
        for name, where in sorted(places.items(), key=lambda item: int(item[0].partition(":")[0]))
    ]


def _places(
    space: Space, name: str, change: Float[np.ndarray, "p i"], known: Float[np.ndarray, "p d"]
) -> Int[np.ndarray, " i"]:
    """Which number of the code each input of a layer is; -1 for none."""
    norms = np.linalg.norm(change, axis=0)
    alike = (change / np.where(norms > 0, norms, 1)).T @ known
    best = np.abs(alike).argmax(1)
    depends = norms > 1e-6 * norms.max()
    if (np.abs(alike[np.arange(len(best)), best])[depends] < 0.999).any():
        raise UserError(
            f"{space.run.name} changes codes of {space.name} before they enter "
            f"{name.partition(':')[2]}: closed forms need a linear first layer; use ganspace"
        )
    return np.where(depends, best, -1)


def _follow(
    space: Space,
    state: State,
    codes: Array,
    others: Any,
    options: Any,
    ask: Ask,
    answers: dict[str, Array],
) -> None:
    """Makes images of codes, and shows what each linear layer takes that nothing else made.

    What is asked of a layer goes through it with its inputs, for it may be called once only.
    """
    calls = [0]

    def intercept(
        method: Callable[..., Any], args: Any, how: Any, context: InterceptorContext
    ) -> Any:
        if context.method_name != "__call__" or not isinstance(context.module, _LAYERS):
            return method(*args, **how)
        x, *rest = args
        name = f"{calls[0]}:{'/'.join(context.module.path)}"
        calls[0] += 1
        asked = ask(name, x)
        if asked is None:
            return jax.lax.stop_gradient(method(x, *rest, **how))
        y = method(jnp.concatenate([x, asked]), *rest, **how)
        answers[name] = y[len(x) :]
        return jax.lax.stop_gradient(y[: len(x)])

    system = space.run.system.transparent()
    view = evaluation_view(system, state, space.run.resolution)
    keys = call_keys(0, jnp.arange(len(codes), dtype=jnp.uint32))
    with nn.intercept_methods(intercept):
        space.render(view, codes, others, keys, options)
