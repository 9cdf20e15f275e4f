"""Files that are no images, or none that can be read: counted, with what would read them."""

from collections import Counter
from collections.abc import Iterable

from jaxgan.fields.pixels import HEIF_EXTENSIONS

_KINDS = 8
"""Kinds of files that a note lists."""

_PNG = "convert them to PNG"
_FRAMES = "give their folder as --data clips:FOLDER, to systems of clips"
_UNPACK = "unpack them, or zip the images"
_ADVICE = {
    **dict.fromkeys(HEIF_EXTENSIONS, "pip install 'jaxgan[heic]'"),
    **dict.fromkeys(
        (
            *(".psd", ".psb", ".xcf", ".kra", ".jp2", ".j2k", ".jpx", ".jxl", ".exr", ".hdr"),
            *(".dds", ".tga", ".ico", ".icns", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".dcm"),
            *(".nii", ".fits", ".fit", ".svg", ".eps", ".ai", ".pdf", ".wmf", ".emf"),
        ),
        _PNG,
    ),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
        "develop them to PNG or TIFF",
    ),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg"), _FRAMES),
    **dict.fromkeys((".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"), _UNPACK),
    ".zip": "give each as --data FILE.zip",
    ".tar": "give them as --data 'FOLDER/*.tar'",
    ".npz": "give each as --data FILE.npz",
    ".npy": "save them as FILE.npz with `images`, uint8 [n, h, w, c]",
    ".parquet": "give their folder as --data FOLDER",
    ".arrow": "give their folder as --data hf:FOLDER",
    ".h5": "save them as FILE.npz with `images`, uint8 [n, h, w, c]",
    ".hdf5": "save them as FILE.npz with `images`, uint8 [n, h, w, c]",
    ".mat": "save them as FILE.npz with `images`, uint8 [n, h, w, c]",
    ".mdb": "write the images of an LMDB to files",
    ".tfrecord": "prepare the set with TFDS, or write the images to files",
    ".array_record": "pack the images anew with `jaxgan data pack`",
    ".idx3-ubyte": "save them as FILE.npz with `images`, uint8 [n, h, w, c]",
    ".csv": "labels and texts are read from metadata.jsonl",
}
"""By ending, what would make it readable; other kinds hold no images."""


def ending(path: str) -> str:
    """The ending of a file's name in lower case, with its dot; "" for none."""
    name = path.rpartition("/")[2]
    stem, dot, last = name.rpartition(".")
    known = dot and stem and len(last) <= 12 and last.replace("-", "").isalnum()
    return f".{last.lower()}" if known and last.isascii() else ""


def skipped(paths: Iterable[str], passed: Counter[str] | None = None) -> str:
    """Say how many files of each kind are not read, and what would: "2,000 .heic (...), 3 .txt".

    Args:
      paths: Of files that are not read.
      passed: What else is not, by kind.
    """
    endings = Counter(ending(path) for path in paths)
    counts = Counter({name or "without a known ending": n for name, n in endings.items()})
    counts.update({f"{kind}{'s' * (n > 1)}": n for kind, n in (passed or Counter()).items()})
    # Images of other formats first: their absence is what one would not notice.
    ranked = sorted(counts, key=lambda kind: (kind not in _ADVICE, -counts[kind], kind))
    listed = [
        f"{counts[kind]:,} {kind}" + (f" ({_ADVICE[kind]})" if kind in _ADVICE else "")
        for kind in ranked[:_KINDS]
    ]
    if rest := sum(counts[kind] for kind in ranked[_KINDS:]):
        listed.append(f"{rest:,} of other kinds")
    return ", ".join(listed)


def advice(path: str) -> str:
    """What would make a file readable that is none of the data that are known; "" if nothing is."""
    return _ADVICE.get(ending(path), "")
