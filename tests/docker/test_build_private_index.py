"""Builds from an index that asks for a login: by the installers' own variables and files, without a trace, never from elsewhere."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_builds import Bench
from tests.support.private_index import PASSWORD, USER, PrivateIndex, private_index
from toolkit.build.environment.buildkit import find_build_client
from toolkit.engine import resolve_endpoint
from toolkit.errors import BadInput

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

CANARY = b"CANARY-4471"
ORIGIN = ("python3", "-c", "import six; print(six.FROM)")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateIndex]:
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    with private_index() as made:
        made.add("six", "99.0")
        yield made


def in_build_caches(text: str) -> str:
    """The files of BuildKit's own caches that hold a text, of those that were written a moment ago."""
    client = find_build_client(resolve_endpoint())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Dockerfile")
        mounts = " ".join(f"--mount=type=cache,id=toolkit-{one},target=/c/{one}" for one in ("pip", "uv"))
        look = f"find /c -type f -mmin -15 -exec grep -l {text} {{}} + > /found || true"
        path.write_text(
            f"FROM toolkit-base:bookworm\nARG NOW\nRUN {mounts} {look}\nFROM scratch\nCOPY --from=0 /found /found\n"
        )
        command = [*client.command, "--build-arg", f"NOW={folder}", "--output", f"type=local,dest={folder}/out", folder]
        subprocess.run(command, env={"PATH": "/usr/bin:/bin", **client.settings}, check=True, capture_output=True)
        return Path(folder, "out", "found").read_text()


def assert_no_trace(bench: Bench, reference: str) -> None:
    for command in (["save"], ["history", "--no-trunc"], ["inspect"]):
        done = subprocess.run(["docker", *command, reference], capture_output=True, check=True)
        assert CANARY not in done.stdout
    kept = [path for path in (bench.root / ".toolkit").rglob("*") if path.is_file() and CANARY in path.read_bytes()]
    assert not kept
    assert not [line for line in bench.said if CANARY.decode() in line]
    assert not in_build_caches(CANARY.decode())


def test_an_index_of_a_variable_is_used_without_a_trace_and_never_passed_by(
    bench: Bench, index: PrivateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TRUSTED_HOST", index.host)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.address(f"{USER}:{PASSWORD}"))
    bench.write(requirements_txt="six\n")
    image = bench.build()
    assert bench.run(image.reference, *ORIGIN) == "the private index\n"
    assert f"note: PIP_EXTRA_INDEX_URL is used in this build ({index.host})" in bench.said
    assert_no_trace(bench, image.reference)

    # Another token of the same index is the same environment.
    index.logins = {"other:CANARY-4471-other"}
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.address("other:CANARY-4471-other"))
    assert not bench.build().changed
    # One that is refused does not lead to the public package of that name.
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.address("other:CANARY-4471-wrong"))
    bench.write(requirements_txt="six>=1.0\n")
    with pytest.raises(
        BadInput, match=r"refuses the build's credentials.*\(http://\*\*\*@.*: correct PIP_EXTRA"
    ) as raised:
        bench.build()
    log = (bench.root / ".toolkit" / "build" / "environment.log").read_bytes()
    assert CANARY not in log + str(raised.value).encode() + json.dumps(bench.said).encode()
    assert "other:CANARY-4471-wrong" in index.asked


