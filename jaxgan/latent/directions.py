"""Directions in the codes of a trained generator: kept in a folder, moved along, and shown.

    found = sefa(run)  # of jaxgan.latent.finding
    write(folder, found)
    images = apply_moves(run, [Move(found, 2, +2.0)], {}, numbers=8).made["image"]

The unit of a move is the standard deviation of drawn codes along the direction.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan import npz, schema
from jaxgan.errors import UserError, listed, nearest
from jaxgan.files import write_whole, writing
from jaxgan.latent.needs import tell_of_others
from jaxgan.latent.scores import Attributes
from jaxgan.latent.space import Space
from jaxgan.ranges import Count, Number, Positive, Seed, checked
from jaxgan.run.open import Run
from jaxgan.training.apply import Applied

FORMAT = 1
ARRAYS, FACTS = "directions.npz", "directions.json"

Layers = tuple[Count, Count]
"""The first and the last layer, counted from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Directions:
    """Unit directions in a space of codes.

    Attributes:
        method: by which they were found.
        system: class of the run's system.
        space: "z" or "w".
        names: of each.
        vectors: [k, d].
        sigma: [k], deviation of drawn codes along each.
        strength: of each, what the method says of it: SeFa's eigenvalue, GANSpace's share of the
            variance, the boundary's accuracy on extremes that were held out, the share of samples
            that became the class by the classifier and by its guard.
        layers: of the generator that are moved; None: all.
        offset: [k], of boundaries: where each lies along its vector, vector code = offset.
        rest: of boundaries: accuracy of each on all samples that are no extremes; (): all are.
        absolute: whether a move says at which distance from the boundary codes are to lie, not how
            far they go.
        networks: digest of those that they were found in; "": not known.
    """

    method: str
    system: str
    space: str
    names: tuple[str, ...]
    vectors: Float[np.ndarray, "k d"]
    sigma: Float[np.ndarray, " k"]
    strength: tuple[float, ...]
    layers: tuple[int, int] | None = None
    offset: Float[np.ndarray, " k"] | None = None
    rest: tuple[float, ...] = ()
    absolute: bool = False
    networks: str = ""

    def __len__(self) -> int:
        return len(self.vectors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Facts:
    """directions.json."""

    format: int
    method: str
    system: str
    space: Literal["z", "w"]
    names: tuple[str, ...]
    strength: tuple[float, ...]
    rest: tuple[float, ...] = ()
    layers: tuple[int, int] | None = None
    absolute: bool = False
    networks: str = ""
    attributes: tuple[str, ...] = ()
    entanglement: tuple[tuple[float, ...], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Move:
    """How far codes go in one of the directions.

    Attributes:
        directions: of which one is taken.
        index: which, from 0.
        by: how far, in its sigma.
        layers: that are moved; None: those of the directions.
    """

    directions: Directions
    index: int
    by: float
    layers: tuple[int, int] | None = None


def space_of(run: Run, name: str | None = None) -> Space:
    """The space whose directions are looked for: w where there are styles, else z.

    Raises:
        UserError: the run has no such space.
    """
    styled = {"style", "synthesize"} <= set(run.system.uses())
    name = name or ("w" if styled else "z")
    if name not in ("z", "w"):
        raise UserError(f"no space {name!r} of directions: give z, or w for systems with styles")
    return Space.of(run, name)


def images_at(
    space: Space, codes: np.ndarray, numbers: np.ndarray, seed: int, given: Mapping[str, Any]
) -> Float[np.ndarray, "n h w c"]:
    """Images of codes, [n, d] or [n, layers, d]; what goes with latents alone is of no use in w."""
    if space.name == "w" and codes.ndim == 3:
        space = Space.of(space.run, "w+")
    how = given if space.name == "z" else {}
    return space.images(codes, numbers=numbers, seed=seed, **how)


# --- moving along them


def check_layers(run: Run, layers: tuple[int, int], count: int) -> None:
    """Refuses layers that a run does not have.

    Raises:
        UserError: says which it has.
    """
    first, last = layers
    if not 0 <= first <= last < count:
        raise UserError(
            f"layers are {first}-{last}: {run.name} has {count} that take codes, 0-{count - 1}"
        )


def check_moved(space: Space, layers: tuple[int, int] | None) -> None:
    """Refuses layers that moves in a space cannot have.

    Raises:
        UserError: says why.
    """
    if layers is None:
        return
    if space.name == "z":
        raise UserError("layers of directions are for the space w, in which each takes a style")
    check_layers(space.run, layers, space.layers)


def moved(codes: Float[np.ndarray, "n ..."], moves: Sequence[Move]) -> Float[np.ndarray, "n ..."]:
    """Codes after moves, one after the other.

    Args:
        codes: latents [n, d], or styles of each layer, [n, layers, d].
        moves: in the space of the codes.
    """
    codes = codes.copy()
    for move in moves:
        of, vector = move.directions, move.directions.vectors[move.index]
        by = np.full(len(codes), move.by * of.sigma[move.index], np.float32)
        if codes.ndim == 2:
            if of.absolute:
                assert of.offset is not None
                by += of.offset[move.index] - codes @ vector
            codes += by[:, None] * vector
            continue
        first, last = move.layers or of.layers or (0, codes.shape[1] - 1)
        codes[:, first : last + 1] += by[:, None, None] * vector
    return codes


def check_moves(run: Run, moves: Sequence[Move]) -> Space:
    """The space that moves are in.

    Raises:
        UserError: directions of another system; the run has no such space, codes or layers; or
            moves are in several spaces.
    """
    names = {move.directions.space for move in moves}
    if len(names) > 1:
        raise UserError("moves are in the spaces z and w: give those of one")
    space = space_of(run, names.pop())
    for move in moves:
        (size,) = space.shape
        of = move.directions
        if of.system != type(run.system).__name__:
            raise UserError(
                f"directions are of {of.system}, not of {run.name}: give directions of this run"
            )
        if of.vectors.shape[1] != size:
            raise UserError(
                f"directions have {of.vectors.shape[1]} numbers, codes of {run.name} have {size}: "
                "give directions of this run"
            )
        check_moved(space, move.layers or of.layers)
        tell_of_others(run, of.networks, "directions")
    return space


def apply_moves(
    run: Run, moves: Sequence[Move], items: Mapping[str, Any], *, options: Any = None, **how: Any
) -> Applied:
    """What the use "generate" makes after moves.

    Args:
        run: whose codes are moved.
        moves: one after the other.
        items: what "generate" is given.
        options: of "generate".
        how: `numbers`, `seed`, `truncation`, `state`, as of `Run.apply`.

    Raises:
        UserError: as `check_moves`.
    """
    space = check_moves(run, moves)
    state = how.pop("state", None)
    if space.name == "z":
        taken = run.draw("generate", items, options=options, **how)
        taken[space.take] = moved(taken[space.take], moves)
        how.pop("truncation", None)
        return run.apply("generate", taken, options=options, state=state, **how)
    styles = run.apply("style", items, state=state, **how)
    how.pop("truncation", None)
    made = run.apply(
        "synthesize", {"style": moved(styles.made["style"], moves)}, state=state, **how
    )
    return Applied(made.made, {**styles.taken, **made.taken}, {})


@checked
def strip(
    run: Run,
    directions: Directions,
    index: Count,
    *,
    rows: Positive = 4,
    columns: Positive = 7,
    reach: Number = 3.0,
    seed: Seed = 0,
    **given: Any,
) -> UInt8[np.ndarray, "r c h w x"]:
    """Samples in rows, moved along a direction from -reach to reach sigma in columns."""
    by = np.linspace(-reach, reach, columns)
    moves = [Move(directions, index, float(each)) for each in by]
    space = check_moves(run, moves)
    codes = _wide(space, space.draw(rows, seed, **given))
    numbers = np.arange(rows)
    made = [images_at(space, moved(codes, [move]), numbers, seed, given) for move in moves]
    return space.image.from_network(np.stack(made, 1))


def _wide(space: Space, codes: np.ndarray) -> np.ndarray:
    """Codes as moves take them: styles of each layer, in w."""
    return np.repeat(codes[:, None], space.layers, 1) if space.name == "w" else codes


@checked
def entanglement(
    run: Run,
    directions: Directions,
    attributes: Attributes,
    *,
    by: Number = 1.0,
    num: Positive = 200,
    seed: Seed = 0,
    **given: Any,
) -> Float[np.ndarray, "k a"]:
    """How far each attribute moves with each direction, in the attribute's own deviations.

    The mean over samples of |after - before|, divided by the deviation of the attribute over
    samples. A direction that is disentangled has one large number in its row.

    Args:
        run: of the directions.
        directions: k of them.
        attributes: a of them.
        by: how far codes are moved, in sigma; of absolute directions from where they are.
        num: samples.
        seed: of these.
        given: what else codes are drawn of.
    """
    relative = dataclasses.replace(directions, absolute=False)
    space = check_moves(run, [Move(relative, 0, by)])
    codes, numbers = _wide(space, space.draw(num, seed, **given)), np.arange(num)
    before = attributes.of(images_at(space, codes, numbers, seed, given))
    scale = np.maximum(before.std(0), 1e-6)
    rows = []
    for index in range(len(directions)):
        there = moved(codes, [Move(relative, index, by)])
        after = attributes.of(images_at(space, there, numbers, seed, given))
        rows.append(np.abs(after - before).mean(0) / scale)
    return np.stack(rows)


# --- on disk


def write(
    folder: Path,
    directions: Directions,
    attributes: Sequence[str] = (),
    entangled: Float[np.ndarray, "k a"] | None = None,
) -> None:
    """Writes directions.npz and directions.json, with the report on entanglement, if any."""
    facts = _Facts(
        format=FORMAT,
        method=directions.method,
        system=directions.system,
        space=directions.space,  # type: ignore[arg-type]
        names=directions.names,
        strength=tuple(round(each, 6) for each in directions.strength),
        rest=tuple(round(each, 6) for each in directions.rest),
        layers=directions.layers,
        absolute=directions.absolute,
        networks=directions.networks,
        attributes=tuple(attributes),
        entanglement=()
        if entangled is None
        else tuple(tuple(round(float(x), 4) for x in row) for row in entangled),
    )
    arrays: dict[str, Any] = {"vectors": directions.vectors, "sigma": directions.sigma}
    if directions.offset is not None:
        arrays["offset"] = directions.offset
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ARRAYS, "wb") as file:
            np.savez(file, **arrays)
        write_whole(folder / FACTS, json.dumps(dataclasses.asdict(facts), indent=1) + "\n")


def read(folder: str | Path) -> Directions:
    """Reads what `write` wrote.

    Raises:
        UserError: there are none, or they are broken.
    """
    folder = Path(folder)
    if not (folder / FACTS).is_file():
        raise UserError(f"{folder} holds no {FACTS}: make it by `jaxgan directions RUN`")
    mend = "make it anew by `jaxgan directions`"
    facts = schema.structure(
        schema.read_json(folder / FACTS, mend=mend), _Facts, folder / FACTS, mend=mend
    )
    if facts.format != FORMAT:
        raise UserError(f"{folder / FACTS} has format {facts.format}, not {FORMAT}: {mend}")
    arrays = npz.read(folder / ARRAYS, "directions")
    count = len(facts.names)
    shapes = {name: each.shape for name, each in arrays.items()}
    size = shapes.get("vectors", ())[1:]
    want = {"vectors": (count, *size), "sigma": (count,)}
    want |= {"offset": (count,)} if facts.absolute or "offset" in shapes else {}
    if (
        len(size) != 1
        or not count
        or len(facts.strength) != count
        or len(facts.rest) not in (0, count)
        or shapes != want
    ):
        raise UserError(f"{folder / ARRAYS} holds {shapes}, not {count} directions: {mend}")
    numbers = {name: np.asarray(each, np.float32) for name, each in arrays.items()}
    if not all(np.isfinite(each).all() for each in numbers.values()):
        raise UserError(f"{folder / ARRAYS} has numbers that are not finite: {mend}")
    return Directions(
        method=facts.method,
        system=facts.system,
        space=facts.space,
        names=facts.names,
        strength=facts.strength,
        layers=facts.layers,
        rest=facts.rest,
        absolute=facts.absolute,
        networks=facts.networks,
        vectors=numbers["vectors"],
        sigma=numbers["sigma"],
        offset=numbers.get("offset"),
    )


_MOVE = re.compile(
    r"(?P<folder>.+?):(?P<which>[^:]+):(?P<by>[+-]?(\d+\.?\d*|\.\d+))(:(?P<layers>[^:]+))?"
)


def parse_move(text: str) -> Move:
    """A move as a person writes it: DIR:3:+2.0, or DIR:NAME:-1:4-7 for layers 4 to 7.

    Raises:
        UserError: it is none; says what is wrong.
    """
    found = _MOVE.fullmatch(text)
    if found is None:
        raise UserError(
            f"--move is {text!r}: give DIR:3:+2.0, the folder, the direction's number or name, and "
            "how far in sigma; with :4-7, in these layers"
        )
    directions, which = read(found["folder"]), found["which"]
    if which in directions.names:
        index = directions.names.index(which)
    elif which.isdigit() and 1 <= int(which) <= len(directions):
        index = int(which) - 1
    else:
        raise UserError(
            f"--move is {text!r}: {found['folder']} has the directions 1 to {len(directions)} "
            f"({listed(directions.names)}), not {which}{nearest(which, directions.names)}"
        )
    layers = None if found["layers"] is None else parse_layers(found["layers"], "--move")
    return Move(directions, index, float(found["by"]), layers)


def parse_layers(text: str, option: str = "--layers") -> tuple[int, int]:
    """The first and the last layer: 4-7, or 4.

    Raises:
        UserError: it is no range.
    """
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
    if found is None:
        raise UserError(f"{option} has layers {text!r}: give the first and the last, such as 4-7")
    return int(found[1]), int(found[2] or found[1])
