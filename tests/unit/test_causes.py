"""Who ended a step: the table is the docs', its exit codes are the command's, and Argo's rule for a retry is the client's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from toolkit import errors
from toolkit.backends.argo.follow.nodes import NodeAttempt
from toolkit.backends.argo.follow.outcome import attempt_from_engine
from toolkit.backends.argo.pod_failures import fault_expression, is_fault
from toolkit.backends.describer import parse_answer
from toolkit.errors import BadInput
from toolkit.runtime.shared.causes import (
    CANCELLED,
    ENDINGS,
    EXIT_CODES,
    INFRASTRUCTURE,
    PASSED_ON,
    POD_REMOVED,
    RETRIED_BY,
    SIGNALLED,
    STEP,
    STOPPED,
    blame,
    blaming,
    last_blame,
    not_blaming,
    plain_reason,
)
from toolkit.runtime.shared.protocol import FAULT
from toolkit.runtime.shared.retry_policy import may_be_retried

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"
ORDER = {policy: number for number, policy in enumerate(("OnError", "OnFailure", "Always"))}


def test_the_table_is_in_the_docs() -> None:
    section = RUNNING.read_text().partition("## Who ended a step\n")[2].partition("\n## ")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in section.splitlines() if "|" in line]
    described = {
        ending.who: (
            ending.cause,
            str(EXIT_CODES[ending.cause]),
            ", ".join(f"`{policy}`" for policy in RETRIED_BY[ending.cause]) or "never",
        )
        for ending in ENDINGS
    }
    assert {who: tuple(rest) for who, *rest in rows[2:]} == described


def test_the_exit_codes_are_those_of_the_command() -> None:
    assert EXIT_CODES == {
        CANCELLED: errors.CANCELLED,
        INFRASTRUCTURE: errors.INFRASTRUCTURE,
        STEP: errors.STEP_FAILED,
    }


@pytest.mark.parametrize(("cause", "fault"), [(INFRASTRUCTURE, True), (STEP, False)])
def test_a_policy_tries_again_what_the_table_says(cause: str, fault: bool) -> None:
    for policy in ORDER:
        assert may_be_retried(policy, 1, 1, fault) == (policy in RETRIED_BY[cause])
        assert not may_be_retried(policy, 1, 2, fault)


@pytest.mark.parametrize(
    "reason", ["ValueError: x", "toolkit runtime: x", " toolkit runtime: x", " x", "a\ntoolkit runtime: x"]
)
def test_a_step_can_say_anything_and_blames_nobody(reason: str) -> None:
    assert blame(not_blaming(reason)) == ""
    assert plain_reason(not_blaming(reason)) == reason
    assert blame(blaming("a full disk")) == plain_reason(blaming("a full disk")) == "a full disk"
    assert last_blame("toolkit runtime: one\nTraceback\ntoolkit runtime: two\n") == "two"


def test_a_pipelines_file_may_end_with_any_code() -> None:
    with pytest.raises(BadInput, match=r"ended the interpreter \(exit code 117\)"):
        parse_answer(FAULT, b"", "boom", "the image")
    with pytest.raises(BadInput, match="another version's"):
        parse_answer(FAULT, b"", blaming("the runtime speaks protocol 1"), "the image")


REMOVED = blaming(POD_REMOVED.reason)
# phase, message and exit code of a node, as Argo has them, and whose failure it was
FAILURES: list[tuple[str, str, int | None, bool]] = [
    ("Failed", "main: Error (exit code 1): ValueError: x", 1, False),
    ("Failed", "main: Error (exit code 117): the step left by sys.exit(117)", 117, False),
    ("Failed", f"main: Error (exit code 117): {blaming('a full disk')}", 117, True),
    ("Failed", f"main: Error (exit code 117): {not_blaming(blaming('a full disk'))}", 117, False),
    ("Failed", f"main: Error (exit code 1): E: (exit code 1): {blaming('x')}", 1, False),
    ("Failed", "main: Error (exit code 117)", 117, True),
    # A watchdog of the step's, and a pod that was deleted in its grace period.
    ("Failed", f"main: Error (exit code 143): {SIGNALLED.reason}", 143, False),
    ("Failed", f"main: Error (exit code 143): {PASSED_ON.reason}", 143, False),
    ("Failed", "main: Error (exit code 143): cancelled", 143, True),
    ("Failed", "main: Error (exit code 1): ValueError: cancelled", 1, False),
    ("Failed", f"main: Error (exit code 143): {REMOVED}", 143, True),
    ("Failed", f"main: Error (exit code 3): {REMOVED}\n", 3, True),
    # The runtime was ended before it could say a word, or was killed by the step.
    ("Failed", "main: Error (exit code 143)", 143, True),
    ("Failed", "main: Error (exit code 137)", 137, False),
    ("Failed", "main: OOMKilled (exit code 137)", 137, False),
    ("Failed", "main: StartError (exit code 128): failed to create task", 128, True),
    # The pod as a whole.
    ("Failed", "The node was low on resource: memory. Threshold quantity: 100Mi", 137, True),
    ("Failed", "Pod was terminated in response to imminent node shutdown.", None, True),
    ("Failed", "Pod was active on the node longer than the specified deadline", 137, False),
    ("Failed", "pod failed: wait container did not complete successfully", 0, True),
    ("Failed", "can't find failed message for pod x namespace y", None, True),
    ("Error", "pod deleted", None, True),
    ("Error", "wait: Error (exit code 1): no task result", 0, True),
]


def evaluated(expression: str, status: str, message: str, exit_code: int | None) -> bool:
    """What Argo's expression language makes of an expression, for the few words of it that ours has."""
    operand = r'"(?:[^"\\]|\\.)*"'
    python = re.sub(rf"lastRetry\.message matches ({operand})", r"bool(re.search(\1, message))", expression)
    for theirs, ours in (
        ("asInt(lastRetry.exitCode)", "exit_code"),
        ("lastRetry.", ""),
        ("||", "or"),
        ("&&", "and"),
        ("!(", "not ("),
    ):
        # Not in a quoted text.
        parts = re.split(rf"({operand})", python)
        python = "".join(part if part.startswith('"') else part.replace(theirs, ours) for part in parts)
    found = eval(
        python, {"re": re, "status": status, "message": message, "exit_code": -1 if exit_code is None else exit_code}
    )
    assert isinstance(found, bool)
    return found


