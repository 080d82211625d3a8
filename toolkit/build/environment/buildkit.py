"""BuildKit through the `docker` command line: finds one that has BuildKit, and runs a build with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.build.progress import Doing, LiveLine
from toolkit.config.located import shown
from toolkit.engine import Endpoint
from toolkit.errors import Infrastructure

TIME_LIMIT = 30 * 60
"""Seconds that the build of an environment may take."""
_LAST_WITH_BUILTIN = 23
"""The last version of the CLI that uses the engine's BuildKit by itself. Later ones need the buildx plugin."""
_OWN_STEP = re.compile(r'#\d+ \[.*: "step: ([^"]+)"')
"""A step of the templates, which name what they do."""
_ANY_STEP = re.compile(r"#\d+ (\[(?!internal)[^\]]*\d+/\d+\] (?!FROM ).+)")
_WIDEST = 120
"""Characters of a step that are shown."""
_GRACE = 10
"""Seconds between asking the CLI to stop and killing it."""


@dataclass(frozen=True)
class BuildClient:
    """A docker CLI that can build with BuildKit.

    Attributes:
        command: the beginning of a build's command line, before its options.
        to_engine: the options that put the image into the engine.
        settings: environment variables that the command needs.
    """

    command: tuple[str, ...]
    settings: dict[str, str]
    to_engine: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildRequest:
    """One build.

    Attributes:
        dockerfile: absolute path.
        context: absolute path of a folder that holds only what the template copies.
        tag: the image's reference; "" where the build's result is files.
        output: the file that gets the whole output.
        arguments: ARG values, which the image's history shows.
        passed_on: names of this process's environment variables that the build gets (proxies). The image does not show them.
        secrets: files that are mounted during the build, by the secret's id. The image does not show them.
        secret_texts: the same, of what is in no file. It reaches the CLI by its environment.
        ssh: what BuildKit's mounts of SSH lead to, as its option has it (``default``, ``default=PATH``).
        hidden: texts that are replaced in the output: a tool may print an address with a token.
        anew: whether nothing is taken from BuildKit's cache.
        target: the stage that is built; "" is the last one.
        shows_steps: whether each step is reported by its instruction, as a Dockerfile of the user's own wants it.
        files: an absolute path of the folder that gets the files of the build's last stage; None where an image is made of it.
        platform: of the base images and of what runs; "" is the engine's.
    """

    dockerfile: Path
    context: Path
    tag: str
    output: Path
    arguments: dict[str, str] = field(default_factory=dict)
    passed_on: tuple[str, ...] = ()
    secrets: dict[str, Path] = field(default_factory=dict)
    secret_texts: dict[str, str] = field(default_factory=dict)
    ssh: str = ""
    hidden: frozenset[str] = frozenset()
    files: Path | None = None
    anew: bool = False
    target: str = ""
    shows_steps: bool = False
    platform: str = ""


@dataclass(frozen=True)
class BuildResult:
    """The end of one build; ``text`` is its whole output."""

    succeeded: bool
    text: str


def find_build_client(endpoint: Endpoint) -> BuildClient:
    """The first CLI that has BuildKit, from PATH, then /usr/bin/docker.

    Raises:
        Infrastructure: there is none; its sentence says what to install.
    """
    rejected: list[str] = []
    settings = _engine_settings(endpoint)
    for binary in _binaries():
        # "default" is the engine's own BuildKit. Another builder would not see the images that this engine has.
        if _output([binary, "buildx", "version"]):
            return BuildClient((binary, "buildx", "build", "--builder", "default"), settings, ("--load",))
        version = re.search(r"version (\d+)\.", _output([binary, "--version"]))
        if version and int(version[1]) < _LAST_WITH_BUILTIN:
            return BuildClient((binary, "build"), settings | {"DOCKER_BUILDKIT": "1"})
        rejected.append(f"{binary} has no buildx plugin")
    raise Infrastructure(
        f"no docker command line here can build with BuildKit ({'; '.join(rejected) or 'there is none on PATH'}): "
        "install the buildx plugin (docker-buildx-plugin, on Debian 12 docker.io has it built in)"
    )


def _binaries() -> list[str]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"]
    binaries: dict[str, str] = {}
    for folder in folders:
        path = os.path.join(folder or ".", "docker")
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            binaries.setdefault(os.path.realpath(path), path)
    return list(binaries.values())


