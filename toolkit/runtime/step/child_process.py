"""The forked child: its output is passed on while it runs, and it is ended with all that it started."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from ..shared.causes import ASKED, CLIENT_GONE, OUT_OF_TIME, PASSED_ON, POD_REMOVED, SIGNALLED, STOPPED
from ..shared.processes import status as process_status
from ..shared.termination import leave_message, report
from .outcome import AttemptOutcome
from .stop_requests import FIRST_PROCESS, OUTSIDE, RUNNER, StopRequests, ignore_requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from ..shared.causes import Ending
    from .output import Output
    from .terminal import Terminal

_CHUNK = 1 << 16
_SAME_INSTANT = 0.02
"""Seconds within which a signal that was sent to all processes has reached each of them."""
_AFTER_EXIT = 0.5
"""Seconds in which output may still arrive after the child's end, from processes that it left running."""
TIMED_OUT = 124
"""The exit code of a child that ended with 0 after its time limit, as of the command ``timeout``."""


class Witness:
    """A process that only waits. When SIGTERM ends it, every process of the container was sent SIGTERM.

    Argo's program sends SIGTERM to all processes at once. If the supervisor then passed it on as well, the step would be
    asked to stop twice.
    """

    def __init__(self) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                ignore_requests()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.closerange(0, 256)
                while True:
                    signal.pause()
            finally:
                os._exit(0)

    def saw_term(self) -> bool:
        """Whether it has been sent SIGTERM, also where the signal is still pending."""
        time.sleep(_SAME_INSTANT)
        fields = process_status(self._pid)
        if fields is None:
            return True
        pending = int(fields[b"ShdPnd"], 16) | int(fields[b"SigPnd"], 16)
        return fields[b"State"][:1] in b"ZX" or bool(pending >> (signal.SIGTERM - 1) & 1)

    def end(self) -> None:
        try:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


