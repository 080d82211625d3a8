"""`toolkit run --env local`: the steps are containers, with the user, limits and gate that the spec says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.examples import copy_example
from tests.support.scratch import Scratch
from toolkit.runtime.shared.protocol import PROTOCOL

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

FORMS = ("sdk.py", "driver.py", "pipeline.yaml")


def test_the_example_gives_the_same_in_all_three_forms(containers: Scratch) -> None:
    copy_example(containers)
    seen = []
    for form in FORMS:
        result = containers.toolkit("run", form)
        assert result.code == 0, result.err
        run = containers.show()
        assert [(step["path"], step["status"]) for step in run["steps"]] == [
            ("generate", "succeeded"),
            ("consume", "succeeded"),
        ]
        assert run["parameters"] == {"x": 10, "y": 505}
        seen.append((run["plan_hash"], run["image"]["digest"], run["steps"][0]["attempts"][0]["catalog"]))
    assert seen[0] == seen[1] == seen[2]


def test_the_script_is_the_same_run(containers: Scratch) -> None:
    import subprocess
    import sys

    copy_example(containers)
    done = subprocess.run(
        [sys.executable, "sdk.py"], cwd=containers.root, env=containers._environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert containers.show()["environment"] == "local"


def test_a_missing_secret_is_named_before_any_container_starts(containers: Scratch) -> None:
    copy_example(containers)
    (containers.root / ".env").write_text("secret_key=the-demo-key\n")
    result = containers.toolkit("run", "sdk.py")
    assert result.code == 2
    assert "connection_string" in result.err
    (containers.root / ".env").write_text("connection_string=there\n")
    result = containers.toolkit("run", "sdk.py")
    assert result.code == 2
    assert "secret_key" in result.err
    assert json.loads(containers.toolkit("runs", "--json").out) == []


def test_without_any_configuration_the_defaults_do_the_job(containers: Scratch) -> None:
    containers.steps(
        put="open('/mnt/free.txt', 'w').write('free')", look="assert open('/mnt/free.txt').read() == 'free'"
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err
    assert (containers.volume() / "free.txt").read_text() == "free"


DATED = """\
import datetime
import os
import subprocess

from toolkit import Pipeline, PythonTask, ShellTask

NOW = datetime.datetime.now().isoformat()


def fails(stamp):
    print(stamp)
    raise ValueError(os.environ["FAILS"])


steps = [PythonTask(fails, bind={"stamp": {"value": NOW}}), *(ShellTask(f"s{n}", "true") for n in range(int(os.environ["N"])))]
pipeline = Pipeline(steps=steps)
"""


def test_what_the_file_computes_is_computed_for_each_run_and_kept_by_a_run_that_is_retried(containers: Scratch) -> None:
    settings = "executor: {type: local-container, config: {environment: {N: $N, FAILS: $FAILS}}}\n"
    containers.write({"pipeline.py": DATED, "toolkit.yaml": settings})

    def stamps(run_id: str, steps: str, *command: str) -> list[str]:
        containers.environ.update(TOOLKIT_VAR_N=steps, TOOLKIT_VAR_FAILS="often")
        result = containers.toolkit(*command)
        assert result.code == 1, result.err
        run = containers.show(run_id)
        assert len(run["steps"]) == 1 + int(steps)
        return [Path(attempt["log"]).read_text().splitlines()[0] for attempt in run["steps"][0]["attempts"]]

    first = stamps("first", "1", "run", "pipeline.py", "--run-id", "first")
    assert stamps("second", "2", "run", "pipeline.py", "--run-id", "second") != first
    # When the first run is retried and its code is what it was, it is described as it was.
    assert stamps("first", "1", "retry", "first") == [*first, *first]
    # The line is named that forbids to keep the description.
    explained = containers.toolkit("run", "pipeline.py", "--explain")
    assert "because it may be another one each time: pipeline.py:6 calls datetime.datetime.now()" in explained.err
    containers.write({"pipeline.py": "from toolkit import *\np = ShellJob('true')\n"})
    assert "the description is kept" in containers.toolkit("run", "pipeline.py", "--explain").err


def test_what_a_container_is_like(containers: Scratch) -> None:
    # Given limits, a private /tmp, shared memory and a variable.
    containers.write(
        {
            "toolkit.yaml": """\
