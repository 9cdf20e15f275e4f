import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image as Picture

from jaxgan.cli import main
from jaxgan.codec import Codec
from jaxgan.codec.header import MAGIC, parse
from jaxgan.config import Data, Experiment, to_json
from jaxgan.errors import UserError
from jaxgan.fields import Coded, Padded
from jaxgan.nn.entropy import bits, gaussian_likelihood
from jaxgan.parallel.mesh import make_mesh
from jaxgan.parallel.sharding import replicated
from jaxgan.run import Run
from jaxgan.state import State
from jaxgan.system import Player, Stage, Use
from jaxgan.training.apply import apply
from jaxgan.training.checkpoint import Checkpoints
from tests.systems.test_hific import TINY, begun
from tests.toys import Numbers

SIZES = ((1, 1), (5, 7), (33, 2), (64, 40))


@pytest.fixture(scope="module")
def state():
    return begun(TINY)


@pytest.fixture(scope="module")
def codec(state):
    return Codec(TINY, state, name="a run")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def written(codec, images):
    return [codec.compress(image) for image in images]


def test_images_of_any_size_come_back_as_they_were_reconstructed(codec, images, written):
    for image, each in zip(images, written, strict=True):
        assert each.image.shape == image.shape
        np.testing.assert_array_equal(codec.decompress(each.content), each.image)
        assert each.content[:3] == MAGIC
        pixels = image.shape[0] * image.shape[1]
        assert each.bits_per_pixel == 8 * len(each.content) / pixels


def test_files_do_not_depend_on_the_devices_that_the_state_lies_on(state, images, written):
    spread = jax.device_put(state, replicated(make_mesh()))
    other = Codec(TINY, spread)
    assert other.compress(images[1]).content == written[1].content
    np.testing.assert_array_equal(other.decompress(written[2].content), written[2].image)


def test_a_file_is_about_as_long_as_the_model_says(state, images):
    """Bits by floats, of a density as it begins and scales about 2: hardly a number is beyond."""
    networks, given = TINY.networks(), dict(state.params)
    start = networks["density"].init(jax.random.key(0), jnp.zeros((1, 3)), train=True)
    last = given["scale"]["conv3"]
    given |= {
        "density": start["params"],
        "scale": {**given["scale"], "conv3": {**last, "bias": last["bias"] + 2}},
    }
    usual = dataclasses.replace(state, params=given)
    image = np.tile(images[3], (3, 3, 1))[:160, :96]
    made = apply(TINY, usual, "encode", {"image": np.float32(image[None] / 127.5 - 1)}).made
    model = apply(TINY, usual, "latent_model", {"side": made["side"]}).made
    mean = model["mean"] / 16
    scale = 0.11 * (256 / 0.11) ** (model["scale"] / 63)
    rounded = np.round(made["latent"] - mean) + mean
    likelihood = gaussian_likelihood(*(jnp.float32(each) for each in (rounded, mean, scale)))
    side = networks["density"].apply(start, made["side"], train=False)
    ideal = float(bits(likelihood)[0] + bits(side)[0])
    size = 8 * (len(Codec(TINY, usual).compress(image).content) - 20)  # without header and check
    assert 500 < size <= 1.01 * ideal + 64


def test_a_file_that_is_cut_or_changed_in_any_byte_is_refused(codec, written):
    content = written[1].content
    for place in range(len(content)):
        for broken in (
            content[:place],
            content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :],
        ):
            with pytest.raises(UserError, match=r"damaged|version") as told:
                codec.decompress(broken)
            assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="damaged"):
        codec.decompress(content + b"\0")


def test_files_of_another_run_or_of_other_side_information_are_refused(codec, written):
    other = Codec(TINY, begun(TINY, seed=1), name="another")
    with pytest.raises(UserError, match="another run or checkpoint"):
        other.decompress(written[0].content)
    header = parse(written[1].content, 0)
    with pytest.raises(UserError, match="cannot be decoded here"):
        codec.decompress(dataclasses.replace(header, check=header.check ^ 1).to_bytes())
    for size, words in (
        ((1 << 30, 1 << 30), "more than 100,000,000: allow as many by --max-pixels"),
        ((0, 5), "says that it has no pixels"),
        ((4, 16, 16), "is of a form that this run does not write"),
        ((16,), "is of a form that this run does not write"),
        ((1,) * 255, "is of a form that this run does not write"),
    ):
        with pytest.raises(UserError, match=words):
            codec.decompress(dataclasses.replace(header, size=size).to_bytes())
    ends = dataclasses.replace(header, words=header.words[:-4] + bytes(4))
    with pytest.raises(UserError, match="its stream ends as none does"):
        codec.decompress(ends.to_bytes())