class Child:
    """A forked child in a session of its own.

    Args:
        body: runs in the child with the descriptor for its result; returns its exit code.
        output: takes what the child writes to either stream.
        client: a descriptor that reaches its end when the client is gone, without which the run can't continue; None
            where no client has to stay.
        parent: the id of the client's process where the step is a plain process; None in a container.
        terminal: for a debugger in the step; None where there is none.
        witness: tells whether a SIGTERM was sent to all processes; needed where another program is the first process.

    Attributes:
        result: what the child has written to the result's descriptor so far.
    """

    def __init__(
        self,
        body: Callable[[int], int],
        output: Output,
        client: Optional[int] = None,
        parent: Optional[int] = None,
        witness: Optional[Witness] = None,
        terminal: Optional[Terminal] = None,
    ) -> None:
        self._terminal = terminal
        self._output = output
        self._witness = witness
        self._client = client
        self.result = bytearray()
        self._client_gone = False
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._requests = StopRequests(wake, parent)
        self._out, out = os.pipe()
        self._back, back = os.pipe()
        unneeded = terminal.unneeded if terminal is not None else []
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self._requests.become_child()
                _become_child(out, [self._wake, wake, self._out, self._back, *unneeded])
                code = body(back)
            finally:
                _leave(code)
        self._requests.listen(self.pid)
        os.close(out)
        os.close(back)
        if terminal is not None:
            terminal.child_is_started()

    @property
    def container_is_stopped(self) -> bool:
        """Whether whoever runs the container, or somebody outside, has asked it to stop. A process of the step may not have."""
        requests = self._requests
        return requests.came_from(RUNNER) or requests.came_from(OUTSIDE) or requests.pod_is_removed or self._client_gone

    def _ending(self) -> Optional[Ending]:
        """Who wants the child to end; None while nobody does.

        A request that came through the container's first process may be anybody's.
        """
        requests = self._requests
        if requests.came_from(RUNNER):
            return ASKED
        if not requests.count:
            return CLIENT_GONE if self._client_gone else None
        if requests.pod_is_removed:
            return POD_REMOVED
        if requests.came_from(OUTSIDE):
            return STOPPED
        return PASSED_ON if requests.came_from(FIRST_PROCESS) else SIGNALLED

    def wait(self, time_limit: Optional[float], grace: float) -> AttemptOutcome:
        """Waits for the child's end and returns how it ended.

        Args:
            time_limit: seconds after which it is ended; None is no limit. grace: seconds between SIGTERM and SIGKILL.
        """
        began = time.monotonic()
        ending: Optional[float] = None
        over_time = False
        poll = select.poll()
        terminal = self._terminal
        for descriptor in (
            self._wake,
            self._out,
            self._back,
            self._client,
            *(terminal.descriptors if terminal else ()),
        ):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        status = None
        while status is None:
            now = time.monotonic()
            # Nobody is hurried at a prompt.
            limit = time_limit
            if terminal is not None and limit is not None:
                limit = None if terminal.is_held else limit + terminal.held()
            if not over_time and limit is not None and now - began >= limit:
                over_time = True
            by = self._ending()
            if ending is None and (by is not None or over_time):
                ending = now + grace
                if over_time or not self._has_been_told():
                    self._signal_group(signal.SIGTERM)
                if by is not None:
                    # The engine's patience may end before this process's.
                    _leave_words(by)
            elif ending is not None and (now >= ending or (self._requests.count > 1 and self._witness is None)):
                self._signal_group(signal.SIGKILL)
                ending = now + 1.0
            self._pass_on(poll, self._poll_timeout(began, limit, ending))
            status = self._exit_status()
        self._requests.end()
        self._drain(poll)
        if terminal is not None:
            terminal.close()
        self._signal_group(signal.SIGKILL)
        if self._witness is not None:
            self._witness.end()
        return self._outcome(status, over_time, time_limit)

    def _has_been_told(self) -> bool:
        """Whether the container's first process has passed the request on to the child as well."""
        by_first_process = self._requests.came_from(FIRST_PROCESS)
        return by_first_process and self._witness is not None and self._witness.saw_term()

    def _poll_timeout(self, began: float, time_limit: Optional[float], ending: Optional[float]) -> float:
        """Milliseconds until the time limit or the grace period is over; at most a minute."""
        deadlines = [began + time_limit] if time_limit is not None and ending is None else []
        deadlines += [ending] if ending is not None else []
        left = min(deadlines) - time.monotonic() if deadlines else 60.0
        return max(1.0, min(left, 60.0) * 1000)

    def _pass_on(self, poll: select.poll, milliseconds: float) -> bool:
        """Passes on what the pipes hold now; returns whether the child had written anything."""
        passed_on = False
        for descriptor, _ in poll.poll(milliseconds):
            if self._terminal is not None and descriptor in self._terminal.descriptors:
                passed_on |= self._terminal.handle(descriptor, poll, self._drain_output)
                continue
            data = os.read(descriptor, _CHUNK)
            if descriptor == self._wake:
                continue
            if not data:
                poll.unregister(descriptor)
                self._client_gone |= descriptor == self._client
            elif descriptor == self._client:
                continue
            elif descriptor == self._out:
                self._output.feed(data)
                passed_on = True
            else:
                self.result += data
                passed_on = True
        return passed_on

    def _drain_output(self) -> None:
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while poll.poll(0):
            data = os.read(self._out, _CHUNK)
            if not data:
                return
            self._output.feed(data)

    def _exit_status(self) -> Optional[int]:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None

    def _drain(self, poll: select.poll) -> None:
        """Passes on what is still in the pipes; ends in time, so that a process which the child left running delays nothing."""
        until = time.monotonic() + _AFTER_EXIT
        while time.monotonic() < until:
            if not self._pass_on(poll, 0):
                break

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def _outcome(self, status: int, over_time: bool, time_limit: Optional[float]) -> AttemptOutcome:
        if os.WIFSIGNALED(status):
            outcome = AttemptOutcome(128 + os.WTERMSIG(status))
            outcome.signal = os.WTERMSIG(status)
        else:
            outcome = AttemptOutcome(os.WEXITSTATUS(status))
        if over_time:
            outcome.ending = OUT_OF_TIME
            outcome.fail(outcome.exit_code or TIMED_OUT, f"it ran longer than its time limit of {time_limit:g} s")
        elif (by := self._ending()) is not None:
            outcome.ending = by
            outcome.fail(outcome.exit_code or 128 + signal.SIGTERM, by.reason)
        return outcome


def _leave_words(by: Ending) -> None:
    if by.fault:
        report(by.reason)
    else:
        leave_message(by.reason)


def _become_child(out: int, unneeded: list[int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in unneeded:
        os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    for descriptor in (nothing, out):
        if descriptor > 2:
            os.close(descriptor)
    # A pipe would be buffered by the block: a step that is killed would lose its last lines.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _leave(code: int) -> None:
    """Ends as a script ends, with the body's exit code: threads are waited for and atexit functions run."""
    error = sys.exc_info()[1]
    if error is not None and not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
    raise SystemExit(code)
