"""Steps that end in every way that a process can end, as plain processes: what is reported, kept and never kept of them."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from tests.support.scratch import Scratch, finish

RETURNS = "returns=['x']"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ("raise KeyError('k')", 1, "KeyError: 'k'"),
        ("sys.exit(3)", 3, "the step left by sys.exit(3)"),
        ("sys.exit('no luck')", 1, "the step left by sys.exit: no luck"),
        ("sys.exit(0)", 1, "the step left by sys.exit() without returning x"),
        ("sys.exit(256)", 1, "the step left by sys.exit(256)"),
        ("os._exit(0)", 1, "ended with 0 before the function returned"),
        ("os._exit(3)", 3, "ended with exit code 3"),
        ("os._exit(117)", 117, "ended with exit code 117"),
        ("os.execlp('true', 'true')", 1, "ended with 0 before the function returned"),
        ("os.kill(os.getpid(), 9)", 137, "killed by signal 9"),
        ("os.kill(os.getpid(), 11)", 139, "killed by a segmentation fault (signal 11)"),
        ("os.kill(os.getpid(), 15)", 143, "killed by signal 15"),
        ("os.kill(os.getppid(), 9)", 137, "killed by signal 9, without its record"),
        ("os.kill(os.getppid(), 15); return 1", 143, "a process of the step sent a signal to end it"),
        ("os.kill(os.getppid(), 1); time.sleep(60)", 143, "a process of the step sent a signal to end it"),
        (
            "os.killpg(os.getpgid(os.getppid()), 15); time.sleep(60)",
            143,
            "a process of the step sent a signal to end it",
        ),
        (
            "os.system(f'(sleep 0.1; kill {os.getppid()}) &'); time.sleep(60)",
            143,
            "a process of the step sent a signal",
        ),
        ("os.killpg(0, 15); time.sleep(60)", 143, "killed by signal 15"),
        ("import atexit; atexit.register(os._exit, 3); return 1", 3, "ended with exit code 3"),
        ("os.closerange(0, 300); return 1", 1, "ended with 0 before the function returned"),
        ("fork() and os._exit(0); return 1", 1, "ended with 0 before the function returned"),
        ("return step()", 1, "RecursionError: maximum recursion depth exceeded"),
        ("raise type('E', (Exception,), {'__str__': None})()", 1, "which can't be shown"),
        ("return 1j", 1, "x is a complex, which is not JSON"),
        ("return (int(number) for number in ['1', 'late'])", 1, "ValueError: invalid literal for int"),
        ("return [asyncio.sleep(0, 1j)]", 1, "x[0] is a complex, which is not JSON"),
        (
            "return contextlib.contextmanager(lambda: (yield))()",
            1,
            "the context manager step.<locals>.<lambda>, which nothing",
        ),
        ("return step", 1, "the function step, which nothing has called"),
        ("return float('nan')", 1, "x is nan, which JSON can't hold"),
    ],
)
def test_a_step_that_does_not_return_what_it_declares_fails(
    project: LocalProject, body: str, code: int, reason: str
) -> None:
    attempt = project.run_step(
        "import asyncio, contextlib, os, sys, time\ndef fork():\n    child = os.fork()\n    return child and os.waitpid(child, 0)\n"
        f"def step():\n    {body}\n",
        RETURNS,
    )
    assert (attempt["status"], attempt["exit_code"]) == ("failed", code)
    assert reason in attempt["reason"]
    assert attempt["output_parameters"] == {}


@pytest.mark.parametrize(
    ("body", "returned", "output"),
    [
        ("return 1", 1, b""),
        ("return (print('the body') for _ in 'ab')", [None, None], b"the body\nthe body\n"),
        ("return {'a': [map(print, 'ab')]}", {"a": [[None, None]]}, b"a\nb\n"),
        ("print('x' * 10_000_000, end=''); return 1", 1, b"x" * 10_000_000),
        ("os.write(1, b'\\xff\\xfe\\0'); return 1", 1, b"\xff\xfe\0"),
        ("print('one'); print('two', file=sys.stderr); os.system('echo three'); return 1", 1, b"one\ntwo\nthree\n"),
        ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); return 1", 1, b""),
        ("threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start(); return 1", 1, b"late\n"),
        ("subprocess.Popen(['sleep', '60']); return 1", 1, b""),
        ("child = os.fork(); child and os.waitpid(child, 0); return 1 if child else 2", 1, b""),
        ("sys.stdout.close(); return 1", 1, b""),
        ("os.chdir('/'); return 1", 1, b""),
        ("os.environ.clear(); return 1", 1, b""),
        ("return sys.argv, __name__, os.environ['PYTHONHASHSEED']", [["step"], "functions", "0"], b""),
        (
            "return sorted(n for n in os.environ if n.startswith(('TOOLKIT', 'ARGO_', 'KUBERNETES_')))",
            ["TOOLKIT_VOLUME_TOOLKIT"],
            b"",
        ),
    ],
)
def test_a_step_that_returns_succeeds_whatever_it_prints_and_leaves_running(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, body: str, returned: Any, output: bytes
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    attempt = project.run_step(f"import os, subprocess, sys, threading, time\ndef step():\n    {body}\n", RETURNS)
    assert attempt["status"] == "succeeded"
    assert attempt["output_parameters"] == {"x": returned}
    assert project.output() == output


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "def step():\n    return rows()\nasync def rows():\n    yield 1\n    raise ValueError('seen')",
            "ValueError: seen",
        ),
        ("def step():\n    return [later()]\nasync def later():\n    raise ValueError('seen')", "ValueError: seen"),
        ("class step:\n    def __call__(self): pass", "the step's function is the class step"),
        (
            "@contextlib.contextmanager\ndef session():\n    yield\ndef step():\n    return session()",
            "the context manager session, which nothing has entered",
        ),
    ],
)
def test_a_step_that_returns_nothing_fails_where_its_body_fails_or_never_runs(
    project: LocalProject, body: str, reason: str
) -> None:
    attempt = project.run_step(f"import contextlib\n{body}\n")
    assert attempt["status"] == "failed"
    assert reason in attempt["reason"]
    # The traceback is the user's own, without the runtime's frames and those of asyncio that it called.
    assert "asyncio" not in project.output().decode().partition("Error")[0]


def test_leaving_with_0_is_a_success_of_a_step_that_returns_nothing(project: LocalProject) -> None:
    assert project.run_step("import sys\ndef step():\n    sys.exit()\n")["status"] == "succeeded"


def test_what_a_failing_step_had_written_is_put_and_a_missing_file_fails_a_step_that_did_not(
    project: LocalProject,
) -> None:
    put = "catalog=Catalog(put=['a.txt', 'b.txt'])"
    attempt = project.run_step("def step():\n    open('a.txt', 'w').write('kept')\n    raise ValueError('late')\n", put)
    assert attempt["reason"] == "ValueError: late"
    assert [one["name"] for one in attempt["catalog"]["put"]] == ["a.txt"]
    attempt = project.run_step("def step():\n    open('a.txt', 'w').close()\n", put)
    assert attempt["reason"] == "the step did not write b.txt, which it puts into the catalog"


# --- who ended it -----------------------------------------------------------------------------------------------------

ONCE = "if os.path.exists('{0}'): return\n    open('{0}', 'w').close(); print(os.getppid(), flush=True); time.sleep(60)"


def begun(scratch: Scratch) -> int:
    """Waits until the first attempt of the step ``only`` runs; returns the id of its runtime's process."""
    log = "run_log_store/*/steps/only/1/output.log"
    scratch.wait_for(lambda: any("\n" in file.read_text() for file in scratch.volume().glob(log)))
    return int(next(scratch.volume().glob(log)).read_text())


