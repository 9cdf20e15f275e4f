"""Archives that were cut short, changed, or made to do harm."""

import io
import os
import tarfile
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.data.store import Tar, Zip
from jaxgan.errors import UserError
from jaxgan.fields.pixels import USUAL, Reading
from tests.data.made import folder, pixels, png, tarred, zipped
from tests.data.short import scan


def refused(name, message: str, reading: Reading = USUAL) -> None:
    def read_all() -> None:
        source = open_source(str(name), reading)
        for i in range(len(source)):
            source[i]

    with pytest.raises(UserError, match=message) as caught:
        read_all()
    assert "\n" not in str(caught.value)


def test_threads_and_forks_read_a_zip_at_once(tmp_path):
    name = zipped(tmp_path / "a.zip", {f"{i}.png": png(i) for i in range(10)})
    source = open_source(name)
    with ThreadPoolExecutor(8) as pool:
        for i, image in enumerate(pool.map(lambda i: source[i % 10]["image"], range(200))):
            np.testing.assert_array_equal(image, pixels(i % 10))
    store = source.store
    with warnings.catch_warnings(action="ignore"):  # JAX warns of its threads
        child = os.fork()
    if child == 0:  # nothing but the store, for threads of JAX do not survive a fork
        os._exit(0 if all(store.read(i) == png(i) for i in range(10)) else 1)
    for _ in range(50):
        assert all(store.read(i) == png(i) for i in range(10))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("ending", ["zip", "tar", "parquet", "npz"])
def test_what_is_called_an_archive_but_is_none(tmp_path, ending):
    path = tmp_path / f"foo.{ending}"
    for content in (b"", b"hello", png()):
        path.write_bytes(content)
        refused(path, f"foo.{ending}")


def test_paths_that_leave_an_archive_are_counted_and_written_nowhere(tmp_path):
    bad = {"../../evil.png": png(), "/etc/evil.png": png(), "C:\\evil.png": png()}
    for name in (
        zipped(tmp_path / "a.zip", {"a.png": png(), **bad}),
        tarred(tmp_path / "a.tar", {"a.png": png(), **bad}),
    ):
        source = open_source(name)
        assert source.files == ("a.png",)
        kinds = "3 unsafe paths" if name.endswith("zip") else "2 unsafe paths"
        assert source.notes[0].startswith(f"skipped {kinds}") or "unsafe path" in source.notes[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "a.zip"]


def test_links_in_archives_are_counted_and_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        pipe = tarfile.TarInfo("p.png")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
        info = tarfile.TarInfo("a.png")
        info.size = len(png())
        archive.addfile(info, io.BytesIO(png()))
    assert open_source(str(tmp_path / "a.tar")).notes == ("skipped 2 links, 1 special file",)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("l.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.png", png())
    assert open_source(str(tmp_path / "a.zip")).notes == ("skipped 1 link",)


