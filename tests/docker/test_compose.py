"""`toolkit compose` with the real docker-compose: steps run singly and again, in the container that the spec says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.examples import GETTING_STARTED
from tests.support.scratch import Result, Scratch
from toolkit.backends import volumes
from toolkit.backends.docker.rendering import docker_options
from toolkit.config.load import load
from toolkit.model.pipeline import Pipeline, Task
from toolkit.plan.planner import plan
from toolkit.run import compose
from toolkit.spec.container import container_spec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SECRET = "the-$demo-key"
CONNECTION = "postgresql://demo@localhost/demo"


class Project(Scratch):
    """A project beside whose configuration lies the file that `toolkit compose` printed."""

    def print_file(self, *arguments: str) -> str:
        result = self.toolkit("compose", *arguments)
        assert result.code == 0, result.err
        (self.root / "docker-compose.yaml").write_text(result.out)
        return result.out

    def compose(self, *arguments: str, typed: str = "") -> Result:
        command = os.environ.get("TOOLKIT_TEST_COMPOSE", "").split() or _compose_of_this_machine()
        done = subprocess.run(
            [*command, *arguments], cwd=self.root, env=self._environment(), input=typed,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)


def _compose_of_this_machine() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    assert plugin.returncode == 0, "no Compose is here: install docker-compose, or Docker's plugin of that name"
    return ["docker", "compose"]


@pytest.fixture
def project(containers: Scratch) -> Iterator[Project]:
    project = Project(containers.root, containers.environ)
    yield project
    # Not by docker-compose, which refuses a file whose secrets a test has taken away.
    here = f"label=com.docker.compose.project.working_dir={project.root}"
    listed = subprocess.run(["docker", "ps", "-aq", "--filter", here], check=True, capture_output=True, text=True)
    for container in listed.stdout.split():
        subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)


@pytest.fixture
def example(project: Project) -> Project:
    for file in GETTING_STARTED.iterdir():
        if file.is_file() and file.name != ".env":
            shutil.copy(file, project.root)
    project.environ.update(secret_key=SECRET, connection_string=None)
    project.write({".env": f"connection_string={CONNECTION}\n"})
    return project


def inspected(name: str) -> dict[str, Any]:
    done = subprocess.run(["docker", "inspect", name], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def test_the_steps_of_the_example_run_singly_and_again(example: Project) -> None:
    text = example.print_file("sdk.py")
    assert SECRET not in text and CONNECTION not in text
    assert example.print_file("sdk.py") == text
    run_id = text.split("toolkit show ")[1].split()[0]

    early = example.compose("run", "--rm", "-T", "consume")
    assert early.code != 0
    for _ in range(2):
        for step, said in (("generate", "wrote 10 rows"), ("consume", "the mean of 10 values is 51.5")):
            result = example.compose("run", "--rm", "-T", step)
            assert result.code == 0, result.err
            assert said in result.out

    run = example.show(run_id)
    assert run["environment"] == "compose" and run["parameters"] == {"x": 10, "y": 515}
    generate, consume = (step["attempts"] for step in run["steps"])
    assert [one["status"] for one in generate] == ["succeeded", "succeeded"]
    assert [one["status"] for one in consume] == ["failed", "succeeded", "succeeded"]
    assert consume[0]["reason"]
    assert [one["name"] for one in consume[2]["catalog"]["get"]] == ["data.csv"]
    assert consume[2]["input_parameters"] == {"x": 10, "y": 515}
    rows = example.toolkit("catalog", run_id, "--get", "data.csv")
    assert rows.out.splitlines()[:2] == ["1,14", "2,17"]


def test_a_step_of_a_map_runs_for_the_item_that_is_asked_for(project: Project) -> None:
    project.write(
        {
            "functions.py": "def names():\n    return ['Comedy', 'Drama']\n\n"
            "def fit(genre):\n    open('fit.txt', 'w').write(genre)\n    print('fitted', genre)\n",
            "pipeline.py": "from functions import fit, names\nfrom toolkit import Catalog, Map, Pipeline, PythonTask\n"
            "fits = Pipeline(steps=[PythonTask(fit, catalog=Catalog(put=['fit.txt']))])\n"
            "p = Pipeline(steps=[PythonTask(names, returns=['genres']), "
            "Map('films', fits, iterate_on='genres', iterate_as='genre')])\n",
        }
    )
    text = project.print_file("pipeline.py")
    said = project.toolkit("compose", "pipeline.py").err
    [service] = [name for name in yaml.safe_load(text)["services"] if name.startswith("films-")]
    assert (
        f"note: the service {service} lacks an item of the map films: set TOOLKIT_ITEM_genre to it "
        "(a text as it is, all else as JSON); the value genres of names, which has not been run\n"
    ) in said
    assert project.compose("run", "--rm", "-T", "names").code == 0
    missing = project.compose("run", "--rm", "-T", service)
    assert missing.code == 117 and 'the items are "Comedy", "Drama"' in missing.err
    result = project.compose("run", "--rm", "-T", "-e", "TOOLKIT_ITEM_genre=Drama", service)
    assert result.code == 0 and "fitted Drama" in result.out, result.err
    # Compose takes it from its own environment, too.
    project.environ["TOOLKIT_ITEM_genre"] = '"Comedy"'
    result = project.compose("run", "--rm", "-T", service)
    assert result.code == 0 and "fitted Comedy" in result.out, result.err
    run = project.show(text.split("toolkit show ")[1].split()[0])
    assert run["status"] == "succeeded"
    assert [step["status"] for step in run["steps"]] == ["succeeded"] * len(run["steps"])


def test_mended_code_runs_upon_what_the_others_left(example: Project) -> None:
    before = example.print_file("sdk.py")
    assert example.compose("run", "--rm", "-T", "generate").code == 0
    functions = (example.root / "functions.py").read_text()
    (example.root / "functions.py").write_text(functions.replace("the mean", "the mended mean"))
    assert example.print_file("sdk.py") != before
    result = example.compose("run", "--rm", "-T", "consume")
    assert result.code == 0 and "the mended mean of 10 values is 51.5" in result.out, result.err


def test_each_step_has_its_own_secrets_and_a_missing_one_is_named(example: Project) -> None:
    example.print_file("sdk.py")
    made = example.compose("--profile", "step", "--profile", "dev", "up", "--no-start")
    assert made.code == 0, made.err
    variables: dict[str, dict[str, str]] = {}
    for service in ("generate", "consume", "dev"):
        name = example.compose("--profile", "step", "--profile", "dev", "ps", "-q", "-a", service).out.strip()
        found = inspected(name)
        variables[service] = dict(one.split("=", 1) for one in found["Config"].pop("Env"))
        # As a variable is the only way that docker-compose has; nowhere else does it stand.
        assert SECRET not in json.dumps(found) and CONNECTION not in json.dumps(found)
    assert variables["generate"]["secret_key"] == SECRET
    assert all(one["connection_string"] == CONNECTION for one in variables.values())
    assert "secret_key" not in variables["consume"] and "secret_key" not in variables["dev"]

    example.environ["secret_key"] = None
    result = example.compose("run", "--rm", "-T", "generate")
    assert result.code != 0 and "the secret secret_key is missing" in result.err
    printed = example.toolkit("compose", "sdk.py")
    assert printed.code == 0 and "secret_key" in printed.err


def test_a_secret_is_found_under_the_configurations_spelling(project: Project) -> None:
    project.steps(one="print(os.environ['token'] == 'the-token')")
    project.write(
        {
            "toolkit.yaml": "secrets:\n  type: dotenv\n  config: {location: private.env, prefix: APP_, suffix: _1}\n",
            "pipeline.yaml": "dag:\n  start_at: one\n  steps:\n    one:\n      type: task\n      command: functions.one\n"
            "      secrets: [token]\n      next: success\n    success: {type: success}\n",
            "private.env": "APP_token_1=the-token\n",
        }
    )
    text = project.print_file("pipeline.yaml")
    assert "--env-file private.env" in text
    result = project.compose("--env-file", "private.env", "run", "--rm", "-T", "one")
    assert result.code == 0 and "True" in result.out, result.err


def test_names_and_values_survive(project: Project) -> None:
    values = {"A": "$HOME ${X} $$", "B": "y", "C": "3.10", "D": "1e3", "E": "a\"b'c\\d\ne: #f", "F": "", "G": "é😀"}
    project.write(
        {
            "toolkit.yaml": json.dumps(
                {"executor": {"type": "local", "config": {"environment": {k: v.replace("$", "$$") for k, v in values.items()}}}},
                ensure_ascii=False,
            ),
            "functions.py": f"import os\ndef one(given):\n    assert given == '$x'\n"
            f"    assert {{k: os.environ[k] for k in {list(values)}}} == {values!r}\n    print('all there')\n",
            "pipeline.py": "import functions\nfrom toolkit import Pipeline, PythonTask\n"
            "p = Pipeline(steps=[PythonTask(functions.one, name=n) for n in ('dev', 'Größe $x', 'y')])\n",
        }
    )  # fmt: skip
    text = project.print_file("pipeline.py", "--param", "given=$x")
    services = yaml.safe_load(text)["services"]
    by_step = {one["labels"].get("dev.toolkit.step"): name for name, one in services.items()}
    assert set(by_step) == {"dev", "Größe $$x", "y", None} and by_step[None] == "dev"
    for step in ("dev", "Größe $$x", "y"):
        result = project.compose("run", "--rm", "-T", by_step[step])
        assert result.code == 0 and "all there" in result.out, result.err


def test_the_dev_shell_is_a_steps_container_with_the_project_in_it(project: Project) -> None:
    project.steps(one="pass")
    project.print_file("pipeline.py")
    (project.root / "functions.py").write_text("answer = 42\n")
    command = "import functions, os, toolkit; print(functions.answer, os.getuid(), os.environ['HOME'])"
    result = project.compose("run", "--rm", "-T", "dev", typed=f'umask; python3 -c "{command}"\n')
    assert result.code == 0, result.err
    user = os.getuid() or 1000
    assert result.out.split() == ["0002", "42", str(user), "/tmp"]


def test_up_starts_nothing(example: Project) -> None:
    example.print_file("sdk.py")
    example.compose("up", "-d")
    assert example.compose("--profile", "step", "ps", "-q", "-a").out == ""


def test_the_container_is_the_one_that_a_run_has(project: Project) -> None:
    """The two renderings of one spec, created by the engine and compared there."""
    import docker

    project.steps(one="pass")
    project.write(
        {
            "toolkit.yaml": "executor:\n  type: local\n  config:\n    environment: {A: b}\n    user: 1234\n"
            "    resources: {limits: {cpu: 1001m, memory: 256Mi, gpu: 1}, requests: {cpu: 100m, memory: 64Mi}}\n"
            "    shm_size: 128Mi\n    scratch_size: 32Mi\n    read_only_root: true\n    grace_period_in_seconds: 3\n"
            "    pids_limit: 99\n    persistent_volumes:\n      - {name: toolkit, mount_path: /mnt}\n"
            "      - {name: data, mount_path: /data, host_path: data, read_only: true}\n",
            "data/in.txt": "x",
        }
    )
    text = project.print_file("pipeline.py")
    service = yaml.safe_load(text)["services"]["one"]
    run_id = text.split("toolkit show ")[1].split()[0]
    assert project.compose("--profile", "step", "up", "--no-start", "one").code == 0
    composed = inspected(project.compose("--profile", "step", "ps", "-q", "-a", "one").out.strip())

    loaded = load(None, project.root)
    made = plan(Pipeline((Task("one", "shell", command="true"),)), loaded.config, (".",))
    spec = container_spec(
        made, made.tasks()[0], run_id, 1, service["image"], 1234, service["environment"]["TOOLKIT_IMAGE"]
    )
    folders = volumes.volume_folders(loaded)
    options = docker_options(spec, f"{run_id}-sameness", folders, str(compose.plan_folder(loaded, run_id)), {})
    client = docker.from_env()
    created = client.api.create_container(**options)["Id"]
    try:
        run = inspected(created)
    finally:
        client.api.remove_container(created)
        client.close()

    def known(found: dict[str, Any]) -> dict[str, Any]:
        host, config = found["HostConfig"], found["Config"]
        kept = {name: value for name, value in host.items() if value}
        # A number of cores is the same quota of the same period, only spelt otherwise.
        if nano := kept.pop("NanoCpus", 0):
            kept["CpuPeriod"], kept["CpuQuota"] = 100_000, nano // 10_000
        kept["NetworkMode"] = kept["NetworkMode"].replace("default", "bridge")
        # Compose v2 spells a mount of a folder in the engine's older way.
        mounts = [[one["Source"], one["Target"], one.get("ReadOnly", False)] for one in kept.pop("Mounts", [])]
        mounts += [[*one.split(":")[:2], "ro" in one.split(":")[2].split(",")] for one in kept.pop("Binds", [])]
        kept["Mounts"] = sorted(mounts)
        kept["DeviceRequests"] = [{k: v for k, v in one.items() if v} for one in kept["DeviceRequests"]]
        names = ("Env", "User", "WorkingDir", "Entrypoint", "Cmd", "StopTimeout")
        kept.update((name, config[name]) for name in names)
        kept["Env"] = sorted(kept["Env"])
        return kept

    ours, theirs = known(run), known(composed)
    assert ours["Entrypoint"][:-1] == theirs["Entrypoint"][:-1]
    assert (ours.pop("Entrypoint")[-1], theirs.pop("Entrypoint")[-1]) == ("1", "next")
    for found in (ours, theirs):
        for name in ("ConsoleSize", "RestartPolicy"):
            found.pop(name, None)
    assert theirs == ours
