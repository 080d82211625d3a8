"""What is said of a file that should be a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.runtime.user.notebook_file import find_notebooks, read_notebook

CELL = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["rate = "]}
BOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("report.ipynb", None, "there is no notebook report.ipynb in the project"),
        ("report.ipynb", "", "report.ipynb is a folder and not a notebook"),
        ("report.ipynb", " \n", "report.ipynb is not a notebook: it is empty"),
        ("report.ipynb", '{"cells": [', "report.ipynb is not a notebook: its JSON is broken: Expecting value: line 1"),
        (
            "report.txt",
            "hi",
            "report.txt is not a notebook: it is no JSON, and its name has no suffix of a notebook that is text",
        ),
        ("report.ipynb", "[]", "report.ipynb is not a notebook: its JSON has no nbformat"),
        ("report.ipynb", "{}", "report.ipynb is not a notebook: its JSON has no nbformat"),
        (
            "report.ipynb",
            {**BOOK, "nbformat": 5},
            "report.ipynb has version 5 of the format, and 1 to 4 can be",
        ),
        ("report.ipynb", '{"nbformat": 4}', "report.ipynb is not a notebook: its cells are not as version 4"),
        ("report.ipynb", '{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "its cells are not as version 4"),
        ("report.ipynb", b"\xff\xfe{", "report.ipynb is not a notebook: its byte 1 is not UTF-8"),
        (
            "report.ipynb",
            {**BOOK, "metadata": {"kernelspec": {"language": "R"}}},
            "report.ipynb is written in R, and only Python can be run",
        ),
        (
            "report.ipynb",
            {**BOOK, "cells": [CELL]},
            "parameters of report.ipynb can't be read: invalid syntax in line 1",
        ),
        ("a.ipynb", {**BOOK, "cells": [{**CELL, "source": "x = 1\0"}]}, "parameters of a.ipynb can't be read: "),
        (
            "a.ipynb",
            {**BOOK, "cells": [{**CELL, "source": "x = " + "-" * 100_000 + "1"}]},
            "of a.ipynb can't be read: ",
        ),
        ("report.py", b"# %%\nx = '\xe9'\n", "report.py is not a notebook: its byte 11 is not UTF-8"),
        ("report.py", '# %% tags=["parameters"]\nx = (\n', "the cell tagged parameters of report.py can't be read"),
        ("report.md", None, "there is no notebook report.md in the project"),
        ("report.md", "```R\nx <- 1\n```\n", "report.md is written in R, and only Python can be run"),
        (
            "report.md",
            "---\njupyter: [\n---\n\n```python\n1\n```\n",
            "jupytext can't read the notebook report.md: while",
        ),
    ],
)
def test_a_file_that_is_no_notebook_of_python_is_refused_in_one_sentence(
    tmp_path: Path, file: str, content: str | bytes | dict[str, object] | None, words: str
) -> None:
    path = tmp_path / file
    if content == "":
        path.mkdir()
    elif content is not None:
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    found, lacks = find_notebooks(str(tmp_path), [file])
    assert words in found[file]["refused"] and "\n" not in found[file]["refused"] and not lacks


def test_the_same_text_gives_the_same_notebook_and_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    text = '# %% [markdown]\n# # A\n\n# %% tags=["parameters"]\nrate = 1\n'
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    (tmp_path / "b.py").write_text(text, encoding="utf-8-sig")
    first, second = (read_notebook(str(tmp_path / name), name) for name in ("a.py", "b.py"))
    assert first == second and [cell["id"] for cell in first.cells] == ["cell-0", "cell-1"]
    found, _ = find_notebooks(str(tmp_path), ["a.py"])
    assert found["a.py"]["takes"]["arguments"] == {"rate": {"default": 1}}
