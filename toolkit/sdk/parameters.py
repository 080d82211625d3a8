"""What a pipeline can be given: the parameters that it declares, or that its driver takes as arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from toolkit.sdk.refusal import Refusal, user_line

if TYPE_CHECKING:
    from toolkit.sdk.description import ParameterData


class _Required:
    def __repr__(self) -> str:
        return "<required>"


_REQUIRED: Any = _Required()


class Parameter:
    """A parameter that a pipeline declares.

    ```python
    Pipeline(steps=[PythonTask(train)], parameters=[Parameter("n", type=int, default=3, description="trees")])
    ```

    Args:
        name: under which steps take it, and runs are given it.
        type: what its value is, as an annotation says it: ``int``, ``list[str]``, ``Optional[float]`` … Any value when absent.
        default: the run's value where it is given none; JSON data. The run has to be given one when absent.
        description: a text for those who run the pipeline.

    Raises:
        ValueError: the name is no text, or the description is none.
    """

    def __init__(self, name: str, type: Any = None, default: Any = _REQUIRED, description: str = "") -> None:
        if not isinstance(name, str) or not isinstance(description, str):
            raise Refusal(
                "Parameter(name, type=…, default=…, description=…) takes its name and its description as text"
            )
        self.name = name
        self.type = type
        self.default = default
        self.description = description
        self.line = user_line()

    def describe(self) -> ParameterData:
        """The parameter as plain data, but for its type."""
        data: ParameterData = {"name": self.name, "line": self.line}
        if self.type is not None:
            data["live"] = self.type
        if self.default is not _REQUIRED:
            data["default"] = self.default
        if self.description:
            data["description"] = self.description
        return data


def checked_parameters(given: Optional[Sequence[Parameter]]) -> Optional[list[Parameter]]:
    """A pipeline's ``parameters``; None where it declares none.

    Raises:
        ValueError: it is no list of parameters.
    """
    if given is None:
        return None
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, Parameter) for each in given):
        raise Refusal(f"Pipeline(parameters=…) takes a list of Parameter(…), not {given!r}")
    return list(given)


# --- what a docstring says of arguments --------------------------------------------------------------------------------

_SECTION = re.compile(r"(Args|Arguments|Parameters):?\s*")
_OF_SPHINX = re.compile(r":param(?:\s+[^:\s]+)*\s+(\w+):\s*(.*)")
_OF_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_OF_NUMPY = re.compile(r"(\w+)\s*(?::.*)?")


def described_arguments(docstring: Optional[str]) -> dict[str, str]:
    """What a docstring says of each argument, in the form of Google (``Args:``), NumPy (``Parameters``) or Sphinx (``:param``)."""
    lines = (docstring or "").expandtabs().splitlines()
    found: dict[str, str] = {}
    section = -1
    entry = -1
    numpy = False
    name = ""
    for number, line in enumerate(lines):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        sphinx = _OF_SPHINX.fullmatch(text)
        underline = lines[number + 1].strip() if number + 1 < len(lines) else ""
        is_underlined = len(underline) > 2 and not underline.strip("-")
        if sphinx is not None:
            name, section, entry = sphinx.group(1), -1, indent
            found[name] = sphinx.group(2)
        elif _SECTION.fullmatch(text) and (text.endswith(":") or is_underlined):
            section, entry, numpy, name = indent, -1, not text.endswith(":"), ""
        elif not text or (numpy and not text.strip("-")):
            if section < 0:
                name = ""
        elif section >= 0 and (indent < section or (indent == section and not numpy) or (numpy and is_underlined)):
            # The next section, or text after it.
            section, name = -1, ""
        elif section >= 0 and (entry < 0 or indent <= entry):
            entry = indent
            match = (_OF_NUMPY if numpy else _OF_GOOGLE).fullmatch(text)
            name = match.group(1) if match is not None else ""
            if match is not None:
                found[name] = "" if numpy else match.group(2)
        elif name and indent > entry:
            found[name] = f"{found[name]} {text}".strip()
    return {name: text for name, text in found.items() if text}
