"""Feeding of jaxgan against PyTorch's DataLoader, from one folder of JPEGs; run by hand.

    python tests/bench_input.py [--sides 200 375] [--workers 2] [--rounds 5] [--size 128]
    python tests/bench_input.py --memory [--batch 2048]     what feeding keeps in memory

Photographs with a shorter side of about 200 or 375 pixels, cut out of scikit-image's and
scikit-learn's, are read, decoded, scaled by their shorter side, cut to squares, mirrored at random
and made float32 in [-1, 1], batch by batch. PyTorch's side does it as torchvision does: Pillow's
decoder, `Image.resize` with antialiasing, `crop`, `transpose`, a tensor [c, h, w] by
`permute(2, 0, 1).contiguous()`, `div(255)`, `sub(mean).div(std)`, and `default_collate`. Its filter
is torchvision's default, bilinear, and jaxgan's own, Lanczos. Each measurement has a process of its
own, and sides take turns. Seconds of CPU are those of the process and of its workers: they say what
images cost a core, whatever else runs on the machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

WAYS = ("jax-threads", "jax-processes", "torch-bilinear", "torch-lanczos")


def make_photographs(folder: Path, count: int, side: int) -> None:
    """JPEGs of quality 90, about `side` pixels high and a third more wide, cut out of a few."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    photos += load_sample_images().images
    photos = [each for each in photos if min(each.shape[:2]) > 1.05 * side]
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % len(photos)]
        height = int(side * rng.uniform(0.95, 1.05))
        width = min(int(height * rng.uniform(1.2, 1.4)), photo.shape[1])
        top = rng.integers(0, photo.shape[0] - height + 1)
        left = rng.integers(0, photo.shape[1] - width + 1)
        cut = Image.fromarray(photo[top : top + height, left : left + width])
        cut.save(folder / f"{number:05d}.jpg", quality=90)


class Photographs:
    """A map-style data set of PyTorch's, with torchvision's transforms written out."""

    def __init__(self, folder: Path, size: int, filter: str):
        self.paths = sorted(folder.iterdir())
        self.size, self.filter = size, Image.Resampling[filter.upper()]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        import torch

        with open(self.paths[index], "rb") as file:
            image = Image.open(file).convert("RGB")
        width, height = image.size
        scale = self.size / min(width, height)
        image = image.resize((int(width * scale), int(height * scale)), self.filter)
        left, top = (round((each - self.size) / 2) for each in image.size)
        image = image.crop((left, top, left + self.size, top + self.size))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
        return x.float().div(255).sub_(0.5).div_(0.5)


def torch_batches(filter: str, folder: Path, options: argparse.Namespace) -> Iterator[Any]:
    import torch

    torch.set_num_threads(1)
    loader: Any = torch.utils.data.DataLoader(
        Photographs(folder, options.size, filter),
        batch_size=options.batch,
        shuffle=True,
        num_workers=options.workers,
        drop_last=True,
        persistent_workers=options.workers > 0,
    )
    while True:
        yield from loader


def jax_batches(workers: int, folder: Path, options: argparse.Namespace) -> Iterator[Any]:
    from jaxgan import data
    from jaxgan.fields import Framing, Image

    size = options.size
    made = data.batches(
        data.open_source(str(folder)),
        ({"image": Image((size, size, 3))},),
        data.Order(batch=options.batch),
        framing=Framing(resize=True, draft=True),
        flip=True,
        workers=workers,
    )
    stream = made.iterate()
    try:
        yield from stream
    finally:
        stream.close()


def stream(way: str, folder: Path, options: argparse.Namespace) -> Iterator[Any]:
    side, kind = way.split("-")
    if side == "torch":
        return torch_batches(kind, folder, options)
    return jax_batches(options.workers if kind == "processes" else 0, folder, options)


def children() -> list[str]:
    """Numbers of the processes that any thread of this one has started."""
    tasks = Path("/proc/self/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def cpu() -> float:
    """Seconds of CPU of this process and of its children, ended or not."""
    ticks, alive = os.sysconf("SC_CLK_TCK"), 0.0
    for child in children():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        alive += (int(fields[11]) + int(fields[12])) / ticks
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return alive + sum(usage.ru_utime + usage.ru_stime for usage in usages)


def held() -> int:
    """Bytes that this process and its children hold; what they share is counted once."""
    rolls = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in ("self", *children())]
    kilobytes = [line.split()[1] for roll in rolls for line in roll.splitlines() if "Pss:" in line]
    return 1024 * sum(map(int, kilobytes))


def measure(way: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Images a second, and a second of CPU, once batches come at an even rate."""
    batches = stream(way, folder, options)
    for _ in range(2 + 4 * options.workers):
        next(batches)
    begin, used = time.perf_counter(), cpu()
    for _ in range(options.batches):
        next(batches)
    images = options.batches * options.batch
    return {
        "images_per_s": images / (time.perf_counter() - begin),
        "images_per_cpu_s": images / (cpu() - used),
    }


def measure_memory(way: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """GB beyond those before the first batch, while the training step takes its time."""
    batches = stream(way, folder, options)
    if way.startswith("jax"):
        import jaxgan.data  # noqa: F401
    before, most = held(), 0
    for _ in range(options.batches):
        batch = next(batches)
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end:
            most = max(most, held())
            time.sleep(0.05)
    del batch
    return {"gb": (most - before) / 1e9}


def in_process(way: str, folder: str, arguments: list[str]) -> dict[str, float]:
    """What a process of its own measures."""
    run = [sys.executable, __file__, *arguments, "--way", way, "--folder", folder]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr}")
    if done.stderr:
        print(f"{way}: {done.stderr}", file=sys.stderr)
    return json.loads(done.stdout)


def compare(folder: str, options: argparse.Namespace, arguments: list[str]) -> None:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    for _ in range(options.rounds):
        for way in options.ways:
            found[way].append(in_process(way, folder, arguments))
    for name in found[options.ways[0]][0]:
        for way, rows in found.items():
            values = [row[name] for row in rows]
            low, high = min(values), max(values)
            line = f"  {way:15}{statistics.median(values):9.4g} {name} [{low:.4g}-{high:.4g}]"
            if way.startswith("jax") and not options.memory:
                for other in (each for each in options.ways if each.startswith("torch")):
                    theirs = [row[name] for row in found[other]]
                    ratios = sorted(ours / its for ours, its in zip(values, theirs, strict=True))
                    line += f", {statistics.median(ratios):.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}]"
                    line += f" of {other}"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--sides", type=int, nargs="*", default=[200, 375])
    parser.add_argument("--workers", type=int, default=2, help="processes, where there are some")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=16, help="that are measured, at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a step, with --memory")
    parser.add_argument("--way", choices=WAYS, help="one that is measured in this process")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.way:
        measured = measure_memory if options.memory else measure
        print(json.dumps(measured(options.way, options.folder, options)), flush=True)
        return
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            make_photographs(Path(folder), options.images, side)
            print(f"{side} pixels to {options.size}, {options.workers} workers, {options.batch}")
            compare(folder, options, sys.argv[1:])


if __name__ == "__main__":
    main()
