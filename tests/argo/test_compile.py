"""What is compiled is what Argo and Kubernetes read: by Argo's own JSON schema, by kubectl, and by pods that really ran."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support import argo_cases as cases
from tests.support.engine import without_images
from tests.support.workplace import Workplace
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.workflow import Image, Manifests
from toolkit.backends.argo.follow.nodes import node_attempts
from toolkit.backends.argo.workflow_status import FINISHED
from toolkit.runtime.shared.protocol import PROTOCOL

pytestmark = pytest.mark.argo

Object = dict[str, Any]
MANIFESTS = sorted((Path(__file__).parents[1] / "golden" / "argo").glob("*.yaml"))
WAIT = 240.0


def read(manifest: Path) -> list[Object]:
    return list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))


# --- Argo's own JSON schema -------------------------------------------------------------------------------------------


@cache
def schema() -> Object:
    """The JSON schema in Argo's Go module, of the version that the test cluster runs, made strict: it names all fields,
    but forbids no others."""
    from testcluster import build
    from testcluster.places import GO

    version = build.argo_version()
    environment = {**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    answer = json.loads(
        subprocess.run(
            [build.find_go(), "mod", "download", "-json", f"{build.ARGO_MODULE}@{version}"],
            cwd=GO / "argo",
            env=environment,
            check=True,
            capture_output=True,
        ).stdout
    )
    assert f"{build.ARGO_MODULE} {version} {answer['Sum']}\n" in (GO / "argo" / "go.sum").read_text()
    found: Object = json.loads(Path(answer["Dir"], "api", "jsonschema", "schema.json").read_text())
    for definition in found["definitions"].values():
        _make_strict(definition)
    return {"$schema": found["$schema"], "definitions": found["definitions"]}


def _make_strict(one: Any) -> None:
    if not isinstance(one, dict):
        return
    if "properties" in one:
        one.setdefault("additionalProperties", False)
    for inner in (*one.get("properties", {}).values(), one.get("items"), one.get("additionalProperties")):
        _make_strict(inner)


def check(document: Object) -> None:
    reference = f"#/definitions/io.argoproj.workflow.v1alpha1.{document['kind']}"
    jsonschema.Draft202012Validator({**schema(), "$ref": reference}).validate(document)


@pytest.mark.core("Argo's own schema; no pod")
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_one_by_argos_own_schema(manifest: Path) -> None:
    config_map, workflow = read(manifest)
    assert (config_map["apiVersion"], config_map["kind"]) == ("v1", "ConfigMap")
    check(workflow)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("spec.templates.1.retryStrategy", "backoff", "backOff"),
        ("spec.templates.1.retryStrategy.backoff", "maxDuration", "max_duration"),
        ("spec.templates.1", "podSpecPatch", "podspecPatch"),
        ("spec.templates.1.container.env.3.valueFrom.secretKeyRef", "key", "secretKey"),
        ("spec.templates.1.container.securityContext", "runAsNonRoot", "runAsNonroot"),
        ("spec.templates.1.tolerations.1", "tolerationSeconds", "toleration_seconds"),
        ("spec.templates.0.dag.tasks.1", "depends", "dependsOn"),
        ("spec.podGC", "deleteDelayDuration", "deleteDelay"),
        ("spec.ttlStrategy", "secondsAfterCompletion", "secondsAfterCompleted"),
        ("spec", "activeDeadlineSeconds", "activeDeadlineSecond"),
        ("metadata", "labels", "label"),
    ],
)
def test_the_schema_as_it_is_used_here_refuses_a_misspelt_field(path: str, old: str, new: str) -> None:
    workflow = cases.everything().workflow
    check(workflow)
    place: Any = workflow
    for key in path.split("."):
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[new] = place.pop(old)
    with pytest.raises(jsonschema.ValidationError, match=new):
        check(workflow)


@pytest.mark.parametrize(("path", "value"), [("limit", 2), ("limit", None), ("backoff", {"factor": 2.0})])
def test_the_schema_refuses_a_wrong_type(path: str, value: Any) -> None:
    workflow = cases.everything().workflow
    workflow["spec"]["templates"][1]["retryStrategy"][path] = value
    with pytest.raises(jsonschema.ValidationError):
        check(workflow)


# --- kubectl and the API server ---------------------------------------------------------------------------------------


def documents(text: str) -> list[Object]:
    """One JSON document after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:]
    return found


