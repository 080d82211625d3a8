"""What a case is: a small project, the command line that runs it, and what must come of it in every environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

Environment = Literal["process", "local", "argo"]
ENVIRONMENTS: tuple[Environment, ...] = ("process", "local", "argo")

OVERRIDDEN_BY = "local-container"
"""The type of the executor in a case's configuration, by which a step names an override: `overrides={OVERRIDDEN_BY: …}`."""


@dataclass(frozen=True)
class Exemption:
    """Why an environment need not do what a case says; docs/conformance.md has a row for each, and a test holds that."""

    name: str
    why: str


# --- how steps end --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended.

    Attributes:
        reason: a part of its reason; empty is compared for a success alone.
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
    """A step that was told to end."""
    return Step("cancelled", (Attempt("cancelled", exit_code, "cancelled"),))


def tried(*attempts: Attempt) -> Step:
    """A step that was tried several times."""
    return Step(attempts[-1].status, attempts)


OK = Step("succeeded", (attempt(0),))
PASSED = Step("succeeded")
"""A stub, or what holds other steps."""
BROKEN = Step("failed")
"""What holds other steps, of which one failed."""
SKIPPED = Step("skipped")


# --- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expect:
    """What must come of a case. What is not named here must still be the same in every environment.

    Attributes:
        code: the exit code of the command.
        steps: by path, all of them; None is that each succeeded at its first attempt.
        among: some of the steps by path, one that is skipped with all below it; each other one succeeded at its first attempt.
        rows: how many steps there are then.
        parameters: of the root scope at the end, those that matter.
        puts: for a step the content of each file that it put.
        output: for a step a text that its output holds.
        absent: texts that are nowhere in output, records and what the command printed.
        said: a text that the command printed on standard error.
        reason: a part of the run's reason.
        labels: on a cluster, of each pod.
        nothing: whether not even a run may be there.
    """

    code: int = 0
    steps: Mapping[str, Step] | None = None
    among: Mapping[str, Step] = field(default_factory=dict)
    rows: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    puts: Mapping[str, Mapping[str, str | bytes]] = field(default_factory=dict)
    output: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()
    said: str = ""
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    nothing: bool = False


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: of letters, digits and dashes, at most 24 characters. rule: what it holds, in a sentence.
        steps: the SDK's expressions of the steps, in order; `functions.*` and the SDK's names are there.
        code: functions.py, with os, sys, time, json and `volume` imported.
        files: more files by path; one named pipeline.py stands in for the one made of `steps`.
        config: of the executor. services: the rest of the configuration.
        pipeline: what is run. arguments: of `toolkit run`, after it. environ: added to the command's environment.
        secrets: values by name. common: secrets of every step (secrets_from_k8s), by name.
        also: further pipelines of the project, which must give the very same. compiles: whether a cluster is only asked to compile
        them: what is submitted is the same, and so is what comes of it.
        script: whether it is run as `python FILE`.
        cancel_at: a text; when the first step has printed it, the command gets SIGTERM.
        mended: variables of the environment with which `toolkit retry` goes on once the run has failed; none is no retry.
        exempt: why an environment does not run the case.
        core: why `task test` runs it in all environments; without a reason it is a plain process there, and what a cluster would
        be given is held by a golden file.
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
    mended: Mapping[str, str] = field(default_factory=dict)
    exempt: Mapping[Environment, Exemption] = field(default_factory=dict)

    def environments(self, tier: str) -> tuple[Environment, ...]:
        """Where the case runs in a tier of the tests."""
        where: tuple[Environment, ...] = ENVIRONMENTS if tier == "full" or self.core else ("process",)
        return tuple(one for one in where if one not in self.exempt)

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
        steps = "".join(f"    {one},\n" for one in self.steps)
        made = {
            "toolkit.yaml": yaml.safe_dump(document, sort_keys=False),
            "volume.py": VOLUME.replace("CASE", self.name),
            "functions.py": "import json, os, sys, time\nimport volume\n\n" + self.code,
            "pipeline.py": f"import functions\nfrom toolkit import *\n\np = Pipeline(steps=[\n{steps}])\n",
        }
        return {**made, **self.files}


VOLUME = """\
import os

def folder():
    # Plain processes have no mount paths; the suite gives them a folder in their place.
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
"""The module `volume` of each project: what a step's attempts and several steps can share."""


def functions(**bodies: str) -> dict[str, Any]:
    """`steps` and `code` of one python step for each body of a function, in order: `Case(…, **functions(only="pass"))`."""
    code = "\n".join(
        f"def {name}():\n" + "".join(f"    {line}\n" for line in body.splitlines()) for name, body in bodies.items()
    )
    return {"code": code, "steps": [f"PythonTask(functions.{name})" for name in bodies]}


def written(text: str, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A pipeline.py of its own, in which all of the SDK's names are there, and further files: `Case(…, **written(TEXT))`."""
    begins = "from toolkit import *\nimport json, os, sys, time\nimport volume\n\n"
    return {"files": {"pipeline.py": begins + text, **(files or {})}}


def literal(text: str) -> str:
    """A text as the configuration takes it, in which a ``$`` begins a variable."""
    return text.replace("$", "$$")


def digest(content: str | bytes) -> str:
    """The SHA-256 that the catalog names a file by."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
