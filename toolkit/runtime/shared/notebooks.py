"""What is known of a notebook by its name: its form, what the executed one is called, and the packages that it takes to run it."""

from __future__ import annotations

import os

TEXT_FORMS = {".py": ".py", ".md": ".md", ".markdown": ".markdown", ".rmd": ".Rmd", ".qmd": ".qmd"}
"""The suffixes of notebooks that are text, in small letters, and as jupytext writes them. Any other notebook is JSON."""
_ALWAYS = ("nbclient", "nbformat", "ipykernel")
PACKAGES = (*_ALWAYS, "jupytext", "nbconvert")
"""All that some notebook needs. They belong to the user: they are packages of the image, or of the step's own Python."""


def text_form(notebook: str) -> str:
    """The suffix that jupytext reads a notebook by; empty where it is JSON."""
    return TEXT_FORMS.get(os.path.splitext(notebook)[1].lower(), "")


def executed_name(notebook: str) -> str:
    """The key under which the executed notebook is put. It is JSON in any case, because it has outputs."""
    stem, suffix = os.path.splitext(os.path.basename(notebook))
    return f"{stem}_out{'.ipynb' if text_form(notebook) else suffix}"


def html_name(executed: str) -> str:
    """The key of the executed notebook as HTML, beside the executed notebook."""
    return f"{os.path.splitext(executed)[0]}.html"


def packages_for(notebook: str, html: bool) -> tuple[str, ...]:
    """The packages without which the notebook can't be run."""
    return (*_ALWAYS, *(("jupytext",) if text_form(notebook) else ()), *(("nbconvert",) if html else ()))
