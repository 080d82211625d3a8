"""What a pipeline's file raises while it is described: file and line, what is missing, and what to add where."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.local_project import LocalProject
from toolkit.config.load import load
from toolkit.errors import BadInput
from toolkit.run.raised import raised_error

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeResponse

VERSION = f"Python {sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", f"pipeline.py:1: SyntaxError: invalid syntax ({VERSION}): def f(:"),
        ("import pkg.bad\n", f"pkg/bad.py:2: IndentationError: unexpected indent ({VERSION}): y = 2"),
        ("\nimport yaml2.x\n", "pipeline.py:2: PYTHON has no module yaml2: install yaml2 into its environment"),
        ("import pkg.user\n", "pkg/user.py:1: PYTHON has no module nowhere: install nowhere into its environment"),
        ("def f():\n    import cv2x\nf()\n", "pipeline.py:2: PYTHON has no module cv2x"),
        ("import helper\n", "pipeline.py:1: there is no module helper in the project's root, in src or beside"),
        ("import pkg.no\n", "pipeline.py:1: the project's code has no module pkg.no where it is run (does .dockerignore"),
        ("import toolkit.no\n", "pipeline.py:1: the SDK has no module toolkit.no: all of it is in toolkit"),
        ("from .x import y\n", "pipeline.py:1: the file raised ImportError: attempted relative import with no known parent"),
        ("\n1 / 0\n", "pipeline.py:2: the file raised ZeroDivisionError: division by zero while it was described\nTrace"),
        ("import pkg.fails\n", "pkg/fails.py:1: the file raised TypeError: "),
        ("import os\nos.environ['KEY']\n", "pipeline.py:2: the file raised KeyError: 'KEY' while it was described, where the "
         "environment variable KEY is not set: secrets are given to the steps that declare them, and other variables are set in "
         "executor.config.environment\nTrace"),
        ("{}['KEY']\n", "pipeline.py:1: the file raised KeyError: 'KEY' while it was described\nTrace"),
        ("open('/mnt/x')\n", "pipeline.py:1: the file raised FileNotFoundError: [Errno 2] No such file or directory: '/mnt/x' "
         "while it was described, which is done without volumes: let a step do it\nTrace"),
        ("open('/nowhere/x')\n", "No such file or directory: '/nowhere/x' while it was described\nTrace"),
        ("exec('x = (')\n", "pipeline.py:1: the file raised SyntaxError: "),
        ("raise ModuleNotFoundError('of my own')\n", "the file raised ModuleNotFoundError: of my own while it was described\n"),
    ],
)  # fmt: skip
def test_the_sentence_says_where_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    project = LocalProject(tmp_path)
    monkeypatch.delenv("KEY", raising=False)
    project.write("pipeline.py", text)
    project.write("tools/helper.py", "")
    project.write("pkg/__init__.py", "")
    project.write("pkg/bad.py", "x = 1\n  y = 2\n")
    project.write("pkg/user.py", "import nowhere\n")
    project.write("pkg/fails.py", "None()\n")
    with pytest.raises(BadInput) as raised:
        project.plan("pipeline.py")
    # The network is there, and no sentence speaks of what is not the cause.
    assert says in str(raised.value).replace(sys.executable, "PYTHON")
    assert "network" not in str(raised.value)


@pytest.mark.parametrize(
    ("files", "answer", "says"),
    [
        ({}, {"module": "yaml"}, "the image has no module yaml: write a requirements.txt with PyYAML in the project's root"),
        ({"requirements.txt": "six\n"}, {"module": "sklearn.x"}, "no module sklearn.x: add scikit-learn to requirements.txt"),
        ({"toolkit.yaml": "build: {lock: none}\n"}, {"module": "x"}, "build.lock is none, so nothing is installed"),
        ({"toolkit.yaml": "executor: {type: local, config: {image: 'a:1'}}\n"}, {"module": "x"}, "choose an executor.config.image"),
        ({"helper.py": ""}, {"module": "helper"}, "the project's code has no module helper where it is run (does .dockerignore"),
        ({}, {"module": "distutils" if sys.version_info < (3, 12) else "tkinter"}, "the standard library of the image has no"),
        ({}, {"network": True}, "the file raised X while it was described, which is done without a network: let a step do it"),
    ],
)  # fmt: skip
def test_what_an_image_lacks_is_added_where_the_project_says_what_is_in_it(
    tmp_path: Path, files: dict[str, str], answer: DescribeResponse, says: str
) -> None:
    project = LocalProject(tmp_path)
    for name, text in files.items():
        project.write(name, text)
    answer = {"raised": "X", "traceback": "", "place": "pipeline.py:3", **answer}
    error = raised_error(load(None, tmp_path), answer, "pipeline.py", "")
    assert says in str(error)
    assert "pipeline.py:3: " in str(error)
