"""YAML that means the same to a parser of any version of YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{2,}")
_NOT_TEXT = frozenset({"yes", "off", "true", "false", "null"})


def to_yaml(document: Mapping[str, object]) -> str:
    """A document as YAML with every text in double quotes, so that ``y``, ``3.10`` and ``1e3`` are read as texts."""
    import yaml

    class Quoted(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
            node = super().represent_mapping(tag, mapping, flow_style)
            for key, _ in node.value:
                if _PLAIN_KEY.fullmatch(key.value) and key.value.lower() not in _NOT_TEXT:
                    key.style = None
            return node

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')

    Quoted.add_representer(str, text)
    return str(yaml.dump(document, Dumper=Quoted, sort_keys=False, allow_unicode=True, width=float("inf")))
