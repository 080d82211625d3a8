"""The paths of records and objects on the volume, and the names of folders for steps."""

from __future__ import annotations

import hashlib
import os

from .protocol import STEPS_FOLDER

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_HEXADECIMAL = frozenset("0123456789abcdef")
_DIGITS = 64
"""Hexadecimal digits of a SHA-256."""
_LONGEST = 120
_KEPT = 80

SHARED_MODE = 0o2775
"""The mode of folders on the volume: the group may write, and what is made inside belongs to the group."""


def folder_name(name: str) -> str:
    """One part of a step's path as the name of a folder: percent-encoded, and cut and hashed above 120 bytes.

    A file system takes names of 255 bytes, and 200 characters of Unicode can have 2,400 bytes when they are encoded.
    """
    encoded = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode("utf-8"))
    if len(encoded) <= _LONGEST:
        return encoded
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()[:32]
    return encoded[:_KEPT].rstrip("%") + "~" + digest


def step_folder(run_folder: str, path: str) -> str:
    """The folder of the step at ``path`` (names joined with ``/``): its attempts are the folders named by a number."""
    return os.path.join(run_folder, *_step_parts(path))


def attempt_folder(run_folder: str, path: str, attempt: int) -> str:
    """The folder of one attempt; ``attempt`` counts from 1."""
    return os.path.join(run_folder, *attempt_parts(path, attempt))


def attempt_parts(path: str, attempt: int) -> list[str]:
    """The folders between a run's folder and the records of an attempt, that of the attempt included."""
    return [*_step_parts(path), str(attempt)]


def _step_parts(path: str) -> list[str]:
    return [STEPS_FOLDER, *map(folder_name, path.split("/"))]


def attempts(run_folder: str, path: str) -> list[int]:
    """The numbers of the attempts that have a folder, in ascending order."""
    try:
        names = os.listdir(step_folder(run_folder, path))
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdigit())


def object_folders(digest: str) -> list[str]:
    """The folders between a catalog and the object with this SHA-256, from outside to inside."""
    return ["objects", digest[:2]]


def object_path(catalog: str, digest: str) -> str:
    """The path of an object in a catalog.

    Raises:
        ValueError: ``digest`` is no SHA-256 in hexadecimal. A record of a step's may hold anything, also a path.
    """
    if len(digest) != _DIGITS or not _HEXADECIMAL.issuperset(digest):
        raise ValueError(f"{digest!r} is no object's hash")
    return os.path.join(catalog, *object_folders(digest), digest)
