"""Copies on this machine of data that lie in a bucket."""

import fcntl
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from jaxgan.backend import cache
from jaxgan.bucket import SCHEME, as_path, asking, in_bucket
from jaxgan.errors import UserError
from jaxgan.files import read_regular, write_whole
from jaxgan.schema import parse_json

log = logging.getLogger("jaxgan")

_AT_ONCE = 512
"""Objects that are copied at a time."""

_LARGEST = 2**31
"""Bytes, and values, of what is remembered of a copy: 10 million objects."""


def on_disk(path: str | os.PathLike[str]) -> Path:
    """The same path, or a copy on this machine of what lies there in a bucket.

    All of it is copied once, below `jaxgan.backend.cache()`; later, what has changed in the bucket
    is copied again, and what has gone goes.

    Raises:
        UserError: it is not there, may not be read, or does not fit on the disk.
    """
    if not in_bucket(path):
        return Path(path).expanduser()
    name = str(as_path(path))  # refuses a machine without credentials
    import gcsfs

    target = cache() / "buckets" / name.removeprefix(SCHEME)
    with asking(path):
        files = gcsfs.GCSFileSystem()
        there = {
            key: {"size": int(info["size"]), "tag": str(info.get("md5Hash") or info.get("etag"))}
            for key, info in files.find(name, detail=True, refresh=True).items()
            if info["type"] == "file" and not key.endswith("/")
        }
    if not there:
        raise UserError(f"{name}: there is nothing of that name, or no such bucket")
    root = name.removeprefix(SCHEME)
    bad = [key for key in there if {"", ".", ".."} & set(key.split("/"))]
    if bad:
        raise UserError(f"{SCHEME}{bad[0]!r}: no file can have that name: rename it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes of one machine copy once
        _copy(files, name, root, target, there)
    return target


def _copy(files: Any, name: str, root: str, target: Path, there: dict[str, Any]) -> None:
    """Brings what differs to this machine."""
    record = target.parent / f".{target.name}.json"
    try:
        facts = parse_json(read_regular(record, limit=_LARGEST), most=_LARGEST)
    except (OSError, ValueError):
        facts = None
    known: dict[str, Any] = facts if isinstance(facts, dict) else {}

    def here(key: str) -> Path:
        return Path(f"{target}{key.removeprefix(root)}")

    def whole(key: str) -> bool:
        path = here(key)
        return path.is_file() and path.stat().st_size == there[key]["size"]

    wanted = [key for key in there if known.get(key) != there[key] or not whole(key)]
    for key in set(known) - set(there):
        here(key).unlink(missing_ok=True)
    size = sum(there[key]["size"] for key in wanted)
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise UserError(
            f"{name}: {size / 2**30:.1f} GiB are to be copied to {target}, where "
            f"{free / 2**30:.1f} GiB are free: make room, or set XDG_CACHE_HOME to another disk"
        )
    if wanted:
        log.warning(
            "%s: copying %.2f GiB in %s files to %s",
            name,
            size / 2**30,
            f"{len(wanted):,}",
            target,
        )
    for begin in range(0, len(wanted), _AT_ONCE):
        part = wanted[begin : begin + _AT_ONCE]
        for path in {here(key).parent for key in part}:
            path.mkdir(parents=True, exist_ok=True)
        with asking(name):
            files.get(part, [str(here(key)) for key in part])
        known = {key: each for key, each in known.items() if key in there}
        known |= {key: there[key] for key in part}
        write_whole(record, json.dumps(known))
