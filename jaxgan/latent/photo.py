"""Semantic photo manipulation: what was not edited in a photograph stays as it was.

Bau, Strobelt, Peebles, Wulff, Zhou, Zhu, Torralba, "Semantic Photo Manipulation with a Generative
Image Prior", SIGGRAPH 2019. A photograph's code is edited by units of a layer. As no code gives all
of a photograph back, the generator is then adapted to it: what is added to the maps of the layers
after the edited one is optimised, so that outside of the edit the image is the photograph, in
pixels and in VGG16's maps; layers up to the edited one are exactly as they were. With nothing added
it is the generator itself. Weights of the terms are this library's; the authors' code for a related
page has Adam with 0.01 for 3,000 steps.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, UInt8

from jaxgan.errors import UserError
from jaxgan.fields import Framing, Resolution
from jaxgan.latent.dissection import Dissection
from jaxgan.latent.layers import Intervention, Layer, intervene, layers, shift
from jaxgan.latent.painting import interventions, pixels_of
from jaxgan.latent.perceptual import Perceptual
from jaxgan.latent.space import Space
from jaxgan.nn.shares import gathered
from jaxgan.ranges import Count, Positive, Rate, Seed, Weight, checked
from jaxgan.run.open import Run
from jaxgan.state import State
from jaxgan.system import System, use_of
from jaxgan.training.apply import call_keys, evaluation_view, mesh_of
from jaxgan.view import Edit, Place

_CHUNK = 50
"""Steps a call of the compiled program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms:
    """What is minimised, beside the mean absolute difference of pixels outside of the edit."""

    perceptual: Weight = 0.1
    """Of the distance in a network's features."""
    penalty: Weight = 1e-3
    """Of the mean squares of what is added, summed over layers."""


@dataclasses.dataclass(frozen=True, eq=False)
class Manipulated:
    """A photograph, edited.

    Attributes:
        photo: at the run's size [h, w, c].
        reconstruction: the generator's image of its code.
        edited: that, with the edit.
        adapted: of the generator that was adapted to the photograph, with the edit.
        marked: pixels in the cells that were edited [h, w].
        added: what is added to the maps of later layers, by their paths [1, h, w, u].
        curve: the objective before each step.
    """

    photo: UInt8[np.ndarray, "h w c"]
    reconstruction: UInt8[np.ndarray, "h w c"]
    edited: UInt8[np.ndarray, "h w c"]
    adapted: UInt8[np.ndarray, "h w c"]
    marked: Bool[np.ndarray, "h w"]
    added: dict[str, Float[np.ndarray, "1 _ _ _"]]
    curve: Float[np.ndarray, " s"]

    def outside(self) -> tuple[float, float]:
        """Mean absolute difference from the photograph outside of the edit, from 0 to 1: before
        and after the adaptation."""
        rest = ~self.marked
        if not rest.any():
            return 0.0, 0.0
        photo = self.photo.astype(np.float32)
        found = [np.abs(x - photo)[rest].mean() / 255 for x in (self.edited, self.adapted)]
        return float(found[0]), float(found[1])


