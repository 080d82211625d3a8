"""Fixtures for the tests on a cluster: namespaces made ready as an admin would, and projects whose runs go there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.cluster import namespace as made_namespace
from tests.support.engine import without_images
from tests.support.scratch import Scratch
from tests.support.workplace import Workplace, workplace_in

__all__ = ["cluster"]


def _fresh(base: str) -> str:
    return f"{base[:30]}-{os.urandom(3).hex()}"


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """An empty namespace that enforces the restricted standard."""
    with made_namespace(cluster, _fresh("test"), restricted=True) as name:
        yield name


@pytest.fixture(scope="module")
def workplace(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A namespace that is ready and enforces the restricted standard; one for each file of tests."""
    with made_namespace(cluster, _fresh("work"), restricted=True) as name:
        yield workplace_in(cluster, name, tmp_path_factory.mktemp("kube"))


@pytest.fixture
def own_workplace(cluster: Cluster, tmp_path: Path) -> Iterator[Workplace]:
    """A namespace that is ready, for one test that changes it."""
    with made_namespace(cluster, _fresh("own"), restricted=True) as name:
        yield workplace_in(cluster, name, tmp_path)


@pytest.fixture
def clustered(workplace: Workplace, tmp_path: Path) -> Iterator[Scratch]:
    """A project whose runs go to the cluster; its images are removed from the local engine."""
    root = tmp_path / f"argo-{tmp_path.name[:24].strip('_-.')}-{os.urandom(2).hex()}".lower().replace("_", "-")
    scratch = workplace.project(root)
    with without_images(root):
        yield scratch
