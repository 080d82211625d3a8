"""The checks of single settings, beyond their types.

A check raises ValueError with a message that continues a sentence, as ``decode.Rules`` says.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from toolkit.config import settings as s
from toolkit.config.decode import Rules
from toolkit.config.quantity import parse_cpu, parse_memory

Check = Callable[[Any], None]

RESERVED_PATHS = ("/workspace", "/opt/toolkit", "/run/toolkit", "/proc", "/sys", "/dev")
"""Folders of a step's container. A volume must neither hide one of them nor be mounted inside it."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_REGISTRY = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INT32 = 2**31 - 1
_ENDS = "with a letter or digit at each end"


def between(lowest: int, highest: int = _INT32) -> Check:
    """A check that a number lies in this range, which includes both ends."""

    def check(value: float) -> None:
        if value < lowest:
            raise ValueError(f"must be at least {lowest}")
        if value > highest:
            raise ValueError(f"must be at most {highest}")

    return check


def check_line(text: str) -> None:
    """The text is one line that is not empty, without control characters."""
    if not text.strip():
        raise ValueError("must not be empty")
    if _CONTROL.search(text):
        raise ValueError("must be one line without control characters")


def check_patch(text: str) -> None:
    """A command is not empty. A shell command may have several lines."""
    if not text.strip():
        raise ValueError("must not be empty")


def check_word(text: str) -> None:
    """The text is not empty and has no white space."""
    check_line(text)
    if re.search(r"\s", text):
        raise ValueError("must not contain white space")


def check_image(text: str) -> None:
    """The name of an image, of which a digest is whole."""
    check_word(text)
    if "@" in text and not _DIGEST.fullmatch(text.partition("@")[2]):
        raise ValueError("must have a whole digest after '@': sha256: and 64 digits of 0-9 and a-f")


def check_python_version(text: str) -> None:
    """A minor version of Python 3."""
    if not re.fullmatch(r"3\.[0-9]+", text):
        raise ValueError("must be a minor version of Python in quotes, as '3.12'")


def check_platform(text: str) -> None:
    """An operating system and an architecture, perhaps with a variant. The build knows which there are."""
    if not re.fullmatch(r"(linux/)?[A-Za-z0-9_-]+(/v?[0-9]+)?", text):
        raise ValueError("must be one platform, as linux/arm64")


def check_ignored(text: str) -> None:
    """A pattern of files in the step's folder."""
    check_line(text)
    if text.startswith(("/", "~")):
        raise ValueError("must be relative to the step's folder")
    if ".." in text.split("/"):
        raise ValueError("must not lead out of the step's folder")
    if text.startswith("!"):
        raise ValueError("can't begin with '!': what one pattern leaves out, no other takes in again")
    if text.strip("./") == "":
        raise ValueError("must name files, and not the step's folder itself")


def check_subdomain(text: str) -> None:
    """A name of a Kubernetes object."""
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        raise ValueError(f"must be at most 253 lower-case letters, digits, '-' and '.', {_ENDS}")


def check_namespace(text: str) -> None:
    """A Kubernetes namespace: a DNS label."""
    if len(text) > 63 or not _SUBDOMAIN.fullmatch(text) or "." in text:
        raise ValueError(f"must be at most 63 lower-case letters, digits and '-', {_ENDS}")


def check_secret_key(text: str) -> None:
    """A key of a Kubernetes Secret."""
    if len(text) > 253 or not _SECRET_KEY.fullmatch(text):
        raise ValueError("must be at most 253 letters, digits, '-', '_' and '.'")


def check_label_key(text: str) -> None:
    """A key of a Kubernetes label or annotation: a name, with an optional ``domain/`` before it."""
    domain, slash, name = text.rpartition("/")
    if slash:
        check_subdomain(domain)
    if not name or len(name) > 63 or not _LABEL.fullmatch(name):
        raise ValueError(
            f"must be at most 63 letters, digits, '-', '_' and '.', {_ENDS}, after an optional domain and '/'"
        )


def check_label_value(text: str) -> None:
    """A value of a Kubernetes label; it may be empty."""
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise ValueError(f"must be at most 63 letters, digits, '-', '_' and '.', {_ENDS}")


