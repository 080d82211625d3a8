"""A pipeline's ``parameters_file``: a file of the project's that scripts read themselves. A run's values are written into it.

Whatever has not changed stays as it is spelled, because a script may read it by another version of YAML than toolkit does.
"""

from __future__ import annotations

import json
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit import names
from toolkit.build.image.builder import is_code
from toolkit.config.json_file import is_json
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.run.parameters import read_file

if TYPE_CHECKING:
    from toolkit.model.pipeline import NamedFile
    from toolkit.runtime.shared.documents import JsonValue, Parameters

_YAML = (".yaml", ".yml")
_JSON = ".json"
_STR, _INT, _FLOAT, _BOOL, _NULL, _MAP, _SEQ, _MERGE = (
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)


class ParametersFile(NamedTuple):
    """The file as it is in the project.

    Attributes:
        path: relative to the project's root. text: its content. content: what that says.
    """

    path: str
    text: str
    content: dict[str, JsonValue]

    @property
    def values(self) -> dict[str, JsonValue]:
        """What of it are parameters of a run. A key that can't be a parameter's name is for the scripts alone."""
        return {name: value for name, value in self.content.items() if names.is_parameter_name(name)}

    def rewritten(self, parameters: Parameters) -> str:
        """The file's text with the values of a run, for the names that it has; its own text where they are the same."""
        own = self.values
        content = {**self.content, **{name: parameters[name] for name in own if name in parameters}}
        if _same(content, self.content):
            return self.text
        if self.path.lower().endswith(_JSON):
            return json.dumps(content, indent=2) + "\n"
        return _yaml_text(self.text, self.content, content)


def read_parameters_file(project: Project, named: NamedFile) -> ParametersFile:
    """The file that a pipeline names.

    Raises:
        BadInput: it is none of the project's code, is neither YAML nor JSON, or holds no mapping.
    """
    path, where = posixpath.normpath(named.path), named.line
    if posixpath.isabs(path) or path.split("/")[0] in ("..", ".") or not named.path:
        raise BadInput(f"parameters_file is a path relative to the project's root, not {named.path!r}", where)
    if not path.lower().endswith((*_YAML, _JSON)):
        raise BadInput(f"parameters_file is a YAML or JSON file (.yaml, .yml or .json), and {path} is neither", where)
    file = project.root / path
    if not file.is_file():
        raise BadInput(f"parameters_file: there is no file {path} in the project", where)
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(project.root)):
        raise BadInput(f"parameters_file: {path} is a link to a file outside of the project", where)
    if not is_code(project, path):
        raise BadInput(
            f"parameters_file: {path} is not part of the code that steps see: .dockerignore leaves it out, it looks like a "
            "credential, or it is among what always is left out (docs/build.md)",
            where,
        )
    text, content = read_file(file)
    return ParametersFile(path, text, content)


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are the same, whatever the order of their keys."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# --- YAML -----------------------------------------------------------------------------------------------------------


def _yaml_text(text: str, old: dict[str, JsonValue], new: dict[str, JsonValue]) -> str:
    """The text of a YAML file with other values. Its comments are gone."""
    import yaml

    from toolkit.config.yaml_tree import parse_yaml

    def written(node: Any) -> str:
        made: str = yaml.serialize(node, Dumper=yaml.SafeDumper, width=1 << 30, allow_unicode=True)
        return made

    # A JSON text has tabs where YAML has none, and its numbers are not always those of YAML.
    if not is_json(text):
        made = written(_changed(yaml.compose(text, Loader=yaml.SafeLoader), old, new))
        try:
            if _same(parse_yaml(made, "").plain(), new):
                return made
        except BadInput:
            # It has what was given as JSON and is not read from YAML, such as a number of more than 400 digits.
            pass
    return written(_node(new))


def _changed(node: Any, old: JsonValue, new: JsonValue) -> Any:
    """A node with another value. What is the same is the same node, so that it is spelled as it was."""
    import yaml

    if _same(old, new):
        return node
    if (
        not isinstance(node, yaml.MappingNode)
        or not isinstance(old, dict)
        or not isinstance(new, dict)
        or old.keys() - new.keys()
    ):
        return _node(new)
    pairs, seen = [], set()
    for pair, value in node.value:
        # A node that is in the tree twice would get an anchor, which a key can't have.
        key, name = yaml.ScalarNode(pair.tag, pair.value, style=pair.style), pair.value
        if key.tag == _MERGE or name not in new:
            pairs.append((key, value))
            continue
        seen.add(name)
        pairs.append((key, _changed(value, old[name], new[name])))
    # What `<<` brings in, and what is new, gets a pair of its own.
    pairs += [
        (_node(name), _node(value))
        for name, value in new.items()
        if name not in seen and not (name in old and _same(old[name], value))
    ]
    return yaml.MappingNode(node.tag, pairs, flow_style=node.flow_style)


def _node(value: JsonValue) -> Any:
    """A value as each version of YAML reads it: texts in quotes, decimal numbers."""
    import yaml

    if isinstance(value, dict):
        return yaml.MappingNode(_MAP, [(_node(key), _node(item)) for key, item in value.items()], flow_style=False)
    if isinstance(value, list):
        return yaml.SequenceNode(_SEQ, [_node(item) for item in value], flow_style=False)
    if isinstance(value, str):
        return yaml.ScalarNode(_STR, value, style='"')
    if value is None or isinstance(value, bool):
        return yaml.ScalarNode(_NULL if value is None else _BOOL, json.dumps(value))
    text = json.dumps(value)
    if isinstance(value, float) and "e" in text:
        # Without a point, this is a text in YAML 1.1.
        digits, _, exponent = text.partition("e")
        text = f"{digits if '.' in digits else digits + '.0'}e{exponent}"
    return yaml.ScalarNode(_INT if isinstance(value, int) else _FLOAT, text)
