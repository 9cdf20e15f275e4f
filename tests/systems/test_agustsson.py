import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import nn as torch_nn
from torch.nn.functional import avg_pool2d, leaky_relu, pad

from jaxgan.cli import main
from jaxgan.codec import Codec
from jaxgan.codec.header import parse
from jaxgan.config import Data, Experiment, to_json
from jaxgan.errors import UserError
from jaxgan.metrics.fidelity import psnr
from jaxgan.system import data_fields, stages_of
from jaxgan.systems import agustsson
from jaxgan.systems.agustsson import Agustsson, centres, level_of, quantise
from jaxgan.training.apply import apply
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.step import make_step
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax
from tests.systems.test_hific import begun

TINY = Agustsson(
    shape=(32, 32, 3),
    width=2,
    halvings=3,
    blocks=1,
    discriminator_width=2,
    patch_halvings=2,
    scales=2,
)
SELECTIVE = dataclasses.replace(TINY, selective=True)
LABELLED = dataclasses.replace(TINY, selective=True, classes=4)


def reflect(x, size):
    return pad(x, (size,) * 4, mode="reflect")


def norm(x):
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(var + 1e-5)


class Encoder(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch_nn.Conv2d(3, 3, 7)
        self.down1 = torch_nn.Conv2d(3, 6, 3, 2, 1)
        self.down2 = torch_nn.Conv2d(6, 12, 3, 2, 1)
        self.last = torch_nn.Conv2d(12, 4, 3)

    def forward(self, x):
        h = norm(self.first(reflect(x, 3))).relu()
        h = norm(self.down2(norm(self.down1(h)).relu())).relu()
        return self.last(reflect(h, 1))


class Generator(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch_nn.Conv2d(4, 12, 3)
        for number in (1, 2):
            self.add_module(f"block1_conv{number}", torch_nn.Conv2d(12, 12, 3))
        self.up2 = torch_nn.ConvTranspose2d(12, 6, 3, 2, 1, 1)
        self.up1 = torch_nn.ConvTranspose2d(6, 3, 3, 2, 1, 1)
        self.last = torch_nn.Conv2d(3, 3, 7)

    def forward(self, y):
        h = norm(self.first(reflect(y, 1))).relu()
        r = norm(self.block1_conv1(reflect(h, 1))).relu()
        h = h + norm(self.block1_conv2(reflect(r, 1)))
        h = norm(self.up1(norm(self.up2(h)).relu())).relu()
        return self.last(reflect(h, 3)).tanh()


class Discriminator(torch_nn.Module):
    def __init__(self):
        super().__init__()
        for scale in (1, 2):
            for index, (i, o) in enumerate(((3, 3), (3, 6), (6, 12), (12, 1)), 1):
                layer = torch_nn.Conv2d(i, o, 4, 2 if index < 3 else 1, 2)
                self.add_module(f"scale{scale}_conv{index}", layer)

    def forward(self, x):
        found = []
        for scale in (1, 2):
            h = x if scale == 1 else avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            for index in (1, 2, 3):
                h = getattr(self, f"scale{scale}_conv{index}")(h)
                h = leaky_relu(norm(h) if index > 1 else h, 0.2)
                found.append(h)
            found.append(getattr(self, f"scale{scale}_conv4")(h))
        return found


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (agustsson.Encoder(4, 3, 2), Encoder(), (16, 24, 3)),
        (agustsson.Generator(3, 2, 1), Generator(), (4, 6, 4)),
    ],
    ids=["encoder", "generator"],
)
def test_networks_equal_pytorchs(rng, ours, theirs, shape):
    theirs = randomise(theirs)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    got = ours.apply(to_flax(theirs), x, train=False)
    want = images_from_torch(theirs(images_to_torch(x)))
    np.testing.assert_allclose(got, want, atol=5e-5 * np.abs(want).max())


