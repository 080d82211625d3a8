"""What a preflight says of a cluster's objects: each fault is found, named and comes with what mends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.local_project import LocalProject
from toolkit import report
from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT, Image
from toolkit.backends.argo.preflight import (
    ACCOUNT_RIGHTS,
    SCHEDULE_RIGHTS,
    USER_RIGHTS,
    Account,
    Claim,
    Controllers,
    Denied,
    Facts,
    Finding,
    Needs,
    SecretKeys,
    SimilarSteps,
    judge,
    needs_of,
    require,
)
from toolkit.config.load import load
from toolkit.config.settings import ResourceList, Resources, Toleration
from toolkit.data import data_path
from toolkit.errors import Infrastructure

Object = dict[str, Any]
DENIED = Denied('nodes is forbidden: User "ann" cannot list resource "nodes"')
TOKEN = SecretKeys("kubernetes.io/service-account-token", {"token": True, "ca.crt": True}, DEFAULT_ACCOUNT)


def node(name: str = "one", labels: Mapping[str, str] | None = None, **more: Any) -> Object:
    images = [{"names": ["docker.io/library/app:1"]}]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": more.get("spec", {}),
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110", **more.get("allocatable", {})},
            "images": more.get("images", images),
        },
    }


def claim(mode: str = "ReadWriteMany", phase: str = "Bound", **more: Any) -> Object:
    spec = {"accessModes": [mode], **more.get("spec", {})}
    status = {"phase": phase, "capacity": {"storage": "10Gi"}}
    return {"metadata": {"name": "data", **more.get("metadata", {})}, "spec": spec, "status": status}


def volume(**spec: Any) -> Object:
    return {"metadata": {"name": "pv"}, "spec": spec}


def controller(
    *args: str, place: str = "argo", image: str = "quay.io/argoproj/workflow-controller:v3.7.18", ready: int = 1
) -> Object:
    container = {"name": "workflow-controller", "image": image, "command": ["workflow-controller"], "args": list(args)}
    template = {"metadata": {"labels": {"app": "workflow-controller"}}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": "workflow-controller", "namespace": place},
        "spec": {"replicas": 1, "template": template},
        "status": {"readyReplicas": ready},
    }


NEEDS = Needs(claims=("data",), secrets={"postgres": ("connection_string", "password")}, images=(Image("app:1", True),))
FACTS = Facts(
    context="test",
    namespace_name="team",
    server="https://api",
    version="v1.34.4",
    user="ann@example.org",
    namespace={"metadata": {"name": "team"}, "status": {"phase": "Active"}},
    api={"resources": [{"name": name} for name in ("workflows", "workflowtaskresults", "cronworkflows")]},
    controllers=Controllers((controller(),), everywhere=True),
    lacking=(),
    accounts={DEFAULT_ACCOUNT: Account({"metadata": {}}, f"{DEFAULT_ACCOUNT}.service-account-token", TOKEN, ())},
    claims={"data": Claim(claim(), volume())},
    secrets={"postgres": SecretKeys("Opaque", {"connection_string": True, "password": True})},
    nodes=(node(),),
)


def found(needs: Needs = NEEDS, **facts: Any) -> list[Finding]:
    """The findings that are not ok."""
    return [one for one in judge(replace(FACTS, **facts), needs) if one.level != "ok"]


def only(needs: Needs = NEEDS, **facts: Any) -> Finding:
    findings = found(needs, **facts)
    assert len(findings) == 1, findings
    return findings[0]


def of_account(**changes: Any) -> dict[str, Account]:
    return {DEFAULT_ACCOUNT: replace(FACTS.accounts[DEFAULT_ACCOUNT], **changes)}


def of_claim(*arguments: Any, **more: Any) -> dict[str, Claim]:
    return {"data": Claim(*arguments, **more)}


def test_a_cluster_that_has_all_is_all_ok() -> None:
    findings = judge(FACTS, NEEDS)

    assert {one.level for one in findings} == {"ok"} and len(findings) == 10
    assert not any(one.remedy for one in findings)
    require(findings)


def test_a_submit_is_refused_in_one_sentence_that_says_how_many_more() -> None:
    findings = judge(replace(FACTS, claims=of_claim(None), secrets={"postgres": None}), NEEDS)

    with pytest.raises(Infrastructure) as raised:
        require(findings)
    assert raised.value.message == (
        "there is no claim data, which the steps mount; to fix it: toolkit doctor --manifests claim=data | "
        "kubectl --context test -n team apply -f - (1 more: `toolkit doctor --env argo` lists all)"
    )


def test_what_may_not_be_seen_is_unknown_and_no_error() -> None:
    denied = {
        "namespace": DENIED,
        "api": DENIED,
        "controllers": Controllers(DENIED, everywhere=False),
        "lacking": DENIED,
        "accounts": of_account(account=DENIED, token=DENIED, lacking=DENIED),
        "claims": of_claim(DENIED),
        "secrets": {"postgres": DENIED, "login": DENIED},
        "nodes": DENIED,
        "quotas": DENIED,
        "limit_ranges": DENIED,
    }
    steps = (SimilarSteps(node_selector={"disk": "fast"}),)
    findings = found(replace(NEEDS, pull_secrets=("login",), steps=steps), **denied)

    assert {one.level for one in findings} == {"unknown"} and len(findings) == 13
    require(findings)


def test_a_name_with_spaces_is_quoted_in_commands() -> None:
    facts: dict[str, Any] = {"context": "my cluster", "claims": of_claim(None)}
    assert only(**facts).remedy.endswith("kubectl --context 'my cluster' -n team apply -f -")
    assert only(**{**facts, "context": ""}).remedy.endswith("| kubectl -n team apply -f -")


# namespace and Argo


def test_where_there_is_no_namespace_nothing_in_it_is_looked_for() -> None:
    finding = only(namespace=None, claims=of_claim(None), secrets={"postgres": None})

    assert (finding.level, finding.what) == ("error", "there is no namespace team")
    assert finding.remedy == "toolkit doctor --manifests namespace=team | kubectl --context test apply -f -"


def test_a_namespace_that_is_going_takes_no_run() -> None:
    going = {"metadata": {"name": "team"}, "status": {"phase": "Terminating"}}
    assert "is being deleted" in only(namespace=going).what


def test_root_is_refused_where_the_restricted_standard_is_enforced() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"metadata": {"name": "team", "labels": labels}}
    needs = replace(NEEDS, steps=(SimilarSteps(("a",), user=1000), SimilarSteps(("b", "c"), user=0)))

    assert found(namespace=namespace) == []
    finding = only(needs, namespace=namespace)
    assert finding.level == "error" and "the steps 'b', 'c' would run as root" in finding.what


def test_argo_that_is_not_there_or_too_old() -> None:
    finding = only(api=None)
    assert finding.level == "error" and "has no Argo Workflows" in finding.what and "kubectl" in finding.remedy

    known = {"resources": [{"name": "workflows"}]}
    assert "does not know workflowtaskresults" in only(api=known).what
    partly = {"resources": [{"name": "workflows"}, {"name": "workflowtaskresults"}]}
    assert found(api=partly) == []
    assert "does not know cronworkflows" in only(replace(NEEDS, schedules=True), api=partly).what


@pytest.mark.parametrize(
    ("image", "schedules", "level"),
    [
        ("argoproj/workflow-controller:v3.6.0", True, None),
        ("argoproj/workflow-controller:v4.0.7", False, None),
        ("localhost:5000/controller", False, None),
        ("argoproj/workflow-controller:v3.5.2", False, "warning"),
        ("argoproj/workflow-controller:v3.5.2", True, "error"),
        ("argoproj/workflow-controller:v3.3.1", False, "error"),
    ],
)
def test_the_version_of_the_controller(image: str, schedules: bool, level: str | None) -> None:
    seen = Controllers((controller(image=image),), everywhere=True)
    assert [one.level for one in found(replace(NEEDS, schedules=schedules), controllers=seen)] == (
        [level] if level else []
    )


def test_a_controller_must_run() -> None:
    none = only(controllers=Controllers((), everywhere=True))
    assert (none.level, none.what) == ("error", "no workflow controller runs on the cluster")
    unready = only(controllers=Controllers((controller(ready=0),), everywhere=True))
    assert unready.level == "error" and "argo/workflow-controller has no pod that is ready" in unready.what
    stopped = controller(ready=0)
    stopped["spec"]["replicas"] = 0
    scaled = only(controllers=Controllers((stopped,), everywhere=True))
    assert scaled.remedy == "kubectl --context test -n argo scale deployment/workflow-controller --replicas=1"


def test_a_controller_that_can_not_be_seen_may_still_run() -> None:
    assert only(controllers=Controllers((), everywhere=False)).level == "unknown"
    # It may be no Deployment of a name that is known.
    assert only(controllers=Controllers((), everywhere=True, active=True)).level == "warning"


@pytest.mark.parametrize(
    ("args", "place", "watches"),
    [
        (["--namespaced"], "team", True),
        (["--namespaced"], "argo", False),
        (["--namespaced", "--managed-namespace", "team"], "argo", True),
        (["--namespaced", "--managed-namespace=other"], "team", False),
        (["--managed-namespace=other"], "argo", True),
        (["--namespaced=false"], "argo", True),
    ],
)
def test_a_controller_must_watch_the_namespace(args: list[str], place: str, watches: bool) -> None:
    seen = Controllers((controller(*args, place=place),), everywhere=True)
    if watches:
        assert found(controllers=seen) == []
    else:
        finding = only(controllers=seen)
        assert finding.level == "error" and "alone, not team" in finding.what
        # Another one, which this user can't see, may watch it.
        assert only(controllers=replace(seen, everywhere=False)).level == "unknown"


@pytest.mark.parametrize("data", [{"instanceID": "blue"}, {"config": "parallelism: 3\ninstanceID: 'blue'\n"}])
def test_a_controller_of_another_instance_would_leave_the_run_alone(data: dict[str, str]) -> None:
    seen = Controllers((controller(),), everywhere=True, settings={"argo": {"data": data}})
    finding = only(controllers=seen)

    assert finding.level == "error" and "its instance 'blue'" in finding.what
    assert finding.remedy == "set executor.config.labels: {workflows.argoproj.io/controller-instanceid: blue}"
    labels = {"workflows.argoproj.io/controller-instanceid": "blue"}
    assert found(replace(NEEDS, labels=labels), controllers=seen) == []


def test_a_controller_that_takes_workflow_templates_alone() -> None:
    data = {"workflowRestrictions": "templateReferencing: Strict\n"}
    seen = Controllers((controller(),), everywhere=True, settings={"argo": {"data": data}})
    assert "refuses Workflows without a WorkflowTemplate" in only(controllers=seen).what


# rights, accounts, secrets


def test_every_right_that_is_missing_is_named() -> None:
    finding = only(
        lacking=(("create", "argoproj.io", "workflows"), ("patch", "argoproj.io", "workflows"), USER_RIGHTS[-1])
    )

    assert finding.what == "you may not do all of this in team: create, patch workflows.argoproj.io; list events"
    assert finding.remedy.endswith(
        "kubectl --context test -n team create rolebinding toolkit-ann-example-org --role toolkit-user --user ann@example.org"
    )


def test_the_account_its_token_and_its_rights() -> None:
    made = "toolkit doctor --manifests accounts | kubectl --context test -n team apply -f -"
    missing = only(accounts=of_account(account=None, token=None))
    assert (missing.level, missing.remedy) == ("error", made)
    assert missing.what == "there is no service account toolkit-runner, which the steps' pods have"

    untold = only(accounts=of_account(token=None))
    assert untold.level == "error" and "no Secret toolkit-runner.service-account-token" in untold.what

    empty = only(accounts=of_account(token=replace(TOKEN, keys={})))
    assert empty.level == "error" and "holds no token yet" in empty.what
    for wrong in (replace(TOKEN, type="Opaque"), replace(TOKEN, account="default")):
        assert "is no token of the service account" in only(accounts=of_account(token=wrong)).what

    powerless = only(accounts=of_account(lacking=ACCOUNT_RIGHTS))
    assert powerless.what == "the service account toolkit-runner may not create, patch workflowtaskresults.argoproj.io"
    assert powerless.remedy == made


def test_an_account_of_another_name_is_made_under_it() -> None:
    accounts = {"own": Account(None, "own.service-account-token", None, ())}
    assert "--manifests accounts=own |" in only(replace(NEEDS, accounts=("own",)), accounts=accounts).remedy


def test_a_secret_and_its_keys() -> None:
    missing = only(secrets={"postgres": None})
    assert (missing.level, missing.what) == (
        "error",
        "there is no Secret postgres, of which the steps get connection_string, password",
    )
    assert missing.remedy == (
        "kubectl --context test -n team create secret generic postgres "
        "--from-literal=connection_string=… --from-literal=password=…"
    )
    lacking = only(secrets={"postgres": SecretKeys("Opaque", {"password": True})})
    assert lacking.what == "the Secret postgres has no key connection_string"
    assert lacking.remedy == (
        """kubectl --context test -n team patch secret postgres --type merge -p '{"stringData": {"connection_string": "…"}}'"""
    )
    empty = only(secrets={"postgres": SecretKeys("Opaque", {"connection_string": True, "password": False})})
    assert (empty.level, empty.what) == ("warning", "the key password of the Secret postgres is empty")


def test_an_image_pull_secret_must_be_a_login() -> None:
    needs = replace(NEEDS, pull_secrets=("login",))
    secrets = dict(FACTS.secrets)
    good = SecretKeys("kubernetes.io/dockerconfigjson", {".dockerconfigjson": True})

    assert found(needs, secrets={**secrets, "login": good}) == []
    assert "there is no image pull secret login" in only(needs, secrets={**secrets, "login": None}).what
    wrong = only(needs, secrets={**secrets, "login": SecretKeys("Opaque", {})})
    assert wrong.level == "error" and "its type is Opaque" in wrong.what


# claims


@pytest.mark.parametrize("mode", ["ReadOnlyMany", "ReadWriteOncePod"])
def test_an_access_mode_that_can_not_do(mode: str) -> None:
    finding = only(claims=of_claim(claim(mode), volume()))
    assert finding.level == "error" and f"the claim data is {mode}" in finding.what and "ReadWriteMany" in finding.what


def test_read_write_once_and_several_nodes() -> None:
    two = (node("one"), node("two"))
    once = of_claim(claim("ReadWriteOnce"), volume())
    needs = replace(NEEDS, images=())

    assert found(needs, claims=once) == []
    finding = only(needs, claims=once, nodes=two)
    assert finding.level == "error" and "may run on 2 nodes (one, two)" in finding.what
    assert (
        "set executor.config.node_selector: {kubernetes.io/hostname: one}, or make it a ReadWriteMany" in finding.remedy
    )

    pinned = replace(needs, steps=(SimilarSteps(node_selector={"kubernetes.io/hostname": "two"}),))
    assert found(pinned, claims=once, nodes=two) == []
    apart = replace(needs, steps=(*pinned.steps, SimilarSteps(node_selector={"kubernetes.io/hostname": "one"})))
    assert only(apart, claims=once, nodes=two).level == "error"
    # A node that takes none of the pods is none of several.
    cordoned = node("two", spec={"unschedulable": True})
    assert found(needs, claims=once, nodes=(node("one"), cordoned)) == []


def test_a_volume_of_one_node_keeps_the_pods_there() -> None:
    needs, two = replace(NEEDS, images=()), (node("one"), node("two"))
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["one"]}]}]
    local = volume(local={"path": "/data"}, nodeAffinity={"required": {"nodeSelectorTerms": terms}})

    assert found(needs, claims=of_claim(claim("ReadWriteOnce"), local), nodes=two) == []
    # While the volume can't be seen, it may be such a one.
    assert only(needs, claims=of_claim(claim("ReadWriteOnce"), DENIED), nodes=two).level == "warning"
    assert only(needs, claims=of_claim(claim("ReadWriteOnce"), volume()), nodes=DENIED).level == "unknown"


def test_a_folder_of_the_node_is_another_one_on_each() -> None:
    needs = replace(NEEDS, images=())
    many = of_claim(claim("ReadWriteMany"), volume(hostPath={"path": "/data"}))

    assert "a folder of one node" in only(needs, claims=many, nodes=(node("one"), node("two"))).what
    [told] = [one.what for one in judge(replace(FACTS, claims=many), needs) if "claim" in one.what]
    assert told.endswith("(a volume of the kind hostPath must itself be writable for the group 1000)")


def test_a_volume_that_is_only_read_may_be_a_claim_that_is_only_read() -> None:
    needs = replace(NEEDS, read_only=frozenset({"data"}))
    two = (node("one"), node("two"))
    assert found(needs, claims=of_claim(claim("ReadOnlyMany"), volume()), nodes=two) == []
    assert only(claims=of_claim(claim("ReadOnlyMany"), volume())).level == "error"
    # Nothing has to be writable for the steps' group.
    shared = of_claim(claim("ReadWriteMany"), volume(nfs={"server": "s", "path": "/"}))
    [told] = [one.what for one in judge(replace(FACTS, claims=shared), needs) if "claim" in one.what]
    assert "writable" not in told


def test_a_claim_that_waits_for_its_first_pod_is_well() -> None:
    waiting = claim(phase="Pending", spec={"storageClassName": "fast"})
    late = {"volumeBindingMode": "WaitForFirstConsumer"}
    event = {"reason": "WaitForFirstConsumer", "message": "waiting for first consumer"}

    assert found(claims=of_claim(waiting, storage_class=late)) == []
    assert found(claims=of_claim(waiting, storage_class=DENIED, events=(event,))) == []


def test_a_claim_that_is_not_bound_says_why() -> None:
    pending = claim(phase="Pending", spec={"storageClassName": "fast"})
    events = (
        {"reason": "ProvisioningFailed", "message": "no space", "lastTimestamp": "2026-01-02T00:00:00Z"},
        {"reason": "ProvisioningFailed", "message": "older", "lastTimestamp": "2026-01-01T00:00:00Z"},
    )

    assert "is Pending: no space" in only(claims=of_claim(pending, storage_class={}, events=events)).what
    assert "there is no storage class fast" in only(claims=of_claim(pending)).what
    assert "has no default one" in only(claims=of_claim(claim(phase="Pending"))).what
    assert "is Lost" in only(claims=of_claim(claim(phase="Lost"), volume())).what


def test_a_claim_that_is_being_deleted() -> None:
    going = claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert only(claims=of_claim(going, volume())).what == "the claim data is being deleted"


# nodes, quotas, images


def test_no_node_that_fits() -> None:
    def level(steps: SimilarSteps, *nodes: Object) -> tuple[str, str]:
        finding = only(replace(NEEDS, steps=(steps,), images=()), nodes=nodes)
        return finding.level, finding.what

    fast = SimilarSteps(("train",), node_selector={"disk": "fast"})
    assert level(fast, node()) == (
        "error",
        "no node of the cluster has the labels disk=fast that the step 'train' must have",
    )
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    tainted = node(spec={"taints": [taint]})
    assert level(SimilarSteps(), tainted)[1] == "no node takes pods of the steps now: they have the taints gpu"
    # A pool that makes nodes as they are needed has some that are not there yet.
    assert level(fast, node(labels={"cloud.google.com/gke-nodepool": "a"}))[0] == "warning"


@pytest.mark.parametrize(
    "toleration",
    [
        Toleration(operator="Exists"),
        Toleration(key="gpu", operator="Exists", effect="NoSchedule"),
        Toleration(key="gpu", value="yes"),
    ],
)
def test_a_taint_that_is_tolerated(toleration: Toleration) -> None:
    tainted = node(spec={"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]})
    needs = replace(NEEDS, steps=(SimilarSteps(tolerations=(toleration,)),))
    assert found(needs, nodes=(tainted,)) == []
    for other in (Toleration(key="gpu", value="no"), Toleration(key="gpu", operator="Exists", effect="NoExecute")):
        assert found(replace(NEEDS, steps=(SimilarSteps(tolerations=(other,)),), images=()), nodes=(tainted,))


@pytest.mark.parametrize(
    ("resources", "what"),
    [
        (
            Resources(limits=ResourceList(memory="5Gi")),
            "memory 5Gi for the step 'a': the largest that it may run on has 4096Mi",
        ),
        (
            Resources(requests=ResourceList(cpu="2001m")),
            "cpu 2001m for the step 'a': the largest that it may run on has 2",
        ),
        (
            Resources(limits=ResourceList(gpu=1)),
            "nvidia.com/gpu 1 for the step 'a': the largest that it may run on has 0",
        ),
        # The scheduler goes by the request.
        (Resources(ResourceList(memory="9Gi"), ResourceList(memory="1Gi")), None),
        (Resources(limits=ResourceList(cpu="2", memory="4Gi")), None),
    ],
)
def test_more_than_any_node_has(resources: Resources, what: str | None) -> None:
    needs = replace(NEEDS, steps=(SimilarSteps(("a",), resources=resources),))
    assert [one.what.partition("has ")[2] for one in found(needs)] == ([what] if what else [])


def quota(hard: dict[str, str], used: dict[str, str] | None = None) -> tuple[Object, ...]:
    return ({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"used": used or {}}},)


def limit_range(**rule: Any) -> tuple[Object, ...]:
    return ({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", **rule}]}},)


def test_a_quota_that_wants_requests_of_every_container() -> None:
    quotas = quota({"limits.memory": "8Gi", "cpu": "4", "pods": "10"})
    finding = only(quotas=quotas)

    assert finding.level == "warning" and "without limits.memory, cpu" in finding.what
    assert finding.remedy == "toolkit doctor --manifests limits | kubectl --context test -n team apply -f -"
    given = limit_range(default={"cpu": "1", "memory": "1Gi"})
    assert found(quotas=quotas, limit_ranges=given) == []
    assert found(quotas=quota({"pods": "10", "services": "0"})) == []


def test_a_quota_that_is_used_up_or_too_small() -> None:
    used = only(quotas=quota({"pods": "3"}, {"pods": "3"}))
    assert (used.level, used.what) == ("warning", "the quota q is used up: pods 3")
    steps = SimilarSteps(("a",), resources=Resources(limits=ResourceList(memory="2Gi")))
    given = limit_range(default={"memory": "1Gi"})
    small = only(replace(NEEDS, steps=(steps,)), quotas=quota({"limits.memory": "1Gi"}), limit_ranges=given)
    assert small.level == "error" and "each pod of the step 'a' takes 2Gi" in small.what


def test_a_limit_range_that_refuses_the_steps() -> None:
    steps = SimilarSteps(("a",), resources=Resources(ResourceList(memory="2Gi"), ResourceList(cpu="10m")))
    needs = replace(NEEDS, steps=(steps,))
    most = only(needs, limit_ranges=limit_range(max={"memory": "1Gi"}))
    assert (most.level, most.what) == (
        "error",
        "the LimitRange l allows memory 1Gi, and the limit of the step 'a' is 2Gi",
    )
    least = only(needs, limit_ranges=limit_range(min={"cpu": "100m"}))
    assert least.what == "the LimitRange l requires cpu 100m, and the request of the step 'a' is 10m"
    assert found(limit_ranges=limit_range(max={"memory": "1Gi"}, min={"cpu": "100m"})) == []


def test_an_image_that_is_never_pulled_must_be_on_the_nodes() -> None:
    finding = only(replace(NEEDS, images=(Image("app:2", True),)))
    assert finding.level == "warning" and "the node one did not have it" in finding.what
    assert "docker save app:2 | ctr -n k8s.io images import -" in finding.remedy
    many = node(images=[{"names": [f"docker.io/library/other:{number}"]} for number in range(50)])
    assert only(nodes=(many,)).level == "unknown"
    assert only(nodes=(node("one"), node("two", images=[]))).what.startswith(
        "the image app:1 is never pulled, and the node two"
    )
    assert only(replace(NEEDS, images=(Image("registry/app:2", False),))).level == "unknown"


# needs


def test_the_needs_of_a_plan(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    project.write(
        "toolkit.yaml",
        """\
