"""Compares two runs field by field, by what was observed of them and not by what was asked for.

A cause is reported once: what follows from a difference is no difference of its own. So the image's digest is not reported beside
the byte of code that changed it, nor an input beside the return that it was. What two runs can't have in common is in
``fields.NOT_COMPARED``; everything else is compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolkit.report.facts import PlannedRow, RunFacts, StepFacts, put_files
from toolkit.report.fields import (
    FIELD_OF_PLANNED,
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
from toolkit.runtime.shared.tree import paths_to

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import InputRecord


class Absent:
    """Stands for a value that one of the two runs does not have at all; null is a value."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


@dataclass(frozen=True)
class Difference:
    """One value that is not the same.

    Attributes:
        field: one of ``fields.FIELDS``. where: which value of the field.
        steps: the paths of the steps that differ in it; empty for a value of the run itself.
        a, b: the two values as JSON, or ABSENT.
    """

    field: str
    where: str
    steps: tuple[str, ...]
    a: object
    b: object


def compare(a: RunFacts, b: RunFacts) -> list[Difference]:
    """All differences between two runs, in the order of ``fields.FIELDS``; empty when the runs are the same."""
    order = {name: position for position, name in enumerate(FIELDS)}
    return sorted(_Comparison(a, b).differences(), key=lambda difference: order[difference.field])


def compared_fields(a: RunFacts, b: RunFacts) -> list[str]:
    """The fields that can be compared between these two runs."""
    waived = _waived_fields(a, b)
    return [name for name in FIELDS if name not in waived]


def _waived_fields(a: RunFacts, b: RunFacts) -> tuple[str, ...]:
    return WAIVED_BY_PROCESS if "process" in (a.environment, b.environment) else ()


def same(a: object, b: object) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three different values, and keys have an order."""
    if isinstance(a, Absent) or isinstance(b, Absent):
        return a is b
    if isinstance(a, str) or a is None:
        return bool(a == b)
    return json.dumps(a) == json.dumps(b)


def _differing_values(a: FieldValues, b: FieldValues) -> Iterator[tuple[str, object, object]]:
    """The name and the two values of each value that is not the same."""
    for name in [*a, *(name for name in b if name not in a)]:
        value_a, value_b = a.get(name, ABSENT), b.get(name, ABSENT)
        if not same(value_a, value_b):
            yield name, value_a, value_b


Leaves = dict[tuple[str, ...], object]


def _leaves(document: object, path: tuple[str, ...] = ()) -> Leaves:
    """The values of a document by their path. A list is one value, and so is a value of the user's; an empty object has none."""
    is_users = len(path) == 3 and path[0] == "bind" and path[2] == "value"
    if is_users or not isinstance(document, Mapping):
        return {path: document}
    leaves: Leaves = {}
    for key, value in document.items():
        leaves.update(_leaves(value, (*path, str(key))))
    return leaves


