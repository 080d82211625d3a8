"""The requests to stop that the supervisor gets: signals, each with who sent it.

A step is ended through its supervisor by whoever runs it, by somebody else, or by one of its own processes, and all of them send
the same signals. Therefore the signals are blocked while the child runs, and a thread takes them with the id of their sender. Where
that does not tell who it was, the engine tells the client. Argo's controller and Kubernetes run a command in the container
(``signals.py``), which sends two signals that nobody else uses.
"""

from __future__ import annotations

import _thread
import os
import signal

from ..shared.causes import POD_REMOVED, STOPPED
from ..shared.processes import parent_and_session
from ..shared.termination import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""What would end a process that has no handler for it, and what an engine sends to stop a container: SIGTERM, unless an image says
otherwise."""
_REAL_TIME: int = getattr(signal, "SIGRTMIN", 0)
ASKED_SIGNAL = _REAL_TIME + 11 if _REAL_TIME else 0
"""Argo's controller asks the step to stop. 0 where there are no such signals."""
REMOVED_SIGNAL = _REAL_TIME + 12 if _REAL_TIME else 0
"""Kubernetes is about to stop the container, because its pod is removed. SIGTERM follows. 0 where there are no such signals."""
_SIGNALS = frozenset((*_ENDING, *((ASKED_SIGNAL, REMOVED_SIGNAL) if _REAL_TIME else ())))

RUNNER, FIRST_PROCESS, OUTSIDE, STEP = "runner", "first process", "outside", "step"
"""Who sent a signal: the client or Argo's controller, who run the step; the container's first process, which passes on what it was
sent, by whomever; somebody outside; a process of the step."""


class _Removal:
    announced = False
    """Whether Kubernetes has said that it removes the pod."""


def leave_on_request() -> None:
    """Until a child is started, a request to stop ends this process at once: there is nothing else to end."""
    _handle(_leave)


def ignore_requests() -> None:
    """For a process of ours that is no part of the step."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _handle(handler: Callable[[int, object], object]) -> None:
    for number in _SIGNALS:
        # A signal that is ignored in this process is so in the step's as well (nohup).
        if number in (signal.SIGTERM, signal.SIGINT) or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, _: object) -> None:
    if number == REMOVED_SIGNAL:
        _Removal.announced = True
        return
    # No code of the step runs yet. Where the run was cancelled, its client knows that, and these words don't count.
    report((POD_REMOVED if _Removal.announced else STOPPED).reason)
    os._exit(128 + (signal.SIGTERM if number == ASKED_SIGNAL else number))


class StopRequests:
    """The requests to stop during the life of one child.

    Between the making of this and :meth:`end` the signals are blocked, so that no code but :meth:`_take_all` handles them.

    Args:
        wake: a descriptor that is written to at each request. client: the id of the process that runs the step as a plain
            process; None in a container.
    """

    def __init__(self, wake: int, client: Optional[int]) -> None:
        self._wake = wake
        self._client = client
        self._child = 0
        self._thread = 0
        self._over = _thread.allocate_lock()
        self._senders: list[str] = []
        self._unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def become_child(self) -> None:
        """In the child: the signals have their ordinary effect again."""
        for number in _SIGNALS:
            if number == signal.SIGINT:
                signal.signal(number, signal.default_int_handler)
            elif signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._unblocked)

    def listen(self, child: int) -> None:
        """Takes requests from now on; ``child`` is the id of the child's process, and of its session."""
        self._child = child
        if hasattr(signal, "sigwaitinfo"):
            self._over.acquire()
            self._thread = _thread.start_new_thread(self._take_all, ())
        else:
            self._handle_late_ones()

    def end(self) -> None:
        """Takes what has come by now, and stops the thread, because the supervisor forks again."""
        if self._thread:
            signal.pthread_kill(self._thread, signal.SIGTERM)
            self._over.acquire()
            self._handle_late_ones()

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self._senders)

    def came_from(self, sender: str) -> bool:
        return sender in self._senders

    @property
    def pod_is_removed(self) -> bool:
        """Whether Kubernetes has said that it removes the pod."""
        return _Removal.announced

    def _handle_late_ones(self) -> None:
        """Notes from now on only that there was a request: no child is left to end. Python has no senders on macOS."""
        _handle(self._note_late_one)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._unblocked)

    def _note_late_one(self, number: int, _: object) -> None:
        if number == REMOVED_SIGNAL:
            _Removal.announced = True
        else:
            self._add(RUNNER if number == ASKED_SIGNAL else FIRST_PROCESS)

    def _add(self, sender: str) -> None:
        self._senders.append(sender)
        try:
            os.write(self._wake, b"\0")
        except BlockingIOError:
            pass

    def _take_all(self) -> None:
        """Takes signals until this process sends itself one, and then those that are still pending."""
        last = False
        try:
            while True:
                received = signal.sigtimedwait(_SIGNALS, 0) if last else signal.sigwaitinfo(_SIGNALS)
                if received is None:
                    return
                if received.si_pid == os.getpid():
                    last = True
                elif received.si_signo == REMOVED_SIGNAL:
                    _Removal.announced = True
                else:
                    self._add(self._sender(received))
        finally:
            self._over.release()

    def _sender(self, received: signal.struct_siginfo) -> str:
        if received.si_signo == ASKED_SIGNAL or received.si_pid == self._client:
            return RUNNER
        if received.si_code > 0 or received.si_pid == 0:
            # The kernel, for a terminal; or a process that this container does not see.
            return OUTSIDE
        if received.si_pid == 1 and self._client is None:
            return FIRST_PROCESS
        return STEP if self._is_of_step(received.si_pid) else OUTSIDE

    def _is_of_step(self, pid: int) -> bool:
        """Whether a process belongs to the step: it descends from the child, or is of the child's session.

        A process that has ended counts as the step's: nobody else is expected to know this process's id.
        """
        while pid > 1:
            found = parent_and_session(pid)
            if found is None:
                return True
            parent, session = found
            if self._child in (pid, session) or parent == os.getpid():
                return True
            pid = parent
        # In a container a process whose parent has ended is the first process's, and one that was sent in has no parent here.
        return pid == 1 and self._client is None
