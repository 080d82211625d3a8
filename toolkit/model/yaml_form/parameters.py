"""The parameters that a pipeline's YAML file declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.config.decode import nearest, suggested
from toolkit.config.located import Located
from toolkit.errors import BadInput
from toolkit.model.argument_types import WRITTEN, parse_type
from toolkit.model.yaml_form.entries import check_keys, mapping_of, text_of
from toolkit.runtime.shared.values import is_plain

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ParameterRow

_OF_PARAMETER = ("type", "default", "description")


def describe_parameters(tree: Located) -> list[ParameterRow]:
    """The parameters that a pipeline declares: ``n: 3``, ``n: {type: int, default: 3, description: …}``, or just ``n:``."""
    rows = []
    for name, declared in mapping_of(tree, "parameters").items():
        row: ParameterRow = {"name": name, "line": tree.key_lines.get(name, tree.line)}
        if not isinstance(declared.value, dict):
            entries = {"default": declared} if declared.value is not None else {}
        else:
            entries = declared.value
            if entries and not any(nearest(key, _OF_PARAMETER) for key in entries):
                raise BadInput(
                    f"the parameter {name} has none of the keys {', '.join(_OF_PARAMETER)}: where this dictionary is its default, "
                    f"write {name}: {{default: {{…}}}}",
                    declared.key_where(next(iter(entries))),
                )
            check_keys(declared, entries, _OF_PARAMETER, f"the parameter {name}")
        if "type" in entries:
            text = text_of(entries["type"], "type")
            kind = parse_type(text)
            if kind is None:
                raise BadInput(
                    f"{text!r} is not a type of parameter{suggested(text, WRITTEN)}: use "
                    f"{', '.join(WRITTEN)}, or what is made of them, as list[int] or str | None",
                    entries["type"].where,
                )
            row["type"] = kind
        if "default" in entries:
            default = entries["default"]
            is_spelled = (
                row.get("type") == "str" and isinstance(default.value, (int, float)) and default.text is not None
            )
            # 1.10 is a text here, as it is where --param gives it.
            row["default"] = default.text if is_spelled else default.plain()
        if "description" in entries:
            row["description"] = text_of(entries["description"], "description")
        if not is_plain(row.get("default")):
            raise BadInput(f"the default of the parameter {name} is none that JSON can hold", declared.where)
        rows.append(row)
    return rows
