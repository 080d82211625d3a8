"""The files that set a machine up: the lock, the scripts in .ci/ and the tasks. No test here touches an engine."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


@pytest.fixture(scope="module")
def set_up() -> ModuleType:
    """.ci/setup-engine as a module: it has no suffix, being a command."""
    loader = SourceFileLoader("setup_engine", str(ROOT / ".ci/setup-engine"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    # A command's bytecode beside it would be a stray file in the checkout.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


# --- the lock ---------------------------------------------------------------------------------------------------------


def refusals(lock: str) -> list[str]:
    """What a lock must not hold."""
    found = []
    for line in lock.splitlines():
        if re.match(r"toolkit\s*(\[.*\])?\s*(==|@)", line, re.IGNORECASE):
            found.append(f"a stranger's distribution: {line}")
        if re.search(r"\w+://|^--?(index|extra-index|find-links|i\b|f\b)|@\s*[./]|(^|\s)/\w", line):
            found.append(f"a place: {line}")
        if re.match(r"[A-Za-z0-9]", line) and not line.endswith("\\"):
            found.append(f"no hash: {line}")
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_names_no_place_no_stranger_and_a_hash_for_everything(name: str) -> None:
    assert refusals((ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "toolkit==0.3 \\",
        "Toolkit[all] == 0.3 \\",
        "docker @ https://example.invalid/docker.whl \\",
        "--index-url https://example.invalid/simple",
        "--find-links /opt/wheels",
        "samerun @ file:///home/me/samerun \\",
        "docker==7.1.0",
    ],
)
def test_a_bad_line_in_a_lock_is_refused(line: str) -> None:
    assert refusals(line)


def test_the_lock_of_the_developers_holds_the_same_versions_as_the_users() -> None:
    def pins(name: str) -> set[str]:
        return {line.rstrip(" \\") for line in (ROOT / name).read_text().splitlines() if re.match(r"\w", line)}

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


@pytest.mark.parametrize("name", ["uv", "go-task-bin", "hatchling", "editables"])
def test_what_the_set_up_itself_installs_is_locked(name: str) -> None:
    assert re.search(rf"^{name}==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)


# --- the scripts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["task", "run", "base-rootfs"])
def test_the_shell_scripts_parse_and_stop_at_the_first_error(name: str) -> None:
    script = ROOT / ".ci" / name

    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "set -euo pipefail" in script.read_text()


def test_no_script_names_a_registry_or_a_mirror() -> None:
    for script in (ROOT / ".ci").iterdir():
        hosts = re.findall(r"\b(?!localhost\b)[\w-]+\.(?:com|io|net|org)\b", script.read_text())
        assert [host for host in hosts if host != "docker.io"] == [], script  # docker.io is a package of Debian's


def test_continuous_integration_calls_the_command_of_the_readme() -> None:
    last = (ROOT / ".ci/run").read_text().splitlines()[-1]

    assert last == "exec bash .ci/task test"


def test_a_machine_that_lacks_something_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    # given a machine with neither Python nor apt: only what the script itself is written in
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ["bash", "cat", "cut", "dirname", "grep", "id", "mkdir", "sha256sum", "shasum", "tail", "uname"]:
        for place in ("/usr/bin", "/bin"):
            if os.path.exists(f"{place}/{tool}"):
                (tools / tool).symlink_to(f"{place}/{tool}")
                break
    (tools / "id").unlink()
    (tools / "id").write_text(f"#!{tools}/bash\necho 1000\n")
    (tools / "id").chmod(0o755)
    checkout = tmp_path / "checkout"
    (checkout / ".ci").mkdir(parents=True)
    for name in ["requirements-dev.lock", "pyproject.toml"]:
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    script = (ROOT / ".ci/task").read_text()
    assert "/usr/bin/python3" in script
    (checkout / ".ci/task").write_text(script.replace("/usr/bin/python3", ""))

    # when
    done = subprocess.run(
        [str(tools / "bash"), str(checkout / ".ci/task"), "demo"],
        env={"PATH": str(tools)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )

    # then
    assert done.returncode == 3
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith(".ci/task: this machine lacks python3 python3-venv git")


def test_an_engine_that_is_named_and_does_not_answer_is_not_replaced(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    environment = {"DOCKER_HOST": host, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci/setup-engine")], env=environment, capture_output=True, text=True
    )

    assert done.returncode == 3
    assert (
        done.stderr
        == f"setup: no engine answers at {host}, which DOCKER_HOST names: start it, or name another engine\n"
    )


def test_the_engine_of_the_current_context_is_found(
    set_up: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert set_up.engine_host() == (set_up.DEFAULT_HOST, "the default context")

    meta = tmp_path / "contexts/meta" / hashlib.sha256(b"far").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text('{"Endpoints": {"docker": {"Host": "ssh://there"}}}')
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    assert set_up.engine_host() == ("ssh://there", "the context far")

    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    assert set_up.engine_host() == ("tcp://elsewhere", "DOCKER_HOST")


def test_a_killed_engines_pid_file_is_removed_and_a_living_ones_is_kept(set_up: ModuleType, tmp_path: Path) -> None:
    pidfile = tmp_path / "docker.pid"
    assert set_up.remove_stale_pid(pidfile, "dockerd")

    # a number that belongs to a stranger by now: this test
    pidfile.write_text(str(os.getpid()))
    assert set_up.remove_stale_pid(pidfile, "dockerd")
    assert not pidfile.exists()

    pidfile.write_text(str(os.getpid()))
    assert not set_up.remove_stale_pid(pidfile, Path(os.path.realpath(f"/proc/{os.getpid()}/exe")).name)
    assert pidfile.exists()


def test_a_socket_that_nobody_listens_on_is_told_from_one_in_use(set_up: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert set_up.accepts(path)
    assert not set_up.accepts(path)
    assert not set_up.answers(f"unix://{path}")


@pytest.mark.parametrize(
    ("script", "able"),
    [
        ('[ "$1" = --version ] && echo "Docker version 20.10.24+dfsg1, build 297e128"', True),
        ('[ "$1" = --version ] && echo "Docker version 28.2.2, build e6534b4" || exit 1', False),
        ('[ "$1" = --version ] && echo "Docker version 28.2.2, build e6534b4" || exit 0', True),
        ("exit 127", False),
    ],
)
def test_a_client_that_builds_with_buildkit_is_known(
    set_up: ModuleType, tmp_path: Path, script: str, able: bool
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)

    assert set_up.builds_with_buildkit(str(docker)) is able


def test_the_cache_of_the_base_image_is_keyed_by_the_script_that_makes_it(
    set_up: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set_up.rootfs_key()
    changed = tmp_path / "base-rootfs"
    changed.write_bytes((ROOT / ".ci/base-rootfs").read_bytes() + b"# changed\n")
    monkeypatch.setattr(set_up, "rootfs_script", lambda: changed)

    assert set_up.rootfs_key() != before


# --- the tasks --------------------------------------------------------------------------------------------------------


def test_the_tasks_are_there_and_say_what_they_do() -> None:
    tasks = yaml.safe_load((ROOT / "Taskfile.yml").read_text())["tasks"]

    assert {"setup", "demo", "demo:cluster", "test", "lint", "bench", "lock", "clean"} <= tasks.keys()
    assert {"cluster:up", "cluster:down", "cluster:status"} <= tasks.keys()
    assert all(task["desc"] for task in tasks.values() if not task.get("internal"))
    assert all("setup" in tasks[name]["deps"] for name in ("demo", "test", "bench"))


@pytest.mark.parametrize("path", [".env", "examples/getting-started/.env", ".toolkit/runs", ".venv/bin/python"])
def test_what_is_private_is_never_committed(path: str) -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT)

    assert ignored.returncode == 0
