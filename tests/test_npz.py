"""Files of arrays that strangers made: what they declare is compared with what they hold."""

import io
import os
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from jaxgan import npz
from jaxgan.errors import UserError


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_what_numpy_reads(tmp_path, rng, save):
    path = tmp_path / "a.npz"
    arrays = {
        "images": rng.integers(0, 256, (3, 4, 5, 3), np.uint8),
        "fortran": np.asfortranarray(rng.normal(size=(4, 6)).astype(">f4")),
        "params/logits/kernel": rng.normal(size=(2, 0)),
        "count": np.array(7),
        "classes": np.array(["cat", "δέ"]),
        "flags": np.array([True, False]),
    }
    save(path, **arrays)
    made = npz.read(path, "things")
    assert made.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(made[name], array, strict=True)
        assert made[name].flags.writeable
        assert made[name].flags.f_contiguous == array.flags.f_contiguous


def member(header: dict, content: bytes = b"", version: int = 1) -> bytes:
    file = io.BytesIO()
    writers = {1: np.lib.format.write_array_header_1_0, 2: np.lib.format.write_array_header_2_0}
    writers[version](file, header)
    return file.getvalue() + content


def plain(shape=(2,), descr="|u1", fortran=False) -> dict:
    return {"descr": descr, "fortran_order": fortran, "shape": shape}


def archive(path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", kind) as file:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            file.writestr(name, content)


GOOD = member(plain(), b"ab")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("x.npy", member(plain((10**6, 10**6))))], "of 1,000,000,000,000 bytes, but has 0"),
        ([("x.npy", member(plain((2**62, 2**62)), b"ab"))], "but has 2"),
        ([("x.npy", member(plain((-1, -2)), b"ab"))], "no plain array"),
        ([("x.npy", member(plain((1,)), b"ab"))], "of 1 bytes, but has 2"),
        ([("x.npy", member(plain((1,), "|O"), b"ab"))], "x holds Python objects"),
        ([("x.npy", member(plain((1,), [("a", "|O")]), b"ab"))], "x holds Python objects"),
        ([("x.npy", member(plain((1,), [("a", "|u2")]), b"ab"))], "no plain array"),
        ([("x.npy", member(plain((1,), "|V2"), b"ab"))], "no plain array"),
        ([("x.npy", GOOD[:6] + b"\3\0" + GOOD[8:])], "version 3.0"),
        ([("x.npy", GOOD[:6] + b"\x09\0" + GOOD[8:])], "magic string|version 9"),
        ([("x.npy", GOOD[:20])], "EOF"),
        ([("x.npy", b"")], "EOF"),
        ([("x.npy", GOOD[:10] + b"{" * 20000)], "parse|header|EOF"),
        ([("x.npy", b"\x80\x04N.")], "EOF"),
        ([("notes.txt", b"hello")], "'notes.txt' is no array"),
        ([("../x.npy", GOOD)], "no name of an array"),
        ([("/x.npy", GOOD)], "no name of an array"),
        ([("a\x1b[2Jb.npy", GOOD)], "is no array"),
        ([("x.npy", GOOD), ("x.npy", GOOD)], "'x.npy' is there twice"),
    ],
)
def test_files_that_are_not_what_they_say_are_one_line(tmp_path, members, reason):
    path = tmp_path / "a.npz"
    archive(path, *members)
    with pytest.raises(UserError, match=reason) as caught:
        npz.read(path, "things")
    assert str(caught.value).startswith(f"{path}: not an npz file of things (")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    count = 2**26
    archive(path, ("x.npy", member(plain((count,)), bytes(count))))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(npz, "_SPARE", 2**20)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"unpacks to 67,108,992, the most is"):
        npz.read(path, "things")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    monkeypatch.setattr(npz, "_SPARE", 2**30)
    assert npz.read(path, "things")["x"].shape == (count,)


def test_other_compressions_and_damage(tmp_path):
    path = tmp_path / "a.npz"
    archive(path, ("x.npy", GOOD), kind=zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match="another way than NumPy"):
        npz.read(path, "things")
    archive(path, ("x.npy", GOOD), kind=zipfile.ZIP_STORED)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):  # no damage is a traceback, and none goes unseen by checksums
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(content[: rng.integers(1, 2 * len(whole))])
        try:
            made = npz.read(path, "things")
        except UserError:
            continue
        assert [array.tobytes() for array in made.values()] in ([b"ab"], [])


def test_what_is_no_file(tmp_path):
    with pytest.raises(UserError, match=r"a.npz: no such file, expected an npz file of things"):
        npz.read(tmp_path / "a.npz", "things")
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a.npz: not an npz file of things \(a pipe"):
        npz.read(tmp_path / "a.npz", "things")
    (tmp_path / "b.npz").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"\(a device"):
        npz.read(tmp_path / "b.npz", "things")
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(UserError, match="zip"):
        npz.read(tmp_path / "c.npy", "things")


def test_names_are_told_without_reading(tmp_path):
    np.savez(tmp_path / "a.npz", mu=np.zeros(2), sigma=np.eye(2))
    assert npz.names(tmp_path / "a.npz") == ["mu", "sigma"]
    (tmp_path / "b.npz").write_text("no archive")
    assert npz.names(tmp_path / "b.npz") == npz.names(tmp_path / "none.npz") == []


@pytest.mark.parametrize("order", "<>")
def test_letters_that_unicode_lacks(tmp_path, order):
    codes = np.array([[0x10FFFF], [0x110000]], f"{order}u4")
    path = tmp_path / "a.npz"
    np.savez(path, names=codes.view(f"{order}U1"))
    with pytest.raises(UserError, match=r"a\.npz: .*names holds letters that Unicode lacks"):
        npz.read(path, "names")
    np.savez(path, names=codes[:1].view(f"{order}U1"))
    assert npz.read(path, "names")["names"].tolist() == [["\U0010ffff"]]
