"""`build` against a real engine: what is built, what is not built again, and what the image is like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.engine_builds import Bench
from toolkit.build.environment.buildkit import find_build_client
from toolkit.build.image.builder import build
from toolkit.config.settings import (
    Build,
    BuildNetwork,
    CatalogStore,
    Config,
    Executor,
    ExecutorConfig,
    RunLogStore,
    Secrets,
)
from toolkit.engine import resolve_endpoint
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.protocol import PROTOCOL

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


SIX = "six==1.17.0"
SIX_HASH = "sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


def test_an_unchanged_build_does_nothing_and_a_changed_line_keeps_the_environment(bench: Bench) -> None:
    bench.write(requirements_txt=f"{SIX}\n")
    first = bench.build()
    assert first.changed
    assert first.reference == f"{bench.repository}:{first.digest[7:23]}"
    assert (
        bench.run(first.reference, "python3", "-c", "import six, app; print(six.__version__, app.VALUE)")
        == "1.17.0 1\n"
    )

    again = bench.build()
    assert again == replace(first, changed=False)
    assert bench.said == ["nothing changed"]

    bench.write(app_py="VALUE = 2\n")
    second = bench.build()
    assert bench.said == ["app.py changed"]
    assert (second.environment, second.changed) == (first.environment, True)
    assert second.reference != first.reference
    assert bench.run(second.reference, "cat", "app.py") == "VALUE = 2\n"

    bench.write(app_py="VALUE = 1\n")
    assert bench.build().reference == first.reference


def test_what_means_the_same_installs_nothing_and_a_dry_run_says_so(bench: Bench) -> None:
    bench.write(requirements_txt=f"{SIX}\n")
    assert bench.dry_run() is None
    assert list(bench.root.glob(".toolkit")) == []
    first = bench.build()
    assert bench.dry_run() == first.reference
    assert bench.said == [f"nothing would be done: the engine has {first.reference}"]

    bench.write(requirements_txt=f"# why\n{SIX.replace('==', ' == ')}\n")
    assert bench.dry_run() is None
    assert bench.said[0].startswith("the environment exists (toolkit-env:")
    assert bench.build().environment == first.environment
    assert bench.said == ["requirements.txt changed (only the code layer)"]

    before = bench.files()
    bench.write(requirements_txt="six==1.16.0\n")
    before |= {str(bench.root / "requirements.txt"): b"six==1.16.0\n"}
    assert bench.dry_run(Build(system_packages=("tree",))) is None
    (sentence,) = [one for one in bench.said if "environment" in one]
    assert "would be built from requirements.txt on" in sentence
    assert "build.system_packages: tree was added; requirements.txt: six changed from ==1.17.0 to ==1.16.0" in sentence
    assert bench.files() == before
    for nowhere in ("host.invalid/none:1", "host.invalid/none@sha256:" + "0" * 64):
        bench.repository, known = nowhere, bench.repository
        assert bench.dry_run() is None and "would be pulled" in bench.said[0]
        bench.repository = known
    assert bench.dry_run(Build(base_image="host.invalid/none:1")) is None
    assert "host.invalid/none:1 would be pulled" in bench.said
    assert bench.files() == before


def test_the_runtime_is_compiled_for_the_images_python_and_always_to_the_same_bytes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = bench.build()
    without = (
        "import importlib.util as u, pathlib as p; "
        "print([str(f) for f in p.Path('/opt/toolkit').rglob('*.py') if not p.Path(u.cache_from_source(str(f))).is_file()])"
    )
    assert bench.run(first.reference, "python3", "-c", without) == "[]\n"
    (kept,) = (tmp_path / "cache").rglob("*.tar")
    content = kept.read_bytes()

    for broken in (None, content[:-5000]):
        # As on another machine; and what a full disk may leave is not taken for bytecode.
        kept.unlink()
        if broken is not None:
            kept.write_bytes(broken)
        shutil.rmtree(bench.root / ".toolkit")
        bench.raw.call("DELETE", f"/images/{first.reference}?force=true")
        assert bench.build() == first
        assert kept.read_bytes()[:32] == content[:32]


def test_an_image_whose_python_cannot_compile_the_runtime_is_built_all_the_same(bench: Bench) -> None:
    existing = f"{bench.repository}-bare"
    archive = bench.root.parent / "bare.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(bench.root / "app.py", "app.py")
    subprocess.run(["docker", "import", str(archive), f"{existing}:1"], check=True, capture_output=True)
    image = bench.build(image=f"{existing}:1")
    assert image.changed and image.reference.startswith(f"{existing}-toolkit:")


def test_another_checkout_gives_the_same_image(bench: Bench, tmp_path: Path) -> None:
    first = bench.build()
    other = tmp_path / "elsewhere" / "clone"
    other.mkdir(parents=True)
    (other / "this").mkdir()
    for name in ("app.py", "this/test"):
        shutil.copyfile(bench.root / name, other / name)
    (other / "app.py").chmod(0o600)
    os.utime(other / "app.py", (1, 1))
    second = bench.build(root=other)
    assert second == first
    assert (other / ".toolkit" / ".gitignore").read_text() == "*\n"


def test_an_image_that_the_engine_lost_is_built_again(bench: Bench) -> None:
    first = bench.build()
    bench.raw.call("DELETE", f"/images/{first.reference}?force=true")
    second = bench.build()
    assert bench.said[0] == "the engine no longer has the image"
    assert second.digest == first.digest
    assert bench.raw.image(first.reference) is not None


def test_a_name_that_now_means_another_image_is_not_believed(bench: Bench) -> None:
    first = bench.build()
    base = bench.raw.image("toolkit-base:bookworm") or bench.raw.image("python:3.12-slim-bookworm")
    assert base is not None
    repository, tag = first.reference.split(":")
    bench.raw.call("POST", f"/images/{base['Id']}/tag?repo={repository}&tag={tag}")
    assert bench.build().changed
    assert bench.run(first.reference, "cat", "app.py") == "VALUE = 1\n"


def test_any_user_can_write_in_the_working_folder(bench: Bench) -> None:
    bench.write(sub__data_txt="old\n", run_sh="#!/bin/sh\necho ran\n")
    (bench.root / "run.sh").chmod(0o755)
    (bench.root / "sub" / "link").symlink_to("data.txt")
    image = bench.build()
    script = (
        "pwd; ./run.sh; echo new > sub/data.txt; cat sub/link; touch beside sub/deeper; mkdir made; rm app.py; id -u"
    )
    assert bench.run(image.reference, "sh", "-ec", script) == "/workspace\nran\nnew\n12345\n"
    assert json.loads(bench.run(image.reference, "cat", "/opt/toolkit/image.json"))["environment"] == image.environment


def test_no_secret_and_no_history_is_in_the_image(bench: Bench) -> None:
    bench.write(sub__app_py="")
    for name in (
        ".env",
        "sub/.env.prod",
        ".git/config",
        ".venv/x",
        "sub/__pycache__/x.pyc",
        "passwords",
        ".aws/x",
        "sub/id_rsa",
    ):
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_text("CANARY-7431")
    (bench.root / "sub" / "server.pem").write_text("-----BEGIN " + "PRIVATE KEY-----\nbm90IGEga2V5\nCANARY-7431\n")
    executor = Executor(config=ExecutorConfig(image=bench.repository))
    config = Config(executor, RunLogStore(), CatalogStore(), Secrets(type="dotenv", location="passwords"), Build())
    image = build(Project(bench.root, bench.root, config), report=bench.said.append, engine=bench.raw)
    found = bench.run(image.reference, "find", "/workspace", "-mindepth", "1", user="0")
    kept = ["app.py", "sub", "sub/app.py", "this", "this/test"]
    assert sorted(found.split()) == [f"/workspace/{name}" for name in kept]
    archive = subprocess.run(["docker", "save", image.reference], capture_output=True, check=True).stdout
    assert b"CANARY-7431" not in archive
    assert any(".aws, sub/id_rsa, sub/server.pem (a private key) look like" in sentence for sentence in bench.said)


def test_what_is_no_code_makes_no_other_image_and_what_a_checkout_lacks_is_said_each_time(bench: Bench) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000000\n"
    subprocess.run(["git", "init", "-q", str(bench.root)], check=True)
    bench.write(steps_py="1", model=pointer)
    (bench.root / ".gitignore").write_text("raw\n")
    (bench.root / "raw").touch()
    os.truncate(bench.root / "raw", 11_000_000)
    built = bench.build()
    assert any("the image takes 11 MB that Git ignores: raw" in sentence for sentence in bench.said)
    for name in ("python/pyvenv.cfg", "python/lib/x.py", ".pytest_cache/v", "sub.egg-info/PKG-INFO", ".DS_Store"):
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_text("x")
    again = bench.build()
    assert again.digest == built.digest and not again.changed
    assert [sentence for sentence in bench.said if not sentence.startswith("nothing ")] == [
        "warning: model is a Git LFS pointer in place of 5.0 MB: `git lfs pull` gets it"
    ]
    there = set(bench.run(built.reference, "ls", "-A").split())
    assert there >= {".gitignore", "model", "raw", "steps.py"} and not there & {
        "python",
        ".pytest_cache",
        ".DS_Store",
        "sub.egg-info",
    }


def test_docker_save_of_an_image_can_be_loaded(bench: Bench, tmp_path: Path) -> None:
    image = bench.build()
    archive = tmp_path / "image.tar"
    subprocess.run(["docker", "save", "-o", str(archive), image.reference], check=True)
    bench.raw.call("DELETE", f"/images/{image.reference}?force=true")
    subprocess.run(["docker", "load", "-q", "-i", str(archive)], check=True, capture_output=True)
    found = bench.raw.image(image.reference)
    assert found is not None and found["Id"] == image.digest
    assert found["Config"]["Labels"]["dev.toolkit.identity"] == image.identity
    assert subprocess.run(["docker", "history", image.reference], capture_output=True, check=False).returncode == 0


def test_a_uv_lock_is_installed_and_one_that_does_not_match_is_refused(bench: Bench) -> None:
    head = '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.9"\n'
    (bench.root / "pyproject.toml").write_text(head + f'dependencies = ["{SIX}"]\n')
    environment = os.environ | {"UV_PYTHON": sys.executable}
    subprocess.run([sys.executable, "-m", "uv", "lock", "-q"], cwd=bench.root, env=environment, check=True)
    image = bench.build()
    assert bench.run(image.reference, "python3", "-c", "import six; print(six.__version__)") == "1.17.0\n"

    (bench.root / "pyproject.toml").write_text(head + f'dependencies = ["{SIX}", "idna"]\n')
    with pytest.raises(BadInput, match=r"does not match pyproject\.toml: run `uv lock`") as error:
        bench.build()
    assert error.value.where == "uv.lock"


NEWER = """\
FROM {base}
USER root
RUN set -e; sed -i 's/bookworm/trixie/g' $(ls -d /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null); apt-get update -q; \\
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3 python3-venv python3-pip; \\
    rm -f /usr/local/bin/python*; hash -r; python3 --version
