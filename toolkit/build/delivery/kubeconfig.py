"""A kubeconfig's context and the containerd of its cluster's node.

The Kubernetes client is not used: its list of contexts leaves out a cluster's extensions, and it takes half a second to import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import BadInput

EXTENSION = "dev.toolkit.containerd"
"""The extension of a cluster's entry that names the socket of its node's containerd on this machine."""


@dataclass(frozen=True)
class Context:
    """A context of a kubeconfig.

    Attributes:
        containerd: the socket of its node's containerd; None when the cluster's entry names none.
        cluster: the name of the cluster's entry.
        provider: of the cluster, where its entry says one: minikube does.
    """

    name: str
    containerd: str | None
    cluster: str = ""
    provider: str = ""


def find_context(chosen: str | None, files: str | None = None) -> Context | None:
    """The context of this name, or the current one; None when there is none.

    Args:
        chosen: a context's name; None is the current context.
        files: one or several kubeconfigs, written as in KUBECONFIG; None takes that variable, else ~/.kube/config.

    Raises:
        BadInput: a file can't be read, or has no context of that name.
    """
    import yaml

    paths = files or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    contexts: dict[str, dict[str, object]] = {}
    clusters: dict[str, dict[str, object]] = {}
    current = ""
    for path in filter(None, paths.split(os.pathsep)):
        try:
            content = yaml.load(Path(path).expanduser().read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except FileNotFoundError:
            continue  # as kubectl does
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BadInput(f"the kubeconfig cannot be read ({' '.join(str(error).split())[:200]})", path) from error
        if not isinstance(content, dict):
            continue
        # As for kubectl, an earlier file of the list wins.
        current = current or str(content.get("current-context") or "")
        contexts = _by_name(content, "contexts", "context") | contexts
        clusters = _by_name(content, "clusters", "cluster") | clusters
    name = chosen or current
    if not name:
        return None
    if name not in contexts:
        if not chosen:
            return None
        names = ", ".join(sorted(contexts)) or "none"
        raise BadInput(f"the kubeconfig has no context {name[:60]!r} (it has {names})", paths)
    cluster = str(contexts[name].get("cluster"))
    entry = clusters.get(cluster) or {}
    return Context(name, _said(entry, EXTENSION, "address") or None, cluster, _said(entry, "cluster_info", "provider"))


def _by_name(content: dict[str, object], plural: str, singular: str) -> dict[str, dict[str, object]]:
    entries = content.get(plural)
    return {
        str(entry.get("name")): entry[singular]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get(singular), dict)
    }


def _said(cluster: dict[str, object], name: str, key: str) -> str:
    """What an extension of a cluster's entry says; "" where it says nothing."""
    extensions = cluster.get("extensions")
    for entry in extensions if isinstance(extensions, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get("extension"), dict):
            return str(entry["extension"].get(key) or "")
    return ""
