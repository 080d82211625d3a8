"""Images whose names are given to others, or that are removed, while a run needs them: every step runs the code of the run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.scratch import Result, Scratch, finish
from toolkit.build.environment.base_image import find_base_image
from toolkit.engine import EngineApi
from toolkit.runtime.shared.protocol import FAULT, IMAGE_VARIABLE, PROTOCOL, RUNTIME_MAIN

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

WAITS = (
    "print('ready', flush=True)\n    while not os.path.exists('/mnt/go'): time.sleep(0.02)\n    "
    "assert open('word.txt').read() == 'as it was'"
)
"""A step during which a test acts. Two containers are made ahead of their turn, so what comes third after it has none yet."""
RIGHT = "assert open('word.txt').read() == 'as it was'"
TWICE = f"{RIGHT}\n    if not os.path.exists('/mnt/tried'): os.mkdir('/mnt/tried'); sys.exit(1)"
"""Its first attempt fails."""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def built(containers: Scratch, word: str) -> str:
    """The reference of the image of the project, in which the file has this word."""
    containers.write({"word.txt": word})
    result = containers.toolkit("build")
    assert result.code == 0, result.err
    BUILT.append(docker("inspect", "--format", "{{.Id}}", result.out.strip()))
    return result.out.strip()


BUILT: list[str] = []
"""The ids of images that a test has built. One that lost its name to another is not found by it at the end."""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    while BUILT:
        subprocess.run(["docker", "rmi", "-f", BUILT.pop()], capture_output=True)


def go_on(containers: Scratch) -> None:
    (containers.volume() / "go").touch()


@pytest.fixture
def own(containers: Scratch) -> Iterator[str]:
    """The repository of images of a step's own, which are removed at the end."""
    repository = f"own-{containers.root.name}"
    yield repository
    for name in docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
        if name.startswith(repository):
            docker("rmi", "-f", name)


def make_base(name: str) -> None:
    """An image that has Python and nothing of toolkit's."""
    base, _ = find_base_image(EngineApi(), None)
    container = docker("create", base, "true")
    docker("commit", "-c", "LABEL of=a-test", container, name)
    docker("rm", container)


def configure(containers: Scratch, own: str | None = None, **config: object) -> None:
    """A configuration, and a pipeline of four steps of which the last may have an image of its own."""
    overrides = {} if own is None else {"overrides": {"own": {"image": own}}}
    executor = {"type": "local-container", "config": {"retry_strategy": {"limit": 1}, **overrides, **config}}
    containers.write({"toolkit.yaml": json.dumps({"executor": executor})})
    containers.steps(first=WAITS, second=RIGHT, third=RIGHT, last=TWICE)
    if own is not None:
        file = containers.root / "pipeline.py"
        text = file.read_text().replace("functions.last", "functions.last, overrides={'local-container': 'own'}")
        file.write_text(text)


@pytest.mark.parametrize("of_step", [False, True])
def test_a_name_that_is_given_to_another_image_changes_no_step_of_a_run(
    containers: Scratch, own: str, of_step: bool
) -> None:
    # Given a run in its first step, and another image,
    configure(containers, f"{own}:1" if of_step else None)
    name = built(containers, "as it was")
    docker("tag", name, f"{own}:1")
    [identity] = BUILT
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    other = built(containers, "another")
    assert other != name
    # when the names are given to it,
    for each in (name, f"{own}:1"):
        docker("tag", other, each)
    go_on(containers)
    result = finish(process)
    # then each step, and each attempt, ran what the run had begun with,
    assert result.code == 0, result.err
    run = containers.show()
    assert [len(step["attempts"]) for step in run["steps"]] == [1, 1, 1, 2]
    assert run["image"]["reference"] == name
    folders = (containers.volume() / "run_log_store" / run["run_id"]).glob("steps/*/*/engine.json")
    assert {json.loads(file.read_text())["image"] for file in folders} == {identity}
    # and its record has the image of the step.
    record = json.loads((containers.volume() / "run_log_store" / run["run_id"] / "run.json").read_text())
    assert {setting: image["digest"] for setting, image in record["images"].items()} == (
        {f"{own}:1": identity} if of_step else {}
    )


