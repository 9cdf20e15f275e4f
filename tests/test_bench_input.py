"""The comparison with PyTorch's DataLoader, on so few images that it says nothing of speed."""

import re
import subprocess
import sys

import pytest

from tests import bench_input


def script(*arguments):
    few = ("--sides", "200", "--images", "8", "--batch", "4", "--rounds", "1", "--workers", "0")
    return subprocess.run(
        [sys.executable, bench_input.__file__, *few, *arguments], capture_output=True, text=True
    )


def test_sides_take_turns():
    ran = script("--batches", "1", "--ways", "jax-threads", "torch-lanczos")
    assert ran.returncode == 0, ran.stderr
    head, *lines = ran.stdout.splitlines()
    assert head == "200 pixels to 128, 0 workers, 4"
    assert len(lines) == 4
    for line in (lines[0], lines[2]):
        rate, ratio = (float(re.search(p, line)[1]) for p in (r"threads +(\S+)", r", (\S+) \["))
        assert rate > 0
        assert ratio > 0
        assert line.endswith("of torch-lanczos")


def test_memory_is_that_of_batches():
    ran = script("--memory", "--batches", "1", "--seconds", "0.2", "--ways", "jax-threads")
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"jax-threads +\S+ gb", ran.stdout)


def test_both_sides_see_the_same_images(tmp_path):
    bench_input.make_photographs(tmp_path, 2, 200)
    theirs = bench_input.Photographs(tmp_path, 128, "lanczos")[0].permute(1, 2, 0).numpy()
    from jaxgan import data
    from jaxgan.fields import Framing, Image

    field, picture = Image((128, 128, 3)), data.open_source(str(tmp_path)).picture(0)
    ours = field.to_network(field.decode(picture, Framing(resize=True))[None])[0]
    nearest = min(abs(ours - each).mean() for each in (theirs, theirs[:, ::-1]))
    assert nearest < 0.05  # theirs begins at whole pixels
    assert theirs.shape == ours.shape
    assert theirs.max() == pytest.approx(ours.max(), abs=0.1)
