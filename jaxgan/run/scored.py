"""Both sides of a run's scores: what "generate" draws, and the images that it imitates."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxgan import data
from jaxgan.config import Experiment
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label, Text, draw_items, named_key
from jaxgan.metrics.images import Drawn, Stored, of_source
from jaxgan.run.batches import table
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
    captions: data.Batches | None = None,
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
        captions: data of whose first sentences images are drawn, round and round.

    Raises:
        UserError: the system has no such use, or it draws no images.
    """
    scored(system, captions=captions is not None)
    use, resolution = use_of(system, "generate"), resolution_at(system, state)
    taken = taken_by(system, use, None, resolution).items()
    takes = {n: each.field for n, each in taken}
    told = {n: each.origin for n, each in taken if each.origin}  # of sentences
    made, field = next(iter(given_by(use, None, resolution).items()))
    label = _label(system, takes)
    classes = cast(Label, takes[label].bind((about or {}).get(label, {}))) if label else None

    def sample(count: int, start: int) -> dict[str, np.ndarray]:
        numbers = np.arange(start, start + count)
        given = {n: sentences(captions, column, numbers) for n, column in told.items()}
        applied = apply(
            system, state, "generate", given, numbers=numbers, seed=seed, truncation=truncation
        )
        known = {"label": applied.taken[label]} if label else {}
        texts = {"text": next(iter(given.values()))} if given else {}
        return {"image": field.from_network(applied.made[made]), **known, **texts}

    def generate(taken: dict[str, jax.Array]) -> jax.Array:
        numbers = jnp.arange(len(next(iter(taken.values()))), dtype=jnp.uint32)
        keys, view = call_keys(seed, numbers), evaluation_view(system, state, resolution)
        return use.call(view, taken, keys, use.options)[made]

    def latents(key: jax.Array, count: int) -> dict[str, jax.Array]:
        level = None if truncation is None else jnp.float32(truncation)
        fields = {n: each for n, each in takes.items() if n not in told}
        drawn = draw_items(fields, jax.random.split(key, count), level)
        return drawn | _random(captions, told, key, count)

    return Drawn(
        sample=sample,
        generate=generate,
        latents=latents,
        between=functools.partial(_between, takes),
        num=num,
        name=name,
        shape=tuple(n or 0 for n in field.shape),
        step=int(state.step),
        ema=bool(system.ema()),
        truncation=truncation,
        seed=seed,
        label=classes,
    )


def _between(
    takes: Mapping[str, Field], a: Mapping[str, Any], b: Mapping[str, Any], t: jax.Array
) -> dict[str, Any]:
    return {name: field.between(a[name], b[name], t) for name, field in takes.items()}


def sentences(
    captions: data.Batches | None, origin: str, numbers: Int[np.ndarray, " n"]
) -> np.ndarray:
    """Vectors of the data's first captions, round and round, in the order of `Stored`'s images."""
    assert captions is not None  # or `scored` has refused
    order = np.random.default_rng(0).permutation(captions.count(origin))
    return captions.items(origin, order[numbers % len(order)])


@functools.lru_cache(maxsize=1)
def _firsts(captions: data.Batches | None, origin: str) -> np.ndarray:
    """Vectors of the data's first captions, which are asked for batch by batch."""
    assert captions is not None  # or `scored` has refused
    return captions.items(origin, np.arange(captions.count(origin)))


def _random(
    captions: data.Batches | None, told: Mapping[str, str], key: jax.Array, count: int
) -> dict[str, jax.Array]:
    """Vectors of first captions, at random, for fields by name."""
    found = {}
    for name, origin in told.items():
        vectors = jnp.asarray(_firsts(captions, origin))
        found[name] = vectors[jax.random.randint(named_key(key, name), (count,), 0, len(vectors))]
    return found


def of_sentences(system: System) -> bool:
    """Whether the use "generate" draws images of sentences of the data."""
    taken = taken_by(system, use_of(system, "generate")).values()
    return any(each.origin and isinstance(each.field, Text) for each in taken)


def scored(system: System, *, captions: bool = False) -> tuple[tuple[int, ...], int]:
    """Shape of the images that the use "generate" is scored by, and their classes, 0 for none.

    `captions`: sentences are at hand that images are drawn of.

    Raises:
        UserError: the system has no such use, it draws no images, or it must be given something.
    """
    use = use_of(system, "generate")
    takes, (_, field) = taken_by(system, use), next(iter(given_by(use).items()))
    if type(field) is not Image:
        raise UserError(f"{type(system).__name__} draws {field.text()}: scores are for images")
    needed = [n for n, taken in takes.items() if taken.origin or not taken.drawn]
    if captions:
        needed = [n for n in needed if not (takes[n].origin and isinstance(takes[n].field, Text))]
    if needed:
        raise UserError(
            f"{type(system).__name__} draws from {needed[0]}, which is not drawn at random: "
            "only what is drawn of latents, labels and sentences of data is scored"
        )
    fields = {n: taken.field for n, taken in takes.items()}
    label = _label(system, fields)
    classes = fields[label].classes if label else 0  # type: ignore[attr-defined]
    return tuple(n or 0 for n in field.shape), classes


def _label(system: System, takes: Mapping[str, Field]) -> str | None:
    """Which of these is the class that the data have, too; a code that is drawn alone is none."""
    known = data_fields(system)
    return next((n for n, f in takes.items() if isinstance(f, Label) and n in known), None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Captioned(data.Source):
    """Images with the vectors of their first sentences, in a column "text".

    Attributes:
        images: the other columns.
        table: the same data, as the system takes them.
        caption: the field of the sentences.
    """

    images: data.Source
    table: data.Batches
    caption: str

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: items[0] for name, items in self.take(np.array([index])).items()}

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """The items at `indices`, stacked."""
        return {**self.images.take(indices), "text": self.table.items(self.caption, indices)}

    def identity(self) -> Iterator[bytes]:
        """What identifies the images."""
        yield from self.images.identity()


def captioned(
    experiment: Experiment,
    source: data.Source,
    shape: tuple[int, ...],
    about: Mapping[str, Mapping[str, Any]] | None = None,
) -> Stored:
    """As `real_images`, with vectors of first sentences as the use "generate" takes them.

    `about` is as `images_of` takes it.

    Raises:
        UserError: the system takes none; the data cannot be brought to it.
    """
    system = experiment.system
    fields = system.data()[0]
    caption = next((name for name, field in fields.items() if isinstance(field, Text)), None)
    if caption is None:
        raise UserError(f"{type(system).__name__} draws no images of sentences: leave such scores")
    stored = real_images(experiment, source, shape)
    columns = {**stored.source.columns, "text": fields[caption]}
    both = Captioned(
        name=source.name,
        columns=columns,
        labels=stored.source.labels,
        images=stored.source,
        table=table(experiment, source, None, about),
        caption=caption,
    )
    return dataclasses.replace(stored, source=both)


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
