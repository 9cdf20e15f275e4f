"""A run on disk, opened: its experiment, its State, and what its system can do."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.bucket import as_path
from jaxgan.config import Experiment, Find, from_json
from jaxgan.data import Batches, Source, Stepwise, about, as_source, by_names, fingerprint
from jaxgan.errors import UserError, nearest
from jaxgan.fields import Field, Image, Normal, Resolution
from jaxgan.metrics.base import warn
from jaxgan.metrics.images import Drawn, Stored
from jaxgan.parallel.mesh import make_mesh
from jaxgan.ranges import Count, Positive, Rate, Seed, check, checked
from jaxgan.run import folder as files
from jaxgan.run.batches import table
from jaxgan.run.code import finder
from jaxgan.run.scored import images_of, made_of, of_sentences
from jaxgan.state import State
from jaxgan.system import System, Use, given_by, stages_of, taken_by, use_of
from jaxgan.training.apply import (
    Applied,
    apply,
    call_keys,
    draw,
    evaluation_view,
    resolution_at,
)
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.digest import state_sha256
from jaxgan.training.show import kept
from jaxgan.training.standing import standing_statistics
from jaxgan.training.step import drawn, state_shapes, undrawn, with_pretrained
from jaxgan.view import View


class Run:
    """A trained or training system, opened from its folder."""

    def __init__(
        self,
        folder: str | Path,
        *,
        best: bool = False,
        trust_code: bool = False,
        find: Find | None = None,
    ):
        """Reads config.json; the checkpoint is read when it is first needed.

        Args:
            folder: of the run.
            best: take the checkpoint that was evaluated best, not the newest.
            trust_code: run code that the run carries or names. Systems that ship with jaxgan, those
                of modules that are imported already, and code that this user has trained need none.
            find: the system's class by its name in config.json, in place of the above.

        Raises:
            UserError: there is no run in the folder, no best checkpoint, or code that is not
                trusted.
        """
        self.folder = as_path(folder)
        self._checkpoints = self.folder / (files.BEST if best else files.CHECKPOINTS)
        config = self.folder / files.CONFIG
        files.check_run(self.folder)
        find = find or finder(self.folder, trust=trust_code)
        self.experiment: Experiment = files.naming(config, lambda text: from_json(text, find))
        if best and not self._checkpoints.is_dir():
            raise UserError(
                f"{self.folder} has no best checkpoint: train it with --evaluate.every, or leave "
                "out --best"
            )

    @property
    def system(self) -> System:
        """The GAN, with the hyper-parameters of the run."""
        return self.experiment.system

    @property
    def name(self) -> str:
        """System and folder, for messages."""
        return f"{type(self.system).__name__} in {self.folder}"

    @functools.cached_property
    def state(self) -> State:
        """The newest State that can be read, on all devices of this process.

        Of an imported run, networks that its files did not hold are drawn, as training does.
        """
        return drawn(self.system, self.stored, self.experiment.seed, mesh=make_mesh())

    @functools.cached_property
    def stored(self) -> State:
        """The State as it lies there: what uses need, without drawing what they do not."""
        if not self._checkpoints.is_dir():
            raise UserError(f"{self.folder} holds no checkpoint yet: train it first")
        mesh = make_mesh()
        with Checkpoints(self._checkpoints) as reader:
            state = reader.restore(state_shapes(self.system, mesh))
        return with_pretrained(self.system, state, mesh)

    @functools.cached_property
    def networks_sha256(self) -> str:
        """A digest of the networks as they are trained so far, their averages and statistics."""
        return state_sha256(dataclasses.replace(self.stored, opt={}, pretrained={}))

    def applied(self, use: str, options: Any = None) -> set[str]:
        """Names of the networks that a use applies, published ones included.

        Raises:
            UserError: one of them has no weights: none of the files held it that were imported.
        """
        chosen = use_of(self.system, use)
        options = chosen.options if options is None else options
        view = evaluation_view(self.system, self.stored, self.resolution)
        takes = self.takes(use, options)
        rows = {name: _of_some_size(field).zeros() for name, field in takes.items()}
        keys = call_keys(0, jnp.zeros(1, jnp.uint32))
        jax.eval_shape(lambda rows: chosen.call(view, rows, keys, options), rows)
        if missing := sorted(view.applied & set(self._undrawn)):
            raise UserError(
                f"{use} of {self.name} needs {', '.join(missing)}, which no imported file held: "
                "import that file, too, or train the run first"
            )
        return view.applied

    @functools.cached_property
    def _undrawn(self) -> tuple[str, ...]:
        return undrawn(self.stored)

    @property
    def step(self) -> int:
        """Step of the newest checkpoint; 0 before there is one."""
        if not self._checkpoints.is_dir():
            return 0
        with Checkpoints(self._checkpoints) as reader:
            return reader.latest or 0

    @property
    def resolution(self) -> Resolution | None:
        """Of the stage that the State is in; None for systems that do not grow."""
        if all(stage.resolution is None for stage in stages_of(self.system)):
            return None  # without reading a checkpoint
        return resolution_at(self.system, self.stored)

    @property
    def view(self) -> View:
        """The networks as they are evaluated: averaged weights where there are, running means."""
        return evaluation_view(self.system, self.stored)

    @functools.cached_property
    def about(self) -> dict[str, dict[str, Any]]:
        """What only the run's data say of its fields, such as the names of classes, by name."""
        return files.read_data(self.folder).get("fields", {})

    @functools.cached_property
    def data(self) -> Batches:
        """The data it was trained on, at its resolution: what uses draw from, and are shown with.

        Raises:
            UserError: they are not there, or have changed so that they do not fit.
        """
        source, renames = self.source(), self.experiment.data.renames
        batches = table(self.experiment, source, self.resolution, self.about)
        assert isinstance(source, Source)  # `table` refuses others
        for name, now in about(source, self.system.data(), renames).items():
            before, names = self.about.get(name, {}).get("names"), now.get("names")
            if before and names and before != names:
                a, b = next((a, b) for a, b in itertools.zip_longest(before, names) if a != b)
                raise UserError(
                    f"{source.name} has other classes than when {self.folder} was trained ({b!r} "
                    f"in place of {a!r}): give the same data, in folders of the same names"
                )
        return batches

    def source(self) -> Source | Stepwise:
        """Opens the data that it was trained on; warns where their content has changed since.

        Raises:
            UserError: they are not there.
        """
        settings = self.experiment.data
        source = as_source(settings.source, settings.reading)
        known = files.read_data(self.folder).get("fingerprint")
        if known and isinstance(source, Source) and fingerprint(source) != known:
            if by_names(known):
                warn(
                    f"whether {settings.name} is what {self.folder} was trained on is not known: "
                    "it was started by a version that identified data by names and sizes"
                )
            else:
                warn(
                    f"{settings.name} is not what {self.folder} was trained on: its content has "
                    "changed, or it is another of that name; what lies there now is taken"
                )
        return source

    def takes(self, use: str, options: Any = None) -> dict[str, Field]:
        """What a use takes, at the run's resolution and with what its data know."""
        taken = taken_by(self.system, use_of(self.system, use), options, self.resolution)
        return {name: self._bound(t.origin or name, t.field) for name, t in taken.items()}

    def gives(self, use: str, options: Any = None) -> dict[str, Field]:
        """What a use gives, in the same way."""
        given = given_by(use_of(self.system, use), options, self.resolution)
        return {name: self._bound(name, field) for name, field in given.items()}

    def _bound(self, name: str, field: Field) -> Field:
        return field.bind(self.about.get(name, {}))

    def apply(
        self,
        use: str,
        given: Mapping[str, Any] | None = None,
        *,
        state: State | None = None,
        **how: Any,
    ) -> Applied:
        """Applies a use to arrays as networks see them; see `jaxgan.training.apply.apply`.

        What the use takes from data is drawn from the run's own, where it is not given.

        Args:
            use: its name.
            given: what it is given.
            state: another State of the system than the run's.
            how: `numbers`, `seed`, `options`, `truncation`, `chunk`, `captures`, `edits`.
        """
        if self._undrawn:
            self.applied(use, how.get("options"))
        source = self._table(use, given, how.get("options"))
        return apply(self.system, state or self.stored, use, given, data=source, **how)

    def draw(self, use: str, given: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        """All that a use takes, given or drawn; see `jaxgan.training.apply.draw`."""
        source = self._table(use, given, how.get("options"))
        return draw(self.system, self.stored, use, given, data=source, **how)

    def _table(self, use: str, given: Mapping[str, Any] | None, options: Any) -> Batches | None:
        """The run's data, where the use takes from them what is not given."""
        taken = taken_by(self.system, use_of(self.system, use), options, self.resolution)
        needed = [name for name, t in taken.items() if t.origin and name not in (given or {})]
        try:
            return self.data if needed else None
        except UserError as error:
            raise UserError(f"{use} needs {needed[0]}: give it, for the data: {error}") from error

    def split(self, use: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """What a person gives a use, as networks see it, and its options.

        Raises:
            UserError: something that the use does not take, or that is not what it takes.
        """
        options, words = use_of(self.system, use).options, dict(given)
        names = [field.name for field in dataclasses.fields(options)] if options else []
        chosen = {name: words.pop(name) for name in names if name in words}
        if chosen:
            check(type(options), chosen, "")
            options = dataclasses.replace(options, **chosen)
        takes = self.takes(use, options)
        if unknown := [word for word in words if word not in takes]:
            known = [*takes, *names]
            raise UserError(
                f"{use} of {self.name} takes {', '.join(known) or 'nothing'}, not {unknown[0]}"
                f"{nearest(unknown[0], known)}"
            )
        return {word: _accepted(word, takes[word], value) for word, value in words.items()}, options

    @checked
    def use(
        self,
        name: str,
        n: Positive | None = None,
        *,
        seed: Seed = 0,
        truncation: Rate | None = None,
        **given: Any,
    ) -> dict[str, Any]:
        """Does something that the system can do: `run.use("generate", n=16, label="cat")`.

        Args:
            name: of the use; `jaxgan info RUN` shows them, and what they take.
            n: how many rows; None: as many as are given, or one.
            seed: of what is not given, and is drawn.
            truncation: of latents; None: none.
            given: what the use takes, as people have it (names of classes, paths, images as bytes)
                or as networks see it (floats); and its options.

        Returns what it gives, as people have it: images as uint8 [n, h, w, c].

        Raises:
            UserError: no such use, or something that it cannot take.
        """
        items, options = self.split(name, given)
        gives = self.gives(name, options)
        applied = self.apply(
            name, items, numbers=n, seed=seed, options=options, truncation=truncation
        )
        return {word: kept(field, applied.made[word]) for word, field in gives.items()}

    @checked
    def sample(
        self,
        num: Positive = 64,
        *,
        label: Any = None,
        labels: Sequence[Any] | None = None,
        latents: Any = None,
        truncation: Rate | None = None,
        seed: Seed = 0,
        standing_statistics: Count = 0,
        start: Count = 0,
        **given: Any,
    ) -> UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n d"]:
        """Draws `num` images (uint8, NHWC), or points (float32) of a two-dimensional system.

        Image i depends on the seed, on i and on what is given for it, not on how many are drawn.

        Args:
            num: how many.
            label: a class for all, by name or number.
            labels: one for each.
            latents: [num, z], instead of drawn ones; a dict for systems that take several.
            truncation: redraw components of the latents beyond +-truncation; None: do not.
            seed: of what is drawn.
            standing_statistics: batches, of 100 with the same truncation, from which batch norm's
                statistics are measured anew; 0: it uses those of training.
            start: number of the first image: 100 images are 60, and 40 from 60 on.
            given: what else "generate" takes, such as psi or a sentence; and its options.

        Raises:
            UserError: no such class, or something that this system does not take.
        """
        if label is not None and labels is not None:
            raise UserError("label and labels exclude each other: give one")
        if label is not None or labels is not None:
            given["label"] = label if labels is None else list(labels)
        if latents is not None:
            given |= latents if isinstance(latents, Mapping) else {self._latent(): latents}
        items, options = self.split("generate", given)
        applied = self.apply(
            "generate",
            items,
            state=self.standing(standing_statistics, truncation=truncation, seed=seed),
            numbers=np.arange(start, start + num),
            seed=seed,
            options=options,
            truncation=truncation,
        )
        name, field = next(iter(self.gives("generate", options).items()))
        return field.from_network(applied.made[name])

    def _latent(self) -> str:
        """The name of the latent that "generate" takes."""
        found = [n for n, field in self.takes("generate").items() if isinstance(field, Normal)]
        if len(found) != 1:
            raise UserError(
                f"{self.name} takes {len(found)} latents ({', '.join(found)}): give a dict"
            )
        return found[0]

    @checked
    def standing(self, passes: Count, *, truncation: Rate | None = None, seed: Seed = 0) -> State:
        """The State with batch norm's statistics measured anew; the State itself for 0 passes."""
        if not passes:
            return self.stored
        return standing_statistics(
            self.system, self.stored, passes, truncation=truncation, seed=seed
        )

    @checked
    def translate(
        self,
        images: Any,
        *,
        direction: str | None = None,
        samples: Positive = 1,
        seed: Seed = 0,
    ) -> UInt8[np.ndarray, "n samples h w c"]:
        """Makes images of images, by a system that translates; [n, samples, h, w, c].

        Sample k of an image depends on the image, on k and on the seed alone. Where a system has no
        noise, all samples of an image are alike.

        Args:
            images: uint8 [n, h, w, c] of any size and 1 to 4 channels; they are brought to the
                system's, the middle of them if they are of another aspect. Or their paths.
            direction: name of a use that makes images of another kind; None: the first.
            samples: of each image.
            seed: of the noise.

        Raises:
            UserError: a system that does not translate, or not in this direction.
        """
        direction = self.direction(direction)
        name, field = next(iter(self.takes(direction).items()))
        given = np.asarray(_accepted(name, field, images))
        applied = self.apply(
            direction,
            {name: np.repeat(given, samples, 0)},
            numbers=np.tile(np.arange(samples), len(given)),
            seed=seed,
            chunk=min(samples * len(given), 16),  # it is computed whole
        )
        made, out = next(iter(self.gives(direction).items()))
        pixels = out.from_network(applied.made[made])
        return pixels.reshape(len(given), samples, *pixels.shape[1:])

    def direction(self, direction: str | None = None) -> str:
        """The use that translates in that direction; None: the first that translates.

        Raises:
            UserError: as `translate`.
        """
        known = translations(self.system)
        if not known:
            raise UserError(
                f"{self.name} translates no images: it has {', '.join(self.system.uses())}; see "
                "`jaxgan apply`"
            )
        if direction is not None and direction not in known:
            raise UserError(f"{self.name} translates {' and '.join(known)} only, not {direction!r}")
        return direction or known[0]

    @checked
    def drawn(
        self,
        num: Positive,
        *,
        truncation: Rate | None = None,
        seed: Seed = 0,
        captions: Source | None = None,
        kind: str = "image",
    ) -> Drawn:
        """Images to score (`jaxgan.metrics.evaluate`), drawn as `sample` draws them, or clips.

        Of systems that draw images of sentences, the first ones of the data `captions`.
        """
        return images_of(
            self.system,
            self.stored,
            num,
            name=str(self.folder),
            truncation=truncation,
            seed=seed,
            about=self.about,
            captions=self._captions(captions) if captions and kind == "image" else None,
            kind=kind,
        )

    @checked
    def made_of(
        self, source: Source, num: Positive | None = None, *, kind: str = "image", seed: Seed = 0
    ) -> tuple[Drawn, Stored]:
        """What it makes of the images of data, and what it should make, for `evaluate`.

        Args:
            source: the data.
            num: how many of their items; None: all.
            kind: of what is made: "image", or "mask" for scores of segmentation, "clip" for those
                of prediction.
            seed: of noise.

        Raises:
            UserError: a system that makes none of them of images; data that do not have both.
        """
        return made_of(
            self.experiment,
            self.stored,
            source,
            kind=kind,
            name=str(self.folder),
            num=num,
            seed=seed,
        )

    def _captions(self, source: Source) -> Batches | None:
        """The data with sentences as what is scored takes them; None where it takes none."""
        if not of_sentences(self.system):
            return None
        return table(self.experiment, source, self.resolution, self.about)


def _of_some_size(field: Field) -> Field:
    """The field, with sides of 32 where it has any."""
    return dataclasses.replace(field, shape=tuple(n or 32 for n in field.shape))


def translations(system: System) -> list[str]:
    """The uses that make of an image one of another kind, by the names of the data's fields."""

    def translates(use: Use) -> bool:
        takes = {name: taken.field for name, taken in taken_by(system, use).items()}
        gives = given_by(use)
        one = all([type(each) for each in fields.values()] == [Image] for fields in (takes, gives))
        return one and set(takes) != set(gives)

    return [name for name, use in system.uses().items() if translates(use)]


def _accepted(name: str, field: Field, given: Any) -> Any:
    try:
        return field.accept(given)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except (TypeError, ValueError, IndexError) as error:  # of whatever was given instead
        raise UserError(f"{name}: this is no {field.text()}") from error


def open_run(folder: str | Path, *, best: bool = False, trust_code: bool = False) -> Run:
    """Opens the run in a folder; `jaxgan.open` is this function.

    Args:
        folder: of the run.
        best: take the checkpoint that was evaluated best, not the newest.
        trust_code: run code that the run carries or names, where this user has not trained it.

    Raises:
        UserError: there is no run in the folder, no best checkpoint, or code that is not trusted.
    """
    return Run(folder, best=best, trust_code=trust_code)