class _Comparison:
    def __init__(self, a: RunFacts, b: RunFacts) -> None:
        self._a, self._b = a, b
        self._waived = frozenset(_waived_fields(a, b))
        # The differences by field, place and values: equal ones in several steps are one.
        self._noted: dict[tuple[str, str, str], tuple[object, object, dict[str, None]]] = {}
        # What a later step may take that differs already: values and files by the step that they are from, and steps that
        # ended differently. Each is there for the composites around the step as well.
        self._changed_values: set[tuple[str, str]] = set()
        self._changed_files: set[tuple[str, str]] = set()
        self._changed_steps: set[str] = set()
        for path in {*a.steps} ^ {*b.steps}:
            self._changed_steps.update(paths_to(path))
        # Conditionals that took another branch: nothing inside them can be the same.
        self._diverged: set[str] = set()
        # Steps with a difference in status or course, and all composites around them, which differ because of it.
        self._explained: set[str] = set()
        self._planned_differences_of: dict[tuple[int, int], list[tuple[tuple[str, ...], object, object]]] = {}

    def differences(self) -> list[Difference]:
        a, b = self._a, self._b
        common = [path for path in a.steps if path in b.steps]
        self._compare_values("pipeline", {"name": a.record["pipeline"]}, {"name": b.record["pipeline"]})
        self._compare_given_parameters()
        for path in common:
            if not self._diverged.isdisjoint(paths_to(path)):
                self._changed_steps.update(paths_to(path))
            elif _is_composite(a.steps[path]):
                self._compare_composite(a.steps[path], b.steps[path])
            else:
                self._compare_step(a.steps[path], b.steps[path])
        # Whether a composite's own end is worth a difference depends on what is inside it.
        for path in reversed(common):
            self._compare_composite_end(a.steps[path], b.steps[path])
        self._compare_run_image()
        self._compare_plan()
        self._compare_final_parameters()
        if not self._has_noted("status"):
            self._compare_values("status", {"run": a.status}, {"run": b.status})
        for run in (a, b):
            self._check_image_agreement(run)
        self._compare_objects()
        return [
            Difference(field, where, tuple(steps), value_a, value_b)
            for (field, where, _), (value_a, value_b, steps) in self._noted.items()
        ]

    # --- noting -----------------------------------------------------------------------------------------------------

    def _has_noted(self, *fields: str) -> bool:
        return any(field in fields for field, _, _ in self._noted)

    def _note(self, field: str, where: str, a: object, b: object, step: str | None = None) -> None:
        """Notes a difference."""
        if field in self._waived:
            return
        key = (field, where, json.dumps([a, b], default=repr))
        _, _, steps = self._noted.setdefault(key, (a, b, {}))
        if step is not None:
            steps[step] = None

    def _compare_values(self, field: str, a: FieldValues, b: FieldValues, step: str | None = None) -> set[str]:
        """Compares values by name; returns the names of those that differ."""
        names = set()
        for name, value_a, value_b in _differing_values(a, b):
            names.add(name)
            self._note(field, name, value_a, value_b, step)
        return names

    # --- a composite --------------------------------------------------------------------------------------------------

    def _compare_composite(self, a: StepFacts, b: StepFacts) -> None:
        """Compares what was planned of a composite, and what is decided before anything inside it runs."""
        self._compare_planned(a, b, {})
        parameter, item = a.planned.row.get("parameter"), a.planned.row.get("item")
        parameter_differs = any(name == parameter for _, name in self._changed_values)
        if a.planned.row["type"] == "map" and item and parameter_differs:
            self._changed_values.add((a.path, item))
        for name in ("branch", "items"):
            if name in a.course and name in b.course and a.course[name] != b.course[name]:
                if name == "branch":
                    self._diverged.add(a.path)
                if not parameter_differs:
                    self._note_course(name, a, b)

    def _note_course(self, name: str, a: StepFacts, b: StepFacts) -> None:
        self._note("status", name, a.course[name], b.course[name], a.path)
        self._explained.update(paths_to(a.path))

    def _compare_composite_end(self, a: StepFacts, b: StepFacts) -> None:
        """Compares how a composite ended, unless a difference inside it says so already."""
        if a.path in self._explained or not _is_composite(a):
            return
        if a.status != b.status and self._diverged.isdisjoint(paths_to(a.path)):
            self._note("status", "status", a.status, b.status, a.path)
            self._explained.update(paths_to(a.path))
            self._changed_steps.update(paths_to(a.path))
        elif a.course.get("iterations") != b.course.get("iterations") and (
            not any(name == a.planned.row["parameter"] for _, name in self._changed_values)
        ):
            self._note_course("iterations", a, b)

    # --- a step -----------------------------------------------------------------------------------------------------

    def _compare_step(self, a: StepFacts, b: StepFacts) -> None:
        # By field, the names of the values that differ.
        differing = {"returns": self._compare_outcome(a, b)}
        self._compare_values("attempts", {"number": a.attempts}, {"number": b.attempts}, a.path)
        if a.begin and b.begin:
            differing["image"] = self._compare_image(a, b)
            for observed in OBSERVED_FIELDS:
                if observed.name != "working_folder" or _have_the_same_kind_of_folder(a, b):
                    differing[observed.name] = self._compare_observed(observed, a, b)
        if a.end and b.end:
            differing["inputs"] = self._compare_inputs(a, b)
            self._compare_got_files(a, b)
        self._compare_planned(a, b, differing)
        self._compare_inputs_digest(a, b)

    def _compare_observed(self, observed: ObservedField, a: StepFacts, b: StepFacts) -> set[str]:
        if observed.name in self._waived:
            return set()
        values_a, values_b = _observed_values(observed, self._a, a), _observed_values(observed, self._b, b)
        if observed.name == "command" and self._waived:
            for values in (values_a, values_b):
                values.pop("argv", None)
        if observed.name == "environment" and "compose" in (self._a.environment, self._b.environment):
            for values in (values_a, values_b):
                for name in [name for name in values if name.upper() in PROXIES]:
                    del values[name]
        return self._compare_values(observed.name, values_a, values_b, a.path)

    def _compare_outcome(self, a: StepFacts, b: StepFacts) -> set[str]:
        """Compares how a step ended, and only if that is the same, what it returned and put.

        Returns:
            The names of the returns and metrics that differ.
        """
        if self._compare_values("status", outcome_values(a), outcome_values(b), a.path):
            self._changed_steps.update(paths_to(a.path))
            self._explained.update(paths_to(a.path))
            return set()
        names = set()
        for field, metric in (("returns", False), ("metrics", True)):
            names |= self._compare_values(field, returned_values(a, metric), returned_values(b, metric), a.path)
        self._changed_values |= {(path, name) for name in names for path in paths_to(a.path)}
        files_a, files_b = ({name: file_text(file) for name, file in put_files(step).items()} for step in (a, b))
        for name, file_a, file_b in _differing_values(files_a, files_b):
            self._changed_files.add((a.path, name))
            self._note("catalog", f"put {name}", file_a, file_b, a.path)
        return names

    def _compare_image(self, a: StepFacts, b: StepFacts) -> set[str]:
        """Compares code and image. The digest is compared only where both of the image's parts are the same."""
        id_files = [step.begin.get("image") or {} for step in (a, b)]
        code_differs, environment_differs = (
            not same(id_files[0].get(key), id_files[1].get(key)) for key in ("code", "environment")
        )
        self._compare_values("code", {"code": id_files[0].get("code")}, {"code": id_files[1].get("code")}, a.path)
        values: list[dict[str, object]] = []
        for run, step, id_file in ((self._a, a, id_files[0]), (self._b, b, id_files[1])):
            image: dict[str, object] = {key: value for key, value in id_file.items() if key != "code"}
            image.update(python=step.begin.get("python"), machine=step.begin.get("machine"))
            if not code_differs and not environment_differs:
                image["digest"] = _image_digest(run, step)
            values.append(image)
        if any("digest" in image and image["digest"] is None for image in values):
            # One of the engines named no config. Then the run's record and the id file are all there is.
            for image in values:
                del image["digest"]
        names = self._compare_values("image", values[0], values[1], a.path)
        return names | ({"image"} if code_differs or environment_differs or names else set())

    def _compare_inputs(self, a: StepFacts, b: StepFacts) -> set[str]:
        names = set()
        inputs_a, inputs_b = a.end.get("inputs", {}), b.end.get("inputs", {})
        for name, value_a, value_b in _differing_values(inputs_a, inputs_b):
            if same(*_without_one_reduced(value_a, value_b)):
                continue
            names.add(name)
            if not any(self._is_from_difference(inputs.get(name)) for inputs in (inputs_a, inputs_b)):
                self._note("inputs", name, value_a, value_b, a.path)
        return names

    def _is_from_difference(self, record: InputRecord | None) -> bool:
        """Whether an input is from a step or a value that differs already."""
        if record is None or "from" not in record:
            return False
        return record["from"] in self._changed_steps or (record["from"], record.get("name", "")) in self._changed_values

    def _compare_got_files(self, a: StepFacts, b: StepFacts) -> None:
        got_a, got_b = ({entry["name"]: entry for entry in step.end["catalog"]["get"]} for step in (a, b))
        texts_a, texts_b = ({name: file_text(entry) for name, entry in got.items()} for got in (got_a, got_b))
        for name, file_a, file_b in _differing_values(texts_a, texts_b):
            sources = [got[name].get("from", "") for got in (got_a, got_b) if name in got]
            if not any(path in self._changed_steps or self._is_changed_file(path, name) for path in sources):
                self._note("catalog", f"got {name}", file_a, file_b, a.path)

    def _is_changed_file(self, path: str, name: str) -> bool:
        """Whether a file differed already when it was put. Outside of a map its name begins with positions."""
        parts = name.split("/")
        return any((path, "/".join(parts[start:])) in self._changed_files for start in range(len(parts)))

    def _compare_planned(self, a: StepFacts, b: StepFacts, differing: Mapping[str, set[str]]) -> None:
        """Compares the rows of the plan, apart from values whose effect was observed to differ.

        Args:
            differing: by field, the names of the values that differ.
        """
        for path, value_a, value_b in self._planned_differences(a.planned, b.planned):
            field = next((field for place, field in FIELD_OF_PLANNED.items() if path[: len(place)] == place), None)
            if field is None or not set(path) & differing.get(field, set()):
                self._note("plan", ".".join(path), value_a, value_b, a.path)

    def _planned_differences(self, a: PlannedRow, b: PlannedRow) -> list[tuple[tuple[str, ...], object, object]]:
        """The values that differ between two rows of the plan. They are computed once for all items that run by a row."""
        key = (id(a), id(b))
        if key not in self._planned_differences_of:
            leaves_a, leaves_b = _leaves(a.values), _leaves(b.values)
            self._planned_differences_of[key] = [
                (path, leaves_a.get(path, ABSENT), leaves_b.get(path, ABSENT))
                for path in [*leaves_a, *(path for path in leaves_b if path not in leaves_a)]
                if not same(leaves_a.get(path, ABSENT), leaves_b.get(path, ABSENT))
            ]
        return self._planned_differences_of[key]

    def _compare_inputs_digest(self, a: StepFacts, b: StepFacts) -> None:
        """Compares the hash over all that an outcome depends on, if each part of it is the same."""
        if self._waived or not (a.end and b.end):
            return
        covered = [
            {
                "image": step.begin.get("image"),
                "command": step.begin.get("command"),
                "environment": step.planned.settings["environment"] if step.planned.settings is not None else None,
                "inputs": step.end["inputs"],
                "files": sorted(file_text(entry) for entry in step.end["catalog"]["get"]),
            }
            for step in (a, b)
        ]
        if same(*covered):
            self._compare_values(
                "inputs",
                {"inputs_digest": a.end.get("inputs_digest")},
                {"inputs_digest": b.end.get("inputs_digest")},
                a.path,
            )

    # --- the run ----------------------------------------------------------------------------------------------------

    def _compare_given_parameters(self) -> None:
        spelled = all("spellings" in run.record for run in (self._a, self._b))
        a, b = (_given_parameters(run, spelled) for run in (self._a, self._b))
        names = self._compare_values("parameters", a, b)
        self._changed_values |= {("", name) for name in names}

    def _compare_final_parameters(self) -> None:
        if self._changed_steps:
            return
        changed = {name for _, name in self._changed_values}
        for name, value_a, value_b in _differing_values(self._a.parameters, self._b.parameters):
            # What a reducer made is known only where a version recorded it.
            if name not in changed and _is_reduced(value_a) == _is_reduced(value_b):
                self._note("parameters", f"{name} at the end", value_a, value_b)

    def _compare_run_image(self) -> None:
        """Compares the image in the runs' own records, unless a step's image differs already."""
        if self._has_noted("code", "image"):
            return
        for key in ("digest", "identity"):
            value_a, value_b = (
                image.get(key) if image is not None else None
                for image in (self._a.record["image"], self._b.record["image"])
            )
            self._compare_values("image", {key: value_a}, {key: value_b})

    def _compare_plan(self) -> None:
        a, b = self._a, self._b
        for name, type_a, type_b in _differing_values(_types(a), _types(b)):
            self._note("plan", f"steps[{name}]", type_a, type_b)
        orders = [[path for path in run.rows if path in a.rows and path in b.rows] for run in (a, b)]
        self._compare_values("plan", {"order of steps": orders[0]}, {"order of steps": orders[1]})
        plan_a, plan_b = ({".".join(path): value for path, value in _leaves(run.plan).items()} for run in (a, b))
        self._compare_values("plan", plan_a, plan_b)
        if self._has_noted("plan", "returns", "metrics"):
            return
        # Both follow from the steps. They differ alone only if two versions of toolkit make them differently.
        self._compare_values("plan", {"scopes": a.scopes}, {"scopes": b.scopes})
        self._compare_values("plan", {"plan_hash": a.record["plan_hash"]}, {"plan_hash": b.record["plan_hash"]})

    def _check_image_agreement(self, run: RunFacts) -> None:
        """Checks within one run that the engine's image, the id file inside and the run's record are one image."""
        if run.environment == "process" or run.record["image"] is None:
            return
        first_id_files: dict[str | None, object] = {}
        for step in run.steps.values():
            recorded = _recorded_image(run, step)
            if recorded is None or not step.begin:
                continue
            id_file = step.begin.get("image")
            first_id_file = first_id_files.setdefault(_own_image(step), id_file)
            if not same(first_id_file, id_file):
                self._note_disagreement(run, step, "id file", {"here": id_file, "in an earlier step": first_id_file})
            config, manifest = engine_image(step.engine)
            # An engine with containerd's image store names an image by its manifest, in the form of a config's digest.
            digests = {key: recorded[key] for key in ("digest", "manifest") if key in recorded}
            agrees = config in digests.values() or (manifest is not None and manifest == digests.get("manifest"))
            if step.engine.get("image") and not agrees:
                self._note_disagreement(run, step, "engine", {"engine": step.engine["image"], "record": digests})

    def _note_disagreement(self, run: RunFacts, step: StepFacts, where: str, values: object) -> None:
        is_a = run is self._a
        self._note("image.engine", where, values if is_a else ABSENT, ABSENT if is_a else values, step.path)

    def _compare_objects(self) -> None:
        states_a, states_b = (
            {sha256: "whole" if whole else "damaged" for sha256, whole in run.objects.items()}
            for run in (self._a, self._b)
        )
        for sha256 in sorted({*states_a, *states_b}):
            state_a, state_b = states_a.get(sha256, ABSENT), states_b.get(sha256, ABSENT)
            if "damaged" in (state_a, state_b):
                self._note("catalog.object", sha256, state_a, state_b)


