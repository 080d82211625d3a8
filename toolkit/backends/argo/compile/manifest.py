"""A run's objects as text, for kubectl and for people."""

from __future__ import annotations

from toolkit.backends.argo.compile.workflow import Manifests
from toolkit.backends.yaml_text import to_yaml


def to_text(objects: Manifests) -> str:
    """Both objects as one YAML stream, the ConfigMap first, because the other one reads it."""
    return "---\n".join(to_yaml(each) for each in (objects.config_map, objects.workflow))
