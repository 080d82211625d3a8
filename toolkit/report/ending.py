"""How a command ends: what went wrong as one sentence on standard error, and an exit code. The same for a script's run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from toolkit import errors
from toolkit.report.streams import ReaderLeft, wait_no_longer


def exit_code_of(work: Callable[[], int]) -> int:
    """Does the work of a command; returns its exit code.

    The user sees errors as sentences. Only a fault of toolkit's own has a traceback, and it is no step's failure either.
    """
    try:
        return work()
    except errors.ToolkitError as error:
        sentence, code = str(error), error.exit_code
    except KeyboardInterrupt:
        wait_no_longer()
        sentence, code = "cancelled", errors.CANCELLED
    except ReaderLeft:
        return errors.READER_LEFT
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        sentence, code = f"{named}{error.strerror or error}", errors.INFRASTRUCTURE
    except Exception:
        import traceback

        traceback.print_exc()
        return errors.INFRASTRUCTURE
    print(f"toolkit: {sentence}", file=sys.stderr, flush=True)
    return code