def check_variable(name: str) -> None:
    """The name of an environment variable that a user may set for steps."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            "is not the name of an environment variable (letters, digits and _, without a digit at the beginning)"
        )
    if name == "PYTHONHASHSEED":
        raise ValueError("can't be set: it is fixed, so that every run computes the same")
    # The runtime removes these from the environment of user code, so such a setting would have no effect.
    for prefix, owner in (("TOOLKIT_", "toolkit"), ("ARGO_", "Argo"), ("KUBERNETES_", "Kubernetes")):
        if name.startswith(prefix):
            raise ValueError(f"can't be set: names that begin with {prefix} belong to {owner}")


def check_argument(name: str) -> None:
    """The name of an ARG of a Dockerfile."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError("is not the name of an ARG (letters, digits and _, without a digit at the beginning)")


def check_path(path: str) -> None:
    """An absolute, normalised path in a container."""
    if not path.startswith("/"):
        raise ValueError("must be an absolute path, on one of the volumes")
    if _CONTROL.search(path):
        raise ValueError("must not contain control characters")
    if ":" in path:
        raise ValueError("must not contain ':'")
    if ".." in path.split("/"):
        raise ValueError("must not contain '..'")
    if path.startswith("//") or posixpath.normpath(path) != path:
        raise ValueError(f"must be written as {'/' + posixpath.normpath(path).lstrip('/')}")


def check_registry(text: str) -> None:
    """A registry's host, with an optional prefix for image names."""
    address = text.removeprefix("https://").removeprefix("http://")
    host = address.partition("/")[0]
    if not _REGISTRY.fullmatch(address):
        raise ValueError("must be HOST[:PORT][/PREFIX], the prefix in lower case")
    # Docker and Kubernetes read a first part without them as a repository on Docker Hub.
    if "." not in host and ":" not in host and host != "localhost":
        raise ValueError("must name a host with a '.' or a port in it")


