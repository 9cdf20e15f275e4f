"""What a run reports: metrics.jsonl, sample pictures, a progress line, and what trackers show."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxgan import pictures
from jaxgan.console import line
from jaxgan.errors import Unwritten, keeping, printable
from jaxgan.files import open_here, write_whole
from jaxgan.schema import lines_of, parse_json
from jaxgan.state import State
from jaxgan.system import Metrics, Stage
from jaxgan.training.checkpoint import Diverged
from jaxgan.training.loop import Moment
from jaxgan.training.trackers import Tracker


class Watch:
    """Collects metrics on the device and, when asked, refuses what is not finite.

    Processes other than 0 do only this. A context manager.
    `record` after every iteration only keeps references: the host does not wait.
    """

    def __init__(self) -> None:
        self._held: list[tuple[int, Stage, dict[str, Metrics]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is open."""

    def record(self, moment: Moment, images: int) -> None:
        """Keeps an iteration's metrics, where they are: on the device; it saw so many images."""
        self._held.append((moment.step, moment.stage, moment.metrics))

    def check(self) -> dict[str, float]:
        """Fetches what is held; the latest of each metric, as {"player/metric": value}.

        Raises:
            Diverged: the first value that is not finite.
        """
        latest: dict[str, float] = {}
        values = jax.device_get([metrics for _, _, metrics in self._held])
        for (step, stage, _), metrics in zip(self._held, values, strict=True):
            for player in stage.players:
                if (step - 1) % player.every:
                    continue  # it rested, and its metrics are zeros
                mine = metrics[player.name]
                for name in sorted(mine, key=lambda name: (name != "loss", name)):
                    value = mine[name]
                    if not math.isfinite(value):
                        raise Diverged(f"step {step}: {player.name}/{name} is {float(value)}")
                    latest[f"{player.name}/{name}"] = float(value)
        return latest

    def log(self, moment: Moment) -> dict[str, float]:
        """Checks, and forgets what is held; the latest of each metric."""
        latest = self.check()
        self._held.clear()
        return latest

    def doing(self, text: str) -> None:
        """Another process shows it."""

    def picture(self, step: int, image: Image.Image) -> None:
        """Another process keeps it."""

    def film(self, step: int, frames: UInt8[np.ndarray, "t n h w c"]) -> None:
        """Another process keeps it."""

    def scores(self, step: int, values: dict[str, float]) -> None:
        """Another process shows them."""


