"""Spaces of a trained generator's codes: its latents, its styles, and styles of each layer.

    space = Space.of(run, "w+")
    codes = space.draw(8, seed=1)
    images = space.images(codes)

- z: the Gaussian latent that the use "generate" takes.
- w: a style, the same in every layer ("style" makes it, "synthesize" takes it).
- w+: a style for each layer (Abdal, Qin, Wonka 2019, "Image2StyleGAN", section 4).

On disk codes are an .npz whose arrays have the names of what a use takes (`style` or `z`, and
`label`, `noise0`, ...), so that `jaxgan apply RUN synthesize --style codes.npz` draws them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxgan import npz
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Normal
from jaxgan.files import writing
from jaxgan.latent.needs import require
from jaxgan.metrics.base import warn
from jaxgan.ranges import Positive, Seed, checked
from jaxgan.run.open import Run
from jaxgan.system import use_of
from jaxgan.training.apply import Applied
from jaxgan.view import Edit, Place, View

Name = Literal["z", "w", "w+"]
NAMES = get_args(Name)

_STYLE = "style"


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """Codes of a run, and the images that they stand for.

    Attributes:
        run: whose generator.
        name: "z", "w" or "w+".
        use: that makes images of codes.
        take: what the use calls them.
        shape: of one code: [latent], [d] or [layers, d].
        layers: of the generator that take a style each; 0 in z.
    """

    run: Run
    name: str
    use: str
    take: str
    shape: tuple[int, ...]
    layers: int = 0

    @classmethod
    def of(cls, run: Run, name: str) -> "Space":
        """The space of that name.

        Raises:
            UserError: no such space, or a run that lacks it.
        """
        if name not in NAMES:
            raise UserError(f"no space {name!r}: give one of {', '.join(NAMES)}")
        if name == "z":
            take, field = _latent(run)
            return cls(run, name, "generate", take, _known(field))
        require(run, f"draw images of styles, of which the space {name} is", "style", "synthesize")
        layers, size = _known(run.takes("synthesize")[_STYLE])
        shape = (size,) if name == "w" else (layers, size)
        return cls(run, name, "synthesize", _STYLE, shape, layers)

    @classmethod
    def finest(cls, run: Run) -> "Space":
        """The space in which a run holds most images: w+ where it has styles, else z."""
        return cls.of(run, "w+" if "synthesize" in run.system.uses() else "z")

    @property
    def image(self) -> Image:
        """What its images are, at the run's resolution."""
        field = self._image()[1]
        assert isinstance(field, Image)
        return field

    def _image(self) -> tuple[str, Field]:
        name, field = next(iter(self.run.gives(self.use).items()))
        if not isinstance(field, Image):
            raise UserError(
                f"{self.run.name} draws {field.text()}: give a run that draws images of latents"
            )
        return name, field

    @checked
    def draw(self, num: Positive, seed: Seed = 0, **given: Any) -> Float[np.ndarray, "n ..."]:
        """Codes of drawn latents: [n, *shape].

        Args:
            num: how many.
            seed: of the latents.
            given: what else the latents go with, such as a label or psi.
        """
        if self.name == "z":
            items, options = self.run.split(self.use, given)
            taken = self.run.draw(self.use, items, numbers=num, seed=seed, options=options)
            return np.asarray(taken[self.take])
        items, _ = self.run.split("style", given)
        styles = np.asarray(self.run.apply("style", items, numbers=num, seed=seed).made[_STYLE])
        return styles[:, 0] if self.name == "w" else styles

    @checked
    def mean(
        self, num: Positive = 10_000, seed: Seed = 0, **given: Any
    ) -> Float[np.ndarray, "..."]:
        """The mean code: zeros in z, the mean of the styles of `num` latents in w and w+.

        In w+ each layer has the same. Labels are drawn where none are given.
        """
        if self.name == "z":
            return np.zeros(self.shape, np.float32)
        styles = dataclasses.replace(self, name="w").draw(num, seed, **given)
        mean = styles.mean(0, dtype=np.float64).astype(np.float32)
        return np.broadcast_to(mean, self.shape).copy()

    def given(self, codes: Any) -> dict[str, Any]:
        """What the use takes for codes [n, *shape], as `run.apply` wants it; arrays of any kind."""
        if self.name != "w":
            return {self.take: codes}
        xp: Any = np if isinstance(codes, np.ndarray) else jnp
        return {self.take: xp.broadcast_to(codes[:, None], (len(codes), self.layers, *self.shape))}

    def apply(
        self,
        codes: Float[np.ndarray, "n ..."],
        *,
        numbers: Int[np.ndarray, " n"] | None = None,
        seed: int = 0,
        captures: Sequence[Place] = (),
        edits: Mapping[tuple[Place, Edit], Any] | None = None,
        **given: Any,
    ) -> Applied:
        """The use, applied to codes; see `Run.apply`.

        Args:
            codes: [n, *shape].
            numbers: of the rows, on which depends what else is drawn; None: 0, 1, ...
            seed: of what else is drawn.
            captures: modules whose outputs are wanted.
            edits: of modules' outputs.
            given: what else the use takes, such as a label or maps of noise, and its options.
        """
        items, options = self.run.split(self.use, given)
        return self.run.apply(
            self.use,
            {**self.given(np.asarray(codes, np.float32)), **items},
            numbers=len(codes) if numbers is None else numbers,
            seed=seed,
            options=options,
            captures=captures,
            edits=edits,
            chunk=min(len(codes), 32),
        )

    def images(self, codes: Float[np.ndarray, "n ..."], **how: Any) -> Float[np.ndarray, "n h w c"]:
        """Images of codes, as networks see them, nominally in [-1, 1]; arguments as of `apply`."""
        return np.asarray(self.apply(codes, **how).made[self._image()[0]])

    def others(
        self, num: int, *, numbers: Any = None, seed: int = 0, **given: Any
    ) -> tuple[dict[str, Any], Any]:
        """All that the use takes beside codes, given or drawn ([n, ...]), and its options.

        With these `render` makes the same images as `images`.
        """
        items, options = self.run.split(self.use, given)
        options = use_of(self.run.system, self.use).options if options is None else options
        zeros = self.given(np.zeros((1, *self.shape), np.float32))
        taken = self.run.draw(
            self.use,
            {**zeros, **items},
            numbers=num if numbers is None else numbers,
            seed=seed,
            options=options,
        )
        taken.pop(self.take)
        return taken, options

    def render(
        self,
        view: View,
        codes: Float[Array, "n ..."],
        given: Mapping[str, Array],
        keys: Key[Array, " n"],
        options: Any,
    ) -> Float[Array, "n h w c"]:
        """Images of codes on a view: pure, for gradients and `jax.jit`.

        Args:
            view: of the run's networks, such as `evaluation_view` makes of a traced State.
            codes: [n, *shape].
            given: all else that the use takes (`others`).
            keys: of the rows (`call_keys`).
            options: of the use (`others`).
        """
        use = use_of(self.run.system, self.use)
        made = use.call(view, {**self.given(codes), **given}, keys, options)
        return made[self._image()[0]]


