"""The manifests are the ones that are kept in argo/, and what must hold of every one of them.

TOOLKIT_REGENERATE=1 writes them again.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import argo_cases as cases
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.workflow import LARGEST_CONFIG_MAP, LONGEST_CRON, Manifests
from toolkit.errors import BadInput
from toolkit.model.pipeline import Map, Pipeline
from toolkit.runtime.shared.records import encode

FOLDER = Path(__file__).parent / "argo"


@pytest.fixture(scope="module", params=cases.CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, Manifests]:
    name: str = request.param
    return name, cases.CASES[name]()


def workflow_spec(objects: Manifests) -> dict[str, Any]:
    spec: dict[str, Any] = objects.workflow["spec"]
    workflow: dict[str, Any] = spec.get("workflowSpec", spec)
    return workflow


def templates(objects: Manifests) -> list[dict[str, Any]]:
    """Those that make pods."""
    return [one for one in workflow_spec(objects)["templates"] if "container" in one]


def tasks(objects: Manifests) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workflow_spec(objects)["templates"][0]["dag"]["tasks"]
    return found


def texts(document: Any) -> Iterator[str]:
    """Every text in it, keys too."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from texts(value)
    elif isinstance(document, str):
        yield document


def test_the_manifest_is_as_it_was(case: tuple[str, Manifests]) -> None:
    name, objects = case
    kept = FOLDER / f"{name}.yaml"
    found = cases.kept_text(objects)
    if os.environ.get("TOOLKIT_REGENERATE") == "1":
        assert not os.environ.get("CI"), "golden files are written by a person, who looks at what changed"
        kept.write_text(found, encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8"), "TOOLKIT_REGENERATE=1 writes it anew"


def test_no_manifest_is_kept_that_nothing_makes() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(cases.CASES)


def test_its_text_is_read_as_what_it_was_made_of(case: tuple[str, Manifests]) -> None:
    _, objects = case
    assert list(yaml.safe_load_all(to_text(objects))) == [objects.config_map, objects.workflow]


def test_every_text_of_it_is_in_quotes_unless_no_reader_could_take_it_for_anything_else() -> None:
    text = to_text(
        cases.run([cases.task("y")], {"environment": {"y": "y", "n": "3.10"}, "labels": {"on": "off", "no": "1e3"}})
    )
    for plain in ("y", "n", "on", "no", "off", "3.10", "1e3"):
        assert f": {plain}\n" not in text and f"\n    {plain}:" not in text
    assert 'value: "3.10"' in text and '"on": "off"' in text


@pytest.mark.parametrize("name", cases.CASES)
def test_it_is_a_pure_function_of_what_it_is_made_of(name: str) -> None:
    assert to_text(cases.CASES[name]()) == to_text(cases.CASES[name]())


def test_another_process_with_another_hash_seed_makes_the_same_bytes() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.support import argo_cases as cases\n"
        "from toolkit.backends.argo.compile.manifest import to_text\n"
        "for name in ('everything', 'overrides', 'hostile', 'schedule', 'secrets'):\n"
        "    sys.stdout.buffer.write(to_text(cases.CASES[name]()).encode())\n"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parents[2])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    }
    assert len(made) == 1


def test_no_two_parts_of_a_run_have_a_node_of_one_name() -> None:
    """Argo names nodes by the tasks that lead to them, and pods by their nodes."""

    def first_tasks(**record: Any) -> list[str]:
        spec = workflow_spec(cases.run([cases.task("part-1")], record={"run_id": "run-1", **record}))
        [entry] = (one for one in spec["templates"] if one["name"] == spec["entrypoint"])
        return [task["name"] for task in entry["dag"]["tasks"]]

    names = [*first_tasks(), *first_tasks(part=1), *first_tasks(part=2)]
    assert len(set(names)) == len(names) == 3


@pytest.mark.parametrize("name", cases.FLAT)
def test_each_step_waits_for_the_one_before_it_alone(name: str) -> None:
    chain = tasks(cases.CASES[name]())
    assert "depends" not in chain[0]
    assert [one.get("depends") for one in chain[1:]] == [f"{one['name']}.Succeeded" for one in chain[:-1]]
    assert len({one["name"] for one in chain}) == len(chain)
    if name == "stubs-between":
        assert [one["name"] for one in chain] == ["a", "b"]


def test_every_template_is_used_and_no_two_are_of_one_shape(case: tuple[str, Manifests]) -> None:
    _, objects = case
    shapes = [json.dumps({**one, "name": ""}, sort_keys=True) for one in templates(objects)]
    assert len(set(shapes)) == len(shapes)
    every = workflow_spec(objects)["templates"]
    named = [one["name"] for one in every[1:]]
    assert len(set(named)) == len(named)
    assert set(named) == {task["template"] for one in every for task in one.get("dag", {"tasks": []})["tasks"]}


