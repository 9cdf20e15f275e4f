"""Both sides of a run's scores: what it draws or makes of data, and what that should be like.

Which use is scored follows from what scores look at: the first that gives images, or masks, at
random or of the data's images.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxgan import data
from jaxgan.codec.codec import NEEDED, Codec
from jaxgan.config import Experiment
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label, Mask, Text, draw_items, named_key
from jaxgan.metrics.images import Drawn, Stored, Walk, of_source, shuffled
from jaxgan.run.batches import table
from jaxgan.state import State
from jaxgan.system import System, Use, data_fields, given_by, taken_by, use_of
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
    kind: str = "image",
) -> Drawn:
    """Images or clips that a state draws, to score: what the use that draws at random gives first.

    Args:
        system: the GAN.
        state: its State.
        num: how many are drawn.
        name: of the run.
        truncation: of latents; None: none.
        seed: of what is drawn.
        about: what only the data know of fields, such as names of classes (`data.about`).
        captions: data of whose first sentences images are drawn, round and round.
        kind: of what is drawn, "image" or "clip".

    Raises:
        UserError: the system has no such use.
    """
    chosen = scored_use(system, kind, captions=captions is not None)
    use, resolution = use_of(system, chosen), resolution_at(system, state)
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
            system, state, chosen, given, numbers=numbers, seed=seed, truncation=truncation
        )
        known = {"label": applied.taken[label]} if label else {}
        texts = {"text": next(iter(given.values()))} if given else {}
        return {kind: field.from_network(applied.made[made]), **known, **texts}

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
        walk=Walk(generate=generate, latents=latents, between=functools.partial(_between, takes)),
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
    order = shuffled(captions.count(origin))
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
    """Whether the images that are scored are drawn of sentences of the data."""
    use = use_of(system, scored_use(system, "image", captions=True))
    taken = taken_by(system, use).values()
    return any(each.origin and isinstance(each.field, Text) for each in taken)


def scored_use(system: System, kind: str, *, captions: bool = False, of_data: bool = False) -> str:
    """The use whose results are scored: the first that gives a field of a kind before others.

    Args:
        system: the GAN.
        kind: of the field, "image", "mask" or "clip".
        captions: sentences are at hand that images are drawn of.
        of_data: whether it makes them of the data's images; otherwise it draws them at random.

    Raises:
        UserError: the system has no such use.
    """
    why = []
    for name, use in system.uses().items():
        field = next(iter(given_by(use).values()))
        needed = [] if field.kind() != kind else _needed(system, use, captions)
        if field.kind() != kind:
            why.append(f"{name} gives {field.text()}")
        elif _makes(system, use) if of_data else not needed:
            return name
        else:
            why.append(f"{name} takes {needed[0] if needed else 'nothing of the data'}")
    how = "makes of the data's images" if of_data else "draws at random"
    raise UserError(
        f"{type(system).__name__} has no {kind}s to score, that is none that it {how} "
        f"({', '.join(why)}): give scores of what it makes, or another run"
    )


def _needed(system: System, use: Use, captions: bool) -> list[str]:
    """What a use takes that is not drawn at random, but for captions that are at hand."""
    taken = taken_by(system, use)
    needed = [name for name, each in taken.items() if each.origin or not each.drawn]
    return [n for n in needed if not (captions and isinstance(taken[n].field, Text))]


def _makes(system: System, use: Use) -> bool:
    """Whether a use makes something that data may have, too, of images that they have.

    Masks may be of those that the system never learns from.
    """
    fields, taken = data_fields(system), taken_by(system, use)
    needed = _needed(system, use, captions=False)
    images = all(n in fields and isinstance(taken[n].field, Image) for n in needed)
    made, field = next(iter(given_by(use).items()))
    known = made in fields or field.kind() == "mask"
    gives_back = made in needed and needed == list(taken)  # and nothing is drawn
    return bool(needed) and images and known and (made not in needed or gives_back)


def has(system: System, kind: str) -> bool:
    """Whether a use gives a field of a kind before others, of whatever it takes."""
    firsts = (next(iter(given_by(use).values())) for use in system.uses().values())
    return any(field.kind() == kind for field in firsts)


def makes(system: System, kind: str) -> bool:
    """Whether what is scored of images or masks is made of the data's images, not drawn."""
    for use in system.uses().values():
        if next(iter(given_by(use).values())).kind() == kind:
            if not _needed(system, use, captions=True):
                return False
            if _makes(system, use):
                return True
    return False


