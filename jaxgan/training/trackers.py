"""Programs that show a run while it trains: what `--log.to` names."""

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxgan.errors import UserError, nearest


class Tracker(Protocol):
    """What keeps numbers and pictures by step."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keeps numbers by their names."""

    def picture(self, name: str, pixels: UInt8[np.ndarray, "h w *c"], step: int) -> None:
        """Keeps a picture, grey or of 3 or 4 channels."""

    def film(self, name: str, path: Path, step: int) -> None:
        """Keeps an animation, a GIF."""

    def close(self) -> None:
        """Writes what is left."""


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """tensorboardX loads PyTorch wherever that is installed, which takes 2 s, and can do without.

    Python takes a module that stands as None in its table for one that is not there.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


class TensorBoard:
    """Event files in the run's folder, for `tensorboard --logdir`."""

    def __init__(self, folder: Path, start: int, settings: Mapping[str, Any]):
        with _without_torch():  # not at the top: it takes a quarter of a second
            from tensorboardX import summary
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

        # Not SummaryWriter: its thread dies of a full disk, and whoever writes then waits for ever.
        self._file, self._event, self._summary = (
            EventsWriter(str(folder / "events")),
            Event,
            summary,
        )
        self._write(start + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """As scalars."""
        for name, value in values.items():
            self._write(step, summary=self._summary.scalar(name, value))
        self._file.flush()

    def picture(self, name: str, pixels: UInt8[np.ndarray, "h w *c"], step: int) -> None:
        """As an image."""
        layout = "HWC" if pixels.ndim == 3 else "HW"
        self._write(step, summary=self._summary.image(name, pixels, dataformats=layout))
        self._file.flush()

    def film(self, name: str, path: Path, step: int) -> None:
        """As an image, which browsers show moving."""
        from tensorboardX.proto.summary_pb2 import Summary

        with Image.open(path) as film:
            width, height = film.size
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
        )
        self._write(step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _write(self, step: int, **what: Any) -> None:
        self._file.write_event(self._event(wall_time=time.time(), step=step, **what))


class WeightsAndBiases:
    """Files in the run's folder, which `wandb sync` uploads; WANDB_MODE=online does so at once.

    A resumed run goes on under its number.
    """

    def __init__(self, folder: Path, start: int, settings: Mapping[str, Any]):
        import wandb

        # Offline runs lie in wandb/offline-run-TIME-ID, the second of one second in …-ID-1.
        former = sorted((folder / "wandb").glob("*run-*-*")) if start else []
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "jaxgan"),
            name=folder.name,
            id=former[0].name.partition("run-")[2].split("-")[1] if former else None,
            resume="allow",
            dir=str(folder),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            config=dict(settings),
            settings=wandb.Settings(console="off", silent=True, disable_git=True),
        )
        self._image, self._video = wandb.Image, wandb.Video

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """As a row of the history."""
        self._run.log(dict(values), step=step)

    def picture(self, name: str, pixels: UInt8[np.ndarray, "h w *c"], step: int) -> None:
        """As a file of the run."""
        self._run.log({name: self._image(pixels)}, step=step)

    def film(self, name: str, path: Path, step: int) -> None:
        """As a file of the run."""
        self._run.log({name: self._video(str(path), format="gif")}, step=step)

    def close(self) -> None:
        """Ends the run of this process."""
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, int, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
"""By name, from a run's folder, the iterations done before, and the run's settings."""


def named(text: str) -> list[str]:
    """The names in a text, with commas, each of which can be used here.

    Raises:
        UserError: an unknown name, or a program that is not installed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            known = ", ".join(TRACKERS)
            raise UserError(f"--log.to {name}: give some of {known}{nearest(name, TRACKERS)}")
        if name == "wandb" and importlib.util.find_spec("wandb") is None:
            raise UserError("--log.to wandb: it is not installed: pip install 'jaxgan[wandb]'")
    return list(dict.fromkeys(names))
