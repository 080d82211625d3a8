"""Argo's controller restarted and stopped, which disturbs whatever else runs on the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.cluster import Cluster
from tests.support.engine import without_images
from tests.support.scratch import LIMIT
from tests.support.session import READY, Session
from tests.support.workplace import Workplace

pytestmark = [pytest.mark.argo, pytest.mark.alone, pytest.mark.timeout(900)]

CONTROLLER = ("-n", "argo", "deployment/workflow-controller")


@pytest.fixture(scope="module")
def session(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    if workplace.cluster.foreign:
        pytest.skip("the controller of a named cluster is not ours to stop")
    root = tmp_path_factory.mktemp("disturb") / f"argo-disturb-{os.urandom(2).hex()}"
    with without_images(root):
        one = Session(workplace, workplace.project(root), soon={"start_timeout_in_seconds": 5})
        one.deliver()
        yield one


def wait_for_controller(cluster: Cluster) -> None:
    cluster.must("rollout", "status", *CONTROLLER, "--timeout=120s", limit=130)


@contextmanager
def without_controller(cluster: Cluster) -> Iterator[None]:
    """While no controller runs; it always comes back."""
    cluster.must("scale", *CONTROLLER, "--replicas=0")
    try:
        cluster.must(
            "wait", "-n", "argo", "--for=delete", "pod", "-l", "app=workflow-controller", "--timeout=60s", limit=70
        )
        yield
    finally:
        cluster.must("scale", *CONTROLLER, "--replicas=1")
        wait_for_controller(cluster)


def test_a_controller_that_is_restarted_in_the_middle(session: Session) -> None:
    process = session.start("restarted", f"print('{READY}', flush=True); time.sleep(5)", pipeline="two.py")
    session.wait_for_output("restarted")
    cluster = session.workplace.cluster
    cluster.must("-n", "argo", "delete", "pod", "-l", "app=workflow-controller", "--wait=false")
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    wait_for_controller(cluster)
    assert [len(step["attempts"]) for step in session.scratch.show("restarted")["steps"]] == [1, 1]
    assert len(session.pods("restarted")) == 2


def test_no_controller_at_all(session: Session) -> None:
    with without_controller(session.workplace.cluster):
        # What is said before anything is submitted.
        refused = session.run("refused")
        assert refused.code == 3, refused.err
        assert "controller" in refused.err
        assert "configmap/refused" not in session.left()
        # What is said of a run that is there already, and what becomes of it.
        session.apply("nobody", config="soon")
        given_up = session.run("nobody", pipeline="two.py", config="soon")
        assert given_up.code == 3, given_up.err
        assert "Argo's controller has not picked up the Workflow within 5 s" in given_up.err
        session.scratch.wait_for(lambda: not [one for one in session.left() if one.endswith("/nobody")])
        # And one that has the time waits until it is back.
        session.apply("waits")
        process = session.start("waits", pipeline="two.py")
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err


def test_nothing_is_left(session: Session) -> None:
    session.scratch.wait_for(lambda: not session.running())
    session.delete_workflows()
    assert session.left() == []
