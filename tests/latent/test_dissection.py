"""Dissection of a generator whose units are known; thresholds, tables, causal effects."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.cli.dissect import with_effects
from jaxgan.latent import dissection
from jaxgan.latent.causal import effect
from jaxgan.latent.concepts import of_function
from jaxgan.latent.dissection import Dissection, check_about, dissect, picture
from jaxgan.latent.layers import Layer, layers, pooled
from jaxgan.latent.painting import strengths
from tests.latent.painters import SIDE, UNITS, Painting, painted
from tests.latent.runs import STYLED, untrained

NUM, CUT = 200, 2.5758


class Above:
    """Concept k is where channel k is above a cut; as steep as is asked for."""

    names = ("a", "b", "c")

    def __init__(self, cuts, slope):
        self.cuts, self.slope = np.asarray(cuts, np.float32), slope

    def __call__(self, images):
        return jax.nn.sigmoid(self.slope * (images - self.cuts))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # The judge moves nothing of the generator but its gain, which the average keeps near 1.
    return painted(tmp_path_factory.mktemp("runs") / "painting", Painting())


@pytest.fixture(scope="module")
def found(run):
    """Against concepts that are cut exactly where the units' thresholds are."""
    first = dissect(run, "maps", of_function(Above([CUT] * 3, 10.0), run), num=NUM)
    gain = 1.0 if np.allclose(_gain(run), 1, atol=0) else _gain(run)
    concepts = of_function(Above(first.threshold[:3] * gain, 1e4), run)
    return dissect(run, "maps", concepts, num=NUM)


def _gain(run):
    view = run.view
    return float(np.asarray(view._params["generator"]["gain"]))


def test_a_unit_that_paints_a_concept_overlaps_with_it_alone_and_fully(found):
    np.testing.assert_allclose(found.iou[:3], np.eye(3), atol=0.02)
    np.testing.assert_allclose(np.diag(found.iou), 1, atol=2e-3)
    assert found.iou[3].max() < 0.02
    assert [found.best(name, 1) for name in found.about.names] == [[0], [1], [2]]


@pytest.mark.parametrize("most", [2**26, 2**13], ids=["exact", "sampled"])
def test_the_share_quantile_of_places_exceeds_a_threshold(run, most, monkeypatch):
    monkeypatch.setattr(dissection, "_MOST", most)
    found = dissect(run, "maps", of_function(Above([CUT] * 3, 10.0), run), num=NUM)
    share = 1 / (NUM * SIDE * SIDE) if most == 2**26 else 2e-3
    np.testing.assert_allclose(found.rate, 0.005, atol=share)


def test_thresholds_are_of_what_is_upsampled(tmp_path):
    run = painted(tmp_path / "large", Painting(shape=(16, 16, 3), zoom=2))
    found = dissect(run, "maps", of_function(Above([CUT] * 3, 10.0), run), num=NUM)
    np.testing.assert_allclose(found.rate, 0.005, atol=1e-3)
    assert (found.threshold < CUT - 0.2).all()  # between places values are smaller
    assert found.iou[:3].argmax(1).tolist() == [0, 1, 2]


def test_levels_are_means_weighted_by_presence(run):
    concepts = of_function(Above([0.0] * 3, 1.0), run)
    found = dissect(run, "maps", concepts, num=20)
    (_, images, maps), *_ = Layer.of(run, "maps").drawn(20, 0)
    weights = np.asarray(concepts(images), np.float64)
    want = np.einsum("bhwc,bhwu->cu", weights, maps) / weights.sum((0, 1, 2))[:, None]
    np.testing.assert_allclose(found.level, want, atol=1e-5)


def test_pooling_is_pytorchs():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).random((2, 7, 10, 3), np.float32)
    for size in ((3, 4), (7, 5), (8, 12)):
        want = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x).movedim(-1, 1), size)
        np.testing.assert_allclose(pooled(jnp.asarray(x), size), want.movedim(1, -1), atol=1e-6)