"""
"""A base image with the Python of Debian 13, on top of the one that is there."""


@pytest.mark.full("it installs a second Python from Debian, which takes about a minute")
def test_a_project_that_needs_another_python_is_refused_and_has_it_on_another_base(bench: Bench) -> None:
    base = bench.raw.image("toolkit-base:bookworm") or bench.raw.image("python:3.12-slim-bookworm")
    assert base is not None
    newer = f"{bench.repository}-newer:1"
    client = find_build_client(resolve_endpoint())
    (bench.root / "Dockerfile").write_text(NEWER.format(base=base["RepoTags"][0]))
    command = [*client.command, *client.to_engine, "-q", "-t", newer, str(bench.root)]
    subprocess.run(command, env=os.environ | client.settings, check=True, capture_output=True)
    head = '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.13"\n'
    (bench.root / "pyproject.toml").write_text(head + f'dependencies = ["{SIX}"]\n')
    with pytest.raises(BadInput, match=r"needs Python >=3\.13, and the base image .* has Python 3\.1[0-2]") as error:
        bench.build()
    assert error.value.where == "pyproject.toml:4"
    image = bench.build(Build(base_image=newer))
    said = bench.run(
        image.reference, "python3", "-c", "import six, sys; print(six.__version__, sys.version_info >= (3, 13))"
    )
    assert said == "1.17.0 True\n"
    # What is installed for one Python is asked for again for another.
    with pytest.raises(BadInput, match=r"build\.python is 3\.9, and python:3\.9-slim-bookworm can't be pulled"):
        bench.build(Build(python="3.9"))


def test_a_hash_that_does_not_match_is_refused(bench: Bench) -> None:
    bench.write(requirements_txt=f"{SIX} --hash={SIX_HASH}\n")
    bench.build()
    bench.write(requirements_txt=f"{SIX} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BadInput, match="does not match its hash") as error:
        bench.build()
    assert error.value.where == "requirements.txt:1"


def test_a_package_that_does_not_exist_is_the_users_input(bench: Bench) -> None:
    bench.write(requirements_txt="toolkit-no-such-distribution-7431==1\n")
    with pytest.raises(BadInput, match=r"toolkit-no-such-distribution-7431(==1)? does not exist on the package index"):
        bench.build()
    assert any("toolkit-no-such-distribution-7431" in line for line in bench.said)


def test_a_project_that_its_own_backend_refuses_is_built_and_not_asked_about_again(bench: Bench) -> None:
    bench.write(setup_py="from setuptools import setup\nraise SystemExit('not here')\nsetup(name='p')\n")
    bench.build(Build(lock="none"))
    assert any(line.startswith("asking the project's build backend") for line in bench.said)
    assert any("its own build backend refuses it" in line for line in bench.said)
    bench.write(app_py="VALUE = 2\n")
    image = bench.build(Build(lock="none"))
    assert not any(line.startswith("asking the project's build backend") for line in bench.said)
    assert any("its own build backend refuses it" in line for line in bench.said)
    assert bench.run(image.reference, "cat", "app.py") == "VALUE = 2\n"


def test_system_packages_are_installed(bench: Bench) -> None:
    image = bench.build(Build(system_packages=("tree",)))
    assert "app.py" in bench.run(image.reference, "tree")
    with pytest.raises(BadInput, match="system_packages"):
        bench.build(Build(system_packages=("no-such-package-7431",)))


def test_what_a_build_needs_of_the_network_leaves_no_trace(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = next((os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if os.environ.get(name)), None)
    bundle = Path(host or "/etc/ssl/certs/ca-certificates.crt").read_text()
    (tmp_path / "ca.pem").write_text(bundle + "\n# CANARY-8265-ca\n")
    (tmp_path / "pip.conf").write_text("# CANARY-8265-pip\n[global]\ntimeout = 61\n")
    (tmp_path / "netrc").write_text("machine index.invalid login me password CANARY-8265-netrc\n")
    monkeypatch.setenv("NO_PROXY", "CANARY-8265-proxy.invalid")
    network = BuildNetwork(str(tmp_path / "ca.pem"), str(tmp_path / "pip.conf"), str(tmp_path / "netrc"))
    bench.write(requirements_txt=f"{SIX}\n# {uuid.uuid4()}\n")
    image = bench.build(Build(network=network, system_packages=("tree",)))

    known = json.loads(next((bench.root / ".toolkit" / "build").glob("image-*.json")).read_bytes())
    assert known["result"]["reference"] == image.reference
    for command in (["save"], ["history", "--no-trunc"], ["inspect"]):
        done = subprocess.run(["docker", *command, image.reference], capture_output=True, check=True)
        assert b"CANARY-8265" not in done.stdout
    assert "toolkit-" not in bench.run(image.reference, "ls", "/dev/shm", "/run")
    assert "CANARY-8265" not in (bench.root / ".toolkit" / "build" / "environment.log").read_text()
    for tag in (bench.raw.image(image.environment) or {})["RepoTags"]:
        bench.raw.call("DELETE", f"/images/{tag}")  # no other test has this one


def test_an_existing_image_gets_the_code_on_top_and_is_not_touched(bench: Bench) -> None:
    existing = f"{bench.repository}-own/with:1.0"
    base = bench.raw.image("toolkit-base:bookworm") or bench.raw.image("python:3.12-slim-bookworm")
    assert base is not None
    bench.raw.call("POST", f"/images/{base['Id']}/tag?repo={existing.split(':')[0]}&tag=1.0")
    image = bench.build(image=existing)
    assert image.reference.startswith(f"{bench.repository}-own/with-toolkit:")
    assert (bench.raw.image(existing) or {})["Id"] == base["Id"]
    assert bench.run(image.reference, "cat", "app.py") == "VALUE = 1\n"

    # An image that carries the runtime is used as it is, also under its own full name.
    assert bench.build(image=image.reference).reference == image.reference
    assert not bench.build(image=image.reference).changed


def test_an_image_whose_runtime_speaks_another_protocol_is_refused(bench: Bench) -> None:
    image = bench.build()
    other = f"{bench.repository}:other-protocol"
    client = find_build_client(resolve_endpoint())
    (bench.root / "Dockerfile").write_text(f"FROM {image.reference}\nLABEL dev.toolkit.protocol=999\n")
    command = [*client.command, *client.to_engine, "-q", "-t", other, str(bench.root)]
    subprocess.run(command, env=os.environ | client.settings, check=True, capture_output=True)
    with pytest.raises(BadInput, match=f"has protocol 999, but this toolkit has {PROTOCOL}: build the image again"):
        bench.build(image=other)


def test_an_image_that_is_nowhere_to_be_found_is_named(bench: Bench) -> None:
    missing = f"localhost:1/{bench.repository}:1"
    with pytest.raises(Infrastructure, match=missing):
        bench.build(image=missing)
    with pytest.raises(Infrastructure, match=missing):
        bench.build(Build(base_image=missing))


def test_two_builds_at_once_give_one_image(bench: Bench) -> None:
    bench.write(requirements_txt=f"{SIX}\n")
    program = (
        "import sys; from pathlib import Path; from toolkit.build.image.builder import build;"
        "from toolkit.config.settings import *; from toolkit.project import Project;"
        "root = Path(sys.argv[1]); executor = Executor(config=ExecutorConfig(image=sys.argv[2]));"
        "config = Config(executor, RunLogStore(), CatalogStore(), Secrets(), Build());"
        "print(build(Project(root, root, config), report=lambda s: None).reference)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(bench.root), bench.repository], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    references = {child.communicate()[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(references) == 1
    assert bench.run(references.pop().strip(), "cat", "app.py") == "VALUE = 1\n"
