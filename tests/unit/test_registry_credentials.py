"""Which entry of config.json is a registry's, however the login that wrote it spelt the address."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from toolkit.build import registry_login as credentials_module
from toolkit.build.registry_login import Credentials, credentials_for
from toolkit.errors import Infrastructure


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


LOGIN = Credentials("me", "pass:word")


@pytest.mark.parametrize(
    ("address", "entry", "host", "expected"),
    [
        ("host.example", {"auth": encoded("me:pass:word")}, "host.example", LOGIN),
        ("https://host.example/v1/", {"auth": encoded("me:pass:word\0")}, "host.example", LOGIN),
        ("http://host.example:5000", {"auth": encoded("me:pass:word")}, "host.example:5000", LOGIN),
        ("http://host.example:5000", {"auth": encoded("me:pass:word")}, "host.example", None),
        ("https://index.docker.io/v1/", {"auth": encoded("me:pass:word")}, "docker.io", LOGIN),
        ("host.example", {"username": "me", "password": "pass:word"}, "host.example", LOGIN),
        ("host.example", {"auth": encoded("me:"), "identitytoken": "t"}, "host.example", Credentials("me", "", "t")),
        ("host.example", {"auth": "!"}, "host.example", None),
        ("host.example", {"auth": 1}, "host.example", None),
        ("host.example", {}, "host.example", None),
    ],
)
def test_an_entry_is_found_by_its_host(
    folder: Path, address: str, entry: dict[str, str], host: str, expected: Credentials | None
) -> None:
    # A broken entry of another registry does no harm.
    auths = {"broken.example": 3, "other.example": {"auth": "!"}, address: entry}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    assert credentials_for(host) == expected


def test_a_helper_that_is_not_installed_leaves_the_file(folder: Path) -> None:
    auths = {"host.example": {"auth": encoded("me:pass:word")}}
    (folder / "config.json").write_text(json.dumps({"credsStore": "absent", "auths": auths}))
    assert credentials_for("host.example") == LOGIN


def test_a_helper_that_waits_for_its_key_store_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = folder / "docker-credential-slow"
    helper.write_text("#!/bin/sh\nexec sleep 60\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(credentials_module, "_HELPER_TIMEOUT", 0.2)
    (folder / "config.json").write_text(json.dumps({"credHelpers": {"host.example": "slow"}}))
    with pytest.raises(Infrastructure, match=r"docker-credential-slow gave no answer within 0\.2 s"):
        credentials_for("host.example")
