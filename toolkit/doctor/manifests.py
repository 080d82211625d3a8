"""The bases of k8s/ as text, for who has the wheel alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from toolkit.data import data_path
from toolkit.errors import BadInput

BASES: dict[str, str | None] = {
    "all": None,
    "namespace": "toolkit",
    "accounts": "toolkit-runner",
    "claim": "toolkit",
    "secrets": None,
    "limits": None,
    "nodes": None,
}
"""The folders of k8s/ that can be printed, and the name that ``BASE=NAME`` puts another one for."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def manifests(text: str) -> str:
    """One of the bases of k8s/ as `kubectl kustomize` would render it, comments kept; for who has the wheel alone.

    Args:
        text: ``BASE``, or ``BASE=NAME`` for another name than the base's own.

    Raises:
        BadInput: there is no such base, it has no one name, or the name is none for Kubernetes.
    """
    base, separator, name = text.partition("=")
    if base not in BASES:
        raise BadInput(f"--manifests names {base[:60]!r}, but there are {', '.join(BASES)}")
    own = BASES[base]
    if separator and own is None:
        raise BadInput(f"--manifests {base} takes no name: what it holds has several, or needs none")
    if separator and not _NAME.fullmatch(name):
        raise BadInput(f"--manifests {base}: {name[:60]!r} is no name of a Kubernetes object")
    whole = "---\n".join(file.read_text() for file in _files(data_path(f"k8s/{base}")))
    if separator and own is not None:
        whole = re.sub(rf"(?m)^( *(?:- )?[a-z./-]*name: ){own}(?=$|\.)", lambda found: found[1] + name, whole)
    return whole


def _files(base: Path) -> Iterator[Path]:
    """The files of a kustomization that has resources alone, as all of these do."""
    import yaml

    for resource in yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]:
        path = (base / resource).resolve()
        if path.is_dir():
            yield from _files(path)
        else:
            yield path
