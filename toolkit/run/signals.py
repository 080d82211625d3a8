"""What Ctrl-C and the signals that ask a process to stop do to a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from toolkit.backends.scheduler import Cancel


@contextmanager
def cancel_on_signals(cancel: Cancel, signals: Sequence[signal.Signals], remains: Callable[[], str]) -> Iterator[None]:
    """In the ``with`` block the first signal cancels the run and the second kills it; the third ends this process at once.

    Args:
        remains: returns the names of what may then be left behind.
    """

    def on_signal(*_: object) -> None:
        cancel()
        if cancel.count >= 3:
            os.write(2, f"toolkit: ended at once; what may be left behind: {remains()}\n".encode())
            os._exit(130)

    handlers = {number: signal.signal(number, on_signal) for number in signals}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
