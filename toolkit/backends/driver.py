"""The client that drives a run on this machine: the lock that it holds meanwhile, and how run.json and containers name it.

Steps can write a run's records, and not the private state. So whether a client still drives a run, and which process it is, is
asked of the lock. The record is asked only where there is no lock of the run, and never for a process to signal.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.records import encode, parse
from toolkit.runtime.shared.run_files import RUN_ID

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import RunRecord

_LABEL = "dev.toolkit.driver-"
_LOCK = "lock"
_LONGEST_LOOK = 2.0
"""Seconds in which others may look at a lock, and its holder may write its name into it."""


class Client(NamedTuple):
    """A client: its machine and its process, that one by its id and by when it was started, because ids are used again."""

    host: str
    pid: int
    started: str


def this_client() -> Client:
    """This process."""
    return Client(socket.gethostname(), os.getpid(), _start_of(os.getpid()))


def client_of(document: Mapping[str, object]) -> Client | None:
    """The client that a lock or a record names; None where it names none, as one with a process id of -1 does."""
    host, pid, started = (document.get(key) for key in Client._fields)
    if not isinstance(host, str) or not isinstance(started, str) or not isinstance(pid, int):
        return None
    return Client(host, pid, started) if pid > 0 and started else None


def is_alive(client: Client) -> bool:
    """Whether a client still runs; of one on another machine this can't be known, and it is taken to run."""
    return client.host != socket.gethostname() or _start_of(client.pid) == client.started


# --- labels ---------------------------------------------------------------------------------------------------------


def labels(project: Project) -> dict[str, str]:
    """The labels of every container of a project: a later command sees from them which client had started it."""
    named = {_LABEL + key: str(value) for key, value in this_client()._asdict().items()}
    return {"dev.toolkit.project": str(project.home), **named}


def client_of_labels(container: Mapping[str, str]) -> Client | None:
    """The client that a container's labels name; None where they name none."""
    named: dict[str, object] = {key: container.get(_LABEL + key, "") for key in Client._fields}
    try:
        return client_of({**named, "pid": int(str(named["pid"]))})
    except ValueError:
        return None


# --- the lock -------------------------------------------------------------------------------------------------------


def client_folder(state: Path, run_id: str) -> Path:
    """The folder of what this machine keeps of a run for itself, on no volume; it may not exist.

    Args:
        state: the private state, or of a run on a cluster the folder of the cluster's mirror.
    """
    return state / "clients" / run_id


def make_client_folder(state: Path, run_id: str) -> Path:
    """The same, made where it is missing.

    Raises:
        OSError: it can't be made.
    """
    folder = client_folder(state, run_id)
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def driving(project: Project, run_id: str) -> Iterator[None]:
    """Holds the lock of a run while this process drives it.

    Raises:
        BadInput: another client drives it. Infrastructure: the private state can't be written.
    """
    lock = client_folder(project.state, run_id) / _LOCK
    try:
        make_client_folder(project.state, run_id)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Infrastructure(f"{lock} can't be written: {error.strerror}") from None
    try:
        _take(descriptor, run_id)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, encode(this_client()._asdict()), 0)
        except OSError as error:
            raise Infrastructure(f"{lock} can't be written: {error.strerror}") from None
        yield
    finally:
        # Closed and not removed: another client may have opened it to wait for it.
        os.close(descriptor)


def _take(descriptor: int, run_id: str) -> None:
    until = time.monotonic() + _LONGEST_LOOK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            is_taken = time.monotonic() > until
        except OSError:
            # This file system has no locks. Then the name of a process that runs is one.
            if not _is_named(_read(descriptor)):
                return
            is_taken = True
        if is_taken or _is_named(_read(descriptor)):
            raise BadInput(f"another client drives the run {run_id}")
        # Whoever looks at the lock holds it for an instant.
        time.sleep(0.02)


def _is_named(client: Client | None) -> bool:
    return client is not None and is_alive(client)


def _look(project: Project, run_id: str) -> tuple[bool | None, Client | None]:
    """Whether a client holds the lock of a run, and which one; None where there is no lock that could be asked."""
    try:
        descriptor = os.open(client_folder(project.state, run_id) / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None, None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_free = True
        except BlockingIOError:
            return True, _read(descriptor)
        except OSError:
            is_free = False
        client = _read(descriptor)
        # A lock that is free here may be held on another machine, where the file system shares no locks.
        elsewhere = client is not None and client.host != socket.gethostname()
        return (elsewhere if is_free else _is_named(client)), client
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Client | None:
    try:
        return client_of(parse(os.pread(descriptor, 4096, 0)))
    except (OSError, ValueError):
        return None


def is_driven(project: Project) -> Callable[[RunRecord], bool]:
    """Whether the client of a run of this machine still drives it, given the run's record.

    A run of docker-compose names no client, and may always continue.
    """

    def is_run_driven(record: RunRecord) -> bool:
        held = _look(project, record["run_id"])[0]
        if held is not None:
            return held
        if record.get("driver", {}) is None:
            return True
        return _is_named(client_of(record.get("driver") or {}))

    return is_run_driven


def holds_lock(project: Project, run_id: str) -> bool:
    """Whether a client holds the lock of a run."""
    return _look(project, run_id)[0] is True


def driven_runs(project: Project) -> list[str]:
    """The ids of the runs whose client runs on this machine now, whatever the runs' records say."""
    try:
        names = sorted(os.listdir(project.state / "clients"))
    except OSError:
        return []
    found = ((name, *_look(project, name)) for name in names if RUN_ID.fullmatch(name))
    host = socket.gethostname()
    return [name for name, held, client in found if held and (client is None or client.host == host)]


def ask_to_stop(project: Project, run_id: str) -> bool:
    """Sends SIGTERM to the process that holds the lock of a run; returns whether there was one.

    Raises:
        BadInput: it is on another machine. Infrastructure: it can't be signalled.
    """
    until = time.monotonic() + _LONGEST_LOOK
    while True:
        held, client = _look(project, run_id)
        if not held:
            return False
        if client is not None and client.host != socket.gethostname():
            raise BadInput(f"the client of the run {run_id} is on {client.host}: cancel the run there")
        try:
            if client is not None and _signal(client):
                return True
        except OSError as error:
            raise Infrastructure(f"the client of the run {run_id} can't be signalled: {error.strerror}") from None
        if time.monotonic() > until:
            raise Infrastructure(f"the client of the run {run_id} holds its lock, and is no process of this machine")
        # It has just taken the lock and not written its name, or has just ended.
        time.sleep(0.02)


def _signal(client: Client) -> bool:
    """Sends SIGTERM to a client; returns whether it runs.

    Raises:
        OSError: it may not be signalled.
    """
    try:
        # The descriptor stays that of this process, also when its id is given to another one.
        process = os.pidfd_open(client.pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):
        # Not on this system.
        if not is_alive(client):
            return False
        os.kill(client.pid, signal.SIGTERM)
        return True
    try:
        if not is_alive(client):
            return False
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True


def _start_of(pid: int) -> str:
    """The kernel's start time of a process, in ticks since boot; empty where there is no such process.

    Without /proc it is ``running`` for every process that there is.
    """
    try:
        # The name of the program, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # A process that has ended has its entry until its parent looks.
        return fields[19] if fields[0] not in ("Z", "X") else ""
    except OSError:
        pass
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
