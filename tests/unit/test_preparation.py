"""The images of a run: each is resolved once, all have the same code, and the records have what was resolved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolkit.backends.argo.compile.workflow import Image
from toolkit.build.image.build_record import BuiltImage
from toolkit.config.load import load
from toolkit.config.settings import StepSettings
from toolkit.errors import BadInput, Infrastructure
from toolkit.model.pipeline import Pipeline, Task
from toolkit.plan import planner
from toolkit.run import preparation
from toolkit.run.bash import Asked
from toolkit.run.notebooks import check_notebooks
from toolkit.run.preparation import Preparation
from toolkit.run.reference import parse
from toolkit.run.request import Request
from toolkit.run.submission import cluster_record

STEPS = (
    Task("plain", "shell", command="true"),
    Task("own", "shell", command="true", overrides={"local-container": "own"}),
    Task("same", "shell", command="true", overrides={"local-container": "same"}),
)


def built(reference: str, content: str = "c0de", existing: bool = False) -> BuiltImage:
    digest = f"sha256:{reference}"
    return BuiltImage(reference, digest, "", "", "identity", False, existing, id=digest, content=content)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A preparation whose steps have three images by their settings, of which two are one; and what was built for it."""
    overrides = {"own": {"image": "other"}, "same": {"image": "app"}}
    config = {"executor": {"type": "local-container", "config": {"image": "app", "overrides": overrides}}}
    (tmp_path / "toolkit.yaml").write_text(json.dumps(config))
    (tmp_path / "pipeline.py").touch()
    asked: list[str] = []
    project = load(None, tmp_path)
    plan = planner.plan(Pipeline(STEPS), project.config, (".",))

    def prepare(second: BuiltImage) -> tuple[Preparation, list[str]]:
        def build(_: object, report: object, image: str) -> BuiltImage:
            asked.append(image)
            return second

        monkeypatch.setattr(preparation, "build", build)
        request = Request(project, "local", parse("pipeline.py", tmp_path), {})
        return Preparation(
            request,
            "p",
            plan,
            1000,
            built("app:1"),
            lambda: None,
            lambda sentence: None,
            lambda image: Asked(lambda _: {"bash": True}),
        ), asked

    return prepare


def test_each_image_is_resolved_once_also_where_two_settings_name_it(prepared: Any) -> None:
    made, asked = prepared(built("other:1"))
    for _ in range(2):
        assert {setting: image.reference for setting, image in made.images().items()} == {
            None: "app:1", "other": "other:1", "app": "app:1",
        }  # fmt: skip
    assert asked == ["other"]


def test_what_is_wrong_with_an_image_beside_a_step_has_the_steps_line(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = prepared(built("other:1"))
    own = Task("own", "shell", command="true", settings=StepSettings(image="mine:1"), line="p.py:7")
    plan = planner.plan(Pipeline((STEPS[0], own)), made.request.project.config, (".",))

    def fails(*_: object, **__: object) -> BuiltImage:
        raise Infrastructure("there is no image mine:1")

    monkeypatch.setattr(preparation, "build", fails)
    with pytest.raises(Infrastructure) as caught:
        replace(made, plan=plan).images()
    assert str(caught.value) == "p.py:7: there is no image mine:1"
    # Plain processes have none, which is said before there is a run.
    with pytest.raises(
        BadInput, match=r"p\.py:7: the step 'own' has an image of its own, which --env process can't honour"
    ):
        replace(made, plan=plan, image=None).images()


def test_code_that_changed_between_two_images_of_a_run_is_refused(prepared: Any) -> None:
    made, _ = prepared(built("other:1", "another"))
    with pytest.raises(BadInput, match="changed while the images of this run were built"):
        made.images()
    # An existing image has the code that it has.
    made, _ = prepared(built("other:1", "another", existing=True))
    made.images()


def test_the_record_has_what_each_image_was_resolved_to(prepared: Any) -> None:
    made, _ = prepared(built("other:1"))
    assert made.image_record() == {"reference": "app:1", "digest": "sha256:app:1", "identity": "identity"}
    # An engine with containerd's store has another id for it.
    stored = replace(made, image=replace(built("app:1"), id="sha256:manifest"), _images={})
    assert stored.image_record() == {**made.image_record(), "manifest": "sha256:manifest"}
    # On a cluster: by what its pods name it.
    digest = f"sha256:{'a' * 64}"
    images = {
        None: Image("app:12345", True),
        "app": Image("app:12345", True),
        "other": Image(f"r/other@{digest}", False),
    }
    record = cluster_record(stored, images, "run-1", {})
    image, images_of_steps = record["image"], record["images"]
    assert image is not None and image == {**made.image_record(), "name": "app:12345"}
    other = images_of_steps["other"]
    assert (other["reference"], other["manifest"], "name" in other) == (f"r/other@{digest}", digest, False)
    assert images_of_steps["app"] == image


def test_each_image_is_asked_for_the_packages_of_its_own_notebooks(tmp_path: Path) -> None:
    # Given a notebook in an image of its own, and one in the pipeline's,
    overrides = {"own": {"image": "other"}}
    config = {"executor": {"type": "local-container", "config": {"image": "app", "overrides": overrides}}}
    (tmp_path / "toolkit.yaml").write_text(json.dumps(config))
    own = Task("own", "notebook", command="a.py", html=True, overrides={"local-container": "own"}, line="p.py:2")
    steps = (Task("plain", "notebook", command="b.ipynb", line="p.py:1"), own)
    plan = planner.plan(Pipeline(steps), load(None, tmp_path).config, (".",))
    requests: list[Any] = []

    def lacking(*names: str) -> Asked:
        def ask(request: Any) -> Any:
            requests.append(request["notebooks"])
            return {"notebooks": {name: {} for name in request["notebooks"]}, "lacks": list(names)}

        return Asked(ask)

    # when their images are looked at, then each needs what its own notebook does, and is asked once.
    check_notebooks(plan, None, lacking("jupytext", "nbconvert"), "the image app:1", "name {}")
    asked = lacking("nbconvert")
    for _ in range(2):
        with pytest.raises(
            BadInput, match="step 'own' needs nbconvert, and the image other:1 lacks it: install nbconvert"
        ) as caught:
            check_notebooks(plan, "other", asked, "the image other:1", "install {} in that image")
        assert caught.value.where == "p.py:2"
    assert requests == [["b.ipynb"], ["a.py"]]
