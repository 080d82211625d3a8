"""Which file a project's dependencies come from, what belongs to it, and what is refused with its line."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.environment.definition import EnvironmentDefinition, check_packages, export_key
from toolkit.build.environment.dependencies.declared import (
    declared_requirements,
    pipfile_requirements,
    poetry_specifier,
    script_requirements,
)
from toolkit.build.environment.dependencies.found import Dependencies, Export, read_input
from toolkit.build.environment.dependencies.requirements import read_lines
from toolkit.build.environment.dependencies.search import Found, find_dependencies
from toolkit.build.environment.failures import explain_failure, is_transient_failure
from toolkit.build.environment.python_version import check_python
from toolkit.config.settings import Build
from toolkit.errors import BadInput, Infrastructure

UV = 'version = 1\n\n[[package]]\nname = "demo"\nsource = { virtual = "." }\n'
DEMO = '[project]\nname = "demo"\nversion = "1"\ndependencies = ["six"]\n'


def find(
    root: Path,
    lock: str | None = None,
    said: list[str] | None = None,
    extras: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
) -> Found:
    return find_dependencies(
        root, Build(lock=lock, extras=extras, groups=groups), (said if said is not None else []).append
    )


def installed(root: Path, lock: str | None = None) -> Dependencies:
    found = find(root, lock)
    assert isinstance(found, Dependencies)
    return found


@pytest.mark.parametrize(
    ("files", "kind", "file", "told"),
    [
        ({}, "none", None, ""),
        ({"uv.lock": UV, "pyproject.toml": DEMO}, "uv", "uv.lock", ""),
        ({"requirements.txt": "six\n"}, "pip", "requirements.txt", ""),
        ({"requirements.txt": "six\n", "pyproject.toml": DEMO}, "pip", "requirements.txt", ""),
        (
            {"requirements.txt": "attrs\n", "pyproject.toml": DEMO},
            "pip",
            "requirements.txt",
            "pyproject.toml is not used",
        ),
        (
            {"uv.lock": UV, "requirements.txt": "six\n", "pyproject.toml": DEMO},
            "uv",
            "uv.lock",
            "requirements.txt is not used",
        ),
        ({"uv.lock": UV, "requirements.txt": "demo\n", "pyproject.toml": DEMO}, "uv", "uv.lock", ""),
        ({"pylock.toml": "", "pyproject.toml": DEMO}, "sync", "pylock.toml", "pyproject.toml is not used"),
        ({"pylock.prod.toml": ""}, "sync", "pylock.prod.toml", ""),
        ({"requirements.lock": "six==1.16.0\n"}, "pip", "requirements.lock", ""),
        (
            {"requirements/production.txt": "six\n", "requirements/base.txt": "six\n"},
            "pip",
            "requirements/production.txt",
            "",
        ),
        ({"requirements/gpu.txt": "six\n"}, "pip", "requirements/gpu.txt", ""),
        ({"binder/requirements.txt": "six\n"}, "pip", "binder/requirements.txt", ""),
        ({"pyproject.toml": DEMO}, "export", "pyproject.toml", ""),
        ({"pyproject.toml": "[tool.ruff]\n"}, "none", None, ""),
        ({"pyproject.toml": '[tool.poetry.dependencies]\nsix = "*"\n'}, "export", "pyproject.toml", ""),
        ({"setup.cfg": "[options]\ninstall_requires =\n    six\n"}, "export", "setup.cfg", ""),
        ({"setup.py": "from setuptools import setup\nsetup(install_requires=['six'])\n"}, "export", "setup.py", ""),
        ({"setup.py": "from setuptools import setup\nsetup()\n"}, "none", None, ""),
        ({"Pipfile": '[packages]\nsix = "*"\n'}, "export", "Pipfile", ""),
        ({"requirements.in": "six\n"}, "export", "requirements.in", ""),
        ({"job.py": '# /// script\n# dependencies = ["six"]\n# ///\n'}, "export", "job.py", ""),
        ({"postBuild": "tree\n"}, "none", None, "postBuild is not read"),
    ],
    ids=lambda value: "+".join(value) or "nothing" if isinstance(value, dict) else None,
)
def test_the_file_that_counts(tmp_path: Path, files: dict[str, str], kind: str, file: str | None, told: str) -> None:
    said: list[str] = []
    found = find(write_project(tmp_path, files), said=said)
    assert ("export" if isinstance(found, Export) else found.kind, found.file) == (kind, file)
    assert told in " ".join(said)
    assert bool(said) == bool(told)


def test_what_nothing_locks_is_said_with_the_command_that_locks_it(tmp_path: Path) -> None:
    found = find(write_project(tmp_path, {"pyproject.toml": DEMO}))
    assert isinstance(found, Export)
    assert found.unlocked.startswith("nothing is locked: pyproject.toml") and "`toolkit lock`" in found.unlocked
    assert found.files == {"requirements.in": b"six\n"}


def test_a_setting_chooses(tmp_path: Path) -> None:
    write_project(tmp_path, {"requirements.txt": "six\n", "deps/prod.txt": "attrs\n", "deps/any-name": "idna\n"})
    assert installed(tmp_path, "deps/prod.txt").files == {"deps/prod.txt": b"attrs\n"}
    assert installed(tmp_path, "deps/any-name").files == {"deps/any-name": b"idna\n"}
    assert find(tmp_path, "none") == Dependencies("none")
    with pytest.raises(BadInput, match="is not a file"):
        find(tmp_path, "gone.txt")


# --- requirements ---------------------------------------------------------------------------------------------------------


def test_what_requirements_include_belongs_to_them(tmp_path: Path) -> None:
    files = {
        "requirements.txt": "-r deps/base.txt\n-c 'constraints of mine.txt'\nsix\n",
        "deps/base.txt": "--requirement=more.txt\n",
        "deps/more.txt": "-r ../requirements.txt\nattrs==23.1.0 --hash=sha256:00\n",
        "constraints of mine.txt": "six<2\n",
    }
    found = installed(write_project(tmp_path, files))
    assert sorted(found.files) == sorted(files)
    assert found.options["PIP_OPTIONS"] == "--require-hashes"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("six\ntoolkit==0.2\n", 2, "not this project's"),
        ("six\n# toolkit\n\nToolkit ; python_version > '3'\n", 4, "not this project's"),
        ("six \\\n  --hash=sha256:0\ntoolkit[x]>=1\n", 3, "not this project's"),
        ("-e .\n", 1, "no project to install"),
        ("six\n./wheels/a.whl\n", 2, "no file or folder of this project"),
        ("demo @ file:///croot/demo\n", 1, "outside"),
        ("-e ../other\n", 1, "outside"),
        ("--find-links ./gone\n", 1, "no folder of this project"),
        ("-r ../other.txt\n", 1, "outside"),
        ("-c /etc/constraints.txt\n", 1, "absolute"),
        ("-r gone.txt\n", 1, "cannot be read"),
    ],
)
def test_a_line_that_cannot_be_installed_is_refused(tmp_path: Path, text: str, line: int, message: str) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        find(tmp_path)
    assert error.value.where == f"requirements.txt:{line}"


@pytest.mark.parametrize("line", ["-e .", ".", "./", "-e .[more]", "--editable=."])
def test_the_project_itself_stands_for_what_it_depends_on(tmp_path: Path, line: str) -> None:
    text = DEMO + "[project.optional-dependencies]\nmore = ['idna']\n"
    found = installed(write_project(tmp_path, {"requirements.txt": f"attrs\n{line}\n", "pyproject.toml": text}))
    wanted = b"attrs\nsix\n" + (b"idna\n" if "more" in line else b"")
    assert found.files["requirements.txt"] == wanted
    assert "pyproject.toml" in found.files


def test_local_files_and_folders_are_part_of_the_build(tmp_path: Path) -> None:
    files = {
        "requirements.txt": "-f wheels\n-e ./libs/one\n./two-1-py3-none-any.whl\nthree @ file:./libs/three\n",
        "wheels/a.whl": "A",
        "two-1-py3-none-any.whl": "B",
        "libs/one/setup.py": "",
        "libs/three/setup.py": "",
        "libs/three/__pycache__/x.pyc": "",
    }
    found = installed(write_project(tmp_path, files))
    assert sorted(found.files) == sorted(name for name in files if "pycache" not in name)
    assert b"-e" not in found.files["requirements.txt"]


def test_an_editable_repository_is_installed_as_a_plain_one(tmp_path: Path) -> None:
    found = installed(write_project(tmp_path, {"requirements.txt": "-e git+https://git.example/a.git@v1#egg=a\n"}))
    assert found.files["requirements.txt"] == b"git+https://git.example/a.git@v1#egg=a\n"
    assert found.options["GIT"] == "1"


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF16_LE + "six\nsamerun\n".encode("utf-16-le"),
        codecs.BOM_UTF8 + b"six\nsamerun\n",
        "# -*- coding: latin-1 -*-\n# Müller\nsix\nsamerun\n".encode("latin-1"),
    ],
)
def test_the_encodings_that_pip_reads(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "requirements.txt").write_bytes(content)
    [kept] = installed(tmp_path).files.values()
    assert "samerun" not in kept.decode("utf-16" if content[:2] == codecs.BOM_UTF16_LE else "latin-1")


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"# M\xfcller\n")
    with pytest.raises(BadInput, match="save it as UTF-8"):
        find(tmp_path)


def test_variables_in_addresses_are_known_by_name(tmp_path: Path) -> None:
    found = installed(
        write_project(tmp_path, {"requirements.txt": "--index-url https://${USER_1}:${TOKEN}@index.example\nsix\n"})
    )
    assert found.variables == ("TOKEN", "USER_1")


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("six==1.16.0\nidna==3.7 ; python_version > '3'\n", True),
        ("six==1.16.0 --hash=sha256:00 --hash=sha256:11\n", True),
        ("six>=1\n", False),
        ("six==1.*\n", False),
        ("--pre\nsix==1.16.0\n", False),
    ],
)
def test_what_leaves_no_choice_is_installed_by_uv(tmp_path: Path, text: str, exact: bool) -> None:
    found = installed(write_project(tmp_path, {"requirements.txt": text}))
    assert (found.options.get("INSTALLER") == "uv") is exact


def test_names_that_only_look_like_the_strangers_are_fine(tmp_path: Path) -> None:
    text = "prompt-toolkit\ntoolkit-extra==1\nsix  # not toolkit\n"
    assert installed(write_project(tmp_path, {"requirements.txt": text})).files == {"requirements.txt": text.encode()}


def test_our_own_distribution_is_not_installed(tmp_path: Path) -> None:
    text = "six\nsamerun==0.1 \\\n    --hash=sha256:00\nattrs\n"
    assert installed(write_project(tmp_path, {"requirements.txt": text})).files == {"requirements.txt": b"six\nattrs\n"}


# --- uv.lock ---------------------------------------------------------------------------------------------------------------


def package(name: str, source: str) -> str:
    return f'\n[[package]]\nname = "{name}"\nsource = {{ {source} }}\n'


def test_a_workspace_needs_the_pyproject_of_each_member(tmp_path: Path) -> None:
    lock = 'version = 1\n[manifest]\nmembers = ["app", "backend"]\n' + package("app", 'virtual = "."')
    lock += package("backend", 'editable = "pkgs/backend"') + package("lib", 'directory = "vendor/lib"')
    lock += package("wheel", 'path = "wheels/wheel.whl"') + package("unused", 'directory = "gone"')
    files = {"uv.lock": lock, "pyproject.toml": DEMO, "pkgs/backend/pyproject.toml": DEMO, "pkgs/backend/code.py": ""}
    others = {"vendor/lib/setup.py": "", "vendor/lib/lib.py": "", "wheels/wheel.whl": ""}
    found = installed(write_project(tmp_path, {**files, **others}))
    assert sorted(found.files) == sorted({*files, *others} - {"pkgs/backend/code.py"})
    assert found.members == ("pkgs/backend",)
    assert found.options["UV_OPTIONS"] == "--locked"


def test_extras_groups_and_the_version_of_uv_are_the_projects(tmp_path: Path) -> None:
    text = DEMO + '[tool.uv]\nrequired-version = "==0.8.*"\n'
    found = find(write_project(tmp_path, {"uv.lock": UV, "pyproject.toml": text}), extras=("gpu",), groups=("jobs",))
    assert isinstance(found, Dependencies)
    assert found.options["UV_REQUIREMENT"] == "uv==0.8.*"
    assert found.options["UV_OPTIONS"] == "--extra=gpu --group=jobs --locked"


def test_dynamic_dependencies_are_taken_as_they_are_locked(tmp_path: Path) -> None:
    text = '[project]\nname = "demo"\nversion = "1"\ndynamic = ["dependencies"]\n'
    found = installed(write_project(tmp_path, {"uv.lock": UV, "pyproject.toml": text}))
    assert found.options["UV_OPTIONS"] == "--frozen"
    assert "uv lock --check" in found.unlocked


@pytest.mark.parametrize(
    ("name", "source"),
    [("toolkit", 'registry = "https://index.example/simple"'), ("member", 'editable = "../member"')],
)
def test_a_package_of_a_uv_lock_that_cannot_be_installed_is_refused(tmp_path: Path, name: str, source: str) -> None:
    write_project(tmp_path, {"uv.lock": UV + package(name, source), "pyproject.toml": DEMO})
    (tmp_path.parent / "member").mkdir(exist_ok=True)
    with pytest.raises(BadInput) as error:
        find(tmp_path)
    assert error.value.where == "uv.lock:8"


def test_a_project_that_is_itself_called_toolkit_is_fine(tmp_path: Path) -> None:
    write_project(tmp_path, {"uv.lock": UV.replace("demo", "toolkit"), "pyproject.toml": DEMO})
    assert installed(tmp_path).kind == "uv"


@pytest.mark.parametrize("content", ["{", "package = 3"])
def test_a_broken_uv_lock_is_named(tmp_path: Path, content: str) -> None:
    write_project(tmp_path, {"uv.lock": content, "pyproject.toml": DEMO})
    with pytest.raises(BadInput, match="uv lock"):
        find(tmp_path)


def test_a_lock_around_the_project_is_found_as_uv_finds_it(tmp_path: Path) -> None:
    workspace = DEMO + '[tool.uv.workspace]\nmembers = ["services/*"]\n'
    files = {
        "uv.lock": UV,
        "pyproject.toml": workspace,
        "services/train/pyproject.toml": DEMO,
        "services/bare/x.py": "",
    }
    write_project(tmp_path, files)
    said: list[str] = []
    member = find(tmp_path / "services" / "train", said=said)
    assert isinstance(member, Dependencies)
    assert (member.file, member.options["FOLDER"]) == ("../../uv.lock", "services/train")
    assert "../../uv.lock" in said[0]
    assert find(tmp_path / "services" / "bare").file == "../../uv.lock"


# --- what is declared and not locked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("poetry", "standard"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0", ">=0,<1"),
        ("~1.2", ">=1.2,<1.3"),
        ("~1", ">=1,<2"),
        ("1.2.3", "==1.2.3"),
        ("1.*", "==1.*"),
        (">=1, <2", ">=1,<2"),
        (">=1 <2", ">=1,<2"),
        ("~=1.2", "~=1.2"),
        ("*", ""),
    ],
)
def test_constraints_of_poetry_in_the_standards_words(poetry: str, standard: str) -> None:
    assert poetry_specifier(poetry) == standard


def test_alternatives_need_poetry_itself() -> None:
    with pytest.raises(BadInput, match="poetry lock"):
        poetry_specifier("^1 || ^2")


def test_what_poetrys_own_table_declares(tmp_path: Path) -> None:
    text = """\