def _given_parameters(run: RunFacts, spelled: bool) -> FieldValues:
    """A run's own parameters, each with the text that spelled it where the value alone does not give it back.

    Args:
        spelled: whether both runs have recorded these texts, which earlier versions did not.
    """
    spellings = run.record["spellings"] if spelled else {}
    return {
        name: {"value": value, "spelling": spellings[name]} if name in spellings else value
        for name, value in run.record["parameters"].items()
    }


def _is_reduced(value: object) -> bool:
    """Whether a value is the description of what a function would make of a map's items."""
    return isinstance(value, Mapping) and set(value) == {"reducer", "items"}


def _without_one_reduced(a: object, b: object) -> tuple[object, object]:
    """Two inputs, without what a reducer made where only one of them has it: earlier versions did not record it."""
    if isinstance(a, Mapping) and isinstance(b, Mapping) and ("reduced" in a) != ("reduced" in b):
        a, b = ({key: value for key, value in taken.items() if key != "reduced"} for taken in (a, b))
    return a, b


def _have_the_same_kind_of_folder(a: StepFacts, b: StepFacts) -> bool:
    """Whether both steps worked in the code's folder itself, or both in a copy of it.

    The runtime makes a copy for each of several items in a container, and beside a read-only root.
    """
    both_alone = ("group" in a.begin) == ("group" in b.begin)
    return both_alone and same(a.begin.get("read_only_root"), b.begin.get("read_only_root"))


def _observed_values(observed: ObservedField, run: RunFacts, step: StepFacts) -> dict[str, object]:
    """The values of a field; none where the record of another version lacks what they are read from."""
    try:
        return dict(observed.read(run, step))
    except (KeyError, TypeError):
        return {}


def _image_digest(run: RunFacts, step: StepFacts) -> object:
    image = _recorded_image(run, step)
    if image is None:
        return engine_image(step.engine)[0]
    return image.get("digest")


def _own_image(step: StepFacts) -> str | None:
    """The setting that names a step's own image."""
    return step.planned.settings["image"] if step.planned.settings is not None else None


def _recorded_image(run: RunFacts, step: StepFacts) -> FieldValues | None:
    """The image of a step as the run's record has it; None where the record is older than that, or the run has no images."""
    setting = _own_image(step)
    return run.record["image"] if setting is None else run.record.get("images", {}).get(setting)


def _is_composite(step: StepFacts) -> bool:
    return step.planned.row["type"] not in ("task", "stub")


def _types(run: RunFacts) -> FieldValues:
    return {path: planned.row["type"] for path, planned in run.rows.items()}
