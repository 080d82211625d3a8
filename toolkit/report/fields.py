"""The closed tables of what is compared between two runs and of what is not, and where each field is read from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolkit.report.facts import RunFacts, StepFacts, command_text
from toolkit.runtime.shared.protocol import LARGEST_IN_RECORD, VOLUME_VARIABLE
from toolkit.runtime.shared.values import encode_value

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import CatalogEntry, EngineRecord, GotEntry, StoredValue

FieldValues = Mapping[str, object]
"""The values of a field, by their names."""

FIELDS: Mapping[str, str] = {
    "pipeline": "its name",
    "plan": "what was asked for and can't be seen inside a container; the plan's hash",
    "parameters": "the root scope's values, given and at the end",
    "status": "of the step, its exit code, the type of its exception, out of memory; of a composite its branch, items, iterations",
    "attempts": "how many there were",
    "code": "user code, runtime and SDK: the hash in the image's id file",
    "image": "environment, digest, protocol, Python and machine",
    "image.engine": "within one run: the engine's image, the id file inside and the run's record agree",
    "command": "what was run, and the arguments of the runtime",
    "environment": "names that user code sees; values that are not secrets, as the plan has them",
    "mounts": "paths, and which are read-only",
    "user": "user, group and supplementary groups",
    "umask": "the mode of new files",
    "working_folder": "where the step ran",
    "limits": "memory in bytes and thousandths of a core, as the control group has them",
    "shm_size": "bytes of /dev/shm",
    "scratch_size": "bytes of /tmp",
    "read_only_root": "whether the root filesystem is read-only",
    "privileges": "capabilities, seccomp, whether new privileges can be gained",
    "inputs": "the parameters that a step took, and from where",
    "returns": "the parameters that it returned",
    "metrics": "the metrics that it returned",
    "catalog": "name and SHA-256 of each file put and got",
    "catalog.object": "the object's bytes, hashed again where they are on this machine",
}
"""What is compared."""

NOT_COMPARED: Mapping[str, str] = {
    "run id": "each run has its own; as an argument of the runtime it counts as the same",
    "attempt number": "the runtime's argument; how many attempts there were is compared",
    "times": "when a run and its steps started and ended",
    "environment of the run": "local, argo, process or compose, with cluster context and namespace",
    "tag": "a word of the user's, to find runs by",
    "client": "the process that drove the run, and its machine",
    "settings without effect": "placement keys have an effect on argo alone; `toolkit show --json` lists them",
    "image reference": "how the image is named; its content is compared by digest",
    "source": "the file and name of the pipeline; what it says is compared as plan and code",
    "revision": "the commit, its repository and whether it was changed; the code itself is compared",
    "host name": "a container's id, or a pod's name",
    "container": "the engine's id of it, and the engine's message about its end",
    "grouping": "on a cluster, items of a large map share containers: that, and their own copies of the code",
    "words of a failure": "reason, message and traceback hold addresses and paths; the exception's type is compared",
    "output": "output.log, which may hold times",
    "files not kept": "what a step left and nobody put, which no other step sees; it may hold times and process ids",
    "record version": "the version of the records' format",
}
"""What two runs can't have in common, or what says nothing about their sameness. docs/sameness.md has the same list."""

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
        "images": "image",
        "parameters": "parameters",
        "spellings": "parameters",
        "plan_hash": "plan",
        "plan": "plan",
        "described": "source",
        "patches": "plan",
        "controls": "status",
        "source": "source",
        "revision": "revision",
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
        "left": "files not kept",
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
"""The field that each key of each record belongs to, or the name under which it is not compared. A test finds a missing key."""

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
"""Fields that a plain process has not got (toolkit/backends/process.py). Of ``command`` it lacks the runtime's arguments."""

_MOUNT_OF_ENGINE = re.compile(
    r"/etc/(hosts|hostname|resolv\.conf)|(/usr)?/sbin/docker-init|(/var)?/run/argo(/.*)?|.*(nvidia|/libcuda|/libnv).*"
)
"""Mounts that an engine makes for its own purposes: name resolution, its first process, the driver of a GPU."""
PROXIES = frozenset(f"{protocol}_PROXY" for protocol in ("HTTP", "HTTPS", "FTP", "NO", "ALL"))
"""Environment variables that docker-compose may add by itself, in upper case."""
_PRIVATE_FOLDER = re.compile(r"^/tmp/toolkit-\d+(-\d+)?(?=/)")
"""The name of the runtime's private folder holds a process id, and a position where several items share a container."""


def _command(run: RunFacts, step: StepFacts) -> FieldValues:
    argv = list(step.begin["argv"])
    if len(argv) == 6:
        # After the program: protocol, run id, path, attempt. Items that share a container have the path of their group there.
        path = step.path if argv[4] == step.begin.get("group") else argv[4]
        argv[3:] = ["RUN" if argv[3] == run.run_id else argv[3], path, "ATTEMPT"]
    return {"command": command_text(step.begin["command"]), "argv": argv}


def _user(run: RunFacts, step: StepFacts) -> FieldValues:
    user = step.begin["user"]
    # The primary group counts: an fsGroup is listed among the groups, and Docker's is not.
    return {"user": user["uid"], "group": user["gid"], "groups": sorted({user["gid"], *user["groups"]})}


def _environment(run: RunFacts, step: StepFacts) -> FieldValues:
    # A volume's variable follows from the volume, which is among the mounts.
    return {name: "set" for name in step.begin["environment"] if not name.startswith(VOLUME_VARIABLE)}


