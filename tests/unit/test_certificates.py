"""A kubeconfig's certificates and keys are on no disk while a command uses them, and nowhere once it has ended."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.backends.argo import certificates
from toolkit.errors import Infrastructure
from toolkit.temporary import TemporaryFolder, temporary_folder

User = Callable[[Path], dict[str, object]]

CONNECT = """
import json, os, signal, sys
from pathlib import Path
from toolkit.backends.argo import certificates, cluster

if sys.argv[2] == "folder":
    # As where the kernel has no file without a folder.
    certificates._in_memory = lambda content: None
configuration = cluster.connect(None, None).api_client.configuration
names = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
print(json.dumps([Path(name).read_text() for name in names]), flush=True)
sys.stdin.readline()
{"exit": lambda: None, "_exit": lambda: os._exit(0), "kill": lambda: os.kill(os.getpid(), signal.SIGKILL)}[sys.argv[1]]()
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(folder: Path, user: dict[str, object]) -> Path:
    """A kubeconfig whose cluster holds its authority, with a user."""
    path = folder / "kubeconfig"
    cluster = {"server": "https://127.0.0.1:9", "certificate-authority-data": encoded("the authority")}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": "me", "user": user}],
            }
        )
    )
    return path


def held(folder: Path) -> dict[str, object]:
    """A user whose certificate and key the kubeconfig holds."""
    return {"client-certificate-data": encoded("the certificate"), "client-key-data": encoded("the key")}


def plugged(folder: Path) -> dict[str, object]:
    """A user whose certificate and key a plugin gives."""
    plugin = folder / "plugin"
    status = {"clientCertificateData": "the certificate", "clientKeyData": "the key"}
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(0o755)
    return {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    }


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def connect(temporary: Path, config: Path, ending: str, where: str = "memory") -> subprocess.Popen[str]:
    """A client that has connected and waits for a line to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", CONNECT, ending, where],
        env={**os.environ, "KUBECONFIG": str(config), "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == ["the authority", "the certificate", "the key"]
    return process


@pytest.mark.parametrize("user", [held, plugged])
@pytest.mark.parametrize("ending", ["exit", "_exit", "kill"])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are in a folder")
def test_nothing_is_on_the_disk_at_any_time(tmp_path: Path, temporary: Path, user: User, ending: str) -> None:
    process = connect(temporary, kubeconfig(tmp_path, user(tmp_path)), ending)
    assert list(temporary.iterdir()) == []
    process.communicate("\n")
    assert process.returncode == (-signal.SIGKILL if ending == "kill" else 0)
    assert list(temporary.iterdir()) == []


def test_where_there_is_no_such_memory_the_next_command_removes_what_was_left(tmp_path: Path, temporary: Path) -> None:
    # Given a command that was killed, and one that runs,
    config = kubeconfig(tmp_path, held(tmp_path))
    killed = connect(temporary, config, "kill", "folder")
    killed.communicate("\n")
    (parent,) = temporary.iterdir()
    assert parent.stat().st_mode & 0o777 == 0o700
    (left,) = parent.iterdir()
    running = connect(temporary, config, "exit", "folder")
    (used,) = parent.iterdir()
    assert used != left
    # when the next one begins, then only what nobody uses has gone.
    following = connect(temporary, config, "exit", "folder")
    assert used in parent.iterdir() and len(list(used.iterdir())) == 3
    for process in (running, following):
        process.communicate("\n")


def test_a_folder_of_somebody_else_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / f"toolkit-{os.getuid()}").mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(temporary))
    with pytest.raises(Infrastructure, match="is not a folder that only this user can enter"):
        certificates._folder()


def test_a_library_that_writes_its_files_in_another_way_gets_a_folder_of_ours(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_folder", lambda: temporary)
    assert certificates.keep_off_disk(object()) == str(temporary)


# --- who can open them ------------------------------------------------------------------------------------------------


def test_threads_and_forks_can_open_them_again_and_again() -> None:
    path = certificates.path_of("the key of threads and forks")
    assert certificates.path_of(b"the key of threads and forks") == path, "the same content is kept once"
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.append(Path(path).read_text()))
    thread.start()
    thread.join()
    child = os.fork()
    if not child:
        os._exit(0 if Path(path).read_text() == "the key of threads and forks" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [*read, Path(path).read_text()] == ["the key of threads and forks"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are in a folder")
def test_a_program_that_is_started_does_not_get_them() -> None:
    path = certificates.path_of("the key of this process")
    number = int(path.rpartition("/")[2])
    assert not os.get_inheritable(number)
    script = f"import os; print(os.path.exists('/proc/self/fd/{number}'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, close_fds=False)
    assert done.stdout == "False\n"


# --- temporary folders ------------------------------------------------------------------------------------------------


def test_a_temporary_folder_is_gone_after_its_block_and_never_while_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "save-link").symlink_to(tmp_path / "other")
    with temporary_folder(tmp_path, "save-") as first:
        (first / "file").write_text("content")
        second = TemporaryFolder(tmp_path, "save-")
        assert (first / "file").exists() and first.stat().st_mode & 0o777 == 0o700
        second.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "save-link"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = f"import os; from pathlib import Path; from toolkit.temporary import TemporaryFolder; \
TemporaryFolder(Path({str(tmp_path)!r}), 'save-'); os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)
    (left,) = tmp_path.iterdir()
    with temporary_folder(tmp_path, "context-"):
        assert left.exists(), "another kind is another's business"
    with temporary_folder(tmp_path, "save-") as folder:
        assert list(tmp_path.iterdir()) == [folder]
