"""The Docker and the docker-compose rendering of a ContainerSpec: every field, or the table of docs/sameness.md says why not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recorded_run import CONFIG, RecordedRun, task
from toolkit.backends.compose import (
    HostFolders,
    SecretNames,
    compose_file,
    dev_service,
    relative,
    service_names,
    step_service,
)
from toolkit.backends.docker.rendering import docker_options
from toolkit.backends.yaml_text import to_yaml
from toolkit.build.image.build_record import BuiltImage
from toolkit.cli.main import run as command_line
from toolkit.config.load import load
from toolkit.config.settings import SecretReference
from toolkit.errors import BadInput
from toolkit.model.pipeline import CatalogUse, Conditional, Loop, Map, Nested, Parallel, Pipeline, Stub
from toolkit.plan.planner import plan
from toolkit.run import compose
from toolkit.run.lacking import Lacks
from toolkit.spec.container import ContainerSpec, Mount

SAMENESS = Path(__file__).parents[2] / "docs" / "sameness.md"
PLACES = HostFolders({"data": "./data", "more": "./more"}, "./run", ".")
SPEC = ContainerSpec(
    image="image:1",
    argv=("python3", "main.py", "1", "run", "step", "1"),
    environment=(("A", "1"),),
    mounts=(Mount("data", "/mnt"),),
    user=1000,
    group=1000,
    working_folder="/workspace",
    memory=None,
    memory_request=None,
    cpu=None,
    cpu_request=None,
    gpu=None,
    shm_size=None,
    scratch_size=None,
    read_only_root=False,
    stop_timeout=15,
    pids_limit=4096,
    image_pull_secrets=(),
    secrets=(),
    own_secrets=(),
)
OTHERWISE: dict[str, Any] = {
    "image": "image:2",
    "argv": ("python3", "main.py", "1", "run", "other", "1"),
    "environment": (("A", "2"),),
    "mounts": (Mount("more", "/mnt", read_only=True),),
    "user": 1001,
    "group": 1001,
    "working_folder": "/elsewhere",
    "memory": 1 << 28,
    "memory_request": 1 << 27,
    "cpu": 1001,
    "cpu_request": 100,
    "gpu": 1,
    "shm_size": 1 << 27,
    "scratch_size": 1 << 25,
    "read_only_root": True,
    "stop_timeout": 20,
    "pids_limit": 99,
    "image_pull_secrets": ("registry",),
    "secrets": (SecretReference("token", "service", "token"),),
    "own_secrets": ("key",),
    "dropped_capabilities": ("NET_RAW",),
    "no_new_privileges": False,
}
"""Another value of each field: a new field has to be given one here, and then has to make a difference."""
FIELDS = [field.name for field in dataclasses.fields(ContainerSpec)]


def as_docker(spec: ContainerSpec) -> object:
    return docker_options(spec, "name", PLACES.volumes, PLACES.run, {})


def as_compose(spec: ContainerSpec) -> object:
    return step_service(spec, PLACES, SecretNames(), {})


@pytest.mark.parametrize(
    ("render", "elsewhere"),
    [
        # The engine's own login is what pulls; the values of secrets come through the gate.
        pytest.param(as_docker, {"image_pull_secrets", "secrets", "own_secrets"}, id="docker"),
        pytest.param(as_compose, {"image_pull_secrets"}, id="compose"),
    ],
)
def test_every_field_is_rendered(render: Any, elsewhere: set[str]) -> None:
    assert set(OTHERWISE) == set(FIELDS)
    without = {name for name in FIELDS if render(dataclasses.replace(SPEC, **{name: OTHERWISE[name]})) == render(SPEC)}
    assert without == elsewhere


def test_the_page_names_every_field() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", SAMENESS.read_text(), re.MULTILINE)
    assert rows == FIELDS


def test_secrets_are_references_and_each_step_has_its_own() -> None:
    spec = dataclasses.replace(SPEC, secrets=OTHERWISE["secrets"], own_secrets=("key",))
    step = step_service(spec, PLACES, SecretNames(prefix="APP_", suffix="_1"), {})
    assert step["environment"] == {
        "A": "1",
        "token": "${APP_token_1?the secret token is missing}",
        "key": "${APP_key_1?the secret key is missing}",
    }
    shell: dict[str, Any] = dev_service(spec, PLACES, SecretNames(), {})
    assert "token" in shell["environment"] and "key" not in shell["environment"]
    assert step_service(spec, PLACES, SecretNames(given=False), {})["environment"] == {"A": "1"}


def test_a_secret_that_compose_cannot_refer_to_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"key .*app\.key"):
        step_service(dataclasses.replace(SPEC, own_secrets=("key",)), PLACES, SecretNames(prefix="app."), {})


def test_a_dollar_is_no_variable_of_composes() -> None:
    spec = dataclasses.replace(
        SPEC, environment=(("A", "$HOME ${X} $$"),), mounts=(Mount("data", "/a$b"),), argv=("run", "a $step", "1")
    )
    step: dict[str, Any] = step_service(
        spec, HostFolders({"data": "./$d"}, "./$r", "."), SecretNames(), {"label": "a $step"}
    )
    assert step["environment"]["A"] == "$$HOME $${X} $$$$"
    assert step["entrypoint"] == ["run", "a $$step", "next"]
    assert [(one["source"], one["target"]) for one in step["volumes"]] == [
        ("./$$d", "/a$$b"),
        ("./$$r", "/run/toolkit"),
    ]
    assert step["labels"] == {"label": "a $$step"}
    # What is left of them in the shell's own command is Compose's escape.
    shell: dict[str, Any] = dev_service(SPEC, PLACES, SecretNames(), {})
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", " ".join(shell["entrypoint"]))


@pytest.mark.parametrize(
    "text", ["y", "n", "on", "no", "NO", "true", "null", "~", "3.10", "1e3", "0x1f", "1_000", "12:30", "", " ", "a: #b",
             "'\"\\", "two\nlines\n", "\t\x07\x85\u2028\ufeff", "é😀", "*a", "&a", "!a", "{{x}}", "%", "-", "2026-01-01", "<<"]
)  # fmt: skip
def test_texts_stay_texts(text: str) -> None:
    printed = to_yaml({text: [text, {"key": text}]})
    assert yaml.safe_load(printed) == {text: [text, {"key": text}]}
    assert f'- "{text}"' in printed or not text.isalnum()


@given(st.dictionaries(st.text(min_size=1), st.text() | st.booleans() | st.integers(0), max_size=4))
def test_what_is_printed_is_what_is_read(document: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(document)) == document


def test_a_service_has_its_steps_name_where_it_can() -> None:
    paths = ["generate", "Größe", "a b", "a-b", "dev", "-x", "y" * 200, "日本", "a/b", "3.10"]
    names = service_names(paths)
    assert list(names) == paths
    assert {path for path in paths if names[path] == path} == {"generate", "a-b", "3.10"}
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) for name in names.values())
    assert len({*names.values(), "dev"}) == len(paths) + 1
    # A step that is called as another one's service would be.
    twisted = service_names(["a b", names["a b"]])
    assert twisted[names["a b"]] == names["a b"] and twisted["a b"] not in (names["a b"], "a b")


def test_comments_cannot_end_their_line() -> None:
    text = compose_file({"a": {"image": "b"}}, ["x\nservices: {}\x85y"])
    assert text.splitlines()[0] == "# x?services: {}?y" and yaml.safe_load(text) == {"services": {"a": {"image": "b"}}}


@pytest.mark.parametrize(
    ("folder", "spelt"),
    [("/p/.toolkit/x", "./.toolkit/x"), ("/p", "."), ("/", ".."), ("/q", "../q"), ("/p/code", "./code")],
)
def test_folders_are_relative_to_the_file(folder: str, spelt: str) -> None:
    assert relative(folder, "/p") == spelt


def test_steps_that_run_once_have_services_wherever_they_stand(tmp_path: Path) -> None:
    branches = (("left", Pipeline((task("a"),))), ("right", Pipeline((task("a"), Stub("s")))))
    inner = Pipeline((Parallel("p", branches), task("b", on_failure=Pipeline((task("mend"),)))))
    made = plan(Pipeline((task("first"), Nested("n", inner))), CONFIG, (".",))
    image = BuiltImage("image:1", "sha256:1", "", "", "", changed=False, id="sha256:2")
    text = compose.render_compose_file(load(None, tmp_path), made, "compose-1", {None: image}, 1000)
    services = yaml.safe_load(text)["services"]
    # A tag may be given to another image between two services; a person reads it in the head.
    assert {one["image"] for one in services.values()} == {"sha256:2"} and "image:1" in text.split("services:")[0]
    labels = {name: one["labels"].get("dev.toolkit.step") for name, one in services.items()}
    steps = ["first", "n/p/left/a", "n/p/right/a", "n/b", "n/b/on_failure/mend"]
    assert [one for one in labels.values() if one] == steps
    assert {one["entrypoint"][4] for one in services.values() if len(one["entrypoint"]) == 6} == set(steps)


def test_a_step_that_runs_several_times_takes_its_item_from_a_variable(tmp_path: Path) -> None:
    inner = Map("in", Pipeline((task("a"),)), "xs", "x")
    films = Map("films", Pipeline((task("fit"), inner)), "genres", "x")
    loop = Loop("tune", Pipeline((task("b", "done"),)), 3, "done")
    either = Conditional("either", "xs", (("yes", Pipeline((task("c"),))),))
    made = plan(Pipeline((films, loop, either)), CONFIG, (".",))
    image = BuiltImage("image:1", "sha256:1", "", "", "", changed=False, id="sha256:2")
    text = compose.render_compose_file(load(None, tmp_path), made, "compose-1", {None: image}, 1000)
    chosen = {}
    for service in yaml.safe_load(text)["services"].values():
        variables = {name: value for name, value in service["environment"].items() if "ITEM" in name}
        chosen[service["labels"].get("dev.toolkit.step")] = variables
    assert chosen == {
        "films/*/fit": {"TOOLKIT_ITEM_x": "${TOOLKIT_ITEM_x-}"},
        "films/*/in/*/a": {"TOOLKIT_ITEM_x": "${TOOLKIT_ITEM_x-}", "TOOLKIT_ITEM_x_2": "${TOOLKIT_ITEM_x_2-}"},
        "tune/*/b": {"TOOLKIT_ITEM_tune": "${TOOLKIT_ITEM_tune-}"},
        "either/yes/c": {},
        None: {},
    }


def test_each_service_says_what_it_lacks_and_no_more_once_it_is_there(tmp_path: Path) -> None:
    films = Map("films", Pipeline((task("fit", catalog=CatalogUse(get=("data/{x}.csv", "all.csv"))),)), "genres", "x")
    first = task("first", "genres", catalog=CatalogUse(put=("all.csv",)), on_failure=Pipeline((task("mend"),)))
    either = Conditional("either", "xs", (("yes", Pipeline((task("last", secrets=("key",)),))),))
    run = RecordedRun(tmp_path / "log", Pipeline((first, films, either)))
    made = plan(Pipeline((first, films, either)), CONFIG, (".",))

    def lacking() -> dict[str, list[str]]:
        lacks = Lacks(made, {"xs": ["a"]}, {}, str(run.folder), ["key"])
        return dict(lacks.of_services({step.path: step.path for step in made.tasks()}))

    item = "an item of the map films: set TOOLKIT_ITEM_x to it (a text as it is, all else as JSON)"
    around = {
        "first/on_failure/mend": ["what starts it when first has failed: run it yourself"],
        "either/yes/last": ["the secret key", "the decision of the conditional either: run the branch that you want"],
    }
    assert lacking() == {
        **around,
        "films/*/fit": [
            item,
            "the value genres and the file all.csv of first, which has not been run",
        ],
    }
    put = {"name": "all.csv", "sha256": "0" * 64, "size": 1}
    run.attempt("first", returns={"genres": ["a", "b"]}, catalog={"get": [], "put": [put]})
    assert lacking() == {**around, "films/*/fit": [item]}


def test_a_file_that_is_printed_elsewhere_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would ask the engine is a fake, because only the place of the configuration matters."""
    (tmp_path / "toolkit.yaml").write_text("executor:\n  type: local-container\n")
    (tmp_path / "pipeline.yaml").write_text("dag: {}\n")
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr("toolkit.cli.compose.compose_file", lambda *_: "services: {}\n")
    monkeypatch.chdir(tmp_path)
    assert command_line(["compose", "pipeline.yaml"]) == 0
    assert capsys.readouterr() == ("services: {}\n", "")
    monkeypatch.chdir(tmp_path / "inner")
    assert command_line(["compose", "../pipeline.yaml"]) == 0
    out, err = capsys.readouterr()
    assert out == "services: {}\n"
    assert err == "note: the file belongs in .., the folder of the configuration: its paths are relative to that\n"