def test_a_system_that_writes_no_files_is_told():
    with pytest.raises(UserError, match="cannot encode"):
        Codec(Numbers(), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Numbers):
    """Codes without a model: levels of a mean, and what is grey as a picture."""

    coder: str = "png"

    def stages(self):
        player = Player(name="a", owns=("a",), loss=lambda *given: None, optimizer=optax.sgd(0.1))
        return (Stage(players=(player,)),)

    def uses(self):
        image = Padded((None, None, 3), multiple=4)

        def encode(view, taken, keys, options):
            x = (taken["image"] + 1) / 2
            means = x.reshape(len(x), x.shape[1] // 4, 4, x.shape[2] // 4, 4, 3).mean((2, 4))
            grey = x.mean(-1, keepdims=True)
            return {"levels": jnp.round(means * 4), "grey": jnp.round(grey * 255)}

        def decode(view, taken, keys, options):
            colours = jnp.repeat(jnp.repeat(taken["levels"] / 4, 4, 1), 4, 2)
            grey = taken["grey"] / 255
            return {"image": (colours * 0.5 + grey * 0.5) * 2 - 1}

        holds = {
            "levels": Coded((None, None, 3), coder="uniform", levels=5),
            "grey": Coded((None, None, 1), coder=self.coder),
        }
        return {
            "encode": Use(call=encode, takes={"image": image}, gives=holds),
            "decode": Use(call=decode, takes=holds, gives={"image": image}),
        }


@pytest.mark.parametrize("coder", ["png", "webp"])
def test_other_systems_write_files_too(images, coder):
    codec = Codec(Plain(coder=coder), init_of_numbers())
    for image in images:
        each = codec.compress(image)
        np.testing.assert_array_equal(codec.decompress(each.content), each.image)
        assert np.abs(each.image.astype(int) - image).mean() < 100


def init_of_numbers():
    params, stats = Plain().init(jax.random.key(0))
    return State(step=jnp.int32(0), params=params, stats=stats, opt={}, ema={}, memory={})


@pytest.fixture(scope="module")
def run(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("codec") / "runs" / "tiny"
    folder.mkdir(parents=True)
    with Checkpoints(folder / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(state)
    (folder / "config.json").write_text(
        to_json(Experiment(system=TINY, data=Data(source="unknown")))
    )
    return folder


def test_commands_write_and_read_and_a_fresh_process_decodes_the_same(
    run, images, written, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(run.parents[1])
    given = tmp_path / "given"
    given.mkdir()
    for index, image in enumerate(images[:2]):
        Picture.fromarray(image).save(given / f"{index}.png")
    assert main(["compress", "runs/tiny", str(given), str(tmp_path / "files")]) == 0
    assert "2 images in" in capsys.readouterr().out
    for index in range(2):
        content = (tmp_path / "files" / f"{index}.jgc").read_bytes()
        assert content == written[index].content
    environment = {**os.environ, "XLA_FLAGS": ""}  # one device
    command = [sys.executable, "-m", "jaxgan", "decompress"]
    out = tmp_path / "out"
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([*command, tmp_path / "files", out], env=environment, check=True)
    for index in range(2):
        with Picture.open(out / f"{index}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), written[index].image)
    broken = tmp_path / "broken.jgc"
    broken.write_bytes(written[0].content[:-1])
    assert main(["decompress", str(broken), str(tmp_path / "x.png")]) == 2
    assert "broken.jgc is damaged" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.jgc").write_bytes(written[0].content)
    assert main(["decompress", "whole.jgc", "x.png"]) == 2
    assert "give --run" in capsys.readouterr().err
    assert main(["decompress", "whole.jgc", "x.png", "--run", str(run)]) == 0


def test_runs_that_compress_are_scored_by_their_files(run, tmp_path, capsys):
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (2, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    codec = Codec(TINY, Run(run).stored)
    bits = []
    for index, image in enumerate(coarse):
        Picture.fromarray(image).save(tmp_path / f"{index}.png")
        bits.append(codec.compress(image).bits_per_pixel)
    command = ["evaluate", str(run), "--against", str(tmp_path), "--metrics", "psnr,bpp"]
    assert main(command) == 0
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    found = {record["metric"]: record["value"] for record in map(json.loads, lines)}
    np.testing.assert_allclose(found["bpp"], np.mean(bits))
    assert 0 < found["psnr"] < 100
    assert (run / "rate_distortion.png").is_file()
    assert "JPEG" in capsys.readouterr().out
