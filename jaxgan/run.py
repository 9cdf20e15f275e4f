"""A run on disk, opened: its experiment, its State, and what its networks can do."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgan import data
from jaxgan.config import Experiment, from_json
from jaxgan.errors import UserError
from jaxgan.latent.one_image import edit, reconstruct
from jaxgan.metrics.images import Drawn
from jaxgan.metrics.path_length import slerp
from jaxgan.parallel.mesh import make_mesh
from jaxgan.system import Pyramid, Resizable, State, Styled, System, View
from jaxgan.training import pictures
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.sampling import (
    Use,
    evaluation_view,
    make_sampler,
    make_translator,
    resolution_at,
    shape_at,
    standing_statistics,
)
from jaxgan.training.step import state_shapes


class Run:
    """A trained or training system, opened from its folder."""

    def __init__(self, folder: str | Path, *, best: bool = False):
        """Reads config.json; the checkpoint is read when it is first needed.

        Args:
            folder: of the run.
            best: take the checkpoint that was evaluated best, not the newest.

        Raises:
            UserError: there is no run in the folder, or no best checkpoint.
        """
        self.folder = Path(folder)
        self._checkpoints = self.folder / ("best" if best else "checkpoints")
        config = self.folder / "config.json"
        if not config.is_file():
            what = "holds no run (no config.json)" if self.folder.is_dir() else "does not exist"
            raise UserError(f"{self.folder} {what}: give the folder that `jaxgan train` wrote")
        self.experiment: Experiment = from_json(config.read_text())
        self._translators: dict[str, Callable[..., Any]] = {}
        if best and not self._checkpoints.is_dir():
            raise UserError(
                f"{self.folder} has no best checkpoint: train it with --evaluate.every, or leave "
                "out --best"
            )

    @property
    def system(self) -> System:
        """The GAN, with the hyper-parameters of the run."""
        return self.experiment.system

    @functools.cached_property
    def state(self) -> State:
        """The newest State that can be read, on all devices of this process."""
        if not self._checkpoints.is_dir():
            raise UserError(f"{self.folder} holds no checkpoint yet: train it first")
        with Checkpoints(self._checkpoints) as reader:
            return reader.restore(state_shapes(self.system, make_mesh()))

    @property
    def step(self) -> int:
        """Step of the newest checkpoint; 0 before there is one."""
        if not self._checkpoints.is_dir():
            return 0
        with Checkpoints(self._checkpoints) as reader:
            return reader.latest or 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample: the system's, or while it grows, that of its stage."""
        return shape_at(self.system, self.state)

    @property
    def view(self) -> View:
        """The networks as they are evaluated: averaged weights where there are, running means."""
        return evaluation_view(self.system, self.state)

    @functools.cached_property
    def _sampler(self) -> Callable[..., Any]:
        return make_sampler(self.system)

    def sample(
        self,
        num: int = 64,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
        standing_statistics: int = 0,
        psi: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n d"]:
        """Draws `num` images (uint8, NHWC), or points (float32) of a two-dimensional system.

        Image i depends on the seed, on i and on its label alone, not on how many are drawn.

        Args:
            num: how many.
            label: one class for all, or one for each; None: drawn uniformly.
            truncation: redraw components of the latents beyond +-truncation; None: do not.
            seed: of the latents.
            standing_statistics: batches, of 100 with the same truncation, from which batch norm's
                statistics are measured anew; 0: it uses those of training.
            psi: how far styles may be from their average, 1 being as far as they are; None: 1.
            size: height and width, for systems that draw any; None: as trained.

        Raises:
            UserError: no such class, an unconditional system was given a label, one without styles
                a psi, or one that draws a single size another.
        """
        return self.sample_with_labels(
            num,
            label=label,
            truncation=truncation,
            seed=seed,
            standing_statistics=standing_statistics,
            psi=psi,
            size=size,
        )[0]

    def sample_with_labels(
        self,
        num: int = 64,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
        standing_statistics: int = 0,
        start: int = 0,
        psi: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, Int[np.ndarray, " n"] | None]:
        """As `sample`, with the labels of the images; None for unconditional systems.

        `start` is the number of the first image: 100 images are 60, and 40 from 60 on.
        """
        self._check_draws()
        _check_drawing(num, truncation, seed)
        labels = None if label is None else self._labels(num, label)
        state = self._standing(standing_statistics, truncation, seed)
        if size is not None:
            if psi is not None:
                raise UserError("a size and a psi exclude each other: give one")
            sampler = make_sampler(self._resized(size), chunk=min(num, 16))
        else:
            sampler = self._sampler if psi is None else make_sampler(self.system, self._psi(psi))
        samples, drawn = sampler(state, num, labels, truncation, seed, start)
        return (samples if samples.ndim == 2 else pictures.to_uint8(samples)), drawn

    def drawn(self, num: int, *, truncation: float | None = None, seed: int = 0) -> Drawn:
        """Images to score (`jaxgan.metrics.evaluate`), drawn as `sample` draws them."""
        self._check_draws()
        _check_drawing(num, truncation, seed)
        return images_of(
            self.system,
            self._sampler,
            self.state,
            num,
            name=str(self.folder),
            truncation=truncation,
            seed=seed,
        )

    def attention(
        self,
        num: int = 8,
        *,
        label: int | Sequence[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
        standing_statistics: int = 0,
    ) -> tuple[UInt8[np.ndarray, "n h w c"], tuple[Float[np.ndarray, "n q k"], ...]]:
        """Images as `sample` draws them, and where each place of the generator's maps looks.

        Returns images and a tuple of attention maps, first to last: [n, queries, keys], both in
        row order; rows sum to 1.

        Raises:
            UserError: a system without attention maps.
        """
        self._check_draws()
        _check_drawing(num, truncation, seed)
        use = getattr(self.system, "attention", None)
        if use is None:
            raise UserError(f"{type(self.system).__name__} has no attention maps to draw")
        labels = None if label is None else self._labels(num, label)
        sampler = make_sampler(self.system, use, chunk=min(num, 16))
        state = self._standing(standing_statistics, truncation, seed)
        (images, maps), _ = sampler(state, num, labels, truncation, seed)
        return pictures.to_uint8(images), maps

    def translate(
        self,
        images: UInt8[np.ndarray, "n h w c"],
        *,
        direction: str | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> UInt8[np.ndarray, "n samples h w c"]:
        """Makes images of images, by a system that translates; [n, samples, h, w, c].

        Sample k of an image depends on the image, on k and on the seed alone. Where a system has no
        noise, all samples of an image are alike.

        Args:
            images: of any size and 1 to 4 channels; they are brought to the system's size and
                channels, the middle of them if they are of another aspect.
            direction: "AtoB" or "BtoA"; None: the system's first.
            samples: of each image.
            seed: of the noise.

        Raises:
            UserError: a system that does not translate, or not in this direction.
        """
        shape = self.translation_shape(direction)
        if samples < 1:
            raise UserError(f"asked for {samples} samples of an image: ask for at least 1")
        _check_seed(seed)
        fit = data.Fit(shape=(shape[0], shape[1], shape[2]), resize=True)
        given = np.stack([fit(image) for image in images]).astype(np.float32) / 127.5 - 1
        made = self._translator(direction or self.system.directions[0])(
            self.state,
            {"images": np.repeat(given, samples, 0)},
            np.tile(np.arange(samples), len(given)),
            seed,
        )
        return pictures.to_uint8(made).reshape(len(given), samples, *made.shape[1:])

    def translation_shape(self, direction: str | None = None) -> tuple[int, ...]:
        """Shape of what `translate` takes in a direction; None: the system's first.

        Raises:
            UserError: as `translate`.
        """
        name, known = type(self.system).__name__, self.system.directions
        if not known or self.system.input_shape is None:
            raise UserError(
                f"{name} in {self.folder} translates no images: draw some with `jaxgan sample`"
            )
        direction = direction or known[0]
        if direction not in known:
            raise UserError(f"{name} translates {' and '.join(known)} only, not {direction!r}")
        return self.system.input_shape if direction == "AtoB" else self.system.shape

    def _translator(self, direction: str) -> Callable[..., Any]:
        if direction not in self._translators:
            self._translators[direction] = make_translator(
                self.system,
                lambda view, examples, keys: self.system.translate(
                    view, examples["images"], keys, direction
                ),
            )
        return self._translators[direction]

    def _check_draws(self) -> None:
        if self.system.directions:
            raise UserError(
                f"{type(self.system).__name__} in {self.folder} makes images from images, not from "
                "latents: use `jaxgan translate`"
            )

    def mix(
        self,
        num: int = 6,
        *,
        seed: int = 0,
        other: int = 1,
        rows: int = 2,
        psi: float | None = None,
    ) -> UInt8[np.ndarray, "r c h w x"]:
        """A style-mixing table (StyleGAN, figure 3).

        The first row shows the `num` images of the seed `other`, after an empty place; the first
        column `rows` images of `seed`, three times. In between are the images of the first column
        with the other image's styles in their coarse layers, then in their middle, then in their
        fine ones: up to 4/18 of the layers, up to 8/18, and the rest.

        Raises:
            UserError: a system without styles.
        """
        _check_drawing(num, None, seed)
        _check_drawing(rows, None, other)
        system, psi = self._styled(psi), 1.0 if psi is None else psi

        def styles_of(seed: int, count: int) -> np.ndarray:
            sampler = make_sampler(
                self.system, lambda view, z, y: system.styles(view, z, y, psi), chunk=count
            )
            return sampler(self.state, count, None, None, seed)[0]

        theirs, ours = styles_of(other, num), styles_of(seed, rows)
        layers = theirs.shape[1]
        cuts = [0, max(1, round(layers * 4 / 18)), max(2, round(layers * 8 / 18)), layers]
        table = []
        for begin, end in itertools.pairwise(cuts):
            for row in ours:
                mixed = np.broadcast_to(row, theirs.shape).copy()
                mixed[:, begin:end] = theirs[:, begin:end]
                table.append(np.concatenate([row[None], mixed]))
        resolution = resolution_at(self.system, self.state)

        @jax.jit
        def draw(state: State, styles: jax.Array) -> jax.Array:
            return system.synthesize(evaluation_view(self.system, state, resolution), styles)

        top = np.concatenate([theirs[:1], theirs])  # the first one's place stays empty
        images = np.stack(
            [pictures.to_uint8(jax.device_get(draw(self.state, x))) for x in (top, *table)]
        )
        images[0, 0] = 255
        return images

    def interpolate(
        self,
        frames: int = 60,
        *,
        num: int = 16,
        stops: int = 4,
        label: int | Sequence[int] | None = None,
        psi: float | None = None,
        seed: int = 0,
    ) -> UInt8[np.ndarray, "f n h w c"]:
        """Frames of `num` walks through the latents, each by `stops` of them and back to the first.

        On arcs about the origin, as Gaussian latents want it. Labels, if there are any, stay.

        Raises:
            UserError: fewer than `stops` frames, or as `sample` does.
        """
        self._check_draws()
        _check_drawing(num, None, seed)
        if frames < stops:
            raise UserError(f"a walk by {stops} latents in {frames} frames: give at least {stops}")
        if len(self.system.shape) != 3:
            raise UserError(f"{self.folder} draws points: walks are for images")
        if self.system.classes and label is None:
            label = list(np.arange(num) % self.system.classes)
        labels = None if label is None else self._labels(num, label)
        make = self.system.generate if psi is None else self._psi(psi)
        latents, _ = make_sampler(self.system, lambda view, z, y: z, chunk=num)(
            self.state, num * stops, None if labels is None else np.tile(labels, stops), None, seed
        )
        corners = latents.reshape(stops, num, -1)
        resolution = resolution_at(self.system, self.state)

        @jax.jit
        def draw(state: State, a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
            z = slerp(a, b, jnp.full(len(a), t))
            given = None if labels is None else jnp.asarray(labels)
            return make(evaluation_view(self.system, state, resolution), z, given)

        images = []
        for place in np.arange(frames) * stops / frames:
            corner = int(place)
            a, b = corners[corner], corners[(corner + 1) % stops]
            frame = draw(self.state, a, b, np.float32(place - corner))
            images.append(pictures.to_uint8(jax.device_get(frame)))
        return np.stack(images)

    def _styled(self, psi: float | None) -> Styled:
        if not isinstance(self.system, Styled):
            raise UserError(
                f"{type(self.system).__name__} has no styles to mix or to bring nearer to their "
                "average: leave out psi and mix; truncation acts on latents"
            )
        if psi is not None and not 0 <= psi <= 2:
            raise UserError(f"psi is {psi}: it goes from 0, the average, over 1, as it is, to 2")
        return self.system

    def _psi(self, psi: float) -> Use:
        system = self._styled(psi)
        return lambda view, z, y: system.synthesize(view, system.styles(view, z, y, psi))

    def _resized(self, size: tuple[int, int]) -> System:
        if not isinstance(self.system, Resizable):
            shape = data.image.text(shape_at(self.system, self.state))
            raise UserError(
                f"{type(self.system).__name__} in {self.folder} draws {shape} only: leave out the "
                "size"
            )
        return self.system.resized(*size)

    def edit(
        self,
        image: UInt8[np.ndarray, "h w c"],
        task: str,
        *,
        scale: int | None = None,
        mask: UInt8[np.ndarray, "h w c"] | None = None,
        factor: float = 4.0,
        frames: int = 50,
        alpha: float = 0.1,
        beta: float = 0.9,
        seed: int = 0,
    ) -> UInt8[np.ndarray, "*f y x c"]:
        """Makes of an image what a run that learned from one image knows of.

        Args:
            image: of any size and 1 to 4 channels. It is brought to the size of the run, the middle
                of it if it is of another aspect; not for "superres".
            task: one of `jaxgan.latent.one_image.TASKS`.
            scale: at which the image is injected, from 1 (coarse, changes much) on; None: one that
                suits the task. "animate" also has 0, which moves the run's own image.
            mask: white where the image was edited: outside of it, it stays. For "harmonise" and
                "edit".
            factor: by how much "superres" makes it larger.
            frames: of an animation.
            alpha: how strongly an animation is drawn back to the image, 0 to 1.
            beta: how smoothly it moves, 0 to 1.
            seed: of the noise.

        Returns [h, w, c], or for "animate" [frames, h, w, c].

        Raises:
            UserError: a system that does not draw scale by scale; no such task or scale; a mask for
                another task; numbers that cannot be.
        """
        _check_seed(seed)
        return edit(
            self._pyramid(),
            self.state,
            image,
            task,
            scale=scale,
            mask=mask,
            factor=factor,
            frames=frames,
            alpha=alpha,
            beta=beta,
            seed=seed,
        )

    def reconstruct(self) -> UInt8[np.ndarray, "h w c"]:
        """The image that a run of one image makes of the noise that stands for it.

        Raises:
            UserError: a system that does not draw scale by scale.
        """
        return reconstruct(self._pyramid(), self.state)

    def _pyramid(self) -> Pyramid:
        if not isinstance(self.system, Pyramid):
            raise UserError(
                f"{type(self.system).__name__} in {self.folder} did not learn one image, scale by "
                "scale: it has nothing to edit another one by"
            )
        return self.system

    def _standing(self, passes: int, truncation: float | None, seed: int) -> State:
        _check_seed(seed)
        if not passes:
            return self.state
        return standing_statistics(
            self.system, self.state, passes, truncation=truncation, seed=seed
        )

    def _labels(self, num: int, label: int | Sequence[int]) -> Int[np.ndarray, " num"]:
        classes = self.system.classes
        if not classes:
            raise UserError(
                f"{type(self.system).__name__} in {self.folder} was trained without labels: "
                "leave out the label"
            )
        labels = np.broadcast_to(np.asarray(label, np.int32), (num,))
        if bad := [int(k) for k in labels if not 0 <= k < classes]:
            raise UserError(f"label {bad[0]}: this run has {classes} classes, 0 to {classes - 1}")
        return labels


def images_of(
    system: System,
    sampler: Callable[..., Any],
    state: State,
    num: int,
    *,
    name: str,
    truncation: float | None = None,
    seed: int = 0,
) -> Drawn:
    """Images of a state, to score."""

    def sample(count: int, start: int) -> tuple[np.ndarray, np.ndarray | None]:
        samples, labels = sampler(state, count, None, truncation, seed, start)
        return pictures.to_uint8(samples), labels

    def generate(latents: jax.Array) -> jax.Array:
        labels = None
        if system.classes:
            labels = system.draw_labels(jax.random.key(seed), len(latents))
        return system.generate(evaluation_view(system, state, resolution), latents, labels)

    resolution = resolution_at(system, state)
    return Drawn(
        sample=sample,
        generate=generate,
        latents=lambda key, count: system.draw_latents(key, count, truncation),
        num=num,
        name=name,
        shape=shape_at(system, state),
        step=int(state.step),
        ema=bool(system.ema()),
        truncation=truncation,
        seed=seed,
    )


def _check_drawing(num: int, truncation: float | None, seed: int) -> None:
    if num < 1:
        raise UserError(f"asked for {num} images: ask for at least 1")
    if truncation is not None and truncation <= 0:
        raise UserError(f"truncation is {truncation}: it must be above 0, such as 0.5")
    _check_seed(seed)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it goes from 0 to 2^32 - 1")


def open_run(folder: str | Path, *, best: bool = False) -> Run:
    """Opens the run in a folder; `jaxgan.open` is this function.

    Args:
        folder: of the run.
        best: take the checkpoint that was evaluated best, not the newest.

    Raises:
        UserError: there is no run in the folder, or no best checkpoint.
    """
    return Run(folder, best=best)


def state_sha256(state: State) -> str:
    """A digest over every array of a State, with its name, type and shape, in order of names."""
    digest = hashlib.sha256()
    for name, value in _named_arrays(state):
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _named_arrays(state: State) -> list[tuple[str, np.ndarray]]:
    """Every array of a State on the host, in order of names."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    return [(name, np.ascontiguousarray(jax.device_get(leaf))) for name, leaf in sorted(named)]


def largest_difference(state: State, other: State) -> tuple[float, str]:
    """The largest absolute difference between arrays of two States, and which array has it.

    NaN counts as the largest of all where the other State has a number; the name is empty where
    nothing differs.

    Raises:
        UserError: the States are not of one system.
    """
    ours, theirs = (dict(_named_arrays(each)) for each in (state, other))
    if {n: x.shape for n, x in ours.items()} != {n: x.shape for n, x in theirs.items()}:
        raise UserError("the runs hold arrays of other names or shapes: compare runs of one system")
    largest, where = 0.0, ""
    for name, value in ours.items():
        mine, its = (np.asarray(x, np.float64) for x in (value, theirs[name]))
        apart = np.where(np.isnan(mine) & np.isnan(its), 0.0, np.abs(mine - its))
        most = float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
        if most > largest:
            largest, where = most, name
    return largest, where
