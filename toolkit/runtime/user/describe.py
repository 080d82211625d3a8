"""The command ``--describe``: it describes a pipeline from inside the pipeline's own image.

The pipeline's file runs as a script would, but ``execute()`` records the pipeline and doesn't run it. The request is a JSON object
on standard input, and the answer one on standard output. What the user's code prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import types

from ..shared.casts import CannotConvert
from ..shared.locations import Locations, current_locations
from ..shared.protocol import FAULT, PROTOCOL
from ..shared.values import joins_surrogates
from . import imports
from .argument_types import annotations_of, argument_row, arguments_of, remark_of
from .completion import delayed_call
from .conversion import to_json
from .environment import add_own_variables, inherited_variables
from .main_only import MainOnly
from .raised import raised_answer
from .shells import find_shell
from .signature import namespace_parameter, signature_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, NoReturn, Optional

    from ..shared.documents import (
        DescribeRequest,
        DescribeResponse,
        FunctionRow,
        ParameterRow,
        PipelineDescription,
        ResolvedFunction,
        TakesRow,
    )


class DescribeRefusal(Exception):
    """The pipeline can't be described. The message says why, and ``line`` is the line of the user's file, if it is known."""

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.line = line


def main(argv: list[str]) -> NoReturn:
    """``main.py --describe PROTOCOL`` with a request on standard input."""
    if argv[2:3] != [str(PROTOCOL)]:
        spoken = argv[2] if len(argv) > 2 else "none"
        print(
            f"toolkit runtime: the runtime speaks protocol {PROTOCOL} and was called with protocol {spoken}",
            file=sys.stderr,
        )
        os._exit(FAULT)
    request = json.loads(sys.stdin.buffer.readline())
    answer_to = os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    locations = current_locations()
    # In a container it is always the same, because the user's code may see its name, and a description may be kept.
    private = "/tmp/toolkit-describe" if locations.in_container else f"/tmp/toolkit-{os.urandom(8).hex()}"
    answer = _answer(request, locations, private)
    try:
        text = json.dumps(answer, allow_nan=False)
        if joins_surrogates(answer, text.encode("ascii")):
            raise ValueError("the two halves of a surrogate pair one by one, of which JSON makes one character")
    except (TypeError, ValueError) as error:
        text = json.dumps({"refused": f"the pipeline holds a value that JSON can't: {error}", "line": None})
    with open(answer_to, "wb") as file:
        file.write(text.encode("ascii"))
    sys.stdout.flush()
    sys.stderr.flush()
    if os.path.isdir(private):
        imports.standard_module("shutil").rmtree(private, ignore_errors=True)
    # Threads that the file started are not waited for.
    os._exit(0)


def _answer(request: DescribeRequest, locations: Locations, private: str) -> DescribeResponse:
    """The answer to a request.

    Args:
        private: a folder of this process alone, which may be made.
    """
    variables = inherited_variables(locations)
    has_bash = bool(find_shell("bash"))
    try:
        add_own_variables(variables, locations, private)
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(locations.code)
        imports.install(locations, request["roots"])
        if request["file"] is None:
            functions = {name: _resolve_function(name, locations.code) for name in request["functions"]}
            answer: DescribeResponse = {"functions": functions, "bash": has_bash}
            notebooks = request.get("notebooks", [])
        else:
            answer = {"pipeline": _describe_file(request, request["file"], locations.code), "bash": has_bash}
            notebooks = [task["command"] for task in _notebooks(answer["pipeline"]) if isinstance(task["command"], str)]
        if notebooks:
            from .notebook_file import find_notebooks

            answer["notebooks"], answer["lacks"] = find_notebooks(locations.code, notebooks)
            for task in _notebooks(answer.get("pipeline")):
                task["takes"] = answer["notebooks"].get(task["command"], {}).get("takes")
        return answer
    except DescribeRefusal as error:
        return {"refused": str(error), "line": error.line}
    except imports.CodeNotFound as error:
        return {"refused": str(error), "line": None}
    except BaseException as error:
        refusal = getattr(error, "__toolkit_refusal__", None)
        return raised_answer(error, locations.code) if refusal is None else {"refused": str(error), "line": refusal}


def _describe_file(request: DescribeRequest, file: str, code: str) -> PipelineDescription:
    path = os.path.join(code, file)
    if not os.path.isfile(path):
        raise DescribeRefusal(f"the file {file} is not in the image (does .dockerignore leave it out?)")
    recorded: list[Any] = []
    sys._toolkit_recorder = recorded  # type: ignore[attr-defined]
    script = _Script(path, code, request.get("package") or "")
    main_module = script.run([path, *request["arguments"]], recorded)
    pipeline = _choose_pipeline(request, main_module, recorded)
    description: PipelineDescription = pipeline.describe()
    if "parameters" in description:
        description["parameters"] = [_parameter(declared) for declared in description["parameters"]]
    _check_functions(description, script, code)
    return description


def _parameter(declared: Any) -> ParameterRow:
    """A parameter that a pipeline declares, as JSON: its type is an annotation, or that of a driver's argument."""
    name, line = declared["name"], declared.get("line")
    annotation = declared.get("live")
    if "driver" in declared:
        annotation = annotations_of(declared["driver"]).get(name)
    row: ParameterRow = {"name": name, "line": line}
    if annotation is not None:
        row = {**row, **argument_row(annotation)}
    remark = remark_of(annotation) or declared.get("description", "")
    if remark:
        row["description"] = remark
    if "default" in declared:
        try:
            row["default"] = to_json(declared["default"])
        except CannotConvert as refusal:
            place = f"{name}{''.join(refusal.path)}"
            raise DescribeRefusal(f"the default of the parameter {place} {refusal.what}", line) from None
    return row


