"""A case of the suite: a small project, the command that runs it, and the result that every environment must give."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

Environment = Literal["process", "local", "argo"]
ENVIRONMENTS: tuple[Environment, ...] = ("process", "local", "argo")

OVERRIDDEN_BY = "local-container"
"""The executor type of a case's configuration. By it, a step names an override: `overrides={OVERRIDDEN_BY: …}`."""


@dataclass(frozen=True)
class Exemption:
    """Why an environment does not run a case. docs/conformance.md has a row for each, which a test checks."""

    name: str
    why: str


# --- how steps end --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended.

    Attributes:
        reason: a part of its reason. An empty one is compared only for a success.
    """

    status: str
    exit_code: int | None
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """A step's status, and its attempts in order."""

    status: str
    attempts: tuple[Attempt, ...] = ()


def attempt(exit_code: int, reason: str = "") -> Attempt:
    """An attempt by its exit code."""
    return Attempt("failed" if exit_code else "succeeded", exit_code, reason)


def failed(exit_code: int, reason: str = "") -> Step:
    """A step with one attempt, which failed."""
    return Step("failed", (attempt(exit_code, reason),))


def cancelled(exit_code: int) -> Step:
    """A step that was asked to stop."""
    return Step("cancelled", (Attempt("cancelled", exit_code, "cancelled"),))


def attempted(*attempts: Attempt) -> Step:
    """A step with several attempts."""
    return Step(attempts[-1].status, attempts)


OK = Step("succeeded", (attempt(0),))
PASSED = Step("succeeded")
"""A stub, or a composite that has succeeded."""
BROKEN = Step("failed")
"""A composite in which a step has failed."""
SKIPPED = Step("skipped")


# --- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expect:
    """The result of a case. What is not named here must still be the same in every environment.

    Attributes:
        code: the exit code of the command.
        steps: all steps, by path; None means that each succeeded at its first attempt.
        among: some of the steps, by path. A skipped one stands for all below it. Each other step succeeded at its first attempt.
        rows: how many steps there are, when ``among`` is given.
        parameters: the values at the end, in the root scope, that the case checks.
        puts: for a step, the content of each file that it put.
        left: for some of the steps, the size of each file that it left and nobody put, by name; None means that it left none.
        changed: for some of the steps, those of them that have the name of a file of the project's.
        output: for a step, a text in its output.
        absent: texts that appear neither in output, nor in records, nor in what the command printed.
        stderr: a text that the command printed on standard error.
        reason: a part of the run's reason.
        labels: on a cluster, labels of each pod.
        no_run: whether the command must not have made a run.
    """

    code: int = 0
    steps: Mapping[str, Step] | None = None
    among: Mapping[str, Step] = field(default_factory=dict)
    rows: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    puts: Mapping[str, Mapping[str, str | bytes]] = field(default_factory=dict)
    left: Mapping[str, Mapping[str, int] | None] = field(default_factory=dict)
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    output: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()
    stderr: str = ""
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    no_run: bool = False


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: letters, digits and dashes, at most 24 characters.
        rule: the rule that the case checks, in a sentence or two.
        core: why `task test` runs it in all environments. Without a reason it runs there as plain processes, and a golden file
            holds what a cluster would be given.
        steps: the steps as expressions of the SDK, in order. They can name `functions.*` and all of the SDK.
        code: the rest of functions.py, which imports os, sys, time, json and `volume`.
        files: further files, by path. A pipeline.py replaces the one that is made of `steps`.
        config: the settings of the executor.
        services: the rest of the configuration.
        pipeline: the pipeline that runs.
        arguments: further arguments of `toolkit run`.
        environ: environment variables of the command, added to those of the tests.
        secrets: values of secrets, by name.
        common: values of the secrets of every step (secrets_from_k8s), by name.
        also: further pipelines of the project, whose runs must be the same.
        compiles: whether a cluster only compiles those further pipelines. When equal objects are submitted, the runs are equal.
        script: whether it runs as `python FILE`.
        cancel_at: a text. When the first step has printed it, the command gets SIGTERM.
        fix: environment variables with which `toolkit retry` resumes the run after it has failed; without any, there is no retry.
        exempt: for environments that do not run the case, the reason.
    """

    name: str
    rule: str
    expect: Expect = field(default_factory=Expect)
    core: str = ""
    steps: Sequence[str] = ()
    code: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)
    pipeline: str = "pipeline.py"
    arguments: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    common: Mapping[str, str] = field(default_factory=dict)
    also: Sequence[str] = ()
    compiles: bool = False
    script: bool = False
    cancel_at: str = ""
    fix: Mapping[str, str] = field(default_factory=dict)
    exempt: Mapping[Environment, Exemption] = field(default_factory=dict)

    def environments(self, tier: str) -> tuple[Environment, ...]:
        """Where the case runs in a tier of the tests."""
        in_tier: tuple[Environment, ...] = ENVIRONMENTS if tier == "full" or self.core else ("process",)
        return tuple(environment for environment in in_tier if environment not in self.exempt)

    @property
    def secret_name(self) -> str:
        """The Kubernetes Secret that holds the case's secrets."""
        return f"conformance-{self.name}"

    def project(self) -> dict[str, str]:
        """The project's files."""
        common = [
            {"environment_variable": name, "secret_name": self.secret_name, "secret_key": name} for name in self.common
        ]
        config = {"step_secret_name": self.secret_name, **self.config}
        if common:
            config["secrets_from_k8s"] = common
        document = {"executor": {"type": OVERRIDDEN_BY, "config": config}, **self.services}
        steps = "".join(f"    {step},\n" for step in self.steps)
        files = {
            "toolkit.yaml": yaml.safe_dump(document, sort_keys=False),
            "volume.py": VOLUME.replace("CASE", self.name),
            "functions.py": "import json, os, sys, time\nimport volume\n\n" + self.code,
            "pipeline.py": f"import functions\nfrom toolkit import *\n\np = Pipeline(steps=[\n{steps}])\n",
        }
        return {**files, **self.files}


VOLUME = """\
import os

def folder():
    # Outside of a container the suite gives a folder for it: the volume of a plain process is its project's alone.
    path = os.path.join(os.environ.get("CONFORMANCE_VOLUME", "/mnt"), "CASE")
    os.makedirs(path, exist_ok=True)
    return path

def attempts(name):
    # How often this was called with that name before, in whatever attempt.
    path = os.path.join(folder(), name)
    with open(path, "a+") as file:
        file.seek(0)
        before = len(file.read())
        file.write("x")
    return before
"""
"""The module `volume` of each project, by which attempts and steps share files."""


def functions(**bodies: str) -> dict[str, Any]:
    """`steps` and `code` of a Python step for each body of a function, in order: `Case(…, **functions(only="pass"))`."""
    code = "\n".join(
        f"def {name}():\n" + "".join(f"    {line}\n" for line in body.splitlines()) for name, body in bodies.items()
    )
    return {"code": code, "steps": [f"PythonTask(functions.{name})" for name in bodies]}


def written(text: str, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A pipeline.py with this text after imports of the whole SDK, and further files: `Case(…, **written(TEXT))`."""
    begins = "from toolkit import *\nimport json, os, sys, time\nimport volume\n\n"
    return {"files": {"pipeline.py": begins + text, **(files or {})}}


def literal(text: str) -> str:
    """A text as the configuration writes it, where a ``$`` begins a variable."""
    return text.replace("$", "$$")


def digest(content: str | bytes) -> str:
    """The SHA-256 of a content, which is its name in the catalog."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
