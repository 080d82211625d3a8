"""Images whose names are given to others while runs need them: pods run the image that their run has resolved, or none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.engine import without_images
from tests.support.session import READY, Session
from tests.support.workplace import Workplace
from toolkit.engine import EngineApi

pytestmark = [pytest.mark.argo, pytest.mark.timeout(900)]

RIGHT = "assert open('word.txt').read() == 'as it was'"
WAITS = f"print('{READY}', flush=True)\nwhile not os.path.exists('/mnt/go'): time.sleep(0.1)\n{RIGHT}"


@pytest.fixture
def session(workplace: Workplace, tmp_path: Path) -> Iterator[Session]:
    root = tmp_path / f"argo-images-{os.urandom(2).hex()}"
    with without_images(root):
        yield Session(workplace, workplace.project(root))


def loaded(session: Session, word: str) -> str:
    """The reference of the project's image, in which the file has this word; the node has it."""
    if session.workplace.cluster.containerd is None:
        pytest.skip("the cluster that is named has no node on this machine")
    session.scratch.write({"word.txt": word})
    session.deliver()
    return session.scratch.toolkit("build").out.strip()


def ctr(workplace: Workplace, *arguments: str) -> None:
    command = ["ctr", "--address", str(workplace.cluster.containerd), "--namespace", "k8s.io", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.core("a step could run other code than its run; 2 pods")
def test_a_nodes_name_that_is_given_to_another_image_changes_no_step_of_a_run(session: Session) -> None:
    # Given a run in its first step, and another image on the node,
    name = loaded(session, "as it was")
    identity = EngineApi().image(name)
    process = session.start("moved", WAITS, "--param", f"then={json.dumps(RIGHT)}", pipeline="two.py")
    session.wait_for_output("moved")
    other = loaded(session, "another")
    # when that gets the names that a person knows the run's image by,
    ctr(session.workplace, "images", "tag", "--force", f"docker.io/library/{other}", f"docker.io/library/{name}")
    assert identity is not None
    subprocess.run(["docker", "tag", other, name], check=True)
    subprocess.run(["docker", "rmi", identity["Id"]], check=True, capture_output=True)
    assert session.workplace.folder is not None
    (session.workplace.folder / "go").touch()
    _, err = process.communicate(timeout=300)
    # then both steps ran what the run had begun with, by a name that nothing else has.
    assert process.returncode == 0, err
    pods = session.pods("moved")
    [image] = {c["image"] for pod in pods for c in pod["spec"]["containers"] if c["name"] == "main"}
    assert re.fullmatch(rf"{name.partition(':')[0]}:[0-9a-f]{{64}}", image) and len(pods) == 2
    record = json.loads((session.workplace.folder / "run_log_store" / "moved" / "run.json").read_text())["image"]
    assert (record["reference"], record["name"]) == (name, image)


@pytest.mark.core("a step could run other code than its run; 1 pod")
def test_the_runtime_refuses_an_image_that_is_not_the_runs(session: Session) -> None:
    # Given a Workflow whose pods have another image than the one that it was made for,
    other = loaded(session, "another")
    name = loaded(session, "as it was")

    def change(text: str) -> str:
        changed = re.sub(r'image: ".*"', f'image: "{other}"', text)
        assert changed != text
        return changed

    session.apply("refused", pipeline="one.py", change=change)
    # when it is followed,
    result = session.run("refused", pipeline="one.py")
    # then no code has run, and that is nothing that the step did.
    assert result.code == 3, result.err
    reason = f"this container's image is not the one that the run began with: {name} had the code"
    assert reason in result.err, result.err
    assert session.workplace.folder is not None
    assert not list((session.workplace.folder / "run_log_store" / "refused").rglob("begin.json"))


@pytest.mark.core("a run could be of another image than the one it was described in; no pod")
def test_the_tag_of_an_existing_image_is_resolved_by_a_real_registry(session: Session) -> None:
    """Its manifests are put under the tag as another client would, so that the engine does not know their digests."""
    registry = session.workplace.cluster.need_registry()
    repository = f"{registry}/{session.scratch.root.name}"
    session.scratch.environ["TOOLKIT_REGISTRY"] = registry
    pushed: dict[str, str] = {}
    for word in ("another", "as it was"):
        session.scratch.write({"word.txt": word})
        built = session.scratch.toolkit("build", "--push")
        assert built.code == 0, built.err
        pushed[word] = built.out.strip().partition("@")[2]
    subprocess.run(["docker", "tag", session.scratch.toolkit("build").out.strip(), f"{repository}:1"], check=True)
    session.configure("toolkit", {"image": f"{repository}:1"})
    try:
        tag(repository, pushed["as it was"])
        compiled = session.scratch.toolkit("compile", "one.py", "--param", "how=pass")
        assert compiled.code == 0, compiled.err
        workflow = next(each for each in yaml.safe_load_all(compiled.out) if each["kind"] == "Workflow")
        images = {each["container"]["image"] for each in workflow["spec"]["templates"] if "container" in each}
        assert images == {f"{repository}@{pushed['as it was']}"}
        # Another one under the tag is not what the pipeline is described in here.
        tag(repository, pushed["another"])
        refused = session.scratch.toolkit("compile", "one.py", "--param", "how=pass")
        assert refused.code == 2 and "is another image in its registry than on this machine" in refused.err
    finally:
        subprocess.run(["docker", "rmi", f"{repository}:1"], check=True, capture_output=True)


def tag(repository: str, digest: str) -> None:
    """Gives the tag 1 of a repository to a manifest."""
    host, _, name = repository.partition("/")
    kind = "application/vnd.oci.image.manifest.v1+json"
    url = f"http://{host}/v2/{name}/manifests"
    with urllib.request.urlopen(urllib.request.Request(f"{url}/{digest}", headers={"Accept": kind})) as answer:
        manifest = answer.read()
    put = urllib.request.Request(f"{url}/1", manifest, {"Content-Type": kind}, method="PUT")
    urllib.request.urlopen(put).close()
