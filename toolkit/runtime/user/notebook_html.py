"""An executed notebook as HTML, by nbconvert, which is a package of the user's."""

from __future__ import annotations

import os
import re

from . import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SCRIPTS = {"require_js_url": re.compile(r"\brequire(js)?\b"), "mathjax_url": re.compile(r"\$|\\\(|\\\[|\\begin\{")}
"""The scripts that a page loads from the network before it is shown, by nbconvert's names, and the texts that make use of them."""
_NO_SCRIPT = re.compile(r'<script src=""> ?</script>\n?')


def to_html(notebook: Any, title: str) -> str:
    """The page. It loads scripts from the network only where a cell makes use of them: it is shown without one, too."""
    exporters = imports.library("nbconvert.exporters")
    # Where pip was given a folder to install into, nbconvert does not find its own templates.
    library = os.path.dirname(os.path.dirname(imports.library("nbconvert").__file__))
    beside = os.path.join(library, "share", "jupyter", "nbconvert", "templates")
    exporter = exporters.HTMLExporter(extra_template_basedirs=[beside] if os.path.isdir(beside) else [])
    texts = list(_shown_texts(notebook))
    for name, use in _SCRIPTS.items():
        if not any(use.search(text) for text in texts):
            setattr(exporter, name, "")
    page: str = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})[0]
    return _NO_SCRIPT.sub("", page)


def _shown_texts(notebook: Any) -> Iterator[str]:
    """What a page shows and is neither code nor plain text."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            yield cell.source
        for output in cell.get("outputs", ()):
            for kind, data in output.get("data", {}).items():
                if kind == "text/latex":
                    yield "$"
                if kind != "text/plain" and isinstance(data, str):
                    yield data
