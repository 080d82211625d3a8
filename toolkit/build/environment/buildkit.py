"""BuildKit, by the command line that has it: which one that is, and one build with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.engine import Endpoint
from toolkit.errors import Infrastructure

TIME_LIMIT = 30 * 60
"""Seconds that a build of an environment may take."""
_LAST_WITH_BUILTIN = 23
"""CLIs before this version speak to the engine's BuildKit themselves; later ones need the buildx plugin for it."""
_GRACE = 10


@dataclass(frozen=True)
class BuildClient:
    """A docker CLI that can build with BuildKit.

    Attributes:
        command: what comes before the options of a build.
        settings: environment variables that it needs.
    """

    command: tuple[str, ...]
    settings: dict[str, str]


@dataclass(frozen=True)
class BuildRequest:
    """One build.

    Attributes:
        dockerfile: absolute path.
        context: absolute path of a folder that holds nothing else than what the template copies.
        arguments: ARG values; they are in the image's history.
        passed_on: names of this process's variables that the build gets (proxies), without a trace in the image.
        secrets: files that are mounted while it builds, by id, without a trace in the image.
        output: the file that gets its whole output.
    """

    dockerfile: Path
    context: Path
    tag: str
    output: Path
    arguments: dict[str, str] = field(default_factory=dict)
    passed_on: tuple[str, ...] = ()
    secrets: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildResult:
    succeeded: bool
    text: str


def find_build_client(endpoint: Endpoint) -> BuildClient:
    """The first CLI on PATH, then /usr/bin/docker, that has BuildKit.

    Raises:
        Infrastructure: there is none; says what to install.
    """
    seen: list[str] = []
    settings = _engine_settings(endpoint)
    for binary in _binaries():
        # "default" is the engine's own BuildKit; another builder would not see the images that this engine has.
        if _answer([binary, "buildx", "version"]):
            return BuildClient((binary, "buildx", "build", "--builder", "default", "--load"), settings)
        version = re.search(r"version (\d+)\.", _answer([binary, "--version"]))
        if version and int(version[1]) < _LAST_WITH_BUILTIN:
            return BuildClient((binary, "build"), settings | {"DOCKER_BUILDKIT": "1"})
        seen.append(f"{binary} has no buildx plugin")
    raise Infrastructure(
        f"no docker command line here can build with BuildKit ({'; '.join(seen) or 'there is none on PATH'}): "
        "install the buildx plugin (docker-buildx-plugin, on Debian 12 docker.io has it built in)"
    )


def _binaries() -> list[str]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"]
    found: dict[str, str] = {}
    for folder in folders:
        path = os.path.join(folder or ".", "docker")
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _answer(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=20, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _engine_settings(endpoint: Endpoint) -> dict[str, str]:
    """Points a CLI to the very engine that this process talks to, whatever the current context is."""
    settings = {"DOCKER_HOST": endpoint.address}
    if endpoint.certificates is not None:
        settings["DOCKER_CERT_PATH"] = str(endpoint.certificates)
        settings["DOCKER_TLS_VERIFY" if endpoint.verify else "DOCKER_TLS"] = "1"
    return settings


def run_build(client: BuildClient, request: BuildRequest, report: Callable[[str], None]) -> BuildResult:
    """Builds, reporting each step that the template names as it begins.

    Raises:
        Infrastructure: it took longer than the time limit, or cannot be started.
        KeyboardInterrupt: the user ended it; the CLI and the build are ended first.
    """
    command = [*client.command, "--progress", "plain", "--file", str(request.dockerfile), "--tag", request.tag]
    for name, value in request.arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in request.passed_on:
        command += ["--build-arg", name]  # the value comes from the environment, so that no list of processes shows it
    for name, path in request.secrets.items():
        command += ["--secret", f"id={name},src={path}"]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH", "BUILDX_BUILDER")
    }
    with request.output.open("wb") as output:
        try:
            child = subprocess.Popen(
                [*command, str(request.context)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=environment | client.settings, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Infrastructure(f"{client.command[0]} cannot be started: {error.strerror}") from error
        try:
            _follow(child, request.output, report)
        except BaseException:
            _end(child)
            raise
    return BuildResult(child.returncode == 0, request.output.read_text("utf-8", "replace"))


def _follow(child: subprocess.Popen[bytes], output: Path, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + TIME_LIMIT
    seen: set[str] = set()
    with output.open("rb") as stream:
        rest = b""
        running = True
        while running:
            try:
                child.wait(0.2)
                running = False
            except subprocess.TimeoutExpired:
                pass
            *lines, rest = (rest + stream.read()).split(b"\n")
            for line in lines:
                step = re.match(r'#\d+ \[.*: "step: ([^"]+)"', line.decode("utf-8", "replace"))
                if step and step[1] not in seen:
                    seen.add(step[1])
                    report("  " + step[1])
            if running and time.monotonic() > deadline:
                raise Infrastructure(
                    f"the environment was not built within {TIME_LIMIT // 60} minutes and was given up: see {output}"
                )


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the CLI, which cancels the build on the engine with it."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(_GRACE)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
