"""Parameters that a pipeline declares: alike in all three forms, with what is wrong of them found where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.backends import process
from toolkit.config.load import load
from toolkit.errors import BadInput
from toolkit.model.pipeline import Argument, DeclaredParameter, Pipeline
from toolkit.model.taken import taken_by
from toolkit.run.describe import describe
from toolkit.run.reference import parse
from toolkit.sdk.parameters import described_arguments

FUNCTIONS = "def train(n: int, rate: float = 0.5, names=None):\n    return n\n"
DRIVER = '''\
from typing import Optional
import functions
from toolkit import pipeline, task
train = task(functions.train, returns=["m"])

@pipeline
def main(n: int, rate: float = 0.1, names: Optional[list[str]] = None, word="1.10"):
    """Trains.

    Args:
        n: number of trees
        rate: how fast
    """
    train(n, rate, names)
'''
SDK = """\
from typing import Optional
import functions
from toolkit import Parameter, Pipeline, PythonTask
p = Pipeline(
    steps=[PythonTask(functions.train, returns=["m"])],
    parameters=[
        Parameter("n", type=int, description="number of trees"),
        Parameter("rate", float, default=0.1, description="how fast"),
        Parameter("names", type=Optional[list[str]], default=None),
        Parameter("word", default="1.10"),
    ],
)
"""
YAML = """\
parameters:
  n: &n {type: int, description: number of trees}
  rate: {type: float, default: 0.1, description: how fast}
  names: {type: "list[str] | None", default: null}
  word: "1.10"
dag:
  start_at: train
  steps:
    train: {command: functions.train, returns: [m]}
