"""Replaces ``$NAME`` and ``${NAME}`` in a configuration's values by TOOLKIT_VAR_NAME or RUNNABLE_VAR_NAME."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from toolkit.config.located import Located
from toolkit.errors import BadInput

PREFIXES = ("TOOLKIT_VAR_", "RUNNABLE_VAR_")
"""In the order in which they are looked up."""

_REFERENCE = re.compile(
    r"\$(?:(?P<literal>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\})"
)


def replace_variables(tree: Located, environ: Mapping[str, str]) -> Located:
    """The tree with every reference in a text value replaced. ``$$`` becomes ``$``, and any other ``$`` stays as it is.

    Raises:
        BadInput: a variable is not set; with the place of the reference.
    """
    if isinstance(tree.value, dict):
        return dataclasses.replace(
            tree, value={key: replace_variables(item, environ) for key, item in tree.value.items()}
        )
    if isinstance(tree.value, tuple):
        return dataclasses.replace(tree, value=tuple(replace_variables(item, environ) for item in tree.value))
    if not isinstance(tree.value, str) or "$" not in tree.value:
        return tree

    def replacement(match: re.Match[str]) -> str:
        if match["literal"]:
            return "$"
        name = match["name"] or match["braced"]
        for prefix in PREFIXES:
            if prefix + name in environ:
                return environ[prefix + name]
        raise BadInput(
            f"{match.group()[:60]} stands for the environment variable {PREFIXES[0]}{name[:60]}, which is not set"
            " (write $$ for a $ that is part of the text)",
            tree.where,
        )

    value, count = _REFERENCE.subn(replacement, tree.value)
    has_reference = count > 0 and any(match["literal"] is None for match in _REFERENCE.finditer(tree.value))
    return dataclasses.replace(tree, value=value, variable=has_reference)
