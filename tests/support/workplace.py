"""Namespaces that are prepared as an admin would prepare them, and projects whose runs go there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.cluster import Cluster, claim
from tests.support.scratch import Scratch

BASES = Path(__file__).resolve().parents[2] / "k8s"
VOLUME = "toolkit"
"""The claim of a project without a configuration."""


@dataclass(frozen=True)
class Workplace:
    """A namespace that runs can use, with accounts, a claim, and a kubeconfig whose context names it.

    Attributes:
        folder: the folder behind the claim; None when it is not on this machine.
    """

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    folder: Path | None

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Runs kubectl in the namespace; returns its output."""
        return self.cluster.must("-n", self.namespace, *arguments, text=text)

    def get(self, *arguments: str) -> dict[str, Any]:
        """``kubectl get`` in the namespace, as an object."""
        return self.cluster.get("-n", self.namespace, *arguments)

    def secret(self, name: str, **values: str) -> None:
        """Makes a Secret."""
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": self.namespace},
                "stringData": values,
            }
        )

    def account(self, folder: Path, name: str, *rules: str, role: str = "") -> Path:
        """Makes an account; returns a kubeconfig in ``folder`` whose user it is.

        Args:
            rules: what it may do, as ``VERBS of RESOURCES``. role: one that there is, and that it has.
        """
        self.kubectl("create", "serviceaccount", name)
        roles = [role] if role else []
        for number, rule in enumerate(rules):
            verbs, _, resources = rule.partition(" of ")
            roles.append(f"{name}-{number}")
            self.kubectl("create", "role", roles[-1], f"--verb={verbs}", f"--resource={resources}")
        for given in roles:
            subject = f"--serviceaccount={self.namespace}:{name}"
            self.kubectl("create", "rolebinding", f"{name}-{given}", f"--role={given}", subject)
        config = yaml.safe_load(self.kubeconfig.read_text())
        current = next(one["context"] for one in config["contexts"] if one["name"] == config["current-context"])
        current["user"] = name
        config["users"] = [{"name": name, "user": {"token": self.kubectl("create", "token", name).strip()}}]
        path = folder / f"kubeconfig-{name}"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def reader(self, folder: Path, name: str = "reader") -> Path:
        """Makes an account that may only look; returns its kubeconfig."""
        return self.account(folder, name, "get,list,watch of workflows.argoproj.io,pods,pods/log,configmaps,events")

    def project(self, root: Path) -> Scratch:
        """A project whose runs go here."""
        root.mkdir(exist_ok=True)
        environ: dict[str, str | None] = {"TOOLKIT_ENV": "argo", "KUBECONFIG": str(self.kubeconfig)}
        if self.cluster.foreign:
            environ["TOOLKIT_REGISTRY"] = self.cluster.need_registry()
        return Scratch(root, environ)


def workplace_in(cluster: Cluster, name: str, folder: Path, restricted: bool = True) -> Workplace:
    """Prepares a namespace with the bases of k8s/ and a claim."""
    cluster.must("apply", "-n", name, "-k", str(BASES / "accounts"))
    claim_folder = claim(cluster, name, VOLUME)
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    current = cluster.context or config["current-context"]
    for context in config["contexts"]:
        if context["name"] == current:
            context["context"]["namespace"] = name
    config["current-context"] = current
    kubeconfig = folder / f"kubeconfig-{name}"
    kubeconfig.write_text(json.dumps(config))
    kubeconfig.chmod(0o600)
    return Workplace(cluster, name, kubeconfig, claim_folder)
