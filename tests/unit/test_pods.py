"""Why a pod waits: by its status, by its events, and whether a client waits with it."""

from __future__ import annotations

import pytest

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.pods import newest_warning, wait_reason


def waiting(reason: str, message: str = "") -> KubernetesObject:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"status": {"containerStatuses": [{"name": "main", "state": state}]}}


def unscheduled(message: str) -> KubernetesObject:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"status": {"conditions": [condition]}}


def warning(reason: str, message: str, at: str, type: str = "Warning") -> KubernetesObject:
    return {"type": type, "reason": reason, "message": message, "lastTimestamp": at}


@pytest.mark.parametrize(
    ("pod", "step", "reader"),
    [
        (waiting("InvalidImageName"), True, True),
        (waiting("ErrImageNeverPull"), True, True),
        (waiting("CreateContainerConfigError"), True, True),
        (waiting("CreateContainerError"), True, True),
        (waiting("ErrImagePull"), False, False),
        (waiting("ImagePullBackOff"), False, True),
        (waiting("RunContainerError"), False, True),
        (waiting("CrashLoopBackOff"), False, True),
        (waiting("ContainerCreating"), False, False),
        (unscheduled("0/1 nodes are available: 1 Insufficient cpu."), False, False),
        (unscheduled('persistentvolumeclaim "absent" not found'), False, True),
        ({}, False, False),
    ],
)
def test_a_reason_is_permanent_for_a_steps_pod_or_for_the_reader(
    pod: KubernetesObject, step: bool, reader: bool
) -> None:
    reason = wait_reason(pod)
    assert (reason.permanent_for_step, reason.permanent_for_reader) == (step, reader)


def test_a_reason_has_the_words_of_kubernetes() -> None:
    reason = wait_reason(waiting("CreateContainerConfigError", 'secret "absent" not found'))
    assert reason.word == "CreateContainerConfigError"
    assert reason.sentence == 'CreateContainerConfigError: secret "absent" not found'
    reason = wait_reason(waiting("ContainerCreating"))
    assert (reason.word, reason.sentence) == ("", "ContainerCreating")


def test_the_newest_warning_counts_unless_it_is_harmless() -> None:
    events = [
        warning("FailedMount", "it is\n busy", "2026-01-01T00:00:02Z"),
        warning("FailedMount", "it is away", "2026-01-01T00:00:01Z"),
        warning("FailedScheduling", "no node yet", "2026-01-01T00:00:03Z"),
        warning("Scheduled", "to a node", "2026-01-01T00:00:04Z", type="Normal"),
    ]
    assert newest_warning(events).sentence == "FailedMount: it is busy"
    assert newest_warning([]).word == newest_warning([]).sentence == ""
