"""The bases of k8s/ do on a cluster what they say, applied as its admin would; and a wheel prints what kustomize renders."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster import Cluster
from tests.support.cluster import namespace as made_namespace
from toolkit.doctor.manifests import BASES, manifests

pytestmark = pytest.mark.argo

K8S = Path(__file__).resolve().parents[2] / "k8s"
ACCOUNT = "toolkit-runner"
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def sorted_documents(text: str) -> list[dict[str, Any]]:
    documents = [one for one in yaml.safe_load_all(text) if one is not None]
    return sorted(documents, key=lambda one: (one["kind"], one["metadata"]["name"]))


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[str]:
    """A namespace with the accounts in it."""
    with made_namespace(cluster, f"bases-{time.time_ns() // 10**6 % 10**9}", restricted=True) as name:
        cluster.must("apply", "-k", str(K8S / "accounts"), "-n", name)
        yield name


@pytest.mark.parametrize("base", BASES)
def test_what_is_printed_is_what_kustomize_renders(cluster: Cluster, base: str) -> None:
    command = [cluster.kubectl, "kustomize", str(K8S / base)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert sorted_documents(manifests(base)) == sorted_documents(rendered)


@pytest.mark.parametrize("base", BASES)
def test_the_cluster_takes_it(cluster: Cluster, place: str, base: str) -> None:
    cluster.must("apply", "--dry-run=server", "-n", place, "-f", "-", text=manifests(base))


def test_applied_twice_changes_nothing(cluster: Cluster, place: str) -> None:
    again = cluster.must("apply", "-k", str(K8S / "accounts"), "-n", place)
    assert set(line.rpartition(" ")[2] for line in again.splitlines()) == {"unchanged"}


def test_the_pods_account_has_a_token_and_may_report_and_no_more(cluster: Cluster, place: str) -> None:
    for _ in range(50):
        token = cluster.get("-n", place, "secret", f"{ACCOUNT}.service-account-token")
        if (token.get("data") or {}).get("token"):
            break
        time.sleep(0.1)
    assert token["type"] == "kubernetes.io/service-account-token" and token["data"]["token"]

    def may(verb: str, resource: str) -> bool:
        who = f"--as=system:serviceaccount:{place}:{ACCOUNT}"
        return cluster.run("auth", "can-i", verb, resource, "-n", place, who).stdout.strip() == "yes"

    assert may("create", "workflowtaskresults.argoproj.io") and may("patch", "workflowtaskresults.argoproj.io")
    for verb, resource in (
        ("get", "secrets"),
        ("get", "pods"),
        ("create", "pods"),
        ("get", "workflowtaskresults.argoproj.io"),
    ):
        assert not may(verb, resource)


def test_a_user_may_work_in_the_namespace_and_nowhere_else(cluster: Cluster, place: str) -> None:
    cluster.must("-n", place, "create", "rolebinding", "toolkit-ann", "--role", "toolkit-user", "--user", "ann")

    def may(verb: str, resource: str, where: str = place) -> bool:
        return cluster.run("auth", "can-i", verb, resource, "-n", where, "--as=ann").stdout.strip() == "yes"

    assert may("create", "workflows.argoproj.io") and may("create", "pods/exec") and may("get", "secrets")
    for verb, resource in (
        ("list", "secrets"),
        ("create", "rolebindings"),
        ("update", "pods"),
        ("create", "serviceaccounts"),
    ):
        assert not may(verb, resource)
    assert not may("create", "workflows.argoproj.io", "default")
    assert not may("list", "nodes")


def test_the_namespace_refuses_a_pod_that_is_root(cluster: Cluster) -> None:
    name = f"made-{time.time_ns() // 10**6 % 10**9}"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "main", "image": "none", "securityContext": {"runAsUser": 0}}]},
    }
    cluster.must("apply", "-f", "-", text=manifests(f"namespace={name}"))
    try:
        refused = cluster.run("-n", name, "create", "-f", "-", text=yaml.safe_dump(pod))
        assert refused.returncode != 0 and "violates PodSecurity" in refused.stderr
    finally:
        cluster.must("delete", "namespace", name, "--wait=false")


def test_limits_are_given_to_containers_that_say_nothing(cluster: Cluster, namespace: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": namespace}}
    cluster.apply({**quota, "spec": {"hard": {"limits.memory": "4Gi", "requests.cpu": "2"}}})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "silent"},
        "spec": {"containers": [{"name": "main", "image": "none", "securityContext": RESTRICTED}]},
    }
    cluster.must("apply", "-f", "-", "-n", namespace, text=manifests("limits"))
    for _ in range(50):
        # The quota counts, and admits, only once its controller has looked at it.
        made = cluster.run("-n", namespace, "create", "--dry-run=server", "-f", "-", text=yaml.safe_dump(pod))
        if made.returncode == 0:
            break
        time.sleep(0.2)
    assert made.returncode == 0, made.stderr
