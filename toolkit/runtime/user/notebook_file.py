"""Reading a notebook: a description does so to tell what is wrong with the file, and the step to execute it.

A notebook is JSON (``.ipynb``), or text that jupytext makes one of. What stands here of nbformat and jupytext is the user's: it is
imported where it is used, and of a JSON notebook a description needs neither.
"""

from __future__ import annotations

import json
import os

from ..shared.notebooks import PACKAGES, TEXT_FORMS, text_form
from ..shared.parameters_cell import takes_of_cells
from . import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..shared.documents import FoundNotebook

_OLDEST, _NEWEST = 1, 4
"""The major versions of the format that nbformat reads."""
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python raises for text that it can't parse: ValueError for a null character, and the last two for deep nesting."""
_LONGEST_REASON = 300
"""Characters of what a library says."""


class NotebookRefusal(Exception):
    """The file is no notebook that can be run. The message names it, and says why."""


def find_notebooks(code: str, notebooks: Iterable[str]) -> tuple[dict[str, FoundNotebook], list[str]]:
    """What a description says of notebooks, by their paths, and which packages for notebooks are not there.

    Args:
        code: the folder that the paths are relative to.
    """
    lacks = [name for name in PACKAGES if not imports.has_library(name)]
    found: dict[str, FoundNotebook] = {}
    for notebook in dict.fromkeys(notebooks):
        try:
            text = _text_of(os.path.join(code, notebook), notebook)
            if not text_form(notebook):
                cells = _document_of(text, notebook)["cells"]
            elif "jupytext" in lacks or "nbformat" in lacks:
                found[notebook] = {}
                continue
            else:
                cells = _converted(text, notebook).cells
            found[notebook] = {"takes": takes_of_cells(cells)}
        except NOT_PYTHON as error:
            found[notebook] = {"refused": bad_parameters_cell(notebook, error)}
        except NotebookRefusal as refusal:
            found[notebook] = {"refused": str(refusal)}
    return found, lacks


def bad_parameters_cell(notebook: str, error: BaseException) -> str:
    """The sentence for a parameters cell that is no Python."""
    why = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else reason_of(error)
    return f"the cell tagged parameters of {notebook} can't be read: {why}"


def read_notebook(path: str, notebook: str) -> Any:
    """The notebook as nbformat's node of version 4.

    Args:
        notebook: the path as the pipeline has it, for messages.

    Raises:
        NotebookRefusal: it can't be run.
    """
    text = _text_of(path, notebook)
    if text_form(notebook):
        return _converted(text, notebook)
    _document_of(text, notebook)
    try:
        return imports.library("nbformat").reads(text, as_version=4)
    except Exception as error:
        raise NotebookRefusal(f"{notebook} is not a notebook: {reason_of(error)}") from None


def _text_of(path: str, notebook: str) -> str:
    if os.path.isdir(path):
        raise NotebookRefusal(f"{notebook} is a folder and not a notebook")
    if not os.path.isfile(path):
        raise NotebookRefusal(f"there is no notebook {notebook} in the project (does .dockerignore leave it out?)")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise NotebookRefusal(f"{notebook} is not a notebook: its byte {error.start + 1} is not UTF-8") from None
    except OSError as error:
        raise NotebookRefusal(f"the notebook {notebook} can't be read: {error.strerror}") from None
    if not text.strip():
        raise NotebookRefusal(f"{notebook} is not a notebook: it is empty")
    return text


def _document_of(text: str, notebook: str) -> Any:
    """The JSON of a notebook, which has cells, also where its format is an old one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not notebook.endswith(".ipynb"):
            forms = ", ".join(TEXT_FORMS.values())
            raise NotebookRefusal(
                f"{notebook} is not a notebook: it is no JSON, and its name has no suffix of a notebook that is text ({forms})"
            ) from None
        raise NotebookRefusal(f"{notebook} is not a notebook: its JSON is broken: {reason_of(error)}") from None
    version = document.get("nbformat") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise NotebookRefusal(f"{notebook} is not a notebook: its JSON has no nbformat, the version of a notebook")
    if not _OLDEST <= version <= _NEWEST:
        raise NotebookRefusal(
            f"the notebook {notebook} has version {version} of the format, and {_OLDEST} to {_NEWEST} can be read"
        )
    if version < _NEWEST:
        # nbformat converts it when it is run.
        return {**document, "cells": []}
    minor = document.get("nbformat_minor", 0)
    if not isinstance(minor, int) or not _are_cells(document.get("cells")):
        raise NotebookRefusal(
            f"{notebook} is not a notebook: its cells are not as version {version} of the format says"
        )
    _check_language(document.get("metadata"), notebook)
    return document


def _are_cells(cells: Any) -> bool:
    return isinstance(cells, list) and all(
        isinstance(cell, dict)
        and cell.get("cell_type") in ("code", "markdown", "raw")
        and isinstance(cell.get("metadata"), dict)
        and isinstance(cell["metadata"].get("tags", []), list)
        and _is_text(cell.get("source"))
        for cell in cells
    )


def _is_text(source: Any) -> bool:
    return isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))


def _converted(text: str, notebook: str) -> Any:
    """The notebook that jupytext makes of text. The same text always gives the same notebook."""
    jupytext = imports.library("jupytext")
    try:
        made = jupytext.reads(text, fmt={"extension": text_form(notebook)})
    except Exception as error:
        raise NotebookRefusal(f"jupytext can't read the notebook {notebook}: {reason_of(error)}") from None
    if not _are_cells(made.cells):
        raise NotebookRefusal(
            f"jupytext can't read the notebook {notebook}: its cells have no tags or metadata that can be used"
        )
    _check_language(made.metadata, notebook)
    # It says how text and notebook are kept alike, and nothing does that to the executed one.
    made.metadata.pop("jupytext", None)
    made.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
    for number, cell in enumerate(made.cells):
        # jupytext makes up random ones.
        if "id" in cell:
            cell["id"] = f"cell-{number}"
    return made


def _check_language(metadata: Any, notebook: str) -> None:
    """Refuses a notebook of another language than Python."""
    metadata = metadata if isinstance(metadata, dict) else {}
    named = [metadata.get(part) for part in ("kernelspec", "jupytext")]
    kernel, text = (part if isinstance(part, dict) else {} for part in named)
    language = kernel.get("language") or text.get("main_language") or "python"
    if str(language).lower() != "python":
        raise NotebookRefusal(f"the notebook {notebook} is written in {language}, and only Python can be run")


def reason_of(error: BaseException) -> str:
    """What a library says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
