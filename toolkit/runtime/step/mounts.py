"""A plain process's own mounts: its volumes at their mount paths, and its folder as an overlay on the project's files.

They are in a mount namespace of the attempt's own, which ends, with all that is mounted in it, when the last process of the
attempt has ended, however that was. Root needs no more than that. Others need a user namespace around it, which has their
own user and group and no others: files of other users seem to be nobody's there, and setuid programs have no effect.
"""

from __future__ import annotations

import json
import os
import sys

from ..shared.locations import current_locations
from ..shared.processes import is_foreign, read_mounts
from .work_folder import UPPER, make_upper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn, Union

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_BIND, _MOVE, _RECURSIVE, _SLAVE = 0x1000, 0x2000, 0x4000, 0x80000
_READ_ONLY, _REMOUNT = 0x1, 0x20
_DETACH = 2
_CAPABILITIES = 0x20080522
"""The version of the kernel's interface (_LINUX_CAPABILITY_VERSION_3)."""
_MOST_ENTRIES = 200
"""How many entries a folder may have that a mount path is added to: each is a mount of its own."""
_MOST_LOOKED_AT = 20_000
"""How many files of a project are asked for their owner before it is described: about 0.2 s."""
_NOT_LOOKED_INTO = {".git", ".toolkit", ".venv", "node_modules"}
"""Folders of many files that a pipeline's file does not write in."""


class MountRefused(Exception):
    """Something can't be mounted; the message says what and why, as a clause."""


def mount_all(
    volumes: Mapping[str, str], overlay: str, lower: str, scratch: str, read_only: Iterable[str] = ()
) -> None:
    """Gives this process, which has one thread, a namespace with its mounts. The working folder is to be entered anew.

    Args:
        volumes: folder by mount path. A mount path that the machine does not have is there in the namespace alone.
        overlay: a folder that becomes an overlay; its upper folder lies beside it. Empty is none.
        lower: the overlay's lower folder. scratch: an empty folder, for the time of the call.
        read_only: those of the mount paths below which nothing can be written.

    Raises:
        MountRefused: the system does not let it do that. It may have the namespace already.
    """
    try:
        _enter_namespace()
        # The overlay comes first: what is mounted below its lower folder would not be seen through it.
        if overlay:
            _mount_overlay(overlay, lower, overlay)
        if volumes:
            _mount_volumes(volumes, scratch)
            for path in read_only:
                _forbid_writing(path)
        if os.geteuid() != 0:
            _drop_capabilities()
    except OSError as error:
        raise MountRefused(f"{error.filename or 'a namespace'}: {error.strerror}") from None


def cover_code(beside: str) -> None:
    """Does the same as :func:`cover` for the user's code, where the system lets it."""
    try:
        cover(current_locations().code, beside)
    except MountRefused:
        return
    # Of a project in a larger repository, git would look no further than the mount.
    os.environ.setdefault("GIT_DISCOVERY_ACROSS_FILESYSTEM", "1")


def cover(folder: str, beside: str) -> None:
    """Lets this process, which has one thread, and all that it starts write below a folder of which nothing changes.

    What they write is theirs, and the folder's path is the same. The working folder is to be entered anew.

    Args:
        folder: an absolute path. beside: what is written lies in folders whose names begin with this path; they are made.

    Raises:
        MountRefused: the system does not let it do that. It may have a namespace already.
    """
    root = os.path.realpath(folder).rstrip("/") + "/"
    try:
        if any(path.startswith(root) for path in read_mounts()):
            raise MountRefused("an overlay does not show what is mounted in the folder")
        if os.geteuid() != 0:
            _check_own(folder)
        os.makedirs(beside + UPPER)
        expected = os.listdir(folder)
        _enter_namespace()
        _mount_overlay(folder, folder, beside)
        if sorted(os.listdir(folder)) != sorted(expected):
            _call("umount2", os.fsencode(folder), _DETACH, what=folder)
            raise MountRefused("an overlay: it does not show what it should")
        if os.geteuid() != 0:
            _drop_capabilities()
    except OSError as error:
        raise MountRefused(f"{error.filename or 'a namespace'}: {error.strerror}") from None


def _check_own(folder: str) -> None:
    """Refuses a folder in which a plain user can't write in an overlay all that they can write: what others own.

    Raises:
        MountRefused: something in it is not this user's, or there is too much to look at.
    """
    left = _MOST_LOOKED_AT
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_LOOKED_INTO]
        paths = [above, *(os.path.join(above, name) for name in files)]
        left -= len(paths)
        if left < 0 or any(is_foreign(path) for path in paths if not os.path.islink(path)):
            raise MountRefused("an overlay: not all in the folder is known to be this user's")


def _enter_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call("unshare", _NEW_MOUNTS, what="a mount namespace")
    else:
        _call("unshare", _NEW_USER | _NEW_MOUNTS, what="a user namespace")
        for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{file}", "w") as opened:
                opened.write(text)
    # What is mounted on the machine later is still seen here; what is mounted here is not seen there.
    _mount("none", "/", _RECURSIVE | _SLAVE)


