"""The command line: one file a command, which parses, calls and prints."""

import errno
import importlib
import keyword
import logging
import os
import re
import sys

from jaxgan import interrupt
from jaxgan.errors import Unwritten, UserError, printable

COMMANDS = {
    "train": "train a system, or resume a run",
    "sample": "draw images from a run",
    "apply": "do anything that a run can do, to what is given",
    "translate": "make images from images, by a run that has learned to",
    "compress": "make small files of images, by a run that has learned to",
    "decompress": "make images of such files",
    "dissect": "which units of a generator stand for what, and what they cause",
    "paint": "erase and draw what units stand for, also in photographs",
    "edit": "harmonise, paint, enlarge or animate an image by a run of one image",
    "invert": "find codes of which a run makes photographs",
    "latent": "morph, blend, fill and otherwise edit images by their codes",
    "directions": "directions in a generator's codes: of weights, components, scores, classifiers",
    "evaluate": "score generated images against real ones",
    "neighbours": "the real images nearest to what a run draws: does it remember?",
    "compare": "rank runs by their scores",
    "bench": "time a training step and its input on this machine",
    "plan": "what a training step would cost on hardware one lacks",
    "data": "pack a folder of images for training at scale",
    "import": "make a run from another framework's checkpoint",
    "export": "what a run can do as a program, or its weights, for other frameworks",
    "theory": "watch what the theory of GANs says, on Gaussians on a line",
    "info": "what a config or a run can do, its networks, players, stages and data",
    "configs": "the table of systems and configs",
}


def main(argv: list[str] | None = None) -> int:
    """Runs `jaxgan COMMAND ...`; returns the exit status.

    0: done. 1: training diverged. 2: the user can mend it, told in one line. 74: what was made
    could not be written. 75: stopped by SIGTERM, 130: by Ctrl-C, both after saving what there was.
    Where one of many processes is lost, JAX aborts the others (134).
    """
    logging.basicConfig(format="jaxgan: %(message)s")
    for handler in logging.root.handlers:  # of a library that was there first
        if type(handler) is logging.StreamHandler:
            handler.setFormatter(_Escaped("jaxgan: %(message)s"))
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # what Orbax raises is told here
    argv = sys.argv[1:] if argv is None else argv
    try:
        status = _run(argv)
    except UserError as error:
        status = _failed(str(error))
    except Unwritten as error:
        status = _failed(str(error), 74)
    except KeyboardInterrupt:  # in Python: a command hears of it at once
        print("jaxgan: interrupted", file=sys.stderr)
        status = interrupt.STATUS
    except BrokenPipeError:  # the reader of a pipe has gone, as in `jaxgan configs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = _one_line(str(error.filename))[:60]
        status = _failed(f"{name}... is longer than names of files can be: give a shorter one")
    except MemoryError:
        status = _failed("not enough memory for what was asked: give smaller sizes, or fewer")
    if status and interrupt.of_command() and not _joined():
        # Threads that compile, or that read what nobody waits for, would hold it up for minutes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _failed(text: str, status: int = 2) -> int:
    print(f"jaxgan: error: {_one_line(text)}", file=sys.stderr)
    return status


def _joined() -> bool:
    """Whether this is one of many processes, which leave together."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


class _Escaped(logging.Formatter):
    """Lines whose names of files may be strangers'."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _one_line(super().formatMessage(record))


def _one_line(text: str) -> str:
    """The text in a line: what others say in several, and names with control characters escaped."""
    return printable(re.sub(r"\s*\n\s+", " ", text.strip()))


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"jaxgan {version('jaxgan')}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        from jaxgan.errors import nearest

        raise UserError(
            f"no command {name!r}{nearest(name, COMMANDS, hint='; see `jaxgan --help`')}"
        )
    module = f"{name}_" if keyword.iskeyword(name) else name
    return importlib.import_module(f"jaxgan.cli.{module}").main(argv[1:])


def _usage() -> str:
    commands = "\n".join(f"  {name:12}{text}" for name, text in COMMANDS.items())
    return (
        f"usage: jaxgan COMMAND ...\n\n{commands}\n\n`jaxgan COMMAND --help` lists its options.\n"
        "Start with: jaxgan train quickstart"
    )
