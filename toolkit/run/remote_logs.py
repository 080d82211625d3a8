"""The output of a run's steps on a cluster while they run, from the pods themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, NotFound
from toolkit.backends.argo.follow import workflow_status
from toolkit.backends.argo.nodes import FINISHED, NODE_ANNOTATION, WORKFLOW_LABEL, Seen, attempts, has_started

_PAUSE = 0.5
_LONGEST_ARGO_LINE = 4096


def follow_logs(cluster: Cluster, run_id: str, paths: list[str]) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Path, number and output of each attempt, in the order of the plan, as they come; ends when the run has ended.

    Args:
        paths: of the steps that are wanted.
    """
    given: set[tuple[str, int]] = set()
    for path in paths:
        while True:
            workflow = cluster.find(WORKFLOWS, "workflows", run_id)
            known = [one for one in attempts(workflow or {}, paths) if one.path == path]
            over = workflow is None or workflow_status(workflow) in FINISHED
            for one in known:
                if (one.path, one.number) in given:
                    continue
                pod = _pod(cluster, run_id, one)
                if pod is not None:
                    given.add((one.path, one.number))
                    yield path, one.number, without_last_argo_line(_pieces(cluster, pod))
                elif one.finished:
                    given.add((one.path, one.number))
            if over or (known and known[-1].phase == "Succeeded" and (path, known[-1].number) in given):
                break
            time.sleep(_PAUSE)


def _pod(cluster: Cluster, run_id: str, one: Seen) -> str | None:
    """The name of an attempt's pod once its container has started."""
    for pod in cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={run_id}")["items"]:
        if pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION) == one.node and has_started(pod):
            return str(pod["metadata"]["name"])
    return None


def _pieces(cluster: Cluster, pod: str) -> Iterator[bytes]:
    try:
        yield from cluster.log(pod, "main", follow=True)
    except NotFound:
        return
    except ApiError as error:
        if error.status != 400:
            raise


def without_last_argo_line(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A pod's output as it comes, held back just as long as it may still be the line that Argo adds at the end."""
    from toolkit.backends.argo.follow import without_argo_line

    held = b""
    for data in pieces:
        held += data
        cut = held.rfind(b"\ntime=", max(0, len(held) - _LONGEST_ARGO_LINE))
        end = cut if cut >= 0 else 0 if held.startswith(b"time=") and len(held) < _LONGEST_ARGO_LINE else len(held)
        if end == len(held) and not held.endswith(b"\n"):
            # The line's beginning may be about to come.
            end = max(held.rfind(b"\n"), 0) if len(held) < 65536 and b"\n" in held[-8:] else end
        if end:
            yield held[:end]
            held = held[end:]
    rest = without_argo_line(held)
    if rest:
        yield rest
