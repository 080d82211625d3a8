"""A run's objects as text, for kubectl and for people."""

from __future__ import annotations

from toolkit.backends.argo.compile.workflow import Manifests
from toolkit.backends.yaml_text import to_yaml


def to_text(objects: Manifests) -> str:
    """Both objects as one YAML stream, the ConfigMap first: its reader is the other one."""
    return "---\n".join(to_yaml(one) for one in (objects.config_map, objects.workflow))
