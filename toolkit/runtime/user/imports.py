"""Imports of user code: the import path that a script would have, and the functions that a plan names.

The runtime keeps references to the modules that it has imported. Where the user has a module of the same name, the name is
freed in ``sys.modules``, so that the user's ``import json`` finds what it would find in a script.
"""

from __future__ import annotations

import importlib
import os
import sys

from ..shared.locations import Locations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType, TracebackType
    from typing import Any, Optional


class CodeNotFound(Exception):
    """A module, function or file that the pipeline names does not exist."""


_original: list[str] = []
"""``sys.path`` without the user's folders."""
_theirs: list[str] = []
"""The entries of the image's PYTHONPATH, as far as :func:`install` put them before it."""
_own: set[str] = set()
"""The names of the user's own modules and packages."""


def install(locations: Locations, roots: Sequence[str]) -> None:
    """Puts on ``sys.path`` first the user's folders, then the image's PYTHONPATH, and the SDK before installed packages.

    Args:
        roots: the plan's import roots, relative to the code's folder.
    """
    first = [os.path.normpath(os.path.join(locations.code, root)) for root in roots]
    theirs = [
        _in_step_folder(os.path.abspath(entry), locations)
        for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if entry
    ]
    before = [entry for entry in dict.fromkeys(first + theirs) if os.path.isdir(entry)]
    _theirs[:] = [entry for entry in theirs if entry in before and entry not in first]
    _original[:] = [entry for entry in sys.path if entry not in before]
    sys.path[:] = before + _with_sdk(_original, locations.sdk)
    # In a step, execute() at the end of the user's file does nothing.
    sys._toolkit_step = True  # type: ignore[attr-defined]
    _own.update(_own_names(before))
    if not _own.isdisjoint(_SDK_IMPORTS):
        # The SDK is loaded while these names still mean the standard library.
        sys.path[:] = _with_sdk(_original, locations.sdk)
        importlib.import_module("toolkit.sdk")
        sys.path[:] = before + sys.path
    _free_names()
    _join_toolkit(before, locations.sdk)


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Has ``then`` called with a module of the standard library when it is imported for the first time."""
    sys.meta_path.insert(0, _Awaited(name, then))


class _Awaited:
    """Finds one module as the others would, and has its loader tell when it is loaded."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != self._name or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name)
        loader = spec.loader if spec is not None else None
        if loader is None:
            return None
        load, then = loader.exec_module, self._then

        def exec_module(module: ModuleType) -> None:
            load(module)
            then(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def is_own(name: str) -> bool:
    """Whether a module is one of the user's own."""
    return name.partition(".")[0] in _own


def _in_step_folder(folder: str, locations: Locations) -> str:
    """A folder of the user's code where the step has a copy of it; any other folder as it is."""

    def lies_in(around: str) -> bool:
        return folder == around or folder.startswith(around.rstrip("/") + "/")

    # A plain process has its copy inside the project.
    if lies_in(locations.code) or not lies_in(locations.origin):
        return folder
    return os.path.normpath(os.path.join(locations.code, os.path.relpath(folder, locations.origin)))


def has_library(name: str) -> bool:
    """Whether :func:`library` finds a package."""
    if not _own:
        return importlib.import_module("importlib.util").find_spec(name) is not None
    finder = standard_module("importlib.machinery").PathFinder
    return finder.find_spec(name, [*_original, *_theirs]) is not None


def library(name: str) -> Any:
    """A module of an installed package, also where the project has a module of that name; theirs stays imported."""
    return standard_module(name, _theirs)


def standard_module(name: str, more: Sequence[str] = ()) -> Any:
    """A module of the standard library, also where the user has a module of that name; theirs stays imported.

    Args:
        more: folders to look in after the standard library's and those of installed packages.
    """
    if not _own:
        return importlib.import_module(name)
    hidden = _own - _ALWAYS
    theirs = {imported: module for imported, module in sys.modules.items() if imported.partition(".")[0] in hidden}
    path = sys.path[:]
    for imported in theirs:
        del sys.modules[imported]
    sys.path[:] = [*_original, *more]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = path
        _free_names()
        sys.modules.update(theirs)


def _with_sdk(installed: list[str], sdk: str) -> list[str]:
    if sdk in installed:
        return installed
    for position, entry in enumerate(installed):
        if os.path.basename(entry) in ("site-packages", "dist-packages"):
            return [*installed[:position], sdk, *installed[position:]]
    return [*installed, sdk]


def _own_names(folders: Sequence[str]) -> set[str]:
    """The names of modules and packages at the top of the user's folders."""
    names = set()
    for folder in folders:
        for name in os.listdir(folder):
            stem, extension = os.path.splitext(name)
            if extension == ".py" or (not extension and os.path.isfile(os.path.join(folder, name, "__init__.py"))):
                names.add(stem)
    return names


def _free_names() -> None:
    for imported in list(sys.modules):
        if imported.partition(".")[0] in _own - _ALWAYS:
            del sys.modules[imported]


_ALWAYS = frozenset(
    {
        "sys",
        "builtins",
        "os",
        "io",
        "abc",
        "codecs",
        "site",
        "stat",
        "posixpath",
        "__main__",
        "_toolkit_runtime",
        "toolkit",
    }
)
"""Modules that are loaded before a script's first line, so that a script could not replace them either; and our packages."""


_SDK_IMPORTS = frozenset(
    {
        "collections",
        "contextlib",
        "enum",
        "functools",
        "inspect",
        "keyword",
        "operator",
        "re",
        "reprlib",
        "types",
        "typing",
        "warnings",
        "weakref",
    }
)
"""The modules that the SDK imports, and those that they import."""


def _join_toolkit(folders: Sequence[str], sdk: str) -> None:
    """Where the user has a ``toolkit`` of their own, makes one package of both. It has the SDK's names first, then the user's."""
    ours = os.path.join(sdk, "toolkit", "__init__.py")
    theirs: Optional[str] = None
    inside: list[str] = []
    for folder in folders:
        package = os.path.join(folder, "toolkit")
        for candidate in (os.path.join(package, "__init__.py"), package + ".py"):
            if theirs is None and os.path.isfile(candidate):
                theirs = candidate
        if os.path.isdir(package):
            inside.append(package)
    if not (theirs or inside) or not os.path.isfile(ours):
        return
    if theirs is not None and os.path.realpath(theirs) == os.path.realpath(ours):
        return
    joined = sys.modules.get("toolkit") or _load("toolkit", ours, os.path.dirname(ours))
    # It is loaded now, so that it is never looked for in the user's package.
    joined.__dict__["sdk"] = standard_module("toolkit.sdk")
    # Where theirs is a package, Python looks no further for other folders of the name, as without ours.
    joined.__path__.extend(inside if theirs is None else [os.path.dirname(theirs)] if _is_package(theirs) else [])
    if theirs is not None:
        _add_names_of(theirs, joined)


def _is_package(file: str) -> bool:
    return os.path.basename(file) == "__init__.py"


def _add_names_of(theirs: str, joined: ModuleType) -> None:
    """Makes names that the SDK does not have come from the user's file, which runs when the first of them is asked for."""
    loaded: list[ModuleType] = []
    sdk_getattr = joined.__dict__["__getattr__"]

    def from_theirs(name: str) -> Any:
        if name in joined.__dict__["__all__"]:
            return sdk_getattr(name)
        if not loaded:
            util = standard_module("importlib.util")
            package = list(joined.__path__) if _is_package(theirs) else None
            spec = util.spec_from_file_location("toolkit", theirs, submodule_search_locations=package)
            loaded.append(util.module_from_spec(spec))
            spec.loader.exec_module(loaded[0])
        return getattr(loaded[0], name)

    joined.__dict__["__getattr__"] = from_theirs


def _load(name: str, file: str, package: Optional[str] = None) -> ModuleType:
    util = standard_module("importlib.util")
    spec = util.spec_from_file_location(name, file, submodule_search_locations=[package] if package else None)
    if spec is None or spec.loader is None:
        raise CodeNotFound(f"{file} is not a Python file")
    module: ModuleType = util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def name_of_file(path: str) -> tuple[str, bool]:
    """The module name of a pipeline's file in a step, and whether an import of that name finds the file.

    The name is the file's own, unless an import of it would find another module: one of the interpreter's own, or a package
    beside the file.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    package = os.path.join(os.path.dirname(path), stem, "__init__.py")
    if stem in sys.builtin_module_names or stem in _ALWAYS or os.path.isfile(package):
        return f"{stem}_pipeline", False
    # With a dot in the name, pickle would look for a package of the part before it.
    return stem.replace(".", "_"), stem.isidentifier()


def strip_runtime_frames(frames: Optional[TracebackType]) -> Optional[TracebackType]:
    """A traceback without the runtime's and the import system's frames at its beginning, and asyncio's where the runtime awaits."""
    runtime = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.dirname(importlib.__file__)
    ours = (runtime, library, os.path.join(os.path.dirname(library), "asyncio"))
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        folder = os.path.dirname(os.path.abspath(file))
        ours_too = folder in ours or os.path.dirname(folder) == runtime or file.startswith("<frozen importlib")
        if not ours_too:
            break
        frames = frames.tb_next
    return frames


def load_module(name: str, file: Optional[str], code: str) -> ModuleType:
    """A module by its name, or from its file (relative to ``code``) under its own name, never ``__main__``.

    Raises:
        CodeNotFound: there is no such module or file. Exceptions of the module's own code pass through.
    """
    if file is not None:
        imported = sys.modules.get(name)
        path = os.path.join(code, file)
        if imported is not None and os.path.realpath(getattr(imported, "__file__", None) or "") == os.path.realpath(
            path
        ):
            return imported
        if not os.path.isfile(path):
            raise CodeNotFound(f"the file {file} is not in the image")
        return _load(name, path)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Where a module that it imports is missing, the user gets the traceback.
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise CodeNotFound(f"there is no module {name}") from None
        raise


def load_function(module: str, file: Optional[str], qualname: str, code: str) -> Any:
    """The callable that a plan names.

    Raises:
        CodeNotFound: no such module, file or name, or it can't be called.
    """
    value: Any = load_module(module, file, code)
    for part in qualname.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise CodeNotFound(f"the module {module} has no function {qualname}") from None
    function = getattr(value, "__toolkit_function__", value)
    if not callable(function):
        raise CodeNotFound(f"{module}.{qualname} can't be called: it is {type(function).__name__}")
    return function
