"""What a Workflow and its ConfigMap are: they do not grow with what maps iterate on, and no node has kept an older one."""

from __future__ import annotations

import json
from typing import Any

from tests.support import argo_cases as cases
from toolkit.backends.argo.compile.workflow import Manifests
from toolkit.backends.argo.submit import config_map_of
from toolkit.model.pipeline import Map, Pipeline, Step
from toolkit.run.preparation import initial_controls


def map_of(items: int) -> Manifests:
    """A map over as many items, and a step that collects."""
    branch = Pipeline((cases.task("first"), cases.task("second")))
    steps: list[Step] = [Map("items", branch, "numbers", "number"), cases.task("collect")]
    given = {"retry_strategy": {"limit": 2}}
    parameters = {"numbers": list(range(items))}
    controls = initial_controls(cases.planned(steps, cases.configured(given)), parameters)[1]
    return cases.run(steps, given, parameters=parameters, name="a-map", controls=controls)


def size(document: dict[str, Any]) -> int:
    return len(json.dumps(document, separators=(",", ":")))


def test_a_workflow_is_the_same_size_whatever_its_maps_iterate_on() -> None:
    made = {items: map_of(items) for items in (10, 10_000, 100_000)}
    sizes = [size(one.workflow) for one in made.values()]
    # But for the digits of two numbers.
    assert max(sizes) - min(sizes) < 10
    assert max(sizes) < 200_000
    assert size(made[100_000].config_map) < 900_000


def test_a_run_that_resumes_has_a_config_map_that_no_node_has_kept() -> None:
    # A node keeps an immutable ConfigMap by its name, as long as it has a pod of it.
    environment = {"A": "{{text}}"}
    first = cases.run([cases.task("a")], {"environment": environment})
    resumed = cases.run([cases.task("a")], {"environment": environment}, record={"run_id": "run-1", "part": 1})
    assert first.config_map["metadata"]["name"] == "run-1" == config_map_of(first.workflow)
    assert resumed.config_map["metadata"]["name"] == "run-1.part-1" == config_map_of(resumed.workflow)
    assert resumed.config_map["immutable"]
    text = json.dumps(resumed.workflow)
    assert '"name": "run-1.part-1", "key"' in text
    assert '"name": "run-1", "key"' not in text
