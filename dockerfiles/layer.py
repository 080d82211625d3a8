"""The installed packages as the tar of an image's layer, inside a build, by the Python that they are installed for.

    layer.py write PREFIX FOLDER    FOLDER/layer.tar, and FOLDER/from-source.txt: the names of what was built here
    layer.py report FILE            the names of what was built here, in a report of pip's

The same packages give the same bytes, whoever installs them, when and where: all is sorted, owned by root, of one time, of one
of two modes, and compiled anew. Bytecode is checked by its source's hash, since a time would differ. What Python writes of a
compiled module also depends on which strings the process holds already. So each group of files, always the same one, is compiled
in a process of its own that begins like all others: PYTHONHASHSEED is 0, and nothing of site-packages is imported (-S).
"""

import gc
import json
import os
import py_compile
import re
import stat
import sys
import tarfile
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

MTIME = 315619200
"""As in the code layer."""
_GROUP = 512 << 10
"""Bytes of source that one process compiles: some dozen processes for a large environment, which keep all cores busy."""
_CHUNK = 1 << 20
_FAILED = 3
"""The exit code of a process that could not write what it compiled."""


def main(arguments: list[str]) -> int:
    task, *rest = arguments
    if task == "report":
        with open(rest[0], encoding="utf-8") as file:
            print("\n".join(reported(json.load(file))))
        return 0
    prefix, folder = rest
    os.umask(0o022)
    os.makedirs(folder, exist_ok=True)
    names = sorted({*from_source(prefix), *read_lines(os.path.join(folder, "from-source.txt"))})
    with open(os.path.join(folder, "from-source.txt"), "w", encoding="utf-8") as file:
        file.write("".join(name + "\n" for name in names))
    forget_times(prefix)
    compile_all(sources(prefix))
    with open(os.path.join(folder, "layer.tar"), "wb") as file:
        write(prefix, file)
    return 0


# --- What was built here ----------------------------------------------------------------------------------------------


def reported(report: dict[str, Any]) -> list[str]:
    """The names in a report of pip's of what was no wheel: it names the source also where pip had built it before."""
    names = []
    for one in report.get("install", ()):
        download = one["download_info"]
        if not download["url"].partition("#")[0].endswith(".whl"):
            names.append(normalized(one["metadata"]["name"]))
    return sorted(names)


def from_source(prefix: str) -> list[str]:
    """The names of what uv built here or had built before, and of folders and repositories."""
    names = []
    for folder in metadata_folders(prefix):
        direct: dict[str, Any] = {}
        try:
            with open(os.path.join(folder, "direct_url.json"), encoding="utf-8") as file:
                direct = json.load(file)
        except (OSError, ValueError):
            pass
        url = str(direct.get("url", ".whl")).partition("#")[0]
        # uv notes how it built a distribution, and nothing where there was a wheel.
        if not url.endswith(".whl") or os.path.exists(os.path.join(folder, "uv_build.json")):
            names.append(normalized(os.path.basename(folder).partition("-")[0]))
    return names


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def metadata_folders(prefix: str) -> Iterator[str]:
    for folder, folders, _ in os.walk(prefix):
        if os.path.basename(folder) == "site-packages":
            found = sorted(name for name in folders if name.endswith(".dist-info"))
            yield from (os.path.join(folder, name) for name in found)
            folders.clear()


def read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


# --- What differs from one installation to the next -------------------------------------------------------------------


