"""Each command that a message of a build names is run, on a project that is in the state which the message is about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.environment.dependencies.remedies import COMMANDS, writing_again

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

PROJECT = (
    '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.10,<4"\ndependencies = ["six==1.16.0"]\n'
    '[dependency-groups]\nextra = ["idna"]\n[tool.poetry]\npackage-mode = false\n'
    # What the index says of one version in JSON is not everywhere a mirror has.
    '[[tool.poetry.source]]\nname = "index"\nurl = "https://pypi.org/simple"\n'
)
FILES = {
    "pyproject.toml": PROJECT,
    "requirements.in": "six==1.16.0\n",
    "requirements.txt": f"six==1.16.0 --hash=sha256:{'0' * 64}\n",
    "script.py": '# /// script\n# dependencies = ["six==1.16.0"]\n# ///\n',
    "Pipfile": '[packages]\nsix = "==1.16.0"\n',
    "environment.yml": "channels: [conda-forge]\ndependencies: [six]\n",
}
TOOLS = {
    "poetry": ("poetry",),
    "pdm": ("pdm", "hishel[httpx2]<2"),
    "pipenv": ("pipenv",),
    "conda-lock": ("conda-lock",),
}
"""What is installed to have a tool. (pdm's newest version does not run with its dependency's newest.)"""
UNCHECKED = {name for name in COMMANDS if name.startswith("pixi ")}
"""pixi is on no index of Python's."""
RUN = {
    "uv lock": "uv.lock",
    "uv lock --refresh": "uv.lock",
    "uv export -o requirements.txt": "requirements.txt",
    "uv export --script {file} -o pylock.toml": "pylock.toml",
    "uv pip compile {file} -o requirements.txt": "requirements.txt",
    "uv pip compile --generate-hashes {file} -o {file}": "requirements.in",
    "uv pip compile --generate-hashes --upgrade-package {package} {file} -o {file}": "requirements.txt",
    "poetry lock": "poetry.lock",
    "pdm lock": "pdm.lock",
    "pdm lock {groups}": "pdm.x.lock",
    "pdm lock --lockfile {file}": "pdm.x.lock",
    "pipenv lock": "Pipfile.lock",
}
"""The commands that are run, and the file that each writes."""
HELP = {
    "conda-lock lock": ("conda-lock lock --help", "conda-lock.yml"),
    "conda-lock lock -p {platform}": ("conda-lock lock --help", "-p, --platform"),
    "conda-lock lock -f {file} -p linux-64": ("conda-lock lock --help", "-f, --file"),
    "docker login": ("docker login --help", "docker login"),
    "docker images": ("docker images", "REPOSITORY"),
    "docker push {image}": ("docker push --help", "docker push"),
    "docker push HOST/{image}": ("docker push --help", "docker push"),
    "docker system df": ("docker system df", "Images"),
    "docker tag {image} HOST/{image}": ("docker tag --help", "docker tag"),
    "toolkit lock": ("toolkit lock --help", "pylock.toml"),
    "task setup": ("task --list", "setup"),
}
"""Commands that need what no test has (a channel, a password), or that other tests run: what their tool says of them."""


def ran(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.split()
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"PDM_CHECK_UPDATE": "0", "PDM_IGNORE_SAVED_PYTHON": "1", "PIPENV_IGNORE_VIRTUALENVS": "1"}
    binaries = Path(sys.executable).parent
    environment["PATH"] = f"{binaries}:{environment['PATH']}"
    if words[0] in TOOLS:
        first, *others = TOOLS[words[0]]
        installed = [word for other in others for word in ("--with", other)]
        words = ["uv", "tool", "run", "--quiet", "--python", sys.executable, "--from", first, *installed, *words]
    if words[0] == "task":
        words = ["bash", str(Path(__file__).parents[2] / ".ci/task"), *words[1:]]
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False
    )  # fmt: skip


def filled(command: str) -> str:
    file = {"uv export": "script.py", "uv pip": "requirements.in", "pdm lock": "pdm.x.lock"}.get(
        " ".join(command.split()[:2]), ""
    )
    file = "requirements.txt" if "{package}" in command else file
    values = {"file": file, "package": "six", "groups": "--lockfile pdm.x.lock -G extra", "platform": "linux-64"}
    return re.sub(r"\{(\w+)\}", lambda name: values[name[1]], command)


def test_each_command_is_known_here() -> None:
    others = {"uv lock --check", "{tool} lock"}  # below, and the same as `uv lock`, `poetry lock` and `pdm lock`
    assert {*RUN, *HELP, *UNCHECKED, *others} == COMMANDS


@pytest.mark.full("each installs a tool and resolves with it")
@pytest.mark.parametrize("command", sorted(RUN))
def test_a_command_that_writes_a_file_writes_one_that_a_build_takes(tmp_path: Path, command: str) -> None:
    write_project(tmp_path, FILES)
    done = ran(filled(command), tmp_path)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / RUN[command]).read_text()
    assert "six" in written and "0" * 64 not in written


@pytest.mark.full("one installs a tool")
@pytest.mark.parametrize("command", sorted(HELP))
def test_a_command_is_one_that_its_tool_has(tmp_path: Path, command: str) -> None:
    asked, said = HELP[command]
    done = ran(asked, tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.full("each installs a tool and resolves with it")
@pytest.mark.parametrize("lock", ["uv.lock", "poetry.lock", "pdm.lock", "pdm.x.lock", "Pipfile.lock"])
def test_a_wrong_hash_in_a_lock_is_gone_after_the_command(tmp_path: Path, lock: str) -> None:
    write_project(tmp_path, FILES)
    first = ran(writing_again(lock, "six").strip("`"), tmp_path)
    assert first.returncode == 0, first.stderr
    path = tmp_path / lock
    path.write_text(re.sub("(sha256:)[0-9a-f]{64}", rf"\g<1>{'0' * 64}", path.read_text()))
    assert ran(writing_again(lock, "six==1.16.0").strip("`"), tmp_path).returncode == 0
    assert f"sha256:{'0' * 64}" not in path.read_text()


@pytest.mark.full("it resolves with uv")
def test_uv_says_whether_a_lock_is_current(tmp_path: Path) -> None:
    write_project(tmp_path, FILES)
    assert ran("uv lock", tmp_path).returncode == 0
    assert ran("uv lock --check", tmp_path).returncode == 0
    write_project(tmp_path, {"pyproject.toml": PROJECT.replace("1.16.0", "1.17.0")})
    assert ran("uv lock --check", tmp_path).returncode != 0
