"""Values of numpy, pandas, msgspec, attrs and pydantic, which the tests do not all have themselves, go through containers."""

from __future__ import annotations

import pytest

from tests.support.scratch import Scratch

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(600),
    pytest.mark.full("it installs numpy and pandas; tests/unit/test_annotations.py has the rules without them"),
]

KINDS = (
    "small",
    "real",
    "flag",
    "moment",
    "matrix",
    "counts",
    "numbers",
    "stamp",
    "naive",
    "span",
    "animal",
    "measure",
    "model",
)
STEPS = """\
from __future__ import annotations
import datetime, decimal
from typing import Any, Union

import attrs, msgspec, numpy as np, numpy.typing as npt, pandas as pd, pydantic

class Cat(msgspec.Struct, tag=True, rename="camel"):
    full_name: str
    born: datetime.date
    data: bytes

class Dog(msgspec.Struct, tag=True):
    tricks: set[int]

@attrs.define
class Measure:
    value: int = attrs.field(converter=int)
    _unit: decimal.Decimal = decimal.Decimal("1.0")

class Model(pydantic.BaseModel):
    sender: str = pydantic.Field(alias="from")

VALUES = {
    "small": np.int8(3),
    "real": np.float32(0.1),
    "flag": np.bool_(True),
    "moment": np.datetime64("2024-01-03T10:20:30.000000001"),
    "matrix": np.array([[1.5, 2], [3, 4]]),
    "counts": np.array([1, 2]),
    "numbers": [1, 2.5],
    "stamp": pd.Timestamp("2024-01-03 10:20:30.123456789", tz="Europe/Berlin"),
    "naive": pd.Timestamp("2024-01-03"),
    "span": pd.Timedelta(seconds=1.5),
    "animal": Cat("a b", datetime.date(2024, 1, 3), b"\\xff"),
    "measure": Measure(3, decimal.Decimal("0.10")),
    "model": Model(**{"from": "me"}),
}

def makes():
    return tuple(VALUES.values())

def takes(
    small: np.int8, real: np.float32, flag: np.bool_, moment: np.datetime64, matrix: np.ndarray, counts: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.float32], stamp: pd.Timestamp, naive: pd.Timestamp, span: pd.Timedelta, animal: Union[Dog, Cat],
    measure: Measure, model: Model,
):
    for name, value in list(locals().items()):
        wanted = VALUES[name] if name != "numbers" else np.array([1, 2.5], dtype="float32")
        assert type(value) is type(wanted), (name, value)
        assert np.array_equal(value, wanted) and getattr(value, "dtype", 0) == getattr(wanted, "dtype", 0), (name, value)
    assert stamp.tz.key == "Europe/Berlin" if hasattr(stamp.tz, "key") else stamp.tz.zone == "Europe/Berlin"

REFUSED = {
    "floats": np.array([1.5], dtype="float32"),
    "empty": np.zeros((0, 3)),
    "nothing": pd.NaT,
    "frame": pd.DataFrame({"a": [1]}),
    "span": np.timedelta64(3, "s"),
}

def returns(name: str):
    return REFUSED[name]
"""


def test_a_value_of_each_library_arrives_as_it_was_or_is_refused_when_it_is_returned(containers: Scratch) -> None:
    # Given a step that returns a value of each kind, and one that takes them by its annotations; and returns that JSON can't hold,
    returned = [
        "small",
        "real",
        "flag",
        "moment",
        "matrix",
        "counts",
        "numbers",
        "stamp",
        "naive",
        "span",
        "animal",
        "measure",
        "model",
    ]
    containers.write(
        {
            "requirements.txt": "attrs\nmsgspec\nnumpy\npandas\npydantic\ntzdata\n",
            "steps.py": STEPS,
            "pipeline.py": "import steps\nfrom toolkit import *\n"
            f"both = Pipeline(steps=[PythonTask(steps.makes, returns={returned}), PythonTask(steps.takes)])\n"
            "refused = Pipeline(steps=[Parallel('all', branches={name: PythonTask(steps.returns, returns=['x'],\n"
            "    bind={'name': {'value': name}}).as_pipeline() for name in steps.REFUSED})])\n",
        }
    )
    # when both run,
    both = containers.toolkit("run", "pipeline.py:both")
    # then all arrive as they were, and each of the others is refused with what to do.
    assert both.code == 0, both.err
    assert containers.toolkit("run", "pipeline.py:refused").code == 1
    reasons = {
        row["path"].split("/")[1]: row["attempts"][-1]["reason"]
        for row in containers.show()["steps"]
        if row["path"].count("/") == 2
    }
    assert reasons["floats"].endswith("declare it as pickled('x'), or return its .tolist()")
    assert reasons["empty"].startswith("x is an array of float64 with the shape (0, 3)")
    assert reasons["nothing"] == "x is pandas.NaT, which is not JSON: return None, or declare it as pickled('x')"
    assert reasons["frame"].endswith("DataFrame, which is not JSON: declare it as pickled('x')")
    assert reasons["span"].endswith("which is not JSON: return its .item()")
