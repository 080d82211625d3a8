"""The types of what ``--json`` prints have the keys of the schemas, and the same ones are required."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import report
from toolkit.report import contract

SCHEMAS = Path(report.__file__).parent / "schemas"


@pytest.mark.parametrize(
    ("kind", "schema", "place"),
    [
        (contract.RunRow, "runs", "items"),
        (contract.RunDocument, "show", ""),
        (contract.StepDocument, "show", "$defs/step"),
        (contract.AttemptDocument, "show", "$defs/attempt"),
        (contract.FilesDocument, "show", "$defs/attempt/properties/catalog"),
        (contract.FileDocument, "show", "$defs/file"),
        (contract.LeftDocument, "show", "$defs/left"),
        (contract.LeftFileDocument, "show", "$defs/left_file"),
        (contract.ObjectDocument, "show", "$defs/object"),
        (contract.ReducedDocument, "show", "$defs/reduced"),
        (contract.LargeDocument, "show", "$defs/large"),
        (contract.ReferenceDocument, "show", "$defs/reference"),
        (contract.OutputDocument, "logs", "items"),
        (contract.CatalogFile, "catalog", "items"),
        (contract.DiffDocument, "diff", ""),
        (contract.ComparedRun, "diff", "$defs/run"),
        (contract.DifferenceDocument, "diff", "$defs/difference"),
        (contract.ComparedCounts, "diff", "properties/compared"),
        (contract.NotComparedDocument, "diff", "properties/not_compared/items"),
        (contract.ImageDocument, "image", ""),
        (contract.LayerDocument, "image", "$defs/layer"),
        (contract.BaseDocument, "image", "$defs/base"),
        (contract.PythonDocument, "image", "$defs/python"),
        (contract.PackageDocument, "image", "$defs/package"),
        (contract.CodeDocument, "image", "$defs/code"),
        (contract.LargestFileDocument, "image", "$defs/file"),
    ],
)
def test_a_type_has_the_keys_of_its_schema(kind: Any, schema: str, place: str) -> None:
    node: dict[str, Any] = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    for key in place.split("/") if place else ():
        node = node[key]
    assert set(kind.__annotations__) == set(node["properties"])
    assert kind.__required_keys__ == set(node["required"])
    assert node["additionalProperties"] is False
