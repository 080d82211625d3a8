"""Hands certificates and keys to the TLS libraries, which take them as names of files, without leaving any on a disk.

The client library of Kubernetes writes those that a kubeconfig or its plugin holds to temporary files, and removes them only
when the interpreter ends in the ordinary way. In its place this module keeps them in the memory of this process.
"""

from __future__ import annotations

import os
import stat
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.errors import Infrastructure
from toolkit.temporary import TemporaryFolder

_WRITER = "_create_temp_file_with_content"
"""The library's function that writes a temporary file. It has had this name and these arguments in all its versions so far."""


def keep_off_disk(kube_config: Any) -> str | None:
    """Makes the client library pass on certificates and keys by :func:`path_of`.

    Args:
        kube_config: the library's module of that name.

    Returns:
        The folder for the library's temporary files, where it is a version that writes them in another way; else None.
    """
    if hasattr(kube_config, _WRITER):
        setattr(kube_config, _WRITER, path_of)
        return None
    return str(_folder())


def path_of(content: str | bytes, *_: object, **__: object) -> str:
    """The name under which this process, its threads and its forks can open ``content`` as a file, as long as they live.

    Raises:
        Infrastructure: the content can't be kept.
    """
    return _path_of(content.encode() if isinstance(content, str) else content)


@cache
def _path_of(content: bytes) -> str:
    try:
        return _in_memory(content) or _in_private_folder(content)
    except OSError as error:
        raise Infrastructure(f"the cluster's certificates can't be kept in a temporary file: {error}") from None


def _in_memory(content: bytes) -> str | None:
    """The name of a file that is in no folder, and gone with the process; None where the kernel has none, or no /proc.

    The descriptor stays open. Programs that this process starts don't get it.
    """
    if not hasattr(os, "memfd_create"):
        return None
    try:
        descriptor = os.memfd_create("toolkit-certificate", os.MFD_CLOEXEC)
    except OSError:
        return None
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.isfile(path):
        os.close(descriptor)
        return None
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return path


def _in_private_folder(content: bytes) -> str:
    descriptor, path = tempfile.mkstemp(dir=_folder())
    with open(descriptor, "wb") as file:
        file.write(content)
    return path


@cache
def _folder() -> Path:
    """A folder for this process. The next command removes it, if this process could not."""
    parent = Path(tempfile.gettempdir()) / f"toolkit-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    found = parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Infrastructure(f"{parent} is not a folder that only this user can enter: remove it, or set TMPDIR")
    return TemporaryFolder(parent, "certificates-").path