def scored(system: System, *, captions: bool = False) -> tuple[tuple[int, ...], int]:
    """Shape of the images that are drawn to be scored, and their classes, 0 for none.

    `captions`: sentences are at hand that images are drawn of.

    Raises:
        UserError: the system draws no images at random.
    """
    use = use_of(system, scored_use(system, "image", captions=captions))
    fields = {n: taken.field for n, taken in taken_by(system, use).items()}
    label = _label(system, fields)
    classes = fields[label].classes if label else 0  # type: ignore[attr-defined]
    shape = next(iter(given_by(use).values())).shape
    return tuple(n or 0 for n in shape), classes


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


def real_images(
    experiment: Experiment, source: data.Source, shape: tuple[int, ...], kind: str = "image"
) -> Stored:
    """The data's images, or clips, that are imitated, with their labels, in a shape.

    Raises:
        UserError: the data have none, or they cannot be brought to it.
    """
    system, settings = experiment.system, experiment.data
    use = use_of(system, scored_use(system, kind, captions=True))
    made, field = next(iter(given_by(use).items()))
    assert isinstance(field, Image)
    matches = data.match(system.data(), source, settings.renames)
    found = next((each for each in matches if made in each.columns), matches[0])
    columns = {name: column for name, column in found.columns.items() if name == "label"}
    return of_source(
        found.source,
        shape,
        resize=settings.resize or shape != field.shape,
        crop=settings.crop,
        columns={**columns, kind: found.columns.get(made, kind)},
        kind=type(field),
        stride=settings.stride,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Targets(data.Source):
    """What the items of data should become, as one column "image", "mask" or "clip".

    Of clips that go on for fewer frames than the data's, what is compared are the last ones; those
    before are a column "seen".

    Attributes:
        source: where they lie.
        table: the same data, as the system takes them.
        target: the field.
        called: by the system.
        beside: names of what else is compared, frame by frame.
    """

    source: data.Source
    table: data.Batches
    target: Field
    called: str
    beside: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.table.count(self.called)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: items[0] for name, items in self.take(np.array([index])).items()}

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """The items at `indices`, stacked."""
        kind, items = self.target.kind(), self.table.items(self.called, indices)
        if not self.target.moves:
            return {kind: _kept(self.target, items)}
        begin = items.shape[1] - (self.target.shape[0] or 0)
        parts = {kind: items[:, begin:], "seen": items[:, :begin]}
        found = {name: _kept(self.target, part) for name, part in parts.items()}
        return found | {n: self.table.items(n, indices)[:, begin:] for n in self.beside}

    def identity(self) -> Iterator[bytes]:
        """What identifies the data, and which of their fields this is."""
        yield from self.source.identity()
        yield f"target {self.called}".encode()


def _kept(field: Field, items: Any) -> np.ndarray:
    """Items of networks as scores see them: images in bytes, masks in bytes of one foreground."""
    kept = field.from_network(items)
    count = field.shape[-1]
    if not isinstance(field, Mask) or count == 1:
        return kept
    if count != 2:
        raise UserError(f"scores of masks are of one foreground, and these have {count} classes")
    return kept * np.uint8(255)


def _shape_kept(field: Field) -> tuple[int, ...]:
    """Shape of what `_kept` returns of an item."""
    shape = tuple(n or 0 for n in field.shape)
    return (*shape[:2], 1) if isinstance(field, Mask) else shape