@pytest.mark.parametrize(("policy", "code", "attempts"), [("OnError", 0, 2), ("OnFailure", 3, 1)])
def test_a_step_that_somebody_else_stops_has_not_failed_itself(
    tmp_path: Path, policy: str, code: int, attempts: int
) -> None:
    scratch = Scratch(tmp_path, {"TOOLKIT_ENV": "process"})
    retry = f"{{limit: 2, retry_policy: {policy}}}"
    scratch.write({"toolkit.yaml": f"executor: {{type: local, config: {{retry_strategy: {retry}}}}}\n"})
    scratch.steps(only=ONCE.format(tmp_path / "begun"))
    process = scratch.start("run", "pipeline.py")
    os.kill(begun(scratch), signal.SIGTERM)
    result = finish(process)
    assert result.code == code, result.err
    made = scratch.show()["steps"][0]["attempts"]
    assert len(made) == attempts
    assert (made[0]["exit_code"], made[0]["reason"]) == (143, "it was stopped from outside")


def test_a_step_whose_client_was_killed_is_not_cancelled(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, {"TOOLKIT_ENV": "process"})
    scratch.steps(only=ONCE.format(tmp_path / "begun"))
    process = scratch.start("run", "pipeline.py")
    runtime = begun(scratch)
    finish(process, signal.SIGKILL)
    scratch.wait_for(lambda: not Path(f"/proc/{runtime}").exists())
    run = scratch.show()
    assert run["status"] == "failed" and "lost" in run["reason"]
    assert (run["steps"][0]["status"], run["steps"][0]["attempts"][0]["reason"]) == ("failed", "its client is gone")


