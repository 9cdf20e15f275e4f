import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.latent import recipes
from jaxgan.latent.inversion import invert
from jaxgan.latent.perceptual import Perceptual
from jaxgan.latent.recipes import RECIPES, Recipe, Target, autocorrelation, compared, pace, whitened
from jaxgan.latent.space import Space
from jaxgan.metrics.fidelity import HIGHEST, psnr
from tests.latent.runs import LABELLED, MLP, STYLED, untrained

KERNEL = np.random.default_rng(1).normal(size=(3, 3, 1, 4)).astype(np.float32)


def _maps(kernel, images):
    dims = ("NHWC", "HWIO", "NHWC")
    return [jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=dims)]


CONV = Perceptual(name="a random convolution", params=KERNEL, maps=_maps)
"""In place of VGG16."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained(STYLED, tmp_path_factory.mktemp("runs") / "styled")


@pytest.fixture(scope="module")
def own(run):
    """Its own samples, as photographs."""
    return run.sample(3, seed=7)


QUICK = Recipe(steps=300, rate=0.1, falling=0.5, prior=0.0)


def test_own_samples_are_found_again(run, own):
    found = invert(run, list(own), "w+", recipe=QUICK, distance=CONV)
    errors = found.curves["codes"]["pixels"]
    assert errors.shape == (300, 3)
    assert (errors[0] > 100 * errors[-1]).all()
    assert (found.psnr() > 30).all()
    # The first step is that of the mean style.
    start = found.space.images(np.stack([found.space.mean(10_000)]))
    first = np.square(start - found.photos).mean((1, 2, 3))
    np.testing.assert_allclose(errors[0], first, rtol=1e-3)


def test_noise_moves_after_codes_and_leaves_them_alone(run, own):
    short = dataclasses.replace(QUICK, steps=30, noise_rate=0.05)
    how = {"recipe": short, "distance": "none", "seed": 2}
    plain = invert(run, list(own), "w", noise=1, **how)
    noisy = invert(run, list(own), "w", noise=60, **how)
    np.testing.assert_array_equal(noisy.codes, plain.codes)
    curve = noisy.curves["noise"]["pixels"]
    assert (curve[-1] < 0.9 * curve[0]).all()
    assert list(noisy.curves["noise"]) == ["loss", "pixels"]
    maps = {name: x for name, x in noisy.others.items() if name.startswith("noise")}
    assert [maps[f"noise{n}"].shape for n in (0, 4)] == [(3, 4, 4, 1), (3, 16, 16, 1)]
    again = noisy.space.images(noisy.codes, noise=True, **maps)
    np.testing.assert_allclose(again, noisy.images, atol=1e-5)


def test_steps_that_are_too_large_are_said(run, own):
    wild = Recipe(steps=3, rate=1e30)
    with pytest.raises(UserError, match="not finite after 3 steps: give a smaller --rate"):
        invert(run, list(own), "w", recipe=wild, distance="none")


def test_images_do_not_see_each_other(run, own):
    short = dataclasses.replace(QUICK, steps=5, wobble=0.05)
    every, one = (
        invert(run, photos, "w", recipe=short, distance="none", seed=1)
        for photos in (list(own), list(own[:1]))
    )
    np.testing.assert_allclose(every.codes[:1], one.codes, atol=1e-5)


def test_eight_devices_find_what_one_finds(tmp_path, own):
    short = dataclasses.replace(QUICK, steps=5)
    codes = [
        invert(
            untrained(STYLED, tmp_path / str(n), devices=n),
            list(own),
            "w+",
            recipe=short,
            distance=CONV,
        ).codes
        for n in (1, 8)
    ]
    np.testing.assert_allclose(*codes, atol=1e-5)


def test_latents_are_found_without_styles(tmp_path):
    run = untrained(MLP, tmp_path / "run")
    own = run.sample(2, seed=3)
    found = invert(
        run, list(own), "z", recipe=dataclasses.replace(QUICK, rate=0.05), distance="none"
    )
    errors = found.curves["codes"]["pixels"]
    assert (errors[0] > 100 * errors[-1]).all()
    kept = invert(
        run,
        list(own),
        "z",
        recipe=dataclasses.replace(QUICK, steps=60, prior=10.0),
        distance="none",
    )
    assert np.abs(kept.codes).max() < np.abs(found.codes).max()
    with pytest.raises(UserError, match="noise are moved after styles, and z has none"):
        invert(run, list(own), "z", noise=3)


def test_what_masks_hide_has_no_slope(rng):
    images, photos = rng.normal(size=(2, 2, 6, 6, 1)).astype(np.float32)
    mask = np.zeros((2, 6, 6, 1), np.float32)
    mask[:, 2:4, 1:5] = 1
    recipe = Recipe()
    target = Target(images=photos, mask=mask, seen=mask, maps=_maps(KERNEL, mask * photos))

    def loss(x):
        return compared(recipe, CONV, KERNEL, x, target)["loss"].sum()

    slopes = np.asarray(jax.grad(loss)(images))
    assert (slopes[mask == 0] == 0).all()
    assert (slopes[mask == 1] != 0).all()
    both = compared(recipe, CONV, KERNEL, jnp.asarray(images), target)
    np.testing.assert_allclose(
        both["pixels"], np.square(mask * (images - photos)).mean((1, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(both["loss"], both["pixels"] + both["perceptual"], rtol=1e-6)


def test_the_projector_s_pace_and_noise(rng):
    projector = RECIPES["projector"]
    rates = [float(pace(projector, 0.1, jnp.float32(at), 1000)) for at in (0, 25, 50, 750, 875)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.1, 0.05], atol=1e-7)
    assert float(pace(Recipe(), 0.01, jnp.float32(7), 10)) == pytest.approx(0.01)
    stripes = {"a": np.tile(np.float32([1, 1, -1, -1]), (1, 8, 2))[..., None]}
    # Neighbours in a row agree as often as not, those in a column always.
    np.testing.assert_allclose(autocorrelation(stripes), [1.0], atol=1e-6)
    white = whitened({"a": rng.normal(3, 5, (2, 8, 8, 1)).astype(np.float32)})["a"]
    np.testing.assert_allclose(white.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(np.square(white).mean((1, 2, 3)), 1, rtol=1e-5)
    assert recipes.RECIPES["image2stylegan"].steps == 5000


def test_peak_signal_to_noise_ratio(rng):
    a = rng.integers(0, 200, (2, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(psnr(a, a + np.uint8(10)), 20 * np.log10(25.5), rtol=1e-6)
    b = a.copy()
    b[:, 2:] += 50
    mask = np.zeros((2, 4, 4, 1))
    mask[:, :2] = 1
    assert (psnr(a, b, mask) == HIGHEST).all()


def test_mistakes_are_said(run, own, monkeypatch):
    monkeypatch.setattr("jaxgan.pretrained.weights.find_weights", lambda *_: None)
    with pytest.raises(UserError, match="--perceptual none"):
        invert(run, list(own))
    with pytest.raises(UserError, match="no recipe 'best'"):
        invert(run, list(own), recipe="best")
    with pytest.raises(UserError, match="no perceptual distance 'ssim'"):
        invert(run, list(own), distance="ssim")
    with pytest.raises(UserError, match="the mask marks nothing"):
        invert(run, list(own), distance="none", mask=np.zeros((4, 4, 1), np.uint8))
    with pytest.raises(UserError, match="no photos"):
        invert(run, [], distance="none")


def test_photos_of_any_size_are_fitted(run, rng):
    photo = rng.integers(0, 256, (40, 60, 4), np.uint8)
    found = invert(
        run, [photo], recipe=dataclasses.replace(QUICK, steps=1), distance="none", space="w"
    )
    assert found.photos.shape == (1, 16, 16, 1)
    assert Space.of(run, "w").shape == found.codes.shape[1:]


def test_style_is_taken_on_where_a_mask_is_white(run, own):
    """The term is the mean squared difference of Gram matrices, of what masks leave."""
    known = dataclasses.replace(CONV, style=lambda kernel, x: _maps(kernel, x)[0])
    mask = np.zeros((16, 16, 1), np.uint8)
    mask[:, :8] = 255
    short = dataclasses.replace(QUICK, steps=60, style=2.0)
    how = {"recipe": short, "distance": known, "style": own[1], "style_mask": mask}
    found = invert(run, [own[0]], "w+", mask=255 - mask, **how)
    terms = found.curves["codes"]
    assert terms["style"][-1] < terms["style"][0] / 5

    def style(image):
        x = np.float64(_maps(KERNEL, (image * (mask == 255)).astype(np.float32))[0])
        return np.einsum("byxu,byxv->uv", x, x) / 256

    start = found.space.images(np.stack([found.space.mean(10_000)]))
    other = found.space.image.to_network(own[1:2])
    want = np.square(style(start) - style(other)).mean()
    np.testing.assert_allclose(terms["style"][0], want, rtol=1e-3)
    parts = terms["pixels"] + terms["perceptual"] + 2 * terms["style"]
    np.testing.assert_allclose(terms["loss"], parts, rtol=1e-5)
    with pytest.raises(UserError, match="knows no styles: take vgg"):
        invert(run, [own[0]], "w+", recipe=short, distance=CONV, style=own[1])
    with pytest.raises(UserError, match="needs a style"):
        invert(run, [own[0]], "w+", recipe=short, distance=CONV, style_mask=mask)


def test_each_photograph_starts_from_the_mean_of_its_class(tmp_path):
    run = untrained(LABELLED, tmp_path / "labelled")
    photos = list(run.sample(3, seed=1))
    short = Recipe(steps=1, rate=1e-9)
    found = invert(run, photos, "w", recipe=short, distance="none", label=[2, 0, 2])
    space = Space.of(run, "w")
    means = [space.mean(10_000, label=[label]) for label in (2, 0, 2)]
    np.testing.assert_allclose(found.codes, means, atol=1e-5)
    assert np.abs(found.codes[0] - found.codes[1]).max() > 1e-3