executor:
  type: local-container
  config:
    environment: {GREETING: "hello $$(id) {{x}}"}
    resources: {limits: {memory: 128Mi, cpu: 500m}}
    shm_size: 96Mi
    scratch_size: 32Mi
    pids_limit: 99
"""
        }
    )
    containers.steps(
        look="import json; "
        "status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines() if ':' in line); "
        "sizes = {p: os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ('/tmp', '/dev/shm')}; "
        "print(json.dumps(dict(uid=os.getuid(), gid=os.getgid(), cwd=os.getcwd(), greeting=os.environ['GREETING'], "
        "capabilities=status['CapEff'].strip(), new_privileges=status['NoNewPrivs'].strip(), sizes=sizes, "
        "home=os.access(os.environ['HOME'], os.W_OK), stdin=sys.stdin.read(), umask=oct(os.umask(0)), "
        "hidden=[n for n in os.environ if n.startswith(('TOOLKIT_', 'ARGO_', 'KUBERNETES_'))])))"
    )
    # When it runs.
    result = containers.toolkit("run", "pipeline.py")
    # Then the container is as the settings say, and of ours its environment has only where the volume is.
    assert result.code == 0, result.err
    seen = json.loads(containers.toolkit("logs", "--json").out)[0]["output"]
    said = json.loads(seen)
    assert said.pop("uid") != 0
    assert said == {
        "gid": 1000,
        "cwd": "/workspace",
        "greeting": "hello $(id) {{x}}",
        "capabilities": "0000000000000000",
        "new_privileges": "1",
        "sizes": {"/tmp": 32 << 20, "/dev/shm": 96 << 20},
        "home": True,
        "stdin": "",
        "umask": "0o2",
        "hidden": ["TOOLKIT_VOLUME_TOOLKIT"],
    }
    attempt = containers.show()["steps"][0]["attempts"][0]
    begin = json.loads(Path(attempt["log"]).with_name("begin.json").read_text())
    assert begin["limits"] == {"memory": 128 << 20, "cpu": 500}
    assert begin["user"]["gid"] == 1000
    assert begin["image"]["protocol"] == PROTOCOL
    assert "GREETING" in begin["environment"]


def test_a_step_writes_beside_its_code_and_over_it_and_no_other_step_sees_it(containers: Scratch) -> None:
    containers.write({"data.txt": "as it was"})
    containers.steps(
        first="open('data.txt', 'w').write('mine'); open('new.txt', 'w').write('x'); os.mkdir('folder')",
        second="assert not os.path.exists('new.txt') and open('data.txt').read() == 'as it was'",
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err


def test_a_read_only_root_still_has_a_working_folder(containers: Scratch) -> None:
    containers.write({"toolkit.yaml": "executor: {type: local-container, config: {read_only_root: true}}\n"})
    containers.steps(only="open('out.txt', 'w').write('x'); import functions; print(os.getcwd())")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err


def test_data_that_lies_elsewhere_is_mounted_and_stays_as_it_is(containers: Scratch, tmp_path: Path) -> None:
    # Given data of another owner, which steps only read, a folder that they write in, and a pipeline that does both.
    data, results = tmp_path / "data", tmp_path / "results"
    for folder, mode in ((data, 0o755), (results, 0o777)):
        folder.mkdir()
        folder.chmod(mode)
    (data / "in.txt").write_text("from elsewhere")
    owners = [(folder.stat().st_uid, folder.stat().st_gid, folder.stat().st_mode) for folder in (data, results)]

    def configure(of_data: str, of_results: str) -> None:
        volumes = (
            "toolkit, mount_path: /mnt",
            f"data, mount_path: /data{of_data}",
            f"out, mount_path: /out{of_results}",
        )
        entries = "".join(f"      - {{name: {volume}}}\n" for volume in volumes)
        containers.write(
            {"toolkit.yaml": f"executor:\n  type: local-container\n  config:\n    persistent_volumes:\n{entries}"}
        )

    def run(*options: str) -> str:
        result = containers.toolkit("run", "pipeline.py", *options)
        assert result.code == 0, result.err
        return result.err

    configure(f", host_path: {data}, read_only: true", f", host_path: {results}")
    containers.steps(
        copy="text = open('/data/in.txt').read(); open('/out/out.txt', 'w').write(text)",
        change="\n    ".join(
            ["try:", "    open('/data/new.txt', 'w')", "except OSError as error: print(error)", "else: sys.exit(3)"]
        ),
    )
    # The configuration is a file of the project, and so part of its code.
    containers.write({".dockerignore": "toolkit.yaml\n"})
    # When it runs.
    run("--run-id", "elsewhere")
    # Then nothing of the data has changed, and what steps wrote lies in the folder.
    assert sorted(path.name for path in data.iterdir()) == ["in.txt"]
    assert (results / "out.txt").read_text() == "from elsewhere"
    assert owners == [(folder.stat().st_uid, folder.stat().st_gid, folder.stat().st_mode) for folder in (data, results)]
    # And a run with the same data in a volume of the project's own is the same run.
    configure(", read_only: true", "")
    own = containers.root / ".toolkit" / "volumes" / "data"
    own.mkdir(mode=0o755)
    (own / "in.txt").write_text("from elsewhere")
    run("--run-id", "at-home")
    compared = containers.toolkit("diff", "elsewhere", "at-home")
    assert compared.code == 0, compared.out

    # A folder that the steps' user can't use is named alone, before any step starts.
    results.chmod(0o755)
    configure(f", host_path: {data}, read_only: true", f", host_path: {results}")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 3 and f"can't write in the volume out ({results})" in result.err, result.err
    assert str(data) not in result.err and "the volume toolkit" not in result.err
    assert "error" in containers.toolkit("doctor", "--env", "local").out.lower()
    data.chmod(0o700)
    configure(f", host_path: {data}, read_only: true", "")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 3 and f"can't read the volume data ({data})" in result.err, result.err
    # One that is not there is a mistake in the configuration.
    configure(", host_path: missing, read_only: true", "")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 2 and "toolkit.yaml:6" in result.err and "No such file or directory" in result.err, result.err


def test_a_step_that_fails_is_tried_again_as_often_as_the_settings_say(containers: Scratch) -> None:
    containers.write(
        {"toolkit.yaml": "executor: {type: local-container, config: {retry_strategy: {limit: 2}}}\n"},
    )
    containers.steps(
        third="count = len(os.listdir('/mnt/tries')) if os.path.exists('/mnt/tries') else 0; "
        "os.makedirs(f'/mnt/tries/{count}'); sys.exit(0 if count == 2 else 7)"
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err
    attempts = containers.show()["steps"][0]["attempts"]
    assert [(one["number"], one["status"], one["exit_code"]) for one in attempts] == [
        (1, "failed", 7),
        (2, "failed", 7),
        (3, "succeeded", 0),
    ]


def test_a_step_that_takes_too_long_is_ended(containers: Scratch) -> None:
    containers.write(
        {
            "toolkit.yaml": "executor: {type: local-container, config: "
            "{max_step_duration_in_seconds: 1, grace_period_in_seconds: 1}}\n"
        }
    )
    containers.steps(slow="time.sleep(60)")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 1
    assert "time limit of 1 s" in containers.show()["steps"][0]["attempts"][0]["reason"]


def test_a_run_that_takes_too_long_is_ended(containers: Scratch) -> None:
    containers.write(
        {
            "toolkit.yaml": "executor: {type: local-container, config: "
            "{max_workflow_duration_in_seconds: 3, grace_period_in_seconds: 1}}\n"
        }
    )
    containers.steps(slow="time.sleep(60)", never="pass")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 1
    run = containers.show()
    assert run["status"] == "failed"
    assert "time limit of 3 s" in run["reason"]
    assert run["steps"][1]["status"] == "skipped"


def test_output_that_nobody_gets_ends_no_run_and_is_no_result(containers: Scratch) -> None:
    import subprocess
    import sys

    containers.steps(good="print('ran')", bad="sys.exit(4)")
    reader, left = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)

    def called(out: int, err: int, *arguments: str) -> tuple[int, list[str]]:
        ended = subprocess.run(
            [sys.executable, "-m", "toolkit", *arguments],
            cwd=containers.root,
            env=containers._environment(),
            stdout=out,
            stderr=err,
            text=True,
        )
        return ended.returncode, (ended.stderr or "").splitlines()[-1:]

    # Given nobody who reads, a run goes on to its own end.
    for nowhere in (left, full):
        assert called(nowhere, nowhere, "run", "pipeline.py")[0] == 1
        run = containers.show()
        assert [step["status"] for step in run["steps"]] == ["succeeded", "failed"]
        assert "the step bad failed" in run["reason"]
    # But what is printed to be used is there as a whole, or the command has failed.
    for command in (["build"], ["compile", "pipeline.py"], ["compose", "pipeline.py"]):
        sentence = "toolkit: standard output can't be written: No space left on device"
        assert called(full, subprocess.PIPE, *command) == (3, [sentence])
        assert called(left, subprocess.PIPE, *command)[0] == 141
    os.close(left)
    os.close(full)


def test_output_may_go_to_a_file_in_the_project(containers: Scratch) -> None:
    import subprocess
    import sys

    containers.steps(only="assert not os.path.exists('log'); print('ran')")
    images = set()
    for _ in range(2):
        with open(containers.root / "log", "ab") as log:
            done = subprocess.run(
                [sys.executable, "-m", "toolkit", "run", "pipeline.py"],
                cwd=containers.root,
                env=containers._environment(),
                stdout=log,
                stderr=log,
            )
        assert done.returncode == 0, (containers.root / "log").read_text()
        images.add(containers.show()["image"]["digest"])
    assert len(images) == 1


@pytest.mark.parametrize("of_step", [False, True])
def test_that_an_image_has_no_bash_is_said_before_the_first_step(containers: Scratch, of_step: bool) -> None:
    containers.write({"p.yaml": "dag: {start_at: a, steps: {a: {command_type: shell, command: 'true', next: b}, "
                      "b: {command_type: shell, command: 'true', strict: true, overrides: {local-container: own}}}}"})  # fmt: skip
    own: dict[str, str] = {}
    config: dict[str, object] = {"overrides": {"own": own}}
    containers.write({"toolkit.yaml": json.dumps({"executor": {"type": "local-container", "config": config}})})
    built = containers.toolkit("build").out.strip()
    name = f"{built.partition(':')[0]}:no-bash"
    context = containers.root.parent / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {built}\nUSER 0\nRUN rm /bin/bash\n")
    subprocess.run(["docker", "build", "-q", "-t", name, str(context)], check=True, capture_output=True)
    # The image itself works, and what of it is not strict runs.
    (own if of_step else config)["image"] = name
    containers.write({"toolkit.yaml": json.dumps({"executor": {"type": "local-container", "config": config}})})
    result = containers.toolkit("run", "p.yaml")
    assert result.code == 2, result.err
    assert f"p.yaml:1: the step 'b' needs bash (strict: true), and the image {name} has none" in result.err
    assert json.loads(containers.toolkit("runs", "--json").out) == []
    path = containers.root / "p.yaml"
    path.write_text(path.read_text().replace("strict: true", "strict: false"))
    result = containers.toolkit("run", "p.yaml")
    assert result.code == 0, result.err