class _Script:
    """The pipeline's file, which runs as a script.

    Args:
        path: absolute. package: the package that it is a module of, as for ``python -m``; empty for a plain script.
    """

    def __init__(self, path: str, code: str, package: str) -> None:
        self._path = path
        self._package = package
        name, found_by_name = imports.name_of_file(path)
        if package:
            name, found_by_name = f"{package}.{os.path.splitext(os.path.basename(path))[0]}", True
        self._name = name
        self._file = None if found_by_name else os.path.relpath(path, code)
        with open(path, "rb") as file:
            self._source = file.read()
        self._main_only: Optional[MainOnly] = None

    def run(self, argv: list[str], recorded: list[Any]) -> types.ModuleType:
        module = types.ModuleType("__main__")
        module.__file__ = self._path
        module.__dict__["__builtins__"] = __builtins__
        if self._package:
            # This imports the package first, as `python -m` does.
            module.__spec__ = imports.standard_module("importlib.util").find_spec(self._name)
            module.__package__ = self._package
        sys.modules["__main__"] = module
        sys.argv = argv
        try:
            exec(compile(self._source, self._path, "exec", dont_inherit=True), module.__dict__)
        except SystemExit as leave:
            if leave.code not in (None, 0) and not recorded:
                raise DescribeRefusal(f"the file ended with {leave.code} before it called execute()") from None
        return module

    def reference(self, qualname: str) -> FunctionRow:
        """How a step finds a function of the file: it belongs to the module of the file's name."""
        return {"module": self._name, "qualname": qualname, "file": self._file}

    def check_found_by_a_step(self, qualname: str, function: Any, line: Optional[int]) -> None:
        """Refuses a function that a step, which imports the file, would not find, or would find without what it uses.

        Args:
            line: of the step.
        """
        if self._main_only is None:
            self._main_only = MainOnly(self._source)
        guard = 'under `if __name__ == "__main__"`'
        defined = self._main_only.line_of(qualname.partition(".")[0])
        if defined is not None:
            raise DescribeRefusal(
                f"the function {qualname} is defined {guard} (line {defined}), which a step does not run: define it above that",
                line,
            )
        missing = self._main_only.missing(function)
        if missing is not None:
            raise DescribeRefusal(
                f"the function {qualname} uses {missing[0]}, which is only set {guard} (line {missing[1]}), and a step does not "
                "run that: set it above that, or let the function take it as a parameter",
                line,
            )


def _is_pipeline(value: Any) -> bool:
    """Asks for the mark and not for the class: the user's file may have imported the SDK under another path."""
    return not isinstance(value, type) and getattr(value, "__toolkit_pipeline__", False) is True


def _choose_pipeline(request: DescribeRequest, module: types.ModuleType, recorded: list[Any]) -> Any:
    """The pipeline that the request names, or that the file executed, or else the only one that the file holds."""
    name = request["name"]
    if name is not None:
        return _by_name(name, module)
    if request["nth"] is not None and recorded:
        if request["nth"] < len(recorded):
            return recorded[request["nth"]]
        raise DescribeRefusal(
            f"the file calls execute() {len(recorded)} times in the image, and {request['nth'] + 1} times outside"
        )
    if len(recorded) > 1:
        raise DescribeRefusal(f"the file executes {len(recorded)} pipelines: name one as {request['file']}:NAME")
    if recorded:
        return recorded[0]
    pipelines = _outermost({key: value for key, value in vars(module).items() if _is_pipeline(value)})
    if len({id(value) for value in pipelines.values()}) == 1:
        return next(iter(pipelines.values()))
    if not pipelines:
        raise DescribeRefusal(
            "the file has no pipeline: it neither calls execute() nor holds a Pipeline or a @pipeline function at module level"
        )
    raise DescribeRefusal(
        f"the file holds several pipelines: name one as {request['file']}:NAME ({', '.join(sorted(pipelines))})"
    )


