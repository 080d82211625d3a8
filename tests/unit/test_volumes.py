"""The folders of this machine that are volumes: those of a project's own, and data that lies elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.backends import volumes
from toolkit.config.load import load
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project


def project(home: Path, volume: str) -> Project:
    """A project whose volume `data` has these further keys, on line 5 of its configuration."""
    home.mkdir(exist_ok=True)
    (home / "toolkit.yaml").write_text(
        "executor:\n  config:\n    persistent_volumes:\n      - {name: toolkit, mount_path: /mnt}\n"
        f"      - {{name: data, mount_path: /data, {volume}}}\n"
    )
    return load(None, home)


def folder(of: Project) -> str:
    return volumes.folders(of)["/data"]


def test_a_host_path_is_absolute_or_relative_to_the_configuration_or_to_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    home = tmp_path / "project"
    elsewhere = tmp_path / "elsewhere"
    (home / "linked").parent.mkdir()
    (home / "linked").symlink_to(elsewhere)
    assert folder(project(home, f"host_path: {elsewhere}")) == str(elsewhere)
    assert folder(project(home, "host_path: ../elsewhere")) == str(elsewhere)
    assert folder(project(home, "host_path: linked")) == str(elsewhere)
    assert folder(project(home, "host_path: ~/sets")) == str(tmp_path / "home" / "sets")
    assert folder(project(home, "read_only: true")) == str(home / ".toolkit" / "volumes" / "data")


@pytest.mark.parametrize(
    ("host_path", "said"),
    [
        ("missing", "No such file or directory"),
        ("toolkit.yaml", "which is no folder"),
        ("~nobody-has-this-name/x", "home of a user"),
        (".", "what toolkit keeps for itself"),
        ("..", "what toolkit keeps for itself"),
        (".toolkit/clients", "what toolkit keeps for itself"),
    ],
)
@pytest.mark.parametrize("read_only", ["true", "false"])
def test_what_no_host_path_can_be(tmp_path: Path, host_path: str, said: str, read_only: str) -> None:
    made = project(tmp_path / "project", f"host_path: {host_path}, read_only: {read_only}")
    with pytest.raises(BadInput, match=said) as caught:
        volumes.check(made)
    assert (caught.value.where or "").endswith("project/toolkit.yaml:5")


def test_data_of_the_users_own_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "run_log_store").mkdir(parents=True)
    for path in (data, data / "run_log_store"):
        path.chmod(0o750)
    before = [os.stat(path) for path in (data, data / "run_log_store")]
    made = project(tmp_path / "project", f"host_path: {data}")

    volumes.prepare(made, 4242)
    volumes.make_store(made, "/data/run_log_store", 4242)

    after = [os.stat(path) for path in (data, data / "run_log_store")]
    assert [(each.st_uid, each.st_gid, each.st_mode) for each in after] == [
        (each.st_uid, each.st_gid, each.st_mode) for each in before
    ]
    # The project's own volume is made for the steps.
    assert os.stat(made.state / "volumes" / "toolkit").st_mode & 0o7777 == 0o2775


@pytest.mark.parametrize(
    ("mode", "said"), [(0o500, "can't write in the volume data"), (0o300, "can't read the volume")]
)
def test_the_message_names_the_one_volume_that_cant_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, said: str
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=mode)
    # Root may do everything, so what an ordinary user may is read from the mode.
    monkeypatch.setattr(os, "access", lambda path, rights: os.stat(path).st_mode >> 6 & rights == rights)
    made = project(tmp_path / "project", f"host_path: {data}")
    volumes.prepare(made, os.getuid())
    with pytest.raises(Infrastructure, match=said) as caught:
        volumes.check_access(made)
    assert str(data) in str(caught.value) and "toolkit" not in str(caught.value).replace(str(tmp_path), "")
    only_read = project(tmp_path / "project", f"host_path: {data}, read_only: true")
    if mode == 0o500:
        volumes.check_access(only_read)
