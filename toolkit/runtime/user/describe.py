"""Describes a pipeline from inside its own image: runs its file as a script would, with ``execute()`` recording.

The request is one JSON object on standard input, the answer one on standard output; whatever the user's code prints goes to
standard error.
"""

from __future__ import annotations

import json
import os
import sys
import types

from ..shared.locations import current_locations
from ..shared.protocol import FAULT, PROTOCOL
from . import imports
from .signature import signature_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Optional


class DescribeRefusal(Exception):
    """The pipeline can't be described; the message says why, ``line`` where."""

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.line = line


def main(argv: list[str]) -> NoReturn:
    """``main.py --describe PROTOCOL`` with a request on standard input."""
    if argv[2:] != [str(PROTOCOL)]:
        spoken = argv[2] if len(argv) > 2 else "none"
        print(f"toolkit runtime: it speaks protocol {PROTOCOL} and was called with protocol {spoken}", file=sys.stderr)
        os._exit(FAULT)
    request = json.loads(sys.stdin.buffer.readline())
    answer_to = os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    answer = _answer(request)
    try:
        text = json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError) as error:
        text = json.dumps({"refused": f"the pipeline holds a value that JSON can't: {error}", "line": None})
    with open(answer_to, "wb") as file:
        file.write(text.encode("ascii"))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the file started are not waited for.
    os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    locations = current_locations()
    try:
        os.chdir(locations.code)
        imports.install(locations, request["roots"])
        if request["file"] is None:
            return {"functions": {name: _resolve_function(name, locations.code) for name in request["functions"]}}
        return {"pipeline": _describe_file(request, locations.code)}
    except DescribeRefusal as error:
        return {"refused": str(error), "line": error.line}
    except imports.CodeNotFound as error:
        return {"refused": str(error), "line": None}
    except BaseException as error:
        return _exception_answer(error)


def _exception_answer(error: BaseException) -> dict[str, Any]:
    """An exception of the user's own file, with its traceback as Python would print it."""
    traceback = imports.standard_module("traceback")
    refusal = getattr(error, "__toolkit_refusal__", None)
    if refusal is not None:
        return {"refused": str(error), "line": refusal}
    text = "".join(traceback.format_exception(type(error), error, imports.strip_runtime_frames(error.__traceback__)))
    return {"raised": f"{type(error).__name__}: {error}", "traceback": text}


def _describe_file(request: dict[str, Any], code: str) -> dict[str, Any]:
    path = os.path.join(code, request["file"])
    if not os.path.isfile(path):
        raise DescribeRefusal(f"the file {request['file']} is not in the image (does .dockerignore leave it out?)")
    recorded: list[Any] = []
    sys._toolkit_recorder = recorded  # type: ignore[attr-defined]
    main_module = _run_as_script(path, [path, *request["arguments"]], recorded)
    chosen = _chosen(request, main_module, recorded)
    description: dict[str, Any] = chosen.describe()
    _check_functions(description, path, code)
    return description


def _run_as_script(path: str, argv: list[str], recorded: list[Any]) -> types.ModuleType:
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = argv
    with open(path, "rb") as file:
        source = file.read()
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as leave:
        if leave.code not in (None, 0) and not recorded:
            raise DescribeRefusal(f"the file ended with {leave.code} before it called execute()") from None
    return module


def _is_pipeline(value: Any) -> bool:
    """By its mark and not its class: the user's file may have imported the SDK under another path."""
    return not isinstance(value, type) and getattr(value, "__toolkit_pipeline__", False) is True


def _chosen(request: dict[str, Any], module: types.ModuleType, recorded: list[Any]) -> Any:
    name = request["name"]
    if name is not None:
        return _by_name(name, module)
    if request["nth"] is not None and recorded:
        if request["nth"] < len(recorded):
            return recorded[request["nth"]]
        raise DescribeRefusal(
            f"the file calls execute() {len(recorded)} times here, and {request['nth'] + 1} times outside"
        )
    if len(recorded) > 1:
        raise DescribeRefusal(f"the file executes {len(recorded)} pipelines: name one as {request['file']}:NAME")
    if recorded:
        return recorded[0]
    found = _outermost({key: value for key, value in vars(module).items() if _is_pipeline(value)})
    if len({id(value) for value in found.values()}) == 1:
        return next(iter(found.values()))
    if not found:
        raise DescribeRefusal(
            "the file has no pipeline: it neither calls execute() nor holds a Pipeline or a @pipeline function at module level"
        )
    raise DescribeRefusal(
        f"the file holds several pipelines: name one as {request['file']}:NAME ({', '.join(sorted(found))})"
    )


