"""ContainerSpec: all that a step's container is, and nothing that would differ between two looks at it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from toolkit.config.load import load
from toolkit.model.pipeline import Function, Pipeline, Task
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan
from toolkit.runtime.shared.protocol import IMAGE_VARIABLE, PROTOCOL
from toolkit.spec.container import GROUP, ContainerSpec, Mount, container_spec

EVERYTHING = """\
executor:
  type: argo
  config:
    image: registry.example/app:1
    user: 4242
    environment: {ZULU: "1", ALPHA: "2"}
    persistent_volumes:
      - {name: data, mount_path: /mnt}
      - {name: more, mount_path: /more}
    secrets_from_k8s:
      - {environment_variable: every, secret_name: s, secret_key: k}
    resources:
      limits: {memory: 1Gi, cpu: "1500m"}
      requests: {memory: 64Mi, cpu: "0.25"}
    shm_size: 128Mi
    read_only_root: true
    grace_period_in_seconds: 7
    pids_limit: 99
    overrides:
      small:
        environment: {ALPHA: "3"}
        resources:
          limits: {memory: 32Mi}
"""


def planned(tmp_path: Path, config: str) -> Plan:
    (tmp_path / "toolkit.yaml").write_text(config)
    task = Task("a b", "python", Function("m", "f"), secrets=("own",))
    small = Task("small", "python", Function("m", "f"), overrides={"argo": "small"})
    return plan(Pipeline((task, small)), load(None, tmp_path).config, (".",))


def spec(made: Plan, position: int = 0) -> ContainerSpec:
    return container_spec(made, made.steps[position], "run-1", 2, "image@sha256:1", 1000)


def test_without_settings_a_container_is_an_ordinary_users_with_nothing_it_does_not_need(tmp_path: Path) -> None:
    made = spec(planned(tmp_path, ""))
    assert (made.user, made.group) == (1000, GROUP)
    assert made.argv[0] == "python3" and made.argv[2:] == (str(PROTOCOL), "run-1", "a b", "2")
    assert made.environment == (("PYTHONHASHSEED", "0"),)
    assert made.dropped_capabilities == ("ALL",) and made.no_new_privileges
    assert (made.memory, made.cpu, made.gpu) == (None, None, None)
    assert made.own_secrets == ("own",) and made.secrets == ()
    assert len(made.mounts) == 1


def test_all_that_is_configured_is_in_it(tmp_path: Path) -> None:
    made = spec(planned(tmp_path, EVERYTHING))
    assert made.image == "image@sha256:1"
    assert made.user == 4242
    assert made.environment == (("ALPHA", "2"), ("PYTHONHASHSEED", "0"), ("ZULU", "1"))
    assert made.mounts == (Mount("data", "/mnt"), Mount("more", "/more"))
    assert (made.memory, made.memory_request) == (1 << 30, 64 << 20)
    assert (made.cpu, made.cpu_request) == (1500, 250)
    assert (made.shm_size, made.read_only_root, made.pids_limit) == (128 << 20, True, 99)
    assert made.stop_timeout > 7
    assert [one.environment_variable for one in made.secrets] == ["every"]


def test_what_the_runtime_compares_with_its_image_comes_with_the_image(tmp_path: Path) -> None:
    made = planned(tmp_path, "")
    found = container_spec(made, made.steps[0], "run-1", 2, "image@sha256:1", 1000, '{"code":"1"}')
    assert found.image == "image@sha256:1"
    assert found.environment == (("PYTHONHASHSEED", "0"), (IMAGE_VARIABLE, '{"code":"1"}'))


def test_an_override_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    made = planned(tmp_path, EVERYTHING)
    base, small = spec(made), spec(made, 1)
    assert small.memory == 32 << 20
    assert dict(small.environment) == {**dict(base.environment), "ALPHA": "3"}
    same = {one.name for one in fields(ContainerSpec)} - {
        "argv", "environment", "memory", "memory_request", "cpu", "cpu_request", "own_secrets",
    }  # fmt: skip
    assert {name: getattr(small, name) for name in same} == {name: getattr(base, name) for name in same}


@pytest.mark.parametrize("config", ["", EVERYTHING])
def test_it_is_a_pure_function_of_the_plan(tmp_path: Path, config: str) -> None:
    made = planned(tmp_path, config)
    assert spec(made) == spec(made) == spec(planned(tmp_path, config))
    # No value of a secret is anywhere in it: only names.
    assert "secret" not in repr(dict(spec(made).environment)).lower()
