"""Files made to break the reader: each ends soon, in tensors or in one line, and changes nothing.

All are read by one process of its own, whose memory is limited: a crash, or numbers asked for that
no file holds, would end it.
"""

import io
import json
import pickle
import random
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import torch

from jaxgan import pth
from tests.reference.stylegan2_ada import Discriminator, Persistence

READ = """
import json, resource, signal, sys, time
from pathlib import Path
import ml_dtypes
import numpy as np
from jaxgan import pth
from jaxgan.errors import UserError

brain = np.dtype(ml_dtypes.bfloat16)
before = (brain.name, brain.itemsize, brain.alignment, brain.names, str(np.zeros(2, brain)))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, file=sys.stderr, flush=True)
    signal.alarm(120)
    start = time.process_time()
    try:
        found = sum(float(array.astype(np.float32).size) for array in pth.read(path).values())
    except UserError as error:
        found = str(error)
    seconds = time.process_time() - start
    signal.alarm(0)
    print(json.dumps([path.name, found, seconds]), flush=True)
after = (brain.name, brain.itemsize, brain.alignment, brain.names, str(np.zeros(2, brain)))
assert before == after, (before, after)
"""


def read_apart(folder):
    """{file: tensors' size, or what was said}, by a process of its own."""
    command = [sys.executable, "-c", READ, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for name, found, seconds in results:
        assert seconds < 15, (name, found, seconds)
        assert not isinstance(found, str) or ("\n" not in found and name in found), found
    return {name: found for name, found, _ in results}


def archive(path, content, records, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", content)
        for name, data in records.items():
            file.writestr(f"a/data/{name}", data)


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word


def name(module, word):
    return b"c" + module + b"\n" + word + b"\n"


FLOATS = name(b"torch", b"FloatStorage")


def storage(count=b"K\x04", kind=FLOATS):
    return b"(" + text(b"storage") + kind + text(b"0") + text(b"cpu") + count + b"tQ"


def tensor(size=b"K\x04\x85", stride=b"K\x01\x85", of=None):
    of = storage() if of is None else of
    return (
        name(b"torch._utils", b"_rebuild_tensor_v2")
        + b"("
        + of
        + b"K\x00"
        + size
        + stride
        + b"\x89NtR"
    )


def table(value, more=b""):
    """A pickle of {"a": value}."""
    return b"\x80\x02}" + more + text(b"a") + value + b"s."


def again(first, make, times=35):
    """A value, of which `make` makes the next: it finds the last one in the memo's place 0."""
    return first + b"q\x000" + (make + b"q\x000") * times + b"h\x00"


LEGACY = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
HUGE = b"\x8a\x05" + (10**10).to_bytes(5, "little")
BRAIN = name(b"ml_dtypes", b"bfloat16")
STATE = b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"

ARRAY = (
    name(b"numpy.core.multiarray", b"_reconstruct")
    + name(b"numpy", b"ndarray")
    + b"K\x00\x85C\x01b\x87R"
)


def array_state(content: bytes, shape: bytes = b"K\x04") -> bytes:
    """What fills an array of float32."""
    kind = name(b"numpy", b"dtype") + text(b"f4") + b"\x89\x88\x87R"
    return b"(K\x01(" + shape + b"t" + kind + b"\x89C" + bytes([len(content)]) + content + b"t"


# {name: pickle}; beside each lies a storage of four floats.
PICKLES = {
    # States for what is made of a name, which NumPy's own objects take.
    "state of a storage": table(storage() + b"(K\x01K\x04\x85" + FLOATS + b"\x89Nt" + b"b"),
    "state of a tensor": table(tensor() + b"}" + text(b"offset") + b"K\x09sb"),
    "slots of a tensor": table(tensor() + b"N}" + text(b"size") + b"Ns\x86b"),
    "state of a type": table(FLOATS + STATE + b"b"),
    "state of bfloat16": table(name(b"torch", b"BFloat16Storage") + STATE + b"b"),
    "state of a function": table(name(b"torch._utils", b"_rebuild_tensor_v2") + b"}b"),
    "bfloat16 itself": table(BRAIN),
    "array": table(ARRAY),
    "array of another size": table(ARRAY + array_state(b"\x00" * 12) + b"b"),
    "array twice": table(ARRAY + (array_state(b"\x00" * 16) + b"b") * 2),
    "array of no size": table(ARRAY + b"(K\x01J\xff\xff\xff\xff\x85N\x89C\x00tb"),
    "array of nothing": table(ARRAY + b"}b"),
    "huge array": table(ARRAY + array_state(b"", HUGE + HUGE) + b"b"),
    "call of a type": table(FLOATS + b")R"),
    "new tensor of a type": table(FLOATS + b")\x81"),
    # Sizes.
    "expanded": table(tensor(HUGE + b"\x85", b"K\x00\x85")),
    "twice expanded": table(tensor(HUGE + HUGE + b"\x86", b"K\x00K\x00\x86")),
    "overflowing": table(tensor(*[b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85"] * 2)),
    "below": table(tensor(stride=b"J\xff\xff\xff\xff\x85")),
    "negative": table(tensor(b"J\xfc\xff\xff\xff\x85")),
    "true": table(tensor(b"\x88\x85")),
    "many sides": table(tensor(b"(" + b"K\x01" * 99 + b"t", b"(" + b"K\x01" * 99 + b"t")),
    "long number": b"\x80\x02\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b".",
    "huge storage": table(tensor(of=storage(HUGE))),
    # What says that it is long.
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"}.",
    "memo": b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFFF) + b".",
    # What is shared, nested, repeated.
    "shared tuples": table(again(b")", b"h\x00h\x00\x86")),
    "shared lists": table(again(b"]", b"](h\x00h\x00e")),
    "shared tables": table(again(b"}", b"}(K\x00h\x00K\x01h\x00u")),
    "holds itself": b"\x80\x02}q\x00" + text(b"a") + b"h\x00s.",
    "deep tuple": table(b")" + b"\x85" * 200_000),
    "deep list": table(b"]" * 200_000 + b"a" * 199_999),
    "deep table": table(again(b"}", b"}K\x00h\x00s", 50_000)),
    "deep key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "deep name": b"\x80\x04]" + b"\x85" * 100_000 + b"\x8c\x01a\x93.",
    "many marks": b"\x80\x02" + b"(" * 300_000 + b".",
    "many operations": b"\x80\x02" + b"N0" * 1_100_000 + b"}.",
    "many values": table(again(b"](" + b"]" * 1000 + b"e", b"](" + b"h\x00" * 1200 + b"e", 1)),
    "copied tables": b"\x80\x02](" + b"]]\x86" * 10_000 + b"eq\x00"
    + (name(b"collections", b"OrderedDict") + b"h\x00\x85R0") * 20_000 + b".",
    "copied text": b"\x80\x02" + text(b"a" * 10**6) + b"q\x00" + text(b"latin1") + b"q\x010"
    + (name(b"_codecs", b"encode") + b"h\x00h\x01\x86R") * 20_000 + b".",
    "copied networks": b"\x80\x02}(" + b"NN" * 20_000 + text(b"state") + b"}uq\x00"
    + (name(b"torch_utils.persistence", b"_reconstruct_persistent_obj") + b"h\x00\x85R0") * 9999
    + b".",
    "long name": table(tensor(), text(b"x" * 10**6) + tensor() + b"s"),
    "name in colours": table(tensor(), text(b"\x1b[31m") + tensor() + b"s"),
    # Other operations.
    "instance": b"\x80\x02(ios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "text of a number": b"\x80\x02L" + b"9" * 10**6 + b"L\n.",
    "nothing": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "no memo": b"\x80\x02h\x07.",
    "no end": b"\x80\x02}",
    "name with a newline": b"\x80\x04\x8c\x02a\n\x8c\x03b\x1bc\x93.",
}  # fmt: skip
FINE = {"state of a tensor", "slots of a tensor"}  # which stays what it is


SMALL = {label for label, content in PICKLES.items() if len(content) < 2000}


def write_pickles(folder):
    """Each by itself; small ones in an archive and before their storage, too."""
    floats = np.arange(4, dtype=np.float32).tobytes()
    for label, content in PICKLES.items():
        (folder / f"{label}.pkl").write_bytes(content)
        if label in SMALL:
            archive(folder / f"{label}.pth", content, {"0": floats})
            rest = b"\x80\x02]" + text(b"0") + b"a." + struct.pack("<Q", 4) + floats
            (folder / f"{label}.old").write_bytes(LEGACY + content + rest)


def write_nested(folder):
    """`_load_from_bytes` of bytes that hold such calls, and of the same bytes often."""
    load = name(b"torch.storage", b"_load_from_bytes")

    def call(content):
        return load + b"B" + struct.pack("<I", len(content)) + content + b"q\x00\x85R"

    inner = b"\x80\x03]."
    for _ in range(20):
        inner = b"\x80\x03" + (load + b"h\x00\x85R").join((call(inner), b"", b"")) + b"."
    (folder / "nested.pkl").write_bytes(table(inner[2:-1]))
    numbers = b"\x80\x02]" + text(b"0") + b"a." + struct.pack("<Q", 40_000) + bytes(160_000)
    good = LEGACY + b"\x80\x02" + storage(b"M" + struct.pack("<H", 40_000)) + b"." + numbers
    content = b"\x80\x03}" + text(b"a") + tensor(of=call(good)) + b"s"
    (folder / "once.pkl").write_bytes(content + b".")
    more = (load + b"h\x00\x85R0") * 20_000
    (folder / "often.pkl").write_bytes(content + more + b".")


def write_archives(folder):
    """Records that are larger than the file, or than they say."""
    zeros = bytes(100 << 20)
    deflated = zipfile.ZIP_DEFLATED
    count = b"J" + struct.pack("<i", len(zeros) // 4)
    good = table(tensor(count + b"\x85", of=storage(count)))
    archive(folder / "bomb.zip", good, {"0": zeros}, deflated)
    archive(folder / "pickle.zip", b"\x80\x02" + b"N" * (50 << 20), {}, deflated)
    archive(folder / "lzma.zip", good, {"0": zeros[:99]}, zipfile.ZIP_LZMA)
    archive(folder / "fine.zip", table(tensor()), {"0": bytes(16)}, deflated)
    content = (folder / "fine.zip").read_bytes()
    for label, size in (("larger", 1 << 30), ("smaller", 15)):
        changed = content.replace(struct.pack("<I", 16), struct.pack("<I", size))
        (folder / f"{label}.zip").write_bytes(changed)


def write_safetensors(folder):
    """Headers that lie."""

    def written(label, header, length=None):
        header = header if isinstance(header, bytes) else json.dumps(header).encode()
        start = struct.pack("<Q", len(header) if length is None else length)
        (folder / f"{label}.safetensors").write_bytes(start + header + bytes(16))

    def entry(begin=0, end=16, shape=(4,), dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    written("good", {"a": entry(), "__metadata__": {"format": "pt"}})
    written("long", {"a": entry()}, length=1 << 60)
    written("longer than it", {"a": entry()}, length=1 << 20)
    written("overlapping", {"a": entry(), "b": entry()})
    written("beyond", {"a": entry(0, 32, (8,))})
    written("hole", {"a": entry(8, 16, (2,))})
    written("backwards", {"a": entry(16, 0)})
    written("overflow", {"a": entry(0, 16, (1 << 62, 1 << 62))})
    written("below", {"a": entry(0, 16, (-4,))})
    written("type", {"a": entry(0, 16, (4,), "F4")})
    written("deep", b'{"a":' + b"[" * 200_000)
    written("empty", {})
    written("list", b"{]")
    written("colours", {"\x1b[31m": entry()})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{file: what came of it}."""
    folder = tmp_path_factory.mktemp("hostile")
    for write in (write_pickles, write_nested, write_archives, write_safetensors):
        write(folder)
    return read_apart(folder)


def test_nothing_but_what_is_right_is_read(found):
    tensors = {file: value for file, value in found.items() if not isinstance(value, str)}
    fine = {f"{label}.{end}" for label in FINE for end in ("pth", "old")}
    fine |= {"once.pkl", "fine.zip", "good.safetensors"}
    assert tensors == dict.fromkeys(fine, 4)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("shared tuples.pkl", "many times"),
        ("shared lists.pkl", "many times"),
        ("shared tables.pkl", "many times"),
        ("many values.pkl", "more than 1,000,000 values"),
        ("many operations.pkl", "2,000,000 operations"),
        ("copied tables.pkl", "2,000,000 operations"),
        ("copied text.pkl", "2,000,000 operations"),
        ("copied networks.pkl", "2,000,000 operations"),
        ("holds itself.pkl", "holds itself"),
        ("deep table.pkl", "holds itself, or more than 40"),
        ("expanded.pth", "they share numbers"),
        ("huge storage.pth", "another size than it says"),
        ("huge storage.old", "ends before its last tensor"),
        ("nested.pkl", "a pickle out of place"),
        ("often.pkl", "more than once"),
        ("bfloat16 itself.pth", "names ml_dtypes.bfloat16, which is no tensor"),
        ("array.pth", "an array of NumPy, a"),
        ("array of another size.pth", "an array of another size than it says"),
        ("array twice.pth", "an array of NumPy's of a form"),
        ("huge array.pth", "an array of another size than it says"),
        ("bomb.zip", "the limit is 20 times its size and 16 MB"),
        ("pickle.zip", "the limit is 20 times its size and 16 MB"),
        ("larger.zip", "the limit is 20 times its size and 16 MB"),
        ("lzma.zip", "compressed in a way that is not read"),
        ("long.safetensors", "the limit is 16 MB"),
        ("overlapping.safetensors", "cannot be read as safetensors"),
    ],
)
def test_what_is_said(found, file, message):
    assert message in found[file]


def test_types_of_safetensors(tmp_path, rng):
    values = {
        "a": rng.normal(size=(2, 3)),
        "b": np.arange(5),
        "c": np.zeros((0, 3)),
        "d": np.array(True),
    }
    values["half"] = rng.normal(size=7).astype(np.float16)
    safetensors.numpy.save_file(values, tmp_path / "a.safetensors")
    arrays = pth.read(tmp_path / "a.safetensors")
    assert set(arrays) == set(values)
    for label, value in values.items():
        np.testing.assert_array_equal(arrays[label], value)
        assert arrays[label].dtype == value.dtype
        assert not arrays[label].flags.writeable


@pytest.fixture
def originals(tmp_path, monkeypatch):
    """{suffix: a small file of each kind}."""
    torch.manual_seed(0)
    state = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).state_dict()
    persistence = Persistence(monkeypatch, "")
    torch.save({"net": state, "half": torch.ones(3).bfloat16()}, tmp_path / "zip")
    torch.save({"net": state}, tmp_path / "old", _use_new_zipfile_serialization=False)
    persistence.save({"D": Discriminator(widths=(4, 2))}, tmp_path / "pkl")
    safetensors.numpy.save_file({name: x.numpy() for name, x in state.items()}, tmp_path / "st")
    return {end: (tmp_path / end).read_bytes() for end in ("zip", "old", "pkl", "st")}


def mutated(content, chance):
    """A copy with some bytes changed, put in, or taken out; often by what pickles are made of."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(len(content))
        alphabet = chance.choice(
            (bytes(range(256)), b"b0sutRq.(\x81\x85\x86\x93Q", b"\xff\x00\x7f\x80")
        )
        new = bytes(chance.choices(alphabet, k=chance.choice((1, 1, 4, 8))))
        kind = chance.randrange(3)
        content[place : place + (0 if kind == 0 else len(new))] = b"" if kind == 2 else new
    return bytes(content)


def test_two_hundred_mutations(tmp_path, originals):
    folder = tmp_path / "mutated"
    folder.mkdir()
    chance = random.Random(0)
    for end, content in originals.items():
        for index in range(40):
            (folder / f"{index}.{end}").write_bytes(mutated(content, chance))
    with zipfile.ZipFile(io.BytesIO(originals["zip"])) as file:  # with sums that are right
        records = {name: file.read(name) for name in file.namelist()}
    for index in range(80):
        with zipfile.ZipFile(folder / f"inside{index}.zip", "w") as file:
            for label, data in records.items():
                changed = mutated(data, chance) if label.endswith("data.pkl") else data
                file.writestr(label, changed)
    found = read_apart(folder)
    assert len(found) == 240
    refused = sum(isinstance(value, str) for value in found.values())
    assert 120 < refused < 240