def test_the_discriminators_maps_and_logits_equal_pytorchs(rng):
    theirs = randomise(Discriminator())
    x = rng.normal(size=(2, 32, 24, 3)).astype(np.float32)
    judged = agustsson.Discriminator(3, 2, 2).apply(to_flax(theirs), x, train=False)
    got = [each for maps, logits in judged for each in (*maps, logits[..., None])]
    for ours, want in zip(got, theirs(images_to_torch(x)), strict=True):
        want = images_from_torch(want)
        np.testing.assert_allclose(ours, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("levels", [2, 5, 8])
def test_numbers_become_the_nearest_centre_with_the_gradient_of_soft_ones(rng, levels):
    w = rng.normal(0, 3, 200)
    with jax.enable_x64():
        found = np.asarray(centres(levels), np.float64)
        np.testing.assert_allclose(found, np.arange(levels) - (levels - 1) / 2)
        got = quantise(jnp.asarray(w), levels, 0.7)
        distance = np.abs(w[:, None] - found)
        np.testing.assert_array_equal(got, found[distance.argmin(1)])
        np.testing.assert_array_equal(got, found[level_of(jnp.asarray(w), levels)])

        def soft(x):
            weights = np.exp(-np.abs(x[:, None] - found) / 0.7)
            return (weights * found).sum(1) / weights.sum(1)

        gradient = jax.grad(lambda x: quantise(x, levels, 0.7).sum())(jnp.asarray(w))
        slope = (soft(w + 1e-6) - soft(w - 1e-6)) / 2e-6
        np.testing.assert_allclose(gradient, slope, atol=1e-5)


def view_of(system, state):
    return View(system.networks(), state.params, state.stats, train=True)


def test_losses_by_hand(rng):
    state, key = begun(TINY), jax.random.key(0)
    x = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    view = view_of(TINY, state)
    made = np.asarray(view("generator", quantise(view("encoder", x), 5)))
    real, fake = view("discriminator", x), view("discriminator", made)
    verdict = sum(np.mean((np.asarray(b) - 1.0) ** 2) for _, b in fake)
    maps = [[each for found, _ in judged for each in found] for judged in (real, fake)]
    matching = 4 * np.mean([np.abs(a - b).mean() for a, b in zip(*maps, strict=True)])
    squared = np.mean((made - x) ** 2)
    loss, _ = TINY.compressor_loss(view, {"image": x}, key)
    np.testing.assert_allclose(loss, verdict + 10 * squared + 10 * matching, rtol=1e-4)
    loss, _ = TINY.discriminator_loss(view, {"image": x}, key)
    want = sum(np.mean((np.asarray(logits) - 1.0) ** 2) for _, logits in real)
    want += sum(np.mean(np.square(logits)) for _, logits in fake)
    np.testing.assert_allclose(loss, want, rtol=1e-4)


def test_boxes_keep_all_of_half_the_images_and_a_rectangle_of_others():
    system = dataclasses.replace(SELECTIVE, shape=(64, 32, 3))
    keep = system.boxes(view_of(system, begun(system)), jax.random.key(1), 400)
    keep = np.asarray(keep[..., 0])
    assert keep.shape == (400, 8, 4)
    assert set(np.unique(keep)) == {0, 1}
    whole = keep.all((1, 2))
    assert 160 < whole.sum() < 280
    for each in keep[~whole]:
        rows, columns = each.any(1), each.any(0)
        np.testing.assert_array_equal(each, np.outer(rows, columns))
        assert rows.any()
        for side in (rows, columns):
            assert np.abs(np.diff(side.astype(int))).sum() <= 2


@pytest.mark.parametrize("system", [TINY, LABELLED], ids=["whole", "labelled"])
def test_a_step_moves_all(rng, system):
    stage, state = stages_of(system)[0], begun(system)
    before = jax.device_get(state.params)
    batch = {
        name: rng.uniform(-1, 1, (2, *field.shape)).astype(np.float32)
        for name, field in data_fields(system).items()
    }
    after, metrics = make_step(system, stage)(jax.tree.map(jnp.array, state), batch)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(metrics))
    for name, old in before.items():
        new = jax.tree.leaves(after.params[name])
        assert any((a != b).any() for a, b in zip(jax.tree.leaves(old), new, strict=True)), name


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 64)])
def test_files_have_at_most_the_bits_that_are_announced(rng, size):
    codec = Codec(TINY, begun(TINY))
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    written = codec.compress(image)
    np.testing.assert_array_equal(codec.decompress(written.content), written.image)
    assert TINY.bound == 3 * 4 / 64
    padded = [-(-side // 8) * 8 for side in size]
    assert 8 * (len(written.content) - 20) <= TINY.bound * np.prod(padded) + 64
    whole = apply(TINY, begun(TINY), "reconstruct", {"image": np.zeros((1, 32, 32, 3))}).made
    assert whole["image"].shape == (1, 32, 32, 3)


def test_what_is_not_kept_takes_no_bits_and_does_not_matter(rng):
    state = begun(SELECTIVE)
    codec = Codec(SELECTIVE, state, name="a run")
    image = rng.integers(0, 256, (64, 128, 3), np.uint8)
    keep = np.zeros((64, 128, 1), np.uint8)
    keep[5:12, 16:40] = 255  # cells 0 and 1 down, 2 to 4 across
    whole, part = codec.compress(image), codec.compress(image, keep=keep)
    np.testing.assert_array_equal(codec.decompress(part.content), part.image)
    np.testing.assert_array_equal(
        whole.content, codec.compress(image, keep=np.full_like(keep, 255)).content
    )
    bits = [8 * len(parse(each.content, 0).words) for each in (whole, part)]
    for found, places in zip(bits, (128, 6), strict=True):
        ideal = 128 + places * 4 * np.log2(5)  # a bit a place, and its numbers
        assert ideal <= found <= ideal + 64
    made = apply(SELECTIVE, state, "encode", given(image, keep)).made
    np.testing.assert_array_equal(made["keep"].sum(), 6)
    other = {**made, "centre": np.where(made["keep"] == 1, made["centre"], 4)}
    a, b = (apply(SELECTIVE, state, "decode", each).made["image"] for each in (made, other))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="another size"):
        codec.compress(image, keep=keep[:30])
    with pytest.raises(UserError, match="keep"):
        codec.compress(image, kept=keep)


def given(image, keep):
    return {"image": np.float32(image[None] / 127.5 - 1), "keep": np.float32(keep[None] / 255)}


def test_labels_are_in_the_file(rng):
    codec = Codec(LABELLED, begun(LABELLED), name="a run")
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    labels = rng.integers(0, 4, (20, 30, 1)).astype(np.uint8)
    written = codec.compress(image, mask=labels)
    np.testing.assert_array_equal(codec.decompress(written.content), written.image)
    other = codec.compress(image, mask=(labels + 1) % 4)
    assert (other.image != written.image).any()
    with pytest.raises(UserError, match="give it"):
        codec.compress(image)


def test_images_with_labels_are_scored_by_their_files(tmp_path, rng):
    run, folder = tmp_path / "run", tmp_path / "images"
    run.mkdir()
    with Checkpoints(run / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(begun(LABELLED))
    data = Data(source="x", columns=("mask=input",))
    (run / "config.json").write_text(to_json(Experiment(system=LABELLED, data=data)))
    codec, want = Codec(LABELLED, begun(LABELLED)), []
    (folder / "B").mkdir(parents=True)
    (folder / "A").mkdir()
    for name in "ab":
        image = rng.integers(0, 256, (32, 32, 3), np.uint8)
        labels = rng.integers(0, 3, (32, 32)).astype(np.uint8)
        Picture.fromarray(image).save(folder / "B" / f"{name}.png")
        Picture.fromarray(labels).save(folder / "A" / f"{name}.png")
        written = codec.compress(image, mask=labels[..., None])
        want.append([psnr(written.image[None], image[None])[0], written.bits_per_pixel])
    command = ["evaluate", str(run), "--against", f"pairs:{folder}", "--metrics", "psnr,bpp"]
    assert main(command) == 0
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    found = {record["metric"]: record["value"] for record in map(json.loads, lines)}
    np.testing.assert_allclose([found["psnr"], found["bpp"]], np.mean(want, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (36, 32, 3)}, "multiples of 8"),
        ({"shape": (32, 32, 1)}, "3 channels"),
        ({"classes": 3}, "selective"),
        ({"scales": 5}, "take fewer"),
    ],
)
def test_what_cannot_be_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(TINY, **change)
