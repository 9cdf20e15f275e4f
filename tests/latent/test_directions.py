"""Directions of runs: of all kinds of generators, moved, kept, reported; control and search."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import Data, Experiment, UserError, init
from jaxgan.cli import main
from jaxgan.config import load, to_json
from jaxgan.latent import algebra, control, finding, scores, search
from jaxgan.latent import directions as ways
from jaxgan.latent.directions import Directions, Move, apply_moves, moved
from jaxgan.latent.entries import entries
from jaxgan.latent.space import Space
from jaxgan.nn.layers import Dense
from jaxgan.run import Run
from jaxgan.systems.biggan import BigGAN
from jaxgan.systems.dcgan import DCGAN
from jaxgan.systems.progan import ProGAN
from jaxgan.systems.sngan import SNGAN
from jaxgan.systems.stylegan2 import StyleGAN2
from jaxgan.training.checkpoint import Checkpoints
from tests.toys import TinyGAN


class LinearGenerator(nn.Module):
    """G(z) = A z, as an image."""

    @nn.compact
    def __call__(self, z, *, train):
        return Dense(64, use_bias=False, name="dense")(z).reshape(-1, 8, 8, 1)


class Pair(nn.Module):
    """Several things, of which the first counts."""

    @nn.compact
    def __call__(self, x):
        return Dense(64, use_bias=False, name="dense")(x), x


class PairGenerator(nn.Module):
    @nn.compact
    def __call__(self, z, *, train):
        return Pair(name="pair")(z)[0].reshape(-1, 8, 8, 1)


class LinearDiscriminator(nn.Module):
    """Brighter is more real."""

    @nn.compact
    def __call__(self, x, *, train):
        return self.param("gain", nn.initializers.ones, ()) * x.sum((1, 2, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(TinyGAN):
    shape: tuple[int, ...] = (8, 8, 1)
    latent: int = 6

    def networks(self):
        return {"generator": LinearGenerator(), "discriminator": LinearDiscriminator()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired(Linear):
    def networks(self):
        return {**super().networks(), "generator": PairGenerator()}


SYSTEMS = {
    "pair": Paired(),
    "linear": Linear(),
    "dcgan": DCGAN(shape=(8, 8, 1), width=4, latent=5),
    "sngan": SNGAN(
        shape=(8, 8, 1), classes=10, generator_channels=(8, 8), halvings=1,
        discriminator_channels=(8, 8), latent=4,
    ),
    "biggan": BigGAN(
        shape=(32, 32, 1), classes=10, latent=8, channels=4, shared=4, remat=True,
        generator_attention=(), discriminator_attention=(),
    ),
    "progan": ProGAN(shape=(8, 8, 1), width=64, max_channels=8, latent=7),
    "style": StyleGAN2(shape=(8, 8, 1), latent=6, width=64, max_channels=8, mapping_layers=2),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def opened(name):
        at = folder / name
        if not at.is_dir():
            at.mkdir()
            with Checkpoints(at / "checkpoints", keep=1) as checkpoints:
                checkpoints.save(init(SYSTEMS[name], 1))
            data = Data(source="digits")
            experiment = Experiment(system=SYSTEMS[name], data=data, batch=8)
            (at / "config.json").write_text(to_json(experiment))
        return Run(at, find=lambda _: type(SYSTEMS[name]))

    return opened


def test_sefa_of_a_linear_generator(runs):
    run = runs("linear")
    (entry,) = entries(Space.of(run, "z"))
    kernel = np.asarray(run.view._params["generator"]["dense"]["kernel"])
    np.testing.assert_allclose(entry.matrix, kernel.T, atol=1e-6)
    assert (entry.path, list(entry.places)) == ("dense", [0, 1, 2, 3, 4, 5])
    found = finding.sefa(run, count=2, unit_rows=False)
    _, _, right = np.linalg.svd(kernel.T)
    assert abs(found.vectors[0] @ right[0]) > 1 - 1e-6
    np.testing.assert_allclose(found.sigma, 1, atol=0.1)


@pytest.mark.parametrize(
    ("name", "space", "paths"),
    [
        ("dcgan", "z", ["conv1"]),
        ("sngan", "z", ["dense"]),
        ("progan", "z", ["conv4_0"]),
        ("style", "z", ["mapping/dense0"]),
    ],
)
def test_where_codes_enter(runs, name, space, paths):
    found = entries(Space.of(runs(name), space))
    assert [each.path for each in found] == paths
    size = SYSTEMS[name].latent
    assert list(found[0].places) == list(range(size))
    assert found[0].matrix.shape[1] == size


def test_parts_of_a_latent_enter_biggan_s_norms(runs):
    found = entries(Space.of(runs("biggan"), "z"))
    assert found[0].path == "dense"
    assert list(found[0].places) == [0, 1]
    assert {each.path.split("/")[0] for each in found[1:]} == {"block1", "block2", "block3"}
    last = [each for each in found if each.path.startswith("block3")]
    assert {each.path.split("/")[-1] for each in last} == {"scale", "bias"}
    assert all(len(each.places) == 2 for each in last)  # not those of the class


def test_styles_enter_each_layer(runs):
    run = runs("style")
    found = entries(Space.of(run, "w+"))
    layers = [{int(p) // 6 for p in each.places} for each in found]
    assert layers == [{0}, {1}, {1}, {2}, {3}]
    assert [each.path.split("/")[1] for each in found] == [
        "conv0",
        "rgb4",
        "conv1",
        "conv2",
        "rgb8",
    ]
    some = finding.sefa(run, layers=(1, 2), count=3, num=50)
    assert (some.space, some.layers, some.vectors.shape) == ("w", (1, 2), (3, 6))
    with pytest.raises(UserError, match="has 4 that take codes, 0-3"):
        finding.sefa(run, layers=(2, 4))


def test_ganspace_of_a_linear_generator_follows_its_singular_vectors(runs):
    run = runs("linear")
    found = finding.ganspace(run, count=6, num=3000)
    kernel = np.asarray(run.view._params["generator"]["dense"]["kernel"])
    _, singular, right = np.linalg.svd(kernel.T)
    assert np.abs((found.vectors * right).sum(1)).min() > 0.9
    np.testing.assert_allclose(found.strength, singular**2 / np.square(singular).sum(), rtol=0.1)
    np.testing.assert_allclose(found.sigma, 1, atol=0.05)
    with pytest.raises(UserError, match="for the space w"):
        finding.ganspace(run, layers=(0, 1))


def bright(run):
    return scores.colours(run)


def test_boundaries_of_a_linear_generator(runs):
    run = runs("linear")
    kernel = np.asarray(run.view._params["generator"]["dense"]["kernel"])
    linear = scores.Attributes(
        ("sum", "first"), lambda _, x: jnp.stack([x.sum((1, 2, 3)), x[:, 0, 0, 0]], 1)
    )
    found = finding.boundaries(run, linear, num=6000)
    assert found.names == ("sum", "first")
    assert found.vectors[0] @ algebra.unit(kernel.sum(1)) > 0.98
    assert min(found.strength) > 0.9
    assert found.absolute
    one = finding.boundaries(run, linear, num=6000, conditions=["first"])
    assert one.names == ("sum",)
    assert abs(one.vectors[0] @ found.vectors[1]) < 1e-6
    table = ways.entanglement(run, found, linear)
    assert (table.shape, table[0].argmax(), table[1].argmax()) == ((2, 2), 0, 1)
    # A latent goes to its distance, wherever it was.
    z = Space.of(run, "z").draw(5)
    there = moved(z, [Move(found, 0, 2.0)])
    at = there @ found.vectors[0] - found.offset[0]
    np.testing.assert_allclose(at, 2 * found.sigma[0], rtol=1e-4)
    assert len(found.rest) == 2
    # At 0 it is on the boundary of what is asked for, which need not go through the mean.
    spread = np.linalg.norm(kernel.sum(1))
    high = scores.Attributes(("high",), lambda _, x: (x.sum((1, 2, 3)) > spread)[:, None] * 1.0)
    found = finding.boundaries(run, high, num=3000, extremes=0.1)
    on = Space.of(run, "z").images(moved(z, [Move(found, 0, 0.0)])).sum((1, 2, 3))
    np.testing.assert_allclose(on.mean() / spread, 1, atol=0.3)
    (named,) = finding.boundaries(run, linear, names=["1"], num=1000).names
    assert named == "first"
    assert finding.boundaries(run, linear, conditions=["1"], num=1000).names == ("sum",)


def test_absolute_moves_are_to_a_distance_from_the_boundary(rng):
    codes = rng.standard_normal((4, 5), np.float32)
    found = some(5, absolute=True, offset=np.array([0.5, -3], np.float32))
    there = moved(codes, [Move(found, 1, 2.0)])
    np.testing.assert_allclose(there[:, 1], -3 + 2, rtol=1e-5)
    np.testing.assert_array_equal(there[:, [0, 2, 3, 4]], codes[:, [0, 2, 3, 4]])
    np.testing.assert_allclose(moved(codes, [Move(found, 0, 0.0)])[:, 0], 0.5, rtol=1e-5)


def test_activations_of_a_module_that_gives_several_things(runs):
    run = runs("pair")
    found = finding.ganspace(run, layer="pair", num=200, count=2)
    np.testing.assert_allclose(found.vectors, finding.ganspace(run, num=200, count=2).vectors)
    with pytest.raises(UserError, match="there is no layer 'pear' in generate of Paired"):
        finding.ganspace(run, layer="pear", num=200)


def test_moves_in_layers(runs):
    run = runs("style")
    found = finding.sefa(run, count=2, num=50)
    styles = Space.of(run, "w+").draw(3)
    there = moved(styles, [Move(found, 1, -2.0, (1, 2)), Move(found, 0, 0.0)])
    np.testing.assert_array_equal(there[:, [0, 3]], styles[:, [0, 3]])
    step = -2 * found.sigma[1] * found.vectors[1]
    np.testing.assert_allclose(there[:, 1:3], styles[:, 1:3] + step, rtol=1e-5, atol=1e-6)
    still = apply_moves(run, [Move(found, 0, 0.0)], {}, numbers=4, seed=3).made["image"]
    whole = run.apply("generate", numbers=4, seed=3).made["image"]
    np.testing.assert_allclose(still, whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="4 that take codes"):
        apply_moves(run, [Move(found, 0, 1.0, (3, 9))], {}, numbers=1)
    with pytest.raises(UserError, match="for the space w"):
        apply_moves(runs("dcgan"), [Move(some(5), 0, 1.0, (0, 1))], {}, numbers=1)
    with pytest.raises(UserError, match="have 6 numbers, codes of DCGAN in"):
        apply_moves(runs("dcgan"), [Move(some(6), 0, 1.0)], {}, numbers=1)
    with pytest.raises(UserError, match="are of BigGAN, not of DCGAN in"):
        apply_moves(runs("dcgan"), [Move(some(5, system="BigGAN"), 0, 1.0)], {}, numbers=1)


def some(size, **facts):
    given = {"method": "sefa", "system": "DCGAN", "space": "z", "names": ("a", "b")}
    return Directions(
        vectors=np.eye(size, dtype=np.float32)[:2], sigma=np.ones(2, np.float32),
        strength=(2.0, 1.0), **{**given, **facts},
    )  # fmt: skip


def test_directions_of_other_networks_are_told(runs, caplog):
    run = runs("linear")
    found = finding.sefa(run, num=10)
    ways.check_moves(run, [Move(found, 0, 1.0)])
    assert "another run" not in caplog.text
    ways.check_moves(run, [Move(dataclasses.replace(found, networks="another"), 0, 1.0)])
    assert "directions were found in another run, or at another step" in caplog.text


def test_directions_are_kept(tmp_path):
    ways.write(tmp_path / "d", some(5, layers=(1, 2), networks="n"), ("x",), np.ones((2, 1)))
    again = ways.read(tmp_path / "d")
    assert again.networks == "n"
    assert (again.names, again.layers, again.strength) == (("a", "b"), (1, 2), (2.0, 1.0))
    np.testing.assert_array_equal(again.vectors, np.eye(5)[:2])
    move = ways.parse_move(f"{tmp_path / 'd'}:b:-1.5:4-7")
    assert (move.index, move.by, move.layers) == (1, -1.5, (4, 7))
    assert ways.parse_move(f"{tmp_path / 'd'}:2:+2").index == 1
    for text, told in (
        ("d:3", "give DIR:3"), ("d:3:x", "give DIR:3"), ("none:1:2", "holds no directions.json"),
        (f"{tmp_path / 'd'}:3:1", "directions 1 to 2"), (f"{tmp_path / 'd'}:1:1:a", "such as 4-7"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=told):
            ways.parse_move(text)
    bounds = some(5, absolute=True, offset=np.ones(2, np.float32), rest=(0.75, 0.5))
    ways.write(tmp_path / "bounds", bounds)
    back = ways.read(tmp_path / "bounds")
    assert (back.absolute, back.rest, list(back.offset)) == (True, (0.75, 0.5), [1, 1])
    assert again.offset is None
    facts = json.loads((tmp_path / "d" / "directions.json").read_text())
    for changed in (
        {"extra": 1}, {"names": ["a"]}, {"format": 2}, {"space": "x"}, {"absolute": True},
        {"rest": [1.0]},
    ):  # fmt: skip
        (tmp_path / "d" / "directions.json").write_text(json.dumps({**facts, **changed}))
        with pytest.raises(UserError, match="jaxgan directions"):
            ways.read(tmp_path / "d")


def brightness_classes(_, images):
    """Two classes by brightness, smooth."""
    logit = 0.2 * images.sum((1, 2, 3))
    return jnp.stack([jax.nn.log_sigmoid(-logit), jax.nn.log_sigmoid(logit)], 1)


CLASSES = scores.Attributes(("dark", "bright"), brightness_classes)


def test_gradients_raise_the_probability_steadily(runs):
    run = runs("linear")
    space = Space.of(run, "z")
    codes = np.sqrt(6) * algebra.unit(space.draw(8)).astype(np.float32)
    wanted = np.ones(8, int)
    made = control.control(space, codes, wanted, CLASSES, CLASSES, steps=20, rate=0.05, noise=0.0)
    rises = np.diff(made.probability, axis=0)
    assert rises.min() > -1e-6
    assert (made.probability[-1] > made.probability[0]).all()
    np.testing.assert_allclose(np.linalg.norm(made.codes, axis=1), np.sqrt(6), rtol=1e-5)
    np.testing.assert_allclose(made.guard, made.probability[[0, -1]], rtol=1e-5)
    # The same codes alone: the same, to rounding.
    alone = control.control(
        space, codes[:3], wanted[:3], CLASSES, CLASSES, steps=20, rate=0.05, noise=0.0
    )
    np.testing.assert_allclose(alone.codes, made.codes[:3], rtol=1e-4, atol=1e-5)


def test_classes_have_directions(runs):
    found, went = control.class_directions(runs("style"), CLASSES, CLASSES, num=8, steps=3)
    assert (found.space, found.names, set(went)) == ("w", ("dark", "bright"), {"dark", "bright"})
    assert found.vectors[0] @ found.vectors[1] < -0.5


def test_layers_are_refused_before_any_work(runs, monkeypatch):
    monkeypatch.setattr(control, "control", None)
    monkeypatch.setattr(Space, "draw", None)
    with pytest.raises(UserError, match="has 4 that take codes, 0-3"):
        control.class_directions(runs("style"), CLASSES, CLASSES, layers=(2, 4))
    for find in (finding.boundaries, finding.ganspace):
        more = (CLASSES,) if find is finding.boundaries else ()
        with pytest.raises(UserError, match="for the space w"):
            find(runs("dcgan"), *more, layers=(0, 1))


def test_devices_change_nothing(runs):
    """Rows on 8 devices are those on one."""
    run, one = runs("linear"), Run(runs("linear").folder, find=lambda _: Linear)
    assert jax.device_count() == 8
    one.stored = jax.device_put(jax.device_get(run.stored))
    results = []
    for each in (run, one):
        space = Space.of(each, "z")
        made = control.control(
            space, space.draw(5), np.ones(5, int), CLASSES, CLASSES, steps=3, rate=0.1
        )
        fine = search.refine(each, {}, numbers=np.arange(5), steps=3, seed=2)
        results.append((made.codes, fine["z"], finding.sefa(each, count=3).vectors))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_best_of_several(runs):
    run = runs("linear")
    taken = search.best_of(run, 5, {}, numbers=np.arange(3), seed=4)
    z = run.draw("generate", numbers=15, seed=4)["z"]
    logits = run.apply("judge", {"image": run.apply("generate", {"z": z}).made["image"]})
    best = logits.made["logit"].reshape(3, 5).argmax(1) + 5 * np.arange(3)
    np.testing.assert_array_equal(taken["z"], z[best])
    second = search.best_of(run, 5, {}, numbers=np.arange(1, 2), seed=4)
    np.testing.assert_array_equal(second["z"], taken["z"][1:2])
    with pytest.raises(UserError, match="give discriminator or classifier"):
        search.best_of(run, 5, {}, numbers=np.arange(3), by="discriminater")


def test_langevin_steps_follow_the_discriminator(runs):
    """D is linear in z, so z tends to a Gaussian about the gradient of D(G(z))."""
    run = runs("linear")
    kernel = np.asarray(run.view._params["generator"]["dense"]["kernel"])
    mean = kernel.sum(1)
    found = search.refine(run, {}, numbers=np.arange(400), steps=60, rate=0.3)["z"]
    np.testing.assert_allclose(found.mean(0), mean, atol=0.25)
    np.testing.assert_allclose(found.std(0), 1 / np.sqrt(1 - 0.3 / 4), atol=0.2)


@pytest.mark.parametrize("name", ["sngan", "biggan", "progan"])
def test_discriminators_judge_alone(runs, name):
    run = runs(name)
    made = run.apply("generate", numbers=5)
    label = {n: made.taken[n] for n in ("label",) if n in made.taken}
    whole = run.apply("judge", {"image": made.made["image"], **label}, chunk=8).made["logit"]
    one = {n: x[3:4] for n, x in label.items()}
    alone = run.apply("judge", {"image": made.made["image"][3:4], **one}, chunk=8).made["logit"]
    np.testing.assert_allclose(alone[0], whole[3], rtol=1e-4, atol=1e-5)


def test_colours_and_functions(runs, tmp_path):
    run = runs("linear")
    images = np.zeros((3, 8, 8, 1), np.float32)
    images[1] = 1
    np.testing.assert_allclose(bright(run).of(images)[:, 0], [0.5, 1, 0.5])
    (tmp_path / "mine.py").write_text(
        "def ink(images):\n    return images.mean((1, 2, 3))\n"
        "def wrong(images):\n    return images\n"
    )
    ink = scores.attributes(run, f"{tmp_path / 'mine.py'}:ink")
    assert ink.names == ("ink",)
    np.testing.assert_allclose(ink.of(images)[:, 0], [128, 255, 128])
    for spec, told in (
        ("colors", "did you mean colours"),
        ("none.py:a", "no file"),
        (f"{tmp_path / 'mine.py'}:inc", "no function 'inc'"),
        (f"{tmp_path / 'mine.py'}:", "names no function"),
    ):
        with pytest.raises(UserError, match=told):
            scores.attributes(run, spec)
    pets = scores.Attributes(("cat", "7", "dog"), ink.function)
    assert [pets.index(name) for name in ("dog", "7", "0", "2")] == [2, 1, 0, 2]
    for name in ("3", "-1", "dig"):
        with pytest.raises(UserError, match="no attribute"):
            pets.index(name)
    with pytest.raises(UserError, match="returns an array"):
        scores.attributes(run, f"{tmp_path / 'mine.py'}:wrong").of(images)
    with pytest.raises(UserError, match="no gradients"):
        control.control(Space.of(run, "z"), np.ones((1, 6)), np.zeros(1, int), ink, ink)


def test_commands(runs, tmp_path, capsys):
    folder, out = str(runs("dcgan").folder), tmp_path / "d"
    words = ["directions", folder, "--method", "sefa", "--count", "2", "--rows", "2"]
    assert main([*words, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "directions.npz", "directions.json", "01.png", "02.png"
    }  # fmt: skip
    assert "brightness" in capsys.readouterr().out
    assert json.loads((out / "directions.json").read_text())["attributes"] == [
        "brightness", "contrast"
    ]  # fmt: skip
    sample = ["sample", folder, "--num", "3", "--out"]
    for index, more in enumerate(
        (
            [],
            ["--move", f"{out}:1:+2", "--move", f"{out}:2:-1"],
            ["--best-of", "3"],
            ["--refine", "2"],
        )
    ):
        assert main([*sample, str(tmp_path / f"{index}.npz"), *more]) == 0
    images = [np.load(tmp_path / f"{index}.npz")["images"] for index in range(4)]
    assert all((images[0] != each).any() for each in images[1:])
    capsys.readouterr()
    for more, told in (
        (["--move", f"{out}:7:+2"], "directions 1 to 2"),
        (["--move", f"{out}:1"], "give DIR:3:+2.0"),
        (["--move", f"{out}:1:1:0-1"], "for the space w"),
        (["--mix", "3", "--best-of", "2"], "leave these out"),
    ):
        assert main([*sample, str(tmp_path / "x.png"), *more]) == 2
        assert told in capsys.readouterr().err


def test_systems_that_lack_what_is_needed(runs, tmp_path, capsys):
    assert main(["directions", str(runs("style").folder), "--method", "sefa", "--layer", "x",
                 "--out", str(tmp_path / "a")]) == 2  # fmt: skip
    assert "--layer is for ganspace" in capsys.readouterr().err
    assert main(["directions", str(runs("dcgan").folder), "--method", "sefa", "--best",
                 "--out", str(tmp_path / "a")]) == 2  # fmt: skip
    assert "best" in capsys.readouterr().err
    with pytest.raises(UserError, match="shipped systems that can"):
        ways.space_of(runs("dcgan"), "w")
    at = tmp_path / "one"
    at.mkdir()
    experiment = load("pix2pix_digits")
    (at / "config.json").write_text(to_json(experiment))
    with pytest.raises(UserError, match="the space z"):
        ways.space_of(Run(at))