class Report(Watch):
    """Also writes metrics: rows, events, pictures, and a progress line."""

    def __init__(
        self,
        folder: Path,
        *,
        start: int,
        steps: int,
        console: Console,
        trackers: Sequence[Tracker] = (),
    ):
        """Opens the files of a run for appending.

        Args:
            folder: the run's.
            start: iterations done before this process.
            steps: iterations of the whole run.
            console: where progress is shown: a live line on a terminal, else a line a row.
            trackers: other programs that show the run; they are closed with it.
        """
        super().__init__()
        self._folder, self._console, self._images = folder, console, 0
        with keeping(folder / "metrics.jsonl"):
            self._rows = _rows_up_to(folder / "metrics.jsonl", start, console)
        self._trackers = trackers
        self._clock = time.perf_counter()
        self._steps = steps
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            printable(folder.name), total=steps, completed=start, text="compiling"
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        failed = None
        for close in (self._rows.close, *(tracker.close for tracker in self._trackers)):
            try:
                with keeping(self._folder):
                    close()
            except Unwritten as unwritten:
                failed = unwritten
        if failed is not None and error is None:
            raise failed

    def doing(self, text: str) -> None:
        """Shows on a terminal what takes its time before the first row."""
        self._progress.update(self._task, text=text)

    def record(self, moment: Moment, images: int) -> None:
        """Keeps an iteration's metrics, and shows that it is done."""
        super().record(moment, images)
        self._images += images
        self._progress.update(self._task, completed=moment.step)

    def log(self, moment: Moment) -> dict[str, float]:
        """Writes a row: the latest metrics, spectral norms, a stage's size, images per second."""
        latest = self.check()
        row: dict[str, float] = {"step": moment.step, **latest, **_sigmas(moment.state)}
        size = moment.stage.resolution
        if isinstance(size, int):
            row |= {"stage": moment.number, "resolution": size}
        elif size is not None:
            row |= {"stage": moment.number, "height": size[0], "width": size[1]}
        self._held.clear()
        now = time.perf_counter()
        row["images_per_second"] = self._images / max(now - self._clock, 1e-9)
        self._clock, self._images = now, 0
        with keeping(self._folder / "metrics.jsonl"):
            self._rows.write(json.dumps(row) + "\n")
            self._rows.flush()
        numbers = {n: v for n, v in row.items() if n != "step"}
        self._tell(lambda tracker: tracker.scalars(numbers, moment.step))
        where = ""
        if size is not None:
            height, width = (size, size) if isinstance(size, int) else size
            where = f"stage {moment.number}, {height}x{width}{_fade(row)}  "
        losses = "  ".join(f"{n} {v:.3f}" for n, v in row.items() if n.endswith("/loss"))
        text = f"{where}{row['images_per_second']:.0f} images/s  {losses}"
        self._progress.update(self._task, text=text)
        if not self._console.is_terminal:
            line(self._console, f"step {moment.step}/{self._steps}  {text}")
        return latest

    def picture(self, step: int, image: Image.Image) -> None:
        """Saves a picture of samples as samples/STEP.png, and shows it."""
        path = self._folder / "samples" / f"{step:08d}.png"
        with keeping(path):
            path.parent.mkdir(exist_ok=True)
            image.save(path)
        self._tell(lambda tracker: tracker.picture("samples", np.asarray(image), step))

    def film(self, step: int, frames: UInt8[np.ndarray, "t n h w c"]) -> None:
        """Saves clips that run together as samples/STEP.gif, and shows them."""
        path = self._folder / "samples" / f"{step:08d}.gif"
        with keeping(path):
            path.parent.mkdir(exist_ok=True)
            pictures.animate(frames, path)
        self._tell(lambda tracker: tracker.film("clips", path, step))

    def _tell(self, act: Callable[[Tracker], None]) -> None:
        for tracker in self._trackers:
            with keeping(f"what {type(tracker).__name__} keeps in {self._folder}"):
                act(tracker)

    def scores(self, step: int, values: dict[str, float]) -> None:
        """Shows an evaluation, {metric: score}."""
        named = {f"scores/{name}": value for name, value in values.items()}
        self._tell(lambda tracker: tracker.scalars(named, step))
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        line(self._console, f"step {step}/{self._steps}  {text}")


def _fade(row: dict[str, float]) -> str:
    """How far a resolution has been faded in, where a player has the metric `fade`."""
    found = [value for name, value in row.items() if name.endswith("/fade") and value < 1]
    return f" fading in {found[0]:.0%}" if found else ""


def _step_of(row: bytes) -> int | None:
    """Of a row of metrics; None for what is none."""
    try:
        found = parse_json(row, finite=False) if row.endswith(b"\n") else None
    except ValueError:
        return None
    number = found.get("step") if isinstance(found, dict) else None
    return number if type(number) is int and number >= 0 else None


def _rows_up_to(path: Path, step: int, console: Console) -> IO[str]:
    """Opens rows for appending, without those of a killed process that are about to come again.

    What is broken never keeps a run from going on: it is left out, and told.
    """
    kept, broken, later = [], 0, 0
    for row in lines_of(path):
        number = _step_of(row)
        broken += number is None
        later += number is not None and number > step
        if number is not None and number <= step:
            kept.append(row)
    if broken:
        lines = "1 line that is" if broken == 1 else f"{broken:,} lines that are"
        line(console, f"{path}: left out {lines} no row of numbers")
    if broken or later:
        write_whole(path, b"".join(kept))
    return open_here(path)


def _sigmas(state: State) -> dict[str, float]:
    """Estimated spectral norms, {"spectral/network/layer": sigma}, and further singular values."""
    found: dict[str, Any] = {}
    for network, collections in state.stats.items():
        for path, value in jax.tree_util.tree_leaves_with_path(collections.get("spectral", {})):
            *layer, leaf = (entry.key for entry in path)
            if leaf == "sigma":
                name = "/".join(part for part in layer if not part.startswith("SpectralNorm"))
                found[f"spectral/{network}/{name}"] = value
    row = {}
    for name, values in jax.device_get(found).items():
        for index, value in enumerate(values.ravel()):
            row[f"{name}/{index + 1}" if index else name] = float(value)
    return row
