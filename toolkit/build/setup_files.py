"""The files that say how a project is built: whether a setup.py is one of them, and which others they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping


def is_setup_script(content: bytes) -> bool:
    """Whether a setup.py is one that installs a package. The name alone does not say it: it may set up something else."""
    return re.search(rb"\b(setuptools|distutils|skbuild|pbr)\b|\bsetup\(", content) is not None


def files_named(names: Iterable[str], folder: str, texts: Mapping[str, bytes]) -> set[str]:
    """The files that a project's own files name, which its build backend may read beside them.

    Args:
        names: the files that there are, relative to the root. folder: of the project, relative to the root.
        texts: the content of pyproject.toml, setup.cfg and setup.py, by their paths.
    """
    words: set[str] = set()
    bases: set[str] = set()
    for path, content in texts.items():
        text = content.decode("utf-8", "replace")
        found = {word for word in re.findall(r"[\w./+-]+", text) if re.search(r"[./]|^[A-Z]+$", word)}
        words |= found
        if path.endswith("setup.py"):
            # Its paths are put together of parts, and what it imports is read as well.
            bases |= {word.rsplit("/", 1)[-1] for word in found if re.search(r"\w\.\w+$", word)}
            found = set(re.findall(r"(?m)^\s*(?:from|import)\s+([\w.]+)", text))
        else:
            # attr: package.module.__version__
            found = {word.rpartition(".")[0] for word in found if "." in word}
        for module in found:
            stem = module.replace(".", "/")
            words |= {f"{root}{stem}{end}" for root in ("", "src/", "lib/") for end in (".py", "/__init__.py")}
    wanted = {os.path.normpath(os.path.join(folder, word)) for word in words}
    inside = "" if folder == "." else f"{folder}/"
    return {name for name in names if name in wanted or (name.startswith(inside) and name.rsplit("/", 1)[-1] in bases)}
