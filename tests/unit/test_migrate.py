"""``toolkit migrate``: what it rewrites of a project made for runnable, and what it says is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.cli.main import run
from toolkit.migrate.python_code import migrate_python


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from runnable import Pipeline, Stub as S\n", "from toolkit import Pipeline, Stub as S\n"),
        ("import runnable\np = runnable.Stub('runnable')\n", "import toolkit\np = toolkit.Stub('runnable')\n"),
        ("import runnable as r, os\nr.Stub('x')\n", "import toolkit as r, os\nr.Stub('x')\n"),
        ("from runnable import (\n    Stub,  # one\n)\n", "from toolkit import (\n    Stub,  # one\n)\n"),
        ("from \\\n  runnable import Stub\n", "from \\\n  toolkit import Stub\n"),
        ("é = 1; import runnable; é = runnable.Stub\r\n", "é = 1; import toolkit; é = toolkit.Stub\r\n"),
        ("def f():\n\timport runnable\n\treturn runnable.Map\n", "def f():\n\timport toolkit\n\treturn toolkit.Map\n"),
        ("from runnable.sdk import Map as M\n", "from toolkit import Map as M\n"),
        ("import runnable as r\nr.Map(reducer='lambda *x: max(x)')\n", 'import toolkit as r\nr.Map(reducer="max")\n'),
        ("import runnable as r\nr.Map(reducer='lambda *xs: xs[-1]')\n", 'import toolkit as r\nr.Map(reducer="last")\n'),
        ("from runnable import *\n", "from toolkit import *\n"),
        ("text = 'import runnable'\nrunnable = 1\n", "text = 'import runnable'\nrunnable = 1\n"),
        ("import runnable_tools\nfrom .runnable import x\n", "import runnable_tools\nfrom .runnable import x\n"),
    ],
)
def test_imports_and_the_names_that_they_bind_are_rewritten(before: str, after: str) -> None:
    migrated = migrate_python(before)
    assert (migrated.text, migrated.left) == (after, [])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("from runnable import TorchTask", "toolkit has no TorchTask"),
        ("import runnable as r\nr.sdk", "toolkit has no sdk"),
        ("from runnable.tasks import x", "runnable.tasks is an inner module of runnable"),
        ("from runnable import PythonTask as T\nT(f, color=1)", "PythonTask has no argument color"),
        ("from runnable import Map\nMap('m', b, 'xs', 'x', lambda xs: xs)", "Map can't take a lambda"),
        ("import runnable\nruns = p.execute_streaming()", "execute_streaming() is not supported"),
    ],
)
def test_what_toolkit_lacks_is_left_to_do(text: str, left: str) -> None:
    [(line, sentence)] = migrate_python(text).left
    assert sentence.startswith(left) and line == text.count("\n") + 1


def test_every_option_of_a_task_is_known() -> None:
    text = (
        "from runnable import PythonTask\nPythonTask(name='a', function=f, returns=['x'], overrides={}, on_failure=h)\n"
    )
    assert migrate_python(text).left == []


def test_a_project_is_rewritten_and_what_is_left_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "pipeline.py": "from runnable import Stub\n",
        "toolkit.yaml": """\
# kept
run-log-store:
  type: buffered # kept, too
executor: {type: argo, config: {persistent_volumes: [{name: data, mount_path: /data}]}}
catalog:
  type: file-system
  config:
    catalog_location: ".catalog"
secrets: {type: dotenvy}
""",
        "dag.yaml": """\
dag:
  start_at: m
  steps:
    m:
      type: map
      iterate_on: xs
      iterate_as: x
      branch: {start_at: a, steps: {a: {type: stub, next: success}}}
      reducer: "lambda *x: max(x)"
      next: n
""",
        "job.yaml": "type: shell\ncommand: echo hello\n",
        "requirements.txt": "pandas\nrunnable[notebook]>=0.20\n",
        ".venv/pyvenv.cfg": "",
        ".venv/lib.py": "import runnable\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert run(["migrate", "."]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dag.yaml: 1 place changed",
        "dag.yaml:10: to do: there is no step 'n'",
        "job.yaml:1: to do: a job in YAML: call ShellJob, PythonJob or NotebookJob in Python, or make it a step",
        "pipeline.py: 1 place changed",
        "requirements.txt:2: to do: runnable is no dependency any more, and toolkit need not be one: every image has its SDK",
        "toolkit.yaml: 2 places changed",
        "toolkit.yaml:9: to do: secrets.type can't be 'dotenvy'; did you mean dotenv? (one of env-secrets, "
        "env-secrets-manager, env, dotenv, do-nothing)",
        "3 files changed, 4 to do by hand",
    ]
    expected = files["toolkit.yaml"].replace("buffered", "file-system").replace('".catalog"', "/data/catalog")
    assert (tmp_path / "toolkit.yaml").read_text() == expected
    assert "reducer: max\n" in (tmp_path / "dag.yaml").read_text()
    assert (tmp_path / ".venv/lib.py").read_text() == "import runnable\n"


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text("import runnable\n")
    assert run(["migrate", "--dry-run", str(file)]) == 0
    assert "1 place would change" in capsys.readouterr().out and file.read_text() == "import runnable\n"


@pytest.mark.parametrize("text", ["def (:", "\0", None])
def test_what_can_not_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "pipeline.py"
    if text is not None:
        file.write_text(text)
    assert run(["migrate", str(file)]) == 2