"""


def model(project: LocalProject, form: str) -> Pipeline:
    reference = parse(form, project.root)
    loaded = load(None, project.root)
    ask = process.process_describer(loaded, process.environment(loaded, {}, {}))
    return describe(loaded, reference, ask)


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


@pytest.fixture
def forms(project: LocalProject) -> LocalProject:
    for name, text in (("functions.py", FUNCTIONS), ("driver.py", DRIVER), ("sdk.py", SDK), ("pipeline.yaml", YAML)):
        project.write(name, text)
    return project


def test_the_three_forms_declare_alike(forms: LocalProject) -> None:
    driver, sdk, yaml = (model(forms, form) for form in ("driver.py", "sdk.py", "pipeline.yaml"))
    assert sdk.parameters == driver.parameters
    assert (
        yaml.parameters
        == sdk.parameters
        == (
            DeclaredParameter("int", "", None, "n", "number of trees"),
            DeclaredParameter("float", "", (0.1,), "rate", "how fast"),
            DeclaredParameter({"union": [{"list": "str"}, "none"]}, "", (None,), "names", ""),
            DeclaredParameter(None, "", ("1.10",), "word", ""),
        )
    )
    # And they are no part of the plan.
    plans = [forms.plan(form).to_json() for form in ("driver.py", "sdk.py", "pipeline.yaml")]
    assert plans[0] == plans[1] == plans[2]
    assert b"word" not in plans[0]


def test_a_description_says_what_is_known_of_each_argument(forms: LocalProject) -> None:
    takers = {taker.name: taker.known for taker in taken_by(model(forms, "sdk.py")).takers}
    assert takers == {
        "n": Argument("int"), "rate": Argument("float", default=(0.5,)), "names": Argument(default=(None,)),
    }  # fmt: skip


def test_a_driver_without_annotations_and_defaults_declares_nothing(forms: LocalProject) -> None:
    forms.write(
        "driver.py", "import functions\nfrom toolkit import *\n@pipeline\ndef main(n): task(functions.train)(n)\n"
    )
    assert model(forms, "driver.py").parameters is None


def test_what_a_pipeline_inside_another_declares_has_no_effect(forms: LocalProject) -> None:
    inner = "Pipeline([sdk.p.steps[0]], 'in', parameters=sdk.p.parameters)"
    forms.write("outer.py", f"import sdk\nfrom toolkit import *\np = Pipeline([{inner}])\n")
    assert model(forms, "outer.py:p").parameters is None


@pytest.mark.parametrize(
    ("parameters", "line", "message"),
    [
        ("parameters: [n]", 1, "parameters is a mapping, not a list"),
        ("parameters:\n  n:\n    lr: 0.1", 3, "where this dictionary is its default, write n: {default: {…}}"),
        ("parameters:\n  n:\n    typ: int", 3, "unknown key 'typ' in the parameter n (did you mean 'type'?)"),
        ("parameters:\n  n:\n    type: in", 3, "'in' is not a type of parameter (did you mean 'int'?)"),
        ("parameters:\n  n:\n    type: 3", 3, "type is text, not the number 3"),
        ("parameters:\n  n: {type: int, description: [a]}", 2, "description is text, not a list"),
        ("parameters:\n  a: 1\n  n: {type: int, default: x}", 3, 'default of the parameter n can\'t be int: it is "x"'),
        ("parameters:\n  n: {type: 'list[int]', default: [1, a]}", 2, 'list[int]: [1] is "a", which is no int'),
        ("parameters:\n  n: .nan", 2, "is none that JSON can hold"),
        ("parameters:\n  a-b: 3", 2, "a-b"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_yaml_is_told_with_its_line(
    forms: LocalProject, parameters: str, line: int, message: str
) -> None:
    forms.write(
        "pipeline.yaml", f"{parameters}\ndag: {{start_at: train, steps: {{train: {{command: functions.train}}}}}}\n"
    )
    with pytest.raises(BadInput) as caught:
        model(forms, "pipeline.yaml")
    assert message in caught.value.message
    assert caught.value.where is not None and caught.value.where.endswith(f"pipeline.yaml:{line}")


def test_parameters_stand_beside_the_dag_and_not_in_it(forms: LocalProject) -> None:
    forms.write(
        "pipeline.yaml", "dag:\n  parameters: {n: 3}\n  start_at: train\n  steps: {train: {command: functions.train}}\n"
    )
    with pytest.raises(BadInput, match="it stands beside the pipeline's dag"):
        model(forms, "pipeline.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{'n': 3}", "takes a list of Parameter"),
        ("['n']", "takes a list of Parameter"),
        ("[Parameter('n'), Parameter('n')]", "declares the parameter n twice"),
        ("[Parameter('n', default=object())]", "n is a object, which is not JSON"),
        ("[Parameter('n', int, default='x')]", "can't be int"),
        ("[Parameter(3)]", "takes its name"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_sdk_is_told_with_its_line(forms: LocalProject, given: str, message: str) -> None:
    forms.write("sdk.py", f"from toolkit import *\np = Pipeline([Stub('a')],\n    parameters={given})\n")
    with pytest.raises(BadInput) as caught:
        model(forms, "sdk.py")
    assert message in caught.value.message
    assert caught.value.where is not None and Path(caught.value.where).name.startswith("sdk.py:")


DOCSTRINGS = {
    "google": """Trains.

    Args:
        n (int): number
            of trees
        rate: how fast

    Returns:
        m: a model
    """,
    "numpy": """Trains.

    Parameters
    ----------
    n : int
        number
        of trees
    rate
        how fast

    Returns
    -------
    m
        a model
    """,
    "sphinx": """Trains.

    :param int n: number
        of trees
    :param rate: how fast
    :returns: a model
    """,
}


@pytest.mark.parametrize("form", DOCSTRINGS)
def test_a_docstring_describes_arguments(form: str) -> None:
    assert described_arguments(DOCSTRINGS[form]) == {"n": "number of trees", "rate": "how fast"}


@pytest.mark.parametrize("text", [None, "", "Trains.", "Args:", "Trains: n: x", "Parameters: many\n  n: 3"])
def test_other_docstrings_describe_none(text: str | None) -> None:
    assert described_arguments(text) == {}


def test_annotated_describes_an_argument(forms: LocalProject) -> None:
    forms.write(
        "driver.py",
        "from __future__ import annotations\nfrom typing import Annotated\nimport functions\nfrom toolkit import *\n@pipeline\n"
        "def main(n: Annotated[int, 'trees'] = 2): task(functions.train)(n)\n",
    )
    assert model(forms, "driver.py").parameters == (DeclaredParameter("int", "", (2,), "n", "trees"),)


@pytest.mark.parametrize(
    ("call", "bound"),
    [("inner()", {"value": 7}), ("inner(n)", None), ("inner(1)", {"value": 1})],
)
def test_a_driver_that_another_calls_has_its_default(forms: LocalProject, call: str, bound: Any) -> None:
    arguments = "n: int = 1" if call == "inner(n)" else "other: int = 1"
    forms.write(
        "driver.py",
        "import functions\nfrom toolkit import *\ntrain = task(functions.train)\n@pipeline\ndef inner(n=7): train(n)\n"
        f"@pipeline\ndef main({arguments}): {call}\n",
    )
    assert forms.plan("driver.py:main").step("inner/train").bind.get("n") == bound


def test_a_driver_that_is_a_branch_has_no_defaults(forms: LocalProject) -> None:
    forms.write(
        "driver.py",
        "import functions\nfrom toolkit import *\n@pipeline\ndef one(n=7): task(functions.train)(n)\n"
        "p = Pipeline([Map('all', branch=one, iterate_on='ns', iterate_as='n')])\n",
    )
    with pytest.raises(BadInput, match="the default of n would have no effect"):
        model(forms, "driver.py:p")
