"""The proof of sameness: two runs compared field by field, by what was seen of them and not by what was asked for.

A cause is told once: what follows from a difference (the image's digest from a byte of code, an input from the return that it
was) is no difference of its own. What two runs can't have in common is ``fields.NOT_COMPARED``; everything else is compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.report.facts import RunFacts, StepFacts, put_files
from toolkit.report.fields import (
    ASKED_AS,
    FIELDS,
    OBSERVED_FIELDS,
    PROXIES,
    WAIVED_BY_PROCESS,
    FieldValues,
    ObservedField,
    engine_image,
    file_text,
    outcome_values,
    returned_values,
)


class Absent:
    """Stands for a value that one of the two has not got at all; null is a value."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


@dataclass(frozen=True)
class Difference:
    """One value that is not the same.

    Attributes:
        field: one of ``fields.FIELDS``. where: which value of the field.
        steps: the paths of the steps in which it is so; empty for what is the run's.
        a, b: the two values as JSON, or ABSENT.
    """

    field: str
    where: str
    steps: tuple[str, ...]
    a: Any
    b: Any


def compare(a: RunFacts, b: RunFacts) -> list[Difference]:
    """All that differs between two runs, in the order of ``fields.FIELDS``; empty when they are the same."""
    found = _Comparison(a, b).found()
    order = {name: position for position, name in enumerate(FIELDS)}
    return sorted(found, key=lambda one: order[one.field])