def _mounts(run: RunFacts, step: StepFacts) -> FieldValues:
    return {
        mount["path"]: "read-only" if mount["read_only"] else "read-write"
        for mount in step.begin["mounts"]
        if mount["path"] not in ("/tmp", "/dev/shm") and not _MOUNT_OF_ENGINE.fullmatch(mount["path"])
    }


def _working_folder(run: RunFacts, step: StepFacts) -> FieldValues:
    return {"working_folder": _PRIVATE_FOLDER.sub("/tmp/toolkit-PID", step.begin["working_folder"])}


def _mount_size(path: str, step: StepFacts) -> int | None:
    sizes = [mount["size"] for mount in step.begin["mounts"] if mount["path"] == path and "size" in mount]
    return sizes[0] if sizes else None


def _shm_size(run: RunFacts, step: StepFacts) -> FieldValues:
    return {"shm_size": _mount_size("/dev/shm", step)}


def _scratch_size(run: RunFacts, step: StepFacts) -> FieldValues:
    settings = step.planned.settings
    has_size = settings is not None and settings.get("scratch_size") is not None
    is_mounted = any(mount["path"] == "/tmp" for mount in step.begin["mounts"])
    if is_mounted and not has_size and step.begin.get("read_only_root"):
        # Without a size /tmp is a mount only beside a read-only root, and it is as large as the machine allows.
        return {}
    return {"scratch_size": _mount_size("/tmp", step)} if is_mounted else {}


def _reader_of(key: str) -> Callable[[RunFacts, StepFacts], FieldValues]:
    """Reads a key of the begin record as it is."""

    def read(run: RunFacts, step: StepFacts) -> FieldValues:
        value = step.begin.get(key)
        return value if isinstance(value, Mapping) else {key: value}

    return read


@dataclass(frozen=True)
class ObservedField:
    """A field that the runtime observed inside the container.

    Attributes:
        read: reads its values by name from the begin record.
        planned_at: where a row of the plan has the same values, under the same names.
    """

    name: str
    read: Callable[[RunFacts, StepFacts], FieldValues]
    planned_at: tuple[tuple[str, ...], ...] = ()


OBSERVED_FIELDS = (
    ObservedField("command", _command, (("command",),)),
    ObservedField("environment", _environment, (("settings", "environment"), ("secrets",))),
    ObservedField("mounts", _mounts, (("settings", "volumes"),)),
    ObservedField("user", _user, (("settings", "user"),)),
    ObservedField("umask", _reader_of("umask")),
    ObservedField("working_folder", _working_folder),
    ObservedField("limits", _reader_of("limits"), (("settings", "resources", "limits"),)),
    ObservedField("shm_size", _shm_size, (("settings", "shm_size"),)),
    ObservedField("scratch_size", _scratch_size, (("settings", "scratch_size"),)),
    ObservedField("read_only_root", _reader_of("read_only_root"), (("settings", "read_only_root"),)),
    ObservedField("privileges", _reader_of("privileges")),
)
FIELD_OF_PLANNED = {
    **{path: observed.name for observed in OBSERVED_FIELDS for path in observed.planned_at},
    ("settings", "image"): "image",
    ("bind",): "inputs",
    ("returns",): "returns",
}
"""By its place in a row of the plan, the field in which a planned value shows once it is carried out."""


def engine_image(engine: EngineRecord) -> tuple[str | None, str | None]:
    """The digests of the config and of the manifest of an attempt's image, as far as the engine says them.

    Docker and a node with a loaded image give ``sha256:CONFIG``; a node that pulled the image gives
    ``REPOSITORY@sha256:MANIFEST``. ``image_config`` is the config's digest where it is known as well.
    """
    _, at, digest = str(engine.get("image") or "").rpartition("://")[2].rpartition("@")
    config = engine.get("image_config") or (digest if digest.startswith("sha256:") and not at else None)
    return config, digest if at else None


def outcome_values(step: StepFacts) -> FieldValues:
    """How the last attempt of a step ended."""
    exception = step.end.get("exception")
    return {
        "status": step.status,
        "exit_code": step.exit_code,
        "exception": exception.get("type") if exception is not None else None,
        "out_of_memory": bool(step.end.get("out_of_memory") or step.engine.get("out_of_memory")),
    }


def returned_values(step: StepFacts, metric: bool) -> FieldValues:
    """The metrics that a step returned, or all its other returns, by name."""
    values: dict[str, object] = {}
    for name, stored in step.end.get("returns", {}).items():
        if (stored["kind"] == "metric") == metric:
            # A metric is a number, however it is spelled.
            hidden = ("kind", "spelling") if metric else ("kind",)
            rest = {key: value for key, value in _by_size(stored).items() if key not in hidden}
            values[name] = stored["value"] if set(rest) == {"value"} else rest
    return values


def _by_size(stored: StoredValue) -> StoredValue:
    """A stored value with its hash in place of it where it is large, as versions record it that write it beside the record."""
    value = stored.get("value")
    if not isinstance(value, (str, list, dict)):
        return stored
    data = encode_value(value)
    if len(data) <= LARGEST_IN_RECORD:
        return stored
    return {"kind": stored["kind"], "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def file_text(file: CatalogEntry | GotEntry) -> str:
    """The content of a file, as one value."""
    executable = ", executable" if file.get("executable") else ""
    return f"sha256:{file['sha256']} ({file['size']} bytes{executable})"
