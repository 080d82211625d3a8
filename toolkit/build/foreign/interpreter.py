"""The Python of an image that this machine can't run, as its files tell: where it is, its version, and the C library below it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Protocol

from toolkit.build.foreign.filesystem import files_of
from toolkit.build.interpreter import Interpreter
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSIONS = range(9, 31)
"""Minor versions of Python 3 that are looked for."""
_OLDEST_GLIBC = (2, 17)
"""What is taken where an image does not tell its version: each glibc that a supported Linux has is newer."""
_TRIPLETS = {
    "amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "386": "i386-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu", "s390x": "s390x-linux-gnu", "riscv64": "riscv64-linux-gnu",
}  # fmt: skip


class Files(Protocol):
    """The files of an image, as :class:`toolkit.build.foreign.filesystem.ImageFiles` gives them."""

    def real_path(self, path: str) -> str | None: ...

    def read(self, path: str) -> bytes | None: ...


def read_interpreter(engine: EngineApi, image: EngineObject, shown: str) -> Interpreter:
    """What an image's ``python3`` would say of itself.

    Args:
        image: as `docker inspect` shows it. shown: its name, for messages.

    Raises:
        BadInput: there is no python3 on PATH. Infrastructure: the engine can't show its files.
    """
    with files_of(engine, str(image["Id"]), shown) as files:
        found = find_interpreter(files, variables_of(image))
    if found is None:
        raise BadInput(f"the image {shown} has no python3 on its PATH: name another one in build.base_image")
    return found


def variables_of(image: EngineObject) -> dict[str, str]:
    return dict(one.partition("=")[::2] for one in (image.get("Config") or {}).get("Env") or [])


def find_interpreter(files: Files, variables: dict[str, str]) -> Interpreter | None:
    """The first ``python3`` of PATH; None where there is none.

    Args:
        variables: the image's environment variables.
    """
    for folder in (variables.get("PATH") or _DEFAULT_PATH).split(":"):
        path = posixpath.join(folder or "/", "python3")
        real = files.real_path(path)
        minor = _minor(files, real) if real is not None else None
        if real is None or minor is None:
            continue
        version = _version(files, real, minor, variables)
        prefix = posixpath.dirname(posixpath.dirname(path))
        if files.real_path(f"{prefix}/pyvenv.cfg") is not None:
            return Interpreter(version, f"{prefix}/lib/python3.{minor}/site-packages", f"{prefix}/bin", path)
        prefix = posixpath.dirname(posixpath.dirname(real))
        if prefix == "/usr" and files.real_path("/usr/lib/python3/dist-packages") is not None:
            # Debian's own Python leaves /usr to Debian's packages.
            return Interpreter(version, f"/usr/local/lib/python3.{minor}/dist-packages", "/usr/local/bin", path)
        return Interpreter(version, f"{prefix}/lib/python3.{minor}/site-packages", f"{prefix}/bin", path)
    return None


def _minor(files: Files, real: str) -> int | None:
    named = re.fullmatch(r"python3\.(\d+)", posixpath.basename(real))
    if named:
        return int(named[1])
    library = posixpath.join(posixpath.dirname(posixpath.dirname(real)), "lib")
    return next((one for one in _VERSIONS if files.real_path(f"{library}/python3.{one}/os.py") is not None), None)


def _version(files: Files, real: str, minor: int, variables: dict[str, str]) -> str:
    """The whole version: it stands in the program itself, or in its library."""
    set_by_image = variables.get("PYTHON_VERSION", "")  # of the official images
    if real.startswith("/usr/local/") and re.fullmatch(rf"3\.{minor}\.\d+", set_by_image):
        return set_by_image
    prefix = posixpath.dirname(posixpath.dirname(real))
    for path in (real, f"{prefix}/lib/libpython3.{minor}.so.1.0"):
        found = re.search(rb"\0(3\.%d\.\d+)\+?\0" % minor, files.read(path) or b"")
        if found:
            return found[1].decode()
    return f"3.{minor}.0"


def libc_of(files: Files, architecture: str) -> tuple[int, int] | None:
    """The version of an image's glibc; None where it has musl."""
    triplet = _TRIPLETS.get(architecture, "")
    for path in (f"/lib/{triplet}/libc.so.6", "/lib64/libc.so.6", "/lib/libc.so.6"):
        found = re.search(rb"GNU C Library [^\n]*version (\d+)\.(\d+)", files.read(path) or b"")
        if found:
            return int(found[1]), int(found[2])
    machines: Iterable[str] = ("x86_64", "aarch64", "armhf", "i386", "powerpc64le", "s390x", "riscv64")
    if any(files.real_path(f"/lib/ld-musl-{one}.so.1") is not None for one in machines):
        return None
    return _OLDEST_GLIBC
