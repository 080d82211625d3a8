"""Reads the nodes in a Workflow's status: attempts, verdicts, composites and handlers. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.dag import ENTRY, FAILS, handler_task
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.compile.pod import PATH_INPUT, plain, position_name
from toolkit.backends.argo.pod_failures import NEVER_RAN_REASONS, is_fault
from toolkit.backends.argo.pods import main_container_status, removal_reason, was_stopped_by_deadline
from toolkit.backends.argo.workflow_status import FINISHED, workflow_nodes
from toolkit.backends.launcher import Verdict
from toolkit.runtime.shared.causes import ASKED, NEVER_RAN, PASSED_ON, POD_REMOVED, STOPPED, blame, unasked
from toolkit.runtime.shared.tree import ANY, GROUP, HANDLER, depth, fill

_RETRIED = re.compile(r"\((\d+)\)$")
_EXIT_CODE = re.compile(r"\(exit code (-?\d+)\)(?:: )?")
_OUT_OF_MEMORY = re.compile(r"(main: )?OOMKilled")
_ERROR = "error: "
"""How a text begins that is an error in place of a control value."""
_CONTROL = re.compile(r"[ca]\d+")
_SHUT_DOWN = "workflow shutdown with strategy"
_UNKNOWN_REMOVER = ("", POD_REMOVED.reason, STOPPED.reason)
"""What the runtime says when it does not know who removed its pod."""


@dataclass(frozen=True)
class NodeAttempt:
    """One attempt of a step as the Workflow's status has it.

    Attributes:
        path: the path as which the step ran, with the positions of items and iterations, or a group of items.
        phase: Argo's word. seconds: how long the pod ran; 0 while it runs. node: the node's id, as in the pod's annotation.
        retried: whether there is a further attempt after it.
    """

    path: str
    number: int
    phase: str
    message: str
    exit_code: int | None
    seconds: float
    node: str
    retried: bool = False

    @property
    def finished(self) -> bool:
        return self.phase in FINISHED

    def verdict(self, pod: KubernetesObject | None, run_was_stopped: bool) -> Verdict:
        """The engine's verdict on an attempt that has finished.

        Args:
            pod: as it was seen last, None when it never was. run_was_stopped: whether the run was asked to stop, by anybody.
        """
        stopped = run_was_stopped and not self.retried
        status = main_container_status(pod)
        terminated = status.get("state", {}).get("terminated", {})
        code = 0 if self.phase == "Succeeded" else self.exit_code
        if code is None:
            code = terminated.get("exitCode")
        killed = bool(_OUT_OF_MEMORY.match(self.message)) or terminated.get("reason") == "OOMKilled"
        # Not at its beginning: there a space tells a step's own words from the runtime's.
        message = (terminated.get("message") or self._last_words()).rstrip()
        fault = self.phase != "Succeeded" and not stopped and is_fault(self.phase, self.message, self.exit_code)
        if terminated.get("reason") in NEVER_RAN_REASONS or self._never_ran():
            # Kubernetes made up the code.
            code, fault = None, NEVER_RAN.fault
        removal = removal_reason(pod)
        asked = message in (ASKED.reason, PASSED_ON.reason)
        silent = self.phase == "Failed" and (asked or not message) and not stopped and not killed
        if removal and (silent or (fault and blame(message) in _UNKNOWN_REMOVER)):
            fault, message = True, removal
        elif silent and was_stopped_by_deadline(pod):
            message = "the time for all of its attempts was over (back_off.max_duration)"
        elif silent and asked:
            message = unasked(message).reason
        elif blame(message) and not fault:
            # Kubernetes removed the pod after its time limit, or together with its run.
            message = self.message
        return Verdict(
            exit_code=code,
            out_of_memory=killed,
            message=message,
            container=pod["metadata"]["name"] if pod is not None else "",
            image=status.get("imageID", ""),
            fault=fault,
        )

    @property
    def shut_down(self) -> bool:
        """Whether it was ended together with its run."""
        return self.message.startswith(_SHUT_DOWN)

    def _never_ran(self) -> bool:
        return self.message.startswith(tuple(f"main: {reason} " for reason in NEVER_RAN_REASONS))

    def _last_words(self) -> str:
        """The container's own message, which Argo puts after the exit code."""
        exit_code = _EXIT_CODE.search(self.message)
        return self.message[exit_code.end() :] if exit_code else self.message


