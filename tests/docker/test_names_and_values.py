"""Names and values of every kind go through containers unharmed, and bad ones are refused before anything starts."""

from __future__ import annotations

import json

import pytest

from tests.support.scratch import Scratch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

NAMES = [
    "with spaces in it",
    "CAPITALS",
    "capitals",
    "ünïcödé 数据 🎉",
    "quotes ' \" ` $HOME $(id) {{x}} \\ %",
    "-dash",
    "n" * 200,
    "数" * 200,
]
VALUES = {
    "quotes": 'it\'s "quoted" `here`',
    "newlines": "one\ntwo\r\n\tthree",
    "command": "$(id) ${HOME} $HOME",
    "template": "{{x}} {{=1+1}} {{workflow.name}}",
    "number": 1e300,
    "nested": {"a": [1, None, {"b": "é"}], "y": True},
    "y": "n",
    "empty": "",
    "large": "x" * 200_000,
}


def test_names_of_steps(containers: Scratch) -> None:
    containers.write(
        {
            "functions.py": "def nothing(): pass\n",
            "pipeline.py": "import json, functions\nfrom toolkit import Pipeline, PythonTask\n"
            f"p = Pipeline(steps=[PythonTask(functions.nothing, name=n) for n in json.loads({json.dumps(json.dumps(NAMES))})])\n",
        }
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err
    steps = containers.show()["steps"]
    assert [step["path"] for step in steps] == NAMES
    assert {step["status"] for step in steps} == {"succeeded"}


@pytest.mark.parametrize("name", ["n" * 201, "a/b", "", " x", "a\nb", "..", "bell\a"])
def test_names_that_are_refused(containers: Scratch, name: str) -> None:
    containers.write(
        {
            "functions.py": "def nothing(): pass\n",
            "pipeline.py": "import functions\nfrom toolkit import Pipeline, ShellTask\n"
            f"p = Pipeline(steps=[\n    ShellTask(name={name!r}, command='true'),\n])\n",
        }
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 2, result.err
    assert "pipeline.py:4" in result.err
    assert (
        not (containers.volume() / "run_log_store").exists()
        or json.loads(containers.toolkit("runs", "--json").out) == []
    )


def test_values_of_parameters(containers: Scratch) -> None:
    shell = "; ".join(
        f'test "${name}" = "$expected_{name}"' for name in ("quotes", "newlines", "command", "template", "empty")
    )
    containers.write(
        {
            "values.json": json.dumps(VALUES),
            "functions.py": "import json\n"
            f"def same({', '.join(VALUES)}):\n"
            "    expected = json.load(open('values.json'))\n"
            f"    for name, value in dict({', '.join(f'{name}={name}' for name in VALUES)}).items():\n"
            "        assert value == expected[name], name\n"
            f"    return [expected[n] for n in ('quotes', 'newlines', 'command', 'template', 'empty')]\n",
            "pipeline.py": "import functions\nfrom toolkit import *\n"
            "p = Pipeline(steps=[PythonTask(functions.same, returns=["
            + ", ".join(f"'expected_{n}'" for n in ("quotes", "newlines", "command", "template", "empty"))
            + f"]), ShellTask('shell', {'set -e; ' + shell + '; test -s $large_FILE; test -z $nothing'!r})])\n",
        }
    )
    result = containers.toolkit("run", "pipeline.py", "-p", "values.json")
    assert result.code == 0, result.err
    assert {name: containers.show()["parameters"][name] for name in VALUES} == VALUES


@pytest.mark.parametrize(
    ("pipeline", "where", "said"),
    [
        ("PythonTask('functions.absent')", "pipeline.py:4", "absent"),
        ("PythonTask('nowhere.at.all')", "pipeline.py:4", "nowhere"),
        ("PythonTask(lambda: 1, name='x')", "pipeline.py:4", "lambda"),
        ("PythonTask(functions.takes)", "pipeline.py:4", "takes z"),
        ("PythonTask(functions.nothing, catalog=Catalog(put=['../x']))", "pipeline.py:4", "../x"),
        ("PythonTask(functions.nothing, catalog=Catalog(get=['/etc/passwd']))", "pipeline.py:4", "/etc/passwd"),
        ("PythonTask(functions.nothing), PythonTask(functions.nothing)", "pipeline.py:4", "nothing"),
        ("PythonTask(functions.nothing, secrets=['no_such_secret'])", "", "no_such_secret"),
        ("PythonTask(functions.nothing, overrides={'local-container': 'big'})", "pipeline.py:4", "big"),
    ],
)
def test_pipelines_that_are_refused(containers: Scratch, pipeline: str, where: str, said: str) -> None:
    containers.write(
        {
            "functions.py": "def nothing(): pass\ndef takes(z): pass\n",
            "pipeline.py": f"import functions\nfrom toolkit import *\np = Pipeline(steps=[\n    {pipeline},\n])\n",
        }
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 2, result.err
    assert where in result.err and said in result.err, result.err
    assert "Traceback" not in result.err
    assert json.loads(containers.toolkit("runs", "--json").out) == []


@pytest.mark.parametrize(
    ("body", "catalog", "said"),
    [
        ("pass", "put=['never.txt']", "never.txt"),
        ("os.symlink('/etc/passwd', 'link')", "put=['link']", "leads out"),
        ("os.mkfifo('pipe')", "put=['pipe']", "regular file"),
        ("pass", "get=['nobody.txt']", "nobody.txt"),
    ],
)
def test_files_that_can_not_be_put_or_got(containers: Scratch, body: str, catalog: str, said: str) -> None:
    containers.steps(only=body)
    containers.write(
        {
            "pipeline.py": "import functions\nfrom toolkit import *\n"
            f"p = Pipeline(steps=[PythonTask(functions.only, catalog=Catalog({catalog}))])\n"
        }
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 1, result.err
    assert said in containers.show()["steps"][0]["attempts"][0]["reason"]


def test_returns_that_are_missing_or_too_many(containers: Scratch) -> None:
    containers.write(
        {
            "functions.py": "def two(): return 1, 2\n",
            "pipeline.py": "import functions\nfrom toolkit import *\n"
            "p = Pipeline(steps=[PythonTask(functions.two, returns=['a', 'b', 'c'])])\n",
            "shell.py": "from toolkit import *\np = Pipeline(steps=[ShellTask('s', 'true', returns=['gone'])])\n",
        }
    )
    assert containers.toolkit("run", "pipeline.py").code == 1
    assert "declares 3 returns (a, b, c) but returned 2" in containers.show()["steps"][0]["attempts"][0]["reason"]
    assert containers.toolkit("run", "shell.py").code == 1
    assert "did not export gone" in containers.show()["steps"][0]["attempts"][0]["reason"]
