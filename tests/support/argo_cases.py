"""The pipelines and configurations whose manifests are kept in tests/golden/argo. They need neither an engine nor a cluster."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.examples import GETTING_STARTED
from tests.support.local_project import LocalProject
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.workflow import Image, Manifests, Submission, compile_run, compile_schedule
from toolkit.config.load import load
from toolkit.config.settings import Config
from toolkit.model.pipeline import (
    Conditional,
    Function,
    Loop,
    Map,
    Nested,
    Parallel,
    Pipeline,
    Return,
    Step,
    Stub,
    Task,
)
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan
from toolkit.run.preparation import initial_controls

IMAGE = "registry.example:5000/team/app:0123456789abcdef"
PLACEHOLDER = "Z3ppcHBlZA=="
"""Stands for compressed data, whose bytes depend on the version of zlib."""

HOSTILE_NAMES = (
    "Two Words",
    "a_b",
    "a b",
    "a-b",
    "01-load",
    "1e3",
    "y",
    "no",
    "true",
    "not",
    "{{x}}",
    "{{workflow.name}} $(HOME)",
    "$(HOME) $$ $x",
    'it\'s "quoted" \\ `back`',
    "--help",
    "训练 ☃ é",
    "🎉",
    "\U0002ebf0",
    "<&>: # | > [x] ,",
    "x" * 200,
)
HOSTILE_VALUES = {
    "BRACES": "{{x}} {{workflow.name}} {{=1+1}}",
    "HALF_BRACES": "{{ }}",
    "DOLLARS": "$(HOME) $$ $$$ $x ${x} $(HALF_BRACES)",
    "QUOTES": "'single' \"double\" \\ `back`",
    "LINES": "one\ntwo\r\n\tthree\n",
    "YES": "y",
    "NUMBER": "3.10",
    "EXPONENT": "1e3",
    "NULL": "null",
    "DATE": "2024-01-01",
    "EMPTY": "",
    "SPACES": "  both  ",
    "UNICODE": "训练 ☃ é \u00a0\u2028\u0085 🎉 \U0002ebf0",
    "CONTROL": "\u0001\u001b[31m\u007f",
    "COLON": "a: b # c",
    "LARGE": "0123456789abcdef" * 100,
}

EVERYTHING: dict[str, Any] = {
    "image": "registry.example:5000/team/app",
    "environment": {"MODE": "fast", "y": "y"},
    "pods_per_map": 300,
    "strict": True,
    "persistent_volumes": [
        {"name": "records", "mount_path": "/mnt"},
        {"name": "data.of.another.team", "mount_path": "/data", "host_path": "/elsewhere", "read_only": True},
    ],
    "secrets_from_k8s": [{"environment_variable": "DSN", "secret_name": "postgres", "secret_key": "connection_string"}],
    "resources": {
        "limits": {"cpu": "1500m", "memory": "2Gi", "gpu": 1},
        "requests": {"cpu": "0.25", "memory": "512Mi"},
    },
    "user": 4242,
    "shm_size": "256Mi",
    "scratch_size": "1Gi",
    "read_only_root": True,
    "grace_period_in_seconds": 7,
    "image_pull_secrets": ["registry-login", "another"],
    "image_pull_policy": "Always",
    "overrides": {},
    "max_workflow_duration_in_seconds": 86400,
    "max_step_duration_in_seconds": 3600,
    "max_on_exit_step_duration_in_seconds": 300,
    "retry_strategy": {
        "limit": 2,
        "retry_policy": "OnError",
        "back_off": {"duration_in_seconds": 10, "factor": 2, "max_duration": 600},
    },
    "parallelism": 3,
    "pids_limit": 100,
    "auto_remove_container": False,
    "name": "everything",
    "namespace": "team",
    "context": "prod",
    "annotations": {"example.org/note": 'it\'s\n"noted": y'},
    "labels": {"example.org/team": "y", "cost": "1e3"},
    "node_selector": {"kubernetes.io/arch": "amd64", "pool": "on"},
    "tolerations": [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "spot", "value": "true", "effect": "NoExecute", "toleration_seconds": 60},
    ],
    "service_account_name": "team-runner",
    "output_file": "argo.yaml",
    "start_timeout_in_seconds": 120,
    "step_secret_name": "team-secrets",
}
"""All settings of the executor with other values than their defaults, except for those in ``NEVER_TOGETHER``."""
NEVER_TOGETHER: dict[str, Any] = {"expose_parameters_as_inputs": True, "schedules": ["0 6 * * *"]}
"""A setting that is refused, and one that makes a CronWorkflow."""

OVERRIDES: dict[str, Any] = {
    "large": {
        "environment": {"MODE": "slow"},
        "resources": {"limits": {"memory": "64Gi", "gpu": 2}},
        "user": 3000,
        "shm_size": "1Gi",
        "scratch_size": "2Gi",
        "max_step_duration_in_seconds": 60,
        "retry_strategy": {"limit": 5, "retry_policy": "OnFailure"},
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"operator": "Exists"}],
        "service_account_name": "gpu-runner",
        "image_pull_policy": "Always",
    },
    "other": {"image": "registry.example/other:1"},
    "anywhere": {"node_selector": {}, "tolerations": [], "retry_strategy": {"limit": 0}},
}
"""Overrides that use every key of an override."""


def task(
    name: str, secrets: tuple[str, ...] = (), override: str | None = None, returns: str = "", **options: Any
) -> Task:
    """A step that runs in a container."""
    overrides = {"argo": override} if override is not None else {}
    declared = tuple(Return(name) for name in returns.split())
    return Task(
        name, "python", Function("steps", "step"), secrets=secrets, overrides=overrides, returns=declared, **options
    )


def sequence(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def configured(executor: dict[str, Any]) -> Config:
    """A configuration with these settings of the executor. A ``$`` in them is taken as it is."""
    text = json.dumps({"executor": {"type": "argo", "config": executor}}, ensure_ascii=False)
    # Escaped, because these characters of JSON end a line of YAML.
    for character in ("\u0085", "\u2028", "\u007f"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "toolkit.yaml").write_text(text.replace("$", "$$"), encoding="utf-8")
        return load(None, Path(folder)).config


def submission(name: str = "run-1", **changed: Any) -> Submission:
    """What a run has besides its plan and configuration, with fixed values."""
    images = {
        None: Image(IMAGE, False),
        "registry.example/other:1": Image(
            "registry.example/other:1@sha256:" + "1" * 64, False, expectation='{"code":"c0de","reference":"other:1"}'
        ),
    }
    fields: dict[str, Any] = {
        "name": name,
        "pipeline": "pipe: {{line}} of 'y'",
        "tag": "3.10",
        "images": images,
        "parameters": {"y": "n", "x": 1},
        "record": {"run_id": name, "pipeline": "pipe"},
        "user": 1000,
        "request": "abc",
    }
    return Submission(**{**fields, **changed})


def planned(steps: Sequence[Step], config: Config) -> Plan:
    return plan(Pipeline(tuple(steps), name="pipe"), config, (".",))


def run(steps: Sequence[Step], executor: dict[str, Any] | None = None, **changed: Any) -> Manifests:
    """The objects of a run of these steps."""
    config = configured(executor or {})
    planned_run = planned(steps, config)
    submitted = submission(**changed)
    controls = initial_controls(planned_run, submitted.parameters)[1]
    return compile_run(planned_run, config, replace(submitted, controls=controls))


def schedule(steps: Sequence[Step], executor: dict[str, Any], **changed: Any) -> Manifests:
    """The objects of a CronWorkflow of these steps."""
    config = configured(executor)
    return compile_schedule(planned(steps, config), config, submission(**{"name": "nightly", **changed}))


def getting_started() -> Manifests:
    """The example as it is."""
    with tempfile.TemporaryDirectory() as folder:
        for file in GETTING_STARTED.iterdir():
            if file.is_file() and not file.name.startswith("."):
                shutil.copy(file, folder)
        planned_run = LocalProject(Path(folder)).plan("pipeline.yaml")
        return compile_run(planned_run, load(None, Path(folder)).config, submission())


def everything() -> Manifests:
    return run([task("a"), task("b", ("token",))], EVERYTHING)


def overrides() -> Manifests:
    steps = [task("plain"), task("large", override="large"), task("other", override="other")]
    base = {"retry_strategy": {"limit": 1}, "node_selector": {"pool": "cpu"}, "overrides": OVERRIDES}
    return run([*steps, task("anywhere", override="anywhere"), task("plain again")], base)


def scheduled() -> Manifests:
    schedules = ["CRON_TZ=Europe/Berlin 0 6 * * mon-fri", "TZ=Europe/Berlin @monthly"]
    settings = {"schedules": schedules, "labels": {"team": "y"}, "annotations": {"note": "n"}}
    return schedule([task("a"), task("b")], settings, record={"pipeline": "pipe"})


def hostile() -> Manifests:
    return run([task(name) for name in HOSTILE_NAMES], {"environment": HOSTILE_VALUES})


def secrets() -> Manifests:
    references = [{"environment_variable": "DSN", "secret_name": "postgres", "secret_key": "dsn"}]
    steps = [task("none"), task("one", ("token",)), task("two", ("token", "DSN", "other")), task("again", ("token",))]
    return run(steps, {"secrets_from_k8s": references})


def chain(length: int = 50) -> Manifests:
    return run([task(f"step {number:04}") for number in range(length)])


def stubs_alone() -> Manifests:
    return run([Stub("one"), Stub("two")])


def stubs_between() -> Manifests:
    return run([Stub("before"), task("a"), Stub("between"), Stub("too"), task("b"), Stub("after")])


def mapped() -> Manifests:
    """A map over what the step before returns, at most three items at once. Its branch has a composite, so items share no pod."""
    branch = sequence(task("a"), Nested("inner", sequence(task("b", returns="square"))))
    return run([task("give", returns="xs"), Map("m", branch, "xs", "x", concurrency=3), task("after")])


def maps_in_maps() -> Manifests:
    """The run's parameters alone decide how many items each map has."""
    inner = Map("o", sequence(task("a")), "y", "z")
    middle = Map("n", sequence(inner), "x", "y")
    return run([Map("m", sequence(middle), "xs", "x")], parameters={"xs": [[[1, 2], [3]], []]})


