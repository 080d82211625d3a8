"""What a user reads when the environment can't be built: from what the tools really printed (data/build_failures)."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builds import write_project
from toolkit.build.environment import failures
from toolkit.build.environment.causes import BUILD_SETTING, CAUSES
from toolkit.build.environment.dependencies.remedies import COMMANDS, writing_again
from toolkit.build.environment.dependencies.search import _WRITES
from toolkit.build.environment.failures import explain_failure, is_transient_failure, own_words, shown_words
from toolkit.build.environment.places import FaultyRequirement, line_of_requirement, placed
from toolkit.build.state import build_lock
from toolkit.config.load import load
from toolkit.config.settings import Build
from toolkit.data import data_path
from toolkit.errors import BadInput, Infrastructure, ToolkitError

DATA = Path(__file__).parent / "data" / "build_failures"
"""What pip, uv, apt, Git, compilers and build backends printed in a container of Debian 12, and the sentences that follow."""
SENTENCES = json.loads((DATA / "sentences.json").read_text())
PACKAGES = ("libgl1-mesa-glxx", "tree=99", "phpmyadmin-foo")
COMMAND = 'executor failed running [/bin/sh -c : "step: x"; set -e; git gcc cmake || uv pip install -r x]: exit code: 1'


def as_buildkit(words: str) -> str:
    """BuildKit's plain output around a tool's own words."""
    lines = [f"#13 {number / 10:.3f} {line}" for number, line in enumerate(words.splitlines())]
    around = ["#4 [system 1/2] FROM docker.io/library/base:1", "#4 CACHED", "#13 [builder 4/4] RUN git gcc cmake"]
    return (
        "\n".join([*around, *lines, f"#13 ERROR: {COMMAND}", "------", " > [builder 4/4] RUN x:", "------", COMMAND])
        + "\n"
    )


def explained(name: str) -> tuple[ToolkitError, str]:
    text = as_buildkit((DATA / name).read_text())
    return explain_failure(text, "base:1", "requirements.txt", PACKAGES), text


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.txt")))
def test_what_a_tool_printed_is_one_sentence(name: str) -> None:
    error, text = explained(name)
    found = {"exit": error.exit_code, "again": is_transient_failure(text), "sentence": str(error)}
    expected = {**SENTENCES[name], "sentence": SENTENCES[name]["sentence"].replace("BUILD_SETTING", BUILD_SETTING)}
    assert found == expected
    assert (
        "executor failed" not in str(error) and "\n" not in str(error) and "{" not in str(error).replace("${NAME}", "")
    )


def test_no_line_of_buildkits_is_shown() -> None:
    text = (DATA / "buildkit.log").read_text()
    assert shown_words(text) == [
        "ERROR: Could not find a version that satisfies the requirement nosuchpackage-abcxyz (from versions: none)",
        "ERROR: No matching distribution found for nosuchpackage-abcxyz",
    ]
    words = own_words(text)
    assert "RUN --mount" not in words and "Collecting six" in words
    error = explain_failure(text, "base:1", "requirements.txt", (), ".toolkit/build/environment.log")
    assert str(error).endswith(" (the whole log: .toolkit/build/environment.log)")


def test_the_wrapper_lines_of_a_newer_buildkit_are_no_words_of_the_tool() -> None:
    failed = 'process "/bin/sh -c git gcc cmake" did not complete successfully: exit code: 1'
    text = (
        "#13 [builder 4/4] RUN git gcc cmake\n#13 0.831 ERROR: No matching distribution found for six\n"
        f"#13 ERROR: {failed}\n------\n > [builder 4/4] RUN git gcc cmake:\n"
        "0.831 ERROR: No matching distribution found for six\n------\nDockerfile:12\n--------------------\n"
        f"  12 | >>> RUN git gcc cmake\n--------------------\nERROR: failed to build: failed to solve: {failed}\n"
    )
    assert own_words(text) == "toolkit-exit: 1\nERROR: No matching distribution found for six\n"
    assert shown_words(text) == ["ERROR: No matching distribution found for six"]


def test_a_disk_that_buildkit_finds_full_is_the_machines_fault() -> None:
    text = "#14 exporting layers\n#14 ERROR: write /x: no space left on device\n------\n > exporting layers:\n------\n"
    assert explain_failure(text, "base:1", "requirements.txt").exit_code == 3


def test_words_of_another_step_do_not_count() -> None:
    text = "#5 1.0 E: Unable to locate package x\n" + as_buildkit("ERROR: No matching distribution found for six")
    assert "six" in str(explain_failure(text, "base:1", "requirements.txt"))


def test_buildkits_own_error_is_told_where_no_step_failed() -> None:
    error = explain_failure("#1 [internal] load\nERROR: failed to solve: base:1: not found", "base:1", None)
    assert (error.exit_code, str(error)) == (3, "BuildKit failed: base:1: not found")


def test_a_password_in_an_address_is_not_repeated() -> None:
    text = as_buildkit("fatal: could not read Username for 'https://me:secret@forge.example'")
    assert "secret" not in str(explain_failure(text, "base:1", "requirements.txt"))


def test_a_package_that_another_one_needs_has_that_ones_line(tmp_path: Path) -> None:
    write_project(tmp_path, {"toolkit.yaml": "executor: {}\n", "requirements.txt": "six\nouter\n"})
    words = (DATA / "gcc.uv.txt").read_text()
    words += "help: `netifaces` (v0.11.0) was included because `outer` (v1) depends on `netifaces`\n"
    project = load(tmp_path / "toolkit.yaml", tmp_path, {})
    with pytest.raises(BadInput) as raised, placed(project):
        raise explain_failure(as_buildkit(words), "base:1", "requirements.txt")
    assert raised.value.where == "requirements.txt:2"


@given(st.lists(st.text(st.sampled_from("ab{}` :/.'\"[]()-=1\r\t│×"), max_size=60), max_size=8))
def test_whatever_a_tool_prints_is_one_sentence(lines: list[str]) -> None:
    text = as_buildkit("\n".join(["error: The build backend returned an error", *lines]))
    error = explain_failure(text, "base:1", "requirements.txt")
    assert error.exit_code == 2 and "\n" not in str(error) and "executor failed" not in str(error)
    assert all("executor failed" not in line for line in shown_words(text))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", ["x" * 1_000_000, "a b " * 200_000, "Because " * 100_000, "'" * 500_000])
def test_a_huge_output_is_read_in_a_moment(line: str) -> None:
    text = as_buildkit("\n".join([line] * 3 + ["Because x depends on"] * 20_000))
    assert explain_failure(text, "base:1", "requirements.txt").exit_code == 2


def test_a_tool_that_memory_ran_out_for_is_the_machines_fault() -> None:
    text = as_buildkit("Collecting torch").replace("exit code: 1", "exit code: 137")
    error = explain_failure(text, "base:1", "requirements.txt")
    assert error.exit_code == 3 and "torch was killed" in str(error)


@pytest.mark.parametrize(
    ("file", "content", "package", "line"),
    [
        ("requirements.txt", "# a\nsix\nNetifaces[x]==0.11 ; os_name\n", "netifaces==0.11", 3),
        ("requirements.txt", "six-extra\nsix.more\nsix\n", "six", 3),
        ("requirements.txt", "-e ./pkg/bad\n", "./pkg/bad", 1),
        ("requirements.txt", "a_b.c>1\n", "a-b-c", 1),
        ("requirements.txt", "six\n", "other", None),
        ("pyproject.toml", '[project]\ndependencies = ["six", "a-b>1"]\n', "a_b", 2),
        ("uv.lock", '[[package]]\nname = "six"\n', "six==1", 2),
        ("environment.yml", "dependencies:\n  - six=1\n", "six", 2),
        ("Pipfile", '[packages]\n"six" = "*"\n', "six", 2),
        ("requirements.txt", "anything\n", "", None),
    ],
)
def test_the_line_of_a_requirement(tmp_path: Path, file: str, content: str, package: str, line: int | None) -> None:
    write_project(tmp_path, {file: content})
    assert line_of_requirement(tmp_path, file, package) == (f"{file}:{line}" if line else None)


def test_the_line_of_a_requirement_that_another_file_includes(tmp_path: Path) -> None:
    write_project(tmp_path, {"requirements.txt": "-r sub/b.txt\n", "sub/b.txt": "-r ../requirements.txt\nsix\n"})
    assert line_of_requirement(tmp_path, "requirements.txt", "six") == "sub/b.txt:2"


def test_an_error_has_the_place_of_what_it_names(tmp_path: Path) -> None:
    write_project(
        tmp_path,
        {
            "toolkit.yaml": "executor: {}\nbuild:\n  lock: none\n  system_packages:\n  - x\n",
            "requirements.txt": "a\nsix\n",
        },
    )
    project = load(tmp_path / "toolkit.yaml", tmp_path, {})

    def place(error: BadInput) -> str | None:
        with pytest.raises(BadInput) as raised, placed(project):
            raise error
        return raised.value.where

    assert str(place(BadInput("build.system_packages: x"))).endswith("toolkit.yaml:4")
    assert str(place(BadInput("build.lock names y"))).endswith("toolkit.yaml:3")
    assert place(BadInput("build.groups: the file has no such setting")) is None
    assert place(BadInput("build.lock", "a.txt")) == "a.txt"
    assert place(FaultyRequirement("no", "requirements.txt", "six")) == "requirements.txt:2"
    assert place(FaultyRequirement("no", "requirements.txt", "other")) == "requirements.txt"


def test_each_setting_that_a_cause_names_exists() -> None:
    named = {name for cause in CAUSES for name in re.findall(r"\bbuild\.(\w+)", cause.sentence)}
    assert named <= set(Build._fields)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "T   Skipping link: none of the wheel's tags (cp311-cp311-win32) are compatible (run pip debug): https://x/six-2-cp311-cp311-"
            "win32.whl (from https://x/simple/six/)\n"
            "T   Skipping link: none of the wheel's tags (cp311-cp311-win_arm64) are compatible (run pip debug): https://x/six-1-cp311-"
            "cp311-win_arm64.whl (from x)\nT ERROR: No matching distribution found for six==2\n",
            "toolkit-platforms: six==2 win32\n",
        ),
        (
            "T   Skipping link: none of the wheel's tags (cp36-cp36m-manylinux2010_x86_64) are compatible (run): https://x/six-2-cp36-"
            "cp36m-manylinux2010_x86_64.whl (from x)\nT ERROR: No matching distribution found for six\n",
            "toolkit-tags: six cp36\n",
        ),
        (
            "T   Link requires a different Python (3.11.2 not in: '>=3.12'): https://x/six-2.tar.gz (from x)\n"
            "T ERROR: No matching distribution found for six>=2\n",
            "toolkit-python: six>=2 >=3.12\n",
        ),
        (
            "T   Link requires a different Python (3.11.2 not in: '>=3.12'): https://x/six-2.tar.gz (from x)\n"
            "T ERROR: No matching distribution found for six==3\n",
            "",
        ),
        (
            "T Could not fetch URL https://u:p@x/simple/six/: 403 Client Error: no - skipping\n"
            "T ERROR: No matching distribution found for six\n",
            "toolkit-index: 403 https://***@x/simple/six/\n",
        ),
        (
            "T Could not fetch URL https://y/simple/six/: 404 Client Error: no - skipping\n"
            "T ERROR: Could not find a version that satisfies the requirement six==3 (from versions: 1, 2)\n"
            "T ERROR: No matching distribution found for six==3\n",
            "",
        ),
        (
            "T   Running command python x\nT   first\nT ERROR: [present-rich] python x exited with 1\n"
            "T   Running command python setup.py install\nT   a.c:1:1: fatal error: ffi.h: No such file or directory\nT \n"
            "T ERROR: [present-rich] python setup.py install exited with 1\nT   [bold magenta]full command[/]: x\n",
            "  a.c:1:1: fatal error: ffi.h: No such file or directory\n\n",
        ),
        ("T anything else\n", ""),
    ],
)
def test_what_pip_tells_its_log_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, said: str) -> None:
    path = tmp_path / "pip.log"
    path.write_text(log)
    why = runpy.run_path(str(data_path("dockerfiles/why.py")))
    why["main"](str(path))
    assert capsys.readouterr().out == said
    why["main"](str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "T Could not fetch URL https://me:****@h/s/six/: 401 Client Error: x\n",
            "toolkit-index: 401 https://***@h/s/six/\n",
        ),
        ("T Could not fetch URL https://h:8/s/six/: 401 Client Error: x\n", "toolkit-index: 401 https://h:8/s/six/\n"),
        (
            "T Could not fetch URL https://me:****@h/s/six/: 403 Client Error: x\n",
            "toolkit-index: 403 https://***@h/s/six/\n",
        ),
        (
            "T Found credentials in netrc for h\nT Could not fetch URL https://h/s/six/: 403 Client Error: x\n",
            "toolkit-index: 403 https://h/s/six/\n",
        ),
        # A store of files answers so for what it does not have.
        ("T Could not fetch URL https://h/s/six/: 403 Client Error: x\n", ""),
        ("T Could not fetch URL https://me:****@h/s/six/: 404 Client Error: x\n", ""),
        (
            "T Could not fetch URL https://me:****@h/s/six/: connection error: x - skipping\n",
            "toolkit-unreached: https://***@h/s/six/\n",
        ),
        ("T Could not fetch URL https://h/s/six/: connection error: x - skipping\n", ""),
        (
            "T Could not fetch URL https://me:****@h/s/six/: 503 Server Error: x\n",
            "toolkit-unreached: https://***@h/s/six/\n",
        ),
    ],
)
def test_an_index_that_refuses_a_login_ends_an_installation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, said: str
) -> None:
    path = tmp_path / "pip.log"
    path.write_text(log)
    why = runpy.run_path(str(data_path("dockerfiles/why.py")))
    assert why["main"](str(path), only_refused=True) == (1 if said else 0)
    assert capsys.readouterr().out == said


def spelled(text: str) -> set[str]:
    """The commands in backticks of a message, with {} for each name that is filled in."""
    return {re.sub(r"\{[^}]*\}", "{}", one) for one in re.findall(r"`([^`]+)`", text)}


def messages(path: Path) -> list[str]:
    """The texts of a module, but for docstrings, each with {} for what is filled in."""
    tree = ast.parse(path.read_text())
    told: list[str] = []
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            inside.add(node.value)  # a docstring
        elif isinstance(node, ast.JoinedStr):
            inside.update(ast.walk(node))
            told.append("".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values))
    told += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside
    ]
    return told


def test_a_message_names_no_command_that_is_not_in_the_list() -> None:
    known = {re.sub(r"\{\w+\}", "{}", one) for one in COMMANDS}
    environment = Path(failures.__file__).parent
    paths = [path for path in environment.rglob("*.py") if path.name != "causes.py"]
    found = {
        (path.name, one)
        for path in [*paths, data_path("dockerfiles/conda.py")]
        for text in messages(path)
        for one in spelled(text)
        if re.match(r"(?:uv|uvx|pip\S*|poetry|pdm|pipenv|pixi|conda\S*|docker|task|toolkit|\{\}) \w", one)
    }
    found |= {("causes.py", one) for cause in CAUSES for one in spelled(cause.sentence) if not one.startswith("; ")}
    assert {one for one in found if one[1] not in known} == set()
    assert set(_WRITES.values()) <= COMMANDS
    assert len(found) > 15


@pytest.mark.parametrize(
    ("file", "package", "written"),
    [
        ("uv.lock", "six", "`uv lock --refresh`"),
        ("Pipfile.lock", "six", "`pipenv lock`"),
        ("pdm.gpu.lock", "six", "`pdm lock --lockfile pdm.gpu.lock`"),
        ("pylock.toml", "six", "the tool that wrote it"),
        (
            "sub/requirements.txt",
            "a-b[c]==1",
            "`uv pip compile --generate-hashes --upgrade-package a-b sub/requirements.txt -o sub/requirements.txt`",
        ),
        ("requirements.txt", "", "`uv pip compile --generate-hashes requirements.txt -o requirements.txt`"),
    ],
)
def test_a_wrong_hash_is_written_again_by_what_wrote_it(file: str, package: str, written: str) -> None:
    assert writing_again(file, package) == written


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_its_place_whatever_was_written(tmp_path: Path, number: int) -> None:
    # A stand-in for the disk: what a write says when there is no space. It names no file.
    with pytest.raises(Infrastructure) as caught, build_lock(tmp_path, print):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in caught.value.message and "no space left" in caught.value.message
    with build_lock(tmp_path, print):
        pass  # the lock was released
