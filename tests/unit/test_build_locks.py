"""Which lock is used, and which is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.build.environment.definition import EnvironmentDefinition, check_packages
from toolkit.build.environment.failures import explain_failure, is_transient_failure
from toolkit.build.environment.locks import Lock, find_lock
from toolkit.errors import BadInput, Infrastructure

UV = 'version = 1\n\n[[package]]\nname = "demo"\nsource = { virtual = "." }\n'


def project(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("names", "kind", "file", "told"),
    [
        ([], "none", None, ""),
        (["uv.lock", "pyproject.toml"], "uv", "uv.lock", ""),
        (["requirements.txt"], "requirements", "requirements.txt", ""),
        (["requirements.txt", "pyproject.toml"], "requirements", "requirements.txt", ""),
        (["uv.lock", "requirements.txt", "pyproject.toml"], "uv", "uv.lock", "requirements.txt is not used"),
        (["poetry.lock", "requirements.txt"], "requirements", "requirements.txt", "poetry.lock is not used"),
        (["pyproject.toml"], "none", None, "nothing is installed from pyproject.toml"),
        (["setup.py"], "none", None, "nothing is installed from setup.py"),
    ],
)
def test_the_lock_is_detected(tmp_path: Path, names: list[str], kind: str, file: str | None, told: str) -> None:
    for name in names:
        (tmp_path / name).write_text(UV if name == "uv.lock" else "")
    said: list[str] = []
    lock = find_lock(tmp_path, None, said.append)
    assert (lock.kind, lock.file) == (kind, file)
    assert told in " ".join(said)
    assert bool(said) == bool(told)


@pytest.mark.parametrize(
    "name", ["pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock", "pixi.lock", "environment.yml"]
)
def test_another_way_of_locking_alone_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(BadInput, match="not supported yet") as error:
        find_lock(tmp_path, None, print)
    assert error.value.where == name
    assert find_lock(tmp_path, "none", print) == Lock("none")


def test_a_setting_chooses(tmp_path: Path) -> None:
    project(tmp_path, requirements_txt="six\n", deps__prod_txt="attrs\n")
    assert find_lock(tmp_path, "deps/prod.txt", print).files == {"deps/prod.txt": b"attrs\n"}
    with pytest.raises(BadInput, match="is not a file"):
        find_lock(tmp_path, "gone.txt", print)


def test_what_requirements_include_belongs_to_them(tmp_path: Path) -> None:
    project(
        tmp_path,
        requirements_txt="-r deps/base.txt\n-c constraints.txt\nsix\n",
        deps__base_txt="--requirement=more.txt\n",
        deps__more_txt="-r ../requirements.txt\nattrs==23.1.0 --hash=sha256:00\n",
        constraints_txt="six<2\n",
    )
    lock = find_lock(tmp_path, None, print)
    assert sorted(lock.files) == ["constraints.txt", "deps/base.txt", "deps/more.txt", "requirements.txt"]
    assert lock.hashes


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("six\ntoolkit==0.2\n", 2, "not this project's"),
        ("six\n# toolkit\n\nToolkit ; python_version > '3'\n", 4, "not this project's"),
        ("six \\\n  --hash=sha256:0\ntoolkit[x]>=1\n", 3, "not this project's"),
        ("-e .\n", 1, "local path"),
        ("six\n./wheels/a.whl\n", 2, "local path"),
        ("demo @ file:///home/me/demo\n", 1, "local path"),
        ("-r ../other.txt\n", 1, "outside"),
        ("-c /etc/constraints.txt\n", 1, "absolute"),
        ("-r gone.txt\n", 1, "cannot be read"),
    ],
)
def test_a_line_that_cannot_be_installed_is_refused(tmp_path: Path, text: str, line: int, message: str) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        find_lock(tmp_path, None, print)
    assert error.value.where == f"requirements.txt:{line}"


def test_names_that_only_look_like_the_strangers_are_fine(tmp_path: Path) -> None:
    text = "prompt-toolkit\ntoolkit-extra==1\nsix  # not toolkit\n"
    (tmp_path / "requirements.txt").write_text(text)
    assert find_lock(tmp_path, None, print).files == {"requirements.txt": text.encode()}


def test_our_own_distribution_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six\nsamerun==0.1 \\\n    --hash=sha256:00\nattrs\n")
    assert find_lock(tmp_path, None, print).files == {"requirements.txt": b"six\nattrs\n"}


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ('name = "toolkit"\nsource = { registry = "https://index.example/simple" }\n', 8),
        ('name = "member"\nsource = { editable = "packages/member" }\n', 8),
    ],
)
def test_a_package_of_a_uv_lock_that_cannot_be_installed_is_refused(tmp_path: Path, package: str, line: int) -> None:
    project(tmp_path, uv_lock=UV + "\n[[package]]\n" + package, pyproject_toml="")
    with pytest.raises(BadInput) as error:
        find_lock(tmp_path, None, print)
    assert error.value.where == f"uv.lock:{line}"


def test_a_project_that_is_itself_called_toolkit_is_fine(tmp_path: Path) -> None:
    project(tmp_path, uv_lock=UV.replace("demo", "toolkit"), pyproject_toml="")
    assert find_lock(tmp_path, None, print).kind == "uv"


@pytest.mark.parametrize("content", ["{", "package = 3"])
def test_a_broken_uv_lock_is_named(tmp_path: Path, content: str) -> None:
    project(tmp_path, uv_lock=content, pyproject_toml="")
    with pytest.raises(BadInput, match="uv lock"):
        find_lock(tmp_path, None, print)


def test_the_environments_name_follows_from_all_that_decides_it() -> None:
    lock = Lock("requirements", "requirements.txt", {"requirements.txt": b"six\n"})
    wanted = EnvironmentDefinition("base:1", "sha256:1", ("curl",), lock)
    others = [
        EnvironmentDefinition("base:1", "sha256:2", ("curl",), lock),
        EnvironmentDefinition("base:1", "sha256:1", (), lock),
        EnvironmentDefinition(
            "base:1", "sha256:1", ("curl",), Lock("requirements", "requirements.txt", {"requirements.txt": b""})
        ),
        EnvironmentDefinition("base:1", "sha256:1", ("curl",), Lock("none")),
    ]
    assert len({wanted.reference, *(other.reference for other in others)}) == 5
    assert EnvironmentDefinition("another-name:1", "sha256:1", ("curl", "curl"), lock).reference == wanted.reference
    assert EnvironmentDefinition("base:1", "sha256:1", (), Lock("none")).reference == "base:1"


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
            "cannot be installed",
        ),
        (
            "WARNING: Retrying (Retry(total=1, connect=None)) after connection broken by 'NewConnectionError'\n"
            "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for six",
            Infrastructure,
            "network",
        ),
        ("ERROR: No matching distribution found for nosuch", BadInput, "cannot be installed"),
        ("E: Unable to locate package nosuch", BadInput, "system_packages"),
        ("write /x: No space left on device", Infrastructure, "full"),
        ("/bin/sh: 1: python3: not found", BadInput, "base_image"),
        ("anything else", Infrastructure, "BuildKit failed"),
    ],
)
def test_a_failed_build_is_explained(text: str, kind: type[Exception], message: str) -> None:
    error = explain_failure(text, EnvironmentDefinition("base:1", "sha256:1", (), Lock("uv", "uv.lock")))
    assert type(error) is kind
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
