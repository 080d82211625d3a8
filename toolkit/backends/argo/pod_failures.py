"""Whose failure it was that a pod failed: the rule by which Argo tries a step again and a client judges it, written twice. Pure.

Both have the same three things to go by: the node's phase, its message and the exit code. Argo knows two kinds of failure, but its
own word for one (Failed or Error) is not about who caused it: of a pod that was deleted in its grace period it says Failed. So
the words decide that the runtime has left as the container's last ones (``toolkit/runtime/shared/causes.py``).
"""

from __future__ import annotations

import re

from toolkit.runtime.shared.causes import ASKED, RUNTIME_WORDS
from toolkit.runtime.shared.protocol import FAULT

NO_EXIT_CODE = -1
"""Argo's exit code of a pod whose step has none: a node refused it, or lost it."""
POD_DEADLINE = "Pod was active on the node longer "
"""How Kubernetes' message of a pod begins that was over its time limit."""
_STARTED = rf"^(main: |{POD_DEADLINE})"
"""How a message begins that is about the step's container, or about the time limit that Kubernetes has for its pod. Any other is
about the pod, or about a container of Argo's."""
NEVER_RAN_REASONS = ("StartError", "ContainerCannotRun", "ContainerStatusUnknown")
"""Kubernetes' reasons of a container that did not run. It makes up an exit code for each."""
_BLAMES_OTHERS = (
    rf"^main: (({'|'.join(NEVER_RAN_REASONS)}) |[A-Za-z]+ \(exit code [0-9]+\): ({RUNTIME_WORDS}|{ASKED.reason}$))"
)
"""Of a run that was shut down no step is tried again, so whoever was asked to stop is so in a run that continues."""
_SILENT = tuple(f"main: Error (exit code {code})" for code in (FAULT, 143))
"""Messages of a runtime that ended without a word. It ends so by SIGTERM alone, before it can handle any."""


def is_fault(phase: str, message: str, exit_code: int | None) -> bool:
    """Whether the infrastructure, and not the step, is why a pod failed.

    Args:
        phase: the node's, Failed or Error. message: the node's. exit_code: of the step's container; None where there is none.
    """
    return (
        phase == "Error"
        or exit_code in (None, NO_EXIT_CODE, 0)
        or not re.search(_STARTED, message)
        or bool(re.search(_BLAMES_OTHERS, message))
        or message in _SILENT
    )


def fault_expression() -> str:
    """:func:`is_fault` of the last attempt, in the language of a retryStrategy's expressions."""
    silent = ", ".join(map(_quote, _SILENT))
    return (
        'lastRetry.status == "Error"'
        f" || asInt(lastRetry.exitCode) in [{NO_EXIT_CODE}, 0]"
        f" || !(lastRetry.message matches {_quote(_STARTED)})"
        f" || lastRetry.message matches {_quote(_BLAMES_OTHERS)}"
        f" || lastRetry.message in [{silent}]"
    )


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\") + '"'