@pytest.mark.parametrize("mode", ["client", "server"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_go_reads_a_manifest_as_python_does(workplace: Workplace, manifest: Path, mode: str) -> None:
    # A namespace that a configuration names is not here.
    text = manifest.read_text(encoding="utf-8")
    options = ["--validate=strict"] if mode == "server" else []
    got = documents(workplace.kubectl("create", f"--dry-run={mode}", *options, "-o", "json", "-f", "-", text=text))
    wanted = read(manifest)
    assert len(got) == len(wanted) == 2
    for one, other in zip(got, wanted, strict=True):
        assert set(one["metadata"]) - set(other["metadata"]) <= {"namespace", "creationTimestamp", "generation", "uid"}
        one["metadata"] = {key: value for key, value in one["metadata"].items() if key in other["metadata"]}
        assert one == other


def pod_of(spec: Object, template: Object, workplace: Workplace) -> Object:
    """The pod that Argo makes of a template, as far as the template decides it: its patch applied by Kubernetes' own rule."""
    argos = {"image": "argoexec", "command": ["argoexec"]}
    container = {**template["container"], "name": "main"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "annotations": template["metadata"]["annotations"], **spec["podMetadata"]},
        "spec": {
            "restartPolicy": "Never",
            "initContainers": [{"name": "init", **argos}],
            "containers": [{"name": "wait", **argos}, container],
            "volumes": [*spec["volumes"], *template.get("volumes", [])],
            "securityContext": template["securityContext"],
            "serviceAccountName": "default",
            "automountServiceAccountToken": False,
            "nodeSelector": template.get("nodeSelector", {}),
            "tolerations": template.get("tolerations", []),
        },
    }
    # A patch of Argo's is one of the pod's spec alone.
    patch = json.dumps({"spec": json.loads(template["podSpecPatch"])})
    asked = ["patch", "--local", "--type=strategic", "-o", "json", "-p", patch, "-f", "-"]
    patched: Object = json.loads(workplace.kubectl(*asked, text=json.dumps(pod)))
    return patched


@pytest.mark.core("the API server's own judgement of the pods; no pod is made")
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_its_pods_are_pods_and_fit_the_restricted_standard(workplace: Workplace, manifest: Path) -> None:
    workflow = read(manifest)[1]
    spec = workflow["spec"].get("workflowSpec", workflow["spec"])
    for template in spec["templates"]:
        if "container" not in template:
            continue
        pod = pod_of(spec, template, workplace)
        patch = json.loads(template["podSpecPatch"])
        # All of the patch is in the pod, and of nobody's container anything was lost by it.
        assert pod["spec"]["terminationGracePeriodSeconds"] == patch["terminationGracePeriodSeconds"]
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"].get("imagePullSecrets") == patch.get("imagePullSecrets")
        assert pod["spec"].get("tolerations", []) == template.get("tolerations", [])
        by_name = {one["name"]: one for one in (*pod["spec"]["containers"], *pod["spec"]["initContainers"])}
        assert set(by_name) == {"init", "wait", "main"}
        assert by_name["wait"]["image"] == by_name["init"]["image"] == "argoexec"
        assert by_name["main"] == {**template["container"], "name": "main"}
        # The server knows every field by name and type, and its admission knows the standard.
        text = json.dumps(pod)
        workplace.kubectl("create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", text=text)


def test_the_server_as_it_is_asked_here_refuses_a_misspelt_field_and_a_pod_beyond_the_standard(
    workplace: Workplace,
) -> None:
    spec = cases.everything().workflow["spec"]
    good = pod_of(spec, spec["templates"][1], workplace)
    misspelt, loose = copy.deepcopy(good), copy.deepcopy(good)
    misspelt["spec"]["enableServiceLink"] = False
    loose["spec"]["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    for pod, message in ((misspelt, "unknown field"), (loose, "restricted")):
        asked = ["-n", workplace.namespace, "create", "--dry-run=server", "--validate=strict", "-f", "-"]
        done = workplace.cluster.run(*asked, text=json.dumps(pod))
        assert done.returncode != 0 and message in done.stderr


# --- pods that really run ---------------------------------------------------------------------------------------------

SHOW = """
import json, os, sys
kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARGO_", "KUBERNETES_"))}
print("SEEN" + json.dumps({"argv": sys.argv[1:], "environment": kept}), flush=True)
exec(os.environ.get("THEN", ""))
"""


@pytest.fixture(scope="module")
def image(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """An image with Python in it that the nodes have."""
    root = tmp_path_factory.mktemp("compile") / f"compiled-{os.urandom(3).hex()}"
    scratch = workplace.project(root)
    scratch.write({"app.py": "VALUE = 1\n"})
    with without_images(root):
        result = scratch.toolkit("build", "--push" if workplace.cluster.foreign else "--load")
        assert result.code == 0, result.err
        yield Image(result.out.strip(), not workplace.cluster.foreign)


class Ran:
    """A Workflow whose pods show what reached them, in place of the runtime."""

    def __init__(self, workplace: Workplace, objects: Manifests) -> None:
        self.workplace = workplace
        self.name = objects.workflow["metadata"]["name"]
        for template in objects.workflow["spec"]["templates"]:
            if "container" in template:
                template["container"]["command"] = ["python3", "-c", SHOW]
        workplace.kubectl("create", "-f", "-", text=to_text(objects))

    def wait(self, limit: float = WAIT) -> Object:
        """The Workflow when it has ended."""
        until = time.monotonic() + limit
        while True:
            found = self.workplace.get("workflow", self.name)
            if found.get("status", {}).get("phase") in FINISHED:
                return found
            assert time.monotonic() < until, found.get("status")
            time.sleep(1)

    def pods(self) -> list[Object]:
        """In the order in which they were made."""
        selector = f"workflows.argoproj.io/workflow={self.name}"
        found: Any = self.workplace.get("pods", "-l", selector)
        return sorted(found["items"], key=lambda pod: pod["metadata"]["creationTimestamp"])

    def log(self, pod: Object) -> str:
        """What its user's container has written; nothing before it runs."""
        return self.workplace.cluster.run(
            "-n", self.workplace.namespace, "logs", pod["metadata"]["name"], "-c", "main"
        ).stdout

    def seen(self, pod: Object) -> Object:
        """What its user's container was given."""
        line = next(line for line in self.log(pod).splitlines() if line.startswith("SEEN"))
        shown: Object = json.loads(line.removeprefix("SEEN"))
        return shown


LATE_NAMES = [name for name in cases.HOSTILE_NAMES if set(name) & set("{$'-\U0002ebf0") or name in ("1e3", "true")]
"""Which somebody behind the YAML could take for his own; that Go reads all of them as they are is tested above."""


@pytest.mark.timeout(600)
def test_names_and_values_reach_a_step_byte_for_byte(workplace: Workplace, image: Image) -> None:
    """A pod for each hostile name, one after the other: about a minute."""
    # Given every name and value that any of the languages between here and there could take for its own,
    steps = [cases.task(name) for name in LATE_NAMES]
    objects = cases.run(steps, {"environment": cases.HOSTILE_VALUES}, name="hostile", images={None: image})
    # when they run in a row,
    ran = Ran(workplace, objects)
    workflow = ran.wait(2 * WAIT)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"].get("message")
    # then each step got its own name, the run's, and every value as it was,
    seen = [ran.seen(pod) for pod in ran.pods()]
    assert sorted(one["argv"] for one in seen) == sorted([str(PROTOCOL), "hostile", name, "1"] for name in LATE_NAMES)
    for one in seen:
        values = {name: value for name, value in one["environment"].items() if name in cases.HOSTILE_VALUES}
        assert values == cases.HOSTILE_VALUES
    # and what Argo says of each is found again under its name.
    assert {one.path for one in node_attempts(workflow, LATE_NAMES)} == set(LATE_NAMES)


FAIL_UNTIL = "sys.exit(0 if sys.argv[-1] == '{number}' else {code})"


@pytest.mark.parametrize(
    ("policy", "code", "numbers", "phase"),
    [
        ("Always", 1, ["1", "2"], "Succeeded"),
        ("OnFailure", 1, ["1", "2"], "Succeeded"),
        ("OnFailure", 117, ["1"], "Failed"),
        ("OnError", 1, ["1"], "Failed"),
        ("OnError", 117, ["1", "2"], "Succeeded"),
    ],
)
def test_a_step_is_tried_again_by_the_rule_of_the_other_environments(
    workplace: Workplace, image: Image, policy: str, code: int, numbers: list[str], phase: str
) -> None:
    name = f"retry-{policy.lower()}-{code}"
    given = {
        "environment": {"THEN": FAIL_UNTIL.format(number=2, code=code)},
        "retry_strategy": {"limit": 1, "retry_policy": policy},
    }
    ran = Ran(workplace, cases.run([cases.task("a b")], given, name=name, images={None: image}))
    assert ran.wait()["status"]["phase"] == phase
    pods = ran.pods()
    assert [ran.seen(pod)["argv"] for pod in pods] == [[str(PROTOCOL), name, "a b", number] for number in numbers]
    assert [pod["metadata"]["annotations"]["dev.toolkit/attempt"] for pod in pods] == numbers


ONCE = """
if sys.argv[-1] == "1":
    marker = "/mnt/" + sys.argv[2]
    if os.path.exists(marker):
        sys.exit(117)
    open(marker, "w").close()
    __import__("time").sleep(300)
"""


def test_an_attempt_whose_pod_is_gone_counts_as_an_error_and_the_next_has_the_next_number(
    workplace: Workplace, image: Image
) -> None:
    # Given a step that refuses to run an attempt twice, as the runtime does,
    given = {
        "environment": {"THEN": ONCE},
        "retry_strategy": {"limit": 1, "retry_policy": "OnError"},
        "persistent_volumes": [{"name": "toolkit", "mount_path": "/mnt"}],
    }
    ran = Ran(workplace, cases.run([cases.task("a")], given, name="gone", images={None: image}))
    until = time.monotonic() + WAIT
    while not [pod for pod in ran.pods() if "SEEN" in ran.log(pod)]:
        assert time.monotonic() < until
        time.sleep(0.5)
    # when its pod is lost, as one is with its node,
    workplace.kubectl("delete", "pod", ran.pods()[0]["metadata"]["name"], "--force", "--grace-period=0")
    # then the second attempt is the one that ends the run. (Argo first makes the lost pod once more, of the same number.)
    workflow = ran.wait()
    assert workflow["status"]["phase"] == "Succeeded"
    assert [(one.number, one.phase == "Succeeded") for one in node_attempts(workflow, ["a"])] == [(1, False), (2, True)]


def test_attempts_are_apart_by_a_back_off_that_grows(workplace: Workplace, image: Image) -> None:
    """Three attempts with waits of 3 and 9 s between them: about 25 s."""
    back_off = {"duration_in_seconds": 3, "factor": 3, "max_duration": 120}
    given = {
        "environment": {"THEN": FAIL_UNTIL.format(number=3, code=1)},
        "retry_strategy": {"limit": 2, "back_off": back_off},
    }
    ran = Ran(workplace, cases.run([cases.task("a")], given, name="back-off", images={None: image}))
    workflow = ran.wait()
    assert workflow["status"]["phase"] == "Succeeded"
    nodes = [node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod"]
    times = sorted((moment(node["startedAt"]), moment(node["finishedAt"])) for node in nodes)
    waits = [after[0] - before[1] for before, after in itertools.pairwise(times)]
    # Argo knows whole seconds.
    assert waits[0] >= 2 and waits[1] >= 8 and waits[1] - waits[0] >= 3


def moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_schedule_starts_runs_whose_ids_are_their_own(workplace: Workplace, image: Image) -> None:
    """Two runs of a schedule have to begin and end: about 25 s."""
    # Given a schedule,
    given = {"schedules": ["@every 5s"], "labels": {"team": "y"}}
    record = {"pipeline": "pipe"}
    objects = cases.schedule([cases.task("a")], given, name="often", record=record, images={None: image})
    for template in objects.workflow["spec"]["workflowSpec"]["templates"]:
        if "container" in template:
            template["container"]["command"] = ["python3", "-c", SHOW]
    workplace.kubectl("create", "-f", "-", text=to_text(objects))
    # when two of its runs have ended,
    until = time.monotonic() + WAIT
    ended: list[Object] = []
    try:
        while len(ended) < 2:
            assert time.monotonic() < until, workplace.get("cronworkflow", "often")
            time.sleep(1)
            found: Any = workplace.get("workflows", "-l", "dev.toolkit/schedule=often,team=y")
            ended = [one for one in found["items"] if one.get("status", {}).get("phase") in FINISHED]
    finally:
        workplace.kubectl("delete", "cronworkflow", "often", "--cascade=orphan")
    # then each has succeeded under an id that a run can have,
    for one in ended:
        name = one["metadata"]["name"]
        assert one["status"]["phase"] == "Succeeded" and name.startswith("often-") and len(name) <= 40
        assert one["metadata"]["annotations"]["dev.toolkit/pipeline"] == "pipe: {{line}} of 'y'"
        pods: Any = workplace.get("pods", "-l", f"workflows.argoproj.io/workflow={name}")
        (pod,) = pods["items"]
        log = workplace.kubectl("logs", pod["metadata"]["name"], "-c", "main")
        # and its step knows it.
        assert json.loads(log.splitlines()[0].removeprefix("SEEN"))["argv"] == [str(PROTOCOL), name, "a", "1"]


def test_a_token_and_a_secret_are_where_they_belong(workplace: Workplace, image: Image) -> None:
    # Given a step with a secret of its own,
    workplace.secret("toolkit-secrets", token="the-secret-value")
    then = "import glob; print('TOKENS', glob.glob('/var/run/secrets/kubernetes.io/serviceaccount/*'))"
    steps = [cases.task("with", ("token",)), cases.task("without")]
    objects = cases.run(steps, {"environment": {"THEN": then}}, name="secret", images={None: image})
    # when it ran,
    ran = Ran(workplace, objects)
    workflow = ran.wait()
    assert workflow["status"]["phase"] == "Succeeded"
    # then it alone had the value,
    pods = ran.pods()
    assert [ran.seen(pod)["environment"].get("token") for pod in pods] == ["the-secret-value", None]
    # no user code had a token of the API's,
    for pod in pods:
        assert "TOKENS []" in ran.log(pod)
    # and nobody who looks at the Workflow or its pods reads the value.
    assert "the-secret-value" not in json.dumps([workflow, pods])
