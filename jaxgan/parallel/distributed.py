"""Many processes: how they find each other, agree, share out a batch and end.

A process is one of several that run the same program, each with devices of its own, over which
there is one mesh. Whatever touches arrays is done by all of them, in the same order; process 0
alone prints, and writes files that are not checkpoints.
"""

import contextlib
import dataclasses
import glob
import hashlib
import importlib.util
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Self, TypeVar

import jax
import numpy as np
import tyro
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxgan import interrupt
from jaxgan.errors import UserError
from jaxgan.parallel.meeting import meet
from jaxgan.ranges import Count, Positive

T = TypeVar("T")

_LOST_AFTER = 30
"""Seconds without a sign of life after which a process is lost; JAX then ends the others."""

_LEAVE_WITHIN = 30
"""Seconds within which all processes leave, once one does."""

_LONGEST = 2000
"""Bytes of a complaint that processes exchange."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """How this process finds the others, outside clusters; settings of a start, not of a run."""

    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Where process 0 listens. With --processes and --process it replaces what Cloud TPU, Slurm,
    Open MPI or Kubernetes provide; these need no options."""
    processes: Positive | None = None
    """How many processes there are; 1 alone ignores the cluster."""
    process: Count | None = None
    """Which of them this one is, from 0."""


def start(given: Processes) -> None:
    """Joins this process with the others, if there are any; before JAX uses a device.

    Raises:
        UserError: options that do not make a whole, or processes that do not find each other.
    """
    told = by_hand(given)
    cluster = None if told or given.processes == 1 else detect(os.environ)
    if not told and cluster is None:
        return
    if told:
        host, _, port = str(given.coordinator).rpartition(":")
        assert given.processes is not None
        assert given.process is not None
        versions = {name: version(name) for name in ("jaxgan", "jax", "jaxlib")}
        meet(
            (host.strip("[]"), int(port)),
            given.processes,
            given.process,
            versions,
            say=interrupt.say,
        )
    try:
        jax.distributed.initialize(
            given.coordinator,
            given.processes,
            given.process,
            cluster_detection_method="deactivate" if told else None,
            heartbeat_timeout_seconds=_LOST_AFTER,
            shutdown_timeout_seconds=_LEAVE_WITHIN,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        where = f"at {given.coordinator}" if told else f"through {cluster}"
        raise UserError(
            f"processes cannot be joined {where}: {reason}; see --coordinator in --help"
        ) from error


def by_hand(given: Processes) -> bool:
    """Whether the options say how to join the others.

    Raises:
        UserError: some of the three are missing, or out of range.
    """
    options = {f"--{name}": value for name, value in vars(given).items()}
    missing = [name for name, value in options.items() if value is None]
    if len(missing) == 3 or (given.processes == 1 and len(missing) == 2):
        return False
    if missing:
        have = " and ".join(name for name in options if name not in missing)
        raise UserError(f"{have} without {' and '.join(missing)}: give all three, or none")
    host, _, port = str(given.coordinator).rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--coordinator is {given.coordinator!r}: expected HOST:PORT")
    if given.process not in range(given.processes or 0):
        raise UserError(
            f"--process is {given.process} of --processes {given.processes}: "
            "they are counted from 0"
        )
    return True


def detect(env: Mapping[str, str]) -> str | None:
    """The cluster that started this process as one of several, by what its scheduler documents.

    None on a single machine, and in a job of one process: JAX's own detection would start its
    services there, or fail.

    Args:
        env: environment variables.

    Raises:
        UserError: a Kubernetes Job whose size cannot be asked for.
    """
    # srun sets it for its step; SLURM_NTASKS is there in the batch script, too, which is no task.
    if int(env.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return "Slurm"
    if int(env.get("OMPI_COMM_WORLD_SIZE") or 1) > 1:
        return "Open MPI"
    if _tpu_hosts(env) * int(env.get("MEGASCALE_NUM_SLICES") or 1) > 1:
        return "Cloud TPU"
    if "KUBERNETES_SERVICE_HOST" in env and "JOB_COMPLETION_INDEX" in env:
        if importlib.util.find_spec("kubernetes") is None:
            raise UserError(
                "this is a pod of an indexed Kubernetes Job, whose size only its API knows: "
                "pip install 'jax[k8s]', or give --coordinator, --processes and --process, or "
                "--processes 1 to train alone"
            )
        return "Kubernetes"
    return None


def _tpu_hosts(env: Mapping[str, str]) -> int:
    """Hosts of the TPU slice that this one belongs to; 1 where there is no TPU."""
    names = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES")
    if names:
        return len(names.split(","))
    if "TPU_SKIP_MDS_QUERY" in env or importlib.util.find_spec("libtpu") is None:
        return 1
    if not glob.glob("/dev/accel[0-9]*") and not glob.glob("/dev/vfio/[0-9]*"):
        return 1
    # No variable of a TPU VM says so; Google's metadata server does.
    server = env.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints",
        headers={"Metadata-Flavor": "Google"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return len(reply.read().decode().split(","))
    except (urllib.error.URLError, TimeoutError):
        return 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def told(line: str) -> list[str]:
    """Every process's line, in the order of processes, on all of them; up to 2,000 bytes each."""
    if jax.process_count() == 1:
        return [line]
    said = np.zeros(_LONGEST, np.uint8)
    text = np.frombuffer(line.encode()[:_LONGEST], np.uint8)
    said[: len(text)] = text
    rows = multihost_utils.process_allgather(said)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


def together(act: Callable[[], T]) -> T:
    """Acts on every process; a user's mistake that one finds is raised by all, with its name.

    It returns when all have acted.

    Raises:
        UserError: that of the first process which raised one.
    """
    if jax.process_count() == 1:
        return act()
    complaint = ""
    try:
        result = act()
    except UserError as error:
        complaint = str(error)
    complaints = told(complaint)
    if not any(complaints):
        return result
    first = next(index for index, text in enumerate(complaints) if text)
    alike = all(text == complaints[first] for text in complaints)
    raise UserError(complaints[first] if alike else f"process {first}: {complaints[first]}")


def agree(facts: Mapping[str, object]) -> None:
    """Refuses processes that were given different things.

    Args:
        facts: what was given, by its name.

    Raises:
        UserError: on all of them; names what differs.
    """
    short = {name: hashlib.sha256(repr(it).encode()).hexdigest()[:16] for name, it in facts.items()}
    lines = [
        dict(zip(short, line.split(), strict=False)) for line in told(" ".join(short.values()))
    ]
    for number, theirs in enumerate(lines):
        if different := [name for name in short if theirs.get(name) != lines[0].get(name)]:
            raise UserError(
                f"process {number} was given other {', '.join(different)} than process 0: give all "
                "the same command"
            )


def part(mesh: Mesh) -> tuple[int, int]:
    """Which of how many equal parts of a batch this process reads, for `batch_sharding`.

    Rows of a batch lie on the devices in the order of the mesh, so a process's rows are those of
    its devices.

    Raises:
        UserError: the mesh leaves a process without devices, or not as many as the others.
    """
    owners = [device.process_index for device in mesh.devices.flat]
    order = list(dict.fromkeys(owners))
    each, left = divmod(len(owners), jax.process_count())
    if left or owners != [owner for owner in order for _ in range(each)]:
        raise UserError(
            f"the mesh takes {len(owners)} of {jax.device_count()} devices, which gives "
            f"{jax.process_count()} processes unequal parts of a batch: choose --mesh.data -1"
        )
    return order.index(jax.process_index()), len(order)


class Stopped(Exception):
    """Training was asked to stop, and saved.

    Attributes:
        signal: the signal's number.
        step: the step that was saved; None: the first iteration had not ended.
    """

    def __init__(self, number: int, step: int | None):
        saved = "before the first iteration" if step is None else f"saved at step {step}"
        super().__init__(f"stopped by {signal.Signals(number).name}, {saved}")
        self.signal, self.step = number, step


class StopSignals:
    """Notes SIGTERM and Ctrl-C instead of dying of them, once there is something to save.

    What is going on is said at once. A second Ctrl-C does what the first would have done without
    this. Among many processes JAX itself waits for SIGTERM: the first process that gets one informs
    all, which then agree on a step. Ctrl-C is passed on as SIGTERM there.
    """

    def __init__(self, end: int | None = None) -> None:
        """Nothing yet.

        Args:
            end: the last iteration; None: there is no end.
        """
        self.received: int | None = None
        self._before: dict[int, Callable | int | None] = {}
        self._joined = jax.distributed.is_initialized()
        self._step: int | None = None
        self._noted: int | None = None
        self._end = end
        self._heard: list[int] = []
        self._listening = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for number in (signal.SIGINT,) if self._joined else (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread, where signals belong to somebody else
                break
        self._listening.enter_context(interrupt.listening(self._hear))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def at(self, step: int) -> int | None:
        """The signal to stop for after this step, the same on all processes; ask at every step."""
        self._step = step
        if self._joined:
            reached = multihost_utils.reached_preemption_sync_point(step)
            return signal.SIGTERM if reached else None
        return self.received

    def _hear(self, number: int) -> None:
        """Says what will happen; of a command, where signals are heard at once."""
        if number not in (signal.SIGINT, signal.SIGTERM):
            return
        self._heard.append(number)
        if self._step is None and not self._joined:
            if number == signal.SIGINT:
                interrupt.leave()
        elif self._heard.count(signal.SIGINT) > 1:
            interrupt.end("stopped without saving; the same command resumes from what was saved")
        elif len(self._heard) == 1:
            self._say(number)

    def _say(self, number: int) -> None:
        # A step may have ended between the signal and the thread that hears of it.
        step = (self._step or 0) + 1 if self._noted is None else self._noted + 1
        where = (
            "a step that all agree on" if self._joined else f"step {min(step, self._end or step)}"
        )
        hint = "; Ctrl-C again stops without" if number == signal.SIGINT else ""
        interrupt.say(f"{signal.Signals(number).name}: saving, {where}{hint}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if self._step is None and not self._joined:
            if number == signal.SIGINT and callable(before):
                before(number, frame)
            raise Stopped(number, None)
        if self._noted is None:
            self._noted = self._step
        if not interrupt.of_command():  # there a thread has heard of it
            if self.received is None:
                self._say(number)
            if number == signal.SIGINT:
                signal.signal(number, before)
        if self.received is None or number == signal.SIGTERM:
            self.received = number
            if number == signal.SIGINT and self._joined:
                os.kill(os.getpid(), signal.SIGTERM)


class Alarm:
    """Rings when so many minutes have passed, after the same step on all processes.

    Process 0's clock decides. The others ask it together, which takes all of them a moment, about
    every five seconds: how many steps these are, process 0 says as well.
    """

    _EVERY = 5.0

    def __init__(self, minutes: float):
        """Begins to count.

        Args:
            minutes: after which it rings; 0: never.
        """
        self._seconds = 60 * minutes
        self._joined = jax.process_count() > 1
        self._set = self._asked = time.monotonic()
        self._ask, self._last = 0, 0

    def at(self, step: int) -> bool:
        """Whether it rings after this step; ask at every step, on all processes."""
        if not self._seconds:
            return False
        now = time.monotonic()
        rings = now - self._set >= self._seconds
        if not self._joined:
            return rings
        if step < self._ask:
            return False
        pace = max(1, step - self._last) / max(now - self._asked, 1e-3)
        mine = np.array([rings, min(max(1, round(pace * self._EVERY)), 10**6)], np.int32)
        rung, ahead = multihost_utils.broadcast_one_to_all(mine)
        self._ask, self._last, self._asked = step + int(ahead), step, now
        return bool(rung)

    def reset(self) -> None:
        """Begins to count anew."""
        self._set = time.monotonic()


class LastWords:
    """Says where to resume if this process, one of many, ends without having left the context.

    When a process is lost, JAX's runtime aborts the others, and no handler runs. So a shell waits
    at the end of a pipe: it reads a line when all is well, and nothing once the process is gone.
    """

    def __init__(self, checkpoints: Path, *, unless: tuple[type[Exception], ...] = ()):
        """Nothing yet.

        Args:
            checkpoints: the folder that holds a checkpoint a step.
            unless: errors that are reported elsewhere.
        """
        self._folder, self._unless = checkpoints, unless
        self._shell: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if jax.process_count() > 1:
            who = f"process {jax.process_index()} of {jax.process_count()}"
            self._shell = subprocess.Popen(
                ["sh", "-c", _LAST_WORDS, "sh", str(self._folder), who],
                stdin=subprocess.PIPE,
                start_new_session=True,  # it outlives signals to the process's group
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shell is not None and (error is None or isinstance(error, self._unless)):
            self._shell.communicate(b"left\n")


_LAST_WORDS = """
read -r left && exit
case $1 in gs:*)
  echo "jaxgan: $2 ended in mid-run; the same command resumes from what $1 holds" >&2; exit ;;
esac
step=$(ls "$1" 2>/dev/null | grep -x '[0-9]*' | sort -n | tail -n 1)
if [ -n "$step" ]; then now="the same command resumes from $1/$step"
else now="there is no checkpoint yet: the same command begins again"; fi
echo "jaxgan: $2 ended in mid-run; $now" >&2
"""