@checked
def manipulate(
    run: Run,
    units: Dissection,
    photo: UInt8[np.ndarray, "y x i"],
    space: Space,
    code: Float[np.ndarray, "..."],
    *,
    erase: Sequence[str] = (),
    draw: Sequence[str] = (),
    at: UInt8[np.ndarray, "v u m"] | None = None,
    top: Positive = 20,
    ranking: str = "iou",
    adapt: Sequence[str] = (),
    steps: Count = 300,
    learning_rate: Rate = 0.01,
    terms: Terms | None = None,
    distance: Perceptual | None = None,
    seed: Seed = 0,
    **given: Any,
) -> Manipulated:
    """Erases and draws concepts in a photograph.

    Args:
        run: that was dissected.
        units: its dissection.
        photo: of any size, fitted to the run's.
        space: of the photograph's code.
        code: of the photograph, such as `jaxgan.latent.inversion.invert` finds [*space.shape].
        erase: concepts to erase.
        draw: concepts to draw.
        at: mask, white where; None: everywhere, so that nothing is left to be kept.
        top: how many units of each concept.
        ranking: "iou" or "effect", as `paint` has it.
        adapt: paths of the layers whose maps are added to; (): those beside the edited one that
            come after it.
        steps: of Adam; 0: the generator is not adapted.
        learning_rate: of Adam.
        terms: weights of the objective's terms.
        distance: whose maps are compared, too, by mean absolute differences; None: pixels alone.
        seed: of what else the generator draws.
        given: what else the space's use takes; and its options.

    Raises:
        UserError: as `paint`; no layer after the edited one.
    """
    layer = Layer.of(run, units.about.layer, space.use, **given)
    layer = dataclasses.replace(layer, given={**layer.given, **space.given(np.asarray(code)[None])})
    name, field = layer.image
    where, edits = interventions(layer, units, erase, draw, at, top, ranking)
    target = field.to_network(field.fit(photo, Framing(resize=True))[None])
    marked = pixels_of(where[0] > 0, target.shape[1:3])
    weight = jnp.asarray(~marked[None, ..., None], jnp.float32)
    row = np.zeros(1, int)
    plain, edited = (np.asarray(layer.apply(row, seed, *each).made[name]) for each in ((), edits))
    added, curve = _adapted(
        layer,
        edits,
        {place: jnp.zeros((1, *shape)) for place, shape in _later(layer, adapt).items()},
        (jnp.asarray(target), weight),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        terms=terms or Terms(),
        distance=distance,
    )
    kept = {place: np.asarray(each) for place, each in added.items()}
    more: dict[tuple[Place, Edit], Any] = {(place, shift): each for place, each in kept.items()}
    adapted = layer.apply(row, seed, *edits, edits=more).made[name]
    images = [field.from_network(each)[0] for each in (target, plain, edited, adapted)]
    return _manipulated(images, marked, kept, curve)


def _manipulated(
    images: list[UInt8[np.ndarray, "h w c"]],
    marked: Bool[np.ndarray, "h w"],
    added: dict[Place, Float[np.ndarray, "1 _ _ _"]],
    curve: Float[np.ndarray, " s"],
) -> Manipulated:
    photo, reconstruction, edited, adapted = images
    return Manipulated(
        photo=photo,
        reconstruction=reconstruction,
        edited=edited,
        adapted=adapted,
        marked=marked,
        added={"/".join(place): each for place, each in added.items()},
        curve=curve,
    )


def _later(layer: Layer, paths: Sequence[str]) -> dict[Place, tuple]:
    """Shapes of the layers that are adapted.

    Raises:
        UserError: one that does not come after the edited one, or none does.
    """
    found = layers(layer.run, layer.use, layer.options)
    after = list(found)[list(found).index(layer.place) + 1 :]
    if not paths:
        chosen = layer.later
    else:
        named = {path: place for place in after for path in (place[1], "/".join(place))}
        if unknown := [path for path in paths if path not in named]:
            raise UserError(
                f"no layer {unknown[0]!r} comes after {layer.path}: give one of "
                f"{', '.join(place[1] for place in after) or 'none: dissect an earlier layer'}"
            )
        chosen = [named[path] for path in paths]
    if not chosen:
        raise UserError(
            f"no layer comes after {layer.path}, so nothing can be adapted: dissect an earlier one"
        )
    return {place: found[place] for place in chosen}


