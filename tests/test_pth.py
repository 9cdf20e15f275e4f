"""PyTorch writes, `pth.read` reads; what is no tensor is neither read nor run."""

import collections
import io
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

from jaxgan import pth
from jaxgan.errors import UserError
from tests.reference import stylegan2_ada

ZIP = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(value, path, zipped):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_equal(array, tensor):
    wide = tensor.detach().to(torch.float64).numpy()
    np.testing.assert_array_equal(array.astype(np.float64), wide)


@ZIP
def test_every_type_and_layout(tmp_path, zipped):
    base = torch.randn(12)
    matrix = torch.randn(3, 4)
    values = {
        "transposed": matrix.t(),
        "expanded": torch.randn(3, 1).expand(3, 5),
        "part": base[2:7],
        "every third": base[::3],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(matrix),
        "half": torch.randn(4).half(),
        "brain": torch.randn(4).bfloat16(),
        "double": torch.randn(2).double(),
        "long": torch.arange(3),
        "int": torch.arange(3, dtype=torch.int32),
        "byte": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    arrays = pth.read(save(values, tmp_path / "a.pth", zipped))
    assert list(arrays) == list(values)
    for name, tensor in values.items():
        assert arrays[name].shape == tuple(tensor.shape)
        assert str(arrays[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        assert_equal(arrays[name], tensor)
        assert not arrays[name].flags.writeable


@ZIP
def test_networks_and_checkpoints_around_them(tmp_path, zipped):
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    adam = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 2, 5, 5)).sum().backward()
    adam.step()
    checkpoint = {
        "net": network.state_dict(),
        "optimizer": adam.state_dict(),
        "step": 7,
        "name": "x",
        "list": [torch.ones(2), None, (torch.zeros(1),)],
    }
    arrays = pth.read(save(checkpoint, tmp_path / "a.pt", zipped))
    for name, tensor in network.state_dict().items():
        assert_equal(arrays[f"net.{name}"], tensor)
    assert_equal(arrays["list.0"], torch.ones(2))
    assert_equal(arrays["list.2.0"], torch.zeros(1))
    assert "optimizer.state.0.exp_avg" in arrays
    assert {"step", "name"}.isdisjoint(arrays)


@ZIP
def test_a_shared_storage_is_read_once(tmp_path, zipped):
    tensor = torch.randn(100_000)
    path = save({"a": tensor, "b": tensor, "c": tensor[5:]}, tmp_path / "a.pth", zipped)
    assert path.stat().st_size < 1.1 * tensor.nbytes
    arrays = pth.read(path)
    assert np.shares_memory(arrays["a"], arrays["b"])
    assert_equal(arrays["c"], tensor[5:])


class Runs:
    """Its pickle asks to call a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@ZIP
@pytest.mark.parametrize("place", ["alone", "inside", "after"])
def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path, zipped, place):
    proof = tmp_path / "it ran"
    evil = Runs(os.system, f"touch '{proof}'")
    value = {"alone": evil, "inside": {"w": evil}, "after": {"w": torch.ones(2), "x": evil}}[place]
    path = save(value, tmp_path / "evil.pth", zipped)
    with pytest.raises(UserError, match=r"evil\.pth names (posix|nt)\.system") as caught:
        pth.read(path)
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # it would have
    assert proof.exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Runs(eval, "1"), "__builtin__.eval"),
        (Runs(getattr, "a", "upper"), "__builtin__.getattr"),
        (Runs(torch.load, "x"), "torch.serialization.load"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (collections.Counter("a"), "collections.Counter"),
    ],
    ids=["eval", "getattr", "load", "network", "Counter"],
)
def test_no_other_name_is_known(tmp_path, call, name):
    path = save({"a": call}, tmp_path / "a.pth", True)
    with pytest.raises(UserError, match=f"names {re.escape(name)}, which is .*not called"):
        pth.read(path)


@pytest.mark.parametrize("protocol", [3, 4])
def test_plain_pickles_and_objects_with_persistence(tmp_path, monkeypatch, protocol):
    """The source is not executed, and settings of networks are facts."""
    proof = tmp_path / "it ran"
    persistence = stylegan2_ada.Persistence(monkeypatch, f"open({str(proof)!r}, 'w')")
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last))
    network.register_buffer("average", torch.randn(4))
    network.group_size, network.gain = 8, np.sqrt(2)
    shared = torch.randn(5)
    tree = {"net": network, "settings": persistence.EasyDict(a=1), "w": shared, "none": None}
    file = pth.load(persistence.save(tree, tmp_path / "a.pkl", protocol))
    arrays = file.arrays
    assert set(arrays) == {"net.average", "net.0.weight", "net.0.bias", "w"}
    for name, tensor in network.state_dict().items():
        assert_equal(arrays[f"net.{name}"], tensor)
        assert not arrays[f"net.{name}"].flags.writeable
    assert_equal(arrays["w"], shared)
    assert file.facts["net.group_size"] == 8
    assert file.facts["net.gain"] == np.sqrt(2)
    assert file.facts["net.0.padding_mode"] == "zeros"
    assert not proof.exists()


def test_what_is_nested_in_a_pickle_is_read_with_the_same_care(tmp_path, monkeypatch):
    proof = tmp_path / "it ran"
    persistence = stylegan2_ada.Persistence(monkeypatch, "")
    evil = Runs(os.system, f"touch '{proof}'")
    inside = io.BytesIO()
    torch.save(evil, inside, _use_new_zipfile_serialization=False)
    meta = {"module_src": "", "class_name": "A", "state": {"_modules": {"a": evil}}}
    for value in (
        evil,
        Runs(torch.storage._load_from_bytes, inside.getvalue()),
        Runs(persistence.reconstruct, meta),
    ):
        (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"a": value}))
        with pytest.raises(UserError, match=r"evil\.pkl names (posix|nt)\.system"):
            pth.read(tmp_path / "evil.pkl")
    for value in (
        Runs(torch.storage._load_from_bytes, pickle.dumps({})),
        Runs(torch.storage._load_from_bytes, b""),
        Runs(persistence.reconstruct, {"state": {"_buffers": None}}),
        Runs(persistence.reconstruct, 3),
        Runs(torch._utils._rebuild_tensor_v2, {}, 0, (1,), (1,)),
    ):
        (tmp_path / "odd.pkl").write_bytes(pickle.dumps({"a": value}))
        with pytest.raises(UserError, match=r"odd\.pkl") as caught:
            pth.read(tmp_path / "odd.pkl")
        assert "\n" not in str(caught.value)
    assert not proof.exists()


def archive(path, content, **records):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", content)
        for name, data in records.items():
            file.writestr(f"a/data/{name}", data)
    return path


def rebuilt(offset, size, stride, count=4):
    """A pickle of one tensor, by hand: protocol 2, as PyTorch writes it."""

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return ("storage", torch.FloatStorage, "0", "cpu", count)

    class Tensor:
        def __reduce__(self):
            args = (Storage(), offset, size, stride, False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, args

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"a": Tensor()})
    return buffer.getvalue()


def test_tensors_stay_inside_of_their_storage(tmp_path):
    data = np.arange(4, dtype=np.float32).tobytes()
    good = pth.read(archive(tmp_path / "good.pth", rebuilt(1, (3,), (1,)), **{"0": data}))
    np.testing.assert_array_equal(good["a"], [1, 2, 3])
    for offset, size, stride in [
        (2, (3,), (1,)),
        (0, (2, 2), (4, 1)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (2**40, 2**40), (0, 0)),
    ]:
        path = archive(tmp_path / "a.pth", rebuilt(offset, size, stride), **{"0": data})
        with pytest.raises(UserError, match=r"cut short or damaged|they share numbers"):
            pth.read(path)
    path = archive(tmp_path / "a.pth", rebuilt(0, (4,), (1,), count=5), **{"0": data})
    with pytest.raises(UserError, match="cut short or damaged"):
        pth.read(path)


@ZIP
def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path, zipped):
    path = save({"a": torch.randn(50), "b": torch.randn(3)}, tmp_path / "a.pth", zipped)
    content = path.read_bytes()
    for length in range(0, len(content) - 1, max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError) as caught:
            pth.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_other_files_are_refused_in_one_line(tmp_path):
    def refused(name, content, message):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            pth.read(path)
        assert "\n" not in str(caught.value)

    refused("missing.pth", None, "no file")
    refused("empty.pth", b"", "an empty file")
    refused("a.pkl", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer")
    refused("page.pth", b"\n<!DOCTYPE html><html>", "is an HTML page")
    refused("a.h5", b"\x89HDF\r\n\x1a\n123", r"an HDF5 file, such as a Keras \.h5")
    refused("a.pth", bytes(257) + b"ustar", "is a tar archive")
    refused("a.onnx", b"\x08\x07", "is an ONNX model")
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    refused("a.npz", None, r"a NumPy \.npz archive")
    with zipfile.ZipFile(tmp_path / "jit.pt", "w") as file:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            file.writestr(f"jit/{name}", b"")
    refused("jit.pt", None, r"is a torch\.jit archive")
    refused("tf.pkl", b"\x80\x02cdnnlib.tflib.network\nNetwork\n.", "a TensorFlow pickle")
    refused("protocol0.pth", b"cos\nsystem\n(S'true'\ntR.", "no checkpoint of PyTorch")
    refused("pickle.pth", pickle.dumps([1]), "a pickle, but no checkpoint")
    refused("dict.pkl", pickle.dumps({"a": 1}), "holds no tensor")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme", "hello")
    refused("other.zip", None, "zip file, but no checkpoint")
    torch.save({"step": 3}, tmp_path / "numbers.pth")
    refused("numbers.pth", None, "holds no tensor")
    torch.save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(1)}, tmp_path / "twice.pth")
    refused("twice.pth", None, r"two tensors called a\.b")
    loop = {"w": torch.ones(1)}
    loop["self"] = loop
    torch.save(loop, tmp_path / "loop.pth")
    refused("loop.pth", None, "holds itself")


def test_arrays_of_numpy(tmp_path):
    arrays = {
        "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
        "by columns": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        "none": np.zeros((0, 3), np.int16),
        "scalar": np.array(2.5),
        "bool": np.array([True, False]),
    }
    path = tmp_path / "a.pkl"
    for protocol in (3, 4, 5):
        path.write_bytes(pickle.dumps({"inner": arrays, "again": arrays["matrix"]}, protocol))
        found = pth.read(path)
        for name, array in arrays.items():
            assert found[f"inner.{name}"].dtype == array.dtype
            np.testing.assert_array_equal(found[f"inner.{name}"], array)
        np.testing.assert_array_equal(found["again"], arrays["matrix"])
    for array in (np.array([None]), np.array(["text"]), np.arange(3, dtype=">f4")):
        path.write_bytes(pickle.dumps({"a": array}, 4))
        with pytest.raises(UserError, match=r"an array of NumPy, a|not little-endian"):
            pth.read(path)