def test_an_image_that_is_removed_once_steps_have_run_is_a_fault_of_the_engine_and_a_retry_makes_it_again(
    containers: Scratch, own: str
) -> None:
    # Given a run in its first step, whose last step has an image of its own that toolkit made of another,
    make_base(f"{own}:1")
    configure(containers, f"{own}:1")
    built(containers, "as it was")
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    # when that is removed,
    [reference] = docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{own}-toolkit").splitlines()
    docker("rmi", reference)
    go_on(containers)
    result = finish(process)
    # then the run has failed, and not by what it was given,
    assert result.code == 3, result.err
    assert f"the image {reference} was removed from the engine while the run needed it" in result.err
    run = containers.show()
    assert run["status"] == "failed" and reference in run["reason"]
    assert [step["status"] for step in run["steps"]][:3] == ["succeeded"] * 3
    # and is resumed once the image is there again.
    retried = containers.toolkit("retry", run["run_id"])
    assert retried.code == 0, retried.err
    assert [len(step["attempts"]) for step in containers.show()["steps"]] == [1, 1, 1, 2]


def test_the_runtime_refuses_an_image_that_is_not_the_runs(containers: Scratch) -> None:
    """By an engine that was given a name and not an id: here by hand, elsewhere a node that something else loads images into."""
    containers.steps(only="pass")
    name = built(containers, "as it was")
    inside = json.loads(docker("run", "--rm", "--entrypoint", "cat", name, "/opt/toolkit/image.json"))
    other = json.loads(
        docker("run", "--rm", "--entrypoint", "cat", built(containers, "another"), "/opt/toolkit/image.json")
    )

    def refused(**expected: str) -> Result:
        command = ["docker", "run", "--rm", "--entrypoint", "python3", "-e", f"{IMAGE_VARIABLE}={json.dumps(expected)}"]
        done = subprocess.run(
            [*command, name, RUNTIME_MAIN, str(PROTOCOL), "run", "only", "1"], capture_output=True, text=True
        )
        return Result(done.returncode, done.stdout, done.stderr)

    result = refused(reference="app:1", code=other["code"], environment=other["environment"])
    assert result.code == FAULT
    assert (
        "toolkit runtime: this container's image is not the one that the run began with: app:1 had the code"
        in result.err
    )
    assert other["code"][:12] in result.err and inside["code"][:12] in result.err
    # In the right one it looks further, for a plan.
    result = refused(reference="app:1", code=inside["code"], environment=inside["environment"])
    assert result.code == FAULT and "the plan in /run/toolkit can't be read" in result.err
    # The label tells of an image that is used as it is what its id file has.
    labels = json.loads(docker("inspect", name))[0]["Config"]["Labels"]
    assert (labels["dev.toolkit.code"], labels["dev.toolkit.environment"]) == (inside["code"], inside["environment"])


def test_a_service_of_compose_runs_its_own_image_whatever_its_name_means_now(containers: Scratch) -> None:
    configure(containers)
    name = built(containers, "as it was")
    printed = containers.toolkit("compose", "pipeline.py")
    assert printed.code == 0, printed.err
    other = built(containers, "another")
    docker("tag", other, name)
    go_on(containers)

    def run(text: str) -> Result:
        (containers.root / "docker-compose.yaml").write_text(text)
        program = os.environ.get("TOOLKIT_TEST_COMPOSE", "docker-compose").split()
        done = subprocess.run(
            [*program, "run", "--rm", "-T", "first"], cwd=containers.root, capture_output=True, text=True, timeout=300
        )
        return Result(done.returncode, done.stdout, done.stderr)

    result = run(printed.out)
    assert result.code == 0, result.err
    # Who writes a name into the file gets what the name means, and no step runs in another image than the file was made for.
    before = next(line.split('"')[1] for line in printed.out.splitlines() if line.startswith('    image: "'))
    assert before == BUILT[0]
    result = run(printed.out.replace(before, name))
    assert result.code == FAULT and "is not the one that the run began with" in result.out + result.err