# --- secrets ----------------------------------------------------------------------------------------------------------

CANARY = 'c4nary/"of \'many" spellings+ü'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print(key, repr(key), json.dumps(key), flush=True); os.write(2, encoded); return 1", ""),
        ("raise ValueError(key)", "ValueError: ***"),
        ("raise KeyError(encoded)", "KeyError: "),
        ("sys.exit(key)", "the step left by sys.exit: ***"),
        ("return key", "the return x holds the secret KEY"),
        ("return {'deep': [key]}", "the return x holds the secret KEY"),
        ("return {key: 1}", "the return x holds the secret KEY"),
        ("return encoded.decode()", "the return x holds the secret KEY"),
        ("return base64.urlsafe_b64encode(b'a' + key.encode() + b'?').decode()", "the return x holds the secret KEY"),
        ("return key.encode().hex()", "the return x holds the secret KEY"),
        ("return {key}", "the return x holds the secret KEY"),
        ("for byte in key.encode(): os.write(1, bytes([byte]))\n    return 1", ""),
    ],
)
def test_a_secret_is_not_kept_whichever_way_a_step_lets_it_out(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    # Given a step that has a secret,
    monkeypatch.setenv("KEY", CANARY)
    text = (
        "import base64, json, os, sys\ndef step():\n    key = os.environ['KEY']\n"
        f"    encoded = base64.b64encode(key.encode())\n    {body}\n"
    )
    # when it prints, raises or returns it,
    attempt = project.run_step(text, f"{RETURNS}, secrets=['KEY']")
    # then it fails where it would be recorded, and in no case is anything of it on the volume or in what is printed.
    assert attempt["status"] == ("failed" if reason else "succeeded")
    assert reason in attempt["reason"]
    assert_nowhere(project)


def test_a_pickled_secret_is_not_kept(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", CANARY)
    attempt = project.run_step(
        "import os\ndef step():\n    return {'deep': (os.environ['KEY'], {1})}\n",
        "returns=[__import__('toolkit').pickled('x')], secrets=['KEY']",
    )
    assert "the return x holds the secret KEY" in attempt["reason"]
    assert_nowhere(project)


def test_a_shell_steps_exported_secret_is_not_kept(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", CANARY)
    project.write("pipeline.yaml", "dag:\n  start_at: s\n  steps:\n    s:\n      command_type: shell\n"
                  "      command: 'export x=\"$KEY\"; echo \"$KEY\"'\n      returns: [x]\n      secrets: [KEY]\n")  # fmt: skip
    assert project.run("pipeline.yaml") == 1
    assert "the return x holds the secret KEY" in project.err
    assert_nowhere(project)


def assert_nowhere(project: LocalProject) -> None:
    kept = project.volume() + project.err.encode()
    for spelling in (
        CANARY.encode(),
        base64.b64encode(CANARY.encode())[:-4],
        CANARY.encode().hex().encode(),
        b"of 'many",
    ):
        assert spelling not in kept


def test_a_step_without_the_secret_does_not_have_it(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", CANARY)
    project.write("functions.py", "import os\ndef has(): pass\ndef other(): return os.environ.get('KEY', 'none')\n")
    project.write(
        "pipeline.py",
        "import functions\nfrom toolkit import Pipeline, PythonTask\np = Pipeline(steps=["
        "PythonTask(functions.has, secrets=['KEY']), PythonTask(functions.other, returns=['x'])])\n",
    )
    assert project.run("pipeline.py") == 0, project.err
    assert project.show()["parameters"] == {"x": "none"}


# --- shell steps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "returns"),
    [
        ("export x=5 y=text", {"x": 5, "y": "text"}),
        ("export x='{\"a\": [1, null]}' y='[1'", {"x": {"a": [1, None]}, "y": "[1"}),
        ("export x='one\ntwo\n' y=''", {"x": "one\ntwo\n", "y": ""}),
        ("set -eu; export x=1; export y=$(printf 'a=b')", {"x": 1, "y": "a=b"}),
        ("export x=1 y=2; PATH=/nowhere", {"x": 1, "y": 2}),
        ("export x=1 y=2; exit", {"x": 1, "y": 2}),
        ("export x=1 y=2; sleep 60 &", {"x": 1, "y": 2}),
        ("export x=1; y=2; export y; unset z; (export x=9)", {"x": 1, "y": 2}),
        ("export x=\"it's\" y='$(id) `id` {{x}} \"\\'", {"x": "it's", "y": '$(id) `id` {{x}} "\\'}),
    ],
)
def test_a_shell_step_returns_what_it_exports(project: LocalProject, command: str, returns: dict[str, Any]) -> None:
    attempt = project.run_shell(command, returns=("x", "y"))
    assert attempt["output_parameters"] == returns


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("export x=1; exit 3", 3, "ended with exit code 3"),
        ("set -e; export x=1; false; export x=2", 1, "ended with exit code 1"),
        ("export x=1; nowhere-to-be-found", 127, "ended with exit code 127"),
        ("if", 2, "ended with exit code 2"),
        ("x=1", 1, "did not export x"),
        ("kill -9 $$", 137, "killed by signal 9"),
        ("export x=1; exec sh -c 'exit 4'", 4, "ended with exit code 4"),
        ("export x=1; exec true", 1, "an exec, a trap on EXIT of its own"),
        ("trap 'echo bye' EXIT; export x=1", 1, "an exec, a trap on EXIT of its own"),
        ("exec 9>&-; export x=1", 1, "handed over no exports"),
    ],
)
def test_a_shell_step_that_fails_or_exports_nothing_fails(
    project: LocalProject, command: str, code: int, reason: str
) -> None:
    attempt = project.run_shell(command, returns=("x",))
    assert (attempt["status"], attempt["exit_code"]) == ("failed", code)
    assert reason in attempt["reason"]


def test_a_shell_step_without_returns_may_exec_and_trap(project: LocalProject) -> None:
    assert project.run_shell("trap 'echo bye' EXIT; echo one")["status"] == "succeeded"
    assert project.output() == b"one\nbye\n"
    assert project.run_shell("exec true")["status"] == "succeeded"


@pytest.mark.parametrize(
    "value",
    ["'", '"', "a\nb\n", "$(id)", "`id`", "{{x}}", "${x}", "\\n", "*", "-n", "a  b", "é☃", "", "x" * 65_536, "%s", "!x", "\t"],
)  # fmt: skip
def test_a_parameter_reaches_a_shell_step_as_it_is(project: LocalProject, value: str) -> None:
    import json

    attempt = project.run_shell(
        'printf "%s" "$value"; export copy="$value"', "--param", f"value={json.dumps(value)}", returns=("copy",)
    )
    assert attempt["output_parameters"] == {"copy": value}
    assert project.output() == value.encode()


def test_a_large_parameter_is_a_file(project: LocalProject) -> None:
    attempt = project.run_shell(
        'export size=$(wc -c < "$big_FILE") direct="[$big]"',
        "--param",
        f"big={'é' * 50_000}",
        returns=("size", "direct"),
    )
    assert attempt["output_parameters"] == {"size": 100_000, "direct": "[]"} or attempt["output_parameters"] == {
        "size": 100_000, "direct": []}  # fmt: skip


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("PATH=x", "would replace the shell's own variable PATH"),
        ("LD_PRELOAD=x", "would replace the shell's own variable LD_PRELOAD"),
        ('x="a\\u0000b"', "holds a NUL character"),
    ],
)
def test_a_parameter_that_no_shell_step_can_have_fails_it(project: LocalProject, parameter: str, reason: str) -> None:
    assert reason in project.run_shell("true", "--param", parameter)["reason"]


