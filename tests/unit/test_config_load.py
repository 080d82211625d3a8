"""Loading a configuration: what it accepts, what it refuses and in which words, and where the project is."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.config import settings as s
from toolkit.config.environment import choose_environment
from toolkit.config.load import load, place_of
from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.project import Project

# Byte for byte the configuration of the concept.
SEED = """\
executor:
  type: argo
  config:
    image: image_to_use
    persistent_volumes: # mount a pvc to every container as /mnt
      - name: runnable-volume
        mount_path: /mnt
    secrets_from_k8s: # expose postgres/connection string to container.
      - environment_variable: connection_string
        secret_name: postgres
        secret_key: connection_string

run_log_store:
  type: file-system
  config:
    log_folder: /mnt/run_log_store # /mnt is a pvc

catalog:
  type: file-system
  config:
   catalog_location: /mnt/catalog # /mnt is a pvc

secrets: # Kubernetes exposes secrets as environment variables
  type: env-secrets-manager
"""

SEED_TOML = """\
[project]
name = "x"

[tool.toolkit.executor]
type = "argo"
[tool.toolkit.executor.config]
image = "image_to_use"
persistent_volumes = [{ name = "runnable-volume", mount_path = "/mnt" }]
[[tool.toolkit.executor.config.secrets_from_k8s]]
environment_variable = "connection_string"
secret_name = "postgres"
secret_key = "connection_string"
[tool.toolkit]
run-log-store = { type = "file-system", config.log_folder = "/mnt/run_log_store" }
catalog.type = "file-system"
catalog.config.catalog_location = "/mnt/catalog"
secrets.type = "env-secrets-manager"
"""


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str, name: str = "toolkit.yaml", **environ: str) -> Project:
    Path(name).write_text(text, encoding="utf-8")
    return load(Path(name), Path.cwd(), environ)


def executor(text: str) -> s.ExecutorConfig:
    body = "".join(f"    {line}\n" for line in text.splitlines())
    return loaded(f"executor:\n  config:\n{body}").config.executor.config


def test_the_concepts_configuration(tmp_path: Path) -> None:
    project = loaded(SEED)

    assert project.config == s.Config(
        executor=s.Executor(
            "argo",
            s.ExecutorConfig(
                image="image_to_use",
                persistent_volumes=(s.PersistentVolume("runnable-volume", "/mnt"),),
                secrets_from_k8s=(s.SecretReference("connection_string", "postgres", "connection_string"),),
            ),
            type_given=True,
        ),
        run_log_store=s.RunLogStore("file-system", "/mnt/run_log_store"),
        catalog=s.CatalogStore("file-system", "/mnt/catalog"),
        secrets=s.Secrets("env-secrets"),
        build=s.Build(),
        source=tmp_path.resolve() / "toolkit.yaml",
    )
    assert (project.home, project.root) == (tmp_path.resolve(), tmp_path.resolve())


def test_pyproject_says_the_same() -> None:
    from_yaml = loaded(SEED).config
    from_toml = loaded(SEED_TOML, "pyproject.toml").config

    assert from_toml._replace(source=None) == from_yaml._replace(source=None)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "executor:\nsecrets:\n", "executor:\n  config:\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    empty = loaded(text).config
    Path("toolkit.yaml").unlink()
    absent = load(None, tmp_path, {}).config

    assert empty._replace(source=None) == absent and absent.source is None
    assert absent.executor.type == "local-container"
    assert absent.executor.config.persistent_volumes == (s.PersistentVolume("toolkit", "/mnt"),)
    assert choose_environment(None, empty, {}) == ("local", "the default")


def test_every_key_of_the_executor() -> None:
    config = executor(
        """\
environment: {A_1: "1", b: "$$HOME $(id) ${", c: ""}
resources: {limits: {cpu: 0.5, memory: 1Gi, gpu: 1}, requests: {cpu: 500m, memory: 1073741824}}
user: 0
shm_size: 64Mi
scratch_size: 1e9
read_only_root: true
grace_period_in_seconds: 30
image_pull_secrets: [a]
image_pull_policy: Never
overrides:
  big: {docker_image: "x:1", resources: {limits: {memory: 2Gi}}, environment: {A_1: "2"}, tolerations: []}
  none:
