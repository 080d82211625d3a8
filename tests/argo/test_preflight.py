"""The preflight against a real API server: what is missing is found, and the commands that it prints mend it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster import Cluster, claim
from tests.support.scratch import Scratch
from toolkit.backends.argo import cluster as api
from toolkit.backends.argo.compile.workflow import Image
from toolkit.backends.argo.preflight import Facts, Finding, Needs, SimilarSteps, check, gather
from toolkit.config.settings import ResourceList, Resources

pytestmark = pytest.mark.argo

NEEDS = Needs(claims=("data",), secrets={"postgres": ("connection_string",)})


class Place:
    """A namespace, seen with one kubeconfig."""

    def __init__(self, cluster: Cluster, name: str, kubeconfig: Path, context: str) -> None:
        self.cluster = cluster
        self.name = name
        self.kubeconfig = kubeconfig
        self.context = context

    def connect(self, monkeypatch: pytest.MonkeyPatch) -> api.Cluster:
        monkeypatch.setenv("KUBECONFIG", str(self.kubeconfig))
        return api.connect(self.context, self.name)

    def mend(self, remedy: str) -> None:
        """Runs a remedy as its reader would: as an admin, with the values filled in."""
        command = remedy.removeprefix("an admin grants it: ").replace("…", "value")
        folders = f"{Path(sys.executable).parent}:{Path(self.cluster.kubectl).parent}:{os.environ['PATH']}"
        environ = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "PATH": folders}
        done = subprocess.run(["bash", "-o", "pipefail", "-ec", command], env=environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.fixture
def place(cluster: Cluster, namespace: str) -> Place:
    context = cluster.context or json.loads(cluster.must("config", "view", "-o", "json"))["current-context"]
    return Place(cluster, namespace, cluster.kubeconfig, context)


@pytest.fixture
def ann(place: Place, tmp_path: Path) -> Place:
    """The same namespace as one sees it who has no rights in it yet."""
    place.cluster.must("-n", place.name, "create", "serviceaccount", "ann")
    token = place.cluster.must("-n", place.name, "create", "token", "ann").strip()
    config = json.loads(place.cluster.must("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": "ann", "user": {"token": token}}]
    config["contexts"] = [{"name": place.context, "context": {**config["contexts"][0]["context"], "user": "ann"}}]
    config["current-context"] = place.context
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return Place(place.cluster, place.name, kubeconfig, place.context)


def levels(findings: list[Finding], level: str) -> list[str]:
    return [one.what for one in findings if one.level == level]


def settled(cluster: api.Cluster, needs: Needs) -> list[Finding]:
    """The findings once the cluster has caught up: tokens are made, and rights hold, a moment after they are asked for."""
    until = time.monotonic() + 30
    while levels(check(cluster, needs), "error") and time.monotonic() < until:
        time.sleep(0.2)
    # Once more, because rights may have come into force between two of its questions.
    return check(cluster, needs)


@pytest.mark.core("a remedy that a message names has to work; no pod")
def test_what_is_missing_is_named_and_its_remedies_mend_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = place.connect(monkeypatch)
    findings = check(connected, NEEDS)

    assert levels(findings, "error") == [
        "there is no service account toolkit-runner, which the steps' pods have",
        "there is no claim data, which the steps mount",
        "there is no Secret postgres, of which the steps get connection_string",
    ]
    for one in findings:
        if one.level == "error" and "claim" not in one.what:
            place.mend(one.remedy)
    claim(place.cluster, place.name, "data")

    findings = settled(connected, NEEDS)
    assert levels(findings, "error") == levels(findings, "warning") == levels(findings, "unknown") == []
    told = " ".join(levels(findings, "ok"))
    assert "workflow-controller" in told and "enforces the restricted" in told and "the claim data is bound" in told


def test_the_claims_own_manifest_is_taken_as_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    [finding] = [one for one in check(place.connect(monkeypatch), NEEDS) if "claim data" in one.what]
    place.mend(finding.remedy)

    [after] = [one for one in check(place.connect(monkeypatch), NEEDS) if "claim data" in one.what]
    # Whether it is ever bound is up to the cluster's storage; what is said of it is true either way.
    assert after.level == "ok" or after.what.startswith("the claim data is Pending: ")


@pytest.mark.core("a remedy that a message names has to work; no pod")
def test_a_user_without_rights_is_told_which_and_the_admins_command_grants_them(
    ann: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = ann.connect(monkeypatch)
    findings = check(connected, NEEDS)

    [error] = [one for one in findings if one.level == "error"]
    assert error.what.startswith(
        f"you may not do all of this in {ann.name}: get, list, watch, create, patch, delete workflows."
    )
    assert len(levels(findings, "unknown")) >= 8
    ann.mend(error.remedy)
    ann.mend(
        f"kubectl --context {ann.context} -n {ann.name} create secret generic postgres --from-literal=connection_string=…"
    )
    claim(ann.cluster, ann.name, "data")

    findings = settled(connected, NEEDS)
    assert levels(findings, "error") == []
    # What is outside the namespace stays unseen: the controller, unless it is in here.
    assert [
        what for what in levels(findings, "unknown") if "workflow controller" not in what and "node" not in what
    ] == []


def test_a_user_who_may_see_nodes_knows_more(ann: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = ann.connect(monkeypatch)
    needs = replace(NEEDS, steps=(SimilarSteps(("a",), node_selector={"no": "such"}),))
    [unseen] = [one for one in check(connected, needs) if "whether a node has" in one.what]
    assert unseen.level == "unknown"
    user = f"system:serviceaccount:{ann.name}:ann"
    before = ann.cluster.run("get", "clusterrole", "toolkit-nodes").returncode == 0
    try:
        ann.mend(unseen.remedy)
        wanted = "no node of the cluster has the labels no=such that the step 'a' must have"
        until = time.monotonic() + 30
        while wanted not in levels(check(connected, needs), "error"):
            assert time.monotonic() < until, "the rights never came into force"
            time.sleep(0.2)
    finally:
        listed = json.loads(ann.cluster.must("get", "clusterrolebindings", "-o", "json"))["items"]
        for one in listed:
            if any(subject.get("name") == user for subject in one.get("subjects") or ()):
                ann.cluster.must("delete", "clusterrolebinding", one["metadata"]["name"])
        if not before:
            ann.cluster.must("delete", "clusterrole", "toolkit-nodes")


def test_what_the_objects_of_a_real_cluster_say(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = place.connect(monkeypatch)
    for kind, name, spec in (
        ("ResourceQuota", "q", {"hard": {"limits.memory": "1Gi", "pods": "0"}}),
        ("LimitRange", "l", {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
        ("PersistentVolumeClaim", "pod", {"accessModes": ["ReadWriteOncePod"], **size("1Gi")}),
        (
            "PersistentVolumeClaim",
            "lost",
            {"accessModes": ["ReadWriteMany"], "storageClassName": "none", **size("1Gi")},
        ),
    ):
        metadata = {"name": name, "namespace": place.name}
        place.cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})
    place.mend(f"kubectl -n {place.name} create secret generic login --from-literal=user=…")
    large = Resources(limits=ResourceList(cpu="2000", memory="2Gi"))
    image = Image("no-such-image:1", True)
    steps = (SimilarSteps(("a",), user=0), SimilarSteps(("b",), resources=large))
    needs = Needs(claims=("pod", "lost"), pull_secrets=("login",), images=(image,), steps=steps)

    findings = check(connected, needs)
    errors, warnings = levels(findings, "error"), levels(findings, "warning")
    for start in (
        f"the namespace {place.name} enforces the restricted Pod Security Standard, and the step 'a' would run as root",
        "the claim pod is ReadWriteOncePod",
        "the claim lost is Pending: there is no storage class none",
        "the image pull secret login holds no registry login: its type is Opaque",
        "no node has cpu 2000 for the step 'b'",
        "the LimitRange l allows cpu 1, and the limit of the step 'b' is 2000",
        "the quota q has limits.memory 1Gi for all pods, and each pod of the step 'b' takes 2Gi",
    ):
        assert [what for what in errors if what.startswith(start)], (start, errors)
    assert [what for what in warnings if what.startswith("the quota q refuses containers without limits.memory")]
    assert [what for what in warnings + levels(findings, "unknown") if what.startswith("the image no-such-image:1")]


def size(text: str) -> dict[str, Any]:
    return {"resources": {"requests": {"storage": text}}}


def test_where_there_is_no_namespace(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(place.kubeconfig))
    findings = check(api.connect(place.context, "no-such-namespace"), NEEDS)
    assert levels(findings, "error") == ["there is no namespace no-such-namespace"]


def test_no_value_of_a_secret_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mend(f"kubectl -n {place.name} create secret generic postgres --from-literal=connection_string=hush-hush")
    facts = gather(place.connect(monkeypatch), NEEDS)
    assert isinstance(facts, Facts) and "hush" not in repr(facts) and "aHVza" not in repr(facts)


def test_the_command_says_the_same(place: Place, scratch: Scratch) -> None:
    scratch.environ = {"KUBECONFIG": str(place.kubeconfig)}
    scratch.write({"toolkit.yaml": "executor: {type: argo, config: {service_account_name: own}}\n"})

    text = scratch.toolkit("doctor", "--context", place.context, "--namespace", place.name)
    assert text.code == 3
    assert "error    there is no service account own" in text.out
    assert f"--manifests accounts=own | kubectl --context {place.context} -n {place.name} apply -f -" in text.out
    document = json.loads(scratch.toolkit("doctor", "--namespace", place.name, "--json").out)
    assert document["namespace"] == place.name and document["environment"] == "argo"
    assert document["errors"] == text.out.count("\nerror ")
