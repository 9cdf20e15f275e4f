"""Scores by the default extractor, with its real weights. Minutes; run with `pytest -m slow`."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from jaxgan import data
from jaxgan.metrics.base import joined
from jaxgan.metrics.evaluate import evaluate, refer
from jaxgan.metrics.features import extractor
from jaxgan.metrics.frechet import FID
from jaxgan.metrics.images import Stored, pass_over
from jaxgan.metrics.kernel import KID
from jaxgan.parallel.mesh import make_mesh

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    return extractor("efficientnet")


@pytest.fixture(scope="module")
def digits():
    digits = data.open_source("mnist5k").take(np.random.default_rng(0).permutation(5000))
    return digits["image"], digits["label"]


def noisy(images, strength):
    noise = np.random.default_rng(1).normal(0, strength, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


def each(images, change):
    return np.stack(
        [np.asarray(change(Image.fromarray(image[..., 0])))[..., None] for image in images]
    )


def blurred(images, radius):
    return each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def compressed(images, loss):
    def through_jpeg(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=100 - loss)
        return Image.open(file).convert("L")

    return each(images, through_jpeg)


def test_scores_rise_with_the_strength_of_every_fault(network, digits):
    """Of 500 images against 1,000 others; between real halves there is next to nothing."""
    images, labels = digits
    reference, clean = images[:1000], images[1000:1500]
    real = refer(Stored(data.Arrays(reference, name="real")), "fid,kid", extractor=network)

    def scores(pixels):
        side = Stored(data.Arrays(pixels, name="faulty"))
        return np.array([r.value for r in evaluate(side, real, "fid,kid", extractor=network)])

    def of_classes(count):
        return images[1000:][labels[1000:] < count][:500]

    base = scores(clean)
    assert abs(base[1]) < 0.002
    found = {
        "noise": [scores(noisy(clean, strength)) for strength in (15, 40, 90)],
        "blur": [scores(blurred(clean, radius)) for radius in (0.7, 1.4, 2.8)],
        "JPEG": [scores(compressed(clean, loss)) for loss in (60, 85, 97)],
        "modes": [scores(of_classes(count)) for count in (7, 4, 1)],
    }
    for fault, values in found.items():
        rising = np.array([base, *values])
        print(fault, rising.round(4).tolist())
        assert (np.diff(rising, axis=0) > 0).all(), fault


def test_eight_devices_equal_one(network, digits):
    source = Stored(data.Arrays(digits[0][:120], name="some"))
    sides = []
    for count in (1, 8):
        fid, kid = FID(), KID()
        for batch in pass_over(source, network, FID.needs, mesh=make_mesh(count)):
            fid.add(batch)
            kid.add(batch)
        moments = fid.generated
        sides.append((joined(kid.generated, "features"), moments.mean, moments.covariance))
    for a, b in zip(*sides, strict=True):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(a).max()
