"""Values of every kind, through every kind of task, into and out of every kind of scope."""

from __future__ import annotations

import json

from tests.conformance.case import OK, PASSED, Case, Expect, failed, written

TEXT = "it's \"quoted\" `here` $HOME \\ 'and' {{x}} $(id)\n"
KINDS = f"""\
TEXT = {TEXT!r}

class Model:
    # As pydantic's are, which the image need not have.
    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, mode):
        return self.fields

    @classmethod
    def model_validate(cls, data):
        return cls(**data)

class Thing:
    def __init__(self, inside):
        self.inside = inside

NAMES = ["integer", "real", "text", "items", "model", pickled("thing"), metric("scores"), metric("score")]

def makes():
    return 3, 0.5, TEXT, [1, "a", None], Model(a=1, b=[2]), Thing({{1, 2}}), {{"loss": 0.25}}, 7

def same(integer: int, real: float, text: str, items: list, model: Model, thing, scores: dict, score, flag: bool, root):
    assert (integer, real, text, items, model.fields) == (3, 0.5, TEXT, [1, "a", None], {{"a": 1, "b": [2]}})
    assert type(thing) is Thing and thing.inside == {{1, 2}} and (scores, score, flag) == ({{"loss": 0.25}}, 7, False)
    assert root == {{"in": ["the", TEXT]}}
    return integer, real, text, items, model, thing, scores, score

async def same_async(integer: int, thing, flag: bool, **others):
    import asyncio

    await asyncio.sleep(0)
    assert "root" in others and "item" in others
    return integer, others["real"], others["text"], others["items"], others["model"], thing, others["scores"], others["score"]

def seen(**values):
    values["model"] = Model(**values["model"])
    assert values["flag"] == "False", "nothing says here that it is a bool"
    return Model.__name__, same(flag=False, **{{name: values[name] for name in SAME}})[0], values["item"]

SAME = ["integer", "real", "text", "items", "model", "thing", "scores", "score", "root"]
CHECK = '''test "$integer $real $items $model $score" = '3 0.5 [1, "a", null] {{"a": 1, "b": [2]}} 7' && test -z "$thing" \\
&& test "$scores $flag" = '{{"loss": 0.25}} False' && printf '%s' "$text"'''

def fails():
    sys.exit(1)

def step(name="same", function=same):
    return PythonTask(function, name=name, returns=NAMES)

def shell(name="shell"):
    return ShellTask(name, CHECK + "; export real text items integer", returns=["real", "text", "items", "integer"])

p = Pipeline(steps=[
    PythonTask(makes, returns=NAMES),
    Parallel("parallel", {{"a": Pipeline(steps=[step(), shell()]), "b": shell().as_pipeline()}}),
    Map("map", iterate_on="ones", iterate_as="item", reducer="last", branch=Pipeline(steps=[
        Parallel("inner", {{"a": step(function=same_async).as_pipeline(), "b": shell().as_pipeline()}}),
        step("again"),
        PythonTask(seen, returns=["word", "number", "seen_item"]),
    ])),
    Conditional("conditional", "flag", {{"False": Pipeline(steps=[step(), shell()])}}),
    Loop("loop", Pipeline(steps=[step(), shell()]), max_iterations=2, break_on="score"),
    Pipeline(name="nested", steps=[
        Pipeline(name="deeper", steps=[PythonTask(fails, on_failure=Pipeline(steps=[step(), shell()]))]),
        shell(),
    ]),
    step("last"),
])
p.execute()
"""
KEYWORDS = ("for", "if", "while", "case", "done", "in", "then", "do", "function", "select", "time")
OF_PYTHON = ("class", "def", "None", "lambda", "import", "async", "match", "self", "print", "return", "is")
WORDS = f"""\
SHELL, PYTHON = {KEYWORDS!r}, {OF_PYTHON!r}

def makes():
    return list(range(22))

def looks(**values):
    assert [values[name] for name in (*SHELL, *PYTHON)] == list(range(22)), values
    return values["global"], values["yield"], values["match"]

def bound(klass, item):
    return [klass, item]

p = Pipeline(steps=[
    PythonTask(makes, returns=[*SHELL, *PYTHON]),
    Map("return", iterate_on="with", iterate_as="global", branch=Pipeline(steps=[
        Parallel("class", {{
            "for": Conditional("lambda", "global", {{
                "and": Loop("while", max_iterations=1, break_on="None", index_as="yield", branch=Pipeline(steps=[
                    PythonTask(looks, returns=["or", "not", "del"]),
                    ShellTask("done", f'python3 -c "import os; print(*[os.environ[n] for n in {{SHELL + PYTHON}}])"'),
                ])).as_pipeline(),
            }}).as_pipeline(),
        }}),
        PythonTask(bound, returns=["except"], bind={{"klass": "class", "item": "global"}}),
    ])),
])
p.execute()
"""
LARGE = """\
class Bytes:
    def __init__(self, data):
        self.data = data

def makes():
    return ["x" * 1_000_000] * 10, Bytes(b"y" * 10_000_000), ["a", "b"]

def takes(large, thing, item):
    assert large == ["x" * 1_000_000] * 10 and thing.data == b"y" * 10_000_000
    return len(large), Bytes(thing.data[:5_000_000] + item.encode())

def together(things):
    return [[len(thing.data), thing.data[-1:].decode()] for thing in things]

p = Pipeline(steps=[
    PythonTask(makes, returns=["large", pickled("thing"), "letters"]),
    Parallel("both", {
        "map": Map("map", iterate_on="letters", iterate_as="item",
            branch=PythonTask(takes, returns=["length", pickled("half")]).as_pipeline()).as_pipeline(),
        "shell": ShellTask("shell", 'wc -c < "$large_FILE"').as_pipeline(),
    }),
    PythonTask(together, returns=["together"], bind={"things": "half"}),
])
p.execute()
"""

