"""Finds what a step takes: which earlier record holds a parameter or a file, reading only the records that it needs."""

from __future__ import annotations

import gzip
import json
import os

from . import layout, records
from .catalog import BadKey, is_pattern, matches
from .protocol import END_RECORD, PARAMETERS_FILE, PLAN_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Optional

ROOT = ""
"""As a source of a parameter: the run's own parameters."""


class Plan:
    """The plan of this run as the runtime needs it.

    Args:
        folder: where the plan and the root parameters lie.
    """

    def __init__(self, folder: str) -> None:
        self.document = load_json(os.path.join(folder, PLAN_FILE))
        self.parameters: dict[str, Any] = load_json(os.path.join(folder, PARAMETERS_FILE))
        self._steps: dict[str, dict[str, Any]] = {step["path"]: step for step in self.document["steps"]}

    def step(self, path: str) -> Optional[dict[str, Any]]:
        return self._steps.get(path)

    def settings(self, step: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.document["settings"][step["settings"]]
        return found

    def producers(self, path: str, name: str) -> Iterator[str]:
        """The paths of the steps that may have produced ``name`` for the step at ``path``, newest first."""
        for scope, position in self._enclosing(path):
            for index in reversed(scope["returns"].get(name, ())):
                if index < position:
                    yield scope["steps"][index]

    def names(self, path: str) -> list[str]:
        """All the names in the scope of the step at ``path``, sorted."""
        found = set(self.parameters)
        for scope, position in self._enclosing(path):
            found.update(name for name, indices in scope["returns"].items() if indices[0] < position)
        return sorted(found)

    def putters(self, path: str) -> Iterator[str]:
        """The paths of the steps before ``path`` that put files into the catalog, newest first."""
        for scope, position in self._enclosing(path):
            for index in reversed(scope["puts"]):
                if index < position:
                    yield scope["steps"][index]

    def _enclosing(self, path: str) -> Iterator[tuple[dict[str, Any], int]]:
        """The scopes around ``path``, the innermost first, each with the position of its step that holds ``path``."""
        scopes = self.document["scopes"]
        inner = path
        while inner:
            outer = inner.rpartition("/")[0]
            scope = scopes.get(outer)
            if scope is not None and inner in scope["positions"]:
                yield scope, scope["positions"][inner]
            inner = outer


def load_json(path: str) -> dict[str, Any]:
    """A compressed JSON object."""
    with gzip.open(path, "rb") as file:
        document: dict[str, Any] = json.loads(file.read())
    return document


class Scope:
    """What the step at ``path`` can see.

    Args:
        plan: the run's plan. run_folder: the folder of the run's records, on this side. path: the step's.
    """

    def __init__(self, plan: Plan, run_folder: str, path: str) -> None:
        self._plan = plan
        self._run_folder = run_folder
        self._path = path
        self._read: dict[str, Optional[dict[str, Any]]] = {}

    def _record(self, path: str) -> Optional[dict[str, Any]]:
        """The record of the newest attempt of ``path`` that succeeded, or None."""
        if path not in self._read:
            self._read[path] = None
            for attempt in reversed(layout.attempts(self._run_folder, path)):
                record = records.read(os.path.join(layout.attempt_folder(self._run_folder, path, attempt), END_RECORD))
                if record is not None and record.get("status") == "succeeded":
                    self._read[path] = record
                    break
        return self._read[path]

    def parameter(self, name: str, step: Optional[str] = None) -> Optional[tuple[str, dict[str, Any]]]:
        """A parameter by name as its source (a step's path, or ROOT) and its stored form; None when nothing has it."""
        sources = self._plan.producers(self._path, name) if step is None else [step] if step != ROOT else []
        for path in sources:
            record = self._record(path)
            if record is not None and name in record["returns"]:
                return path, record["returns"][name]
        if not step and name in self._plan.parameters:
            return ROOT, {"kind": "json", "value": self._plan.parameters[name]}
        return None

    def names(self) -> list[str]:
        return self._plan.names(self._path)

    def files(self, key: str, step: Optional[str]) -> list[tuple[dict[str, Any], str]]:
        """The catalog entries that ``key`` stands for, each with the path of the step that put it; the newest win.

        Raises:
            BadKey: nothing was put under it.
        """
        found: dict[str, tuple[dict[str, Any], str]] = {}
        name = os.path.normpath(key)
        for path in [step] if step is not None else self._plan.putters(self._path):
            record = self._record(path)
            for entry in record["catalog"]["put"] if record is not None else ():
                fits = entry["name"] == name or (is_pattern(name) and matches(name, entry["name"]))
                if (fits or entry["name"].startswith(name + "/")) and entry["name"] not in found:
                    found[entry["name"]] = (entry, path)
            if name in found:
                break
        if not found:
            whose = f"the step {step}" if step is not None else "no earlier step"
            raise BadKey(
                f"the step gets {key} from the catalog, but {whose} {'did not put' if step else 'put'} it there"
            )
        return [found[one] for one in sorted(found)]
