"""User code is imported as a script would import it, whatever its modules and files are called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject

OF_THE_RUNTIME = ["json", "logging", "typing", "traceback", "pickle", "random", "collections", "re", "types", "time", "enum",
                  "inspect", "hashlib", "gzip", "signal", "select", "importlib_", "dataclasses", "base64", "fnmatch"]  # fmt: skip
SDK = "from toolkit import Pipeline, PythonTask, pickled\n"
IN_FUNCTIONS = f"import functions\n{SDK}p = Pipeline(steps=[PythonTask(functions.f, returns=['x'])])\n"
IN_ITSELF = SDK + "def f():\n{}\np = Pipeline(steps=[PythonTask(f, returns=['x'])])\np.execute()\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def parameters(project: LocalProject, pipeline: str = "pipeline.py", *options: str) -> dict[str, Any]:
    """The values that a run which succeeds ends with."""
    assert project.run(pipeline, *options) == 0, project.err
    found: dict[str, Any] = project.show()["parameters"]
    return found


def test_modules_of_the_users_that_are_called_as_the_standard_librarys_are_theirs(project: LocalProject) -> None:
    # Given a project full of them, in its own folder and in src,
    for name in OF_THE_RUNTIME:
        project.write(f"{name}.py", f"theirs = {name!r}\n")
    project.write("src/string/__init__.py", "theirs = 'string'\n")
    # What is built into an interpreter no script can have a module of its own in place of: time is everywhere, select somewhere.
    names = [name for name in OF_THE_RUNTIME if name not in sys.builtin_module_names]
    project.write(
        "functions.py",
        f"import string, {', '.join(names)}\n\nclass Kept:\n    pass\n\n"
        "async def f(number: int = 1, numbers: 'list[int]' = ()):\n"
        f"    return [{', '.join(f'{name}.theirs' for name in ['string', *names])}, number, numbers]\n",
    )
    project.write("pipeline.py", IN_FUNCTIONS)
    # when a step uses them, and parameters are cast to annotations,
    found = parameters(project, "pipeline.py", "--param", 'number="3"', "--param", 'numbers=["4"]')
    # then it has its own, and the runtime has the library's.
    assert found["x"] == ["string", *names, 3, [4]]


def test_a_traceback_is_shown_and_an_object_pickled_where_the_user_has_modules_of_those_names(
    project: LocalProject,
) -> None:
    for name in OF_THE_RUNTIME:
        project.write(f"{name}.py", "")
    attempt = project.run_step("class Kept:\n    pass\n\ndef step():\n    return Kept()\n", "returns=[pickled('x')]".replace(
        "pickled", "__import__('toolkit').pickled"))  # fmt: skip
    assert attempt["output_parameters"]["x"]["object"] == "functions.Kept"
    attempt = project.run_step("def step():\n    raise KeyError('mine')\n")
    assert attempt["reason"] == "KeyError: 'mine'"
    assert attempt["exception"]["traceback"].startswith("Traceback (most recent call last):\n  File ")
    assert "functions.py" in attempt["exception"]["traceback"] and "runtime" not in attempt["exception"]["traceback"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"toolkit/__init__.py": "theirs = 1\nfrom .helpers import two\n", "toolkit/helpers.py": "two = 2\n"},
            [1, 2, 2],
        ),
        (
            {
                "toolkit/__init__.py": "from toolkit import Pipeline\nfrom toolkit.helpers import *\ntheirs = 1\n",
                "toolkit/helpers.py": "two = 2\n",
            },
            [1, 2, 2],
        ),
        ({"src/toolkit/__init__.py": "theirs, two = 1, 2\n", "src/toolkit/helpers.py": "two = 2\n"}, [1, 2, 2]),
        (
            {"toolkit/__init__.py": "theirs, two = 1, 2\n", "toolkit/helpers.py": "two = 2\n", "typing.py": ""},
            [1, 2, 2],
        ),
    ],
)
def test_a_package_called_toolkit_stands_beside_the_sdk(
    project: LocalProject, files: dict[str, str], expected: list[int]
) -> None:
    for name, text in files.items():
        project.write(name, text)
    project.write(
        "functions.py",
        "from toolkit import theirs, two\nimport toolkit.helpers\n\n"
        "def f():\n    return [theirs, two, toolkit.helpers.two]\n",
    )
    project.write("pipeline.py", IN_FUNCTIONS)
    assert parameters(project)["x"] == expected


@pytest.mark.parametrize(
    ("files", "imports", "expression"),
    [
        ({"toolkit/helpers.py": "two = 2\n"}, "import toolkit.helpers", "toolkit.helpers.two"),
        ({"toolkit/helpers.py": "two = 2\n"}, "from toolkit import helpers", "helpers.two"),
        ({"toolkit.py": "two = 2\n"}, "from toolkit import two", "two"),
    ],
)
def test_a_folder_or_a_file_called_toolkit_does_too(
    project: LocalProject, files: dict[str, str], imports: str, expression: str
) -> None:
    for name, text in files.items():
        project.write(name, text)
    project.write("pipeline.py", f"{imports}\n" + IN_ITSELF.format(f"    return {expression}"))
    assert parameters(project)["x"] == 2


@pytest.mark.parametrize(
    "name",
    ["random.py", "json.py", "time.py", "os.py", "01-x/01-main.py", "my.pipeline.v2.py", "ünï x.py", "class.py", "test.py",
     "package/__main__.py", "package/__init__.py", "toolkit.py"],
)  # fmt: skip
def test_a_pipelines_file_may_have_any_name(project: LocalProject, name: str) -> None:
    # Given a file of that name whose steps are its own functions, one of which returns an object of its own class,
    project.write(
        name,
        SDK
        + "from sibling import two\nimport time\n\nclass Kept:\n    def __init__(self, value):\n        self.value = value\n\n"
        "def make():\n    time.time()\n    return Kept(two)\n\ndef use(kept):\n    return kept.value\n\n"
        "p = Pipeline(steps=[PythonTask(make, returns=[pickled('kept')]), PythonTask(use, returns=['x'])])\np.execute()\n",
    )
    project.write(str(Path(name).parent / "sibling.py"), "two = 2\n")
    # when it runs, then both steps find all of it again.
    assert parameters(project, name)["x"] == 2


def test_a_package_beside_the_pipelines_file_may_have_its_name(project: LocalProject) -> None:
    project.write("train/__init__.py", "two = 2\n")
    project.write("train.py", "import train\n" + IN_ITSELF.format("    return train.two"))
    assert parameters(project, "train.py")["x"] == 2


def test_functions_are_found_wherever_a_script_finds_them(project: LocalProject) -> None:
    project.write("src/lib/deep/__init__.py", "def one():\n    return 1\n")
    project.write("root.py", "def two():\n    return 2\n")
    project.write("flows/beside.py", "def three():\n    return 3\n")
    project.write("toolkit.yaml", "")
    project.write(
        "flows/pipeline.py",
        SDK + "import functools\nimport beside, root\nfrom lib.deep import one\n"
        "def doubled(function):\n    @functools.wraps(function)\n    def inner(*a, **k):\n        return 2 * function(*a, **k)\n"
        "    return inner\n"
        "@doubled\ndef eight(four: int):\n    return four\n"
        "class Of:\n"
        "    @staticmethod\n    def five():\n        return 5\n"
        "    @classmethod\n    def six(cls):\n        return [cls.__name__]\n"
        "async def seven():\n    return 7\n"
        "p = Pipeline(steps=[PythonTask(function, returns=['r_' + function.__name__]) for function in "
        "(one, root.two, beside.three, Of.five, Of.six, seven, eight)])\n",
    )
    found = parameters(project, "flows/pipeline.py", "--param", 'four="4"')
    assert {name: value for name, value in found.items() if name != "four"} == {
        "r_one": 1, "r_two": 2, "r_three": 3, "r_five": 5, "r_six": ["Of"], "r_seven": 7, "r_eight": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "package", "inits"),
    [
        ("mypkg", "mypkg", True),
        ("mypkg/inner", "mypkg.inner", True),
        ("src/mypkg", "mypkg", True),
        ("lib/mypkg", "mypkg", True),
        ("spaces", "spaces", False),
        ("src/spaces/inner", "spaces.inner", False),
    ],
)
def test_a_file_with_relative_imports_is_the_module_of_its_package_that_python_m_makes_it(
    project: LocalProject, folder: str, package: str, inits: bool
) -> None:
    # Given a package whose modules import each other, one of them of a name that the standard library has,
    if inits:
        for level in range(package.count(".") + 1):
            parts = folder.split("/")
            project.write("/".join([*parts[: len(parts) - level], "__init__.py"]), "READY = True\n")
    project.write("toolkit.yaml", "")
    project.write(f"{folder}/logging.py", "def one():\n    return __name__\n")
    project.write(
        f"{folder}/pipeline.py",
        "import logging, sys\nfrom . import logging as own\nfrom .logging import one\n"
        + SDK
        + "class Kept:\n    value = 3\n"
        "def two():\n    from .logging import one as again\n    return [__name__, again(), logging.INFO], Kept()\n"
        "def three(kept):\n    return [kept.value, type(kept).__module__]\n"
        "p = Pipeline(steps=[PythonTask(one, returns=['x']), PythonTask(two, returns=['y', pickled('kept')]), "
        "PythonTask(three, returns=['z'])])\n"
        "if __name__ == '__main__':\n    p.execute()\n",
    )
    own = f"{package}.pipeline"
    expected = {"x": f"{package}.logging", "y": [own, f"{package}.logging", 20], "z": [3, own]}
    # when it is run by its path, and as `python -m` from the folder around the package,
    found = parameters(project, f"{folder}/pipeline.py")
    assert {name: found[name] for name in expected} == expected
    plan_hash = project.show()["plan_hash"]
    top = project.root / folder.removesuffix(package.replace(".", "/"))
    environment = {**os.environ, "TOOLKIT_ENV": "process"}
    done = subprocess.run([sys.executable, "-m", own], cwd=top, env=environment, capture_output=True, text=True)
    # then it is the same run.
    assert done.returncode == 0, done.stderr
    assert len(project.show("runs")) == 2
    assert project.show()["plan_hash"] == plan_hash
    assert {name: project.show()["parameters"][name] for name in expected} == expected


@pytest.mark.parametrize("entry", ["{root}/lib", "lib"])
def test_a_folder_of_the_project_on_pythonpath_is_the_steps_copy_of_it(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    project.write("lib/helper.py", "import os\nHERE = os.path.dirname(os.path.realpath(__file__))\n")
    project.write("functions.py", "import os, helper\ndef f():\n    return os.path.relpath(helper.HERE)\n")
    project.write("pipeline.py", IN_FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", entry.format(root=project.root))
    assert parameters(project)["x"] == "lib"


def test_arguments_are_given_by_position_by_name_by_binding_and_all_that_is_in_scope(project: LocalProject) -> None:
    project.write(
        "pipeline.py",
        SDK + "def f(a=1, b=2, /, c=3, *, d, **more):\n    return [a, b, c, d, sorted(more.items())]\n"
        "p = Pipeline(steps=[PythonTask(f, returns=['x'], bind={'bound': 'e'})])\n",
    )
    options = [f"--param={name}={value}" for name, value in {"b": 20, "d": 40, "e": 50}.items()]
    assert parameters(project, "pipeline.py", *options)["x"] == [1, 20, 3, 40, [["bound", 50], ["e", 50]]]


def test_an_object_is_unpickled_in_another_modules_step(project: LocalProject) -> None:
    project.write("other.py", "def use(kept):\n    return kept.value\n")
    project.write(
        "01-main.py",
        SDK + "from other import use\nclass Kept:\n    value = 2\n    def __eq__(self, other):\n        return True\n"
        "def make():\n    kept = Kept()\n    kept.value = 3\n    return kept\n"
        "p = Pipeline(steps=[PythonTask(make, returns=[pickled('kept')]), PythonTask(use, returns=['x'])])\n",
    )
    assert parameters(project, "01-main.py")["x"] == 3


def yaml_of(command: str) -> str:
    return f"dag:\n  start_at: s\n  steps:\n    s:\n      command: {command}\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nowhere.f", "pipeline.yaml:4: the step 's': there is no module nowhere"),
        ("functions.missing", "pipeline.yaml:4: the step 's': the module functions has no function missing"),
        ("functions.Of.missing", "the module functions has no function Of.missing"),
        ("functions.number", "functions.number can't be called: it is int"),
        ("package.nowhere.f", "the module package has no function nowhere.f"),
        ("functions", "functions is not the dotted path of a function"),
        (
            "functions.py",
            "functions.py is a file, and the command of a python step is a function (module.function); for a",
        ),
        ("package/__init__.py", "package/__init__.py is a file, and the command"),
        ("python functions.py", "is not the dotted path of a function"),
        ("needs.f", "needs.py:1: "),
        ("raises.f", "ZeroDivisionError: division by zero"),
        ("leaves.f", "SystemExit: 3"),
    ],
)
def test_a_function_that_can_not_be_found_is_bad_input(project: LocalProject, command: str, message: str) -> None:
    project.write("functions.py", "number = 3\nclass Of:\n    pass\n")
    project.write("package/__init__.py", "")
    project.write("needs.py", "import nowhere\n")
    project.write("raises.py", "1 / 0\n")
    project.write("leaves.py", "raise SystemExit(3)\n")
    project.write("pipeline.yaml", yaml_of(command))
    assert project.run("pipeline.yaml") == 2
    assert message in project.err
    # The traceback is the user's own: no frame of the runtime's or the import system's.
    assert "importlib" not in project.err and "toolkit/runtime/" not in project.err
    assert not (project.root / ".toolkit" / "volumes").exists()


def test_a_module_that_only_a_step_can_not_import_fails_that_step(project: LocalProject) -> None:
    # Given a module that needs a secret, which is not there while the pipeline is described,
    project.write("functions.py", "import os\nif 'HIDDEN' in os.environ:\n    import nowhere\n\ndef f():\n    pass\n")
    project.write("pipeline.yaml", yaml_of("functions.f") + "      secrets: [HIDDEN]\n")
    project.write(".env", "HIDDEN=value\n")
    # when its step runs,
    assert project.run("pipeline.yaml") == 1
    # then that is what failed.
    attempt = project.show()["steps"][0]["attempts"][0]
    assert attempt["reason"] == "ModuleNotFoundError: No module named 'nowhere'"
    assert attempt["exception"]["traceback"].count("File ") == 1


def test_python_may_be_told_to_leave_the_scripts_folder_out(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    project.write("pipeline.py", IN_ITSELF.format("    return 2"))
    assert parameters(project)["x"] == 2
