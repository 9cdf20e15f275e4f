"""Processes meet before JAX joins them, so that what is wrong is told at once, to all of them.

JAX waits five minutes for a process that was counted otherwise, or that found another program at
the port. So process 0 first listens there itself, in lines of JSON: each of the others says who it
is, process 0 answers at once, and tells all together what is wrong, or that nothing is. Then the
port is JAX's.
"""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from jaxgan.errors import UserError, listed

_ANSWERS_WITHIN = 5.0
"""Seconds within which process 0 answers whoever connects."""

_LINGERS = 3.0
"""Seconds that process 0 stays to tell the others what is wrong."""

_LONGEST = 4096
"""Bytes of a line."""

_MARK = "jaxgan"


def meet(
    coordinator: tuple[str, int],
    processes: int,
    process: int,
    versions: Mapping[str, str],
    *,
    within: float = 300.0,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Returns when all processes are there and agree on how many they are, and on versions.

    Args:
        coordinator: where process 0 listens, host and port.
        processes: how many there are.
        process: which of them this one is.
        versions: of the packages that all need alike.
        within: seconds to wait for the others.
        say: takes a line while it waits.

    Raises:
        UserError: on all that are there: the port is in use, somebody differs, is missing or is
            there twice.
    """
    mine = {_MARK: 1, "process": process, "processes": processes, "versions": dict(versions)}
    until = time.monotonic() + within
    if process == 0:
        _host(coordinator[1], mine, until, say)
    else:
        _join(coordinator, mine, until, say)


def _host(port: int, mine: Mapping[str, Any], until: float, say: Callable[[str], None]) -> None:
    try:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"--coordinator: port {port} of this machine cannot be used "
            f"({os.strerror(error.errno or 0)}): choose another, for all processes"
        ) from error
    found: dict[int, socket.socket] = {}
    with server, contextlib.ExitStack() as open_ones:
        wrong = _gather(server, mine, found, open_ones, until, say)
        for connection in found.values():
            _send(connection, {_MARK: 1, "wrong": wrong})
        if wrong:
            _gather(server, mine, found, open_ones, time.monotonic() + _LINGERS, say, wrong)
            raise UserError(wrong)
        for connection in found.values():  # the one that closes first keeps the port for a while
            with contextlib.suppress(OSError):
                connection.settimeout(_ANSWERS_WITHIN)
                connection.recv(1)


def _gather(
    server: socket.socket,
    mine: Mapping[str, Any],
    found: dict[int, socket.socket],
    open_ones: contextlib.ExitStack,
    until: float,
    say: Callable[[str], None],
    wrong: str = "",
) -> str:
    """Waits until all are there or something is wrong; what is wrong.

    Where that is known already, it is told whoever still comes.
    """
    tell_at = time.monotonic() + _ANSWERS_WITHIN
    while len(found) < mine["processes"] - 1:
        missing = sorted(set(range(1, mine["processes"])) - set(found))
        now = time.monotonic()
        if now > until:
            return wrong or f"process {listed(missing, 8)} of {mine['processes']} did not come"
        if now > tell_at and not wrong:
            tell_at = until
            say(f"waiting for process {listed(missing, 8)} of {mine['processes']}")
        if not select.select([server], [], [], min(0.5, max(until - now, 0)))[0]:
            continue
        connection = open_ones.enter_context(server.accept()[0])
        _send(connection, {_MARK: 1})
        theirs = _receive(connection, 5.0)
        if theirs is None:
            continue  # somebody else's
        said = wrong or _difference(mine, theirs, found)
        if said:
            _send(connection, {_MARK: 1, "wrong": said})
        number = theirs.get("process")
        if isinstance(number, int) and number not in found:
            found[number] = connection
        if said and not wrong:
            return said
    return wrong


def _difference(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], found: Mapping[int, Any]
) -> str:
    number, count = theirs.get("process"), theirs.get("processes")
    if count != mine["processes"]:
        return (
            f"process {number} was given --processes {count}, process 0 {mine['processes']}: give "
            "all the same"
        )
    if number in found or number not in range(1, mine["processes"]):
        return f"--process {number} was given twice: count them from 0"
    for name, version in mine["versions"].items():
        has = theirs.get("versions", {}).get(name)
        if has != version:
            return (
                f"process {number} has {name} {has}, process 0 {version}: install the same on all "
                "machines"
            )
    return ""


def _join(
    coordinator: tuple[str, int],
    mine: Mapping[str, Any],
    until: float,
    say: Callable[[str], None],
) -> None:
    host, port = coordinator
    where, tell_at = f"{host}:{port}", time.monotonic() + _ANSWERS_WITHIN
    connection = None
    while connection is None:
        try:
            connection = socket.create_connection((host, port), timeout=_ANSWERS_WITHIN)
        except OSError as error:
            now = time.monotonic()
            if now > until:
                raise UserError(
                    f"--coordinator {where}: process 0 is not there ({error.strerror or error})"
                ) from error
            if now > tell_at:
                tell_at = until
                say(f"waiting for process 0 at {where} ({error.strerror or error})")
            time.sleep(0.2)
    with connection:
        _send(connection, mine)
        if _receive(connection, _ANSWERS_WITHIN) is None:
            raise UserError(
                f"--coordinator {where}: what listens there is no process 0 of jaxgan: choose "
                "another port, for all processes"
            )
        answer = _receive(connection, max(until - time.monotonic(), 1.0))
    if answer is None:
        raise UserError(f"--coordinator {where}: process 0 has ended: see what it says")
    if answer.get("wrong"):
        raise UserError(str(answer["wrong"]))


def _send(connection: socket.socket, facts: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(facts).encode() + b"\n")


def _receive(connection: socket.socket, within: float) -> dict[str, Any] | None:
    """A line of the other side; None where there is none, or another program's."""
    line = b""
    until = time.monotonic() + within
    try:
        while not line.endswith(b"\n"):
            connection.settimeout(max(until - time.monotonic(), 0.01))
            byte = connection.recv(1)  # so that the next line stays where it is
            if not byte or len(line) > _LONGEST:
                return None
            line += byte
        facts = json.loads(line)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get(_MARK) == 1 else None
