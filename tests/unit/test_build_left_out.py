"""What tools keep for themselves is no code, as if it were named at the top of .dockerignore."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builds import write_project as write
from toolkit.build.code.files import is_left_out, is_project_file, project_files
from toolkit.build.code.installed import extension_module
from toolkit.build.dockerignore import parse
from toolkit.build.environment.dependencies.found import read_folder
from toolkit.build.left_out import MACHINES_OWN
from toolkit.run.repeatable.modules import ProjectModules


def paths(root: Path) -> set[str]:
    return {file.path for file in project_files(root)}


def example(pattern: str) -> str:
    return pattern.replace("*", "some")


@pytest.mark.parametrize("pattern", MACHINES_OWN)
def test_what_a_tool_keeps_for_itself_is_no_code_at_any_depth(tmp_path: Path, pattern: str) -> None:
    name = example(pattern)
    write(tmp_path, {f"{name}/in/it": "", f"sub/{name}/x": "", "app.py": ""})
    assert not {path for path in paths(tmp_path) if path.startswith((name, f"sub/{name}"))}
    assert is_left_out(tmp_path, tmp_path / name / "new") and not is_project_file(tmp_path, f"sub/{name}/x")


def test_the_documentation_lists_what_is_left_out() -> None:
    section = (Path(__file__).parents[2] / "docs/build.md").read_text().split("## What is code")[1].split("\n## ")[0]
    table = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert {name for row in table for name in re.findall("`(.+?)`", row)} == set(MACHINES_OWN)


def test_what_a_step_may_need_is_code(tmp_path: Path) -> None:
    names = [
        "build/a", "dist/b", "data/c", "models/d", "cache/e", "tmp/f", "env/g", "venv/h", ".coveragerc", ".cache/i",
        "x.dvc/cache/j", ".dvc/config", "wandb/k", "egg-info/l", "swap.swp", ".github/m", "lib/n", "outputs/o", "vendor/p",
        "a.dist-info/METADATA",
    ]  # fmt: skip
    write(tmp_path, dict.fromkeys(names, ""))
    assert set(names) <= paths(tmp_path)


def test_a_virtual_environment_of_any_name_is_no_code(tmp_path: Path) -> None:
    # The project itself may lie in one.
    write(tmp_path, {"pyvenv.cfg": "", "tools/py/pyvenv.cfg": "", "tools/py/lib/x.py": "", "tools/a": ""})
    write(tmp_path, {"conda/conda-meta/history": "", "conda/lib/y": "", "app.py": ""})
    assert paths(tmp_path) == {"app.py", "pyvenv.cfg", "tools", "tools/a"}
    assert is_left_out(tmp_path, tmp_path / "tools/py/lib") and not is_left_out(tmp_path, tmp_path / "tools")
    (tmp_path / ".dockerignore").write_text("!tools/py/lib\n!conda\n!conda/lib/z\nconda/lib\n")
    assert paths(tmp_path) >= {"tools/py", "tools/py/lib", "tools/py/lib/x.py", "conda/conda-meta/history"}
    assert not paths(tmp_path) & {"tools/py/pyvenv.cfg", "conda/lib/y"}
    assert is_project_file(tmp_path, "tools/py/lib/x.py") and not is_project_file(tmp_path, "conda/lib/y")


def test_an_exception_brings_back_what_it_names(tmp_path: Path) -> None:
    write(tmp_path, {"node_modules/a": "", "web/node_modules/b": "", ".pytest_cache/v/c": "", ".pytest_cache/d": ""})
    (tmp_path / ".dockerignore").write_text("!web/node_modules\n!.pytest_cache/v\n")
    assert paths(tmp_path) == {
        ".dockerignore", "web", "web/node_modules", "web/node_modules/b",
        ".pytest_cache", ".pytest_cache/v", ".pytest_cache/v/c",
    }  # fmt: skip


def test_who_looks_at_sources_looks_at_none_of_a_tools_or_an_environments(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "own.py": "",
            "py/pyvenv.cfg": "",
            "py/lib/used.py": "",
            ".hypothesis/x": "",
            "lib/own2.py": "",
            ".coverage": "",
        },
    )
    write(
        tmp_path,
        {"pyproject.toml": '[build-system]\nbuild-backend = "mesonpy"\n', "py/lib/built.so": "", "sub.egg-info/x": ""},
    )
    assert set(read_folder(tmp_path, ".", "here")) == {"own.py", "lib/own2.py", "pyproject.toml"}
    modules = ProjectModules(tmp_path, [])
    assert modules.find("own2") == tmp_path / "lib/own2.py" and modules.find("used") is None
    assert extension_module(tmp_path) == "pyproject.toml"


NAMES = st.sampled_from(
    [
        *map(example, MACHINES_OWN), *"abc", "data", "cache", "tmp", ".dvc", "x.egg-info", ".egg-info", ".swp", ".swo", "a.swp",
        ".coverage.", ".coveragerc", "node_modules2", "a.#b", "nfs1", "htmlcov.d",
    ]
)  # fmt: skip
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
LINES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "!", "!", "!"]),
    st.sampled_from(["", "", "**/", "/", "a/", "*/"]),
    st.one_of(PATHS, st.just("*")),
)


@settings(max_examples=100, deadline=None)
@given(
    files=st.sets(PATHS, max_size=8),
    environments=st.sets(PATHS, max_size=2),
    lines=st.lists(LINES, max_size=4),
    kept=st.sampled_from(["", "!{}", "!{}/lib", "!{}/*", "!**/lib"]),
)
def test_the_rule_is_that_of_lines_at_the_top_of_dockerignore(
    files: set[str], environments: set[str], lines: list[str], kept: str
) -> None:
    files |= {f"{each}/lib/x" for each in environments}
    lines += [kept.format(each) for each in environments]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in sorted({*files, *(f"{each}/pyvenv.cfg" for each in environments)}):
            if not any(parent.is_file() for parent in (root / path).parents) and not (root / path).is_dir():
                write(root, {path: ""})
        (root / ".dockerignore").write_text("\n".join(lines))
        there = {each for each in environments if (root / each / "pyvenv.cfg").is_file()}
        top = [f"**/{name}" for name in MACHINES_OWN if not name.startswith("#")] + sorted(there)
        whole = parse("\n".join([*top, *lines]).encode(), ".dockerignore")

        def is_code(path: str) -> bool:
            matched: tuple[bool, ...] = ()
            parts = path.split("/")
            for end in range(len(parts)):
                if parts[end].startswith(".env") or parts[end] in (".git", ".venv", "__pycache__"):
                    return False
                matched = whole.matches("/".join(parts[: end + 1]), matched)
            return not whole.verdict(matched)

        all_files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        found = {file.path for file in project_files(root) if file.kind == "file"}
        assert found == {path for path in all_files if is_code(path)}
        assert found == {path for path in all_files if is_project_file(root, path)}
