"""Identity is content: of folders, packed folders, pairs and what is made of them."""

import hashlib
import os
import stat
import time

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import Columns, content_hashes, fingerprint, identity, open_source, pack
from jaxgan.errors import UserError
from jaxgan.fields import Label


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache of its own, where times of files are trusted at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(identity, "_SETTLED", -(10**15))
    return tmp_path / "cache" / "jaxgan" / "digests"


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files whose bytes are hashed."""
    names = []
    original = identity.open_regular
    monkeypatch.setattr(
        identity, "open_regular", lambda path: names.append(path.name) or original(path)
    )
    return names


def bitmaps(folder, base: int, count: int = 4) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng([base, i]).integers(0, 256, (6, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.bmp")


def prints(*specs) -> list[str]:
    return [fingerprint(open_source(str(spec))) for spec in specs]


def test_files_of_equal_names_and_sizes_are_told_apart_in_every_kind_of_source(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, base in (("a", 0), ("b", 1), ("again", 0)):
        bitmaps(tmp_path / name, base)
        bitmaps(tmp_path / "classes" / name / "cat", base)
        bitmaps(tmp_path / "two" / name / "A", 2)
        bitmaps(tmp_path / "two" / name / "B", base)
        pack(name, f"packed_{name}")
    sizes = [[path.stat().st_size for path in sorted((tmp_path / name).iterdir())] for name in "ab"]
    assert sizes[0] == sizes[1]
    kinds = (
        "",
        "classes/",
        "packed_",
        "pairs:",
        "pairs:two/",
        "pairs:packed_",
        "edges:",
        "part:1/2:",
    )
    kinds += ("inverted:", "contours:", "unpaired:classes/a,")
    for kind in kinds:
        a, b, again = prints(*(f"{kind}{name}" for name in ("a", "b", "again")))
        assert a == again != b, kind


def test_a_change_of_one_byte_that_leaves_name_size_and_time_is_seen(tmp_path):
    bitmaps(tmp_path / "a", 0)
    path = tmp_path / "a" / "2.bmp"
    before, (first,) = path.stat(), prints(path.parent)
    assert prints(path.parent) == [first]
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    with open(path, "r+b") as file:  # in place: the inode stays
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    same = ("st_size", "st_ino", "st_mtime_ns")
    assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]
    assert prints(path.parent) != [first]


def test_hashes_are_those_of_the_bytes_and_each_file_is_hashed_once(tmp_path, hashed):
    bitmaps(tmp_path / "a", 0)
    names = [f"{i}.bmp" for i in range(4)]
    want = [hashlib.sha256((tmp_path / "a" / name).read_bytes()).digest() for name in names]
    assert list(content_hashes(tmp_path / "a", names)) == want
    assert list(content_hashes(tmp_path / "a", names)) == want
    assert sorted(hashed) == names
    (tmp_path / "link").symlink_to("a")
    assert list(content_hashes(tmp_path / "link", names)) == want  # the same real folder
    assert len(hashed) == 4
    os.utime(tmp_path / "a" / "1.bmp")  # touched: looked at again, and found unchanged
    assert list(content_hashes(tmp_path / "a", names)) == want
    assert hashed[4:] == ["1.bmp"]
    assert list(content_hashes(tmp_path / "a" / "1.bmp", [""])) == want[1:2]


def test_files_that_were_written_just_now_are_not_remembered(tmp_path, monkeypatch, hashed):
    """A second change within a tick of the file system's clock would not be seen."""
    monkeypatch.setattr(identity, "_SETTLED", 3 * 10**9)
    bitmaps(tmp_path / "a", 0, count=1)
    prints(tmp_path / "a", tmp_path / "a")
    assert hashed == ["0.bmp", "0.bmp"]
    future = time.time_ns() + 10**12
    os.utime(tmp_path / "a" / "0.bmp", ns=(future, future))
    prints(tmp_path / "a")
    assert len(hashed) == 3


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "pipe", "folder"])
def test_a_broken_memory_is_none(tmp_path, place, hashed, damage):
    bitmaps(tmp_path / "a", 0)
    (first,) = prints(tmp_path / "a")
    (kept,) = place.iterdir()
    content = bytearray(kept.read_bytes())
    if damage in ("pipe", "folder"):
        kept.unlink()
        os.mkfifo(kept) if damage == "pipe" else kept.mkdir()
    else:
        changed = {"cut": content[:-1], "empty": b"", "other": b"x" * 200}
        content[-1] ^= 1  # the hash of a file
        kept.write_bytes(changed.get(damage, content))
    assert prints(tmp_path / "a") == [first]
    assert len(hashed) == 8
    if damage != "folder":
        assert prints(tmp_path / "a") == [first]
        assert len(hashed) == 8


def test_nothing_needs_the_cache(tmp_path, place, monkeypatch, hashed):
    bitmaps(tmp_path / "a", 0)
    place.parent.parent.mkdir()
    place.parent.write_text("a file where the folder would be")
    (first,) = prints(tmp_path / "a")
    assert prints(tmp_path / "a") == [first]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    assert prints(tmp_path / "a") == [first]
    assert len(hashed) == 12


def test_what_is_remembered_is_bounded_and_whole(tmp_path, place, monkeypatch):
    monkeypatch.setattr(identity, "_KEPT", 3)
    for i in range(5):
        bitmaps(tmp_path / str(i), i, count=2)
        prints(tmp_path / str(i))
        time.sleep(0.01)
    assert len(list(place.iterdir())) == 3  # nor is anything half written
    assert all(stat.S_ISREG(path.stat().st_mode) for path in place.iterdir())
    size = max(path.stat().st_size for path in place.iterdir())
    (tmp_path / "4" / "0.bmp").unlink()
    prints(tmp_path / "4")
    (tmp_path / "4" / "1.bmp").write_bytes((tmp_path / "3" / "1.bmp").read_bytes())
    prints(tmp_path / "4")
    assert max(path.stat().st_size for path in place.iterdir()) == size  # of files that are there


def test_what_cannot_be_hashed_is_named(tmp_path, monkeypatch):
    bitmaps(tmp_path / "a", 0)
    source = open_source(str(tmp_path / "a"))
    (tmp_path / "a" / "1.bmp").unlink()
    with pytest.raises(UserError, match=r"a/1.bmp cannot be read: No such file"):
        fingerprint(source)
    os.mkfifo(tmp_path / "a" / "1.bmp")
    with pytest.raises(UserError, match=r"a/1.bmp cannot be read: a pipe"):
        fingerprint(source)
    (tmp_path / "a" / "1.bmp").unlink()
    (tmp_path / "a" / "1.bmp").write_bytes(b"being written")
    original = hashlib.file_digest

    def while_written(file, kind):
        if file.name and os.path.samestat(os.fstat(file.fileno()), os.stat(tmp_path / "a/1.bmp")):
            with open(tmp_path / "a" / "1.bmp", "ab") as more:
                more.write(b".")
        return original(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", while_written)
    with pytest.raises(UserError, match=r"a/1.bmp changes while it is read"):
        fingerprint(source)


def test_arrays_are_identified_with_the_names_of_their_classes():
    def of(names, sentences=("a", "b")):
        fields = {"label": Label(classes=2, names=names)}
        columns = {"label": np.array([0, 1])}
        return fingerprint(Columns(columns, fields)), fingerprint(Columns({"t": list(sentences)}))

    assert of(("cat", "dog")) == of(("cat", "dog"))
    assert of(("cat", "dog"))[0] != of(("dog", "cat"))[0]
    assert of(("a", "b"), ["a\0b", "c"])[1] != of(("a", "b"), ["a", "b\0c"])[1]