def test_a_bomb_is_not_unpacked(tmp_path):
    few = Reading(max_pixels=1000)  # files of at most 64 MiB
    name = zipped(tmp_path / "a.zip", {"a.png": bytes(70 * 2**20)})
    refused(name, r"a.zip: a.png has 73,400,320 bytes, the most is 67,116,864", few)
    # One that says that it is small.
    content = (tmp_path / "a.zip").read_bytes()
    small = content.replace((70 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert small != content
    (tmp_path / "b.zip").write_bytes(small)
    tracemalloc.start()
    refused(tmp_path / "b.zip", r"b.zip: a.png: found a damaged member \(Bad CRC", few)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(zipped(tmp_path / "c.zip", {"a.png": png()}, method), "a.png is packed by bzip2")


def test_broken_zips(tmp_path):
    name = zipped(tmp_path / "a.zip", {f"{i}.png": png(i, (40, 40)) for i in range(3)})
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for cut in (len(content) // 2, len(content) - 10):
        (tmp_path / "b.zip").write_bytes(content[:cut])
        refused(tmp_path / "b.zip", r"b.zip begins with b'PK.* cannot be read as a zip file")
    content[200] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    refused(name, r"a.zip: 0.png: found a damaged member")
    (tmp_path / "d.zip").write_bytes(content.replace(b"1.png", b"0.png"))
    refused(tmp_path / "d.zip", r"holds 0.png twice")
    locked = bytearray((tmp_path / "d.zip").read_bytes().replace(b"2.png", b"7.png"))
    at = locked.index(b"PK\x01\x02") + 8
    locked[at] |= 1
    (tmp_path / "e.zip").write_bytes(locked)
    refused(tmp_path / "e.zip", r"0.png is encrypted")


def test_broken_tars(tmp_path):
    members = {f"{i}.png": png(i, (40, 40)) for i in range(3)}
    name = tarred(tmp_path / "a.tar", members)
    content = bytearray((tmp_path / "a.tar").read_bytes())
    (tmp_path / "b.tar").write_bytes(content[: len(png(0, (40, 40))) + 100])
    refused(tmp_path / "b.tar", "b.tar was cut short at 0.png|cannot be read as a tar file")
    # A header that cannot be read is the end to Python's tarfile.
    second = 512 + -(-len(members["0.png"]) // 512) * 512
    content[second : second + 512] = b"x" * 512
    (tmp_path / "c.tar").write_bytes(content)
    refused(tmp_path / "c.tar", f"c.tar is damaged at byte {second:,}")
    with tarfile.open(tmp_path / "d.tar", "w:gz") as archive:
        archive.add(name, "a.tar")
    refused(tmp_path / "d.tar", "must be a .tar without compression")
    (tmp_path / "d.tar").rename(tmp_path / "d.tar.gz")
    refused(tmp_path / "d.tar.gz", "d.tar.gz is a file, .*: unpack them, or zip the images")
    source = open_source(name)
    (tmp_path / "a.tar").write_bytes(bytes(600))
    with pytest.raises(UserError, match=r"a\.tar was cut short"):
        source[0]
    (tmp_path / "a.tar").unlink()
    with pytest.raises(UserError, match=r"a.tar: 0.png: No such file"):
        source[0]


def test_names_of_all_kinds(tmp_path):
    names = ["ä ö.png", "b\\c.png", "%s.png", "{}.png"]
    zipped(tmp_path / "a.zip", {f"k/{n}": png(i) for i, n in enumerate(names)})
    assert len(Zip(tmp_path / "a.zip").members) == 4
    tarred(tmp_path / "a.tar", {f"./{n}": png(i) for i, n in enumerate(names)})
    assert set(Tar([tmp_path / "a.tar"], name="a").members) == set(names)
    tarred(tmp_path / "{}[x].tar", {"0.png": png()})
    assert len(open_source(str(tmp_path / "{}[x].tar"))) == 1


def test_pipes_and_devices_are_no_images(tmp_path):
    folder(tmp_path / "in", {"a.png": png()})
    os.mkfifo(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").symlink_to("/dev/zero")
    source = open_source(str(tmp_path / "in"))
    for item, kind in ((1, "pipe"), (2, "device")):
        with pytest.raises(UserError, match=f"found a {kind}, not a regular file"):
            source[item]
    with pytest.raises(UserError, match=r"b.png: found a pipe"):
        scan(source, shape=(6, 5, 3), classes=0)
    os.mkfifo(tmp_path / "x.zip")
    refused(tmp_path / "x.zip", "x.zip is no regular file")


def _header(size, kind=b"0"):
    """A tar header by hand, for `tarfile` writes no wrong ones."""
    head = bytearray(512)
    head[:5], head[124 : 124 + len(size)] = b"a.png", size
    head[148:156], head[156:157], head[257:265] = b" " * 8, kind, b"ustar\00000"
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def _with_extended(record):
    body = record + bytes(-len(record) % 512)
    return _header(b"%011o\0" % len(record), b"x") + body + _header(b"00000000000\0")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (_header(b"\xff" * 11 + b"\x00"), "a size of -256"),
        (_header(b"\xff" * 10 + b"\xfc\0", b"Z") * 3, "a size of -1024"),
        (_with_extended(b"12 size=-512\n"), "(a size of -51|invalid header)"),
        (_with_extended(b"9" * 30_000), "a number of a thousand digits"),
        (_header(b"\x80" + bytes(5) + b"\x7f" * 6, b"x"), "a header of 140,185,576,636,287 bytes"),
    ],
)
def test_headers_that_lead_tarfile_astray(tmp_path, content, found):
    path = tmp_path / "data.tar"
    path.write_bytes(content + bytes(1024))
    with pytest.raises(UserError, match=rf"data\.tar begins with .*{found}"):
        Tar([path], name=str(path))
