"""Processes that make batches together, each the same rows of every one.

What they make is handed over in memory without a name, which the system frees when the last process
that holds it ends, however that is: nothing can be left behind. It does not count as /dev/shm,
which is small in containers.
"""

import itertools
import mmap
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from jaxgan.errors import UserError

Make = Callable[[int, int, int], dict[str, np.ndarray]]
"""(step, which part, of how many) -> rows [n, ...] of that part of a step's batch."""


class Team:
    """Worker processes, which begin when it is made; a context, at whose end they end."""

    def __init__(self, make: Make, first: int, workers: int):
        """Starts them; `make` is pickled, `first` the step that they begin with."""
        context = multiprocessing.get_context("spawn")
        self._members: list[tuple[Connection, Any]] = []
        self._memories: dict[int, tuple[mmap.mmap, dict[str, np.ndarray]]] = {}
        for number in range(workers):
            mine, theirs = context.Pipe()
            arguments = (make, first, number, workers, theirs)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._members.append((mine, process))

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        for _connection, process in self._members:
            process.terminate()
        for connection, process in self._members:
            process.join()
            connection.close()

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The rows of a step, which must be asked for in order: those of all workers.

        Raises:
          UserError: A worker has ended. Whatever making a batch raises is raised here.
        """
        parts = [self._part(number) for number in range(len(self._members))]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for connection, _process in self._members:
            connection.send(None)
        return whole

    def _part(self, number: int) -> dict[str, np.ndarray]:
        """What a worker has made, in the memory that it shares."""
        connection, process = self._members[number]
        try:
            said = connection.recv()
            if isinstance(said, Exception):
                raise said
            if number not in self._memories:
                handle = reduction.recv_handle(connection)
                memory = mmap.mmap(handle, 0)
                os.close(handle)
                self._memories[number] = memory, _views(memory, said)
        except (EOFError, ConnectionError) as error:
            process.join()
            raise UserError(
                f"a process that makes batches ended with status {process.exitcode}: it may have "
                "had too little memory; give fewer --data.workers"
            ) from error
        return self._memories[number][1]


Layout = list[tuple[str, tuple[int, ...], str, int]]
"""Name, shape, type and place of arrays in memory."""

_ALIGNED = 64


def _layout(arrays: dict[str, np.ndarray]) -> tuple[Layout, int]:
    """Where arrays lie one after the other, and the size of all."""
    found, size = [], 0
    for name, array in arrays.items():
        found.append((name, array.shape, array.dtype.str, size))
        size += -(-array.nbytes // _ALIGNED) * _ALIGNED
    return found, max(size, 1)


def _views(memory: mmap.mmap, layout: Layout) -> dict[str, np.ndarray]:
    return {name: np.ndarray(shape, kind, memory, place) for name, shape, kind, place in layout}


def _nameless(size: int) -> int:
    """A descriptor of memory, or where there is no such thing of a file, that has no name."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("batches")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle


def _work(make: Make, first: int, number: int, workers: int, connection: Connection) -> None:
    """A worker: makes its part of step after step, the next one while the last one is read."""
    _end_with_parent()
    memory = None
    try:
        for step in itertools.count(first):
            try:
                made = make(step, number, workers)
            except Exception as error:
                connection.send(_sendable(error))
                return
            if memory is None:
                layout, size = _layout(made)
                handle = _nameless(size)
                memory = mmap.mmap(handle, size)
                views = _views(memory, layout)
            elif connection.recv() is not None:
                return
            for name, array in made.items():
                views[name][...] = array
            connection.send(layout if step == first else None)
            if step == first:
                reduction.send_handle(connection, handle, os.getppid())
                os.close(handle)
    except (EOFError, ConnectionError):
        return  # nobody wants more


def _sendable(error: Exception) -> Exception:
    """The error, or one that says the same, if it cannot be pickled."""
    try:
        reduction.ForkingPickler.dumps(error)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Makes a worker end when its parent does, however that ends; and not of Ctrl-C before."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