# --- names, ids, interpreters -----------------------------------------------------------------------------------------


def test_steps_of_any_name_run_and_hand_on_what_they_return(project: LocalProject) -> None:
    names = ["Two Words", "ünï ☃", "cafe\u0301", "🎉" * 200, "-rf", "$(id)", "{{x}}", "a.b:c", "שלום", "x" * 200]
    steps = "".join(
        f"  ShellTask({name!r}, 'export x{number}=${{x{number - 1}:-0}}1', returns=['x{number}'], "
        f"catalog=Catalog(get={['*.txt'] if number > 1 else []})),\n"
        if number != 1
        else f"  ShellTask({name!r}, 'export x1=1; echo hi > a.txt', returns=['x1'], catalog=Catalog(put=['a.txt'])),\n"
        for number, name in enumerate(names, 1)
    )
    project.write(
        "pipeline.py",
        f"from toolkit import *\nfrom toolkit import Catalog, Pipeline, ShellTask\np = Pipeline(steps=[\n{steps}])\n",
    )
    assert project.run("pipeline.py") == 0, project.err
    run = project.show()
    assert [step["status"] for step in run["steps"]] == ["succeeded"] * len(names)
    assert run["steps"][2]["path"] == "caf\u00e9"
    assert run["parameters"]["x10"] == 1111111111