def compared_fields(a: RunFacts, b: RunFacts) -> list[str]:
    """The fields that can be compared between these two."""
    waived = WAIVED_BY_PROCESS if "process" in (a.environment, b.environment) else ()
    return [name for name in FIELDS if name not in waived]


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three."""
    if isinstance(a, Absent) or isinstance(b, Absent):
        return a is b
    if isinstance(a, str) or a is None:
        return bool(a == b)
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _differences(a: FieldValues, b: FieldValues) -> Iterator[tuple[str, Any, Any]]:
    for name in [*a, *(name for name in b if name not in a)]:
        one, other = a.get(name, ABSENT), b.get(name, ABSENT)
        if not same(one, other):
            yield name, one, other


Leaves = dict[tuple[str, ...], Any]


def _leaves(document: Any, path: tuple[str, ...] = ()) -> Leaves:
    """The values of a document by their path; a list is one value, and an empty object none."""
    if not isinstance(document, Mapping):
        return {path: document}
    found: Leaves = {}
    for key, value in document.items():
        found.update(_leaves(value, (*path, str(key))))
    return found


class _Comparison:
    def __init__(self, a: RunFacts, b: RunFacts) -> None:
        self._a, self._b = a, b
        self._waived = frozenset(WAIVED_BY_PROCESS if "process" in (a.environment, b.environment) else ())
        self._rows: dict[tuple[str, str, str], tuple[Any, Any, dict[str, None]]] = {}
        # Where what a later step took came from: values and files that differ already, and steps that ended otherwise; each
        # also as of the composites that it is in.
        self._changed_values: set[tuple[str, str]] = set()
        self._changed_files: set[tuple[str, str]] = set()
        self._changed_steps: set[str] = set()
        for path in {*a.steps} ^ {*b.steps}:
            self._changed_steps.update(_and_around(path))
        # Conditionals that went another way: of what is inside them nothing can be the same.
        self._other_ways: set[str] = set()
        self._told_inside: set[str] = set()
        self._asked_of: dict[tuple[int, int], list[tuple[tuple[str, ...], Any, Any]]] = {}

    def found(self) -> list[Difference]:
        a, b = self._a, self._b
        common = [path for path in a.steps if path in b.steps]
        self._values("pipeline", {"name": a.record["pipeline"]}, {"name": b.record["pipeline"]})
        self._given_parameters()
        for path in common:
            if not self._other_ways.isdisjoint(_and_around(path)):
                self._changed_steps.update(_and_around(path))
            elif a.steps[path].planned["type"] not in ("task", "stub"):
                self._composite(a.steps[path], b.steps[path])
            else:
                self._step(a.steps[path], b.steps[path])
        # Only what is inside a composite says whether there is more to tell of it.
        for path in reversed(common):
            self._end_of_composite(a.steps[path], b.steps[path])
        self._run_image()
        self._plan()
        self._last_parameters()
        if not self._has("status"):
            self._values("status", {"run": a.status}, {"run": b.status})
        for run in (a, b):
            self._agreement(run)
        self._objects()
        return [
            Difference(field, where, tuple(steps), one, other)
            for (field, where, _), (one, other, steps) in self._rows.items()
        ]

    # --- noting -----------------------------------------------------------------------------------------------------

    def _has(self, *fields: str) -> bool:
        return any(field in fields for field, _, _ in self._rows)

    def _note(self, field: str, where: str, a: Any, b: Any, step: str | None = None) -> None:
        """Notes a difference; the same one in several steps is one."""
        if field in self._waived:
            return
        key = (field, where, json.dumps([a, b], sort_keys=True, default=repr))
        _, _, steps = self._rows.setdefault(key, (a, b, {}))
        if step is not None:
            steps[step] = None

    def _values(self, field: str, a: FieldValues, b: FieldValues, step: str | None = None) -> set[str]:
        """Compares values by name; returns the names of those that differ."""
        names = set()
        for name, one, other in _differences(a, b):
            names.add(name)
            self._note(field, name, one, other, step)
        return names

    # --- a composite --------------------------------------------------------------------------------------------------

    def _composite(self, a: StepFacts, b: StepFacts) -> None:
        """How a conditional or a map went on, which is known before what is inside it; and what of it was asked for."""
        self._asked(a, b, {})
        parameter, item = a.planned.get("parameter"), a.planned.get("item")
        follows = any(name == parameter for _, name in self._changed_values)
        if a.planned["type"] == "map" and item and follows:
            self._changed_values.add((a.path, item))
        for name in ("branch", "items"):
            if name in a.course and name in b.course and a.course[name] != b.course[name]:
                if name == "branch":
                    self._other_ways.add(a.path)
                if not follows:
                    self._tell_course(name, a, b)

    def _tell_course(self, name: str, a: StepFacts, b: StepFacts) -> None:
        self._note("status", name, a.course[name], b.course[name], a.path)
        self._told_inside.update(_and_around(a.path))

    def _end_of_composite(self, a: StepFacts, b: StepFacts) -> None:
        """What is not the same of a composite as a whole, and nothing inside it says."""
        if a.path in self._told_inside or a.planned["type"] in ("task", "stub"):
            return
        if a.status != b.status and self._other_ways.isdisjoint(_and_around(a.path)):
            self._note("status", "status", a.status, b.status, a.path)
            self._told_inside.update(_and_around(a.path))
            self._changed_steps.update(_and_around(a.path))
        elif a.course.get("iterations") != b.course.get("iterations") and (
            not any(name == a.planned["parameter"] for _, name in self._changed_values)
        ):
            self._tell_course("iterations", a, b)

    # --- a step -----------------------------------------------------------------------------------------------------

    def _step(self, a: StepFacts, b: StepFacts) -> None:
        # One of them may have been one of several items in its container.
        alone = ("group" in a.begin) == ("group" in b.begin)
        wheres = {"returns": self._outcome(a, b)}
        self._values("attempts", {"number": a.attempts}, {"number": b.attempts}, a.path)
        if a.begin and b.begin:
            wheres["image"] = self._image(a, b)
            for one in OBSERVED_FIELDS:
                # In a root that can't be written the runtime works in a folder of links.
                roots = [step.begin.get("read_only_root") for step in (a, b)]
                if one.name != "working_folder" or (alone and same(*roots)):
                    wheres[one.name] = self._seen(one, a, b)
        if a.end and b.end:
            wheres["inputs"] = self._inputs(a, b)
            self._got(a, b)
        self._asked(a, b, wheres)
        self._inputs_digest(a, b)

    def _seen(self, one: ObservedField, a: StepFacts, b: StepFacts) -> set[str]:
        if one.name in self._waived:
            return set()
        mine, theirs = dict(one.read(self._a, a)), dict(one.read(self._b, b))
        if one.name == "command" and self._waived:
            del mine["argv"], theirs["argv"]
        if one.name == "environment" and "compose" in (self._a.environment, self._b.environment):
            for values in (mine, theirs):
                for name in [name for name in values if name.upper() in PROXIES]:
                    del values[name]
        return self._values(one.name, mine, theirs, a.path)

    def _outcome(self, a: StepFacts, b: StepFacts) -> set[str]:
        """Status, and what came out of the step; of two that ended otherwise, only that they did."""
        if self._values("status", outcome_values(a), outcome_values(b), a.path):
            self._changed_steps.update(_and_around(a.path))
            self._told_inside.update(_and_around(a.path))
            return set()
        names = set()
        for field, metric in (("returns", False), ("metrics", True)):
            names |= self._values(field, returned_values(a, metric), returned_values(b, metric), a.path)
        self._changed_values |= {(path, name) for name in names for path in _and_around(a.path)}
        mine, theirs = ({name: file_text(one) for name, one in put_files(step).items()} for step in (a, b))
        for name, one, other in _differences(mine, theirs):
            self._changed_files.add((a.path, name))
            self._note("catalog", f"put {name}", one, other, a.path)
        return names

    def _image(self, a: StepFacts, b: StepFacts) -> set[str]:
        """Code and image; the digest alone says no more where one of the two it is made of differs."""
        ids = [step.begin["image"] or {} for step in (a, b)]
        code, environment = (not same(ids[0].get(key), ids[1].get(key)) for key in ("code", "environment"))
        self._values("code", {"code": ids[0].get("code")}, {"code": ids[1].get("code")}, a.path)
        names = set()
        values = []
        for run, step, known in ((self._a, a, ids[0]), (self._b, b, ids[1])):
            rest = {key: value for key, value in known.items() if key != "code"}
            values.append({**rest, "python": step.begin.get("python"), "machine": step.begin.get("machine")})
            if not code and not environment:
                values[-1]["digest"] = self._digest(run, step)
        if any("digest" in one and one["digest"] is None for one in values):
            # One of the engines named no config; the record of the run and the id file are all there is.
            for one in values:
                del one["digest"]
        names |= self._values("image", values[0], values[1], a.path)
        return names | ({"image"} if code or environment or names else set())

    def _digest(self, run: RunFacts, step: StepFacts) -> Any:
        if step.planned["settings"]["image"] is None:
            return (run.record["image"] or {}).get("digest")
        return engine_image(step.engine)[0]

    def _inputs(self, a: StepFacts, b: StepFacts) -> set[str]:
        names = set()
        for name, one, other in _differences(a.end.get("inputs", {}), b.end.get("inputs", {})):
            names.add(name)
            if not any(self._follows(taken) for taken in (one, other)):
                self._note("inputs", name, one, other, a.path)
        return names

    def _follows(self, taken: Any) -> bool:
        """Whether an input comes from what differs already."""
        if not isinstance(taken, Mapping) or "from" not in taken:
            return False
        return taken["from"] in self._changed_steps or (taken["from"], taken["name"]) in self._changed_values

    def _got(self, a: StepFacts, b: StepFacts) -> None:
        mine, theirs = ({one["name"]: one for one in step.end["catalog"]["get"]} for step in (a, b))
        shown = [{name: file_text(one) for name, one in got.items()} for got in (mine, theirs)]
        for name, one, other in _differences(*shown):
            sources = [got[name]["from"] for got in (mine, theirs) if name in got]
            if not any(path in self._changed_steps or self._is_changed(path, name) for path in sources):
                self._note("catalog", f"got {name}", one, other, a.path)

    def _is_changed(self, path: str, name: str) -> bool:
        """Whether a file is another one where it was put; outside of a map its name has positions before it."""
        parts = name.split("/")
        return any((path, "/".join(parts[start:])) in self._changed_files for start in range(len(parts)))

    def _asked(self, a: StepFacts, b: StepFacts, wheres: Mapping[str, set[str]]) -> None:
        """What was asked for, where nothing that was seen says it already."""
        for path, one, other in self._asked_otherwise(a.planned, b.planned):
            owner = next((prefix for prefix in ASKED_AS if path[: len(prefix)] == prefix), None)
            if owner is None or not set(path) & wheres.get(ASKED_AS[owner], set()):
                self._note("plan", ".".join(path), one, other, a.path)

    def _asked_otherwise(self, a: Any, b: Any) -> list[tuple[tuple[str, ...], Any, Any]]:
        """The values that differ between two rows of the plan, which are those of each item alike."""
        key = (id(a), id(b))
        if key not in self._asked_of:
            mine, theirs = _leaves(a), _leaves(b)
            self._asked_of[key] = [
                (path, mine.get(path, ABSENT), theirs.get(path, ABSENT))
                for path in [*mine, *(path for path in theirs if path not in mine)]
                if not same(mine.get(path, ABSENT), theirs.get(path, ABSENT))
            ]
        return self._asked_of[key]

    def _inputs_digest(self, a: StepFacts, b: StepFacts) -> None:
        """The hash over all that an outcome depends on, where each part of it is the same."""
        if self._waived or not (a.end and b.end):
            return
        covered = [
            {
                "image": step.begin.get("image"),
                "command": step.begin.get("command"),
                "environment": step.planned["settings"]["environment"],
                "inputs": step.end["inputs"],
                "files": sorted((one["name"], one["sha256"]) for one in step.end["catalog"]["get"]),
            }
            for step in (a, b)
        ]
        if same(*covered):
            self._values(
                "inputs",
                {"inputs_digest": a.end.get("inputs_digest")},
                {"inputs_digest": b.end.get("inputs_digest")},
                a.path,
            )

    # --- the run ----------------------------------------------------------------------------------------------------

    def _given_parameters(self) -> None:
        names = self._values("parameters", self._a.record["parameters"], self._b.record["parameters"])
        self._changed_values |= {("", name) for name in names}

    def _last_parameters(self) -> None:
        changed = {name for _, name in self._changed_values}
        if self._changed_steps:
            return
        for name, one, other in _differences(self._a.parameters, self._b.parameters):
            if name not in changed:
                self._note("parameters", f"{name} at the end", one, other)

    def _run_image(self) -> None:
        """The run's own record of the image, where no step has told of it."""
        if self._has("code", "image"):
            return
        keys = ("digest", "identity")
        mine, theirs = ({key: (run.record["image"] or {}).get(key) for key in keys} for run in (self._a, self._b))
        self._values("image", mine, theirs)

    def _plan(self) -> None:
        a, b = self._a, self._b
        for name, one, other in _differences(_types(a), _types(b)):
            self._note("plan", f"steps[{name}]", one, other)
        orders = [[path for path in run.rows if path in a.rows and path in b.rows] for run in (a, b)]
        self._values("plan", {"order of steps": orders[0]}, {"order of steps": orders[1]})
        mine, theirs = ({".".join(path): one for path, one in _leaves(run.plan).items()} for run in (a, b))
        self._values("plan", mine, theirs)
        if self._has("plan", "returns", "metrics"):
            return
        # Both follow from the steps: they differ alone where a version of toolkit makes them otherwise.
        self._values("plan", {"scopes": a.scopes}, {"scopes": b.scopes})
        self._values("plan", {"plan_hash": a.record["plan_hash"]}, {"plan_hash": b.record["plan_hash"]})

    def _agreement(self, run: RunFacts) -> None:
        """Within one run: what the engine ran, what lay inside, and what the run's record says are one image."""
        recorded = run.record["image"]
        if run.environment == "process" or recorded is None:
            return
        inside: Any = None
        for step in run.steps.values():
            own = step.planned.get("settings") and step.planned["settings"]["image"] is not None
            if own or not step.begin:
                continue
            inside = inside or step.begin["image"]
            if not same(inside, step.begin["image"]):
                self._disagreement(run, step, "id file", {"here": step.begin["image"], "in an earlier step": inside})
            config, manifest = engine_image(step.engine)
            named = {key: recorded[key] for key in ("digest", "manifest") if key in recorded}
            # An engine whose store is containerd's calls an image by its manifest, and does not say that it does.
            agrees = config in named.values() or (manifest is not None and manifest == named.get("manifest"))
            if step.engine.get("image") and not agrees:
                self._disagreement(run, step, "engine", {"engine": step.engine["image"], "record": named})

    def _disagreement(self, run: RunFacts, step: StepFacts, where: str, what: Any) -> None:
        is_a = run is self._a
        self._note("image.engine", where, what if is_a else ABSENT, ABSENT if is_a else what, step.path)

    def _objects(self) -> None:
        states = [{digest: "whole" if whole else "damaged" for digest, whole in run.objects.items()}
                  for run in (self._a, self._b)]  # fmt: skip
        for digest in sorted({*states[0], *states[1]}):
            if "damaged" in (one := states[0].get(digest, ABSENT), other := states[1].get(digest, ABSENT)):
                self._note("catalog.object", digest, one, other)


def _types(run: RunFacts) -> FieldValues:
    return {path: row["type"] for path, row in run.rows.items()}


def _and_around(path: str) -> list[str]:
    """A path and those of all that it is in."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
