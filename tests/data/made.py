"""Files of images in every form that `--data` takes."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def png(seed: int = 0, size: tuple[int, int] = (6, 5), format: str = "PNG", **options) -> bytes:
    """Encoded noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def pixels(seed: int = 0, size: tuple[int, int] = (6, 5)) -> np.ndarray:
    """What `png` encodes."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def folder(root: Path, members: Mapping[str, bytes]) -> str:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name, content in members.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(root)


def zipped(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


def tarred(path: Path, members: Mapping[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


FORMS = {
    "folder": lambda place, members: folder(place / "in", members),
    "zip": lambda place, members: zipped(place / "in.zip", members),
    "tar": lambda place, members: tarred(place / "in.tar", members),
}
"""What makes files of members, by what `--data` takes."""
