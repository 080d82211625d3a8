"""The closed table of what is compared between two runs and what is not, and where each field is read from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.report.facts import Record, RunFacts, StepFacts, command_text

FieldValues = Mapping[str, Any]
"""What a field holds, each value by its name."""

FIELDS: Mapping[str, str] = {
    "pipeline": "its name",
    "plan": "all that was asked for and is not seen inside a container; the plan's hash",
    "parameters": "the root scope's values, given and at the end",
    "status": "of the step, its exit code, the type of its exception, out of memory; of a composite its branch, items, iterations",
    "attempts": "how many there were",
    "code": "user code, runtime and SDK: the hash in the image's id file",
    "image": "environment, digest, protocol, Python and machine",
    "image.engine": "within one run: the engine's image, the id file inside and the run's record agree",
    "command": "what was run, and the arguments of the runtime",
    "environment": "names that user code sees; values that are no secrets as the plan has them",
    "mounts": "paths, and which are read-only",
    "user": "user, group and supplementary groups",
    "umask": "the mode of new files",
    "working_folder": "where the step ran",
    "limits": "memory in bytes and thousandths of a core, as the control group has them",
    "shm_size": "bytes of /dev/shm",
    "scratch_size": "bytes of /tmp",
    "read_only_root": "whether the root filesystem is",
    "privileges": "capabilities, seccomp, whether new privileges can be had",
    "inputs": "the parameters that a step took, and from where",
    "returns": "the parameters that it returned",
    "metrics": "the metrics that it returned",
    "catalog": "name and SHA-256 of each file put and got",
    "catalog.object": "the object's bytes, hashed again where they are on this machine",
}
"""What is compared."""

NOT_COMPARED: Mapping[str, str] = {
    "run id": "a run's name, its own; as the runtime's argument it counts as the same",
    "attempt number": "the runtime's argument; how many attempts there were is compared",
    "times": "when a run and its steps started and ended",
    "environment of the run": "local, argo, process or compose, with cluster context and namespace",
    "tag": "a word for the user's own finding",
    "client": "the process that drove the run, and its machine",
    "settings without effect": "placement keys have no effect but on argo; which they are is in `toolkit show --json`",
    "image reference": "how the image is spelt; what it is, is compared by digest",
    "source": "the file and the name by which the pipeline was asked for; what it says is compared as plan and code",
    "host name": "a container's id, or a pod's name",
    "container": "the engine's id of it, and what the engine said of its end",
    "grouping": "on a cluster, items of a large map share containers: that, and their folder of links to the code",
    "words of a failure": "reason, message and traceback hold addresses and paths; the exception's type is compared",
    "output": "output.log, which may hold times",
    "record version": "the records' own form",
}
"""What two runs can't have in common, or what says nothing of their sameness; docs/sameness.md has this very list."""

RECORD_KEYS: Mapping[str, Mapping[str, str]] = {
    "run.json": {
        "version": "record version",
        "run_id": "run id",
        "pipeline": "pipeline",
        "environment": "environment of the run",
        "context": "environment of the run",
        "without_effect": "settings without effect",
        "tag": "tag",
        "started": "times",
        "image": "image",
        "parameters": "parameters",
        "plan_hash": "plan",
        "plan": "plan",
        "controls": "status",
        "source": "source",
        "driver": "client",
        "submission": "client",
        "continued": "times",
        "part": "attempt number",
        "attempts": "attempt number",
        "again": "attempt number",
    },
    "begin.json": {
        "version": "record version",
        "started": "times",
        "image": "code",
        "argv": "command",
        "command": "command",
        "environment": "environment",
        "user": "user",
        "umask": "umask",
        "working_folder": "working_folder",
        "limits": "limits",
        "mounts": "mounts",
        "read_only_root": "read_only_root",
        "privileges": "privileges",
        "python": "image",
        "machine": "image",
        "hostname": "host name",
        "group": "grouping",
    },
    "end.json": {
        "version": "record version",
        "started": "times",
        "ended": "times",
        "status": "status",
        "exit_code": "status",
        "inputs": "inputs",
        "inputs_digest": "inputs",
        "returns": "returns",
        "catalog": "catalog",
        "reason": "words of a failure",
        "exception": "status",
        "out_of_memory": "status",
        "controls": "status",
    },
    "engine.json": {
        "version": "record version",
        "exit_code": "status",
        "cancelled": "status",
        "out_of_memory": "status",
        "fault": "status",
        "message": "container",
        "container": "container",
        "image": "image.engine",
        "image_config": "image.engine",
    },
}
"""Where each key of each record goes: to a field, or to what is not compared. A key in neither would be forgotten."""

WAIVED_BY_PROCESS = (
    "code",
    "image",
    "image.engine",
    "environment",
    "mounts",
    "user",
    "working_folder",
    "limits",
    "shm_size",
    "scratch_size",
    "read_only_root",
    "privileges",
)
"""Fields that a plain process has not got (toolkit/backends/process.py); of ``command`` it is the runtime's arguments."""

_ENGINES_OWN = re.compile(
    r"/etc/(hosts|hostname|resolv\.conf)|(/usr)?/sbin/docker-init|(/var)?/run/argo(/.*)?|.*(nvidia|/libcuda|/libnv).*"
)
"""Mounts that engines make for themselves: name resolution, their first process, the driver of a GPU."""
PROXIES = frozenset(f"{one}_PROXY" for one in ("HTTP", "HTTPS", "FTP", "NO", "ALL"))
_PRIVATE = re.compile(r"^/tmp/toolkit-\d+(-\d+)?(?=/)")
"""The runtime's private folder has its process id in its name, and an item's position where several share a container."""