def test_units_have_the_effects_that_they_have(run, found):
    concepts = of_function(Above(found.threshold[:3], 20.0), run)
    made = effect(run, found, concepts, "b", steps=60)
    assert made.ace > 0.95
    assert made.strength[1] > 0.8
    assert made.strength[[0, 2, 3]].max() < 0.05
    assert made.of([1]) > 0.95
    # What paints other concepts, or nothing, causes none of this one.
    assert made.of([0, 2, 3]) == pytest.approx(0, abs=1e-6)
    assert made.of([]) == 0
    assert made.of([0, 1, 2, 3]) == pytest.approx(made.of([1]), abs=1e-6)


def test_tables_are_written_and_read(found, tmp_path):
    found.save(tmp_path / "units")
    again = Dissection.load(tmp_path / "units")
    assert again.about == found.about
    np.testing.assert_array_equal(again.iou, found.iou)
    np.testing.assert_array_equal(again.level, found.level)
    lines = (tmp_path / "units" / "units.csv").read_text().splitlines()
    assert lines[0] == "unit,concept,iou,threshold,rate,iou_a,iou_b,iou_c"
    assert len(lines) == 1 + UNITS
    assert "3 of 4 units stand for a concept" in found.text()
    (tmp_path / "units" / "dissection.json").write_text("{}")
    with pytest.raises(UserError, match="is broken"):
        Dissection.load(tmp_path / "units")
    with pytest.raises(UserError, match="holds no dissection"):
        Dissection.load(tmp_path)


def test_units_are_of_a_system(run, found):
    other = dataclasses.replace(found, about=dataclasses.replace(found.about, system="DCGAN"))
    with pytest.raises(UserError, match="the dissection is of DCGAN, not of Painting in"):
        check_about(other, Layer.of(run, "maps"))


def test_an_effect_that_is_not_found_is_not_zero(run, tmp_path, capsys):
    def masks(images):
        return np.stack([np.asarray(images)[..., 0] > 1, np.asarray(images)[..., 0] > 99], -1)

    concepts = of_function(masks, run, ("there", "nowhere"))
    assert not concepts.traced
    first = dissect(run, "maps", concepts, num=30)
    with_effects(run, first, concepts, 5, {}).save(tmp_path)
    out = capsys.readouterr().out
    assert "is no function of JAX" in out
    assert "nowhere has no place in 30 images" in out
    again = Dissection.load(tmp_path)
    assert np.isnan(again.strength[1]).all()
    assert np.isnan(again.effect[1])
    assert strengths(again, "there", ranking="effect").max() > 0
    with pytest.raises(UserError, match="no unit of generator/maps is known to cause nowhere"):
        strengths(again, "nowhere", ranking="effect")
    nothing = dataclasses.replace(again, strength=0 * again.level)
    with pytest.raises(UserError, match="is known to cause there"):
        strengths(nothing, "there", ranking="effect")


def test_pictures_are_bright_where_units_are_high(run, found):
    image = np.asarray(picture(run, found, "a", units=1, images=3, zoom=1))
    assert image.shape == (SIDE, 3 * SIDE + 4, 3)
    assert ((image == (255, 200, 0)).all(-1)).sum() >= 3


def test_layers_are_listed_and_named(run):
    assert layers(run) == {
        ("generator", "maps"): (SIDE, SIDE, UNITS),
        ("generator", "paint"): (SIDE, SIDE, 3),
    }
    assert Layer.of(run, "generator/maps").place == ("generator", "maps")
    assert Layer.of(run, "maps").later == []  # "paint" makes the image
    with pytest.raises(UserError, match=r"there is no layer 'mapz' .* it has maps, paint") as error:
        Layer.of(run, "mapz")
    assert "\n" not in str(error.value)


def test_what_adds_noise_belongs_to_the_layer_before_it(tmp_path):
    layer = Layer.of(untrained(STYLED, tmp_path / "run"), "synthesis/conv2", "synthesize")
    paths = [path for _, path in layer.later]
    assert paths == ["synthesis/conv3", "synthesis/conv4"]
