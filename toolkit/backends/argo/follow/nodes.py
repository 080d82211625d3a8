"""Reads what Argo says of a Workflow's nodes: attempts, verdicts, composites and handlers. Pure."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.dag import FAILS, handler_task
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.compile.pod import PATH_INPUT, plain, position_name
from toolkit.backends.argo.pods import main_container_status, removal_reason
from toolkit.backends.launcher import Verdict
from toolkit.runtime.shared.protocol import FAULT
from toolkit.runtime.shared.tree import ANY, GROUP, HANDLER, depth, fill

FINISHED = ("Succeeded", "Failed", "Error")
_RETRIED = re.compile(r"\((\d+)\)$")
_EXIT_CODE = re.compile(r"\(exit code (-?\d+)\)(?:: )?")
_OUT_OF_MEMORY = re.compile(r"(main: )?OOMKilled")
_CANCELLED = "cancelled"
"""The runtime's last words when it was told to end."""
_ERROR = "error: "
"""What a control value begins with that is none."""
_CONTROL = re.compile(r"[ca]\d+")
_SHUT_DOWN = "workflow shutdown with strategy"
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown"})


@dataclass(frozen=True)
class NodeAttempt:
    """One attempt of a step as the Workflow's status has it.

    Attributes:
        path: the step's as it ran, with the positions of items and iterations, or a group of items, in it.
        phase: Argo's word. seconds: how long its pod ran; 0 while it does. node: the id that the pod's annotation has.
    """

    path: str
    number: int
    phase: str
    message: str
    exit_code: int | None
    seconds: float
    node: str

    @property
    def finished(self) -> bool:
        return self.phase in FINISHED

    def verdict(self, pod: KubernetesObject | None, told: bool) -> Verdict:
        """What the engine says of it; of an attempt that has finished.

        Args:
            pod: as it was seen last, None when it never was. told: whether the run was told to end, by whomever.
        """
        said = main_container_status(pod)
        terminated = said.get("state", {}).get("terminated", {})
        code = 0 if self.phase == "Succeeded" else self.exit_code
        if code is None:
            code = terminated.get("exitCode")
        killed = bool(_OUT_OF_MEMORY.match(self.message)) or terminated.get("reason") == "OOMKilled"
        message = (terminated.get("message") or self._last_words()).strip()
        # Argo's Error is what happened to the pod and not in it: deleted, evicted, never made.
        fault = self.phase == "Error" or (self.phase == "Failed" and code is None) or code == FAULT
        if terminated.get("reason") in _NEVER_RAN:
            # The code is Kubernetes' own invention.
            code, fault = None, True
        unsaid = self.phase == "Failed" and message in ("", _CANCELLED) and not (told or killed or code == FAULT)
        away = removal_reason(pod)
        if away and (self.phase == "Error" or unsaid or terminated.get("reason") in _NEVER_RAN):
            fault, message = True, away
        elif unsaid and message:
            fault, message = True, "the pod was told to end from outside: it was deleted or evicted"
        return Verdict(
            exit_code=code,
            out_of_memory=killed,
            message=message,
            container=pod["metadata"]["name"] if pod is not None else "",
            image=said.get("imageID", ""),
            fault=fault,
        )

    @property
    def shut_down(self) -> bool:
        """Whether it was ended with its run, before it had ended by itself."""
        return self.message.startswith(_SHUT_DOWN)

    def _last_words(self) -> str:
        """The container's own words, out of what Argo made of them."""
        found = _EXIT_CODE.search(self.message)
        return self.message[found.end() :] if found else self.message


def workflow_nodes(workflow: KubernetesObject) -> dict[str, KubernetesObject]:
    """A Workflow's nodes by id, also when they are so many that Argo compresses them."""
    status = workflow.get("status") or {}
    if packed := status.get("compressedNodes"):
        nodes: dict[str, KubernetesObject] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return nodes
    return status.get("nodes") or {}


class TaskPaths:
    """The paths of a plan's tasks, as a tree in which those that really run are found.

    Args:
        templates: in plan order, with ``*`` for each position.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self._templates = list(templates)
        self._root = _Branch(0)
        for template in self._templates:
            branch = self._root
            for part in template.split("/"):
                branch = branch.below.setdefault(part, _Branch(len(branch.below)))
            branch.template = template

    def template(self, path: str) -> str | None:
        """The path in the plan of the task that ran at ``path``."""
        found = self._walk(path)
        return found[-1][0].template if found else None

    def order(self, path: str) -> tuple[int, ...]:
        """Where a task that ran comes among the others: in plan order, and by items and iterations."""
        return tuple(number for branch, position in self._walk(path) for number in (branch.rank, position))

    def _walk(self, path: str) -> list[tuple[_Branch, int]]:
        """The branch of each part of a path and the position that the part is; empty where there is no such path."""
        found: list[tuple[_Branch, int]] = []
        branch = self._root
        for part in path.split("/"):
            digits = part[len(GROUP) :] if part.startswith(GROUP) else part
            if part in branch.below:
                found.append((branch.below[part], 0))
            elif ANY in branch.below and digits.isdigit():
                found.append((branch.below[ANY], int(digits)))
            else:
                return []
            branch = found[-1][0]
        return found

    def above(self) -> Iterable[str]:
        """Each path in the plan that a task has or lies below, each once."""
        found: dict[str, None] = {}
        for template in self._templates:
            while template and template not in found:
                found[template] = None
                template = template.rpartition("/")[0]
        return found


class _Branch:
    """Paths that begin in the same way; ``rank`` is where among its siblings it came first."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.template: str | None = None
        self.below: dict[str, _Branch] = {}


