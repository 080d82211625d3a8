"""Comparing runs: each field, changed on one side, is reported as exactly that field, and no record's key is forgotten."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.local_project import LocalProject
from tests.support.recorded_run import RecordedRun, task
from toolkit import report
from toolkit.model.pipeline import Conditional, Loop, Map, Nested, Pipeline, Step
from toolkit.report.diff import ABSENT, Difference, compare, compared_fields
from toolkit.report.diff_text import document, print_diff, shorten_pair
from toolkit.report.facts import RunFacts, StepFacts, facts_of, planned_steps
from toolkit.report.fields import FIELDS, NOT_COMPARED, RECORD_KEYS, WAIVED_BY_PROCESS, engine_image
from toolkit.runtime.shared.locations import Locations
from toolkit.runtime.step import begin_record
from toolkit.store.reader import RunLog
from toolkit.store.writer import write_engine

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "d" * 64
OTHER = "sha256:" + "e" * 64
DATA = "a" * 64


def record(name: str) -> dict[str, Any]:
    """A container's records of a run of two steps: `make` returns values and puts a file, `use` takes them."""
    settings = {
        "image": None,
        "environment": {"GREETING": "hello"},
        "volumes": [{"name": "toolkit", "mount_path": "/mnt"}],
        "secrets": [{"environment_variable": "KEY", "secret_name": "s", "secret_key": "k"}],
        "resources": {"limits": {"memory": "128Mi", "cpu": None, "gpu": None}, "requests": {"memory": "64Mi"}},
        "user": None,
        "shm_size": None,
        "scratch_size": "32Mi",
        "read_only_root": False,
        "grace_period": 10,
    }
    make = {"path": "make", "type": "task", "name": "make", "kind": "python", "settings": 0, "bind": {}, "secrets": []}
    make |= {"function": {"module": "functions", "file": None, "qualname": "make"}}
    make |= {"returns": [{"name": "x", "kind": "json"}, {"name": "score", "kind": "metric"}]}
    make |= {"catalog": {"get": [], "put": ["data"], "store_copy": True}}
    use = {"path": "use", "type": "task", "name": "use", "kind": "shell", "settings": 0, "bind": {}, "secrets": []}
    use |= {"command": "cat data", "returns": []}
    use |= {"catalog": {"get": [{"key": "data", "step": None}], "put": [], "store_copy": True}}
    plan = {
        "version": 1,
        "stores": {"run_log": "/mnt/log", "catalog": "/mnt/catalog", "data_folder": "."},
        "import_roots": [""],
        "settings": [settings],
        "scopes": {"": {"steps": ["make", "use"], "returns": {"x": [0]}}},
        "steps": [make, use],
    }
    return {
        "run": {
            "version": 1,
            "run_id": name,
            "pipeline": "p",
            "environment": "local",
            "context": {},
            "without_effect": [],
            "tag": "",
            "started": "2026-01-01T00:00:00.000Z",
            "image": {"reference": f"{name}:1", "digest": DIGEST, "identity": "sha256:1"},
            "parameters": {"p": 1},
            "plan_hash": "sha256:2",
            "driver": {"host": name},
        },
        "plan": plan,
        "status": "succeeded",
        "parameters": {"p": 1, "x": 5},
        "objects": {DATA: True},
        "steps": {"make": attempt(name, "make"), "use": attempt(name, "use")},
    }


def attempt(run: str, path: str) -> dict[str, Any]:
    put = {"name": "data", "sha256": DATA, "size": 3}
    makes = path == "make"
    return {
        "status": "succeeded",
        "attempts": 1,
        "exit_code": 0,
        "begin": {
            "version": 1,
            "started": run,
            "image": {"code": "c0de", "environment": OTHER, "protocol": 1},
            "argv": ["python3", "/opt/toolkit/runtime/main.py", "1", run, path, "1"],
            "command": {"module": "functions", "file": None, "qualname": "make"} if makes else "cat data",
            "environment": ["GREETING", "HOME", "KEY"],
            "user": {"uid": 1000, "gid": 1000, "groups": [1000]},
            "umask": 2,
            "working_folder": "/workspace",
            "limits": {"memory": 128 << 20, "cpu": None},
            "mounts": [
                {"path": "/dev/shm", "read_only": False, "size": 64 << 20},
                {"path": "/etc/hosts", "read_only": False},
                {"path": "/mnt", "read_only": False},
                {"path": "/run/toolkit", "read_only": True},
                {"path": "/tmp", "read_only": False, "size": 32 << 20},
            ],
            "read_only_root": False,
            "privileges": {"effective": "0", "bounding": "0", "no_new_privileges": True, "seccomp": "2"},
            "python": "3.11.2",
            "machine": "x86_64",
            "hostname": run,
        },
        "end": {
            "version": 1,
            "started": run,
            "ended": run,
            "status": "succeeded",
            "exit_code": 0,
            "inputs": {} if makes else {"x": {"from": "make", "name": "x", "kind": "json", "sha256": "5"}},
            "inputs_digest": "i",
            "returns": {"x": {"kind": "json", "value": 5}, "score": {"kind": "metric", "value": 0.5}} if makes else {},
            "catalog": {"get": [] if makes else [{**put, "from": "make"}], "put": [put] if makes else []},
        },
        "engine": {"version": 1, "exit_code": 0, "out_of_memory": False, "cancelled": False, "image": DIGEST},
    }