def _latent(run: Run) -> tuple[str, Field]:
    """The one Gaussian latent of the use "generate"."""
    require(run, "draw images of latents, of which the space z is", "generate")
    found = {n: field for n, field in run.takes("generate").items() if isinstance(field, Normal)}
    if len(found) != 1:
        raise UserError(
            f"{run.name} takes {len(found)} Gaussian latents ({', '.join(found) or 'none'}): the "
            "space z is for systems that take one"
        )
    return next(iter(found.items()))


def _known(field: Field) -> tuple[int, ...]:
    assert None not in field.shape
    return tuple(int(n or 0) for n in field.shape)


def write_codes(path: Path, space: Space, codes: Float[np.ndarray, "n ..."], **others: Any) -> None:
    """Writes codes [n, *shape], and what else the use takes for them, as an .npz."""
    arrays: dict[str, Any] = {**space.given(np.asarray(codes, np.float32)), **others}
    with writing(path):
        np.savez(path, **arrays)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A code, and what else its image is made of.

    Attributes:
        code: of the space's shape.
        others: an item of each take that lies beside it, such as a label, or maps of noise.
    """

    code: Float[np.ndarray, "..."]
    others: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """What the space's use is given beside the code, for one image."""
        return {**{name: x[None] for name, x in self.others.items()}, **noisy(self.others)}


def noisy(names: Iterable[str]) -> dict[str, bool]:
    """The option with which maps of noise are taken, where there are some."""
    return {"noise": True} if any(name.startswith("noise") for name in names) else {}


def read_codes(run: Run, path: Path, name: str | None = None) -> tuple[Space, list[Kept]]:
    """The codes in an .npz, with what else is there for them; and their space.

    What the space's use does not take is left out, and that is said.

    Args:
        run: whose codes.
        path: of the file, which has an array `style` [n, layers, d] or [n, d], or a latent's.
        name: of the space; None: w+ for styles, z for latents.

    Raises:
        UserError: no codes of this run; other arrays that are neither for each code nor for all.
    """
    arrays = npz.read(path, "codes")
    name = name or ("w+" if _STYLE in arrays else "z")
    space = Space.of(run, name)
    if space.take not in arrays:
        held = ", ".join(arrays) or "nothing"
        raise UserError(
            f"{path} holds {held}: codes of {run.name} in {name} are called {space.take}"
        )
    if arrays[space.take].dtype.kind not in "fiu":
        raise UserError(f"{path}: {space.take} holds {arrays[space.take].dtype}: give real numbers")
    codes = _shaped(space, np.asarray(arrays.pop(space.take), np.float32), path)
    takes = run.takes(space.use, run.split(space.use, noisy(arrays))[1])
    if unknown := [each for each in arrays if each not in takes]:
        warn(f"{path}: {', '.join(unknown)} left out, which {space.use} does not take")
    others = {each: x for each, x in arrays.items() if each in takes}
    for each, x in others.items():
        if x.ndim == 0 or len(x) not in (1, len(codes)):
            raise UserError(
                f"{path} holds {each} of {'x'.join(map(str, x.shape)) or 'one number'} for "
                f"{len(codes)} codes: keep one for each, or one for all"
            )
    rows = range(len(codes))
    beside = [
        {each: np.asarray(x[n if len(x) > 1 else 0]) for each, x in others.items()} for n in rows
    ]
    return space, [Kept(code=codes[n], others=beside[n]) for n in rows]


def _shaped(space: Space, codes: np.ndarray, path: Path) -> np.ndarray:
    """Codes as the space has them.

    Raises:
        UserError: they are not the run's; numbers that are not finite.
    """
    if space.layers and codes.ndim == 3 and space.name == "w":
        if (codes != codes[:, :1]).any():
            raise UserError(f"{path} has styles that differ between layers: they are of space w+")
        codes = codes[:, 0]
    elif space.layers and codes.ndim == 2 and space.name == "w+":
        codes = np.repeat(codes[:, None], space.layers, 1)
    if codes.shape[1:] != space.shape or not len(codes):
        want = "x".join(map(str, ("n", *space.shape)))
        found = "x".join(map(str, codes.shape))
        raise UserError(
            f"{path} holds codes of {found}: {space.name} of {space.run.name} has {want}"
        )
    if not np.isfinite(codes).all():
        raise UserError(f"{path} holds codes with numbers that are not finite")
    return codes
