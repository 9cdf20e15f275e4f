from functools import partial

import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.latent.editing import (
    blend,
    express,
    inpaint,
    morph,
    pasted,
    scribble,
    transfer,
)
from jaxgan.latent.layers import pooled
from jaxgan.latent.recipes import Recipe
from jaxgan.latent.space import Space
from tests.latent.runs import MLP, STYLED, untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained(STYLED, tmp_path_factory.mktemp("runs") / "styled")


@pytest.fixture(scope="module")
def plus(run):
    return Space.of(run, "w+")


@pytest.fixture(scope="module")
def codes(plus):
    return plus.draw(3, seed=1)


def test_morphs_have_their_ends(plus, codes, tmp_path):
    between = morph(plus, codes[0], codes[1], 5)
    np.testing.assert_array_equal(between[[0, -1]], codes[:2])
    np.testing.assert_allclose(between[2], codes[:2].mean(0), rtol=1e-5)
    z = Space.of(untrained(MLP, tmp_path / "run"), "z")
    ends = z.draw(2)
    arc = morph(z, ends[0], ends[1], 3)
    np.testing.assert_array_equal(arc[[0, -1]], ends)
    assert np.linalg.norm(arc[1]) > np.linalg.norm(ends.mean(0))
    with pytest.raises(UserError, match="at least 2"):
        morph(plus, codes[0], codes[1], 1)
    with pytest.raises(UserError, match=r"a code is of 8: one of w\+ is of 6x8"):
        morph(plus, codes[0, 0], codes[1], 3)
    with pytest.raises(UserError, match=r"transferred in w\+"):
        transfer(z, ends[0], ends[1])


def test_crossovers_at_the_ends_are_trivial(plus, codes):
    content, style = codes[:2]
    np.testing.assert_array_equal(transfer(plus, content, style, 0), style)
    np.testing.assert_array_equal(transfer(plus, content, style, 6), content)
    half = transfer(plus, content, style)
    np.testing.assert_array_equal(half[:3], content[:3])
    np.testing.assert_array_equal(half[3:], style[3:])
    with pytest.raises(UserError, match="layers is 7: the generator has 6"):
        transfer(plus, content, style, 7)


def test_expressions(plus, codes):
    np.testing.assert_array_equal(express(plus, *codes, 0.0), codes[0])
    same = express(plus, codes[0], codes[1], codes[1], 2.0)
    np.testing.assert_array_equal(same, codes[0])
    moved = express(plus, codes[0], codes[0], codes[2])
    np.testing.assert_allclose(moved, codes[2], atol=1e-6)


def test_cells_of_a_mask():
    mask = np.zeros((1, 4, 4, 1), np.float32)
    mask[:, :2, :3] = 1
    np.testing.assert_allclose(pooled(mask, (2, 2))[0, ..., 0], [[1, 0.5], [0, 0]])
    np.testing.assert_array_equal(pooled(mask, (8, 8)), mask.repeat(2, 1).repeat(2, 2))


def test_activations_are_copied_where_a_mask_marks_them(run, plus, codes, rng):
    ours, theirs = rng.normal(size=(2, 1, 4, 4, 3)).astype(np.float32)
    marks = np.zeros((1, 4, 4, 1), np.float32)
    marks[:, 1:3, 1:3] = 1
    mixed = np.asarray(pasted(ours, (theirs, marks)))
    inside = marks[0, ..., 0] == 1
    np.testing.assert_array_equal(mixed[:, inside], theirs[:, inside])
    np.testing.assert_array_equal(mixed[:, ~inside], ours[:, ~inside])

    everywhere, corner = np.full((16, 16, 1), 255, np.uint8), np.zeros((16, 16, 1), np.uint8)
    corner[:4, :4] = 255
    first, second = plus.images(codes[:2], numbers=np.zeros(2, int))
    how = {"mask": corner, "layer": "synthesis/conv3"}
    # Its own activations change nothing.
    close = partial(np.testing.assert_allclose, atol=1e-5)  # programs of their own
    close(blend(plus, codes[0], codes[0], **how), first)
    mixed = blend(plus, codes[0], codes[1], **how)
    # The layers after it have kernels of 3 and the images no coarser detail from then on.
    close(mixed[10:, 10:], first[10:, 10:])
    assert np.abs(mixed[:2, :2] - first[:2, :2]).max() > 1e-3
    whole = blend(plus, codes[0], codes[1], everywhere, "synthesis")
    close(whole, second)
    with pytest.raises(UserError, match="there is no layer 'synthesis/conv9'"):
        blend(plus, codes[0], codes[1], corner, "synthesis/conv9")
    with pytest.raises(UserError, match="there is no layer 'synthesis/conv3/affine'"):
        blend(plus, codes[0], codes[1], corner, "synthesis/conv3/affine")


def test_what_is_not_marked_stays(run, rng):
    photo = rng.integers(0, 256, (16, 16, 1), np.uint8)
    hole = np.zeros((16, 16, 1), np.uint8)
    hole[4:9, 4:9] = 255
    recipe = Recipe(steps=3, rate=0.1)
    image, found = inpaint(run, photo, hole, recipe=recipe, distance="none")
    np.testing.assert_array_equal(image[hole == 0], photo[hole == 0])
    assert (image[hole > 0] != photo[hole > 0]).any()
    assert (found.mask[0] == (hole == 0)).all()
    other = photo.copy()
    other[5:8, 5:8] = 7
    again, _ = inpaint(run, other, hole, recipe=recipe, distance="none")
    np.testing.assert_array_equal(again, image)  # what lies in the hole plays no part
    with pytest.raises(UserError, match="marks everything"):
        inpaint(run, photo, np.full((16, 16, 1), 255, np.uint8))


def test_scribbles_begin_with_the_original(run, plus, codes):
    original = plus.image.from_network(plus.images(codes[:1]))[0]
    recipe = Recipe(steps=1, rate=1e-6)
    image, found = scribble(run, codes[0], original, recipe=recipe, distance="none")
    np.testing.assert_allclose(image.astype(int), original.astype(int), atol=1)
    np.testing.assert_allclose(found.codes[0], codes[0], atol=1e-5)
