"""Where pip and uv of whoever builds take packages from: which settings count, what is said of them, and what is kept secret."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.build.environment.buildkit import without_secrets
from toolkit.build.environment.definition import EnvironmentDefinition, network_files
from toolkit.build.environment.dependencies.found import Dependencies, Export, ReadAs
from toolkit.build.environment.failures import explain_failure
from toolkit.build.environment.installer_settings import (
    check_variables,
    host_of,
    installer_settings,
    origins_in_files,
    pip_config_files,
    refuse_own_hosts,
    secret_values,
    variables_script,
)
from toolkit.config.settings import BuildNetwork
from toolkit.errors import BadInput

INDEX = "https://me:the-pass-word@index.example.org/simple"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_", "POETRY_", "XDG_")) or name in ("NETRC", "VIRTUAL_ENV"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


def requirements(text: str = "six\n", installer: str = "pip", **options: str) -> Dependencies:
    files = {"requirements.txt": text.encode()}
    given = {"REQUIREMENTS": "requirements.txt", "INSTALLER": installer, **options}
    return Dependencies("pip", "requirements.txt", files, given, reading=ReadAs({"requirements.txt": "requirements"}))


def key(found: Dependencies, pip_config: Path | None = None) -> str:
    return EnvironmentDefinition("base", "id", (), found, pip_config=pip_config).reference


UV_LOCK = Dependencies("uv", "uv.lock", {"uv.lock": b"version = 1\n"}, {"FOLDER": "."})
QUESTION = Export("uv", "requirements.in", {"requirements.in": b"six\n"}, "requirements.in", "uv pip compile")


@pytest.mark.parametrize(
    ("found", "variable", "reader", "is_used"),
    [
        (requirements(), "PIP_INDEX_URL", "pip", True),
        (requirements(), "PIP_EXTRA_INDEX_URL", "pip", True),
        (requirements(), "PIP_FIND_LINKS", "pip", True),
        (requirements(), "UV_DEFAULT_INDEX", "pip", False),
        # pip installs in uv's place, because the two choose differently among several indexes.
        (requirements(installer="uv"), "PIP_EXTRA_INDEX_URL", "pip", True),
        (requirements(installer="uv"), "UV_INDEX_URL", "uv", True),
        (requirements(PIP_OPTIONS="--no-index --find-links wheels"), "PIP_INDEX_URL", "", False),
        (UV_LOCK, "UV_DEFAULT_INDEX", "uv", True),
        (UV_LOCK, "UV_INDEX", "uv", True),
        (UV_LOCK, "PIP_INDEX_URL", "uv", False),
        (QUESTION, "UV_EXTRA_INDEX_URL", "uv", True),
        (QUESTION, "PIP_EXTRA_INDEX_URL", "uv", False),
        (Dependencies("none"), "UV_INDEX_URL", "", False),
    ],
)
def test_each_tool_reads_its_own_variables(
    monkeypatch: pytest.MonkeyPatch, found: Dependencies | Export, variable: str, reader: str, is_used: bool
) -> None:
    monkeypatch.setenv(variable, f"corp={INDEX}" if variable == "UV_INDEX" else INDEX)
    settings = installer_settings(found)
    assert settings.reader == reader
    assert (variable in settings.variables) == is_used
    if is_used:
        assert settings.notes == (f"note: {variable} is used in this build (index.example.org)",)
        assert settings.origins == {"index.example.org": variable}
    else:
        assert not reader or "is not used, because" in settings.notes[0]
    assert "the-pass-word" not in repr((settings.parts, settings.notes, settings.origins))


def test_addresses_count_and_credentials_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for login in ("", "me:one@", "another:two@"):
        monkeypatch.setenv("PIP_INDEX_URL", f"https://{login}index.example.org/simple")
        keys.append(key(requirements()))
    assert len(set(keys)) == 1
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example.org/other")
    assert key(requirements()) not in keys
    # A lock of uv's has its own addresses.
    before = key(UV_LOCK)
    monkeypatch.setenv("UV_DEFAULT_INDEX", INDEX)
    assert key(UV_LOCK) == before
    # What says only how an index is reached changes nothing.
    monkeypatch.delenv("PIP_INDEX_URL")
    before = key(requirements())
    monkeypatch.setenv("PIP_TRUSTED_HOST", "index.example.org")
    assert key(requirements()) == before
    assert "PIP_TRUSTED_HOST" in variables_script((), installer_settings(requirements()))


def test_a_folder_of_this_machine_is_named_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(requirements())
    monkeypatch.setenv("PIP_FIND_LINKS", "/opt/wheels")
    settings = installer_settings(requirements(installer="uv"))
    assert settings.reader == "uv"
    assert key(requirements()) == before
    assert installer_settings(requirements()).notes == (
        "warning: PIP_FIND_LINKS is not used in the build, which has no /opt/wheels of this machine",
    )


@pytest.mark.parametrize("host", ["localhost:3141", "127.0.0.1", "me:secret@127.0.0.1:80", "0.0.0.0:80", "[::1]:3141"])
def test_an_index_on_localhost_is_refused_with_what_to_write(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{host}/simple")
    with pytest.raises(BadInput, match=r"PIP_INDEX_URL: an index is on .*the build's own container.*172\.17\.0\.1"):
        installer_settings(requirements())
    with pytest.raises(BadInput, match=r"requirements\.txt:2: an index is on"):
        refuse_own_hosts(requirements(f"# http://localhost/\n--index-url http://{host}/simple\n"))
    refuse_own_hosts(requirements("--index-url http://localhost.example.org/\n# --index-url http://localhost/\n"))


def test_pip_conf_is_read_in_pips_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, text in {
        ".pip/pip.conf": "[global]\nindex-url = https://old.example.org/simple\nuser = yes\ntimeout = 7\n",
        ".config/pip/pip.conf": f"[global]\nindex_url = {INDEX}\nfind-links =\n    /opt/wheels\n    https://l.example.org/x\n",
        "venv/pip.conf": "[install]\nextra-index-url = https://more.example.org/simple\n",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.setenv("VIRTUAL_ENV", str(home / "venv"))
    settings = installer_settings(requirements(installer="uv"))
    assert settings.reader == "pip"
    assert settings.pip_config == (
        f"[global]\nindex-url = {INDEX}\ntimeout = 7\nfind-links = https://l.example.org/x\n[install]\n"
        "extra-index-url = https://more.example.org/simple\n"
    )
    assert set(settings.origins) == {"index.example.org", "l.example.org", "more.example.org"}
    assert any("/opt/wheels, a folder of this machine" in note for note in settings.notes)
    assert settings.parts["pip.conf: index-url"] == "https://index.example.org/simple"
    assert settings.mirror == INDEX
    assert not installer_settings(UV_LOCK).pip_config

    # A file of its own stands in for those of the user.
    own = tmp_path / "own.conf"
    own.write_text("[global]\nindex-url = https://own.example.org/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(own))
    assert set(installer_settings(requirements()).origins) == {"own.example.org", "more.example.org"}
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert pip_config_files() == []
    # The one that a setting names is mounted as it is.
    chosen = installer_settings(requirements(), own)
    assert (chosen.reader, chosen.pip_config, set(chosen.origins)) == ("pip", "", {"own.example.org"})
    assert key(requirements(), own) != key(requirements())


def test_a_pip_conf_without_an_index_changes_nothing_and_a_broken_one_has_a_line(tmp_path: Path) -> None:
    own = tmp_path / "home" / ".pip" / "pip.conf"
    own.parent.mkdir()
    own.write_text("[global]\ncert = /etc/ssl/certs/ca.pem\n")
    assert installer_settings(requirements(installer="uv")).reader == "uv"
    own.write_text("index-url = https://x.example.org\n")
    with pytest.raises(BadInput, match=r"pip\.conf:1: pip can't read it: File contains no section headers"):
        installer_settings(requirements())


def test_a_variable_that_is_not_set_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "six\n# ${TOKEN}\n--extra-index-url https://${TOKEN}:@index.example.org/simple\n"
    found = Dependencies("pip", "requirements.txt", {"requirements.txt": text.encode()}, {}, ("TOKEN",))
    with pytest.raises(BadInput, match=r"^requirements\.txt:3: .*environment variable TOKEN is not set"):
        check_variables(found)
    monkeypatch.setenv("TOKEN", "the token")
    check_variables(found)
    assert origins_in_files(found) == {"index.example.org": "TOKEN"}
    assert variables_script(("TOKEN",), installer_settings(found)) == "export TOKEN='the token'\n"


def test_logins_of_uvs_indexes_are_passed_and_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX_CORP_USERNAME", "me")
    monkeypatch.setenv("UV_INDEX_CORP_PASSWORD", "the-pass-word")
    settings = installer_settings(UV_LOCK)
    assert settings.notes == ("note: UV_INDEX_CORP_PASSWORD, UV_INDEX_CORP_USERNAME are used in this build",)
    assert "UV_INDEX_CORP_PASSWORD=the-pass-word" in variables_script((), settings)
    assert secret_values((), settings) == {"the-pass-word"}
    assert not installer_settings(requirements()).variables


@given(password=st.text(min_size=6, max_size=20).filter(lambda text: "\0" not in text and text.isprintable()))
def test_a_script_sets_what_was_set_and_a_log_keeps_none_of_it(password: str) -> None:
    settings = installer_settings(UV_LOCK)
    settings = type(settings)("uv", {"UV_INDEX_CORP_PASSWORD": password})
    script = variables_script((), settings)
    done = subprocess.run(
        ["sh", "-c", f'{script}\nprintf %s "$UV_INDEX_CORP_PASSWORD"'], capture_output=True, check=True
    )
    assert done.stdout.decode() == password
    assert (
        password not in without_secrets(f"said {password} and {password}", secret_values((), settings))
        or password in "said *** and ***"
    )


def test_what_is_before_an_at_is_no_part_of_a_log() -> None:
    text = "Looking in indexes: https://the-token:****@a.example.org/simple, git+ssh://git@b.example.org/x\n"
    assert without_secrets(text, frozenset()) == (
        "Looking in indexes: https://***@a.example.org/simple, git+ssh://git@b.example.org/x\n"
    )


def test_an_address_has_one_host() -> None:
    assert host_of("corp=https://a:b%40c@index.example.org:8080/simple?x=http://other") == "index.example.org"


def test_the_sentence_of_a_refused_login_names_what_to_correct() -> None:
    text = (
        "#9 [5/5] RUN x\n#9 1.0 toolkit-index: 401 http://***@index.example.org:80/simple/six/\n#9 ERROR: executor failed\n"
        "executor failed running [/bin/sh -c x]: exit code: 1\n"
    )
    error = explain_failure(text, "base", "requirements.txt", (), "", {"index.example.org": "PIP_INDEX_URL"})
    assert str(error).endswith("and no other index is asked then: correct PIP_INDEX_URL")
    assert error.exit_code == 2


def test_the_netrc_of_the_machine_is_found_as_the_tools_find_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "netrc" not in network_files(BuildNetwork(), tmp_path)
    own = tmp_path / "home" / ".netrc"
    own.write_text("machine a login b password c\n")
    assert network_files(BuildNetwork(), tmp_path)["netrc"] == own
    other = tmp_path / "other"
    other.write_text("")
    monkeypatch.setenv("NETRC", str(other))
    assert network_files(BuildNetwork(), tmp_path)["netrc"] == other
    assert network_files(BuildNetwork(netrc=str(own)), tmp_path)["netrc"] == own


def test_uvs_settings_of_the_user_are_named_where_they_have_an_index(tmp_path: Path) -> None:
    own = tmp_path / "home" / ".config" / "uv" / "uv.toml"
    own.parent.mkdir(parents=True)
    own.write_text("native-tls = true\n")
    assert not installer_settings(QUESTION).notes
    own.write_text(f'[[index]]\nurl = "{INDEX}"\n')
    assert installer_settings(QUESTION).notes[0].startswith(f"warning: {own} names an index, and is not used")
    assert not installer_settings(requirements()).notes