def test_a_run_id_is_taken_once(project: LocalProject) -> None:
    project.write("pipeline.yaml", "dag: {start_at: a, steps: {a: {type: stub}}}")
    assert project.run("pipeline.yaml", "--run-id", "mine") == 0, project.err
    before = project.volume()
    assert project.run("pipeline.yaml", "--run-id", "mine") == 2
    assert "there is a run mine already" in project.err
    assert project.volume() == before


def test_of_commands_that_take_a_run_id_at_once_exactly_one_runs(project: LocalProject) -> None:
    project.write("pipeline.yaml", "dag: {start_at: a, steps: {a: {type: stub}}}")
    command = [sys.executable, "-m", "toolkit", "run", "pipeline.yaml", "--env", "process", "--run-id", "mine"]
    codes: list[int] = []

    def run() -> None:
        codes.append(subprocess.run(command, cwd=project.root, capture_output=True).returncode)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0, 2, 2, 2]
    assert [run["status"] for run in project.show("runs")] == ["succeeded"]


def older_pythons() -> list[str]:
    """Interpreters before 3.11 that answer, by whatever way they were installed."""
    wanted = ["python3.9", "python3.10"]
    pyenv = shutil.which("pyenv")
    root = subprocess.run([pyenv, "root"], capture_output=True, text=True).stdout.strip() if pyenv else ""
    found = []
    for name in wanted:
        candidates = [shutil.which(name), *(str(path) for path in Path(root, "versions").glob(f"*/bin/{name}") if root)]
        for candidate in candidates:
            if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
                found.append(candidate)
                break
    return found


