"""What a kubeconfig says about a context, as far as images are concerned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import BadInput

EXTENSION = "dev.toolkit.containerd"
"""The extension of a cluster's entry that says where its node's containerd listens, on this machine."""


@dataclass(frozen=True)
class Context:
    """A context of a kubeconfig.

    Attributes:
        containerd: the socket of its node's containerd, where the cluster's entry names one.
    """

    name: str
    containerd: str | None


def find_context(chosen: str | None, files: str | None = None) -> Context | None:
    """The context that is chosen, else the current one; None when there is none.

    Args:
        files: a kubeconfig or several, as in KUBECONFIG; None is what that variable or ~/.kube/config names.

    Raises:
        BadInput: a file can't be read, or has no context of that name.
    """
    import yaml

    listed = files or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    contexts: dict[str, Any] = {}
    clusters: dict[str, Any] = {}
    current = ""
    for name in filter(None, listed.split(os.pathsep)):
        try:
            content = yaml.load(Path(name).expanduser().read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except FileNotFoundError:
            continue  # as kubectl does
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BadInput(f"the kubeconfig cannot be read ({' '.join(str(error).split())[:200]})", name) from error
        if not isinstance(content, dict):
            continue
        # As kubectl does: what a file earlier in the list says holds.
        current = current or str(content.get("current-context") or "")
        contexts = {**_find_named(content, "contexts", "context"), **contexts}
        clusters = {**_find_named(content, "clusters", "cluster"), **clusters}
    wanted = chosen or current
    if not wanted:
        return None
    if wanted not in contexts:
        if not chosen:
            return None
        known = ", ".join(sorted(contexts)) or "none"
        raise BadInput(f"the kubeconfig has no context {wanted[:60]!r} (it has {known})", listed)
    return Context(wanted, _containerd(clusters.get(str(contexts[wanted].get("cluster"))) or {}))


def _find_named(content: dict[str, Any], plural: str, singular: str) -> dict[str, Any]:
    entries = content.get(plural)
    return {
        str(entry.get("name")): entry[singular]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get(singular), dict)
    }


def _containerd(cluster: dict[str, Any]) -> str | None:
    extensions = cluster.get("extensions")
    for entry in extensions if isinstance(extensions, list) else []:
        if isinstance(entry, dict) and entry.get("name") == EXTENSION and isinstance(entry.get("extension"), dict):
            return str(entry["extension"].get("address") or "") or None
    return None
