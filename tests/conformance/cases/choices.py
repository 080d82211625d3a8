"""Conditionals: which value decides, and what the branch that runs returns."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, Step, failed, written

CONDITIONAL = """\
def decides(given):
    return "b", 3, True, None, 2.5

def chosen(name, text, number):
    open("chosen.txt", "w").write(name)
    return [name, [text, number]]

def branch(parameter, value):
    takes = {"name": {"value": f"{parameter} is {value}"}}
    return Pipeline(steps=[
        PythonTask(chosen, returns=["by_" + parameter], bind=takes, catalog=Catalog(put=["chosen.txt"])),
    ])

def after(by_given):
    assert open("chosen.txt").read() == by_given[0], "the newest file"

def by(parameter, *names, default=None):
    branches = {name: branch(parameter, name) for name in names}
    return Conditional("by " + parameter, parameter, branches=branches, default=default and branch(parameter, default))

p = Pipeline(steps=[
    PythonTask(decides, returns=["text", "number", "flag", "nothing", "real"]),
    by("text", "a", "b"),
    by("number", "2", "3"),
    by("flag", "False", "True"),
    by("nothing", "null"),
    by("real", "2", "2.5"),
    by("given", "x", default="something else"),
    PythonTask(after, catalog=Catalog(get=["chosen.txt"])),
    Conditional("by lower", "flag", branches={"true": Stub("nothing to do").as_pipeline()}),
])
p.execute()
"""
BRANCHES = {
    "text": (["a", "b"], "b"),
    "number": (["2", "3"], "3"),
    "flag": (["False", "True"], "True"),
    "nothing": (["null"], "null"),
    "real": (["2", "2.5"], "2.5"),
    "given": (["x", "default"], "default"),
}
NO_BRANCH = """\
def never():
    raise RuntimeError("no branch is this")

p = Pipeline(steps=[
    ShellTask("decides", "export value=c", returns=["value"]),
    Pipeline(name="handled", steps=[
        Conditional("of a bool", "flag", branches={"yes": PythonTask(never).as_pipeline()},
            on_failure=ShellTask("instead", "export instead=1", returns=["instead"]).as_pipeline()),
    ]),
    ShellTask("works", "echo $value $instead"),
    Conditional("of a text", "value", branches={
        "a": PythonTask(never).as_pipeline(), "b": PythonTask(never).as_pipeline(),
    }),
    Stub("not reached"),
])
"""
IN_A_MAP = """\
def model(fold):
    score = {"a": 0.5, "b": 0.9, "c": 0.7}[fold]
    return score, "good" if score > 0.6 else "bad"

def promote(fold, score):
    if fold == "c":
        raise ValueError("c can't be promoted")
    return f"{fold} promoted with {score}"

def collects(what):
    return what

p = Pipeline(steps=[
    Map("folds", iterate_on="folds", iterate_as="fold", branch=Pipeline(steps=[
        PythonTask(model, returns=[metric("score"), "verdict"]),
        Conditional("promote?", "verdict", branches={
            "good": Pipeline(steps=[
                PythonTask(promote, returns=["what"],
                    on_failure=ShellTask("excuse", 'export what="excused $fold"', returns=["what"]).as_pipeline()),
            ]),
        }, default=Stub("leave it").as_pipeline()),
        ShellTask("shows", 'echo "${what:-nothing}"'),
    ])),
    PythonTask(collects, returns=["all"]),
])
"""


def conditional_steps() -> dict[str, Step]:
    """The rows of CONDITIONAL."""
    rows: dict[str, Step] = {"decides": OK}
    for parameter, (names, taken) in BRANCHES.items():
        rows[f"by {parameter}"] = PASSED
        for name in names:
            rows[f"by {parameter}/{name}/chosen"] = OK if name == taken else SKIPPED
    return {**rows, "after": OK, "by lower": PASSED, "by lower/true/nothing to do": PASSED}


CASES = (
    Case(
        "conditional",
        "A text, a number, a bool or null decides, or else the default. Later steps see what the branch returned.",
        **written(CONDITIONAL),
        arguments=["--param", "given=y"],
        expect=Expect(
            steps=conditional_steps(),
            parameters={
                "by_text": ["text is b", ["b", 3]],
                "by_number": ["number is 3", ["b", 3]],
                "by_flag": ["flag is True", ["b", 3]],
                "by_nothing": ["nothing is null", ["b", 3]],
                "by_real": ["real is 2.5", ["b", 3]],
                "by_given": ["given is something else", ["b", 3]],
            },
        ),
    ),
    Case(
        "no-branch",
        "A value that names no branch fails the conditional. The reason gives the value and the branches, and a handler can run.",
        core="the client and Argo end a run whose conditional has no branch",
        **written(NO_BRANCH),
        arguments=["--param", "flag=true"],
        expect=Expect(
            code=1,
            reason='the conditional of a text has no branch for value = "c": it has a, b',
            stderr='no branch for value = "c"',
            steps={
                "decides": OK,
                "handled": PASSED,
                "handled/of a bool": BROKEN,
                "handled/of a bool/yes/never": SKIPPED,
                "handled/of a bool/on_failure/instead": OK,
                "works": OK,
                "of a text": BROKEN,
                "of a text/a/never": SKIPPED,
                "of a text/b/never": SKIPPED,
                "not reached": SKIPPED,
            },
            parameters={"instead": 1},
            output={"works": "c 1\n"},
        ),
    ),
    Case(
        "conditional-in-a-map",
        "Each item decides separately. A handler in the branch is for its item alone. An item without a value gives null.",
        **written(IN_A_MAP),
        arguments=["--param", 'folds=["a", "b", "c"]'],
        expect=Expect(
            among={
                "folds/0/promote?/good/promote": SKIPPED,
                "folds/0/promote?/good/promote/on_failure/excuse": SKIPPED,
                "folds/1/promote?/good/promote/on_failure/excuse": SKIPPED,
                "folds/1/promote?/default/leave it": SKIPPED,
                "folds/2/promote?/good/promote": failed(1, "ValueError: c can't be promoted"),
                "folds/2/promote?/default/leave it": SKIPPED,
            },
            rows=20,
            parameters={
                "score": [0.5, 0.9, 0.7],
                "what": [None, "b promoted with 0.9", "excused c"],
                "all": [None, "b promoted with 0.9", "excused c"],
            },
            output={"folds/0/shows": "nothing\n", "folds/2/shows": "excused c\n"},
        ),
    ),
)
