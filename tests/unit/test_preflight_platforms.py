"""An image and the nodes that its pods may go to are of one platform, or a preflight says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT
from toolkit.backends.argo.preflight import (
    Account,
    Controllers,
    Denied,
    Facts,
    Finding,
    Needs,
    SimilarSteps,
    judge,
    require,
)
from toolkit.config.settings import Toleration
from toolkit.errors import BadInput

Node = dict[str, Any]
DENIED = Denied('nodes is forbidden: User "ann" cannot list resource "nodes"')
FACTS = Facts(
    context="test",
    namespace_name="team",
    server="https://api",
    version="v1.34.4",
    user="ann@example.org",
    namespace={"metadata": {"name": "team"}, "status": {"phase": "Active"}},
    api={"resources": []},
    controllers=Controllers((), everywhere=True),
    lacking=(),
    accounts={DEFAULT_ACCOUNT: Account(None, "", None, ())},
    claims={},
    secrets={},
    nodes=(),
)
"""Of a cluster of which only the nodes matter here."""


def node(name: str, architecture: str, **spec: Any) -> Node:
    info = {"architecture": architecture, "operatingSystem": "linux"} if architecture else {}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": architecture, "kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {"nodeInfo": info, "allocatable": {"cpu": "2", "memory": "4Gi"}},
    }


def judged(steps: SimilarSteps, *nodes: Node) -> list[Finding]:
    return [one for one in judge(replace(FACTS, nodes=nodes), Needs(steps=(steps,))) if "image" in one.what]


AMD64 = SimilarSteps(platform="linux/amd64")
TAINT = {"key": "arm", "value": "yes", "effect": "NoSchedule"}


def test_no_node_of_the_images_platform_is_the_users_error() -> None:
    finding = judged(AMD64, node("a", "arm64"), node("b", "arm64"))[0]
    assert (finding.level, finding.what) == ("error", "the image is for linux/amd64, and the nodes are linux/arm64")
    assert "--platform linux/arm64" in finding.remedy
    with pytest.raises(BadInput, match="linux/arm64"):
        require([finding])


def test_steps_are_named_that_have_the_image() -> None:
    finding = judged(replace(AMD64, paths=("train",)), node("a", "arm64"))[0]
    assert finding.what == "the image of the step 'train' is for linux/amd64, and the nodes are linux/arm64"


def test_a_cluster_of_both_gets_the_selector_to_set() -> None:
    finding = judged(AMD64, node("a", "arm64"), node("b", "amd64"))[0]
    assert finding.level == "warning" and "(a)" in finding.what
    assert finding.remedy == "executor.config.node_selector: {kubernetes.io/arch: amd64}"
    # With it, and where a taint keeps the pods away, the other nodes do not count.
    chosen = replace(AMD64, node_selector={"kubernetes.io/arch": "amd64"})
    assert [one.level for one in judged(chosen, node("a", "arm64"), node("b", "amd64"))] == ["ok"]
    assert [one.level for one in judged(AMD64, node("a", "arm64", taints=[TAINT]), node("b", "amd64"))] == ["ok"]
    tolerant = replace(AMD64, tolerations=(Toleration(operator="Exists"),))
    assert [one.level for one in judged(tolerant, node("a", "arm64", taints=[TAINT]), node("b", "amd64"))] == [
        "warning"
    ]


def test_what_nobody_knows_stops_nothing() -> None:
    # Who may not list nodes, an image whose platform nothing tells, nodes that do not say theirs.
    (unknown,) = [one for one in judge(replace(FACTS, nodes=DENIED), Needs(steps=(AMD64,))) if "run images" in one.what]
    assert unknown.level == "unknown"
    assert judged(SimilarSteps(), node("a", "arm64")) == []
    assert judged(AMD64, node("a", "")) == []
    # An image of a registry may be there for other platforms under the same name.
    assert judged(replace(AMD64, has_other_platforms=True), node("a", "arm64"))[0].level == "warning"
    assert judged(SimilarSteps(platform="linux/arm/v7"), node("a", "arm64"))[0].level == "ok"