max_workflow_duration_in_seconds: 1
max_step_duration_in_seconds: 1
retry_strategy: {limit: 2, retry_policy: OnError, back_off: {duration_in_seconds: 1, factor: 2, max_duration: 60}}
parallelism: 3
auto_remove_container: false
namespace: ns
annotations: {example.org/x: "any thing"}
labels: {x: ""}
node_selector: {disk: ssd}
tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}, {operator: Exists}]
schedules: ["0 0 * * *"]"""
    )

    assert config.environment == {"A_1": "1", "b": "$HOME $(id) ${", "c": ""}
    assert config.resources.limits == s.ResourceList("0.5", "1Gi", 1)
    assert config.resources.requests.memory == "1073741824" and config.scratch_size == "1e9"
    assert config.overrides["big"].image == "x:1" and config.overrides["none"] == s.Override()
    assert config.overrides["big"].tolerations == () and config.overrides["none"].tolerations is None
    assert config.retry_strategy.back_off == s.BackOff(1, 2.0, 60)
    assert isinstance(config.retry_strategy.back_off.factor, float)
    assert config.tolerations[1] == s.Toleration(operator="Exists")


@pytest.mark.parametrize("spelling", ["executor", "pipeline-executor", "pipeline_executor"])
@pytest.mark.parametrize(
    ("kind", "environment"), [("argo", "argo"), ("local-container", "local"), ("local", "process")]
)
def test_the_type_chooses_the_environment_last(spelling: str, kind: str, environment: str) -> None:
    config = loaded(f"{spelling}:\n  type: {kind}\n").config

    assert choose_environment(None, config, {}) == (environment, f"because executor.type in toolkit.yaml is {kind}")
    assert choose_environment(None, config, {"TOOLKIT_ENV": "process"}) == ("process", "because TOOLKIT_ENV says so")
    assert choose_environment("local", config, {"TOOLKIT_ENV": "x"}) == ("local", "because --env says so")


@pytest.mark.parametrize(("name", "meant"), [("Argo", "argo"), ("local-container", "local"), ("", ""), ("k8s", "")])
def test_an_unknown_environment(name: str, meant: str) -> None:
    config = load(None, Path.cwd(), {}).config
    with pytest.raises(BadInput, match=f"--env .*{meant}"):
        choose_environment(name, config, {})
    if name:
        with pytest.raises(BadInput, match="TOOLKIT_ENV"):
            choose_environment(None, config, {"TOOLKIT_ENV": name})


@pytest.mark.parametrize(
    ("kind", "means"),
    [
        ("env-secrets", "env-secrets"),
        ("env-secrets-manager", "env-secrets"),
        ("env", "env-secrets"),
        ("dotenv", "dotenv"),
    ],
)
def test_spellings_of_secrets(kind: str, means: str) -> None:
    secrets = loaded(f"secrets: {{type: {kind}, config: {{prefix: P_, location: my.env}}}}").config.secrets
    assert secrets == s.Secrets(means, "my.env", "P_", "")  # type: ignore[arg-type]


VOLUMES = "persistent_volumes:\n- {name: a, mount_path: /mnt}\n"

REFUSED = [
    # text, line, what the message must hold
    ("executer: {}", 1, ["unknown key 'executer'", "'executor'"]),
    ("executor:\n  tpye: argo", 2, ["'tpye' in executor", "'type'"]),
    ("executor:\n  image: x", 2, ["it belongs under executor.config"]),
    ("image: x", 1, ["executor.config"]),
    ("executor:\n  config:\n    Persistent-Volumes: []", 3, ["'persistent_volumes'"]),
    ("executor:\n  config:\n    nodeSelector: {}", 3, ["'node_selector'"]),
    ("executor:\n  config:\n    resources:\n      limits:\n        mem: 1Gi", 5, ["executor.config.resources.limits"]),
    ("executor:\n  config:\n    zzzzzzzzz: 1", 3, ["the known keys are", "image"]),
    ("executor: {config: {image: a, docker_image: b}}", 1, ["same setting"]),
    ("build:\n  base: a\n  base_image: b", 3, ["'base_image' and 'base' in build are the same setting"]),
    ("build:\n  base: a@sha256:12", 2, ["build.base must have a whole digest after '@'"]),
    ("executor:\n  config:\n    overrides:\n      a: {image: 'a:1@'}", 4, ["must have a whole digest after '@'"]),
    ("executor: {}\npipeline-executor: {}", 2, ["same service"]),
    ("run-log-store: {}\nrun_log_store: {}", 2, ["same service"]),
    ("executor: {config: {type_given: true}}", 1, ["unknown key"]),
    ("executor: {type_given: true}", 1, ["unknown key"]),
    ("executor: argo", 1, ["must be a mapping", "'argo'"]),
    ("- a", 1, ["must be a mapping", "a list"]),
    ("executor:\n  config:\n    patches: {a: {command: b}}", 3, ["needs executor.type mocked"]),
    ("executor:\n  type: mocked\n  config:\n    patches: {a: {comand: b}}", 4, ["did you mean 'command'?"]),
    ("executor:\n  type: mocked\n  config:\n    patches: {a: b}", 4, ["must be a mapping"]),
    ("executor: {type: mocked, config: {patches: {a: {command: ' '}}}}", 1, ["must not be empty"]),
    ("executor:\n  type: retry", 2, ["toolkit retry"]),
    ("executor:\n  type: argoo", 2, ["did you mean argo?"]),
    ("executor:\n  type: 1", 2, ["the number 1"]),
    ("executor:\n  type:", 2, ["must be one of"]),
    ("run_log_store:\n  type: buffered", 2, ["must lie on a volume"]),
    ("catalog: {type: s3}", 1, ["object stores are not supported"]),
    ("catalog: {type: do-nothing, config: {catalog_location: /mnt/x}}", 1, ["takes no config"]),
    ("secrets: {type: vault}", 1, ["env-secrets", "dotenv", "do-nothing"]),
    ("executor:\n  config:\n    image: 3.10", 3, ["must be a text", "the number 3.10", 'quotes: "3.10"']),
    ("executor: {config: {environment: {A: true}}}", 1, ["truth value true", '"true"']),
    ("executor: {config: {environment: {A: 007}}}", 1, ['"007"']),
    ("executor: {config: {environment: {A: null}}}", 1, ["null (no value)", '"null"']),
    ("executor: {config: {environment: {A: }}}", 1, ["has no value"]),
    ("executor: {config: {environment: [A=1]}}", 1, ["must be a mapping"]),
    ('executor: {config: {environment: {A: "a\\0b"}}}', 1, ["NUL"]),
    ("executor: {config: {image: ''}}", 1, ["must not be empty"]),
    ("executor: {config: {image: [a]}}", 1, ["a list"]),
    ("executor: {config: {user: '1000'}}", 1, ["whole number", "without quotes"]),
    ("executor: {config: {user: true}}", 1, ["whole number", "truth value"]),
    ("executor: {config: {user: 1.0}}", 1, ["whole number", "1.0"]),
    ("executor: {config: {user: -1}}", 1, ["at least 0"]),
    ("executor: {config: {user: 4294967296}}", 1, ["at most 2147483647"]),
    ("executor: {config: {read_only_root: 1}}", 1, ["true or false"]),
    ("executor: {config: {read_only_root: yes}}", 1, ["write true"]),
    ("executor: {config: {parallelism: 0}}", 1, ["at least 1"]),
    ("executor: {config: {max_step_duration_in_seconds: 0}}", 1, ["at least 1"]),
    ("executor: {config: {retry_strategy: {back_off: {factor: .nan}}}}", 1, ["finite number"]),
    ("executor: {config: {retry_strategy: {retry_policy: always}}}", 1, ["did you mean Always?"]),
    ("executor: {config: {image_pull_secrets: a}}", 1, ["must be a list"]),
    ("executor: {config: {image_pull_secrets: [~]}}", 1, ["image_pull_secrets[0] has no value"]),
    ("executor: {config: {resources: {limits: {memory: 1gb}}}}", 1, ["unknown unit gb"]),
    ("executor: {config: {resources: {limits: {memory: 500m}}}}", 1, ["parts of a byte"]),
    ("executor: {config: {resources: {limits: {memory: 1000}}}}", 1, ["at least 6Mi"]),
    ("executor: {config: {resources: {limits: {cpu: 0}}}}", 1, ["at least 10m"]),
    ("executor: {config: {shm_size: '0'}}", 1, ["more than 0"]),
    ("executor:\n  config:\n    resources:\n      limits: {cpu: 1}\n      requests: {cpu: 2}", 5, ["more than"]),
    ("executor: {config: {resources: {requests: {gpu: 1}}}}", 1, ["must equal"]),
    ("executor: {config: {environment: {1A: x}}}", 1, ["'1A'", "not the name of an environment variable"]),
    ("executor: {config: {environment: {TOOLKIT_X: x}}}", 1, ["belong to toolkit"]),
    ("executor: {config: {environment: {PYTHONHASHSEED: '0'}}}", 1, ["fixed"]),
    ("executor: {config: {overrides: {a: {environment: {ARGO_X: x}}}}}", 1, ["belong to Argo"]),
    ("executor: {config: {namespace: A_b}}", 1, ["lower-case"]),
    ("executor: {config: {labels: {a b: x}}}", 1, ["'a b'"]),
    ("executor: {config: {tolerations: [{value: x}]}}", 1, ["Exists"]),
    ("executor: {config: {secrets_from_k8s: [{secret_name: a, secret_key: b}]}}", 1, ["needs the key"]),
    ("build: {network: {netrc: 1}}", 1, ["build.network.netrc", "quotes"]),
    ("build: {system_packages: ['a b']}", 1, ["white space"]),
    ("build: {context: nowhere}", 1, ["no folder beside"]),
    ("pipeline: [a]", 1, ["must be a text"]),
    ("pipeline: ''", 1, ["must not be empty"]),
    ("executor: {config: {image: $IMAGE}}", 1, ["TOOLKIT_VAR_IMAGE", "$$"]),
    ("run_log_store: {config: {log_folder: logs}}", 1, ["absolute"]),
    ("run_log_store: {config: {log_folder: /mnt/../x}}", 1, [".."]),
    ("run_log_store: {config: {log_folder: /mnt/x/}}", 1, ["written as /mnt/x"]),
    ("run_log_store:\n  config:\n    log_folder: /data/x", 3, ["lies on no volume", "has none"]),
    ("executor: {config: {persistent_volumes: [{name: a, mount_path: /d}]}}", 1, ["lies on no volume", "a at /d"]),
    ("executor: {config: {persistent_volumes: []}}", 1, ["has none"]),
    ("run_log_store: {config: {log_folder: /mnt/catalog/x}}\n"
     "executor: {config: {persistent_volumes: [{name: a, mount_path: /mnt}]}}",
     1, ["separate folders"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), REFUSED, ids=[row[0][:50] for row in REFUSED])
def test_refused_with_file_and_line(text: str, line: int, said: list[str]) -> None:
    began = time.process_time()
    with pytest.raises(BadInput) as caught:
        loaded(text)

    assert caught.value.where == f"toolkit.yaml:{line}"
    assert all(part in caught.value.message for part in said), caught.value.message
    assert "\n" not in caught.value.message and time.process_time() - began < 1


@pytest.mark.parametrize(
    ("path", "said"),
    [("mnt", "absolute"), ("/", "below /"), ("/a:b", "':'"), ("/a/../b", "'..'"), ("/a//b", "/a/b"), ("//a", "/a"),
     ("/workspace", "/workspace"), ("/workspace/x", "/workspace"), ("/opt", "hide /opt/toolkit"),
     ("/run", "/run/toolkit"),
     ("/dev/shm", "/dev"), ("/proc", "/proc"), ("/sys/x", "/sys"), ('/a\\nb', "control")],
)  # fmt: skip
def test_mount_paths(path: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        executor(f'persistent_volumes:\n- name: a\n  mount_path: "{path}"')
    assert said in caught.value.message and caught.value.where == "toolkit.yaml:5"


@pytest.mark.parametrize(
    ("volumes", "line", "said"),
    [("{name: a, mount_path: /mnt}\n- {name: a, mount_path: /b}", 5, "twice"),
     ("{name: a-b, mount_path: /mnt}\n- {name: a.b, mount_path: /x}", 5, "both be named by the variable TOOLKIT_VOLUME_A_B"),
     ("{name: a, mount_path: /mnt}\n- {name: b, mount_path: /mnt}", 5, "both mounted"),
     ("{name: a, mount_path: /mnt}\n- {name: b, mount_path: /mnt/b}", 5, "lies inside another, /mnt"),
     ("{name: a, mount_path: /mnt/a}\n- {name: b, mount_path: /mnt}", 4, "lies inside another, /mnt"),
     ("{name: a, mount_path: /tmp/x}\nscratch_size: 1Mi", 4, "scratch_size"),
     ("{name: A, mount_path: /mnt}", 4, "lower-case"),
     ("{name: a., mount_path: /mnt}", 4, "lower-case"),
     ('{name: a, mount_path: /mnt, host_path: ""}', 4, "host_path must not be empty"),
     ("name: a\n  mount_path: /mnt\n  read_only: true", 6, "run_log_store.config.log_folder is /mnt/run_log_store"),
     ("{name: a, mount_path: /mnt/run_log_store}\n- {name: b, mount_path: /mnt/catalog, read_only: true}", 5,
      "catalog.config.catalog_location"),
     ("{name: a}", 4, "mount_path")],
)  # fmt: skip
def test_volumes(volumes: str, line: int, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        executor(f"persistent_volumes:\n- {volumes}")
    assert caught.value.where == f"toolkit.yaml:{line}"


def test_a_path_that_only_begins_like_a_mount_path_is_not_on_it() -> None:
    with pytest.raises(BadInput, match="/mnt2/x, which lies on no volume"):
        loaded(
            "executor: {config: {persistent_volumes: [{name: a, mount_path: /mnt}]}}\n"
            "catalog: {config: {catalog_location: /mnt2/x}}"
        )


@pytest.mark.parametrize(
    "second", ["environment: {TOKEN: x}", "overrides: {o: {environment: {TOKEN: x}}}", "", "secret"]
)
def test_a_secrets_variable_is_given_once(second: str) -> None:
    entry = "- {environment_variable: TOKEN, secret_name: a, secret_key: b}\n"
    text = f"secrets_from_k8s:\n{entry}" + (entry if second == "secret" else second)
    if not second:
        assert executor(text).secrets_from_k8s[0].secret_name == "a"
        return
    with pytest.raises(BadInput, match="TOKEN"):
        executor(text)


def test_variables_come_from_the_environment_and_take_the_fields_type() -> None:
    text = (
        "executor: {config: {image: 'reg/$A:${B}', user: $N, read_only_root: $T, environment: {X: $N, Y: $$N},"
        " retry_strategy: {back_off: {factor: $F}}}}"
    )
    environ = {"RUNNABLE_VAR_A": "no", "TOOLKIT_VAR_A": "img", "RUNNABLE_VAR_B": "1.0", "TOOLKIT_VAR_N": "7"}
    config = loaded(text, TOOLKIT_VAR_T="true", TOOLKIT_VAR_F="1.5", **environ).config.executor.config

    assert (config.image, config.user, config.read_only_root) == ("reg/img:1.0", 7, True)
    assert config.environment == {"X": "7", "Y": "$N"} and config.retry_strategy.back_off.factor == 1.5


@pytest.mark.parametrize(("field", "value"), [("user", "x"), ("user", "1.0"), ("read_only_root", "yes"), ("image", "")])
def test_a_variable_of_the_wrong_type(field: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"executor.config.{field}"):
        loaded(f"executor: {{config: {{{field}: $V}}}}", TOOLKIT_VAR_V=value)


def test_the_toml_file_tells_its_lines() -> None:
    with pytest.raises(BadInput) as caught:
        loaded(SEED_TOML.replace('image = "image_to_use"', "imge = 3"), "pyproject.toml")
    assert str(caught.value).startswith(
        "pyproject.toml:7: unknown key 'imge' in executor.config; did you mean 'image'?"
    )


# Where the files are -------------------------------------------------------------------------------------------------


def tree(*files: str) -> None:
    for file in files:
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text('[tool.toolkit]\npipeline = "p.py"\n' if "pyproject" in file else "", encoding="utf-8")


@pytest.mark.parametrize("name", ["toolkit.yaml", "toolkit.yml", "pyproject.toml"])
def test_found_upward_from_the_pipelines_folder(tmp_path: Path, name: str) -> None:
    tree(name, "a/b/p.py")
    Path("a/pyproject.toml").write_text("[tool.other]\ntoolkit = 1\n")

    project = load(None, tmp_path / "a/b", {})

    assert project.config.source == tmp_path.resolve() / name and project.home == tmp_path.resolve()


def test_two_configurations_in_one_folder(tmp_path: Path) -> None:
    tree("toolkit.yaml", "pyproject.toml")
    with pytest.raises(BadInput, match=r"both toolkit\.yaml and pyproject\.toml"):
        load(None, tmp_path, {})
    assert load(Path("pyproject.toml"), tmp_path, {}).config.pipeline == "p.py"


def test_option_before_variable_before_search(tmp_path: Path) -> None:
    tree("toolkit.yaml", "one.yaml", "two.yaml")
    assert load(Path("one.yaml"), tmp_path, {"TOOLKIT_CONFIG": "two.yaml"}).config.source == tmp_path / "one.yaml"
    assert load(None, tmp_path, {"TOOLKIT_CONFIG": "two.yaml"}).config.source == tmp_path / "two.yaml"
    assert load(None, tmp_path, {"TOOLKIT_CONFIG": ""}).config.source == tmp_path / "toolkit.yaml"
    for missing in ("none.yaml", "none.toml", "."):
        with pytest.raises(BadInput):
            load(Path(missing), tmp_path, {})
    Path("x.toml").write_text("")
    with pytest.raises(BadInput, match=r"no table \[tool.toolkit\]"):
        load(Path("x.toml"), tmp_path, {})


@pytest.mark.parametrize(
    ("files", "config", "current", "root"),
    [
        (["toolkit.yaml", "uv.lock"], "toolkit.yaml", ".", "."),
        (["uv.lock", "conf/dev.yaml"], "conf/dev.yaml", ".", "."),
        (["conf/dev.yaml"], "conf/dev.yaml", ".", "."),
        (["uv.lock", "app/conf/dev.yaml"], "app/conf/dev.yaml", "app", "app"),
        (["uv.lock", "app/setup.py", "app/conf/dev.yaml"], "app/conf/dev.yaml", ".", "app"),
        (["app/.git/", "app/conf/dev.yaml", "else/"], "app/conf/dev.yaml", "else", "app"),
        (["toolkit.yaml", "app/"], "toolkit.yaml", "app", "."),
    ],
)
def test_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], config: str, current: str, root: str
) -> None:
    tree(*files)
    monkeypatch.chdir(tmp_path / current)

    project = load(tmp_path / config, tmp_path / current, {})

    assert project.root == (tmp_path / root).resolve()
    assert project.home == (tmp_path / config).parent.resolve()


def test_the_root_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("app/jobs/p.py")
    assert load(None, tmp_path / "app/jobs", {}).root == tmp_path.resolve()
    tree("app/requirements.txt")
    project = load(None, tmp_path / "app/jobs", {})
    assert project.root == project.home == (tmp_path / "app").resolve()


def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("gone/")
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(BadInput, match="no longer exists"):
        load(None, Path("."), {})


def test_the_build_context_and_links(tmp_path: Path) -> None:
    tree("code/uv.lock", "conf/")
    Path("conf/toolkit.yaml").write_text("build: {context: ../link}")
    Path("link").symlink_to("code")

    assert load(Path("conf/toolkit.yaml"), tmp_path, {}).root == (tmp_path / "code").resolve()


# Anything at all -----------------------------------------------------------------------------------------------------

_KEYS = st.sampled_from(
    [key for cls in (s.Config, s.ExecutorConfig, s.Build, s.ResourceList) for key in cls._fields]
) | st.text(max_size=5)  # fmt: skip
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["argo", "/mnt", "1Gi", "$A"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_any_values_are_a_project_or_bad_input(data: dict[str, Any]) -> None:
    data = {key: {"config": value} if key in ("executor", "secrets") else value for key, value in data.items()}
    try:
        loaded(json.dumps(data))
    except BadInput as error:
        assert error.where


def test_the_page_names_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_]+)`", page))
    classes = [cls for cls in vars(s).values() if isinstance(cls, type) and hasattr(cls, "_fields")]
    beside_steps = (s.StepSettings, s.Retries)  # docs/pipelines.md has these
    classes = [cls for cls in classes if cls not in beside_steps]
    fields = {field for cls in classes for field in cls._fields} - {
        "source",
        "type_given",
        "patch_places",
        "host_path_places",
        "build_places",
        "hidden_arguments",
    }

    assert fields - named == set()


def test_the_place_of_a_value_is_found_again_for_an_error_that_comes_later(tmp_path: Path) -> None:
    file = tmp_path / "toolkit.yaml"
    file.write_text(
        "build:\n  base: $BASE\nexecutor:\n  config:\n    overrides:\n      a:\n        docker_image: other:1\n"
    )
    environ = {"TOOLKIT_VAR_BASE": "the:base"}
    config = load(file, tmp_path, environ).config
    assert config.build.base_image == "the:base"
    assert place_of(config, ("image", "docker_image"), "other:1", environ) == f"{shown(file)}:7"
    assert place_of(config, ("base_image", "base"), "the:base", environ) == f"{shown(file)}:2"
    assert place_of(config, ("base_image", "base"), "none", environ) is None