executor:
  type: argo
  config:
    persistent_volumes: [{name: data, mount_path: /mnt}]
    image_pull_secrets: [login]
    secrets_from_k8s:
      - {environment_variable: dsn, secret_name: postgres, secret_key: connection_string}
    node_selector: {disk: fast}
    overrides:
      large: {node_selector: {disk: large}, service_account_name: other, resources: {limits: {memory: 8Gi}}}
""",
    )
    project.write("functions.py", "def step(): pass\n")
    project.write(
        "pipeline.py",
        "from functions import step\nfrom toolkit import Pipeline, PythonTask, ShellTask\np = Pipeline(steps=[\n"
        "  PythonTask(step, name='a', secrets=['token', 'dsn']),\n"
        "  ShellTask('b', 'true'),\n"
        "  PythonTask(step, name='c', overrides={'argo': 'large'}),\n])\n",
    )
    config = load(None, tmp_path).config
    needs = needs_of(project.plan("pipeline.py"), config, {None: Image("app:1", True)})

    assert needs.claims == ("data",)
    assert needs.secrets == {"postgres": ("connection_string",), "toolkit-secrets": ("token",)}
    assert needs.accounts == (DEFAULT_ACCOUNT, "other")
    assert needs.pull_secrets == ("login",)
    assert needs.images == (Image("app:1", True),)
    assert [(steps.paths, dict(steps.node_selector)) for steps in needs.steps] == [
        (("a", "b"), {"disk": "fast"}),
        (("c",), {"disk": "large"}),
    ]
    assert needs.steps[1].resources.limits.memory == "8Gi"

    alone = needs_of(None, config)
    assert alone.secrets == {"postgres": ("connection_string",)} and alone.accounts == (DEFAULT_ACCOUNT,)
    assert [(steps.paths, dict(steps.node_selector)) for steps in alone.steps] == [((), {"disk": "fast"})]


# toolkit doctor


def doctor(project: LocalProject, *options: str) -> tuple[int, dict[str, Any]]:
    """`toolkit doctor --json`: its exit code, and its output, which is what the schema says."""
    code = project.toolkit("doctor", "--json", *options)
    document = json.loads(project.out)
    schema = json.loads((Path(report.__file__).parent / "schemas" / "doctor.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    return code, document


def errors(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["what"], one["remedy"]) for one in document["findings"] if one["level"] == "error"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalProject:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return LocalProject(tmp_path)


def test_a_project_of_plain_processes_that_can_run(project: LocalProject) -> None:
    code, document = doctor(project, "--env", "process")

    assert (code, document["errors"], document["environment"]) == (0, 0, "process")
    assert (document["context"], document["namespace"]) == (None, None)
    assert project.toolkit("doctor", "--env", "process") == 0
    assert project.out.startswith("ok       configuration: none") and "the steps' Python is" in project.out


def test_what_a_pipeline_lacks_here_is_named_with_its_remedy(project: LocalProject, monkeypatch: Any) -> None:
    project.write("toolkit.yaml", "secrets: {type: env-secrets, config: {prefix: OUR_}}\n")
    project.write("functions.py", "def step(): pass\n")
    pipeline = "Pipeline(steps=[PythonTask(step, secrets=['token'])])"
    project.write(
        "pipeline.py", f"from functions import step\nfrom toolkit import Pipeline, PythonTask\np = {pipeline}\n"
    )
    project.write(".toolkit/volumes/toolkit", "a file in the place of the volume")

    code, document = doctor(project, "pipeline.py", "--env", "process")
    assert (code, document["errors"]) == (3, 2)
    [volume, secret] = errors(document)
    assert volume[0].startswith("the volume at /mnt is not a folder") and volume[1].startswith("mv ")
    assert secret == ("the secret token is missing", "export OUR_token=…, or a line OUR_token=… in .env")

    (project.root / ".toolkit/volumes/toolkit").unlink()
    monkeypatch.setenv("OUR_token", "value")
    code, document = doctor(project, "pipeline.py", "--env", "process")
    assert (code, errors(document)) == (0, [])
    assert "value" not in project.out


def test_a_volume_that_the_steps_can_not_write(project: LocalProject) -> None:
    folder = project.root / ".toolkit" / "volumes" / "toolkit"
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    project.write("toolkit.yaml", "executor: {config: {user: 12345}}\n")

    _, document = doctor(project, "--env", "local")
    assert [what for what, _ in errors(document) if "volume" in what] == [
        "the steps' user 12345:1000 may not write in the volume at /mnt, .toolkit/volumes/toolkit"
    ]
    folder.chmod(0o777)
    _, document = doctor(project, "--env", "local")
    assert not [what for what, _ in errors(document) if "volume" in what]


def test_an_engine_that_does_not_answer(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.root}/nothing.sock")
    code, document = doctor(project, "--env", "local")

    assert code == 3
    assert [what.partition(":")[0] for what, _ in errors(document)] == ["no Docker engine answers at unix"]


def test_an_api_server_that_does_not_answer(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "far", "context": {"cluster": "c", "user": "u", "namespace": "team"}}
    kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}]}
    monkeypatch.setenv(
        "KUBECONFIG", str(project.write("kubeconfig", json.dumps({"current-context": "far", **kubeconfig})))
    )

    code, document = doctor(project, "--env", "argo", "--context", "far")
    assert (code, document["context"], document["namespace"]) == (3, "far", "team")
    [(what, remedy)] = errors(document)
    assert "http://127.0.0.1:9 does not answer" in what and "kubectl --context far cluster-info" in remedy


def test_a_context_that_is_not_there_is_bad_input(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(project.root / "nothing"))
    assert project.toolkit("doctor", "--env", "argo") == 2
    assert "there is no kubeconfig" in project.err


def test_manifests_have_the_name_that_is_asked_for(project: LocalProject) -> None:
    assert project.toolkit("doctor", "--manifests", "accounts=own") == 0
    documents = {
        one["kind"]: one for one in yaml.safe_load_all(project.out) if one["metadata"]["name"] != "toolkit-user"
    }

    assert documents["ServiceAccount"]["metadata"]["name"] == "own"
    assert documents["ServiceAccount"]["automountServiceAccountToken"] is False
    assert documents["Secret"]["metadata"]["name"] == "own.service-account-token"
    assert documents["Secret"]["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "own"}
    assert documents["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": "own"}]
    assert documents["RoleBinding"]["roleRef"]["name"] == documents["Role"]["metadata"]["name"]
    assert "toolkit-runner" not in project.out


def test_manifests_are_of_known_bases_and_names(project: LocalProject) -> None:
    for wrong in ("other", "../cluster", "claim=", "claim=a\nb", "claim=UPPER", "limits=name", "all=name"):
        assert project.toolkit("doctor", "--manifests", wrong) == 2
        assert "--manifests" in project.err and project.out == ""


def test_the_role_for_people_has_what_the_preflight_asks_for() -> None:
    [role] = list(yaml.safe_load_all((data_path("k8s") / "accounts" / "user.yaml").read_text()))
    granted = {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {*USER_RIGHTS, *SCHEDULE_RIGHTS} <= granted