[tool.poetry.dependencies]
python = "^3.9"
six = "^1.16"
idna = {version = "3.*", extras = ["x"], python = "<4"}
a = {git = "https://git.example/a.git", tag = "v1"}
b = {version = "*", optional = true}
[tool.poetry.extras]
more = ["b"]
"""
    write_project(tmp_path, {"pyproject.toml": text})
    found = declared_requirements(tmp_path, ("more",), "here")
    assert found.lines == (
        "six>=1.16,<2",
        "idna[x]==3.* ; python_version < '4'",
        "a @ git+https://git.example/a.git@v1",
        "b",
    )
    assert found.python == ">=3.9,<4"
    with pytest.raises(BadInput, match="no extra 'other'"):
        declared_requirements(tmp_path, ("other",), "here")


def test_groups_and_the_projects_own_extras(tmp_path: Path) -> None:
    text = """\
[project]
name = "demo"
dependencies = ["six", "demo[b]"]
[project.optional-dependencies]
a = ["idna"]
b = ["demo[a]", "attrs"]
[dependency-groups]
test = ["pytest", {include-group = "lint"}]
lint = ["ruff"]
"""
    found = declared_requirements(write_project(tmp_path, {"pyproject.toml": text}), (), "here", ("test",))
    assert sorted(found.lines) == ["attrs", "idna", "pytest", "ruff", "six"]


def test_what_only_a_build_of_the_project_tells_is_asked_of_its_backend(tmp_path: Path) -> None:
    files = {
        "setup.py": "from setuptools import setup\nsetup(install_requires=open('x').read().split())\n",
        "x": "six\n",
        "code.py": "",
        "requirements-prod.txt": "",
    }
    assert (
        declared_requirements(write_project(tmp_path, files), (), "here").dynamic == "its install_requires is computed"
    )
    found = find(tmp_path)
    assert isinstance(found, Export)
    assert (found.file, sorted(found.beside)) == ("setup.py", sorted(files))
    assert sorted(found.files) == ["requirements-prod.txt", "setup.py"]
    # A file of code asks nothing again; what is read by name does.
    (tmp_path / "code.py").write_text("changed = 1\n")
    again = find(tmp_path)
    assert isinstance(again, Export) and export_key(again, "", ()) == export_key(found, "", ())
    (tmp_path / "requirements.txt").write_text("-e .\n")
    found = find(tmp_path)
    assert isinstance(found, Export) and found.checked is not None
    assert found.files["requirements.txt"] == b".\n" and sorted(found.beside) == sorted([*files, "requirements.txt"])
    own = b'[[packages]]\nname = "p"\ndirectory = { path = ".", editable = true }\n\n'
    other = b'[[packages]]\nname = "six"\nversion = "1"\n'
    assert found.checked(b"lock-version = 1\n\n" + own + other) == b"lock-version = 1\n\n" + other


def test_files_that_setuptools_reads_dependencies_from_count(tmp_path: Path) -> None:
    text = DEMO.replace('dependencies = ["six"]', 'dynamic = ["dependencies"]')
    text += '[tool.setuptools.dynamic]\ndependencies = {file = ["deps/prod.list"]}\n'
    found = find(write_project(tmp_path, {"pyproject.toml": text, "deps/prod.list": "six\n", "demo.py": ""}))
    assert isinstance(found, Export)
    assert sorted(found.files) == ["deps/prod.list", "pyproject.toml"]


def test_a_pipfile_and_a_script(tmp_path: Path) -> None:
    write_project(
        tmp_path,
        {
            "Pipfile": '[packages]\nsix = "==1.16.0"\nidna = {version = ">=3", extras = ["x"], markers = "os_name == \'posix\'"}\n',
            "job.py": '# /// script\n# requires-python = ">=3.9"\n# dependencies = [\n#   "six",\n# ]\n# ///\nimport six\n',
        },
    )
    assert pipfile_requirements(tmp_path, "Pipfile").lines == ("six==1.16.0", "idna[x]>=3 ; os_name == 'posix'")
    script = script_requirements(tmp_path, "job.py")
    assert script is not None and (script.lines, script.python) == (("six",), ">=3.9")


# --- Python, and the environment's name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "refused", "warned"),
    [
        ({".python-version": "3.12\n"}, "", "names Python 3.12"),
        ({".python-version": "3.11.4\n"}, "", "names Python 3.11.4"),
        ({".python-version": "3.11\n"}, "", ""),
        ({"runtime.txt": "python-3.10.2"}, "", "names Python 3.10.2"),
        ({"Pipfile": '[requires]\npython_version = "3.12"\n'}, "Pipfile:2", ""),
        ({"pyproject.toml": '[project]\nname = "a"\nrequires-python = ">=3.12"\n'}, "pyproject.toml:3", ""),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "~3.10"\n'}, "pyproject.toml:2", ""),
    ],
)
def test_the_projects_python_is_compared_with_the_bases(
    tmp_path: Path, files: dict[str, str], refused: str, warned: str
) -> None:
    said: list[str] = []
    try:
        check_python(write_project(tmp_path, files), "base:1", "3.11.2", said.append)
    except BadInput as error:
        assert error.where == refused
        assert "base:1 has Python 3.11.2" in str(error)
    else:
        assert not refused
    assert warned in " ".join(said)
    assert bool(said) == bool(warned)


def test_the_environments_name_follows_from_all_that_decides_it() -> None:
    lock = Dependencies("pip", "requirements.txt", {"requirements.txt": b"six\n"})
    wanted = EnvironmentDefinition("base:1", "sha256:1", ("curl",), lock)
    others = [
        EnvironmentDefinition("base:1", "sha256:2", ("curl",), lock),
        EnvironmentDefinition("base:1", "sha256:1", (), lock),
        EnvironmentDefinition("base:1", "sha256:1", ("curl",), Dependencies("pip", "r.txt", {"requirements.txt": b""})),
        EnvironmentDefinition("base:1", "sha256:1", ("curl",), Dependencies("pip", "r.txt", lock.files, {"GIT": "1"})),
        EnvironmentDefinition("base:1", "sha256:1", ("curl",), Dependencies("none")),
    ]
    assert len({wanted.reference, *(other.reference for other in others)}) == 6
    assert EnvironmentDefinition("another-name:1", "sha256:1", ("curl", "curl"), lock).reference == wanted.reference
    assert EnvironmentDefinition("base:1", "sha256:1", (), Dependencies("none")).reference == "base:1"


@pytest.mark.parametrize("package", ["a b", "$(id)", "-y", "a;b", ""])
def test_a_system_package_is_a_packages_name_and_nothing_else(package: str) -> None:
    with pytest.raises(BadInput, match="not the name of a Debian package"):
        check_packages((package,))
    check_packages(("libgl1", "g++", "gcc-12=12.2.0-14", "libc6:amd64"))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("The lockfile at `uv.lock` needs to be updated, but `--locked` was provided", BadInput, "uv lock"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", BadInput, "hash"),
        ("NewConnectionError ... No matching distribution found for six", Infrastructure, "network"),
        (
            "#8 9.1 WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError'\n"
            "#8 9.9 ERROR: No matching distribution found for nosuch",
            BadInput,
            "has no nosuch",
        ),
        (
            "WARNING: Retrying (Retry(total=1, connect=None)) after connection broken by 'NewConnectionError'\n"
            "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for six",
            Infrastructure,
            "network",
        ),
        ("ERROR: No matching distribution found for nosuch", BadInput, "has no nosuch"),
        ("E: Unable to locate package nosuch", BadInput, "system_packages"),
        ("write /x: No space left on device", Infrastructure, "full"),
        ("/bin/sh: 1: python3: not found", BadInput, "base_image"),
        ("anything else", Infrastructure, "BuildKit failed"),
    ],
)
def test_a_failed_build_is_explained(text: str, kind: type[Exception], message: str) -> None:
    error = explain_failure(text, "base:1", "uv.lock")
    assert isinstance(error, kind)
    assert message in str(error)


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("Err:1 bookworm\n  Temporary failure resolving 'a.example'\nE: Unable to locate package tree", True),
        ("  503  Service Unavailable [IP: 192.0.2.1 80]\nE: Unable to fetch some archives", True),
        ("error: Failed to fetch: error sending request for url", True),
        ("CERTIFICATE_VERIFY_FAILED ... Temporary failure in name resolution", False),
        ("Temporary failure resolving 'a.example'\nDO NOT MATCH THE HASHES", False),
        ("E: Unable to locate package nosuch", False),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'\nNo solution found",
            False,
        ),
    ],
)
def test_a_build_is_tried_again_only_when_the_network_may_be_well_soon(text: str, passing: bool) -> None:
    assert is_transient_failure(text) is passing


@pytest.mark.parametrize("line", ["-e./libs/x", "libs/x", "libs/x[a, b] ; os_name == 'posix'", "-e 'libs/x[a, b]'"])
def test_a_folder_is_known_by_each_of_pips_spellings(tmp_path: Path, line: str) -> None:
    files = {"requirements.txt": f"{line}\n", "libs/x/pyproject.toml": DEMO}
    found = installed(write_project(tmp_path, files))
    assert "libs/x/pyproject.toml" in found.files
    kept = found.files["requirements.txt"].decode()
    assert kept.startswith("./libs/x") and ("[a,b]" in kept) == ("[" in line)


@pytest.mark.parametrize(
    "line", ["six @ https://index.example/six-1.16.0-py3-none-any.whl", "https://index.example/a.zip ; os_name == 'nt'"]
)
def test_an_address_is_no_local_file(tmp_path: Path, line: str) -> None:
    assert (
        installed(write_project(tmp_path, {"requirements.txt": f"{line}\n"})).files["requirements.txt"]
        == f"{line}\n".encode()
    )


def test_no_extra_of_the_project_is_lost_to_a_space(tmp_path: Path) -> None:
    text = f'{DEMO}[project.optional-dependencies]\na = ["idna"]\nB_c = ["attrs"]\n'
    found = installed(write_project(tmp_path, {"pyproject.toml": text, "requirements.txt": "-e .[a, b-c]\n"}))
    assert found.files["requirements.txt"] == b"six\nidna\nattrs\n"


def test_names_of_extras_and_groups_are_compared_as_indexes_compare_names(tmp_path: Path) -> None:
    text = (
        f'{DEMO}[project.optional-dependencies]\nMy_Extra = ["demo[in_ner] ; os_name == \'posix\'"]\nIn-ner = ["idna"]\n'
        '[dependency-groups]\nTest_Kit = ["attrs"]\nall = [{include-group = "test-kit"}]\n'
    )
    found = find(write_project(tmp_path, {"pyproject.toml": text}), extras=("my-extra",), groups=("ALL",))
    assert found.files["requirements.in"] == b"six\nattrs\nidna ; (os_name == 'posix')\n"


@pytest.mark.parametrize(
    ("settings", "beside"),
    [
        ('[tool.uv.sources]\nsix = {path = "libs/six", editable = true}\n', ["libs/six/pyproject.toml"]),
        ('[tool.uv]\nconstraint-dependencies = ["six<1.16"]\n', []),
        ('[[tool.uv.index]]\nname = "w"\nurl = "wheels"\nformat = "flat"\n', ["wheels/six.whl"]),
        ("[tool.uv]\npackage = true\n", None),
    ],
)
def test_where_uv_is_told_to_take_packages_from(tmp_path: Path, settings: str, beside: list[str] | None) -> None:
    files = {"pyproject.toml": DEMO + settings, "libs/six/pyproject.toml": DEMO, "wheels/six.whl": ""}
    found = find(write_project(tmp_path, files))
    assert isinstance(found, Export)
    if beside is None:
        assert found.source == "requirements.in"
        return
    assert (found.source, sorted(found.files)) == ("pyproject.toml", sorted(["pyproject.toml", *beside]))
    answer = b'directory = { path = "libs/six", editable = true }'
    assert found.checked is not None and found.checked(answer) == answer.replace(b"true", b"false")


def test_settings_of_uv_in_a_script_and_in_uv_toml(tmp_path: Path) -> None:
    script = '# /// script\n# dependencies = ["six"]\n# [tool.uv]\n# prerelease = "allow"\n# ///\nprint(1)\n'
    found = find(write_project(tmp_path / "script", {"s.py": script}))
    assert isinstance(found, Export) and found.source == "s.py"
    assert found.files["s.py"].decode() == script.removesuffix("print(1)\n")
    assert find(tmp_path / "script", "s.py") == found
    found = find(write_project(tmp_path / "toml", {"pyproject.toml": DEMO, "uv.toml": 'prerelease = "allow"\n'}))
    assert isinstance(found, Export) and sorted(found.files) == ["pyproject.toml", "uv.toml"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pyproject.toml": f"{DEMO}[tool.uv.sources]\nsix = {{workspace = true}}\n"}, "run `uv lock`"),
        ({"pyproject.toml": f'{DEMO}[tool.uv.sources]\nsix = {{path = "../six"}}\n'}, "outside of the project"),
        ({"pyproject.toml": f'{DEMO}[[tool.pdm.source]]\nname = "p"\nurl = "https://i.example"\n'}, "run `pdm lock`"),
        (
            {"pyproject.toml": f'{DEMO}[[tool.poetry.source]]\nname = "p"\nurl = "https://i.example"\n'},
            "run `poetry lock`",
        ),
        (
            {"pyproject.toml": f'{DEMO}[tool.poetry.dependencies]\nsix = {{git = "https://i.example"}}\n'},
            "run `poetry lock`",
        ),
        ({"Pipfile": '[[source]]\nurl = "https://i.example"\n[packages]\nsix = "*"\n'}, "run `pipenv lock`"),
    ],
)
def test_a_place_of_packages_that_only_a_lock_describes(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        find(write_project(tmp_path, files))


def test_a_setup_py_that_installs_nothing_is_no_declaration(tmp_path: Path) -> None:
    assert installed(write_project(tmp_path, {"setup.py": "import os\nos.makedirs('data')\n"})).kind == "none"


def test_what_a_setup_py_reads_in_folders_is_part_of_the_question(tmp_path: Path) -> None:
    text = "from setuptools import setup\nfrom d.about import v\nsetup(install_requires=open(join('reqs', 'base.list')).read())\n"
    found = find(
        write_project(tmp_path, {"setup.py": text, "reqs/base.list": "six\n", "d/about.py": "", "d/__init__.py": ""})
    )
    assert isinstance(found, Export)
    assert sorted(found.files) == ["d/about.py", "reqs/base.list", "setup.py"]


def test_the_place_of_a_checkout_in_a_lock_is_no_part_of_the_build(tmp_path: Path) -> None:
    requires = '\n[package.metadata]\nrequires-dist = [{ name = "six", index = "file:///home/me/demo/w/flat" }]\n'
    lock = (
        UV
        + requires
        + '\n[[package]]\nname = "six"\nsource = { registry = "w/flat" }\nwheels = [{ path = "six.whl" }]\n'
    )
    found = installed(write_project(tmp_path, {"uv.lock": lock, "pyproject.toml": DEMO, "w/flat/six.whl": ""}))
    assert b'index = "file:///build/w/flat"' in found.files["uv.lock"]
    assert "w/flat/six.whl" in found.files


def test_lines_of_another_file_can_not_hold_a_project_that_has_to_be_asked(tmp_path: Path) -> None:
    write_project(tmp_path, {"setup.py": "from setuptools import setup\nsetup(install_requires=read())\n"})
    with pytest.raises(BadInput, match="name in place of the project"):
        read_lines(tmp_path, "pip.txt", "-e .\n", "environment.yml")
    write_project(tmp_path, {"requirements.in": "-e .\n"})
    found = find(tmp_path)
    assert isinstance(found, Export) and "setup.py" in found.beside


def test_the_members_that_one_member_needs_are_installed_from_their_files(tmp_path: Path) -> None:
    lock = 'version = 1\n[manifest]\nmembers = ["app", "core", "rest"]\n'
    for name, needs in (("app", '[{ name = "core" }]'), ("core", "[]"), ("rest", "[]")):
        lock += f'[[package]]\nname = "{name}"\nsource = {{ editable = "{name}" }}\ndependencies = {needs}\n'
        write_project(tmp_path, {f"{name}/pyproject.toml": DEMO, f"{name}/src/{name}.py": ""})
    write_project(tmp_path, {"uv.lock": lock, "pyproject.toml": '[tool.uv.workspace]\nmembers = ["*"]\n'})
    of_all = installed(tmp_path)
    assert "core/src/core.py" not in of_all.files and "LEFT_OUT" not in of_all.options
    of_one = installed(tmp_path / "app")
    assert of_one.options["LEFT_OUT"] == "--no-install-project"
    assert [name for name in sorted(of_one.files) if name.endswith(".py")] == ["core/src/core.py"]


def test_a_new_file_in_a_folder_of_the_lock_is_seen(tmp_path: Path) -> None:
    lock = UV + '\n[[package]]\nname = "lib"\nsource = { directory = "lib" }\n'
    write_project(tmp_path, {"uv.lock": lock, "pyproject.toml": DEMO, "lib/pyproject.toml": DEMO, "lib/lib.py": ""})
    found = installed(tmp_path)
    accepted = {f"lock {name}": hashlib.sha256(content).hexdigest() for name, content in found.files.items()}
    (tmp_path / "lib" / "new.py").write_text("")
    again = find_dependencies(tmp_path, Build(), print, accepted)
    assert isinstance(again, Dependencies) and "lib/new.py" in again.files


def test_a_file_of_comments_does_not_hide_what_another_declares(tmp_path: Path) -> None:
    found = find(write_project(tmp_path, {"requirements.txt": "# none\n", "pyproject.toml": DEMO}))
    assert isinstance(found, Export) and found.file == "pyproject.toml"
    (tmp_path / "pyproject.toml").unlink()
    assert installed(tmp_path).file == "requirements.txt"
    for content in ("  six\n".encode("utf-16"), b"-r https://index.example/r.txt\n"):
        (tmp_path / "requirements.txt").write_bytes(content)
        (tmp_path / "pyproject.toml").write_text(DEMO)
        assert installed(tmp_path).file == "requirements.txt"
    (tmp_path / "requirements.txt").write_text("./six.whl\n")
    (tmp_path / "six.whl").write_bytes(b"PK\xff\xfe")
    assert installed(tmp_path).file == "requirements.txt"


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_input(tmp_path, "gone.txt", "gone.txt")
    assert str(caught.value) == "gone.txt: it cannot be read: No such file or directory"