class TaskPaths:
    """The paths of a plan's tasks, as a tree in which the path of a task that ran is found.

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
        """The template path of the task that ran at ``path``; None where the plan has none."""
        branches = self._walk(path)
        return branches[-1][0].template if branches else None

    def order(self, path: str) -> tuple[int, ...]:
        """A key for sorting tasks that ran: in plan order, then by items and iterations."""
        return tuple(number for branch, position in self._walk(path) for number in (branch.rank, position))

    def _walk(self, path: str) -> list[tuple[_Branch, int]]:
        """The branch and the position (0 for a name) of each part of a path; empty where the plan has no such path."""
        branches: list[tuple[_Branch, int]] = []
        branch = self._root
        for part in path.split("/"):
            digits = part[len(GROUP) :] if part.startswith(GROUP) else part
            if part in branch.below:
                branches.append((branch.below[part], 0))
            elif ANY in branch.below and digits.isdigit():
                branches.append((branch.below[ANY], int(digits)))
            else:
                return []
            branch = branches[-1][0]
        return branches

    def above(self) -> Iterable[str]:
        """The template paths of the tasks and of all that they lie in, each once."""
        paths: dict[str, None] = {}
        for template in self._templates:
            while template and template not in paths:
                paths[template] = None
                template = template.rpartition("/")[0]
        return paths


class _Branch:
    """The paths that begin with the same parts; ``rank`` is the position among its siblings, in plan order."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.template: str | None = None
        self.below: dict[str, _Branch] = {}


def node_attempts(
    workflow: KubernetesObject, paths: Iterable[str], first: Mapping[str, int] = MappingProxyType({})
) -> list[NodeAttempt]:
    """The attempts that have a pod or were to have one, sorted by path and number.

    Args:
        paths: of the plan's tasks. first: the number of the first attempt in this Workflow, for tasks that had attempts before.
    """
    by_task = {task_name(path): path for path in paths}
    attempts = []
    for node in workflow_nodes(workflow).values():
        if node.get("type") != "Pod":
            continue
        display = node.get("displayName", "")
        retry = _RETRIED.search(display)
        path = _input_path(node) or instance_path(node, by_task.get(_RETRIED.sub("", display)))
        if path is None or node.get("phase") in ("Omitted", "Skipped") or _never_began(node):
            continue
        code = (node.get("outputs") or {}).get("exitCode")
        attempts.append(
            NodeAttempt(
                path,
                first.get(path, 1) + (int(retry.group(1)) if retry else 0),
                node.get("phase", "Pending"),
                node.get("message", ""),
                int(code) if code not in (None, "") else None,
                _seconds(node.get("startedAt"), node.get("finishedAt")),
                node["id"],
            )
        )
    last: dict[str, int] = {}
    for attempt in attempts:
        last[attempt.path] = max(attempt.number, last.get(attempt.path, 0))
    marked = (replace(each, retried=True) if each.number < last[each.path] else each for each in attempts)
    return sorted(marked, key=lambda attempt: (attempt.path, attempt.number))


def was_asked_to_end(node: KubernetesObject) -> bool:
    """Whether Argo ended a node because its Workflow was shut down."""
    return str(node.get("message") or "").startswith(_SHUT_DOWN)


def _never_began(node: KubernetesObject) -> bool:
    """Whether a step's turn came after its run was asked to stop: Argo ends such a node at once, without a pod."""
    no_pod = not node.get("hostNodeName") and node.get("startedAt") == node.get("finishedAt")
    return no_pod and node.get("message", "").startswith(_SHUT_DOWN)


