"""What the tests share: a project of their own, and an engine left as it was found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scratch import Scratch
from tests.support import pods, tiers


def pytest_addoption(parser: pytest.Parser) -> None:
    tiers.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--tiers"):
        config.option.collectonly = True
        config.option.verbose = -2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tiers.select(config, items)
    for item in items:
        # Tests of a file share what its fixtures made on the cluster, so one worker has them all.
        if item.get_closest_marker("argo") is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _pods_made(config: pytest.Config) -> int | None:
    """By the cluster that tests are about to use or have used; None without one that is ours to ask."""
    if hasattr(config, "workerinput") or not {"argo", "conformance"} & {Path(one).name for one in config.args}:
        return None
    from tests.argo.cluster_fixture import Failed, kube, lifecycle

    try:
        status = lifecycle.status()
        return (
            pods.made(kube.own().must("get", "--raw", "/metrics")) if status["up"] and not status["foreign"] else None
        )
    except Failed:
        return None


PODS_BEFORE = pytest.StashKey[int]()


def pytest_sessionstart(session: pytest.Session) -> None:
    if (count := _pods_made(session.config)) is not None:
        session.config.stash[PODS_BEFORE] = count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many pods the tests made."""
    before = terminalreporter.config.stash.get(PODS_BEFORE, None)
    if before is not None and (count := _pods_made(terminalreporter.config)) is not None:
        terminalreporter.write_line(f"pods: {count - before}", bold=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("--tiers"):
        print(*tiers.lines(session.items), sep="\n")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """A project for plain processes."""
    root = tmp_path / "project"
    root.mkdir()
    return Scratch(root)


@contextmanager
def without_images(root: Path) -> Iterator[None]:
    """Removes what a project made in the engine; nothing of its may be left running.

    Its image is made its own by a file, since tests run side by side: an engine that is told to remove one name of an image may
    not have seen yet that somebody gives it another, and the image is gone for both.
    """
    import docker

    root.mkdir(parents=True, exist_ok=True)
    (root / "this-test").write_text(root.name)
    client = docker.from_env()
    yield
    left = client.api.containers(all=True, filters={"label": f"dev.toolkit.project={root}"})
    for container in left:
        client.api.remove_container(container["Id"], force=True)
    for image in client.images.list(name=root.name):
        for tag in image.tags:
            client.api.remove_image(tag, force=True, noprune=True)
    client.close()
    assert not left, f"containers were left: {[one['Names'] for one in left]}"


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Scratch]:
    """A project whose steps run in containers; its images are removed, and nothing of its may be left running."""
    # A name of its own, since images are tagged by the folder's name.
    unique = os.urandom(4).hex()
    root = tmp_path / f"test-{tmp_path.name[:24].strip('_-.')}-{unique}".lower().replace("_", "-")
    with without_images(root):
        yield Scratch(root, {"TOOLKIT_ENV": "local"})