def test_every_task_gives_the_template_that_it_names_what_it_takes(case: tuple[str, Manifests]) -> None:
    _, objects = case
    taken = {
        one["name"]: [each["name"] for each in one.get("inputs", {"parameters": []})["parameters"]]
        for one in workflow_spec(objects)["templates"]
    }
    for one in workflow_spec(objects)["templates"]:
        names = [task["name"] for task in one.get("dag", {"tasks": []})["tasks"]]
        assert len(set(names)) == len(names)
        for task in one.get("dag", {"tasks": []})["tasks"]:
            given = task.get("arguments", {"parameters": []})["parameters"]
            assert sorted(each["name"] for each in given) == sorted(taken[task["template"]]), task
            # What it refers to is there: the template's own inputs, and outputs of tasks beside it.
            for text in texts(task):
                for own in re.findall(r"inputs\.parameters\.(\w+)", text):
                    assert own in taken[one["name"]], text
                for beside in re.findall(r"{{tasks\.([-\w]+)\.", text):
                    assert beside in names, text


@pytest.mark.parametrize(
    ("name", "count"),
    [("chain", 1), ("getting-started", 2), ("secrets", 3), ("overrides", 4), ("stubs-between", 1), ("stubs-alone", 0)],
)
def test_steps_of_one_shape_share_a_template(name: str, count: int) -> None:
    assert len(templates(cases.CASES[name]())) == count


def test_its_pods_fit_the_restricted_standard_and_user_code_gets_no_token(case: tuple[str, Manifests]) -> None:
    _, objects = case
    assert workflow_spec(objects)["automountServiceAccountToken"] is False
    for one in templates(objects):
        assert one["automountServiceAccountToken"] is False and one["executor"]["serviceAccountName"]
        patch = json.loads(one["podSpecPatch"])
        argos = [*patch["initContainers"], *patch["containers"]]
        assert [container["name"] for container in argos] == ["init", "wait"]
        for context in [one["container"]["securityContext"], *(container["securityContext"] for container in argos)]:
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["runAsNonRoot"] is True
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert one["securityContext"]["runAsUser"] > 0
    kinds = {key for volume in workflow_spec(objects)["volumes"] for key in volume if key != "name"}
    assert kinds <= {"configMap", "persistentVolumeClaim"}


def test_no_secrets_value_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given values where the other environments would find them,
    for name in ("token", "DSN", "other"):
        monkeypatch.setenv(name, "the-secret-value")
    # when the manifest is made,
    objects = cases.secrets()
    # then it has references only, each step's its own,
    opened = [gzip.decompress(base64.b64decode(one)).decode() for one in objects.config_map["binaryData"].values()]
    assert "the-secret-value" not in to_text(objects) + "".join(opened)
    by_task = {one["name"]: one["template"] for one in tasks(objects)}
    found = {
        step: {
            variable["name"]: tuple(variable["valueFrom"]["secretKeyRef"].values())
            for one in templates(objects)
            if one["name"] == template
            for variable in one["container"]["env"]
            if "valueFrom" in variable
        }
        for step, template in by_task.items()
    }
    every = {"DSN": ("postgres", "dsn")}
    token = {"token": ("toolkit-secrets", "token")}
    assert found == {
        "none": every,
        "one": {**every, **token},
        # and one that both name is the configuration's.
        "two": {**every, **token, "other": ("toolkit-secrets", "other")},
        "again": {**every, **token},
    }


def test_argo_and_kubernetes_find_nothing_of_the_users_to_replace() -> None:
    # Of the many places of a manifest in which Argo looks for {{…}}, ours are the only ones.
    ours = re.compile(
        r"{{(workflow\.name|inputs\.parameters\.(path|[pcag]\d+)|item(\.(i|[cg]\d+))?|=asInt\(retries\) \+ 1"
        r"|=asInt\(inputs\.parameters\.p\d+\) \+ \d|tasks\.[-\w]+\.outputs\.parameters\.[cag]\d+)}}"
    )
    for name in cases.CASES:
        spec = workflow_spec(cases.CASES[name]())
        patches = {one["podSpecPatch"] for one in spec["templates"] if "podSpecPatch" in one}
        for text in set(texts(spec)) - patches:
            rest = ours.sub("", text)
            assert "{{" not in rest and "}}" not in rest, text
        assert not any("{{" in one.get("podSpecPatch", "") for one in spec["templates"])
    # Every $ of the user's is doubled, which is how Kubernetes writes one.
    for one in templates(cases.hostile()):
        for variable in one["container"]["env"]:
            if "value" in variable:
                assert variable["value"].replace("$$", "$") == cases.HOSTILE_VALUES.get(variable["name"], "0")


def test_a_plan_and_what_it_runs_with_are_in_the_config_map() -> None:
    executor: dict[str, Any] = {"environment": {"A": "1"}}
    config = cases.configured(executor)
    objects = cases.run([cases.task("a")], executor)
    files = {name: gzip.decompress(base64.b64decode(one)) for name, one in objects.config_map["binaryData"].items()}
    assert files["plan.json.gz"] == cases.planned([cases.task("a")], config).to_json()
    assert json.loads(files["parameters.json.gz"]) == {"y": "n", "x": 1}
    assert json.loads(files["run.json.gz"])["run_id"] == "run-1"


