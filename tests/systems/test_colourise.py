import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Picture

from jaxgan import colour
from jaxgan.cli import main
from jaxgan.codec import Codec
from jaxgan.codec.coders import CODERS, Parts
from jaxgan.codec.header import parse
from jaxgan.codec.stream import Writer
from jaxgan.config import Data, Experiment, to_json
from jaxgan.errors import UserError
from jaxgan.fields import Coded
from jaxgan.fields.video import read_clip
from jaxgan.metrics.fidelity import psnr
from jaxgan.system import stages_of
from jaxgan.systems.colourise import Colourise
from jaxgan.training.apply import apply
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.step import make_step
from jaxgan.view import View
from tests.systems.test_hific import begun

STILL = Colourise(shape=(16, 16, 3), width=2, discriminator_width=2, patch_halvings=1)
HINTED = dataclasses.replace(STILL, cell=4, coder="webp")
MOVING = dataclasses.replace(STILL, shape=(3, 16, 16, 3), cell=4, coder="h264", keys=2)


def counts(system):
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return {n: sum(x.size for x in jax.tree.leaves(tree)) for n, tree in params.items()}


@pytest.mark.parametrize(
    ("changes", "generator"),
    [
        ({}, 54_409_858),
        ({"cell": 16}, 54_411_906),
        ({"shape": (4, 256, 256, 3), "coder": "av1"}, 54_411_906),
    ],
)
def test_parameters_are_those_of_the_table(changes, generator):
    assert counts(Colourise(**changes)) == {"generator": generator, "discriminator": 2_765_633}


def test_colours_come_back_to_a_level_and_luma_exactly():
    side = np.unique(np.r_[np.arange(0, 256, 5), 1, 2, 254])
    rgb = np.stack(np.meshgrid(side, side, side, indexing="ij"), -1)
    y, found = colour.luma(rgb), colour.chroma(rgb)
    back = colour.rgb_of(y, found)
    assert np.abs(back - rgb).max() == 1
    np.testing.assert_array_equal(colour.luma(back), y)
    matrix = np.array([[0.299, 0.587, 0.114]])
    np.testing.assert_allclose(y, rgb @ matrix.T, atol=0.5 + 1e-9)
    np.testing.assert_allclose(
        found[..., 0], 128 + (rgb[..., 2] - rgb @ matrix[0]) / 1.772, atol=0.51
    )
    np.testing.assert_allclose(
        found[..., 1], 128 + (rgb[..., 0] - rgb @ matrix[0]) / 1.402, atol=0.51
    )
    # JPEG's, of Pillow, which rounds otherwise here and there.
    theirs = np.asarray(Picture.fromarray(rgb.astype(np.uint8).reshape(-1, 1, 3)).convert("YCbCr"))
    ours = np.concatenate([y, found], -1).reshape(-1, 1, 3)
    assert np.abs(theirs.astype(int) - ours).max() <= 1


def test_any_chroma_gives_a_colour_of_the_luma(rng):
    y = rng.integers(0, 256, (5000, 1))
    found = rng.uniform(-200, 456, (5000, 2)).astype(np.float32)
    found[:100] = 128
    for given in ((y, found), (jnp.asarray(y), jnp.asarray(found))):
        rgb = np.asarray(colour.rgb_of(*given))
        assert rgb.min() >= 0
        assert rgb.max() <= 255
        np.testing.assert_array_equal(colour.luma(rgb), y)
        np.testing.assert_array_equal(rgb[:100], np.repeat(y[:100], 3, 1))


def test_subsampled_chroma_is_a_mean_of_four(rng):
    found = rng.integers(0, 256, (2, 5, 7, 2))
    got = colour.subsampled(found)
    np.testing.assert_allclose(got[:, 2, 4], found[:, 2:4, 4:6].mean((1, 2)), atol=0.5)
    np.testing.assert_array_equal(got[:, 4, 6], found[:, 4, 6])
    assert psnr(found, found).tolist() == [100, 100]
    np.testing.assert_allclose(psnr(found, found + 1), 20 * np.log10(255))