CASES = (
    Case(
        "every-scope",
        "Numbers, texts, lists, models, objects, metrics and a bool as text go into each kind of scope and out of it again.",
        **written(KINDS, {"given.json": json.dumps({"root": {"in": ["the", TEXT]}, "flag": "False", "ones": ["i"]})}),
        arguments=["-p", "given.json"],
        expect=Expect(
            among={"nested": PASSED, "nested/deeper": PASSED, "nested/deeper/fails": failed(1), "nested/shell": OK},
            parameters={
                "integer": 3,
                "real": 0.5,
                "text": TEXT,
                "items": [1, "a", None],
                "model": {"a": 1, "b": [2]},
                "scores": {"loss": 0.25},
                "score": 7,
                "flag": "False",
                "word": "Model",
                "number": 3,
                "seen_item": "i",
            },
            output={"nested/shell": TEXT, "map/0/inner/b/shell": TEXT, "nested/deeper/fails/on_failure/shell": TEXT},
        ),
    ),
    Case(
        "names-of-values",
        "Words of Python and of shells can be names of parameters, items, indices, branches and steps.",
        **written(WORDS),
        arguments=["--param", 'with=["and"]'],
        expect=Expect(
            parameters={"or": ["and"], "not": [0], "del": [17], "except": [[11, "and"]], "print": 19},
            output={"return/0/class/for/lambda/and/while/0/done": " ".join(str(n) for n in range(22)) + "\n"},
        ),
    ),
    Case(
        "ten-megabytes",
        "A value and an object of 10 MB go into the branches of a parallel and the items of a map, and come out of them.",
        **written(LARGE),
        expect=Expect(
            parameters={"length": [10, 10], "together": [[5_000_001, "a"], [5_000_001, "b"]]},
            output={"both/shell/shell": str(10 * 1_000_004) + "\n"},
        ),
    ),
)