def grouped() -> Manifests:
    branch = sequence(task("a", returns="y"), task("b"))
    return run([Map("m", branch, "xs", "x"), task("after")], {"pods_per_map": 3}, parameters={"xs": list(range(10))})


def conditional() -> Manifests:
    """The value that decides the second comes from a branch of the first, or from the step before both."""
    branches = (("it's {{a}}", sequence(task("a", returns="z"))), ("b", sequence(Stub("nothing"))))
    first = Conditional("c", "x", branches, default=sequence(task("d", returns="z"), task("e")))
    second = Conditional("d", "z", (("1", sequence(task("f"))),))
    return run([task("give", returns="x z"), first, second])


def loop() -> Manifests:
    """With a value that later iterations need before they start, and more iterations than one template holds."""
    again = Conditional("c", "w", (("a", sequence(task("a", returns="w done"))),), sequence(Stub("none")))
    body = sequence(again, task("b", returns="done"))
    return run([Loop("l", body, 20, "done", "i"), task("after")], parameters={"w": "a"})


def parallel() -> Manifests:
    branches = (("one", sequence(task("a"), task("b"))), ("two", sequence(task("a", returns="xs"))))
    return run([Parallel("p", branches), Map("m", sequence(task("c")), "xs", "x")])


def handlers() -> Manifests:
    inner = sequence(task("a", on_failure=sequence(task("mend"))), task("b"))
    whole = Nested("inner", inner, on_failure=sequence(Stub("ignore")))
    return run(
        [task("first", on_failure=sequence(task("tell"), Stub("s", terminate_with_failure=True))), whole, task("c")]
    )


