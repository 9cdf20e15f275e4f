"""How processes meet: each is a thread here, for nothing of JAX is in it."""

import socket
import threading
import time

import pytest

from jaxgan import UserError
from jaxgan.parallel import meeting
from jaxgan.parallel.meeting import meet

VERSIONS = {"jaxgan": "1", "jax": "2"}


@pytest.fixture
def port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def told(port, *calls, within=20.0):
    """What each of (process, processes, versions, seconds to come later) is told; "": all well."""
    found = [None] * len(calls)

    def one(index, process, processes, versions, later):
        time.sleep(later)
        try:
            meet(("127.0.0.1", port), processes, process, versions, within=within)
            found[index] = ""
        except UserError as error:
            found[index] = str(error)

    threads = [
        threading.Thread(target=one, args=(index, *call)) for index, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_processes_that_agree_meet_in_any_order(port):
    calls = [(2, 3, VERSIONS, 0), (0, 3, VERSIONS, 0.3), (1, 3, VERSIONS, 0.6)]
    assert told(port, *calls) == ["", "", ""]
    with socket.create_server(("127.0.0.1", port)):
        pass  # and the port is free for JAX


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (
            [(0, 3, VERSIONS, 0), (1, 2, VERSIONS, 0), (2, 3, VERSIONS, 1)],
            "given --processes 2, pr",
        ),
        ([(0, 3, VERSIONS, 0), (1, 3, VERSIONS, 0), (1, 3, VERSIONS, 0)], "1 was given twice"),
        (
            [(0, 3, VERSIONS, 0), (1, 3, {**VERSIONS, "jax": "3"}, 0), (2, 3, VERSIONS, 1)],
            "process 1 has jax 3, process 0 2",
        ),
    ],
)
def test_what_differs_is_told_to_all_within_seconds(port, calls, message, monkeypatch):
    monkeypatch.setattr(meeting, "_LINGERS", 2.0)
    begin = time.monotonic()
    for said in told(port, *calls):
        assert message in said
    assert time.monotonic() - begin < 10


def test_a_port_in_use_is_told_to_all(port, monkeypatch):
    monkeypatch.setattr(meeting, "_ANSWERS_WITHIN", 0.5)
    with socket.create_server(("", port)):
        first, second = told(port, (0, 2, VERSIONS, 0), (1, 2, VERSIONS, 0))
    assert f"port {port} of this machine cannot be used (Address already in use)" in first
    assert "what listens there is no process 0 of jaxgan" in second


def test_who_does_not_come_is_named(port, monkeypatch):
    monkeypatch.setattr(meeting, "_LINGERS", 0.2)
    assert told(port, (0, 3, VERSIONS, 0), within=0.5) == ["process 1, 2 of 3 did not come"]
    (said,) = told(port, (1, 3, VERSIONS, 0), within=0.5)
    assert "process 0 is not there (Connection refused)" in said


def test_strangers_at_the_port_do_not_disturb(port):
    def knock():
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"[" * 9000, b""):
            for _ in range(100):
                try:
                    with socket.create_connection(("127.0.0.1", port)) as stranger:
                        stranger.sendall(text)
                    break
                except OSError:
                    time.sleep(0.02)

    threading.Thread(target=knock).start()
    assert told(port, (0, 2, VERSIONS, 0), (1, 2, VERSIONS, 1)) == ["", ""]