def _outermost(pipelines: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of a file's pipelines that are part of no other one; all of them where each is part of another."""

    def outer() -> Mapping[str, Any]:
        return {key: value for key, value in pipelines.items() if not getattr(value, "__toolkit_part__", False)}

    faults: dict[str, Exception] = {}
    if len({id(value) for value in outer().values()}) > 1:
        for name, value in list(outer().items()):
            # A driver marks its parts only when it is traced. A part may be one that can't be traced alone.
            try:
                value.describe()
            except Exception as error:
                faults[name] = error
    found = outer() or pipelines
    if len({id(value) for value in found.values()}) > 1:
        for name in found:
            if name in faults:
                # The others may be its parts: that the file holds several pipelines would be the wrong complaint.
                raise faults[name]
    return found


def _by_name(name: str, module: types.ModuleType) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise DescribeRefusal(f"the file has nothing named {name}")
        value = getattr(value, part)
    if not _is_pipeline(value) and callable(value) and not isinstance(value, type):
        if signature_of(value).required:
            raise DescribeRefusal(f"{name} takes arguments: only a callable without any can make a pipeline")
        value = value()
    if not _is_pipeline(value):
        raise DescribeRefusal(f"{name} is a {type(value).__name__} and not a pipeline")
    return value


def _notebooks(node: Any) -> Iterator[Any]:
    """The notebook tasks of a description, at any depth."""
    if isinstance(node, dict):
        if node.get("kind") == "notebook" and "command" in node:
            yield node
        node = list(node.values())
    for value in node if isinstance(node, list) else ():
        yield from _notebooks(value)


def _check_functions(node: Any, script: _Script, code: str) -> None:
    """Checks that each function of a description is found again under its name, and adds what it takes."""
    if isinstance(node, dict):
        reference = node.get("function")
        if isinstance(reference, dict) and "qualname" in reference:
            node["function"], node["takes"] = _check_function(
                reference["module"], reference["qualname"], node.pop("live", None), script, code, node.get("line")
            )
        for value in node.values():
            _check_functions(value, script, code)
    elif isinstance(node, list):
        for value in node:
            _check_functions(value, script, code)


def _check_function(
    module: str, qualname: str, live: Any, script: _Script, code: str, line: Optional[int]
) -> tuple[FunctionRow, TakesRow]:
    """The function as a step finds it, and its signature.

    Args:
        live: the function itself where the file holds it; None where it is only named. line: of the step, for a refusal.
    """
    if live is None:
        resolved = _resolve_function(f"{module}.{qualname}" if module else qualname, code)
        if "refused" in resolved:
            raise DescribeRefusal(resolved["refused"], line)
        return resolved["function"], resolved["takes"]
    holder: Any = sys.modules.get(module)
    for part in qualname.split("."):
        holder = getattr(holder, part, None)
    # Each look-up of a class method gives another object, which is equal to the one before.
    function = getattr(holder, "__toolkit_function__", holder)
    if function is not live and not (isinstance(live, types.MethodType) and function == live):
        raise DescribeRefusal(
            f"the function {qualname} can't be found again as {qualname} in its module: define it at module level, "
            "under its own name",
            line,
        )
    delayed = delayed_call(live, code)
    if delayed:
        raise DescribeRefusal(delayed, line)
    if module != "__main__":
        return {"module": module, "qualname": qualname, "file": None}, _takes(live)
    script.check_found_by_a_step(qualname, live, line)
    return script.reference(qualname), _takes(live)


def _takes(function: Any) -> TakesRow:
    signature = signature_of(function)
    if namespace_parameter(function, signature) is not None:
        return {"names": [], "required": [], "everything": True}
    return {
        "names": list(signature.names),
        "required": [name for name in signature.names if name in signature.required],
        "everything": signature.everything,
        "arguments": arguments_of(function, signature),
    }


def _resolve_function(dotted: str, code: str) -> ResolvedFunction:
    """The function of a dotted path. The module is the longest part of the path that can be imported."""
    parts = dotted.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return _no_function(dotted, code, f"{dotted} is not the dotted path of a function (module.function)")
    for size in range(len(parts) - 1, 0, -1):
        module, qualname = ".".join(parts[:size]), ".".join(parts[size:])
        try:
            function = imports.load_function(module, None, qualname, code)
        except imports.CodeNotFound as error:
            if size == 1 or f"no module {module}" not in str(error):
                return _no_function(dotted, code, str(error))
            continue
        delayed = delayed_call(function, code)
        if delayed:
            return {"refused": delayed}
        return {"function": {"module": module, "qualname": qualname, "file": None}, "takes": _takes(function)}
    return {"refused": f"there is no function {dotted}"}


def _no_function(dotted: str, code: str, reason: str) -> ResolvedFunction:
    """A refusal. Where a step has no command_type, a notebook's ``fit.py`` looks like a function ``py`` of the module ``fit``."""
    if os.path.isfile(os.path.join(code, dotted)):
        reason = (
            f"{dotted} is a file, and the command of a python step is a function (module.function); "
            "for a notebook, say command_type: notebook"
        )
    return {"refused": reason}