def ends() -> Manifests:
    early = Nested("early", sequence(task("a", terminate_with_success=True), task("never")))
    return run([early, task("b", terminate_with_failure=True, on_failure=sequence(task("mend"))), task("never")])


def hostile_inside() -> Manifests:
    """A path with text that Argo would replace, around a position."""
    name = "{{x}} $(HOME) \N{PARTY POPPER}"
    branch = sequence(task(name, returns="y"), Loop("$(HOME)", sequence(task("a", returns="y")), 2, "y", "i"))
    return run([Map(name, branch, "xs", "x"), task("after")], parameters={"xs": [1]})


CASES: dict[str, Callable[[], Manifests]] = {
    "getting-started": getting_started,
    "everything": everything,
    "overrides": overrides,
    "schedule": scheduled,
    "hostile": hostile,
    "secrets": secrets,
    "chain": chain,
    "stubs-alone": stubs_alone,
    "stubs-between": stubs_between,
    "map": mapped,
    "maps-in-maps": maps_in_maps,
    "grouped": grouped,
    "conditional": conditional,
    "loop": loop,
    "parallel": parallel,
    "handlers": handlers,
    "ends": ends,
    "hostile-inside": hostile_inside,
}
FLAT = tuple(CASES)[: tuple(CASES).index("map")]
"""The cases without composites, handlers and steps that end a pipeline."""


def kept_text(objects: Manifests) -> str:
    """The manifest as the golden file has it: without compressed data."""
    config_map = copy.deepcopy(objects.config_map)
    config_map["binaryData"] = dict.fromkeys(config_map["binaryData"], PLACEHOLDER)
    return to_text(Manifests(config_map, objects.workflow))