def _outermost(found: dict[str, Any]) -> dict[str, Any]:
    """Those of a file's pipelines that are part of no other, where there are such."""

    def outer() -> dict[str, Any]:
        return {key: value for key, value in found.items() if not getattr(value, "__toolkit_part__", False)}

    if len({id(value) for value in outer().values()}) > 1:
        for value in list(outer().values()):
            # Only by its calls does a driver tell what is part of it; what is wrong with one is said when it is chosen.
            try:
                value.describe()
            except Exception:
                pass
    return outer() or found


def _by_name(name: str, module: types.ModuleType) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise DescribeRefusal(f"the file has nothing named {name}")
        found = getattr(found, part)
    if not _is_pipeline(found) and callable(found) and not isinstance(found, type):
        if signature_of(found).required:
            raise DescribeRefusal(f"{name} takes arguments: only a callable without any can make a pipeline")
        found = found()
    if not _is_pipeline(found):
        raise DescribeRefusal(f"{name} is a {type(found).__name__} and not a pipeline")
    return found


def _check_functions(node: Any, path: str, code: str) -> None:
    """Names each function so that it is found again, checks that it is, and adds what it takes."""
    if isinstance(node, dict):
        reference = node.get("function")
        if isinstance(reference, dict) and "qualname" in reference:
            node["function"], node["takes"] = _check_function(
                reference, node.pop("live", None), path, code, node.get("line")
            )
        if node.get("kind") == "notebook" and not os.path.isfile(os.path.join(code, node["command"])):
            raise DescribeRefusal(
                f"there is no notebook {node['command']} in the project (does .dockerignore leave it out?)",
                node.get("line"),
            )
        for value in node.values():
            _check_functions(value, path, code)
    elif isinstance(node, list):
        for value in node:
            _check_functions(value, path, code)


def _check_function(
    reference: dict[str, Any], live: Any, path: str, code: str, line: Optional[int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    module, qualname = reference["module"], reference["qualname"]
    if live is None:
        resolved = _resolve_function(f"{module}.{qualname}" if module else qualname, code)
        if "refused" in resolved:
            raise DescribeRefusal(resolved["refused"], line)
        return resolved["function"], resolved["takes"]
    holder: Any = sys.modules.get(module)
    for part in qualname.split("."):
        holder = getattr(holder, part, None)
    # A class method is another object each time that it is looked up, and equal to the one before.
    found = getattr(holder, "__toolkit_function__", holder)
    if found is not live and not (isinstance(live, types.MethodType) and found == live):
        raise DescribeRefusal(
            f"the function {qualname} can't be found again as {qualname} in its module: define it at module level, "
            "under the name that it is kept by",
            line,
        )
    return _reference(module, qualname, path, code), _takes(live)


def _reference(module: str, qualname: str, path: Optional[str], code: str) -> dict[str, Any]:
    if module != "__main__":
        return {"module": module, "qualname": qualname, "file": None}
    assert path is not None
    name, found_by_name = imports.name_of_file(path)
    return {"module": name, "qualname": qualname, "file": None if found_by_name else os.path.relpath(path, code)}


def _takes(function: Any) -> dict[str, Any]:
    signature = signature_of(function)
    return {
        "names": list(signature.names),
        "required": [name for name in signature.names if name in signature.required],
        "everything": signature.everything,
    }


def _resolve_function(dotted: str, code: str) -> dict[str, Any]:
    """A dotted path as module and name: the longest part of it that is a module."""
    parts = dotted.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return {"refused": f"{dotted} is not the dotted path of a function (module.function)"}
    for size in range(len(parts) - 1, 0, -1):
        module, qualname = ".".join(parts[:size]), ".".join(parts[size:])
        try:
            function = imports.load_function(module, None, qualname, code)
        except imports.CodeNotFound as error:
            if size == 1 or f"no module {module}" not in str(error):
                return {"refused": str(error)}
            continue
        return {"function": {"module": module, "qualname": qualname, "file": None}, "takes": _takes(function)}
    return {"refused": f"there is no function {dotted}"}
