"""Binder's apt.txt, and what is said of dependencies beside an existing image."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.build.environment.apt_file import AptFile, find_apt_file, with_apt_packages
from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.environment.dependencies.found import Dependencies
from toolkit.build.environment.places import placed
from toolkit.build.image.builder import nothing_installed
from toolkit.build.image.changes import Names, environment_changes
from toolkit.config.load import load
from toolkit.errors import BadInput
from toolkit.project import Project


def project(root: Path, settings: str, **files: str) -> Project:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "toolkit.yaml").write_text(settings)
    return load(root / "toolkit.yaml", root)


def test_packages_are_read_without_comments(tmp_path: Path) -> None:
    (tmp_path / "apt.txt").write_text("\ufeff# drawing\ngraphviz  # dot\r\n\n  libgomp1 tree=2.1\n")
    assert find_apt_file(tmp_path) == AptFile("apt.txt", {"graphviz": 2, "libgomp1": 4, "tree=2.1": 4})
    (tmp_path / "apt.txt").write_text("# nothing\n")
    assert find_apt_file(tmp_path) is None


def test_binders_folder_comes_first_and_a_line_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    made = project(tmp_path, "build: {system_packages: [tree, curl]}\n", apt_txt="a\n", binder__apt_txt="tree\ngit\n")
    assert with_apt_packages(made, said.append).config.build.system_packages == ("tree", "curl", "git")
    assert said == ["note: system packages are installed from binder/apt.txt, and apt.txt is not read"]


def test_an_error_names_the_line_of_the_package(tmp_path: Path) -> None:
    made = project(tmp_path, "build:\n  system_packages: [tree]\n", apt_txt="# c\nlibxyz-dev=1\n")
    for package, where in (("libxyz-dev", "apt.txt:2"), ("tree", "toolkit.yaml:2"), ("libxyz", "toolkit.yaml:2")):
        with pytest.raises(BadInput) as error, placed(made):
            raise BadInput(f"build.system_packages: the base image's Debian has no {package}: correct the name")
        assert (error.value.where or "").endswith(where)
    assert "build.system_packages" in error.value.message


def test_what_came_and_went_is_told_by_its_file() -> None:
    def inputs(apt: AptFile | None, *packages: str) -> dict[str, str]:
        definition = EnvironmentDefinition("b", "id", packages, Dependencies("none"), {}, apt=apt)
        return definition.inputs()

    one, two = AptFile("apt.txt", {"a": 1, "b": 2}), AptFile("apt.txt", {"b": 1, "c": 2})
    told = environment_changes(inputs(one, "a", "b"), inputs(two, "b", "c", "x"), Names(settings="toolkit.yaml"))
    assert sorted(told) == [
        "apt.txt: a was removed",
        "apt.txt: c was added",
        "toolkit.yaml: build.system_packages: x was added",
    ]
    # Where a package is named makes no other environment.
    first, second = (EnvironmentDefinition("b", "id", ("a",), Dependencies("none"), {}, apt=apt) for apt in (None, one))
    assert first.reference == second.reference


@pytest.mark.parametrize(
    ("files", "settings", "named"),
    [
        ({"requirements_txt": "six\n"}, "", "requirements.txt does not count (to have both"),
        ({"requirements_txt": "# nothing\n"}, "", None),
        ({"pyproject_toml": "[tool.ruff]\n"}, "", None),
        ({"environment_yml": "dependencies: [numpy]\n"}, "", "environment.yml does not count"),
        ({"pixi_toml": "[dependencies]\n"}, "", "pixi.toml does not count"),
        ({"requirements_txt": "six\n", "apt_txt": "tree\n"}, "", "requirements.txt and apt.txt do not count"),
        ({"requirements_txt": "six\n"}, "lock: none, run: [a]", "build.run does not count"),
        ({"D": "FROM x\n"}, "dockerfile: D", "build.dockerfile does not count"),
        ({}, "", None),
    ],
)
def test_what_an_existing_image_does_not_get(
    tmp_path: Path, files: dict[str, str], settings: str, named: str | None
) -> None:
    configuration = f"executor: {{type: local-container, config: {{image: 'x:1'}}}}\nbuild: {{{settings}}}\n"
    told = nothing_installed(project(tmp_path, configuration, **files), "x:1")
    assert told is None if named is None else told is not None and named in told, told