def node_attempts(
    workflow: KubernetesObject, paths: Iterable[str], first: Mapping[str, int] = MappingProxyType({})
) -> list[NodeAttempt]:
    """The attempts that have a pod or were to have one, by step and number.

    Args:
        paths: of the plan's tasks. first: of tasks that had attempts before this Workflow, the number of its first one.
    """
    by_task = {task_name(path): path for path in paths}
    found = []
    for node in workflow_nodes(workflow).values():
        if node.get("type") != "Pod":
            continue
        display = node.get("displayName", "")
        retried = _RETRIED.search(display)
        path = _input_path(node) or _by_name(node, by_task.get(_RETRIED.sub("", display)))
        if path is None or node.get("phase") in ("Omitted", "Skipped") or _was_shut_out(node):
            continue
        code = (node.get("outputs") or {}).get("exitCode")
        found.append(
            NodeAttempt(
                path,
                first.get(path, 1) + (int(retried.group(1)) if retried else 0),
                node.get("phase", "Pending"),
                node.get("message", ""),
                int(code) if code not in (None, "") else None,
                _seconds(node.get("startedAt"), node.get("finishedAt")),
                node["id"],
            )
        )
    return sorted(found, key=lambda one: (one.path, one.number))


def _was_shut_out(node: KubernetesObject) -> bool:
    """Whether a step's turn came only when its run had been told to end: Argo ends such a node as it begins, without a pod."""
    never = not node.get("hostNodeName") and node.get("startedAt") == node.get("finishedAt")
    return never and node.get("message", "").startswith(_SHUT_DOWN)


def succeeded_tasks(workflow: KubernetesObject) -> set[str]:
    """The names of the tasks of the pipeline itself that have succeeded."""
    root = workflow.get("metadata", {}).get("name", "")
    nodes = workflow_nodes(workflow).values()
    own = (node for node in nodes if node.get("name") == f"{root}.{node.get('displayName')}")
    return {node["displayName"] for node in own if node.get("phase") == "Succeeded"}


def _inputs(node: KubernetesObject) -> dict[str, str]:
    known = (node.get("inputs") or {}).get("parameters") or ()
    return {one["name"]: one["value"] for one in known if one.get("value") is not None}


def _input_path(node: KubernetesObject) -> str | None:
    found = _inputs(node).get(PATH_INPUT)
    return plain(found) if found is not None else None


def _by_name(node: KubernetesObject, template: str | None) -> str | None:
    """A path of the plan with the positions that a node was given."""
    if template is None or ANY not in template:
        return template
    inputs = _inputs(node)
    return fill(template, [inputs.get(position_name(level), "0") for level in range(depth(template))])


class CompositeNodes:
    """What a Workflow that has ended says of composites and handlers.

    Args:
        paths: of the plan's tasks.
    """

    def __init__(self, workflow: KubernetesObject, paths: TaskPaths) -> None:
        above = list(paths.above())
        self._rows = {task_name(path): path for path in above}
        self._handlers = {handler_task(path): f"{path}/{HANDLER}" for path in above}
        self._handled: set[str] = set()
        self._nodes = [node for node in workflow_nodes(workflow).values() if node.get("type") != "Pod"]
        for node in self._nodes:
            handler = _by_name(node, self._handlers.get(node.get("displayName", "")))
            if handler is not None and node.get("type") == "DAG":
                self._handled.add(handler.rpartition("/")[0])

    def handled(self, path: str) -> bool:
        """Whether a handler of a step, or of what it ran in, has run: what became of it is what counts then."""
        parts = path.split("/")
        own = (count for count in range(1, len(parts) + 1) if parts[count : count + 1] != [HANDLER])
        return any("/".join(parts[:count]) in self._handled for count in own)

    def reason(self) -> str:
        """Why a run failed of which no step did: a control value that could not be, or a step that ends its pipeline so."""
        for node in sorted(self._nodes, key=lambda one: (one.get("finishedAt") or "9", one["id"])):
            if node.get("phase") not in ("Failed", "Error"):
                continue
            path = _by_name(node, self._rows.get(node.get("displayName", "")))
            if path is not None and self.handled(path):
                continue
            inputs = _inputs(node)
            if node.get("templateName") == FAILS and PATH_INPUT in inputs:
                path = plain(inputs[PATH_INPUT])
                if not self.handled(path.rpartition("/")[0]):
                    return f"the step {path} ends its pipeline with a failure"
            for name, value in inputs.items():
                if _CONTROL.fullmatch(name) and value.startswith(_ERROR):
                    # Of an item's it has the escapes of the list that it was in.
                    return value[len(_ERROR) :].replace('\\"', '"')
        return self._of_loop()

    def _of_loop(self) -> str:
        """Whether a loop goes on is asked only where it is told."""
        for node in self._nodes:
            for one in (node.get("outputs") or {}).get("parameters") or ():
                if _CONTROL.fullmatch(one["name"]) and str(one.get("value") or "").startswith(_ERROR):
                    return str(one["value"])[len(_ERROR) :]
        return ""


def _seconds(started: str | None, finished: str | None) -> float:
    if not started or not finished:
        return 0.0
    return max(0.0, (parse_time(finished) - parse_time(started)).total_seconds())


def parse_time(text: str) -> datetime:
    """A time as Kubernetes writes it, in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
