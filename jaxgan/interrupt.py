"""Ctrl-C of a command: one line at once, whatever the process is doing.

Python runs signal handlers between two instructions of the main thread, which may be compiling for
minutes. So a thread hears of signals, too, through the file descriptor that Python writes them to.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

STATUS = 130
"""Exit status of a command that Ctrl-C has ended."""

Listener = Callable[[int], None]

_listeners: list[Listener] = []

_ended = threading.Lock()


def of_command() -> bool:
    """Whether this process is the command `jaxgan`, not a script that imports it."""
    name = Path(sys.argv[0]).name if getattr(sys, "argv", None) else ""
    if name == "-m":  # while `python -m` looks for the module
        words = sys.orig_argv
        return words[words.index("-m") + 1 :][:1] == ["jaxgan"]
    return name == "jaxgan" or Path(sys.argv[0]).parts[-2:] == ("jaxgan", "__main__.py")


def end_with_parent(last: Callable[[], object] | None = None) -> None:
    """Makes a worker end when its parent does, however that ends; and not of Ctrl-C before.

    Args:
        last: what it does then.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        if last is not None:
            last()
        os._exit(0)

    threading.Thread(target=wait, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave_at_once() -> None:
    """From now on Ctrl-C ends this process, which is a command, in one line.

    A child of a command leaves Ctrl-C, which comes to all, to its parent.
    """
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, leave)
    heard, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    threading.Thread(target=_hear, args=(heard,), name="signals", daemon=True).start()
    # What memory workers shared is given back, and not worth two lines at the end.
    sys.warnoptions.append("ignore:resource_tracker")


def leave(number: int = signal.SIGINT, frame: FrameType | None = None) -> NoReturn:
    """Ends the process; a signal handler."""
    end("interrupted")


def end(text: str) -> NoReturn:
    """Ends the process with a line, without waiting for anything."""
    if not _ended.acquire(blocking=False):  # the handler and the thread both hear of a signal
        threading.Event().wait()
    say(text)
    os._exit(STATUS)


def say(text: str) -> None:
    """Writes a line to standard error, past whatever else is being written there."""
    # On a terminal a progress line may stand there, and the cursor may be hidden.
    begin = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{begin}jaxgan: {text}\n".encode())


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """What hears of signals, at once and in another thread, in place of the end by Ctrl-C."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _hear(heard: int) -> None:
    while numbers := os.read(heard, 64):
        for number in numbers:
            if _listeners:
                _listeners[-1](number)
            elif number == signal.SIGINT:
                leave()