def facts(one: dict[str, Any]) -> RunFacts:
    plan = one["plan"]
    planned = planned_steps(plan)
    none: dict[str, Any] = {"attempts": 0, "exit_code": None, "begin": {}, "end": {}, "engine": {}}
    steps = {row["path"]: StepFacts(row["path"], planned[row["path"]], **{**none, **one["steps"][row["path"]]})
             for row in plan["steps"]}  # fmt: skip
    rest = {key: value for key, value in plan.items() if key not in ("steps", "settings", "scopes")}
    return RunFacts(one["run"], one["status"], rest, plan["scopes"], steps, one["parameters"], one["objects"], planned)


def differing(change: Callable[[dict[str, Any]], Any], base: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What is found between a run and another in which ``change`` was made; ``base`` is made in both."""
    a, b = record("one"), record("two")
    for one in (a, b):
        if base is not None:
            base(one)
    change(b)
    found = compare(facts(a), facts(b))
    back = compare(facts(b), facts(a))
    assert [(one.field, one.where, one.steps) for one in found if one.field not in ("image.engine",)] == [
        (one.field, one.where, one.steps) for one in back if one.field not in ("image.engine",)
    ]
    return found


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets a value by its path; `*` is both steps."""

    def change(one: Any) -> None:
        first, _, rest = path.partition("/")
        if first == "*":
            for step in ("make", "use"):
                put(f"steps/{step}/{rest}", value)(one)
            return
        key: Any = int(first) if first.isdigit() else first
        if rest:
            put(rest, value)(one[key])
        else:
            one[key] = copy.deepcopy(value)

    return change


def both(*changes: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    def change(one: dict[str, Any]) -> None:
        for each in changes:
            each(one)

    return change


def data_put(sha256: str) -> Callable[[dict[str, Any]], None]:
    """Another file put, and therefore another got."""
    file = {"name": "data", "sha256": sha256, "size": 3}
    return both(
        put("steps/make/end/catalog/put", [file]),
        put("steps/use/end/catalog/get", [{**file, "from": "make"}]),
        put("steps/use/end/inputs_digest", sha256),
    )


BOTH = ("make", "use")
SETTINGS = "plan/settings/0/"
CODE = {"code": "c0de2", "environment": OTHER, "protocol": 1}
ENVIRONMENT = {"code": "c0de", "environment": DIGEST, "protocol": 1}
NEW_DIGEST = both(put("run/image/digest", OTHER), put("*/engine/image", OTHER), put("run/image/identity", "sha256:9"))

CHANGES: list[tuple[Any, str, str, tuple[str, ...], Any, Any]] = [
    (put("run/pipeline", "q"), "pipeline", "name", (), "p", "q"),
    (put(SETTINGS + "grace_period", 11), "plan", "settings.grace_period", BOTH, 10, 11),
    (put(SETTINGS + "environment/GREETING", "hi"), "plan", "settings.environment.GREETING", BOTH, "hello", "hi"),
    (put(SETTINGS + "resources/requests/memory", "65Mi"), "plan", "settings.resources.requests.memory", BOTH, "64Mi", "65Mi"),
    (put(SETTINGS + "user", 1000), "plan", "settings.user", BOTH, None, 1000),
    (put(SETTINGS + "secrets/0/secret_key", "l"), "plan", "secrets.KEY.secret_key", BOTH, "k", "l"),
    (put("plan/steps/1/command", "cat  data"), "plan", "command", ("use",), "cat data", "cat  data"),
    (put("plan/steps/1/catalog/put", ["more"]), "plan", "catalog.put", ("use",), [], ["more"]),
    (put("plan/stores/run_log", "/mnt/logs"), "plan", "stores.run_log", (), "/mnt/log", "/mnt/logs"),
    (put("run/plan_hash", "sha256:3"), "plan", "plan_hash", (), "sha256:2", "sha256:3"),
    (put("plan/scopes", {}), "plan", "scopes", (), record("x")["plan"]["scopes"], {}),
    (both(put("run/parameters/p", 1.0), put("parameters/p", 1.0)), "parameters", "p", (), 1, 1.0),
    (put("parameters/x", 6), "parameters", "x at the end", (), 5, 6),
    (put("steps/use/status", "failed"), "status", "status", ("use",), "succeeded", "failed"),
    (put("steps/use/exit_code", 3), "status", "exit_code", ("use",), 0, 3),
    (put("steps/use/engine/out_of_memory", True), "status", "out_of_memory", ("use",), False, True),
    (put("steps/use/end/exception", {"type": "KeyError"}), "status", "exception", ("use",), None, "KeyError"),
    (put("status", "cancelled"), "status", "run", (), "succeeded", "cancelled"),
    (put("steps/use/attempts", 2), "attempts", "number", ("use",), 1, 2),
    (both(put("*/begin/image", CODE), NEW_DIGEST), "code", "code", BOTH, "c0de", "c0de2"),
    (both(put("*/begin/image", ENVIRONMENT), NEW_DIGEST), "image", "environment", BOTH, OTHER, DIGEST),
    (NEW_DIGEST, "image", "digest", BOTH, DIGEST, OTHER),
    (put("run/image/identity", "sha256:9"), "image", "identity", (), "sha256:1", "sha256:9"),
    (put("*/begin/machine", "aarch64"), "image", "machine", BOTH, "x86_64", "aarch64"),
    (put("*/begin/python", "3.9.1"), "image", "python", BOTH, "3.11.2", "3.9.1"),
    (put("steps/use/engine/image", OTHER), "image.engine", "engine", ("use",), ABSENT,
     {"engine": OTHER, "record": {"digest": DIGEST}}),
    (both(put("steps/use/begin/command", "cat"), put("plan/steps/1/command", "cat")), "command", "command", ("use",),
     "cat data", "cat"),
    (put("steps/use/begin/argv/1", "/main.py"), "command", "argv", ("use",),
     ["python3", "/opt/toolkit/runtime/main.py", "1", "RUN", "use", "ATTEMPT"],
     ["python3", "/main.py", "1", "RUN", "use", "ATTEMPT"]),
    (both(put(SETTINGS + "environment/NEW", "1"), put("*/begin/environment", ["GREETING", "HOME", "KEY", "NEW"])),
     "environment", "NEW", BOTH, ABSENT, "set"),
    (both(put("plan/steps/1/secrets", ["OWN"]), put("steps/use/begin/environment", ["GREETING", "HOME", "KEY", "OWN"])),
     "environment", "OWN", ("use",), ABSENT, "set"),
    (put("steps/use/begin/mounts/2/read_only", True), "mounts", "/mnt", ("use",), "read-write", "read-only"),
    (put("steps/use/begin/mounts/1/path", "/run/secrets/token"), "mounts", "/run/secrets/token", ("use",), ABSENT,
     "read-write"),
    (both(put(SETTINGS + "user", 5), put("*/begin/user/uid", 5)), "user", "user", BOTH, 1000, 5),
    (put("*/begin/user/groups", [1000, 5]), "user", "groups", BOTH, [1000], [5, 1000]),
    (put("*/begin/umask", 18), "umask", "umask", BOTH, 2, 18),
    (put("*/begin/working_folder", "/"), "working_folder", "working_folder", BOTH, "/workspace", "/"),
    (both(put(SETTINGS + "resources/limits/memory", "1Gi"), put("*/begin/limits/memory", 1 << 30)),
     "limits", "memory", BOTH, 128 << 20, 1 << 30),
    (put("*/begin/limits/cpu", 500), "limits", "cpu", BOTH, None, 500),
    (both(put(SETTINGS + "shm_size", "1Mi"), put("*/begin/mounts/0/size", 1 << 20)), "shm_size", "shm_size", BOTH,
     64 << 20, 1 << 20),
    (both(put(SETTINGS + "scratch_size", "1Mi"), put("*/begin/mounts/4/size", 1 << 20)), "scratch_size", "scratch_size",
     BOTH, 32 << 20, 1 << 20),
    (both(put(SETTINGS + "read_only_root", True), put("*/begin/read_only_root", True)), "read_only_root",
     "read_only_root", BOTH, False, True),
    (put("*/begin/privileges/seccomp", "0"), "privileges", "seccomp", BOTH, "2", "0"),
    (put("*/begin/privileges/no_new_privileges", False), "privileges", "no_new_privileges", BOTH, True, False),
    (put("*/begin/privileges/bounding", "a80425fb"), "privileges", "bounding", BOTH, "0", "a80425fb"),
    (put("*/begin/privileges/effective", "a80425fb"), "privileges", "effective", BOTH, "0", "a80425fb"),
    (put("steps/use/end/inputs/y", {"value": 1}), "inputs", "y", ("use",), ABSENT, {"value": 1}),
    (put("steps/use/end/inputs_digest", "j"), "inputs", "inputs_digest", ("use",), "i", "j"),
    (both(put("steps/make/end/returns/x/value", 6), put("steps/use/end/inputs/x/sha256", "6"), put("parameters/x", 6)),
     "returns", "x", ("make",), 5, 6),
    (put("steps/make/end/returns/score/value", 0.25), "metrics", "score", ("make",), 0.5, 0.25),
    (data_put("b" * 64), "catalog", "put data", ("make",), f"sha256:{DATA} (3 bytes)", f"sha256:{'b' * 64} (3 bytes)"),
    (put("steps/use/end/catalog/get/0/sha256", "b" * 64), "catalog", "got data", ("use",), f"sha256:{DATA} (3 bytes)",
     f"sha256:{'b' * 64} (3 bytes)"),
    (put("objects", {DATA: False}), "catalog.object", DATA, (), "whole", "damaged"),
]  # fmt: skip


def test_runs_of_the_same_are_the_same() -> None:
    assert differing(lambda one: None) == []


@pytest.mark.parametrize(
    ("change", "field", "where", "steps", "a", "b"), CHANGES, ids=[f"{c[1]}-{c[2]}" for c in CHANGES]
)
def test_what_is_changed_on_one_side_is_all_that_is_reported(
    change: Any, field: str, where: str, steps: tuple[str, ...], a: Any, b: Any
) -> None:
    found = differing(change)
    assert found == [Difference(field, where, steps, a, b)]
    # A disagreement within one run is told on that run's side.
    assert (found[0].a is ABSENT) == (a is ABSENT)


def test_every_field_has_a_change_that_it_reports() -> None:
    assert {change[1] for change in CHANGES} == set(FIELDS)


NATURE: list[Callable[[dict[str, Any]], Any]] = [
    put("run/tag", "nightly"),
    put("run/environment", "argo"),
    put("run/context", {"namespace": "n"}),
    put("run/without_effect", ["node_selector"]),
    put("run/driver", None),
    put("run/image/reference", "registry/other@sha256:1"),
    put("*/begin/hostname", "pod"),
    put("*/begin/argv/5", "3"),
    put("*/end/reason", "another 0x7f3"),
    # An fsGroup is a supplementary group too; Docker's primary group is not.
    put("*/begin/user/groups", []),
    put("*/begin/mounts/1/path", "/run/argo"),
    put("*/begin/mounts/1/path", "/usr/sbin/docker-init"),
    put("*/begin/mounts/1/path", "/usr/lib/x86_64-linux-gnu/libcuda.so.535.54"),
    put("*/engine/image", ""),
    put("*/engine", {}),
    put("*/engine/container", "another"),
]


@pytest.mark.parametrize("change", NATURE)
def test_what_two_runs_can_not_have_in_common_is_no_difference(change: Any) -> None:
    assert differing(change) == []


def test_the_private_folder_is_the_same_whatever_process_id_is_in_its_name() -> None:
    a = put("*/begin/working_folder", "/tmp/toolkit-7/work")
    assert differing(put("*/begin/working_folder", "/tmp/toolkit-23/work"), a) == []


def test_a_scratch_folder_of_no_size_beside_a_read_only_root_is_as_large_as_its_machine_allows() -> None:
    base = both(put(SETTINGS + "scratch_size", None), put("*/begin/read_only_root", True))
    assert differing(put("*/begin/mounts/4/size", 1), base) == []
    # Without the read-only root it is a mount that nobody asked for.
    assert [one.field for one in differing(put("*/begin/mounts/4/size", 1), put(SETTINGS + "scratch_size", None))] == [
        "scratch_size"
    ]


def test_a_read_only_root_alone_is_reported_though_it_brings_a_scratch_and_a_working_folder() -> None:
    def base(one: dict[str, Any]) -> None:
        put(SETTINGS + "scratch_size", None)(one)
        for step in BOTH:
            del one["steps"][step]["begin"]["mounts"][4]

    def change(one: dict[str, Any]) -> None:
        put(SETTINGS + "read_only_root", True)(one)
        put("*/begin/read_only_root", True)(one)
        put("*/begin/working_folder", "/tmp/toolkit-7/work")(one)
        for step in BOTH:
            one["steps"][step]["begin"]["mounts"].append({"path": "/tmp", "read_only": False, "size": 1 << 34})

    assert [(one.field, one.steps) for one in differing(change, base)] == [("read_only_root", BOTH)]


def test_proxies_that_compose_adds_are_no_difference_and_elsewhere_they_are() -> None:
    proxies = put("*/begin/environment", ["GREETING", "HOME", "KEY", "https_proxy", "HTTPS_PROXY"])
    assert differing(both(proxies, put("run/environment", "compose"))) == []
    assert {one.where for one in differing(proxies)} == {"https_proxy", "HTTPS_PROXY"}


def test_of_plain_processes_only_what_they_have_is_compared() -> None:
    def change(one: dict[str, Any]) -> None:
        put("run/environment", "process")(one)
        put("run/image", None)(one)
        for step in BOTH:
            begin = one["steps"][step]["begin"]
            begin.update(image=None, limits=None, read_only_root=None, privileges=None, python="3.13", machine="arm64")
            begin.update(argv=["python3", "/home/me/main.py", *begin["argv"][2:]], environment=["PATH"])
            begin.update(user={"uid": 5, "gid": 5, "groups": []}, working_folder="/home/me", mounts=[])

    assert differing(change) == []
    a, b = record("one"), record("two")
    change(b)
    assert set(FIELDS) - set(compared_fields(facts(a), facts(b))) == set(WAIVED_BY_PROCESS)
    # What was run and what came out is compared still.
    for path, value, field in (
        ("plan/settings/0/user", 7, "plan"),
        ("steps/use/begin/command", "x", "command"),
        ("steps/make/end/returns/score/value", 1, "metrics"),
    ):
        assert [one.field for one in differing(both(change, put(path, value)))] == [field]


@pytest.mark.parametrize(
    ("engine", "image", "agrees"),
    [
        ({"image": DIGEST}, {}, True),
        ({"image": f"docker://{DIGEST}"}, {}, True),
        ({"image": f"docker-pullable://registry/x@{OTHER}"}, {"manifest": OTHER}, True),
        ({"image": f"registry:5000/x@{OTHER}", "image_config": DIGEST}, {}, True),
        ({"image": OTHER}, {"manifest": OTHER}, True),
        ({"image": f"registry/x@{OTHER}"}, {"manifest": DIGEST}, False),
        # What the record does not name can't be proven, and that is said.
        ({"image": f"registry/x@{DIGEST}"}, {}, False),
        ({"image": "registry/x:tag"}, {}, False),
    ],
)
def test_the_engines_image_is_the_records_by_config_or_by_manifest(
    engine: dict[str, Any], image: dict[str, Any], agrees: bool
) -> None:
    def change(one: dict[str, Any]) -> None:
        put("run/environment", "argo")(one)
        one["run"]["image"].update(image)
        for step in BOTH:
            one["steps"][step]["engine"] = engine

    assert {one.field for one in differing(change)} == (set() if agrees else {"image.engine"})


def test_an_image_of_a_steps_own_is_compared_by_what_the_engine_says() -> None:
    base = both(put(SETTINGS + "image", "mine:1"), put("*/engine/image", OTHER))
    assert differing(lambda one: None, base) == []
    [found] = differing(put("*/engine/image", DIGEST), base)
    assert (found.field, found.where, found.a, found.b) == ("image", "digest", OTHER, DIGEST)
    # A node that names the manifest alone says nothing of the config: the id file is compared.
    assert differing(put("*/engine/image", f"x@{DIGEST}"), base) == []
    assert engine_image({}) == (None, None)


def test_an_image_of_a_steps_own_that_the_run_recorded_is_compared_as_the_runs_is() -> None:
    mine = {"mine:1": {"reference": "mine:1", "digest": OTHER, "identity": "sha256:1"}}
    base = both(put(SETTINGS + "image", "mine:1"), put("run/images", mine), put("*/engine/image", OTHER))
    assert differing(lambda one: None, base) == []
    # A node names the manifest alone: the record has the config.
    changed = {"mine:1": {**mine["mine:1"], "digest": DIGEST}}
    [found] = differing(both(put("run/images", changed), put("*/engine", {})), base)
    assert (found.field, found.where, found.a, found.b) == ("image", "digest", OTHER, DIGEST)
    # And within one run the engine's word is held against it.
    [found] = differing(put("steps/use/engine/image", DIGEST), base)
    assert (found.field, found.where, found.steps) == ("image.engine", "engine", ("use",))


def test_another_id_file_within_one_run_is_a_disagreement_of_that_run() -> None:
    fields = {(one.field, one.where) for one in differing(put("steps/use/begin/image", CODE))}
    assert fields == {("code", "code"), ("image.engine", "id file")}


def test_a_step_that_failed_leaves_no_other_trace_than_that_and_what_was_skipped() -> None:
    def change(one: dict[str, Any]) -> None:
        put("status", "failed")(one)
        one["steps"]["make"].update(status="failed", exit_code=1)
        one["steps"]["make"]["end"].update(returns={}, exception={"type": "KeyError"})
        put("steps/make/end/catalog/put", [])(one)
        one["steps"]["use"] = {"status": "skipped"}
        one["parameters"] = {"p": 1}

    found = differing(change)
    assert {one.field for one in found} == {"status", "attempts"}
    assert {(one.where, one.steps) for one in found if one.field == "status"} == {
        ("status", ("make",)),
        ("status", ("use",)),
        ("exit_code", ("make",)),
        ("exit_code", ("use",)),
        ("exception", ("make",)),
    }


def test_steps_that_only_one_has_and_another_order_are_the_plans() -> None:
    def drop(one: dict[str, Any]) -> None:
        del one["plan"]["steps"][1]

    def turn(one: dict[str, Any]) -> None:
        one["plan"]["steps"].reverse()

    assert differing(drop) == [Difference("plan", "steps[use]", (), "task", ABSENT)]
    assert differing(turn) == [Difference("plan", "order of steps", (), ["make", "use"], ["use", "make"])]


def test_the_same_settings_under_another_number_are_the_same_plan() -> None:
    def change(one: dict[str, Any]) -> None:
        one["plan"]["settings"].insert(0, {**one["plan"]["settings"][0], "grace_period": 1})
        for step in one["plan"]["steps"]:
            step["settings"] = 1

    assert differing(change) == []


# --- nested runs ----------------------------------------------------------------------------------------------------


def of(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def nested(folder: Path, change: Callable[[RecordedRun], None], **options: Any) -> RunFacts:
    """A run of a map with three items, a conditional and a loop, in which ``change`` has written over what it is about."""
    run = RecordedRun(
        folder / f"{len(list(folder.iterdir()))}",
        of(
            task("make", "xs", "answer"),
            Map("m", of(task("a", "y")), "xs", "x"),
            task("use", "z"),
            Conditional("c", "answer", (("yes", of(task("b"))), ("no", of(task("d"), task("e"))))),
            Loop("l", of(task("f", "done")), 3, "done"),
            Nested("n", of(task("g", on_failure=of(task("h"))))),
        ),
        environment="local",
        **options,
    )
    run.attempt("make", returns={"xs": [1, 2, 3], "answer": "yes"}, controls={"m": 3, "c": "yes"})
    for item in range(3):
        run.attempt(f"m/{item}/a", returns={"y": item}, inputs={"x": ("m", "x")})
    run.attempt("use", inputs={"y": ("m", "y")}, returns={"z": 1})
    run.attempt("c/yes/b")
    run.attempt("l/0/f", returns={"done": True}, controls={"l/0": False})
    run.attempt("n/g")
    change(run)
    run.end()
    return facts_of(run.log, run.log.run("run"), None)


def between(folder: Path, change: Callable[[RecordedRun], None]) -> list[tuple[str, str, tuple[str, ...], Any, Any]]:
    a, b = nested(folder, lambda _: None), nested(folder, change)
    return [(one.field, one.where, one.steps, one.a, one.b) for one in compare(a, b)]


def test_two_nested_runs_of_the_same_are_the_same(tmp_path: Path) -> None:
    assert between(tmp_path, lambda _: None) == []


def test_a_value_of_one_item_is_told_there_and_not_where_the_list_is_taken(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("m/1/a", returns={"y": 7}, inputs={"x": ("m", "x")})
        run.attempt("use", inputs={"y": ("m", "y")}, input_hash="other", returns={"z": 1})

    assert between(tmp_path, change) == [("returns", "y", ("m/1/a",), 1, 7)]


def test_what_another_list_brings_with_it_follows_from_the_list(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("make", returns={"xs": [5, 6], "answer": "yes"}, controls={"m": 2, "c": "yes"})
        for item in range(2):
            run.attempt(f"m/{item}/a", returns={"y": item}, inputs={"x": ("m", "x")}, input_hash=str(item))
        run.attempt("use", inputs={"y": ("m", "y")}, input_hash="other", returns={"z": 1})

    assert between(tmp_path, change) == [("returns", "xs", ("make",), [1, 2, 3], [5, 6])]


def test_what_another_branch_brings_with_it_follows_from_the_value_that_chose_it(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("make", returns={"xs": [1, 2, 3], "answer": "no"}, controls={"m": 3, "c": "no"})
        run.forget("c/yes/b")
        run.attempt("c/no/d")
        run.attempt("c/no/e")

    assert between(tmp_path, change) == [("returns", "answer", ("make",), "yes", "no")]


def test_another_course_that_no_value_explains_is_told_of_the_composite(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("make", returns={"xs": [1, 2, 3], "answer": "yes"}, controls={"m": 3, "c": "no"})
        run.forget("c/yes/b")
        run.attempt("c/no/d")
        run.attempt("c/no/e")

    assert between(tmp_path, change) == [("status", "branch", ("c",), "yes", "no")]


def test_more_iterations_follow_from_what_the_earlier_one_returned(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("l/0/f", returns={"done": False}, controls={"l/0": True})
        run.attempt("l/1/f", returns={"done": True}, controls={"l/1": False})

    assert between(tmp_path, change) == [("returns", "done", ("l/0/f",), True, False)]


def test_a_failed_step_inside_a_composite_is_told_and_the_composite_is_not(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("n/g", "failed")
        run.attempt("n/g/on_failure/h", "failed")

    assert {(field, where, steps) for field, where, steps, _, _ in between(tmp_path, change)} == {
        ("status", "status", ("n/g",)),
        ("status", "exit_code", ("n/g",)),
        ("status", "status", ("n/g/on_failure/h",)),
        ("status", "exit_code", ("n/g/on_failure/h",)),
        ("attempts", "number", ("n/g/on_failure/h",)),
    }


def test_a_composite_that_could_not_begin_is_told(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("make", returns={"xs": [1, 2, 3], "answer": "yes"}, controls={"m": {"error": "why"}, "c": "yes"})
        for path in ("m/0/a", "m/1/a", "m/2/a", "use", "c/yes/b", "l/0/f", "n/g"):
            run.forget(path)

    found = between(tmp_path, change)
    assert ("status", "status", ("m",), "succeeded", "failed") in found
    assert {field for field, *_ in found} == {"status", "attempts"}


def test_items_that_shared_a_container_are_the_same_as_those_that_did_not(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        for item in range(3):
            run.forget(f"m/{item}/a")
            run.attempt(f"m/{item}/a", returns={"y": item}, inputs={"x": ("m", "x")}, group="m/group-0/a")

    assert between(tmp_path, change) == []


def test_what_the_engine_says_of_the_image_of_several_items_is_said_of_each(tmp_path: Path) -> None:
    def change(run: RecordedRun) -> None:
        run.attempt("m/1/a", returns={"y": 1}, inputs={"x": ("m", "x")}, group="m/group-0/a")
        write_engine(run.folder, "m/group-0/a", 1, {"exit_code": 137, "out_of_memory": True, "image": DIGEST})

    step = nested(tmp_path, change).steps["m/1/a"]
    assert step.engine["image"] == DIGEST
    # How the container ended says nothing of an item that had ended before.
    assert step.status == "succeeded" and not step.engine.get("out_of_memory")


# --- no key is forgotten --------------------------------------------------------------------------------------------


def test_every_key_of_the_records_is_compared_or_named(tmp_path: Path) -> None:
    # Given a run with an input, a metric, an object, files and a step that raises,
    project = LocalProject(tmp_path)
    project.write(
        "pipeline.py",
        "import functions\nfrom toolkit import Catalog, Pipeline, PythonTask, metric, pickled\n"
        "p = Pipeline(steps=[PythonTask(functions.make, returns=[metric('m'), pickled('o')], catalog=Catalog(put=['f'])),\n"
        "PythonTask(functions.use, catalog=Catalog(get=['f']))])\n",
    )
    project.write(
        "functions.py",
        "def make():\n    for name in 'fg':\n        open(name, 'w').write('x')\n    return 1, {1}\n\n"
        "def use(m, o):\n    raise KeyError(m)\n",
    )
    assert project.run("pipeline.py") == 1, project.err
    [folder] = (tmp_path / ".toolkit" / "volumes").glob("*/run_log_store/*")
    found: dict[str, set[str]] = {"run.json": set(json.loads((folder / "run.json").read_text()))}
    for file in folder.glob("steps/*/1/*.json"):
        found.setdefault(file.name, set()).update(json.loads(file.read_text()))
    # when its records are read, then each key has its place, and each place is a field or in the closed table.
    for name, keys in found.items():
        assert keys <= set(RECORD_KEYS[name]), name
    # What only some runs have.
    some = {
        "run.json": {
            "controls",
            "described",
            "revision",
            "submission",
            "continued",
            "patches",
            "part",
            "attempts",
            "again",
        },
        "begin.json": {"group"},
        "end.json": {"out_of_memory", "controls"},
        "engine.json": {"image_config", "fault"},
    }
    for name, known in RECORD_KEYS.items():
        assert set(known) - found[name] <= some.get(name, set()), name
    assert {place for known in RECORD_KEYS.values() for place in known.values()} <= {*FIELDS, *NOT_COMPARED}


def test_a_container_records_under_the_same_keys_as_a_process() -> None:
    class Container(Locations):
        in_container = True

    # A value that nothing of this machine holds: its mounts are recorded, and a build's may have "secret" in their paths.
    value = "a value of an environment variable"
    inside = begin_record.begin_record("", Container(image_file="/nowhere"), "x", {"B": value, "A": ""})
    outside = begin_record.begin_record("", Locations(image_file=""), "x", {})
    assert set(inside) == set(outside) == set(RECORD_KEYS["begin.json"]) - {"group"}
    assert inside["environment"] == ["A", "B"] and value not in json.dumps(inside)
    assert set(inside["privileges"] or ()) == {"effective", "bounding", "no_new_privileges", "seccomp"}
    assert all(one["path"] == "/dev/shm" or not one["path"].startswith(("/dev/", "/proc/")) for one in inside["mounts"])


def test_the_page_has_the_closed_table_as_it_is() -> None:
    page = (ROOT / "docs" / "sameness.md").read_text()
    for table in (FIELDS, NOT_COMPARED):
        for name, what in table.items():
            assert f"| {name} | {what} |" in page, name


# --- real runs, the command, its output -----------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write(
        "pipeline.py",
        "from functions import step\nfrom toolkit import Catalog, Pipeline, PythonTask\n"
        "p = Pipeline(steps=[PythonTask(step, returns=['x'], catalog=Catalog(put=['data']))])\n",
    )
    found.write("functions.py", "def step(p=1):\n    open('data', 'w').write('content')\n    return p\n")
    return found


def check_schema(text: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(text)
    schema = json.loads((Path(report.__file__).parent / "schemas" / "diff.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(shown)
    assert schema["$defs"]["field"]["enum"] == list(FIELDS)
    return shown


def test_two_runs_on_the_command_line(project: LocalProject) -> None:
    for name, value in (("one", "1"), ("two", "1"), ("three", "2")):
        assert project.run("pipeline.py", "--run-id", name, "--param", f"p={value}") == 0, project.err
    # The same.
    assert project.toolkit("diff", "one", "two") == 0
    assert project.out.startswith("the runs one (process) and two (process) are the same in what both can have: ")
    assert "of 1 step compared, the bytes of 1 object hashed again" in project.out
    assert "not compared: run id, attempt number, times" in project.out
    assert project.toolkit("diff", "one", "two", "--all") == 0
    assert f"  times: {NOT_COMPARED['times']}\n" in project.out
    assert project.toolkit("diff", "one", "two", "--json") == 0
    shown = check_schema(project.out)
    assert shown["same"] and shown["differences"] == [] and shown["waived"] == list(WAIVED_BY_PROCESS)
    # Another value: what was given, and what was returned for it.
    assert project.toolkit("diff", "one", "three") == 1
    assert "differ in parameters, returns: " in project.out
    assert project.toolkit("diff", "one", "three", "--json") == 1
    assert check_schema(project.out)["differences"] == [
        {"field": "parameters", "where": "p", "steps": [], "a": 1, "b": 2},
        {"field": "returns", "where": "x", "steps": ["step"], "a": 1, "b": 2},
    ]


def test_an_object_that_was_damaged_is_found_unless_no_bytes_are_read(project: LocalProject) -> None:
    for name in ("one", "two"):
        assert project.run("pipeline.py", "--run-id", name) == 0, project.err
    digest = hashlib.sha256(b"content").hexdigest()
    [file] = (project.root / ".toolkit" / "volumes").glob(f"*/catalog/objects/*/{digest}")
    file.chmod(0o644)
    file.write_bytes(b"c0ntent")
    assert project.toolkit("diff", "one", "two", "--json") == 1
    assert check_schema(project.out)["differences"] == [
        {"field": "catalog.object", "where": digest, "steps": [], "a": "damaged", "b": "damaged"}
    ]
    assert project.toolkit("diff", "one", "two", "--no-bytes") == 0
    assert "hashed again" not in project.out
    # What is not there can't be read; the records' hashes are the same.
    file.unlink()
    assert project.toolkit("diff", "one", "two") == 0


def test_only_runs_that_are_there_and_have_ended_can_be_compared(project: LocalProject) -> None:
    assert project.run("pipeline.py", "--run-id", "one") == 0, project.err
    assert project.toolkit("diff", "one", "nowhere") == 2
    assert "there is no run 'nowhere' here" in project.err
    assert project.toolkit("diff", "one") == 2
    # A run whose client is this process, and which has no end.
    assert project.run("pipeline.py", "--run-id", "two") == 0, project.err
    [folder] = (project.root / ".toolkit" / "volumes").glob("*/run_log_store/two")
    (folder / "end.json").unlink()
    with project.driven("two"):
        assert project.toolkit("diff", "one", "two") == 2
    assert "the run two has not ended yet: runs can be compared once both have ended" in project.err


def test_facts_are_read_without_a_store(project: LocalProject) -> None:
    assert project.run("pipeline.py", "--run-id", "one") == 0, project.err
    [run_log] = (project.root / ".toolkit" / "volumes").glob("*/run_log_store")
    log = RunLog(run_log, lambda driver: False)
    one = facts_of(log, log.run("one"), None)
    assert one.objects == {} and compare(one, one) == []
    assert one.steps["step"].planned.values["command"] == "functions:step"


def test_the_table_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = record("one"), record("two")
    change = both(
        put("*/begin/user/uid", 5), put("steps/use/begin/environment", ["GREETING"]), put("run/pipeline", "q")
    )
    change(b)
    found = compare(facts(a), facts(b))
    print_diff(document(facts(a), facts(b), found), everything=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "the runs one (local) and two (local) differ in pipeline, environment, user: 24 fields of 2"
    )
    assert lines[2].split() == ["FIELD", "STEPS", "WHERE", "A", "B"]
    assert lines[3].split() == ["pipeline", "name", "p", "q"]
    assert lines[4].split() == ["environment", "use", "HOME", "set", "-"]
    assert lines[6].split() == ["user", "all", "user", "1000", "5"]


def test_of_what_differs_in_many_items_a_person_sees_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = []
    for number, value in enumerate((1, 2)):
        run = RecordedRun(tmp_path / str(number), of(Map("m", of(task("a", "y")), "xs", "x")), controls={"m": 9})
        for item in range(9):
            run.attempt(f"m/{item}/a", returns={"y": value})
        run.end()
        both.append(facts_of(run.log, run.log.run("run"), None))
    shown = document(both[0], both[1], compare(*both))
    assert len([one for one in shown["differences"] if one["steps"]]) == 1
    # Where the values are not the same in all of them there are as many differences.
    for item in range(9):
        shown["differences"].append({"field": "metrics", "where": "z", "steps": [f"m/{item}/a"], "a": item, "b": 0})
    print_diff(shown, everything=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["returns", "all", "y", "1", "2"] in rows
    assert ["metrics", "m/2/a", "z", "2", "0"] in rows and ["metrics", "m/3/a", "z", "3", "0"] not in rows
    assert ["metrics", "m/*/a", "z", "…", "and", "6", "more"] in rows


def test_long_values_are_shown_from_where_they_differ() -> None:
    a, b = shorten_pair("x" * 100 + "A" + "y" * 100, "x" * 100 + "B" + "y" * 100)
    assert len(a) == len(b) == 44 and a[12] == "A" and b[12] == "B" and a[0] == a[-1] == "…"
    assert shorten_pair("x" * 100, ABSENT) == ("x" * 43 + "…", "-")
    assert shorten_pair(1, "1") == ("1", "1")
    assert shorten_pair("x" * 50, "x" * 60)[0].endswith("x")
    assert shorten_pair("new\nline", None) == ("new�line", "null")
