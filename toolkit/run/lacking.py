"""What the services of a Compose file lack, for whoever runs them one by one: values, files, secrets, a GPU, a decision."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from toolkit.engine import EngineApi
from toolkit.plan import keys
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.runtime.shared.catalog import BadKey
from toolkit.runtime.shared.item_variables import item_variables
from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope, UnsuitableValue
from toolkit.runtime.shared.tree import HANDLER, fill

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import Parameters


class Lacks:
    """What is missing now, with the attempts that the file's run has so far.

    Of a map's step, the first item is looked at.

    Args:
        run_folder: of the records. missing_secrets: names of secrets without a value.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Parameters,
        spellings: Mapping[str, str],
        run_folder: str,
        missing_secrets: Collection[str],
    ) -> None:
        self._plan = plan
        self._run = RunPlan(plan.document(), parameters, spellings)
        self._records = RecordReader(run_folder)
        self._missing_secrets = missing_secrets
        self._has_gpu: bool | None = None

    def of_services(self, names: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
        """Each service that lacks something, with what it lacks.

        Args:
            names: of the services by their tasks' paths.

        Raises:
            Infrastructure: the engine, which is asked where a step has a GPU.
        """
        for step in self._plan.tasks():
            lacks = [*self._items(step), *self._inputs(step, names), *self._surroundings(step)]
            if lacks:
                yield names[step.path], lacks

    def _items(self, step: PlannedStep) -> Iterator[str]:
        for row, variable in item_variables(self._run, step.path):
            if row["type"] == "map":
                yield f"an item of the map {row['path']}: set {variable} to it (a text as it is, all else as JSON)"
            else:
                yield f"an iteration of the loop {row['path']}: it is 0 unless {variable} is set"

    def _inputs(self, step: PlannedStep, names: Mapping[str, str]) -> Iterator[str]:
        """Values and files of steps that have not been run."""
        scope = Scope(self._run, self._records, fill(step.path, []))
        around = [row for row, _ in item_variables(self._run, step.path)]
        wanted: list[tuple[str, str | None, str]] = [
            (row["parameter"], None, row["path"]) for row in around if row["type"] == "map"
        ]
        given = {row.get("item") for row in around}
        for argument in self._arguments(step):
            bound = step.bind.get(argument)
            if bound is None:
                wanted.append((argument, None, step.path))
            elif "value" not in bound:
                wanted.append((bound["name"], bound.get("step"), step.path))
        lacked: dict[str | None, list[str]] = {}
        for name, source, taker in dict.fromkeys(wanted):
            if source is None and name in given:
                continue
            try:
                seen = scope if taker == step.path else Scope(self._run, self._records, fill(taker, []))
                is_there = seen.parameter(name, source) is not None
            except UnsuitableValue:
                is_there = False
            if not is_there:
                lacked.setdefault(source or self._returns(name, taker), []).append(f"the value {name}")
        for get in step.get:
            if "{" in get.key:
                continue
            try:
                scope.files(get.key, get.step)
            except (BadKey, UnsuitableValue):
                lacked.setdefault(get.step or self._puts(get.key, step.path), []).append(f"the file {get.key}")
        for path, what in lacked.items():
            listed = " and ".join(filter(None, [", ".join(what[:-1]), what[-1]]))
            yield listed + (f" of {names.get(path, path)}, which has not been run" if path else "")

    def _arguments(self, step: PlannedStep) -> list[str]:
        """What the step can't do without. A shell step and a notebook take what there is."""
        assert step.task is not None
        required = step.task.takes.required if step.task.takes is not None else ()
        return list(dict.fromkeys([*required, *step.bind, *keys.names_in(step)]))

    def _returns(self, name: str, path: str) -> str | None:
        """The last step before ``path`` that returns a value."""
        found = None
        for row in self._plan.steps:
            if row.path == path:
                return found
            if row.task is not None and name in {one.name for one in row.task.returns}:
                found = row.path
        return found

    def _puts(self, key: str, path: str) -> str | None:
        """The last step before ``path`` that puts this very key."""
        found = None
        for row in self._plan.steps:
            if row.path == path:
                return found
            if row.task is not None and key in row.task.catalog.put:
                found = row.path
        return found

    def _surroundings(self, step: PlannedStep) -> Iterator[str]:
        """What a run would give the step, and docker-compose or this machine does not."""
        assert step.task is not None
        settings = self._plan.settings_of(step)
        every = [secret.environment_variable for secret in settings.secrets]
        secrets = [name for name in dict.fromkeys([*every, *step.task.secrets]) if name in self._missing_secrets]
        if secrets:
            yield f"the secret{'s' if secrets[1:] else ''} {', '.join(secrets)}"
        if settings.resources.limits.gpu and not self._engine_has_gpu():
            yield "a GPU: the engine has no runtime for one"
        if settings.retry.limit:
            yield "its retries: docker-compose starts one attempt"
        rows = {row.path: row for row in self._plan.steps}
        parts = step.path.split("/")
        for index in range(1, len(parts)):
            around = "/".join(parts[:index])
            if around not in rows:
                continue
            if parts[index] == HANDLER and rows[around].handler == f"{around}/{HANDLER}":
                yield f"what starts it when {around} has failed: run it yourself"
            elif rows[around].type == "conditional":
                yield f"the decision of the conditional {around}: run the branch that you want"

    def _engine_has_gpu(self) -> bool:
        if self._has_gpu is None:
            info = EngineApi().json("/info") or {}
            known = [*(info.get("Runtimes") or ()), *(one.get("ID", "") for one in info.get("DiscoveredDevices") or ())]
            self._has_gpu = any("nvidia" in one for one in known)
        return self._has_gpu