def forget_times(prefix: str) -> None:
    """Removes what holds the time of the installation, and nothing reads later."""
    for folder in metadata_folders(prefix):
        kept = os.path.join(folder, "uv_cache.json")  # the times of a local folder's files
        if os.path.exists(kept):
            os.unlink(kept)
            unlist(os.path.join(folder, "RECORD"), os.path.basename(folder) + "/uv_cache.json,")
    history = os.path.join(prefix, "conda-meta", "history")
    if os.path.exists(history):
        with open(history, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        with open(history, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(re.sub(r"(?m)^==> .* <==$", "==> 1980-01-02 00:00:00 <==", text))


def unlist(record: str, beginning: str) -> None:
    try:
        with open(record, encoding="utf-8", newline="") as file:
            lines = file.readlines()
    except OSError:
        return
    with open(record, "w", encoding="utf-8", newline="") as file:
        file.writelines(line for line in lines if not line.startswith(beginning))


# --- Bytecode ---------------------------------------------------------------------------------------------------------


def sources(prefix: str) -> list[str]:
    """Removes bytecode, and gives the files to compile, sorted: those below Python's library, and those elsewhere that had some."""
    found: list[str] = []
    for folder, folders, names in os.walk(prefix):
        modules = {name[:-3] for name in names if name.endswith(".py")}
        compiled: set[str] = set()
        cache = os.path.join(folder, "__pycache__")
        if "__pycache__" in folders:
            folders.remove("__pycache__")
            for name in os.listdir(cache):
                module = name.partition(".")[0]
                if name.endswith(".pyc") and module in modules:
                    os.unlink(os.path.join(cache, name))
                    compiled.add(module)
            if not os.listdir(cache):
                os.rmdir(cache)
        inside = re.match(r"lib/python3[^/]*(/|$)", os.path.relpath(folder, prefix))
        found += [os.path.join(folder, name + ".py") for name in (modules if inside else compiled)]
    return sorted(path for path in found if stat.S_ISREG(os.lstat(path).st_mode))


def compile_all(paths: list[str]) -> None:
    """Compiles these files, each group in a process of its own. A file that is not of this Python has no bytecode.

    Where a process dies, by a lack of memory or a fault of Python's, each of its files gets one more.
    """
    gc.disable()
    waiting = groups(paths)[::-1]
    running: dict[int, list[str]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            group = waiting.pop()
            process = os.fork()
            if process == 0:
                compile_group(group)
            running[process] = group
        process, status = os.wait()
        group = running.pop(process)
        if status == _FAILED << 8:
            raise SystemExit(1)
        if status != 0 and len(group) > 1:
            waiting += [[path] for path in group[::-1]]


def groups(paths: list[str]) -> list[list[str]]:
    """These files in groups, always the same ones for the same files."""
    made: list[list[str]] = []
    size = _GROUP
    for path in paths:
        if size >= _GROUP:
            made.append([])
            size = 0
        made[-1].append(path)
        size += os.stat(path).st_size
    return made


def compile_group(paths: list[str]) -> NoReturn:
    """Compiles files, and ends this process."""
    code = 1
    try:
        warnings.simplefilter("ignore")
        for path in paths:
            compile_one(path)
        code = 0
    except OSError as error:
        print(f"the bytecode cannot be written: {error}", file=sys.stderr, flush=True)
        code = _FAILED
    finally:
        os._exit(code)


def compile_one(path: str) -> None:
    try:
        py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH, quiet=2)
    except FileExistsError:
        pass  # there is something else by the name of its bytecode
    except OSError:
        raise
    except Exception:
        pass  # it is no source of this Python: a template, or one of an older Python


# --- The tar ----------------------------------------------------------------------------------------------------------


def write(prefix: str, target: BinaryIO) -> None:
    """Writes the tar of a folder. Links stay links; several names of one file are several files."""
    top = prefix.strip("/")
    parents = ["/".join(top.split("/")[: depth + 1]) for depth in range(top.count("/"))]
    for name in parents:
        head(target, name, tarfile.DIRTYPE, 0o755)
    for name, path in entries(prefix, top):
        state = os.lstat(path)
        if stat.S_ISDIR(state.st_mode):
            head(target, name, tarfile.DIRTYPE, 0o755)
        elif stat.S_ISLNK(state.st_mode):
            head(target, name, tarfile.SYMTYPE, 0o777, link=os.readlink(path))
        elif stat.S_ISREG(state.st_mode):
            mode = 0o755 if state.st_mode & 0o111 else 0o644
            head(target, name, tarfile.REGTYPE, mode, state.st_size)
            with open(path, "rb", buffering=0) as source:
                left = state.st_size
                while left:
                    chunk = source.read(min(left, _CHUNK))
                    if not chunk:
                        raise OSError(f"{path} became shorter while it was read")
                    target.write(chunk)
                    left -= len(chunk)
            target.write(b"\0" * (-state.st_size % 512))
    target.write(b"\0" * 1024)


def entries(prefix: str, top: str) -> list[tuple[str, str]]:
    """All paths below a folder and the folder itself, sorted by their bytes, each by its name in the tar."""
    found = [(top, prefix)]
    for folder, folders, names in os.walk(prefix):
        inside = top + folder[len(prefix) :]
        found += [(inside + "/" + name, os.path.join(folder, name)) for name in (*folders, *names)]
    return sorted(found, key=lambda entry: os.fsencode(entry[0]))


def head(target: BinaryIO, name: str, kind: bytes, mode: int, size: int = 0, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, size, link, MTIME
    target.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