def _adapted(
    layer: Layer,
    edits: Sequence[Intervention],
    added: dict[Place, Array],
    target: tuple[Array, Array],
    *,
    seed: int,
    steps: int,
    learning_rate: float,
    terms: Terms,
    distance: Perceptual | None,
) -> tuple[dict[Place, Array], Float[np.ndarray, " s"]]:
    """What is added to maps after `steps` of Adam, and the objective before each."""
    run = layer.run
    taken = run.draw(
        layer.use, layer.given, numbers=np.zeros(1, int), seed=seed, options=layer.options
    )
    places = tuple(added)
    program = {
        "system": run.system,
        "use": layer.use,
        "options": layer.options,
        "resolution": run.resolution,
        "place": layer.place,
        "name": layer.image[0],
        "mesh": mesh_of(run.stored),
        "places": places,
        "maps": None if distance is None else distance.maps,
    }
    moving = tuple(added.values())
    optimizer = optax.adam(learning_rate)
    carry = (moving, optimizer.init(moving))
    curve = []
    for first in range(0, steps, _CHUNK):
        count = min(_CHUNK, steps - first)
        *carry, values = _descend(
            *carry,
            dataclasses.replace(run.stored, opt={}),
            taken,
            call_keys(seed, jnp.zeros(1, jnp.uint32)),
            jax.tree.map(jnp.asarray, tuple(tuple(each) for each in edits)),
            target,
            {} if distance is None else distance.params,
            (jnp.float32(terms.perceptual), jnp.float32(terms.penalty)),
            jnp.float32(learning_rate),
            jnp.int32(count),
            **program,
        )
        curve.append(np.asarray(values)[:count])
    found = dict(zip(places, carry[0], strict=True))
    return found, np.concatenate(curve) if curve else np.zeros(0, np.float32)


@partial(
    jax.jit,
    static_argnames=(
        *("system", "use", "options", "resolution", "place", "name", "mesh", "places", "maps"),
    ),
)
def _descend(
    moving: tuple[Array, ...],
    opt: Any,
    state: State,
    taken: dict[str, Array],
    keys: Array,
    edits: tuple[Intervention, ...],
    target: tuple[Array, Array],
    params: Any,
    weights: tuple[Array, Array],
    learning_rate: Array,
    count: Array,
    *,
    system: System,
    use: str,
    options: Any,
    resolution: Resolution | None,
    place: Place,
    name: str,
    mesh: Mesh | None,
    places: tuple[Place, ...],
    maps: Callable[[Any, Array], list[Array]] | None,
) -> tuple[tuple[Array, ...], Any, Float[Array, " s"]]:
    """`count` steps of Adam, and the objective before each.

    There is one image, so every device of a mesh does the same.
    """
    if mesh is not None:
        state = gathered(mesh, state)
    optimizer = optax.adam(learning_rate)
    photo, weight = target
    pixels = jnp.maximum(weight.sum() * photo.shape[-1], 1)

    def objective(moving: tuple[Array, ...]) -> Array:
        changes: Any = [
            (place, intervene, edits),
            *((at, shift, by) for at, by in zip(places, moving, strict=True)),
        ]
        view = evaluation_view(system, state, resolution, edits=changes)
        image = use_of(system, use).call(view, taken, keys, options)[name]
        loss = (jnp.abs(image - photo) * weight).sum() / pixels
        if maps is not None:
            hidden = (1 - weight) * jax.lax.stop_gradient(image)
            pairs = zip(
                maps(params, weight * image + hidden),
                maps(params, weight * photo + hidden),
                strict=True,
            )
            each = [jnp.abs(a - b).mean() for a, b in pairs]
            loss += weights[0] * jnp.stack(each).mean()
        return loss + weights[1] * sum(jnp.square(each).mean() for each in moving)

    def step(n: Array, carry: Any) -> Any:
        moving, opt, curve = carry
        value, slope = jax.value_and_grad(objective)(moving)
        updates, opt = optimizer.update(slope, opt)
        return optax.apply_updates(moving, updates), opt, curve.at[n].set(value)

    found: tuple[tuple[Array, ...], Any, Array] = jax.lax.fori_loop(
        0, count, step, (moving, opt, jnp.zeros(_CHUNK))
    )
    return found
