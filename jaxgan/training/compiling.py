"""How long compiling a step took last time, for whoever waits for it again."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from jaxgan import backend
from jaxgan.files import write_whole
from jaxgan.schema import parse_json
from jaxgan.system import System

_MOST = 200  # programs whose times are kept


@contextlib.contextmanager
def cache_hits() -> Iterator[list[str]]:
    """What this thread finds among compiled programs on disk meanwhile, an event each."""
    hits: list[str] = []
    thread = threading.get_ident()

    def note(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits" and threading.get_ident() == thread:
            hits.append(event)

    jax.monitoring.register_event_listener(note)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(note)


def key_of(system: System, arrays: Any, *settings: Any) -> str:
    """By what a step's time to compile is known: its system, sizes and settings, JAX, the machine.

    Settings that are fractions, as a learning rate, change no program's size and are left out.

    Args:
        system: the GAN.
        arrays: State and batch, or their shapes, with shardings.
        settings: whatever else makes another program.
    """
    sizes = [f"{x.dtype}{x.shape}{x.sharding}" for x in jax.tree.leaves(arrays)]
    fields = vars(system).values()
    # A function's place in memory is another in every process.
    whole = [text for x in fields if not isinstance(x, float) and " at 0x" not in (text := repr(x))]
    kind = f"{type(system).__module__}:{type(system).__qualname__} {whole}"
    machine = f"{jax.device_count()} {jax.devices()[0].device_kind}, {os.cpu_count()} cores"
    about = [kind, *sizes, *map(repr, settings), jax.__version__, machine]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]


@contextlib.contextmanager
def timed(key: str, tell: Callable[[str], None] | None) -> Iterator[None]:
    """Notes how long a step takes to compile, unless it comes from the programs on disk.

    Args:
        key: of `key_of`.
        tell: takes a line that says how long it took last time; None: nobody waits for it.
    """
    if tell is not None:
        took = seconds_of(key)
        tell("compiling the step" + ("" if took is None else f" ({max(took, 1):.0f} s last time)"))
    begin = time.perf_counter()
    with cache_hits() as hits:
        yield
    if not hits:
        keep_seconds(key, time.perf_counter() - begin)


def seconds_of(key: str) -> float | None:
    """Seconds that compiling took last time; None: that is not known."""
    return _known().get(key)


def keep_seconds(key: str, seconds: float) -> None:
    """Notes how long compiling took; where nothing can be written, nothing is noted."""
    known = _known()
    known.pop(key, None)  # the latest ones stand last
    latest = [*known.items(), (key, seconds)][-_MOST:]
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(), json.dumps(dict(latest), indent=1) + "\n")


def _file() -> Path:
    return backend.cache() / "compile_seconds.json"


def _known() -> dict[str, float]:
    """Seconds by key; what is broken holds none."""
    try:
        found = parse_json(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: seconds for key, seconds in pairs if isinstance(seconds, float)}
