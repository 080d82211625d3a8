"""The bases of k8s/ as text, for users who have only the wheel."""

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
"""The folders of k8s/ that can be printed, each with the name that ``BASE=NAME`` replaces."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def manifests(text: str) -> str:
    """One of the bases of k8s/ as ``kubectl kustomize`` would render it, with its comments.

    Args:
        text: ``BASE``, or ``BASE=NAME`` where its objects are to have another name.

    Raises:
        BadInput: there is no such base, it does not have exactly one name, or Kubernetes allows no such name.
    """
    base, separator, name = text.partition("=")
    if base not in BASES:
        raise BadInput(f"--manifests names {base[:60]!r}, but there are {', '.join(BASES)}")
    own = BASES[base]
    if separator and own is None:
        raise BadInput(f"--manifests {base} takes no name: its objects have several names, or need none")
    if separator and not _NAME.fullmatch(name):
        raise BadInput(f"--manifests {base}: {name[:60]!r} is not a valid name of a Kubernetes object")
    whole = "---\n".join(file.read_text("utf-8") for file in _files(data_path(f"k8s/{base}")))
    if separator and own is not None:
        whole = re.sub(rf"(?m)^( *(?:- )?[a-z./-]*name: ){own}(?=$|\.)", lambda match: match[1] + name, whole)
    return whole


def _files(base: Path) -> Iterator[Path]:
    """The files of a kustomization. All of these have resources and nothing else."""
    import yaml

    for resource in yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]:
        path = (base / resource).resolve()
        if path.is_dir():
            yield from _files(path)
        else:
            yield path