def succeeded_tasks(workflow: KubernetesObject, template: str = ENTRY) -> set[str]:
    """The names of the tasks of the pipeline itself that have succeeded, or of another template that runs once."""
    nodes = workflow_nodes(workflow).values()
    root = workflow.get("metadata", {}).get("name", "")
    # The pipeline of a run that resumes is a task of another DAG.
    entry = next((node["name"] for node in nodes if node.get("templateName") == template and "name" in node), root)
    of_pipeline = (node for node in nodes if node.get("name") == f"{entry}.{node.get('displayName')}")
    return {node["displayName"] for node in of_pipeline if node.get("phase") == "Succeeded"}


def _inputs(node: KubernetesObject) -> dict[str, str]:
    parameters = (node.get("inputs") or {}).get("parameters") or ()
    return {each["name"]: each["value"] for each in parameters if each.get("value") is not None}


def _input_path(node: KubernetesObject) -> str | None:
    path = _inputs(node).get(PATH_INPUT)
    return plain(path) if path is not None else None


def instance_path(node: KubernetesObject, template: str | None) -> str | None:
    """A template path with the positions that are a node's inputs; None without one."""
    if template is None or ANY not in template:
        return template
    inputs = _inputs(node)
    return fill(template, [inputs.get(position_name(level), "0") for level in range(depth(template))])


class CompositeNodes:
    """The composites and handlers of a Workflow that has ended.

    Args:
        paths: of the plan's tasks. kept: the template paths of the steps that stay failed when their handlers have succeeded.
    """

    def __init__(self, workflow: KubernetesObject, paths: TaskPaths, kept: Collection[str] = ()) -> None:
        above = list(paths.above())
        self._rows = {task_name(path): path for path in above}
        self._handlers = {handler_task(path): f"{path}/{HANDLER}" for path in above if path not in kept}
        self._handled: set[str] = set()
        self._nodes = [node for node in workflow_nodes(workflow).values() if node.get("type") != "Pod"]
        for node in self._nodes:
            handler = instance_path(node, self._handlers.get(node.get("displayName", "")))
            if handler is not None and node.get("type") == "DAG":
                self._handled.add(handler.rpartition("/")[0])

    def handled(self, path: str) -> bool:
        """Whether a handler of a step, or of a composite around it, has run. Then the handler's outcome counts instead."""
        parts = path.split("/")
        # A failure in a handler is not handled by that handler.
        counts = (count for count in range(1, len(parts) + 1) if parts[count : count + 1] != [HANDLER])
        return any("/".join(parts[:count]) in self._handled for count in counts)

    def reason(self) -> str:
        """Why a run failed in which no step did: an impossible control value, or a step that ends its pipeline with a failure."""
        for node in sorted(self._nodes, key=lambda node: (node.get("finishedAt") or "9", node["id"])):
            if node.get("phase") not in ("Failed", "Error"):
                continue
            path = instance_path(node, self._rows.get(node.get("displayName", "")))
            if path is not None and self.handled(path):
                continue
            inputs = _inputs(node)
            if node.get("templateName") == FAILS and PATH_INPUT in inputs:
                path = plain(inputs[PATH_INPUT])
                if not self.handled(path.rpartition("/")[0]):
                    return f"the step {path} ends its pipeline with a failure"
            for name, value in inputs.items():
                if _CONTROL.fullmatch(name) and value.startswith(_ERROR):
                    # The value of an item still has the escapes of the list that it comes from.
                    return value[len(_ERROR) :].replace('\\"', '"')
        return self._reason_of_loop()

    def _reason_of_loop(self) -> str:
        """Why it is not known whether a loop runs again, which is an output of an iteration and no input of a node."""
        for node in self._nodes:
            for parameter in (node.get("outputs") or {}).get("parameters") or ():
                value = str(parameter.get("value") or "")
                if _CONTROL.fullmatch(parameter["name"]) and value.startswith(_ERROR):
                    return value[len(_ERROR) :]
        return ""


def _seconds(started: str | None, finished: str | None) -> float:
    if not started or not finished:
        return 0.0
    return max(0.0, (parse_time(finished) - parse_time(started)).total_seconds())


def parse_time(text: str) -> datetime:
    """A time as Kubernetes writes it, in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