@pytest.mark.parametrize("version", ["python3.9", "python3.10"])
def test_the_runtime_and_the_sdk_run_on_an_older_python(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    # Given a project with an environment of an older interpreter,
    older = [path for path in older_pythons() if path.endswith(version)]
    if not older:
        pytest.skip(f"there is no {version} on this machine")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    python = project.write(".venv/bin/python", f'#!/bin/sh\nexec "{older[0]}" "$@"\n')
    python.chmod(0o755)
    # when a driver, whose module defines its steps too, runs there,
    project.write(
        "driver.py",
        "from __future__ import annotations\nimport dataclasses, sys\nfrom typing import List, Optional\n"
        "from toolkit import Catalog, metric, pickled, pipeline, task\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n    y: Optional[List[float]] = None\n"
        "@task(returns=[pickled('point'), metric('score'), 'version'], catalog=Catalog(put=['*.txt']), secrets=['KEY'])\n"
        "def make(given: Point, flag: bool, new: int | None = None):\n"
        "    open('a.txt', 'w').write('x')\n    assert flag is False\n    return given, 0.5, list(sys.version_info[:2])\n"
        "@task(returns=['x'], catalog=Catalog(get=['a.txt']))\n"
        "async def use(point, *, score: float):\n    open('a.txt').close()\n    return point.x + score\n"
        "@pipeline\ndef main(given):\n    point, score, version = make(given, 'False')\n    use(point, score=score)\n",
    )
    monkeypatch.setenv("KEY", CANARY)
    # then it is the same as here.
    assert project.run("driver.py", "--param", 'given={"x": "3", "y": ["1"]}') == 0, project.err
    found = project.show()["parameters"]
    assert (found["score"], found["x"]) == (0.5, 3.5)
    assert found["version"] == [int(part) for part in version.removeprefix("python").split(".")]


def test_a_file_of_the_project_that_a_step_puts_is_left_as_it_was(scratch: Scratch) -> None:
    # Given a project that holds an older data.csv, as a checkout of somebody's work may.
    scratch.environ["TOOLKIT_ENV"] = "process"
    scratch.write(
        {
            "data.csv": "old",
            "functions.py": "def write():\n    with open('data.csv', 'w') as file:\n        file.write('new')\n",
            "pipeline.py": "import functions\nfrom toolkit import *\n"
            "p = Pipeline(steps=[PythonTask(functions.write, catalog=Catalog(put=['*.csv']))])\n",
        }
    )
    # When a step writes a new one and puts it.
    result = scratch.toolkit("run", "pipeline.py")
    # Then the catalog has the new one, and the project the old.
    assert result.code == 0, result.err
    assert (scratch.root / "data.csv").read_text() == "old"
    assert scratch.toolkit("catalog", "--get", "data.csv").out == "new"


def test_logs_of_a_step_alone_are_the_newest_runs(scratch: Scratch) -> None:
    scratch.environ["TOOLKIT_ENV"] = "process"
    scratch.steps(one="print('first')", two="print('second')")
    assert scratch.toolkit("run", "pipeline.py").code == 0
    assert scratch.toolkit("logs", "two").out == "second\n"
    assert scratch.toolkit("logs", "three").code == 2
    scratch.root.joinpath("toolkit.yaml").write_text("")
    assert scratch.toolkit("logs", "-f").out == "==> one\nfirst\n==> two\nsecond\n"


def test_a_secrets_file_of_another_name_is_no_code_here_either(scratch: Scratch) -> None:
    scratch.environ["TOOLKIT_ENV"] = "process"
    scratch.write({"toolkit.yaml": "secrets: {type: dotenv, config: {location: keys.txt}}\n", "keys.txt": "k=v\n"})
    scratch.steps(look="assert not os.path.exists('keys.txt') and os.path.exists('functions.py')")
    result = scratch.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err


def test_ctrl_c_while_modules_are_loaded_is_no_traceback() -> None:
    script = (
        "import sys, types\n"
        "def run(arguments): raise KeyboardInterrupt\n"
        "main = types.ModuleType('toolkit.cli.main')\n"
        "main.run = run\n"
        "sys.modules['toolkit.cli.main'] = main\n"
        "from toolkit.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "toolkit: cancelled\n")
