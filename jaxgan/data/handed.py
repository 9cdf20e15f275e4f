"""Arrays on their way from a worker process, in memory without a name.

Grain would hand them over in shared memory that has names, which outlast a process that is ended by
a signal, and of which Python says that they leaked. Here the system frees what nobody holds any
more; it does not count as /dev/shm, which is small in containers.
"""

import dataclasses
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from multiprocessing import reduction, util
from typing import Any

import numpy as np

from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handed:
    """Arrays that can be sent to another process.

    Attributes:
      memory: Where they lie one after the other, as the worker that made them gives it away.
      layout: Name, shape and type of each.
    """

    memory: Any
    layout: tuple[tuple[str, tuple[int, ...], np.dtype[Any]], ...]


def handed(arrays: dict[str, np.ndarray]) -> Handed:
    """Copies arrays, in a worker, which keeps them until they are received or it ends."""
    memory = hasattr(os, "memfd_create")
    with open(os.memfd_create("batch"), "wb") if memory else tempfile.TemporaryFile() as file:
        for x in arrays.values():
            file.write(np.ascontiguousarray(x).data)
        file.flush()
        return Handed(
            memory=reduction.DupFd(file.fileno()),
            layout=tuple((name, x.shape, x.dtype) for name, x in arrays.items()),
        )


def received(sent: Handed) -> dict[str, np.ndarray]:
    """The arrays, once.

    Raises:
      UserError: The worker has ended.
    """
    try:
        handle = sent.memory.detach()
    except (OSError, EOFError) as error:
        raise killed() from error
    with open(handle, "rb") as file:
        file.seek(0)
        return {
            name: np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
            for name, shape, dtype in sent.layout
        }


def killed() -> UserError:
    """What is said of a worker that has ended by itself."""
    return UserError(
        "a process that makes batches was killed: it may have had too little memory; give fewer "
        "--data.workers"
    )


def begin_worker(worker: int, workers: int) -> None:
    """Makes a worker end when its parent does, however that ends; and not of Ctrl-C before."""
    del worker, workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        # The parent's, which it removes if it can; sockets by which memory is given away lie there.
        shutil.rmtree(util.get_temp_dir(), ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
