"""What the build is given of an environment.yml, a pixi.lock and a conda-lock.yml, and what of them is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.environment.dependencies.conda import read_conda_lock, read_environment, read_pixi_lock
from toolkit.build.environment.dependencies.found import Dependencies, Export
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.environment.failures import explain_failure
from toolkit.build.image.archive import EnvironmentImage
from toolkit.build.image.environment_image import compose_environment
from toolkit.config.settings import Build
from toolkit.errors import BadInput

PIXI = """\
version: 6
environments:
  default:
    channels:
    - url: file:///build/channel/
    packages:
      linux-64:
      - conda: {root}/channel/noarch/a-1.0-h0_0.conda
packages:
- conda: {root}/channel/noarch/a-1.0-h0_0.conda
- conda: https://example.com/noarch/b-1.0-h0_0.conda
- conda: channel/noarch/c-1.0-h0_0.conda
- pypi: ./
- pypi: ./libs/x
"""


def project(root: Path, **files: str) -> Path:
    return write_project(root, {name.replace("__", "/").replace("_", "."): text for name, text in files.items()})


def test_an_environment_is_asked_for_and_said_not_to_be_locked(tmp_path: Path) -> None:
    text = f"name: x\nprefix: /somewhere\nchannels: [conda-forge, ./own, 'file://{tmp_path}/other']\ndependencies:\n- python\n"
    project(tmp_path, environment_yml=text, own__a="1", other__b="2", more_txt="attrs==24.1\n")
    with (tmp_path / "environment.yml").open("a") as file:
        file.write("- pip:\n  - six==1.17.0\n  - -r more.txt\n  - -e .\nvariables: {A: 1}\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["iniconfig"]\n')
    export = read_environment(tmp_path, "environment.yml")
    assert export.tool == "conda" and "`conda-lock lock -f environment.yml" in export.unlocked
    assert set(export.files) == {"environment.yml", "own/a", "other/b"}
    # The same from every checkout.
    assert str(tmp_path) not in export.files["environment.yml"].decode()

    found = export.answered(b"version: 7\n")
    assert found.kind == "conda" and found.options == {
        "LOCK": "solved.lock",
        "REQUIREMENTS": "requirements-of-conda.txt",
    }
    assert found.files["requirements-of-conda.txt"] == b"six==1.17.0\n-r more.txt\niniconfig\n"
    assert found.files["more.txt"] == b"attrs==24.1\n" and "environment.yml" not in found.files
    assert found.environment == {"CONDA_PREFIX": "/opt/venv", "A": "1"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("channels: [x", "it is no YAML"),
        ("name: x\n", "it names no dependencies"),
        ("dependencies: [a]\npackages: [b]\n", "conda knows no 'packages' there"),
        ("dependencies:\n- npm: [a]\n", "npm is no way of installing that conda knows"),
        ("dependencies: [a]\nchannels: [../up]\n", "outside of the project"),
        ("dependencies: [a]\nchannels: ['file:///elsewhere']\n", "outside of the project"),
        ("dependencies: [a]\nchannels: [./gone]\n", "is no folder of this project"),
        ("dependencies: [a]\nvariables: {'a b': c}\n", "can't be a variable"),
    ],
)
def test_a_broken_environment_is_refused(tmp_path: Path, text: str, error: str) -> None:
    project(tmp_path, environment_yml=text)
    with pytest.raises(BadInput, match=error) as raised:
        read_environment(tmp_path, "environment.yml")
    assert str(raised.value.where).startswith("environment.yml")


def test_a_lock_of_pixi_comes_with_the_files_that_it_names(tmp_path: Path) -> None:
    project(tmp_path, channel__other="1", libs__x__x_py="V = 1\n")
    (tmp_path / "channel" / "noarch").mkdir()
    for name in ("a", "c"):
        (tmp_path / "channel" / "noarch" / f"{name}-1.0-h0_0.conda").write_bytes(b"")
    (tmp_path / "pixi.lock").write_text(PIXI.format(root=tmp_path))
    (tmp_path / "pixi.toml").write_text('[dependencies]\nA = "*"\nb = "*"\n')
    found = read_pixi_lock(tmp_path, "pixi.lock", (), ())
    assert set(found.files) == {
        *("pixi.lock", "libs/x/x.py"),
        *("channel/noarch/a-1.0-h0_0.conda", "channel/noarch/c-1.0-h0_0.conda"),
    }
    assert b"- conda: /build/channel/noarch/c-1.0" in found.files["pixi.lock"]
    assert str(tmp_path) not in found.files["pixi.lock"].decode()

    (tmp_path / "pixi.toml").write_text('[dependencies]\nnumpy = "*"\n')
    with pytest.raises(BadInput, match=r"pixi.toml names numpy, which the lock does not have: run `pixi lock`"):
        read_pixi_lock(tmp_path, "pixi.lock", (), ())
    with pytest.raises(BadInput, match="the environment 'default' is installed"):
        read_pixi_lock(tmp_path, "pixi.lock", (), ("test",))


def test_a_category_of_conda_lock_is_chosen(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "conda-lock.yml").write_text("version: 1\npackage: []\n")
    found = read_conda_lock(tmp_path, "conda-lock.yml", ("dev",))
    assert found.options == {"LOCK": "conda-lock.yml", "CATEGORIES": "dev"}
    with pytest.raises(BadInput, match="is not the name of a category"):
        read_conda_lock(tmp_path, "conda-lock.yml", ("dev; true",))


@pytest.mark.parametrize("name", ["environment.yml", "environment.yaml", "binder/environment.yml"])
def test_an_environment_is_found_by_its_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("dependencies: [a]\n")
    found = find_dependencies(tmp_path, Build(), lambda _sentence: None)
    assert isinstance(found, Export) and found.file == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pixi.toml", "[dependencies]\n"),
        ("pyproject.toml", '[project]\nname = "x"\n[tool.pixi.dependencies]\na = "*"\n'),
    ],
)
def test_a_project_of_pixi_without_its_lock_is_not_passed_over(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match="run `pixi lock`") as raised:
        find_dependencies(tmp_path, Build(), lambda _sentence: None)
    assert raised.value.where == name


def test_no_wheelhouse_takes_the_place_of_a_lock(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_bytes(b"")
    (tmp_path / "environment.yml").write_text("dependencies: [a]\n")
    with pytest.raises(BadInput, match=r"build\.wheelhouse can't take its place"):
        find_dependencies(tmp_path, Build(wheelhouse="wheels"), lambda _sentence: None)


def test_variables_are_the_images_as_they_are(tmp_path: Path) -> None:
    value = 'a "b" $c \\d'
    base = EnvironmentImage({"Architecture": "amd64", "Os": "linux", "RootFS": {}, "Config": {}}, "sha256:0", ())
    (tmp_path / "layer.tar").write_bytes(b"")
    image = compose_environment(base, tmp_path / "layer.tar", {"A": value})
    assert f"A={value}" in json.loads(image.config)["config"]["Env"]
    assert image.identity != compose_environment(base, tmp_path / "layer.tar", {"A": "b"}).identity
    one, other = (Dependencies("conda", "environment.yml", environment={"A": text}) for text in (value, "b"))
    assert (
        EnvironmentDefinition("base", "id", (), one).reference
        != EnvironmentDefinition("base", "id", (), other).reference
    )


def test_what_the_build_says_of_the_users_file_is_the_error() -> None:
    error = explain_failure("#9 0.2 toolkit-says: no packages fit\n#9 ERROR: executor failed", "base", "pixi.lock")
    assert isinstance(error, BadInput) and str(error) == "pixi.lock: no packages fit"
