"""Both sides of a run's scores: what "generate" draws, and the images that it imitates."""

from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data
from jaxgan.config import Experiment
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label, draw_items
from jaxgan.metrics.images import Drawn, Stored, of_source
from jaxgan.state import State
from jaxgan.system import System, data_fields, given_by, taken_by, use_of
from jaxgan.training.apply import apply, call_keys, evaluation_view, resolution_at


def images_of(
    system: System,
    state: State,
    num: int,
    *,
    name: str,
    truncation: float | None = None,
    seed: int = 0,
    about: Mapping[str, Mapping[str, Any]] | None = None,
) -> Drawn:
    """Images of a state, to score: what the use "generate" gives first.

    Args:
        system: the GAN.
        state: its State.
        num: how many are drawn.
        name: of the run.
        truncation: of latents; None: none.
        seed: of what is drawn.
        about: what only the data know of fields, such as names of classes (`data.about`).

    Raises:
        UserError: the system has no such use, or it draws no images.
    """
    scored(system)
    use, resolution = use_of(system, "generate"), resolution_at(system, state)
    takes = {n: taken.field for n, taken in taken_by(system, use, None, resolution).items()}
    made, field = next(iter(given_by(use, None, resolution).items()))
    label = _label(system, takes)
    classes = cast(Label, takes[label].bind((about or {}).get(label, {}))) if label else None

    def sample(count: int, start: int) -> dict[str, np.ndarray]:
        numbers = np.arange(start, start + count)
        applied = apply(
            system, state, "generate", numbers=numbers, seed=seed, truncation=truncation
        )
        labels = {} if label is None else {"label": applied.taken[label]}
        return {"image": field.from_network(applied.made[made]), **labels}

    def generate(taken: dict[str, jax.Array]) -> jax.Array:
        count = len(next(iter(taken.values())))
        keys = call_keys(seed, jnp.arange(count, dtype=jnp.uint32))
        view = evaluation_view(system, state, resolution)
        return use.call(view, taken, keys, use.options)[made]

    def latents(key: jax.Array, count: int) -> dict[str, jax.Array]:
        level = None if truncation is None else jnp.float32(truncation)
        return draw_items(takes, jax.random.split(key, count), level)

    def between(a: dict[str, Any], b: dict[str, Any], t: jax.Array) -> dict[str, jax.Array]:
        return {n: taken.between(a[n], b[n], t) for n, taken in takes.items()}  # type: ignore[attr-defined]

    return Drawn(
        sample=sample,
        generate=generate,
        latents=latents,
        between=between,
        num=num,
        name=name,
        shape=tuple(n or 0 for n in field.shape),
        step=int(state.step),
        ema=bool(system.ema()),
        truncation=truncation,
        seed=seed,
        label=classes,
    )


def scored(system: System) -> tuple[tuple[int, ...], int]:
    """Shape of the images that the use "generate" is scored by, and their classes, 0 for none.

    Raises:
        UserError: the system has no such use, it draws no images, or it must be given something.
    """
    use = use_of(system, "generate")
    takes, (_, field) = taken_by(system, use), next(iter(given_by(use).items()))
    if type(field) is not Image:
        raise UserError(f"{type(system).__name__} draws {field.text()}: scores are for images")
    if needed := [n for n, taken in takes.items() if taken.origin or not taken.drawn]:
        raise UserError(
            f"{type(system).__name__} draws from {needed[0]}, which is not drawn at random: "
            "only what is drawn of latents and labels is scored"
        )
    fields = {n: taken.field for n, taken in takes.items()}
    label = _label(system, fields)
    classes = fields[label].classes if label else 0  # type: ignore[attr-defined]
    return tuple(n or 0 for n in field.shape), classes


def _label(system: System, takes: Mapping[str, Field]) -> str | None:
    """Which of these is the class that the data have, too; a code that is drawn alone is none."""
    known = data_fields(system)
    return next((n for n, f in takes.items() if isinstance(f, Label) and n in known), None)


def real_images(experiment: Experiment, source: data.Source, shape: tuple[int, ...]) -> Stored:
    """The data's images that the use "generate" imitates, with their labels, in a shape.

    Raises:
        UserError: the data have none, or they cannot be brought to it.
    """
    system, settings = experiment.system, experiment.data
    made, field = next(iter(given_by(use_of(system, "generate")).items()))
    matches = data.match(system.data(), source, settings.renames)
    found = next((each for each in matches if made in each.columns), matches[0])
    columns = {name: column for name, column in found.columns.items() if name == "label"}
    return of_source(
        found.source,
        shape,
        resize=settings.resize or shape != field.shape,
        crop=settings.crop,
        columns={**columns, "image": found.columns.get(made, "image")},
    )
