"""What was asked of a cluster, as plain data, and the commands that remedies are made of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.preflight.needs import Right


@dataclass(frozen=True)
class Denied:
    """What this user may not see, or the API server did not answer; and why."""

    why: str


Answer: TypeAlias = "KubernetesObject | Denied | None"
"""An object, or None when there is none."""


Answers: TypeAlias = "tuple[KubernetesObject, ...] | Denied"


@dataclass(frozen=True)
class SecretKeys:
    """A Secret without its values. ``keys`` says of each key whether it has one.

    Attributes:
        account: the service account whose token it is for.
    """

    type: str
    keys: Mapping[str, bool]
    account: str = ""


@dataclass(frozen=True)
class Account:
    """A service account, the Secret of its token, and which of its rights it lacks."""

    account: Answer
    token_name: str
    token: SecretKeys | Denied | None
    lacking: tuple[Right, ...] | Denied


@dataclass(frozen=True)
class Claim:
    """A claim with its volume or, while it has none, with its storage class and events."""

    claim: Answer
    volume: Answer = None
    storage_class: Answer = None
    events: Answers = ()


@dataclass(frozen=True)
class Controllers:
    """The Deployments of workflow controllers that this user can see.

    Attributes:
        deployments: of the whole cluster, or of the namespaces that could be searched.
        everywhere: whether the whole cluster could be searched.
        settings: the ConfigMap of each controller, by its namespace.
        active: whether a controller has ever worked on a Workflow of this namespace.
    """

    deployments: Answers
    everywhere: bool
    settings: Mapping[str, Answer] = field(default_factory=dict)
    active: bool = False


@dataclass(frozen=True)
class Facts:
    """All answers, for one namespace."""

    context: str
    namespace_name: str
    server: str
    version: str
    user: str
    namespace: Answer
    api: Answer
    controllers: Controllers
    lacking: tuple[Right, ...] | Denied
    accounts: Mapping[str, Account]
    claims: Mapping[str, Claim]
    secrets: Mapping[str, SecretKeys | Denied | None]
    nodes: Answers = ()
    quotas: Answers = ()
    limit_ranges: Answers = ()

    def kubectl(self, *words: str, everywhere: bool = False) -> str:
        """A command for this context and, unless it is about the whole cluster, this namespace."""
        context = ["--context", self.context] if self.context else []
        namespace = [] if everywhere else ["-n", self.namespace_name]
        return " ".join(shlex.quote(word) for word in ("kubectl", *context, *namespace, *words))

    def apply(self, base: str, everywhere: bool = False) -> str:
        """A command that applies one of k8s/."""
        apply = self.kubectl("apply", "-f", "-", everywhere=everywhere)
        return f"toolkit doctor --manifests {shlex.quote(base)} | {apply}"


def is_controller(deployment: KubernetesObject) -> bool:
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return deployment["metadata"]["name"] == "workflow-controller" or labels.get("app") == "workflow-controller"


def container_words(deployment: KubernetesObject) -> list[str]:
    """The controller's command line, with ``--option=value`` as two words."""
    container = controller_container(deployment)
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]


def controller_container(deployment: KubernetesObject) -> KubernetesObject:
    containers: list[KubernetesObject] = deployment["spec"]["template"]["spec"]["containers"]
    return next((each for each in containers if each["name"] in ("workflow-controller", "controller")), containers[0])


def option(words: Sequence[str], name: str) -> str:
    """The value of an option of a command line; empty when it is not there."""
    return next((after for word, after in pairwise(words) if word == name), "")


def settings_name(deployment: KubernetesObject) -> str:
    return option(container_words(deployment), "--configmap") or "workflow-controller-configmap"


def ask_admin(facts: Facts) -> str:
    """The command with which the cluster's admin lets this user see what a preflight asks for in the namespace."""
    user = facts.user or "USER"
    bind = facts.kubectl("create", "rolebinding", _binding(user), "--role", "toolkit-user", "--user", user)
    return f"an admin grants it: {facts.apply('accounts')} && {bind}"


def ask_admin_of_cluster(facts: Facts) -> str:
    """The same for nodes and volumes, which are in no namespace."""
    user = facts.user or "USER"
    words = ("create", "clusterrolebinding", _binding(user), "--clusterrole", "toolkit-nodes", "--user", user)
    return f"an admin grants it: {facts.apply('nodes', everywhere=True)} && {facts.kubectl(*words, everywhere=True)}"


def _binding(user: str) -> str:
    return "toolkit-" + (re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:50] or "user")
