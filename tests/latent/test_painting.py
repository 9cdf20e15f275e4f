"""Painting with a generator whose units are known; photographs; concepts."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.fields import Image
from jaxgan.latent import concepts as c
from jaxgan.latent.dissection import dissect
from jaxgan.latent.layers import Layer, intervene
from jaxgan.latent.painting import cells, paint
from jaxgan.latent.perceptual import Perceptual, _seen
from jaxgan.latent.photo import Terms, manipulate
from jaxgan.latent.space import Space
from tests.latent.painters import SIDE, UNITS, Painting, painted

MASK = np.zeros((2 * SIDE, 2 * SIDE, 1), np.uint8)
MASK[2:6, 4:10] = 255
WHERE = np.zeros((1, SIDE, SIDE), np.float32)
WHERE[0, 1:3, 2:5] = 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rgba"
    return painted(folder, Painting(shape=(2 * SIDE, 2 * SIDE, 4), zoom=2))


@pytest.fixture(scope="module")
def units(run):
    def masks(images):
        return (images[..., :2] > 1).astype(jnp.float32)

    masks.names = ("red", "green")
    return dissect(run, "maps", c.of_function(masks, run), num=50)


def one_hot(unit):
    return np.eye(UNITS, dtype=np.float32)[unit]


def test_erasing_and_drawing_at_places_apart_commute():
    maps = np.random.default_rng(0).standard_normal((3, SIDE, SIDE, UNITS), np.float32)
    level, elsewhere = np.arange(1, 1 + UNITS, dtype=np.float32), np.roll(WHERE, 4, 1)
    all_ = np.ones(UNITS, np.float32)
    erase, draw = (WHERE, all_, 0 * level), (elsewhere, one_hot(1), level)
    there = np.asarray(intervene(maps, (erase, draw)))
    np.testing.assert_array_equal(there, intervene(maps, (draw, erase)))
    np.testing.assert_array_equal(there[:, 1:3, 2:5], 0)
    np.testing.assert_array_equal(there[:, 5:7, 2:5, 1], 2)
    rest = (WHERE + elsewhere)[0] == 0
    np.testing.assert_array_equal(there[:, rest], maps[:, rest])
    pair = intervene((maps, 1), (erase,))  # of modules that give more than maps
    np.testing.assert_array_equal(pair[0], intervene(maps, (erase,)))


def test_outside_of_the_mask_nothing_changes(run, units):
    made = paint(run, units, erase=["red"], at=MASK, num=3, top=1, seed=2)
    inside = made.marked
    assert inside.sum() == MASK.sum() // 255
    np.testing.assert_array_equal(made.after[:, ~inside], made.before[:, ~inside])
    np.testing.assert_array_equal(made.after[:, inside][..., 1:], made.before[:, inside][..., 1:])
    assert (abs(made.after[:, inside][..., 0].astype(int) - 128) <= 1).all()
    drawn = paint(run, units, draw=["red"], at=MASK, num=3, top=1, seed=2)
    assert (drawn.after[:, inside][..., 0] == 255).all()  # its level is above 1
    again = paint(run, units, draw=["red"], at=MASK, num=3, top=1, seed=2)
    np.testing.assert_array_equal(again.after, drawn.after)


def test_a_pixel_belongs_to_the_nearest_cell():
    field = Image((2 * SIDE, 2 * SIDE, 4))
    np.testing.assert_array_equal(cells(MASK, field, (SIDE, SIDE)), WHERE)
    dot = np.zeros((16, 16, 1), np.uint8)
    dot[15, 8] = 255
    assert np.argwhere(cells(dot, field, (3, 4))).tolist() == [[0, 2, 2]]
    with pytest.raises(UserError, match="the mask marks nothing"):
        cells(0 * MASK, field, (SIDE, SIDE))


def test_what_cannot_be_painted_is_refused(run, units):
    for settings, said in (
        ({}, "nothing to paint: give a concept to erase or to draw, of red, green"),
        ({"erase": ["blue"]}, "no concept 'blue': there are red, green"),
        ({"erase": ["red"], "ranking": "luck"}, "ranking is 'luck'"),
        ({"erase": ["red"], "ranking": "effect"}, "the dissection has no effects"),
    ):
        with pytest.raises(UserError, match=said):
            paint(run, units, **settings)


def test_alpha_is_measured_before_and_after(run):
    units = dissect(run, "maps", c.read("alpha", run), num=50)
    assert units.best("alpha", 1) == [3]
    made = paint(run, units, erase=["alpha"], top=1, num=4)
    assert made.shares["alpha"] == (pytest.approx(0.5, abs=0.1), 0)
    assert 0 < made.elsewhere < 0.2


@pytest.fixture(scope="module")
def photo(run):
    space = Space.of(run, "z")
    code = space.draw(1, seed=5)[0]
    pixels = space.image.from_network(space.images(code[None]))[0]
    return space, code, pixels


def test_a_generator_that_is_not_adapted_is_itself(run, units, photo):
    space, code, pixels = photo
    made = manipulate(
        run, units, pixels, space, code, erase=["red"], at=MASK, top=1, steps=0, adapt=["paint"]
    )
    np.testing.assert_array_equal(made.adapted, made.edited)
    np.testing.assert_array_equal(made.reconstruction, pixels)
    layer = Layer.of(run, "maps", z=code[None])
    edit = (WHERE, one_hot(units.best("red", 1)[0]), np.zeros(UNITS, np.float32))
    want = layer.apply(np.zeros(1, int), 0, edit).made["image"]
    np.testing.assert_array_equal(made.edited, space.image.from_network(want)[0])


def test_an_adapted_generator_keeps_the_photograph_where_it_was_not_edited(run, units, photo):
    space, code, pixels = photo
    other = np.roll(pixels, 3, 0)

    def maps(params, images):
        return [params * images]

    settings = {"at": MASK, "top": 1, "adapt": ["paint"], "steps": 80, "learning_rate": 0.1}
    for distance in (None, Perceptual(name="pixels", params=2.0, maps=maps)):
        made = manipulate(
            run, units, other, space, code, erase=["red"], distance=distance, **settings
        )
        before, after = made.outside()
        assert after < before / 20
        np.testing.assert_array_equal(made.adapted[made.marked], made.edited[made.marked])
        assert made.curve[-1] < made.curve[0] / 10
    strict = manipulate(
        run, units, other, space, code, erase=["red"], terms=Terms(penalty=1e4), **settings
    )
    assert abs(strict.added["generator/paint"]).max() < abs(made.added["generator/paint"]).max()
    with pytest.raises(UserError, match=r"no layer comes after generator/maps"):
        manipulate(run, units, other, space, code, erase=["red"], at=MASK)
    with pytest.raises(UserError, match=r"no layer 'maps' comes after generator/maps"):
        manipulate(run, units, other, space, code, erase=["red"], adapt=["maps"])


def test_colours_are_those_of_lab():
    color = pytest.importorskip("skimage.color")
    rng = np.random.default_rng(0)
    x = rng.random((2, 5, 7, 3), np.float32)
    np.testing.assert_allclose(c.lab(jnp.asarray(x * 2 - 1)), color.rgb2lab(x), atol=2e-2)
    alpha = np.concatenate([x, x[..., :1] * 0], -1)
    np.testing.assert_allclose(c.lab(jnp.asarray(alpha * 2 - 1))[..., 0], 100, atol=1e-2)
    assert c.hexadecimal(color.rgb2lab([[[1.0, 0.5, 0.0]]])[0, 0]) == "#ff8000"


def test_alpha_is_on_white():
    grey = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32)
    rgba = grey[..., [0, 0, 0, 1]]
    for function in (c.rgb, _seen):
        seen = np.asarray(function(grey))
        assert seen.shape == (2, 4, 4, 3)
        np.testing.assert_allclose(seen, function(rgba), atol=1e-6)
        np.testing.assert_allclose(function(grey[..., :1]), function(rgba[..., :3]), atol=1e-6)
    shade, cover = (grey[..., 0] + 1) / 2, (grey[..., 1] + 1) / 2
    np.testing.assert_allclose(c.rgb(grey)[..., 2], shade * cover + 1 - cover, atol=1e-6)


def test_k_means_finds_clusters_the_largest_first():
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0, 0], [30, 0, 0], [0, 40, 10]])
    counts = (50, 300, 100)
    points = np.concatenate(
        [rng.normal(m, 1, (n, 3)) for m, n in zip(middles, counts, strict=True)]
    ).astype(np.float32)
    found = c.k_means(points, 3, rng)
    np.testing.assert_allclose(found, middles[[1, 2, 0]], atol=0.5)


def test_colours_of_a_run(run):
    found = c.read("colours:3", run)
    assert found.names == ("colour1", "colour2", "colour3")
    images = jnp.asarray(Space.of(run, "z").images(Space.of(run, "z").draw(2)))
    masks = found(images)
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-5)
    again = c.restored("colours:3", found.names, found.kept)
    np.testing.assert_array_equal(again(images), masks)


def test_functions_of_ones_own(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n"
        "def bright(images):\n    return (np.asarray(images)[..., :1] > 0).astype('float32')\n"
        "bright.names = ('bright',)\n"
        "def flat(images):\n    return images[..., 0]\n"
    )
    found = c.read(f"{file}:bright", run)
    assert (found.names, found.traced) == (("bright",), False)
    assert found(jnp.ones((1, 2, 2, 4))).shape == (1, 2, 2, 1)
    for word, said in (
        (f"{file}:flat", "makes masks of"),
        (f"{file}:dark", "has no function 'dark'"),
        (f"{tmp_path}/no.py:f", "is no file"),
        ("colours:1", "give colours:K for K clusters"),
        ("shapes", "give alpha, colours:K"),
    ):
        with pytest.raises(UserError, match=said):
            c.read(word, run)