def test_a_file_has_the_luma_bit_by_bit_and_the_size_of_the_original(rng):
    for system, size in ((STILL, (1, 1)), (STILL, (5, 19)), (HINTED, (21, 16))):
        codec = Codec(system, begun(system))
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        written = codec.compress(image)
        assert written.image.shape == image.shape
        np.testing.assert_array_equal(codec.decompress(written.content), written.image)
        np.testing.assert_array_equal(colour.luma(written.image), colour.luma(image))
        header, parts = parse(written.content, 1), Parts(Writer(), [])
        field = Coded((None, None, 1), coder=system.coder)
        CODERS[system.coder].write(field, colour.luma(image).astype(np.float32), {}, parts)
        assert header.payloads == tuple(parts.payloads)  # no pixel more than there are
        cells = np.prod([-(-side // 4) for side in size]) if system.cell else 0
        assert 8 * len(header.words) <= cells * 2 * 5 + 64
        painted = colour.chroma(written.image)
        assert (painted != 128).any()


def test_hints_are_means_of_cells(rng):
    x = rng.integers(0, 256, (1, 1, 16, 16, 3))
    hints = HINTED.hints(colour.chroma(jnp.asarray(x)))
    means = np.asarray(colour.chroma(x), float).reshape(1, 1, 4, 4, 4, 4, 2).mean((3, 5))
    np.testing.assert_allclose(hints, means * 31 / 255, atol=0.5 + 1e-6)
    spread = HINTED.spread(hints) * 127.5 + 128
    np.testing.assert_allclose(spread[0, 0, 5, 9], hints[0, 0, 1, 2] * 255 / 31, rtol=1e-5)


@pytest.mark.parametrize("coder", ["h264", "ffv1", "av1"])
def test_clips_are_painted_frame_by_frame(rng, coder):
    system = dataclasses.replace(MOVING, coder=coder)
    codec = Codec(system, begun(system))
    coarse = rng.integers(0, 256, (5, 3, 4, 3), np.uint8)
    clip = coarse.repeat(7, 1).repeat(6, 2)[:, :20, :23]
    written = codec.compress(clip)
    assert written.image.shape == clip.shape
    np.testing.assert_array_equal(codec.decompress(written.content), written.image)
    distance = np.abs(colour.luma(written.image) - colour.luma(clip))
    assert distance.max() == 0 if coder != "av1" else 0 < distance.mean() < 15
    assert written.bits_per_pixel == 8 * len(written.content) / clip[..., 0].size
    other = clip.copy()
    other[3] = colour.rgb_of(colour.luma(clip[3]), np.full((20, 23, 2), 128.0))
    again = codec.compress(other).image  # frame 3 is no key frame: its colours are not in the file
    np.testing.assert_array_equal(again, written.image)


def test_losses_by_hand(rng):
    state = begun(MOVING)
    view = View(MOVING.networks(), state.params, state.stats, train=True)
    clip = rng.integers(0, 256, (2, 3, 16, 16, 3))
    batch = {"clip": np.float32(clip / 127.5 - 1)}
    luma, found = colour.luma(clip) / 127.5 - 1, (colour.chroma(clip) - 128) / 127.5
    hints = np.asarray(MOVING.spread(MOVING.hints(jnp.asarray(colour.chroma(clip)))))
    key, made = jax.random.key(2), []
    for place, known in ((0, hints[:, 0]), (1, None), (2, hints[:, 1])):
        given = np.concatenate([luma[:, place], made[-1] if known is None else known], -1)
        noise = view.keys(jax.random.fold_in(key, place), 2)
        made.append(np.asarray(view("generator", given.astype(np.float32), noise)))
    fake = np.concatenate([luma, np.stack(made, 1)], -1).astype(np.float32)
    real = np.concatenate([luma, found], -1).astype(np.float32)
    on_real, on_fake = (
        np.asarray(view("discriminator", x.reshape(6, 16, 16, 3)), np.float64) for x in (real, fake)
    )
    loss, metrics = MOVING.generator_loss(view, batch, key)
    l1 = np.abs(np.stack(made, 1) - found).mean()
    np.testing.assert_allclose(metrics["l1"], l1, rtol=1e-4)
    np.testing.assert_allclose(loss, np.log1p(np.exp(-on_fake)).mean() + 100 * l1, rtol=1e-4)
    loss, _ = MOVING.discriminator_loss(view, batch, key)
    want = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    np.testing.assert_allclose(loss, want / 2, rtol=1e-4)


@pytest.mark.parametrize("system", [STILL, MOVING], ids=["still", "moving"])
def test_a_step_moves_both(rng, system):
    state, stage = begun(system), stages_of(system)[0]
    before = jax.device_get(state.params)
    batch = {system.item: rng.uniform(-1, 1, (2, *system.shape)).astype(np.float32)}
    after, metrics = make_step(system, stage)(jax.tree.map(jnp.array, state), batch)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(metrics))
    for name, old in before.items():
        new = jax.tree.leaves(after.params[name])
        assert any((a != b).any() for a, b in zip(jax.tree.leaves(old), new, strict=True)), name


def test_reconstructing_is_what_files_hold(rng):
    state = begun(HINTED)
    image = rng.integers(0, 256, (16, 16, 3), np.uint8)
    made = apply(HINTED, state, "reconstruct", {"image": np.float32(image[None] / 127.5 - 1)}).made
    written = Codec(HINTED, state).compress(image)
    pixels = np.rint((made["image"][0] + 1) * 127.5)
    assert np.abs(pixels - written.image).max() <= 1


def test_commands_write_and_read_clips(tmp_path, rng, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    with Checkpoints(folder / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(begun(MOVING))
    (folder / "config.json").write_text(to_json(Experiment(system=MOVING, data=Data(source="x"))))
    strip = rng.integers(0, 256, (16, 64, 3), np.uint8)
    Picture.fromarray(strip).save(tmp_path / "strip.png")
    clip = read_clip(tmp_path / "strip.png")
    file = str(tmp_path / "a.jgc")
    assert main(["compress", str(folder), str(tmp_path / "strip.png"), file]) == 0
    assert "1 clip in" in capsys.readouterr().out
    assert main(["decompress", file, str(tmp_path / "a.webp"), "--run", str(folder)]) == 0
    back = read_clip(tmp_path / "a.webp")
    np.testing.assert_array_equal(colour.luma(back), colour.luma(clip))
    assert main(["decompress", file, str(tmp_path / "a.png"), "--run", str(folder)]) == 2
    assert "holds a clip" in capsys.readouterr().err


def test_clips_are_scored_by_their_files_frame_by_frame(tmp_path, rng, capsys):
    run, clips = tmp_path / "run", tmp_path / "clips"
    run.mkdir()
    clips.mkdir()
    with Checkpoints(run / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(begun(MOVING))
    (run / "config.json").write_text(to_json(Experiment(system=MOVING, data=Data(source="x"))))
    frames, side = MOVING.shape[0], MOVING.shape[1]
    want = []
    codec = Codec(MOVING, begun(MOVING))
    for name in "ab":
        strip = rng.integers(0, 256, (side, side * frames, 3), np.uint8)
        Picture.fromarray(strip).save(clips / f"{name}.png")
        clip = read_clip(clips / f"{name}.png")
        written = codec.compress(clip)
        want.append([psnr(written.image, clip).mean(), written.bits_per_pixel])
    command = ["evaluate", str(run), "--against", f"clips:{clips}", "--metrics", "psnr,bpp,chroma"]
    assert main(command) == 0
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    found = {record["metric"]: record["value"] for record in map(json.loads, lines)}
    np.testing.assert_allclose([found["psnr"], found["bpp"]], np.mean(want, 0), rtol=1e-6)
    assert {"chroma", "chroma_grey", "chroma_420"} <= set(found)
    assert main([*command[:-1], "psnr,iou"]) == 2
    assert "one after the other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": (16, 24, 3)}, "square|side"),
        ({"shape": (16, 16, 1)}, "3 channels"),
        ({"coder": "h264"}, "png, webp"),
        ({"shape": (2, 16, 16, 3)}, "h264, ffv1"),
        ({"cell": 12}, "cell is 12"),
        ({"patch_halvings": 3}, "take fewer"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(STILL, **changes)
