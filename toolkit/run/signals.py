"""What Ctrl-C and the signals that ask a process to stop do to a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from toolkit.backends.scheduler import Cancel
from toolkit.report.streams import last_words, wait_no_longer


@contextmanager
def cancel_on_signals(cancel: Cancel, signals: Sequence[signal.Signals], remains: Callable[[], str]) -> Iterator[None]:
    """In the ``with`` block the first signal cancels the run and the second kills it; the third ends this process at once.

    A hang-up that is ignored, as under ``nohup``, stays so.

    Args:
        remains: returns the names of what may then be left behind.
    """

    def on_signal(*_: object) -> None:
        cancel()
        wait_no_longer()
        if cancel.count >= 3:
            last_words(f"toolkit: ended at once; what may be left behind: {remains()}")
            os._exit(130)

    heeded = [each for each in signals if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, on_signal) for number in heeded}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
