"""The files that come with toolkit and are not Python: the folders ``dockerfiles`` and ``k8s``."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import Infrastructure

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """The absolute path of one of these folders, or of something below it (``dockerfiles/uv.Dockerfile``).

    A wheel has them inside the package. A checkout has them beside it, also when it is installed as editable.

    Raises:
        Infrastructure: this installation does not have it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        path = root / name
        if path.exists():
            return path
    raise Infrastructure(f"this installation of toolkit has no {name}: install it again")