def made_of(
    experiment: Experiment,
    state: State,
    source: data.Source,
    *,
    kind: str,
    name: str,
    num: int | None = None,
    seed: int = 0,
) -> tuple[Drawn, Stored]:
    """What a state makes of the images of data, and what it should make: both sides of scores.

    Rows of both belong together where the data have both in one item.

    Args:
        experiment: of the run.
        state: its State.
        source: the data.
        kind: of what is made, "image", "mask" or "clip".
        name: of the run.
        num: how many items are taken, in the order of `Stored`; None: all.
        seed: of noise.

    Raises:
        UserError: the system makes none of the data's images; the data do not have both.
    """
    system = experiment.system
    chosen, resolution = scored_use(system, kind, of_data=True), resolution_at(system, state)
    use = use_of(system, chosen)
    needed = _needed(system, use, captions=False)
    (made, field), *others = given_by(use, None, resolution).items()
    beside = _beside(system, source, made, dict(others))
    more = beside if made in data_fields(system) else {made: field, **beside}
    groups = tuple({**group, **more} if needed[0] in group else group for group in system.data())
    found = table(experiment, source, resolution, groups=groups)
    matches = data.match(groups, source, experiment.data.renames)
    sets = {id(each.source) for each in matches for n in (*needed, made) if n in each.columns}
    counted = min(found.count(n) for n in needed)
    num = min(num or counted, counted)

    def sample(count: int, start: int) -> dict[str, np.ndarray]:
        rows = shuffled(counted)[start : start + count]
        given = {n: found.items(n, rows) for n in needed}
        numbers = np.arange(start, start + count)
        applied = apply(system, state, chosen, given, numbers=numbers, seed=seed)
        return {kind: _kept(field, applied.made[made]), **{n: applied.made[n] for n in beside}}

    shape = _shape_kept(field)
    targets = Targets(
        name=source.name,
        columns={kind: dataclasses.replace(field, shape=shape)},
        source=source,
        table=found,
        target=field,
        called=made,
        beside=tuple(beside),
    )
    drawn = Drawn(
        sample=sample,
        files=_files(system, state, name, found, counted) if writes(system) else None,
        num=num,
        name=name,
        shape=shape,
        step=int(state.step),
        ema=bool(system.ema()),
        truncation=None,
        seed=seed,
        paired=len(sets) == 1,
    )
    return drawn, Stored(targets, num if drawn.paired else None)


def _beside(
    system: System, source: data.Source, made: str, others: Mapping[str, Field]
) -> dict[str, Field]:
    """What is made beside clips for each of their frames, where data have it for theirs."""
    clip = data_fields(system).get(made)
    if clip is None or not clip.moves:
        return {}
    return {
        name: dataclasses.replace(field, shape=(clip.shape[0], *field.shape[1:]))
        for name, field in others.items()
        if name in source.columns and field.turns
    }


def writes(system: System) -> bool:
    """Whether a system's runs write files of images (`jaxgan.codec`)."""
    return set(NEEDED) <= set(system.uses())


def _files(
    system: System, state: State, name: str, found: data.Batches, counted: int
) -> Callable[[int, int], dict[str, np.ndarray]]:
    """(how many, number of the first) -> images of the data as they come out of files, and bits."""
    codec = functools.cache(lambda: Codec(system, state, name=name))
    takes, known = taken_by(system, use_of(system, NEEDED[0])), data_fields(system)
    (image, field), *others = ((name, each.field) for name, each in takes.items())
    beside = {name: each for name, each in others if name in known}

    def files(count: int, start: int) -> dict[str, np.ndarray]:
        rows = shuffled(counted)[start : start + count]
        more = {n: each.from_network(found.items(n, rows)) for n, each in beside.items()}
        written = [
            codec().compress(each, **{n: items[row] for n, items in more.items()})
            for row, each in enumerate(field.from_network(found.items(image, rows)))
        ]
        return {
            field.kind(): np.stack([each.image for each in written]),
            "bpp": np.array([each.bits_per_pixel for each in written]),
        }

    return files
