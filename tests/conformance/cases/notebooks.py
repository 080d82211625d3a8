"""Notebooks: parameters in a cell, returns from variables, and the executed notebook in the catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conformance.case import OK, Case, Expect, failed, written

REQUIREMENTS = (Path(__file__).parents[3] / "examples" / "notebook" / "requirements.txt").read_text()
"""The example's, so that the two share an environment."""


def notebook(*cells: tuple[str, str]) -> str:
    """A notebook of code cells, each as its tag (or nothing) and its source."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {"tags": [tag]} if tag else {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, (tag, source) in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made})


WITH_TEXT = REQUIREMENTS + "jupytext\nnbconvert\n"

TEXT = 'it\'s "quoted" `here` $HOME {{x}} \\'
EXPLORE = notebook(
    ("parameters", "integer, real, text, items, flag, scores, missing = 0, 0, '', [], None, {}, 'its own'"),
    ("", "assert (integer, real, items, flag, scores) == (3, 0.5, [1, 'a', None], False, {'loss': 0.25}), integer"),
    ("", f"assert text == {TEXT!r}, text\nassert thing.inside == {{1, 2}} and open('data.csv').read() == '1,2'"),
    ("", "import helper\nprint('item', item, missing)\nopen('out.txt', 'w').write(f'{item} of {integer}')"),
    ("", "doubled, found, score = item * 2, helper.Thing({item}), {'n': item}"),
)
FAILS = notebook(("", "x = 1\nprint('before')"), ("", "raise ValueError('in the notebook')"), ("", "print('never')"))
HELPER = """\
class Thing:
    def __init__(self, inside):
        self.inside = inside
"""
PIPELINE = f"""\
import helper

def makes():
    open("data.csv", "w").write("1,2")
    return 3, 0.5, {TEXT!r}, [1, "a", None], False, helper.Thing({{1, 2}}), {{"loss": 0.25}}

def collects(found, doubled, item="none"):
    assert [type(one) is helper.Thing for one in found] == [True, True]
    return [sorted(one.inside) for one in found], open("0/out.txt").read()

p = Pipeline(steps=[
    PythonTask(makes, returns=["integer", "real", "text", "items", "flag", pickled("thing"), metric("scores")],
        catalog=Catalog(put=["data.csv"])),
    Map("each", iterate_on="ns", iterate_as="item", branch=Pipeline(steps=[
        NotebookTask("explore", "notebooks/explore.ipynb", returns=["doubled", pickled("found"), metric("score")],
            bind={{"item": "item", "thing": "thing"}}, catalog=Catalog(get=["data.csv"], put=["out.txt"])),
    ])),
    PythonTask(collects, returns=["collected", "of_the_first"], catalog=Catalog(get=["0/out.txt"])),
    Parallel("handled", {{"branch": NotebookTask("fails", "fails.ipynb", on_failure=ShellTask(
        "looks", "grep -c 'in the notebook' fails_out.ipynb > /dev/null && echo kept", catalog=Catalog(get=["fails_out.ipynb"])
    ).as_pipeline()).as_pipeline()}}),
    NotebookTask("fails", "fails.ipynb", returns=["x"]),
])
"""

ONE = notebook(
    ("parameters", "n = 0"),
    ("", "print('n is', n)\nopen('out.txt', 'w').write(str(n))\ndoubled = n * 2"),
)

FIT = """\
# %% [markdown]
# # A fit

# %% tags=["parameters"]
n = 1

# %%
import os
doubled = n * 2
print(doubled, os.environ["KEY"])
"""
WORDS = """\
# Words

```python tags=["parameters"]
doubled = 0
```

```python
raise ValueError(f"{doubled} words")
```
"""

CASES = (
    Case(
        "notebooks-as-text",
        "Notebooks that are Python or Markdown, and each executed one as HTML, without secrets, also one that fails.",
        **written(
            """\
p = Pipeline(steps=[
    NotebookTask("fit", "fit.py", returns=["doubled"], secrets=["KEY"], html=True),
    NotebookTask("words", "nb/fit.md", html=True, on_failure=ShellTask(
        "looks", "grep -o '42 words</span>' words_out.html; grep -c '42 [*]' fit_out.html", catalog=Catalog(get=["*_out.*"])
    ).as_pipeline()),
])
""",
            {"fit.py": FIT, "nb/fit.md": WORDS, "requirements.txt": WITH_TEXT},
        ),
        secrets={"KEY": "s3cret-of-mine"},
        arguments=["--param", "n=21"],
        expect=Expect(
            rows=3,
            among={"words": failed(1, "ValueError: 42 words"), "words/on_failure/looks": OK},
            parameters={"doubled": 42},
            output={"fit": "42 ***\n"},
        ),
    ),
    Case(
        "one-notebook",
        "A notebook takes a parameter, returns a variable and puts a file.",
        core="a notebook step",
        **written(
            """\
p = Pipeline(steps=[
    NotebookTask("explore", "explore.ipynb", returns=["doubled"], catalog=Catalog(put=["out.txt"])),
])
""",
            {"explore.ipynb": ONE, "requirements.txt": REQUIREMENTS},
        ),
        arguments=["--param", "n=21"],
        expect=Expect(rows=1, parameters={"doubled": 42}, output={"explore": "n is 21\n"}),
    ),
    Case(
        "notebooks",
        "Values of every kind go into notebooks and out of them. Each executed notebook is kept, also one that fails.",
        **written(
            PIPELINE,
            {
                "helper.py": HELPER,
                "notebooks/explore.ipynb": EXPLORE,
                "fails.ipynb": FAILS,
                "requirements.txt": REQUIREMENTS,
            },
        ),
        arguments=["--param", "ns=[5, 6]"],
        expect=Expect(
            code=1,
            among={
                "handled/branch/fails": failed(1, "ValueError: in the notebook"),
                "handled/branch/fails/on_failure/looks": OK,
                "fails": failed(1, "ValueError: in the notebook"),
            },
            rows=9,
            parameters={
                "doubled": [10, 12],
                "score": [{"n": 5}, {"n": 6}],
                "collected": [[5], [6]],
                "of_the_first": "5 of 3",
            },
            output={"each/1/explore": "item 6 its own\n", "handled/branch/fails/on_failure/looks": "kept\n"},
        ),
    ),
)