def _command(run: RunFacts, step: StepFacts) -> FieldValues:
    argv = list(step.begin["argv"])
    if len(argv) == 6:
        # protocol, run id, path, attempt; of items that share a container the path is that of all of them
        path = step.path if argv[4] == step.begin.get("group") else argv[4]
        argv[3:] = ["RUN" if argv[3] == run.run_id else argv[3], path, "ATTEMPT"]
    return {"command": command_text(step.begin["command"]), "argv": argv}


def _user(run: RunFacts, step: StepFacts) -> FieldValues:
    user = step.begin["user"]
    # The primary group counts: an fsGroup is listed among the groups, and Docker's is not.
    return {"user": user["uid"], "group": user["gid"], "groups": sorted({user["gid"], *user["groups"]})}


def _environment(run: RunFacts, step: StepFacts) -> FieldValues:
    return {name: "set" for name in step.begin["environment"]}


def _mounts(run: RunFacts, step: StepFacts) -> FieldValues:
    return {
        one["path"]: "read-only" if one["read_only"] else "read-write"
        for one in step.begin["mounts"]
        if one["path"] not in ("/tmp", "/dev/shm") and not _ENGINES_OWN.fullmatch(one["path"])
    }


def _working_folder(run: RunFacts, step: StepFacts) -> FieldValues:
    return {"working_folder": _PRIVATE.sub("/tmp/toolkit-PID", step.begin["working_folder"])}


def _size_of(path: str, step: StepFacts) -> Any:
    sizes = [one["size"] for one in step.begin["mounts"] if one["path"] == path and "size" in one]
    return sizes[0] if sizes else None


def _shm_size(run: RunFacts, step: StepFacts) -> FieldValues:
    return {"shm_size": _size_of("/dev/shm", step)}


def _scratch_size(run: RunFacts, step: StepFacts) -> FieldValues:
    # Where no size was asked for there is a /tmp of its own only beside a read-only root, and as large as its machine allows.
    asked = (step.planned.get("settings") or {}).get("scratch_size") is not None
    own = any(one["path"] == "/tmp" for one in step.begin["mounts"])
    if own and not asked and step.begin.get("read_only_root"):
        return {}
    return {"scratch_size": _size_of("/tmp", step)} if own else {}


def _plain(key: str) -> Callable[[RunFacts, StepFacts], FieldValues]:
    def read(run: RunFacts, step: StepFacts) -> FieldValues:
        value = step.begin.get(key)
        return value if isinstance(value, Mapping) else {key: value}

    return read


@dataclass(frozen=True)
class ObservedField:
    """A field that the runtime saw inside.

    Attributes:
        read: its values by name, out of the begin record.
        asked: where in a row of the plan the same was asked for, under the same names.
    """

    name: str
    read: Callable[[RunFacts, StepFacts], FieldValues]
    asked: tuple[tuple[str, ...], ...] = ()


OBSERVED_FIELDS = (
    ObservedField("command", _command, (("command",),)),
    ObservedField("environment", _environment, (("settings", "environment"), ("secrets",))),
    ObservedField("mounts", _mounts, (("settings", "volumes"),)),
    ObservedField("user", _user, (("settings", "user"),)),
    ObservedField("umask", _plain("umask")),
    ObservedField("working_folder", _working_folder),
    ObservedField("limits", _plain("limits"), (("settings", "resources", "limits"),)),
    ObservedField("shm_size", _shm_size, (("settings", "shm_size"),)),
    ObservedField("scratch_size", _scratch_size, (("settings", "scratch_size"),)),
    ObservedField("read_only_root", _plain("read_only_root"), (("settings", "read_only_root"),)),
    ObservedField("privileges", _plain("privileges")),
)
ASKED_AS = {
    **{path: one.name for one in OBSERVED_FIELDS for path in one.asked},
    ("settings", "image"): "image",
    ("bind",): "inputs",
    ("returns",): "returns",
}


def engine_image(engine: Record) -> tuple[str | None, str | None]:
    """What the engine calls an attempt's image: the digest of its config, and that of its manifest, where it says them.

    Docker and a node with a loaded image give ``sha256:CONFIG``, a node that pulled gives ``REPOSITORY@sha256:MANIFEST``;
    ``image_config`` is the config's digest where the client found it out besides.
    """
    _, at, digest = str(engine.get("image") or "").rpartition("://")[2].rpartition("@")
    config = engine.get("image_config") or (digest if digest.startswith("sha256:") and not at else None)
    return config, digest if at else None


def outcome_values(step: StepFacts) -> FieldValues:
    exception = step.end.get("exception") or {}
    return {
        "status": step.status,
        "exit_code": step.exit_code,
        "exception": exception.get("type"),
        "out_of_memory": bool(step.end.get("out_of_memory") or step.engine.get("out_of_memory")),
    }


def returned_values(step: StepFacts, metric: bool) -> FieldValues:
    found = {}
    for name, stored in step.end.get("returns", {}).items():
        if (stored["kind"] == "metric") == metric:
            found[name] = {key: value for key, value in stored.items() if key != "kind"}
            if set(found[name]) == {"value"}:
                found[name] = stored["value"]
    return found


def file_text(one: Record) -> str:
    return f"sha256:{one['sha256']} ({one['size']} bytes)"
