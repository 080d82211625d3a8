"""The locks of Poetry, PDM and Pipenv: what their tool is asked, and what of its answer is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.builds import write_project
from tests.support.examples import EXAMPLES
from toolkit.build.environment.base_image import find_tool_base
from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.environment.dependencies.exported import ANSWER, Locked, compared, installation
from toolkit.build.environment.dependencies.exporters import (
    pdm_packages,
    pipenv_packages,
    poetry_packages,
    read_tool_lock,
)
from toolkit.build.environment.dependencies.found import Tool
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.environment.failures import explain_failure
from toolkit.build.environment.installer_settings import installer_settings, variables_script
from toolkit.config.settings import Build
from toolkit.errors import BadInput

SIX = Locked("six", "1.17.0", frozenset({"sha256:aa", "sha256:bb"}), wanted=True)
COMMIT = "0123456789012345678901234567890123456789"


def lines(exported: str, *locked: Locked) -> list[str]:
    return compared(exported, locked, "poetry", "poetry.lock").splitlines()


def test_an_export_is_written_one_package_on_a_line_with_all_hashes() -> None:
    exported = (
        '# a comment\n\nsix==1.17.0 ; python_version >= "3.9" \\\n    --hash=sha256:bb \\\n    --hash=sha256:aa\n'
    )
    assert lines(exported, SIX) == ['six==1.17.0 ; python_version >= "3.9" --hash=sha256:aa --hash=sha256:bb']
    # A tool that left the hashes out has them added; the same name and version may be written in another way.
    assert lines("Six[x]==1.17\n", SIX) == ["Six[x]==1.17 --hash=sha256:aa --hash=sha256:bb"]


@pytest.mark.parametrize(
    ("exported", "error"),
    [
        ("six==1.16.0\n", r"exports six 1.16.0, which the lock does not have \(it has six 1.17.0\)"),
        ("six==1.17.0 --hash=sha256:cc\n", "six 1.17.0 with the hash sha256:cc, which the lock does not have"),
        ("six==1.17.0\nattrs==1.0\n", "exports attrs 1.0, which the lock does not have"),
        ("six>=1.17\n", "names no exact version"),
        ("--frobnicate\nsix==1.17.0\n", "names no exact version"),
        ("six @ https://example.com/six.whl\n", "which the lock does not have"),
        ("six @ git+https://example.com/six@1\n", "which the lock does not have"),
        ("", "does not export six 1.17.0, which the lock has"),
        ("six==1.17.0\niniconfig==2.0\n", "iniconfig, which is in none of the groups that were chosen"),
        ("six==1.17.0\ntoolkit==1\n", "would hide its SDK"),
    ],
)
def test_what_the_lock_does_not_say_is_an_error(exported: str, error: str) -> None:
    others = [Locked("iniconfig", "2.0", wanted=False), Locked("toolkit", "1")]
    with pytest.raises(BadInput, match=error) as raised:
        lines(exported, SIX, *others)
    assert raised.value.where == "poetry.lock"


def test_two_versions_of_a_package_keep_their_markers() -> None:
    newer = Locked("six", "2.0", frozenset({"sha256:dd"}))
    assert lines('six==1.17.0 ; python_version < "3.10"\nsix==2.0 ; python_version >= "3.10"\n', SIX, newer) == [
        'six==1.17.0 ; python_version < "3.10" --hash=sha256:aa --hash=sha256:bb',
        'six==2.0 ; python_version >= "3.10" --hash=sha256:dd',
    ]


@pytest.mark.parametrize(
    "line",
    [
        '-e file:///build/libs/x ; python_version >= "3.9"',
        'x @ file:///build/libs/x ; python_version >= "3.9"',
        '-e ./libs/x ; python_version >= "3.9"',
        '-e ./libs/x#egg=x ; python_version >= "3.9"',
        './libs/x ; python_version >= "3.9"',
        'x @ file:///${PROJECT_ROOT}/libs/x ; python_version >= "3.9"',
    ],
)
@pytest.mark.parametrize("locked", ["libs/x", "./libs/x"])
def test_a_folder_of_the_project_is_installed_from_its_files(tmp_path: Path, line: str, locked: str) -> None:
    written = compared(f"{line}\n", [Locked("x", "1", source=locked)], "poetry", "poetry.lock")
    assert written == 'x @ file:///build/libs/x ; python_version >= "3.9"\n'
    (tmp_path / "libs" / "x").mkdir(parents=True)
    (tmp_path / "libs" / "x" / "x.py").write_text("V = 1\n")
    found = installation(tmp_path, "poetry.lock", "", written.encode())
    assert found.files == {"requirements.txt": written.encode(), "libs/x/x.py": b"V = 1\n"}
    assert found.options == {"LOCK": "requirements.txt", "SYNC_OPTIONS": ""}


@pytest.mark.parametrize(
    ("line", "written"),
    [
        (
            f"z @ git+https://h/a/z.git@{COMMIT} ; os_name == 'x'",
            f"z @ git+https://h/a/z.git@{COMMIT} ; os_name == 'x'",
        ),
        (
            f"-e git+https://h/a/z.git@{COMMIT}#egg=z&subdirectory=q",
            f"z @ git+https://h/a/z.git@{COMMIT}#subdirectory=q",
        ),
        (f"-e git+https://h/a/z@{COMMIT}#egg=z", f"z @ git+https://h/a/z@{COMMIT}"),
    ],
)
def test_a_repository_is_installed_at_the_locked_commit(tmp_path: Path, line: str, written: str) -> None:
    locked = Locked("z", "1", source="https://h/a/z.git", revision=COMMIT)
    assert lines(f"{line}\n", locked) == [written]
    assert installation(tmp_path, "poetry.lock", "", f"{written}\n".encode()).options["GIT"] == "1"
    with pytest.raises(BadInput, match="which the lock does not have"):
        lines(f"{line}\n", locked._replace(revision="1" * 40))


def test_an_archive_has_the_hash_of_the_lock() -> None:
    locked = Locked("y", "", frozenset({"sha256:aa"}), "https://h/y-1.zip")
    assert lines("https://h/y-1.zip\n", locked) == ["y @ https://h/y-1.zip --hash=sha256:aa"]


def test_sources_go_on_into_the_installation(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "w.whl").write_bytes(b"w")
    exported = (
        "-i https://pypi.org/simple\n--extra-index-url https://${NAME}:${TOKEN}@h/simple\n--trusted-host h:8443\n"
        "--find-links file:///${PROJECT_ROOT}/wheels\nsix==1.17.0\n"
    )
    answer = compared(exported, [SIX], "pdm", "pdm.lock")
    found = installation(tmp_path, "pdm.lock", "", answer.encode())
    assert found.files["requirements.txt"].decode().splitlines() == [
        "--extra-index-url https://${NAME}:${TOKEN}@h/simple",
        "--find-links ./wheels",
        "six==1.17.0 --hash=sha256:aa --hash=sha256:bb",
    ]
    assert found.files["wheels/w.whl"] == b"w"
    assert found.variables == ("NAME", "TOKEN")
    assert found.options["SYNC_OPTIONS"] == (
        "--require-hashes --index-strategy=unsafe-best-match --allow-insecure-host=h:8443"
    )


def test_without_a_hash_no_other_index_is_searched(tmp_path: Path) -> None:
    answer = b"--extra-index-url https://h/simple\nsix==1.17.0\n"
    assert installation(tmp_path, "pdm.lock", "", answer).options["SYNC_OPTIONS"] == ""


@pytest.mark.parametrize(
    ("name", "lock", "tool"),
    [
        ("poetry", "poetry.lock", "poetry"),
        ("poetry-1", "poetry.lock", "poetry"),
        ("pdm", "pdm.lock", "pdm"),
        ("pipenv", "Pipfile.lock", "pipenv"),
    ],
)
def test_each_lock_is_read(name: str, lock: str, tool: Tool) -> None:
    content = (EXAMPLES / "build" / name / lock).read_bytes()
    packages = {
        "poetry": lambda: poetry_packages(content, lock, ()),
        "pdm": lambda: pdm_packages(content, lock, ()),
        "pipenv": lambda: pipenv_packages(content, lock, ("default",)),
    }[tool]()
    wanted = [one for one in packages if one.wanted]
    assert [(one.name, one.version, len(one.hashes)) for one in wanted] == [("six", "1.17.0", 2)]
    assert all(one.hashes and one.wanted is False for one in packages if one not in wanted)
    export = read_tool_lock(EXAMPLES / "build" / name, lock, tool, (), ())
    assert export.python == "3.10" and set(export.files) == {lock, "Pipfile" if tool == "pipenv" else "pyproject.toml"}


def project(root: Path, **files: str) -> Path:
    return write_project(root, {name.replace("__", "/").replace("_", "."): text for name, text in files.items()})


def test_poetry_is_asked_for_the_chosen_groups_and_whatever_version_the_project_wants(tmp_path: Path) -> None:
    declared = (
        '[tool.poetry]\nname = "x"\nrequires-poetry = "<2"\n\n[tool.poetry.requires-plugins]\nother = "*"\n\n'
        '[tool.poetry.dependencies]\nsix = "*"\n'
    )
    project(tmp_path, poetry_lock="", pyproject_toml=declared)
    export = read_tool_lock(tmp_path, "poetry.lock", "poetry", ("e",), ("g", "a;b"))
    assert export.command.endswith("--output=requirements.txt --only 'main,g,a;b' --extras=e")
    assert export.files["pyproject.toml"].decode() == (
        '[tool.poetry]\nname = "x"\n\n[tool.poetry.dependencies]\nsix = "*"\n'
    )


PDM = '[metadata]\ngroups = ["default", "e", "dev", "test"]\n[[package]]\nfiles = [{hash = "sha256:aa"}]\n'
PDM_PROJECT = (
    '[project]\nname = "x"\n[project.optional-dependencies]\ne = []\nother = []\n[dependency-groups]\ntest = []\n'
    "[tool.pdm.dev-dependencies]\ndev = []\n"
)


def test_pdm_is_asked_for_what_is_chosen_and_told_to_leave_out_the_rest(tmp_path: Path) -> None:
    project(tmp_path, pdm_prod_lock=PDM, pyproject_toml=PDM_PROJECT)
    export = read_tool_lock(tmp_path, "pdm.prod.lock", "pdm", ("e",), ("test",))
    assert "pdm lock --lockfile pdm.prod.lock --check; pdm export --lockfile pdm.prod.lock" in export.command
    assert export.command.endswith("--group=e --group=test --without=other --without=dev")
    for extras, groups, error in (
        (("nope",), (), r"no extra 'nope' \(it has: e, other\)"),
        ((), ("nope",), r"no dependency group 'nope' \(it has: dev, test\)"),
        (("other",), (), "does not lock the group other: run `pdm lock --lockfile pdm.prod.lock -G other`"),
    ):
        with pytest.raises(BadInput, match=error):
            read_tool_lock(tmp_path, "pdm.prod.lock", "pdm", extras, groups)


def test_pipenv_is_asked_for_categories(tmp_path: Path) -> None:
    declared = "[packages]\n[dev-packages]\n[docs]\n[requires]\npython_version = '3'\n"
    project(tmp_path, Pipfile_lock="{}", Pipfile=declared)
    export = read_tool_lock(tmp_path, "Pipfile.lock", "pipenv", (), ("dev", "docs"))
    assert "--categories=packages,dev-packages,docs > requirements.txt" in export.command
    with pytest.raises(BadInput, match=r"no category of packages 'nope' \(it has: dev-packages, docs, packages\)"):
        read_tool_lock(tmp_path, "Pipfile.lock", "pipenv", (), ("nope",))
    with pytest.raises(BadInput, match="a Pipfile has no extras"):
        read_tool_lock(tmp_path, "Pipfile.lock", "pipenv", ("e",), ())


@pytest.mark.parametrize(
    ("lock", "tool", "declaring"),
    [
        ("poetry.lock", "poetry", "pyproject.toml"),
        ("pdm.lock", "pdm", "pyproject.toml"),
        ("Pipfile.lock", "pipenv", "Pipfile"),
    ],
)
def test_a_lock_without_what_it_locks_is_refused(tmp_path: Path, lock: str, tool: Tool, declaring: str) -> None:
    (tmp_path / lock).write_text("")
    with pytest.raises(BadInput, match=f"what {declaring} declares, and there is none"):
        read_tool_lock(tmp_path, lock, tool, (), ())


@pytest.mark.parametrize(
    ("lock", "command"),
    [
        ("poetry.lock", "poetry lock"),
        ("pdm.prod.lock", "pdm lock"),
        ("Pipfile.lock", "pipenv lock"),
        ("uv.lock", "uv lock"),
    ],
)
def test_a_lock_that_is_named_and_missing_is_named_with_its_command(tmp_path: Path, lock: str, command: str) -> None:
    with pytest.raises(BadInput, match=f"run `{command}`"):
        find_dependencies(tmp_path, Build(lock=lock), lambda _sentence: None)


def test_an_unfinished_merge_is_named_with_its_line(tmp_path: Path) -> None:
    project(tmp_path, pyproject_toml="[project]\n", pdm_lock="a = 1\n<<<<<<< HEAD\n=======\n>>>>>>> other\n")
    with pytest.raises(BadInput, match="marks of a merge") as error:
        read_tool_lock(tmp_path, "pdm.lock", "pdm", (), ())
    assert error.value.where == "pdm.lock:2"


def test_the_locks_of_one_project_are_no_others(tmp_path: Path) -> None:
    said: list[str] = []
    shutil.copytree(EXAMPLES / "build" / "pipenv", tmp_path, dirs_exist_ok=True)
    (tmp_path / "requirements.txt").write_text("six==1.17.0\n")
    found = find_dependencies(tmp_path, Build(), said.append)
    assert found.file == "Pipfile.lock" and said == []
    (tmp_path / "requirements.txt").write_text("six==1.16.0\n")
    find_dependencies(tmp_path, Build(), said.append)
    assert "requirements.txt is not used" in said[0]


def test_the_folders_that_a_lock_names_are_there_for_the_tool_too(tmp_path: Path) -> None:
    lock = json.dumps({"default": {"x": {"path": "./libs/x", "editable": True}, "y": {"file": "https://h/y.zip"}}})
    project(tmp_path, Pipfile="[packages]\n", libs__x__setup_py="", libs__x__x_py="V = 1\n")
    (tmp_path / "Pipfile.lock").write_text(lock)
    export = read_tool_lock(tmp_path, "Pipfile.lock", "pipenv", (), ())
    assert set(export.files) == {"Pipfile", "Pipfile.lock", "libs/x/setup.py"}
    for path, error in (("../x", "outside of the project"), ("./libs/gone", "which is not in this project")):
        (tmp_path / "Pipfile.lock").write_text(lock.replace("./libs/x", path))
        with pytest.raises(BadInput, match=error):
            read_tool_lock(tmp_path, "Pipfile.lock", "pipenv", (), ())


@pytest.mark.parametrize(
    ("output", "lock", "remedy"),
    [
        ("Error: pyproject.toml changed significantly since poetry.lock was", "poetry.lock", "run `poetry lock`"),
        ("WARNING: Lockfile doesn't satisfy the project requirements", "pdm.x.lock", "pdm lock --lockfile pdm.x.lock`"),
        ("Pipfile.lock is out-of-date. Run $ pipenv lock to update.", "Pipfile.lock", "run `pipenv lock`"),
        ("The lock file is not compatible with the current version of Poetry.", "poetry.lock", "too old or too new"),
        ("WARNING: Lockfile is not compatible with PDM", "pdm.lock", "too old or too new"),
        ("Group(s) not found: nope (via --only)", "poetry.lock", "build.groups: the project has no group nope"),
        ("Extra [nope] is not specified.", "poetry.lock", "build.extras: the project has no extra nope"),
    ],
)
def test_a_tool_that_refuses_is_explained(output: str, lock: str, remedy: str) -> None:
    error = explain_failure(f"#9 0.2 {output}\nexecutor failed running", "base", lock)
    assert isinstance(error, BadInput) and remedy in str(error)


def test_a_tool_runs_on_a_base_whose_python_it_supports(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"old": "3.9.2", "toolkit-base:bookworm": "3.11.2"}

    class Engine:
        def image(self, name: str) -> dict[str, str] | None:
            return {"Id": name} if name in versions else None

    class Interpreter:
        def __init__(self, version: str) -> None:
            self.version = version

    module = "toolkit.build.environment.base_image"
    monkeypatch.setattr(f"{module}.interpreter_of", lambda _engine, image, _shown: Interpreter(versions[image]))
    engine: object = Engine()
    assert find_tool_base(engine, "old", "old", "3.10") == ("toolkit-base:bookworm",) * 2  # type: ignore[arg-type]
    assert find_tool_base(engine, "old", "old", "3.9") == ("old", "old")  # type: ignore[arg-type]
    assert find_tool_base(engine, "old", "old", "3.12") is None  # type: ignore[arg-type]


def test_poetrys_own_variables_log_in_to_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.poetry.source]]\nname = "my-corp"\nurl = "https://index.example.org/simple/"\n'
    )
    answer = b"--extra-index-url https://index.example.org/simple\nsix==1.16.0 --hash=sha256:1\n"
    without = installation(tmp_path, "poetry.lock", "", answer)
    monkeypatch.setenv("POETRY_HTTP_BASIC_MY_CORP_USERNAME", "me")
    monkeypatch.setenv("POETRY_HTTP_BASIC_MY_CORP_PASSWORD", "a@b c")
    found = installation(tmp_path, "poetry.lock", "", answer)
    assert found.variables == ("POETRY_HTTP_BASIC_MY_CORP_PASSWORD", "POETRY_HTTP_BASIC_MY_CORP_USERNAME")
    assert (
        b"https://${POETRY_HTTP_BASIC_MY_CORP_USERNAME}:${POETRY_HTTP_BASIC_MY_CORP_PASSWORD}@index."
        in found.files[ANSWER]
    )
    assert "PASSWORD=a%40b%20c\n" in variables_script(found.variables, installer_settings(found))
    # The login is no part of the environment.
    keys = {EnvironmentDefinition("base", "id", (), one).reference for one in (without, found)}
    assert len(keys) == 1