@pytest.mark.full("each is a real build of 5 to 20 seconds")
def test_uv_reads_its_own_variables_and_the_login_of_a_locked_index(
    bench: Bench, index: PrivateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = index.add("six", "99.0")
    address = f"http://{index.host}:{index.port}"
    bench.write(
        pyproject_toml=(
            '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n[tool.uv]\n'
            f'package = false\nsources = {{ six = {{ index = "private" }} }}\n[[tool.uv.index]]\nname = "private"\n'
            f'url = "{address}/simple"\nexplicit = true\n'
        ),
        uv_lock=(
            'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n[[package]]\nname = "p"\nversion = "1"\n'
            'source = { virtual = "." }\ndependencies = [{ name = "six" }]\n\n[package.metadata]\n'
            f'requires-dist = [{{ name = "six", index = "{address}/simple" }}]\n\n[[package]]\nname = "six"\n'
            f'version = "99.0"\nsource = {{ registry = "{address}/simple" }}\nwheels = [\n'
            f'    {{ url = "{address}/files/six-99.0-py3-none-any.whl", hash = "sha256:{digest}" }},\n]\n'
        ),
    )
    with pytest.raises(BadInput, match=r"refuses the build's credentials, or gets none .*UV_INDEX_NAME_USERNAME"):
        bench.build()
    monkeypatch.setenv("UV_INDEX_PRIVATE_USERNAME", USER)
    monkeypatch.setenv("UV_INDEX_PRIVATE_PASSWORD", PASSWORD)
    image = bench.build()
    assert bench.run(image.reference, *ORIGIN) == "the private index\n"
    assert_no_trace(bench, image.reference)


@pytest.mark.full("each is a real build of 5 to 20 seconds")
@pytest.mark.parametrize("requirement", ["six", "six==99.0"])
@pytest.mark.parametrize("way", ["netrc", "pip.conf", "uv"])
def test_each_tool_reads_its_files(
    bench: Bench, index: PrivateIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str, requirement: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    login = f"{USER}:{PASSWORD}"
    if way == "netrc":
        (home / ".netrc").write_text(f"machine {index.host} login {USER} password {PASSWORD}\n")
        bench.write(requirements_txt=f"--index-url {index.address()}\n--trusted-host {index.host}\n{requirement}\n")
    elif way == "pip.conf":
        (home / ".pip").mkdir()
        config = f"[global]\nindex-url = {index.address(login)}\ntrusted-host = {index.host}\n"
        (home / ".pip" / "pip.conf").write_text(config)
        bench.write(requirements_txt=f"{requirement}\n")
    else:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.address(login))
        bench.write(requirements_in=f"{requirement}\n")
    image = bench.build()
    assert bench.run(image.reference, *ORIGIN) == "the private index\n"
    assert_no_trace(bench, image.reference)
    assert login in index.asked


@pytest.mark.full("a real build of 10 seconds")
def test_a_login_that_an_index_forbids_does_not_lead_elsewhere(
    bench: Bench, index: PrivateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.refusal = 403
    monkeypatch.setenv("PIP_TRUSTED_HOST", index.host)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.address("other:CANARY-4471-wrong"))
    bench.write(requirements_txt="six>=1.1\n")
    with pytest.raises(BadInput, match="refuses the build's credentials"):
        bench.build()
    # Without a login it may be a store of files that answers so for what it does not have.
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.address())
    image = bench.build()
    assert "1." in bench.run(image.reference, "python3", "-c", "import six; print(six.__version__)")


@pytest.mark.full("a real build of 10 seconds, with git installed for it")
def test_git_has_the_login_of_whoever_builds(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    source = tmp_path / "source"
    source.mkdir()
    (source / "six.py").write_text('FROM = "the private index"\n')
    (source / "pyproject.toml").write_text(
        '[project]\nname = "six"\nversion = "99.0"\n[tool.setuptools]\npy-modules = ["six"]\n'
    )
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "one"]
    for command in (["init", "-q"], ["add", "."], commit, ["clone", "-q", "--bare", ".", "../six.git"]):
        subprocess.run(["git", *command], cwd=source, check=True)
    subprocess.run(["git", "update-server-info"], cwd=tmp_path / "six.git", check=True)
    with private_index() as index:
        index.folder = tmp_path
        store = home / "store"
        store.write_text(f"http://{USER}:{PASSWORD}@{index.host}:{index.port}\n")
        (home / ".gitconfig").write_text(f"[credential]\n    helper = store --file={store}\n")
        bench.write(requirements_txt=f"git+http://{index.host}:{index.port}/six.git\n")
        image = bench.build()
        assert f"{USER}:{PASSWORD}" in index.asked
    assert bench.run(image.reference, *ORIGIN) == "the private index\n"
    assert any("this machine's login for the Git repositories of" in line for line in bench.said)
    assert_no_trace(bench, image.reference)
