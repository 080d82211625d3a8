"""What a Workflow and its pods alone say of a run, for a client that can't read the records on the volume. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.follow.nodes import NodeAttempt, TaskPaths, instance_path, node_attempts
from toolkit.backends.argo.follow.outcome import attempt_from_engine, engine_record, was_shut_down
from toolkit.backends.argo.workflow_status import FINISHED, workflow_nodes
from toolkit.runtime.shared.controls import ERROR, ControlParameters, instance_below
from toolkit.runtime.shared.layout import attempt_folder
from toolkit.runtime.shared.tree import Tree, branches, depth, fill
from toolkit.store.engine_view import CompositeOutcome, EngineView
from toolkit.store.verdict import Attempt

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ControlValues, JsonValue, StepRow

_ERROR_TEXT = "error: "


def engine_view(
    workflow: KubernetesObject,
    pods: Mapping[str, KubernetesObject],
    tree: Tree,
    run_folder: str,
    why: str,
    first: Mapping[str, int],
    is_continuation: bool,
) -> EngineView:
    """What the engine knows of a run.

    Args:
        pods: by the id of their node. tree: of the run's plan. run_folder: of its records on this machine.
        why: why the volume can't be read. first: as for :func:`node_attempts`.
        is_continuation: whether the run had another Workflow before, which is gone.
    """
    tasks = [row["path"] for row in tree.rows.values() if row["type"] == "task"]
    limit = (workflow.get("spec") or {}).get("activeDeadlineSeconds")
    attempts: dict[str, list[Attempt]] = {}
    failures: list[tuple[str, str]] = []
    controls = _NodeControls(tree)
    nodes = workflow_nodes(workflow)
    names: dict[tuple[str, int], str] = {}
    for attempt in node_attempts(workflow, tasks, first):
        folder = attempt_folder(run_folder, attempt.path, attempt.number)
        if attempt.finished:
            record = engine_record(attempt, pods.get(attempt.node), workflow, limit)
            seen = attempt_from_engine(attempt.number, record, folder)
        elif attempt.phase == "Running":
            seen = Attempt(attempt.number, "running", None, "", False, folder, unread=True)
        else:
            continue
        if seen.status == "succeeded" and (values := controls.of(attempt, nodes[attempt.node])):
            seen = replace(seen, end={"controls": values})
        elif seen.status == "failed":
            failures.append((attempt.path, f"the step {attempt.path} failed: {seen.reason}"))
        attempts.setdefault(attempt.path, []).append(seen)
        if attempt.node in pods:
            names[attempt.path, attempt.number] = pods[attempt.node]["metadata"]["name"]
    order = TaskPaths(tasks).order
    failures.sort(key=lambda failure: order(failure[0]))
    status = workflow.get("status") or {}
    return EngineView(
        why,
        attempts,
        dict(_composites(workflow, tree, failures, was_shut_down(workflow, limit))),
        names,
        # Argo may keep the nodes in a database instead of in the Workflow.
        complete=not is_continuation and not status.get("offloadNodeStatusVersion"),
    )


def _composites(
    workflow: KubernetesObject, tree: Tree, failures: list[tuple[str, str]], was_stopped: bool
) -> Iterator[tuple[str, CompositeOutcome]]:
    """The composites that have begun, by instance path."""
    templates = {
        task_name(row["path"]): row["path"] for row in tree.rows.values() if row["type"] not in ("task", "stub")
    }
    for node in workflow_nodes(workflow).values():
        path = instance_path(node, templates.get(node.get("displayName", "")))
        phase = node.get("phase")
        if path is None or node.get("type") != "DAG" or phase in ("Omitted", "Skipped"):
            continue
        if phase == "Succeeded":
            yield path, CompositeOutcome("succeeded")
        elif phase not in FINISHED:
            yield path, CompositeOutcome("running")
        elif was_stopped and not tree.is_of_exit(path):
            yield path, CompositeOutcome("cancelled", "cancelled")
        else:
            inside = (reason for failed, reason in failures if failed.startswith(path + "/"))
            yield path, CompositeOutcome("failed", next(inside, node.get("message") or f"Argo says: {phase}"))


class _NodeControls:
    """The control values that tasks gave to Argo as outputs: what ``ControlParameters`` makes of them, read back."""

    def __init__(self, tree: Tree) -> None:
        self._values: dict[str, JsonValue] = {}
        self._tree = tree
        self._keys = ControlParameters(tree)

    def of(self, attempt: NodeAttempt, node: KubernetesObject) -> ControlValues:
        """The values that a task has computed, by instance path.

        Of a map whose items share pods, a cluster does not know how many there are.
        """
        self._values = {}
        trail = self._tree.trail(attempt.path)
        outputs = {
            parameter["name"]: str(parameter.get("value") or "")
            for parameter in (node.get("outputs") or {}).get("parameters") or ()
        }
        if trail is None or not outputs:
            return {}
        positions = self._tree.positions(attempt.path)
        for template, when in trail[-1].row.get("emits", ()):
            row = self._tree.rows[template]
            instance = fill(template, positions)
            if when != "again":
                self._start(row, instance, outputs)
                continue
            position = positions[depth(template)]
            text = outputs.get(self._keys.key(row, "again"), "")
            if text:
                self._values[f"{instance}/{position}"] = _error(text) or text == "true"
            for part in row.get("parts", ()):
                inner = instance_below(part, row["path"], f"{instance}/{int(position) + 1}")
                self._start(self._tree.rows[part], inner, outputs)
        return self._values

    def _start(self, row: StepRow, instance: str, texts: Mapping[str, Any]) -> None:
        """Takes what a composite needed before it started; a text that is missing or none says nothing."""
        text = texts.get(self._keys.key(row))
        try:
            if isinstance(text, str) and _error(text):
                self._values[instance] = _error(text)
            elif text and row["type"] == "conditional":
                self._values[instance] = [label for label, _ in branches(row)][int(text)]
            elif text and row.get("parts"):
                items = json.loads(text) if isinstance(text, str) else text
                self._values[instance] = len(items)
                for position, part, inner in self._keys.parts(row, instance, len(items)):
                    self._start(self._tree.rows[part], inner, items[position])
            elif text and str(texts.get(self._keys.key(row, "groups"), "0")) == "0":
                self._values[instance] = int(text)
        except (ValueError, TypeError, AttributeError, IndexError):
            return


def _error(text: str) -> JsonValue:
    return {ERROR: text[len(_ERROR_TEXT) :]} if text.startswith(_ERROR_TEXT) else None
