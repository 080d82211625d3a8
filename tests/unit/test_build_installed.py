"""The project as it is installed: what its files say becomes what an installer would write."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.code.installed import (
    Distribution,
    backend_entries,
    declared_distribution,
    extension_module,
    installed_entries,
)
from toolkit.build.interpreter import Interpreter

HATCH = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
POETRY = '[tool.poetry]\nname = "p"\nversion = "2.0"\n'
CFG = "[metadata]\nname = c\nversion = "
PROJECT = """\
[project]
name = "Fore.cast"
version = "1.4.2"
description = "Says what comes."
requires-python = ">=3.9"
authors = [{name = "A", email = "a@example.org"}, {name = "B"}]
keywords = ["a", "b"]
classifiers = ["Private :: Do Not Upload"]
dependencies = ["six>=1 ; os_name == 'posix'"]
[project.urls]
Home = "https://example.org"
[project.optional-dependencies]
more = ["idna ; python_version > '3'", "attrs"]
[project.scripts]
forecast = "forecast.cli:main"
[project.entry-points."forecast.models"]
mean = "forecast.models:Mean"
"""


def no_version(one: Distribution) -> str:
    raise AssertionError(f"{one.name} says its version")


def test_what_is_installed_is_found_as_an_installer_would_have_it(tmp_path: Path) -> None:
    write_project(tmp_path / "code", {"pyproject.toml": PROJECT + HATCH, "src/forecast/__init__.py": ""})
    found = declared_distribution(tmp_path / "code")
    assert found is not None and found.roots == ("src",)
    site = tmp_path / "site"
    python = Interpreter("3.12.1", str(site), str(tmp_path / "bin"), sys.executable)
    for entry in installed_entries([found], python, no_version):
        if entry.kind == "file":
            assert entry.content is not None
            Path(entry.path).parent.mkdir(parents=True, exist_ok=True)
            Path(entry.path).write_bytes(entry.content)
    [installed] = importlib.metadata.distributions(path=[str(site)])
    assert (installed.metadata["Name"], installed.version) == ("Fore.cast", "1.4.2")
    assert installed.metadata["Author-email"] == "A <a@example.org>"
    assert installed.requires == [
        "six>=1 ; os_name == 'posix'",
        "idna ; (python_version > '3') and extra == 'more'",
        "attrs ; extra == 'more'",
    ]
    points = {(point.group, point.name): point.value for point in installed.entry_points}
    assert points == {
        ("console_scripts", "forecast"): "forecast.cli:main",
        ("forecast.models", "mean"): "forecast.models:Mean",
    }
    assert all(Path(str(file.locate())).exists() for file in installed.files or () if not str(file).endswith("/"))
    assert (site / "__editable__.Fore_cast.pth").read_text() == "/workspace/src\n"
    script = (tmp_path / "bin" / "forecast").read_text()
    assert script.startswith(f"#!{sys.executable}\n") and "from forecast.cli import main" in script
    # The command runs what it names, and ends with its code.
    write_project(
        tmp_path,
        {
            "forecast/__init__.py": "",
            "forecast/cli.py": "import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n",
        },
    )
    command = [sys.executable, str(tmp_path / "bin" / "forecast"), "x"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "['x']\n")


def test_the_same_project_gives_the_same_bytes(tmp_path: Path) -> None:
    found = declared_distribution(write_project(tmp_path, {"pyproject.toml": PROJECT + HATCH}))
    assert found is not None
    python = Interpreter("3.12.1", "/site", "/bin", "/bin/python3")
    assert installed_entries([found], python, no_version) == installed_entries([found], python, no_version)


@pytest.mark.parametrize(
    ("files", "name", "version", "roots"),
    [
        ({"pyproject.toml": PROJECT}, None, "", ()),
        ({"pyproject.toml": PROJECT + "[tool.uv]\npackage = true\n"}, "Fore.cast", "1.4.2", (".",)),
        ({"pyproject.toml": PROJECT + HATCH + "[tool.uv]\npackage = false\n"}, None, "", ()),
        ({"pyproject.toml": "[tool.ruff]\n"}, None, "", ()),
        ({"pyproject.toml": POETRY + 'packages = [{include = "p", from = "lib"}]\n'}, "p", "2.0", ("lib",)),
        ({"pyproject.toml": POETRY + "package-mode = false\n"}, None, "", ()),
        ({"setup.cfg": CFG + "3\n[options]\npackage_dir =\n    = source\n"}, "c", "3", ("source",)),
        ({"setup.cfg": CFG + "attr: c.about.__version__\n", "c/about.py": "__version__ = '3.1'\n"}, "c", "3.1", (".",)),
        ({"setup.cfg": CFG + "file: VERSION\n", "VERSION": "4.0\n"}, "c", "4.0", (".",)),
        ({"setup.cfg": "[flake8]\n"}, None, "", ()),
    ],
)
def test_what_declares_itself_to_be_a_package(
    tmp_path: Path, files: dict[str, str], name: str | None, version: str, roots: tuple[str, ...]
) -> None:
    found = declared_distribution(write_project(tmp_path, files))
    if name is None:
        assert found is None
    else:
        assert found is not None
        assert (found.name, found.version, found.roots, found.ask) == (name, version, roots, False)


DYNAMIC = '[project]\nname = "d"\ndynamic = ["version"]\n'
FLIT = '[build-system]\nbuild-backend = "flit_core.buildapi"\n'
SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
READ = f"{DYNAMIC}{SETUPTOOLS}[tool.setuptools.dynamic]\nversion = "


@pytest.mark.parametrize(
    ("files", "version", "ask"),
    [
        (
            {"pyproject.toml": READ + '{attr = "d.__version__"}\n', "src/d/__init__.py": "__version__: str = '1.2'\n"},
            "1.2",
            False,
        ),
        ({"pyproject.toml": READ + '{file = ["V"]}\n', "V": "1.3\n"}, "1.3", False),
        (
            {
                "pyproject.toml": DYNAMIC + HATCH + '[tool.hatch.version]\npath = "d.py"\n',
                "d.py": "__version__ = 'v1.4'\n",
            },
            "1.4",
            False,
        ),
        ({"pyproject.toml": DYNAMIC + FLIT, "d.py": "__version__ = '1.5'\n"}, "1.5", False),
        ({"pyproject.toml": DYNAMIC + '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n'}, "", False),
        (
            {"pyproject.toml": DYNAMIC + SETUPTOOLS.replace('"setuptools"', '"setuptools", "setuptools-scm>=8"')},
            "",
            False,
        ),
        ({"pyproject.toml": DYNAMIC + SETUPTOOLS, "setup.py": "setup(version=compute())\n"}, "", True),
        ({"pyproject.toml": DYNAMIC.replace('"version"', '"scripts"') + "version = '1'\n" + SETUPTOOLS}, "1", True),
        ({"pyproject.toml": PROJECT + HATCH + "[tool.hatch.build.hooks.custom]\n"}, "1.4.2", True),
        ({"setup.py": "setup(name='x')\n"}, "", True),
    ],
)
def test_what_is_dynamic_is_read_where_files_spell_it(
    tmp_path: Path, files: dict[str, str], version: str, ask: bool
) -> None:
    found = declared_distribution(write_project(tmp_path, files))
    assert found is not None
    assert (found.version, found.ask) == (version, ask)


def test_what_the_backend_made_is_moved_to_the_environments_python(tmp_path: Path) -> None:
    files = {
        "d-1.dist-info/METADATA": "Name: d\n",
        "d-1.dist-info/RECORD": "",
        "d-1.dist-info/entry_points.txt": "[console_scripts]\nTell = d:main\n",
        "__editable__d.pth": "/workspace/src\n",
        "bin/Tell": "#!/builder/python\n",
    }
    made = write_project(tmp_path, files)
    entries = backend_entries(made, Interpreter("3.12.1", "/site", "/scripts", "/venv/python"))
    found = {entry.path: entry.content for entry in entries if entry.kind == "file"}
    assert sorted(found) == [
        "/scripts/Tell",
        "/site/__editable__d.pth",
        "/site/d-1.dist-info/METADATA",
        "/site/d-1.dist-info/entry_points.txt",
    ]
    assert b"#!/venv/python\n" in (found["/scripts/Tell"] or b"")


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"pyproject.toml": '[build-system]\nbuild-backend = "maturin"\n'}, "pyproject.toml"),
        ({"setup.py": "setup(\n  ext_modules=[Extension('a', ['a.c'])],\n)\n"}, "setup.py:2"),
        (
            {
                "setup.py": "setup(\n  ext_modules=[Extension('a', ['a.c'])],\n)\n",
                "a.cpython-312-x86_64-linux-gnu.so": "",
            },
            "",
        ),
        ({"pyproject.toml": HATCH}, ""),
    ],
)
def test_an_extension_module_that_nobody_has_built_is_named(tmp_path: Path, files: dict[str, str], where: str) -> None:
    assert extension_module(write_project(tmp_path, files)) == where


@pytest.mark.parametrize(
    ("files", "roots", "ask"),
    [
        ({"pyproject.toml": PROJECT + HATCH, "src/x.c": "", "fore_cast/__init__.py": ""}, (".",), False),
        ({"pyproject.toml": PROJECT + HATCH, "src/fore_cast/__init__.py": ""}, ("src",), False),
        ({"pyproject.toml": PROJECT + HATCH + "[tool.hatch.build]\ndev-mode-dirs = ['py']\n"}, (".",), True),
        ({"pyproject.toml": PROJECT + HATCH + "[tool.hatch.build.targets.wheel]\nsources = ['py']\n"}, (".",), True),
        ({"pyproject.toml": PROJECT + SETUPTOOLS + "[tool.setuptools.package-dir]\np = 'code'\n"}, (".",), True),
        (
            {"pyproject.toml": PROJECT + SETUPTOOLS + "[tool.setuptools]\npackages = ['p']\n", "src/x.c": ""},
            (".",),
            False,
        ),
        ({"setup.cfg": CFG + "1\n[options]\npackage_dir =\n    c = code\n", "setup.py": "setup()\n"}, (".",), True),
        ({"setup.cfg": CFG + "1\n", "setup.py": "setup()\n"}, (".",), False),
        ({"setup.cfg": CFG + "1\n", "setup.py": "setup(entry_points={})\n"}, (".",), True),
        ({"setup.cfg": CFG + "attr: c.v\n", "setup.py": "setup()\n"}, (".",), True),
        (
            {"setup.cfg": CFG + "1\n[options]\npackages = find:\n[options.packages.find]\nwhere = lib\n"},
            ("lib",),
            False,
        ),
    ],
)
def test_code_is_found_where_the_backend_finds_it(
    tmp_path: Path, files: dict[str, str], roots: tuple[str, ...], ask: bool
) -> None:
    found = declared_distribution(write_project(tmp_path, files))
    assert found is not None
    assert (found.roots, found.ask) == (roots, ask)


def test_what_the_backend_reads_decides_whether_it_is_asked_again(tmp_path: Path) -> None:
    text = "from setuptools import setup\nexec(open(join('d', 'about.py')).read())\nsetup(name='d', version=v)\n"
    found = declared_distribution(
        write_project(tmp_path, {"setup.py": text, "d/about.py": "v = '1'\n", "d/code.py": "", "README.md": ""})
    )
    assert found is not None
    assert found.reads == ("README.md", "d/about.py", "setup.py")


def test_a_setup_py_that_installs_nothing_is_no_package(tmp_path: Path) -> None:
    assert declared_distribution(write_project(tmp_path, {"setup.py": "import os\nos.makedirs('data')\n"})) is None


def test_a_version_is_written_as_an_installer_writes_it(tmp_path: Path) -> None:
    found = declared_distribution(write_project(tmp_path, {"pyproject.toml": POETRY.replace("2.0", "v2.0-beta.1")}))
    assert found is not None
    entries = installed_entries([found], Interpreter("3.12.1", "/v/lib", "/v/bin", "/v/bin/python3"), no_version)
    assert any(entry.path == "/v/lib/p-2.0b1.dist-info/METADATA" for entry in entries)


def test_requirements_are_in_the_metadata_of_setup_cfg(tmp_path: Path) -> None:
    text = CFG + "1\n[options]\ninstall_requires =\n    six\n[options.extras_require]\nnet = idna\n"
    found = declared_distribution(write_project(tmp_path, {"setup.cfg": text}))
    assert found is not None
    assert {"Requires-Dist: six", "Provides-Extra: net", "Requires-Dist: idna ; extra == 'net'"} <= set(found.metadata)
