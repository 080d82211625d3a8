"""Input that is refused before anything starts: exit code 2, one sentence, and no run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.case import Case, Expect
from tests.conformance.exemptions import CLUSTER_SECRETS


def refused(name: str, rule: str, said: str, **options: Any) -> Case:
    """A case that ends with 2 and leaves nothing."""
    steps: Mapping[str, Any] = {"steps": ["ShellTask('only', 'true')"], **options}
    return Case(name, rule, expect=Expect(code=2, stderr=said, no_run=True), **steps)


CASES = (
    refused(
        "no-parameter",
        "A parameter that has no value.",
        "takes z",
        steps=["PythonTask(functions.takes)"],
        code="def takes(z):\n    pass\n",
    ),
    refused(
        "no-secret",
        "A secret that has no value.",
        "no_such_secret",
        steps=["ShellTask('only', 'true', secrets=['no_such_secret'])"],
        exempt={"argo": CLUSTER_SECRETS},
    ),
    refused("no-function", "A function that does not exist.", "absent", steps=["PythonTask('functions.absent')"]),
    refused(
        "no-override",
        "An override that the configuration does not have.",
        "'big'",
        steps=["ShellTask('only', 'true', overrides={'local-container': 'big'})"],
    ),
    refused(
        "no-such-key",
        "An unknown key of the configuration.",
        "memroy",
        config={"resources": {"limits": {"memroy": "1Gi"}}},
    ),
    refused(
        "bad-catalog-key",
        "A catalog key that leads out of the step's folder.",
        "../x",
        steps=["ShellTask('only', 'true', catalog=Catalog(put=['../x']))"],
    ),
    refused(
        "bad-braces-of-a-key",
        "A catalog key with braces around something else than a name.",
        "'{a.b}'",
        steps=["ShellTask('only', 'true', catalog=Catalog(put=['x{a.b}.csv']))"],
    ),
    refused(
        "unknown-name-in-a-key",
        "A catalog key with a name that nothing gives.",
        "takes table",
        steps=["ShellTask('only', 'true', catalog=Catalog(put=['{table}.csv']))"],
    ),
    refused(
        "own-name-in-a-key",
        "A catalog key with a name that only the step itself returns.",
        "only the step itself returns score",
        steps=["ShellTask('only', 'export score=1', returns=['score'], catalog=Catalog(put=['{score}.csv']))"],
    ),
    refused(
        "one-key-side-by-side",
        "Two branches that put one key, which a later step gets without naming either.",
        "'both/left/writes' and 'both/right/writes' put shop.db side by side",
        steps=[
            "Parallel('both', branches={side: ShellTask('writes', 'echo > shop.db', catalog=Catalog(put=[key])).as_pipeline()"
            " for side, key in (('left', 'shop.db'), ('right', './shop.db'))})",
            "ShellTask('reads', 'cat shop.db', catalog=Catalog(get=['shop.db']))",
        ],
    ),
    refused(
        "bad-parameter", "A parameter that is not NAME=VALUE.", "--param", arguments=["--param", "no value at all"]
    ),
    refused(
        "two-of-a-name",
        "Two steps of one name.",
        "'same'",
        steps=["ShellTask('same', 'true')", "ShellTask('same', 'true')"],
    ),
    refused(
        "loop-of-stubs",
        "A loop in which no step decides whether it ends.",
        "decides whether it runs again",
        steps=["Loop('loop', Pipeline(steps=[Stub('only')]), max_iterations=2, break_on='x')"],
        arguments=["--param", "x=true"],
    ),
    refused(
        "lambda-as-a-reducer",
        "A reducer that a container can't find by its name.",
        "a lambda can't be a reducer",
        steps=[
            "Map('map', iterate_on='x', iterate_as='y', reducer=lambda values: 1,"
            " branch=ShellTask('only', 'true').as_pipeline())"
        ],
        arguments=["--param", "x=[]"],
    ),
    refused(
        "decided-by-many",
        "A conditional right after a map whose items return its parameter: no container knows all of them.",
        "put a task between",
        steps=[
            "Map('map', iterate_on='x', iterate_as='y', reducer='max',"
            " branch=ShellTask('only', 'export z=1', returns=['z']).as_pipeline())",
            "Conditional('if', 'z', {'1': Stub('stub').as_pipeline()})",
        ],
        arguments=["--param", "x=[1]"],
    ),
    refused(
        "a-name-of-nobody",
        "A name that --param gives and nothing takes.",
        "nothing in this pipeline takes N (did you mean 'n'?): it takes n",
        steps=["PythonTask(functions.train)"],
        code="def train(n=3):\n    pass\n",
        arguments=["--param", "N=4"],
    ),
    refused(
        "a-value-of-no-kind",
        "A value that can't be what a later step says of its argument.",
        "the parameter flag can't be bool, as the step 'takes' takes it: it is \"maybe\"",
        steps=["ShellTask('first', 'true')", "PythonTask(functions.takes)"],
        code="def takes(flag: bool):\n    pass\n",
        arguments=["--param", "flag=maybe"],
    ),
    refused(
        "no-list-is-given",
        "A map over a parameter of the run that is no list, after a task.",
        "iterates on xs, which is no list but 5",
        steps=[
            "ShellTask('first', 'true')",
            "Map('all', iterate_on='xs', iterate_as='x', branch=ShellTask('only', 'true').as_pipeline())",
        ],
        arguments=["--param", "xs=5"],
    ),
    refused(
        "declared-and-missing",
        "A declared parameter without a default and without a value.",
        "declares the parameter n without a default, and the run was not given it: give it with --param n=",
        files={
            "pipeline.yaml": "parameters: {n: {type: int}}\n"
            "dag: {start_at: a, steps: {a: {command_type: shell, command: 'true'}}}\n"
        },
        pipeline="pipeline.yaml",
    ),
)
