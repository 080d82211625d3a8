"""Where the files are that come with the project but are not Python: ``dockerfiles`` and ``k8s``."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import Infrastructure

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """The absolute path of one of these folders, or of something below it (``dockerfiles/uv.Dockerfile``).

    A wheel carries them inside the package; a checkout, also one installed as editable, has them beside it.

    Raises:
        Infrastructure: the installation does not hold it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        path = root / name
        if path.exists():
            return path
    raise Infrastructure(f"this installation of toolkit has no {name}: install it again")