def test_a_long_chain_is_as_long_as_its_steps_and_far_from_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {}
    for length in (100, 1000):
        objects = cases.chain(length)
        assert len(templates(objects)) == 1 and len(tasks(objects)) == length
        sizes[length] = tuple(len(encode(one)) for one in (objects.workflow, objects.config_map))
    with capsys.disabled():
        print(f"\n1,000 steps in a row: Workflow {sizes[1000][0]:,} bytes, ConfigMap {sizes[1000][1]:,} bytes")
    assert sizes[1000][0] < 11 * sizes[100][0]
    # A Workflow and its status share a MiB, of which the status of a thousand steps takes its part compressed.
    assert sizes[1000][0] < 256 * 1024
    assert sizes[1000][1] < LARGEST_CONFIG_MAP / 10


def test_a_manifest_is_as_large_for_many_items_as_for_few() -> None:
    sizes = [
        len(
            encode(
                cases.run(
                    [Map("m", cases.sequence(cases.task("a")), "xs", "x")], parameters={"xs": [0] * count}
                ).workflow
            )
        )
        for count in (10, 100_000)
    ]
    assert sizes[1] - sizes[0] < 10


def test_a_deep_tree_is_as_large_as_its_steps() -> None:
    def tree(levels: int) -> Pipeline:
        if not levels:
            return cases.sequence(cases.task("a"))
        return cases.sequence(cases.task("b"), Map("m", tree(levels - 1), "xs", "x"))

    sizes = [len(encode(cases.run(tree(levels).steps, parameters={"xs": []}).workflow)) for levels in (1, 3, 6)]
    assert sizes[2] - sizes[1] < 2 * (sizes[1] - sizes[0])


def test_a_pipeline_that_no_workflow_holds_is_refused() -> None:
    steps = [Map(f"m{number}", cases.sequence(cases.task("a" * 60)), "xs", "x") for number in range(800)]
    with pytest.raises(BadInput, match="the Workflow of this pipeline is"):
        cases.run(steps, parameters={"xs": []})


def test_parameters_that_no_config_map_holds_are_refused() -> None:
    # What can't be compressed away.
    large = base64.b64encode(b"".join(os.urandom(1024) for _ in range(1024))).decode()
    with pytest.raises(BadInput, match="put large values into a file of the catalog"):
        cases.run([cases.task("a")], parameters={"large": large})


def test_a_large_environment_is_in_no_template_and_counts_too() -> None:
    values = {f"V{number}": f"{number:04}" * 20_000 for number in range(8)}
    objects = cases.run([cases.task("a")], {"environment": values})
    assert len(encode(templates(objects)[0])) < 16 * 1024
    assert set(objects.config_map["data"].values()) == set(values.values())
    with pytest.raises(BadInput, match="put large values into a file"):
        cases.run([cases.task("a")], {"environment": {f"V{number}": f"{number:04}" * 20_000 for number in range(20)}})


def test_a_schedules_runs_go_on_with_what_they_began_with_when_it_is_changed() -> None:
    # Given a schedule, and the same one of changed code or parameters,
    given = {"schedules": ["@daily"]}
    first = cases.schedule([cases.task("a")], given)
    others = [
        cases.schedule([cases.task("b")], given),
        cases.schedule([cases.task("a")], given, parameters={}),
        cases.schedule([cases.task("a")], {**given, "environment": {"A": "{{x}}"}}),
    ]
    # then each has a ConfigMap of its own, which nothing changes,
    names = [one.config_map["metadata"]["name"] for one in (first, *others)]
    assert len(set(names)) == 4
    assert all(one.config_map["immutable"] for one in (first, *others))
    # which its templates name, and its label finds,
    for one, name in zip((first, *others), names, strict=True):
        assert name in texts(workflow_spec(one)["volumes"])
        assert one.config_map["metadata"]["labels"]["dev.toolkit/schedule"] == "nightly"
    assert names[3] in texts(templates(others[2])[0])
    # and the same schedule has the same again.
    assert cases.schedule([cases.task("a")], given) == first


def test_a_schedules_runs_have_ids_of_their_own() -> None:
    objects = cases.scheduled()
    assert templates(objects)[0]["container"]["args"][1] == "{{workflow.name}}"
    # Argo adds '-' and the time in seconds to the name; that is a run id of 40 characters at most.
    assert LONGEST_CRON + len("-1700000000") <= 40
    assert cases.schedule([cases.task("a")], {"schedules": ["@daily"]}, name="n" * LONGEST_CRON)
    with pytest.raises(BadInput, match=r"too long for a schedule.*executor.config.name"):
        cases.schedule([cases.task("a")], {"schedules": ["@daily"]}, name="n" * (LONGEST_CRON + 1))