@pytest.mark.parametrize(("phase", "message", "exit_code", "fault"), FAILURES)
def test_argo_tries_again_by_the_rule_that_a_client_judges_by(
    phase: str, message: str, exit_code: int | None, fault: bool
) -> None:
    assert is_fault(phase, message, exit_code) == fault
    assert evaluated(fault_expression(), phase, message, exit_code) == fault
    assert evaluated(f"!({fault_expression()})", phase, message, exit_code) != fault
    node = NodeAttempt("step", 1, phase, message, exit_code, 1.0, "id")
    record = node.verdict(None, run_was_stopped=False).record(cancelled=False)
    attempt = attempt_from_engine(1, record)
    assert (attempt.status, attempt.fault) == ("failed", fault)
    assert attempt.reason


DELETED = {"deletionTimestamp": "2026-01-02T03:04:05Z"}


def pod(message: str, metadata: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    terminated = {"exitCode": 143, "reason": "Error", "message": message}
    statuses = [{"name": "main", "state": {"terminated": terminated}}]
    return {"metadata": {"name": "pod", **metadata}, "status": {"containerStatuses": statuses}}


@pytest.mark.parametrize(
    ("message", "seen", "status", "fault", "reason"),
    [
        # The container's first process was signalled: by Kubernetes, as the runtime knows or a client sees; or by the step.
        (PASSED_ON.reason, pod(PASSED_ON.reason), "failed", False, SIGNALLED.reason),
        (PASSED_ON.reason, pod(PASSED_ON.reason, DELETED), "failed", True, "the pod was deleted"),
        # Argo's controller asked, but not because the run was shut down.
        ("cancelled", pod("cancelled"), "failed", True, STOPPED.reason),
        (REMOVED, pod(REMOVED), "failed", True, POD_REMOVED.reason),
        (REMOVED, pod(REMOVED, DELETED), "failed", True, "the pod was deleted"),
        # A fault of the runtime in a pod that is deleted afterwards.
        (blaming("a full disk"), pod(blaming("a full disk"), DELETED), "failed", True, "a full disk"),
    ],
)
def test_the_runtime_and_the_pod_tell_who_ended_a_step(
    message: str, seen: dict[str, Any], status: str, fault: bool, reason: str
) -> None:
    node = NodeAttempt("step", 1, "Failed", f"main: Error (exit code 143): {message}", 143, 1.0, "id")
    attempt = attempt_from_engine(1, node.verdict(seen, run_was_stopped=False).record(cancelled=False))
    assert (attempt.status, attempt.fault, attempt.reason) == (status, fault, reason)


def test_a_pod_that_is_deleted_in_a_run_that_was_shut_down_is_cancelled() -> None:
    """Argo deletes pods that it has not seen running, and the client those that Argo has not ended."""
    node = NodeAttempt("step", 1, "Failed", "workflow shutdown with strategy:  Terminate", None, 1.0, "id")
    record = node.verdict(pod(REMOVED, DELETED), run_was_stopped=True).record(cancelled=True)
    attempt = attempt_from_engine(1, record)
    assert (attempt.status, attempt.exit_code, attempt.fault) == ("cancelled", 143, False)