def _mount_overlay(folder: str, lower: str, beside: str) -> None:
    upper, work = beside + UPPER, beside + ".overlay"
    for each in (folder, work):
        os.makedirs(each, exist_ok=True)
    # Neither length nor characters of a path matter where descriptors name it.
    opened = [os.open(each, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for each in (lower, upper, work)]
    names = [f"/proc/self/fd/{descriptor}" for descriptor in opened]
    options = f"lowerdir={names[0]},upperdir={names[1]},workdir={names[2]}"
    if os.geteuid() != 0:
        options += ",userxattr"
    try:
        try:
            # Nothing of it need survive a crash of the machine: without this option its end waits for the disk.
            _mount("overlay", folder, 0, "overlay", options + ",volatile", what="an overlay")
        except OSError:
            _mount("overlay", folder, 0, "overlay", options, what="an overlay")
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _mount_volumes(volumes: Mapping[str, str], scratch: str) -> None:
    if len(volumes) == 1 and all(os.path.isdir(path) for path in volumes):
        for path, folder in volumes.items():
            _mount(folder, path, _BIND | _RECURSIVE)
        return
    _mount("tmpfs", scratch, 0, "tmpfs", "mode=700")
    held = {path: os.path.join(scratch, str(number)) for number, path in enumerate(volumes)}
    for path, folder in volumes.items():
        # All before the first is mounted at its path, where the folder of another one may lie.
        os.mkdir(held[path])
        _mount(folder, held[path], _BIND | _RECURSIVE)
    for path in volumes:
        if not os.path.isdir(path):
            _add_folder(path, held[path] + ".above")
        _mount(held[path], path, _MOVE)
    _call("umount2", os.fsencode(scratch), _DETACH, what=scratch)


def _add_folder(path: str, new: str) -> None:
    """Makes a folder in this namespace alone: the nearest one above it is replaced by one that holds the same, and the folder.

    Args:
        new: where the other one is made before it takes the place of the first; there is nothing.
    """
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    above = os.path.realpath(above)
    names = os.listdir(above)
    if len(names) > _MOST_ENTRIES:
        raise MountRefused(f"{path} does not exist, and {above} has more than {_MOST_ENTRIES} entries")
    os.mkdir(new)
    _mount("tmpfs", new, 0, "tmpfs", f"mode={os.stat(above).st_mode & 0o7777:o}")
    for name in names:
        source, target = os.path.join(above, name), os.path.join(new, name)
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            continue
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
        _mount(source, target, _BIND | _RECURSIVE)
    os.makedirs(os.path.join(new, os.path.relpath(path, above)))
    if above != "/":
        _mount(new, above, _MOVE)
        return
    os.chdir(new)
    _call("pivot_root", b".", b".", what=path)
    _call("umount2", b".", _DETACH, what=path)
    os.chdir("/")


def _forbid_writing(path: str) -> None:
    # What the mount has of these must stay (nosuid, nodev, noexec, noatime, nodiratime): a plain user may not take them away.
    flags = os.statvfs(path).f_flag & (2 | 4 | 8 | 1024 | 2048)
    _mount("none", path, _BIND | _REMOUNT | _READ_ONLY | flags)


def _drop_capabilities() -> None:
    """A user namespace gives all of them to who made it. A step has none of them elsewhere, and may not read what it may not."""
    header = _CAPABILITIES.to_bytes(4, sys.byteorder) + bytes(4)
    _call("capset", header, bytes(24), what="capabilities")


def _mount(source: str, target: str, flags: int, kind: str = "", options: str = "", what: str = "") -> None:
    given: list[Union[bytes, None]] = [os.fsencode(text) if text else None for text in (source, target, kind, options)]
    _call("mount", given[0], given[1], given[2], flags, given[3], what=what or target)


def _call(name: str, *arguments: Union[bytes, int, None], what: str) -> None:
    """Calls a function of the C library.

    Raises:
        OSError: it failed; ``what`` is its file. MountRefused: this system, or this Python, has no such function.
    """
    try:
        # Not ctypes, which is made of this: its import takes as long as a tenth of Python's start.
        import _ctypes

        flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        function = type("Function", (_ctypes.CFuncPtr,), {"_flags_": flags})(
            _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]
        )
    except (ImportError, AttributeError, OSError, TypeError):
        raise MountRefused(f"there is no function {name}") from None
    if function(*arguments) != 0:
        number = _ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def main(argv: list[str]) -> NoReturn:
    """``main.py --mounts`` with a request on standard input: why its mounts can't be made, for overlay and volumes apart.

    The request has the arguments of :func:`mount_all`, and those of :func:`make_upper` for the overlay. An answer is empty
    where the mounts can be made.
    """
    request = json.load(sys.stdin.buffer)
    volumes, overlay, scratch = request["volumes"], request["overlay"], request["scratch"]
    answer = {
        "overlay": _try(lambda: _mount_and_write(overlay, request)) if overlay else "",
        "volumes": _try(lambda: mount_all(volumes, "", "", scratch)) if volumes else "",
    }
    print(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


def _mount_and_write(overlay: str, request: dict[str, Any]) -> None:
    code, hidden = request["code"], request["hidden"]
    try:
        make_upper(overlay + UPPER, code, request["files"], hidden)
        expected = set(os.listdir(code)).difference(hidden)
        mount_all({}, overlay, code, request["scratch"])
        with open(os.path.join(overlay, ".written"), "x") as file:
            file.write("written")
        found = set(os.listdir(overlay))
    except OSError as error:
        raise MountRefused(f"an overlay: {error.strerror}") from None
    if found != {*expected, ".written"}:
        raise MountRefused("an overlay: it does not show what it should")


def _try(attempt: Callable[[], None]) -> str:
    """Does it in a process of its own, whose namespace ends with it; returns why it was refused."""
    receive, send = os.pipe()
    if os.fork() == 0:
        reason = "it ended"
        try:
            attempt()
            reason = ""
        except MountRefused as error:
            reason = str(error)
        finally:
            os.write(send, reason.encode("utf-8", "replace"))
            os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        reason = pipe.read().decode("utf-8", "replace")
    os.wait()
    return reason