def lies_in(path: str, folder: str) -> bool:
    """Whether a normalised path is the folder or inside it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def check_mount_path(path: str) -> None:
    """A folder of the container at which a volume may be mounted."""
    check_path(path)
    if path == "/":
        raise ValueError("must be a folder below /")
    for reserved in RESERVED_PATHS:
        if lies_in(path, reserved):
            raise ValueError(f"must not be inside {reserved}, which belongs to the step's container")
        if lies_in(reserved, path):
            raise ValueError(f"must not hide {reserved}, which belongs to the step's container")


def check_cpu(text: str) -> None:
    """An amount of CPU that every engine accepts."""
    # Docker's own minimum. It holds everywhere: what one environment refuses, all refuse.
    if parse_cpu(text) < 10:
        raise ValueError("must be at least 10m")


def check_memory(text: str) -> None:
    """An amount of memory that every engine accepts."""
    if parse_memory(text) < 6 * 1024 * 1024:
        raise ValueError("must be at least 6Mi, the least that Docker accepts")


def check_size(text: str) -> None:
    """A size of memory or disk, above 0."""
    if parse_memory(text) < 1:
        raise ValueError("must be more than 0")


def _rules() -> Rules:
    checks: dict[tuple[type, str], Check] = {}
    for cls in (s.ExecutorConfig, s.Override):
        checks.update({(cls, key): check_size for key in ("shm_size", "scratch_size")})
        checks[(cls, "image")] = check_image
        checks[(cls, "user")] = between(0)
        checks[(cls, "max_step_duration_in_seconds")] = between(1)
        checks[(cls, "node_selector")] = check_label_value
        checks[(cls, "service_account_name")] = check_subdomain
    for key in (
        "max_workflow_duration_in_seconds",
        "max_on_exit_step_duration_in_seconds",
        "grace_period_in_seconds",
        "parallelism",
        "pods_per_map",
        "pids_limit",
        "start_timeout_in_seconds",
    ):
        checks[(s.ExecutorConfig, key)] = between(1)
    for key in ("name", "context", "output_file", "schedules"):
        checks[(s.ExecutorConfig, key)] = check_line
    for key in ("image_pull_secrets", "step_secret_name"):
        checks[(s.ExecutorConfig, key)] = check_subdomain
    checks[(s.ExecutorConfig, "namespace")] = check_namespace
    checks[(s.ExecutorConfig, "labels")] = check_label_value
    checks.update(
        {
            (s.PersistentVolume, "name"): check_subdomain,
            (s.PersistentVolume, "mount_path"): check_mount_path,
            (s.PersistentVolume, "host_path"): check_line,
            (s.SecretReference, "environment_variable"): check_variable,
            (s.SecretReference, "secret_name"): check_subdomain,
            (s.SecretReference, "secret_key"): check_secret_key,
            (s.ResourceList, "cpu"): check_cpu,
            (s.ResourceList, "memory"): check_memory,
            (s.ResourceList, "gpu"): between(0),
            (s.BackOff, "duration_in_seconds"): between(0),
            (s.BackOff, "factor"): between(1),
            (s.BackOff, "max_duration"): between(1),
            (s.RetryStrategy, "limit"): between(0),
            (s.Retries, "limit"): between(0),
            (s.Retries, "delay"): between(0),
            (s.Retries, "factor"): between(1),
            (s.Retries, "max_duration"): between(1),
            (s.StepSettings, "timeout"): between(1),
            (s.StepSettings, "image"): check_image,
            (s.StepSettings, "user"): between(0),
            (s.Patch, "command"): check_patch,
            (s.PatchFile, "path"): check_line,
            (s.Toleration, "key"): check_label_key,
            (s.Toleration, "value"): check_label_value,
            (s.Toleration, "toleration_seconds"): between(0),
            (s.RunLogStore, "log_folder"): check_path,
            (s.CatalogStore, "catalog_location"): check_path,
            (s.CatalogStore, "compute_data_folder"): check_line,
            (s.CatalogStore, "ignore"): check_ignored,
            (s.Secrets, "location"): check_line,
            (s.BuildNetwork, "ca_bundle"): check_line,
            (s.BuildNetwork, "pip_config"): check_line,
            (s.BuildNetwork, "netrc"): check_line,
            (s.BuildNetwork, "ssh"): check_line,
            (s.Build, "base_image"): check_image,
            (s.Build, "python"): check_python_version,
            (s.Build, "platform"): check_platform,
            (s.Build, "system_packages"): check_word,
            (s.Build, "build_packages"): check_word,
            (s.Build, "dockerfile"): check_line,
            (s.Build, "target"): check_word,
            (s.Build, "run"): check_patch,
            (s.Build, "files"): check_line,
            (s.Build, "lock"): check_line,
            (s.Build, "extras"): check_word,
            (s.Build, "groups"): check_word,
            (s.Build, "wheelhouse"): check_line,
            (s.Build, "version"): check_word,
            (s.Build, "context"): check_line,
            (s.Build, "registry"): check_registry,
        }
    )
    labelled = ((s.ExecutorConfig, "annotations"), (s.ExecutorConfig, "labels"), (s.ExecutorConfig, "node_selector"))
    key_checks: dict[tuple[type, str], Check] = dict.fromkeys(
        (*labelled, (s.Override, "node_selector")), check_label_key
    )
    key_checks.update({(cls, "environment"): check_variable for cls in (s.ExecutorConfig, s.Override, s.StepSettings)})
    key_checks[(s.ExecutorConfig, "overrides")] = check_line
    key_checks[(s.Build, "args")] = check_argument
    key_checks[(s.ExecutorConfig, "patches")] = check_line
    amounts: set[tuple[type, str]] = {(s.ResourceList, "cpu"), (s.ResourceList, "memory")}
    amounts.add((s.Build, "args"))  # as docker-compose takes PY: 3.10
    amounts |= {(cls, key) for cls in (s.ExecutorConfig, s.Override) for key in ("shm_size", "scratch_size")}
    return Rules(
        checks=checks,
        key_checks=key_checks,
        short_forms={s.PatchFile: "path"},
        aliases={
            (s.ExecutorConfig, "docker_image"): "image",
            (s.Override, "docker_image"): "image",
            (s.ResourceList, "nvidia.com/gpu"): "gpu",
            (s.Build, "base"): "base_image",
        },
        amounts=amounts,
        elsewhere={
            s.Resources: dict.fromkeys(("cpu", "memory", "gpu", "nvidia.com/gpu"), "limits or requests"),
            s.RetryStrategy: dict.fromkeys(s.BackOff._fields, "back_off"),
        },
    )


RULES = _rules()
