"""How a build logs in to the Git repositories that packages come from."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from toolkit.build.environment.dependencies.found import Dependencies
from toolkit.build.environment.repositories import https_hosts, repository_access
from toolkit.cli.main import run


def found(text: str) -> Dependencies:
    return Dependencies("pip", "requirements.txt", {"requirements.txt": text.encode()}, {"GIT": "1"})


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a @ git+https://a.example.org/x/y@v1", [("https", "a.example.org")]),
        ("git+http://a.example.org:3000/x#egg=a", [("http", "a.example.org:3000")]),
        ('source = { git = "https://a.example.org/x?rev=1#1" }', [("https", "a.example.org")]),
        ('vcs = { type = "git", url = "https://a.example.org/x", commit-id = "1" }', [("https", "a.example.org")]),
        ("git+https://${TOKEN}@a.example.org/x", []),
        ("git+https://me:it@a.example.org/x", []),
        ("six @ https://a.example.org/six.whl\ngit+ssh://git@a.example.org/x", []),
    ],
)
def test_only_hosts_of_repositories_without_a_login_are_asked_for(text: str, hosts: list[tuple[str, str]]) -> None:
    assert https_hosts(text) == hosts


def test_git_and_netrc_give_the_logins_of_these_hosts_alone(home: Path) -> None:
    (home / "store").write_text("https://me:p%40ss-word@a.example.org\nhttps://me:other@other.example.org\n")
    (home / ".gitconfig").write_text(f"[credential]\n    helper = store --file={home / 'store'}\n")
    (home / "logins").write_text(
        "machine b.example.org login you password the-b\nmachine c.example.org login x password y\n"
    )
    text = "git+https://a.example.org/x\ngit+https://b.example.org/x\ngit+https://d.example.org/x\n"
    access = repository_access(found(text), home / "logins", None)
    assert access.secrets == {"git": "https://me:p%40ss-word@a.example.org\nhttps://you:the-b@b.example.org\n"}
    assert access.notes == (
        "note: the build has this machine's login for the Git repositories of a.example.org, b.example.org",
    )
    assert "p@ss-word" in access.hidden
    assert not repository_access(Dependencies("pip", "r", {"r": text.encode()}), None, None).secrets


def test_an_agent_or_a_key_logs_in_by_ssh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = "git+ssh://git@a.example.org/x\n"
    (home / ".ssh").mkdir()
    (home / ".ssh" / "known_hosts").write_text("a.example.org ssh-ed25519 AAAA\n")
    assert repository_access(found(ssh), None, None).ssh == ""
    with socket.socket(socket.AF_UNIX) as agent:
        monkeypatch.chdir(home)
        agent.bind("agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        access = repository_access(found(ssh), None, None)
        assert (access.has_ssh, access.ssh) == (True, "default")
        assert "a.example.org ssh-ed25519" in access.secrets["known_hosts"]
        assert repository_access(found(ssh), None, home / "key").ssh == f"default={home / 'key'}"
        assert repository_access(found("git+https://a.example.org/x\n"), None, None).ssh == ""


@pytest.mark.parametrize(
    ("given", "words"), [("default", "no SSH agent runs here"), ("default=no/key", "no/key does not exist")]
)
def test_an_option_without_an_agent_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, words: str
) -> None:
    monkeypatch.chdir(home)
    assert run(["build", "--ssh", given]) == 2
    assert words in capsys.readouterr().err