def _output(command: list[str]) -> str:
    """A command's standard output; "" when it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=20, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _engine_settings(endpoint: Endpoint) -> dict[str, str]:
    """The environment variables that point a CLI to this very engine, whatever the current context is."""
    settings = {"DOCKER_HOST": endpoint.address}
    if endpoint.certificates is not None:
        settings["DOCKER_CERT_PATH"] = str(endpoint.certificates)
        settings["DOCKER_TLS_VERIFY" if endpoint.verify else "DOCKER_TLS"] = "1"
    return settings


def run_build(client: BuildClient, request: BuildRequest, report: Callable[[str], None]) -> BuildResult:
    """Runs a build, and reports each step that the template names when the step begins, and what is done meanwhile.

    Raises:
        Infrastructure: it took longer than the time limit, or cannot be started.
        KeyboardInterrupt: the user interrupted it. The CLI and the build are stopped first.
    """
    command = [*client.command, "--progress", "plain", "--file", str(request.dockerfile)]
    if request.files is not None:
        command += ["--output", f"type=local,dest={request.files}"]
    else:
        command += [*client.to_engine, "--tag", request.tag]
    if request.target:
        command += ["--target", request.target]
    if request.platform:
        command += ["--platform", request.platform]
    if request.anew:
        command.append("--no-cache")
    for name, value in request.arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in request.passed_on:
        command += [
            "--build-arg",
            name,
        ]  # the CLI takes the value from its environment, so no list of processes shows it
    for name, path in request.secrets.items():
        command += ["--secret", f"id={name},src={path}"]
    texts = {f"TOOLKIT_SECRET_{name.upper()}": text for name, text in request.secret_texts.items()}
    for name in request.secret_texts:
        command += ["--secret", f"id={name},env=TOOLKIT_SECRET_{name.upper()}"]
    if request.ssh:
        command += ["--ssh", request.ssh]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH", "BUILDX_BUILDER")
    }
    with request.output.open("wb") as output:
        try:
            child = subprocess.Popen(
                [*command, str(request.context)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=environment | client.settings | texts, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Infrastructure(f"{client.command[0]} cannot be started: {error.strerror}") from error
        try:
            with LiveLine(report, "starting the build") as progress:
                steps = _ANY_STEP if request.shows_steps else _OWN_STEP
                _report_steps(child, request.output, progress, steps, request.hidden)
        except BaseException:
            _stop(child)
            raise
        finally:
            _hide(request.output, request.hidden)
    return BuildResult(child.returncode == 0, request.output.read_text("utf-8", "replace"))


def _hide(output: Path, hidden: frozenset[str]) -> None:
    """Takes what is secret out of a build's output."""
    content = output.read_bytes()
    text = without_secrets(content.decode("utf-8", "surrogateescape"), hidden).encode("utf-8", "surrogateescape")
    if text != content:
        output.write_bytes(text)


def without_secrets(text: str, hidden: frozenset[str]) -> str:
    """A text without these values, and without what stands before ``@`` in addresses."""
    for value in sorted(hidden, key=len, reverse=True):
        text = text.replace(value, "***")
    # A user's name before an address of SSH is no secret.
    return re.sub(r"(?<!ssh)(://)[^/\s@\"'`]+@", r"\1***@", text)


def _report_steps(
    child: subprocess.Popen[bytes],
    output: Path,
    progress: LiveLine,
    shown_step: re.Pattern[str],
    hidden: frozenset[str] = frozenset(),
) -> None:
    """Waits for the build's end, and shows until then what it does."""
    deadline = time.monotonic() + TIME_LIMIT
    reported: set[str] = set()
    doing = Doing()
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
                text = without_secrets(line.decode("utf-8", "replace"), hidden)
                step = shown_step.match(text)
                if step and step[1] not in reported:
                    reported.add(step[1])
                    progress.begin(step[1] if len(step[1]) <= _WIDEST else f"{step[1][: _WIDEST - 3]}...")
                detail = doing.read(text)
                if detail is not None:
                    progress.detail(detail)
            if running and time.monotonic() > deadline:
                raise Infrastructure(
                    f"the environment was not built within {TIME_LIMIT // 60} minutes, so its build was stopped "
                    f"(the whole log: {shown(output)})"
                )


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stops the CLI, which cancels the build in the engine."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(_GRACE)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
