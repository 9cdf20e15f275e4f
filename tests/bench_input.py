"""Feeding of jaxgan against PyTorch's DataLoader, from one folder of JPEGs; not a test.

    python -m tests.bench_input [--workers 0 2] [--images 2000] [--rounds 5] [--size 128]

2,000 photographs of about 250x200, cut out of scikit-image's and scikit-learn's, are read, decoded,
scaled by their shorter side (by 1.15 where the cut is random), cut to squares, mirrored at random
and made float32 in [-1, 1], batch by batch. PyTorch's side does it as torchvision does: Pillow's
decoder, `Image.resize` (bilinear with antialiasing, the default there; `--filter lanczos` for
jaxgan's), `crop`, `transpose`, `torch.from_numpy(...).permute(2, 0, 1).contiguous()`, `div(255)`,
`sub(mean).div(std)`, and `default_collate`. Sides take turns, since speeds of a machine vary; the
seconds of CPU, children's included, say what images cost a core whatever else runs on the machine.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BATCH = 64


def make_photographs(folder: Path, count: int) -> None:
    """JPEGs of quality 90 and 200 to 300 pixels a side, different cuts of a few photographs."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    photos += load_sample_images().images
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = rng.integers(180, 221), rng.integers(230, 271)
        top = rng.integers(0, photo.shape[0] - height + 1)
        left = rng.integers(0, photo.shape[1] - width + 1)
        cut = Image.fromarray(photo[top : top + height, left : left + width])
        cut.save(folder / f"{number:05d}.jpg", quality=90)


class Photographs:
    """A map-style data set of PyTorch's, with torchvision's transforms written out."""

    def __init__(self, folder: Path, size: int, jitter: int | None, filter: str):
        self.paths = sorted(folder.iterdir())
        self.size, self.jitter, self.filter = size, jitter, filter

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        import torch

        with open(self.paths[index], "rb") as file:
            image = Image.open(file).convert("RGB")
        side = self.jitter or self.size
        width, height = image.size
        scale = side / min(width, height)
        resample = Image.Resampling[self.filter.upper()]
        image = image.resize((int(width * scale), int(height * scale)), resample)
        rest = image.width - self.size, image.height - self.size
        if self.jitter:
            left, top = (int(torch.randint(0, each + 1, ())) for each in rest)
        else:
            left, top = (round(each / 2) for each in rest)
        image = image.crop((left, top, left + self.size, top + self.size))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
        return x.float().div(255).sub_(0.5).div_(0.5)


def torch_batches(folder: Path, options: argparse.Namespace, workers: int) -> Iterator[Any]:
    import torch

    torch.set_num_threads(1)
    found = Photographs(folder, options.size, options.jitter, options.filter)
    loader: Any = torch.utils.data.DataLoader(
        found, batch_size=BATCH, shuffle=True, num_workers=workers, drop_last=True
    )
    while True:
        yield from loader


def jax_batches(folder: Path, options: argparse.Namespace, workers: int) -> Iterator[Any]:
    from jaxgan import data
    from jaxgan.fields import Framing, Image

    size = options.size
    made = data.batches(
        data.open_source(str(folder)),
        ({"image": Image((size, size, 3))},),
        data.Order(batch=BATCH),
        framing=Framing(resize=True, jitter=options.jitter),
        flip=True,
        workers=workers,
    )
    if workers:
        yield from made.iterate()
    for step in range(2**40):  # in this thread, as DataLoader does it without workers
        yield made[step]


SIDES: dict[str, Callable[..., Iterator[Any]]] = {"jax": jax_batches, "torch": torch_batches}


def cpu() -> float:
    """Seconds of CPU of this process and of its children, ended or not."""
    ticks, alive = os.sysconf("SC_CLK_TCK"), 0.0
    for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        alive += (int(fields[11]) + int(fields[12])) / ticks
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return alive + sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(folder: Path, options: argparse.Namespace, workers: int) -> None:
    streams = {side: make(folder, options, workers) for side, make in SIDES.items()}
    for stream in streams.values():
        for _ in range(3 * max(1, workers)):
            next(stream)
    rates: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side, stream in streams.items():
            begin, used = time.perf_counter(), cpu()
            for _ in range(options.batches):
                next(stream)
            images = options.batches * BATCH
            # What workers make ahead in the other's turn costs that other nothing it is timed by.
            rates[side].append((images / (time.perf_counter() - begin), images / (cpu() - used)))
    print(f"{workers} workers, {options.size} pixels, {options.rounds} turns of {images} images")
    for which, name in enumerate(("images/s", "images a second of CPU")):
        for side, found in rates.items():
            values = [each[which] for each in found]
            low, high = min(values), max(values)
            print(f"  {side:6}{statistics.median(values):8.0f} {name} [{low:.0f}-{high:.0f}]")
        ours, theirs = ([each[which] for each in rates[side]] for side in SIDES)
        ratios = sorted(j / t for j, t in zip(ours, theirs, strict=True))
        print(f"  jax / torch {statistics.median(ratios):.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--jitter", type=int, help="height to scale to, for cuts at random places")
    parser.add_argument("--filter", choices=("bilinear", "lanczos"), default="bilinear")
    parser.add_argument("--batches", type=int, default=4, help="batches of 64 a turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(Path(folder), options.images)
        for workers in options.workers:
            compare(Path(folder), options, workers)


if __name__ == "__main__":
    main()
