"""The supervisor's child: it reads the inputs, runs the user's code, and stores the returns.

The child reports to the supervisor by one JSON document through a pipe. User code that ends the process at once (``os._exit``,
a signal) leaves the pipe empty, and that is never a success.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from ..shared import catalog
from ..shared.catalog import BadKey, FileStore, StoreFault
from ..shared.protocol import LARGE_VALUE
from ..shared.redaction import Redactor
from ..shared.scope import Scope, UnsuitableValue, reduce_values
from ..shared.stored_values import load_value, store_value, value_digest
from ..shared.tree import ON_EXIT, TOLD
from ..shared.values import RepeatedKey, as_text, encode_value, from_text
from ..shared.whole_files import write_all
from . import conversion, imports
from .shells import STRICT, find_shell
from .signature import namespace_parameter, signature_of
from .spelling import spelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping
    from types import ModuleType
    from typing import Any, Literal, Optional, TypedDict

    from ..shared.documents import BindRow, ExceptionRecord, FunctionRow, InputRecord, JsonValue, StepRow, StoredValue
    from ..shared.locations import Locations

    class ChildReport(TypedDict, total=False):
        """What the child reports. A ``fault`` is one of the runtime, and a ``reason`` or ``exception`` one of the step."""

        returns: Optional[dict[str, StoredValue]]
        inputs: dict[str, InputRecord]
        reason: str
        exception: ExceptionRecord
        fault: str


REDUCER_LIMIT = 60
"""Seconds that a reducer has whose result is only recorded to be looked at."""
EXPORTS_DESCRIPTOR = 9
"""The descriptor that takes a shell step's exported variables; the highest that POSIX sh can redirect."""

_DUMP = (
    "trap 'toolkit_status=$?; trap - EXIT; "
    "{ command -p cat /proc/self/environ 2>/dev/null || command -p env -0; } >&9; exit $toolkit_status' EXIT; "
)
"""Begins the command's first line, so that the shell counts the lines as their author does. It writes the exported
variables when the shell ends: they are the environment of any process that the shell starts.

``command -p`` finds the programs also where the step's command has set a PATH of its own.
"""


class TaskFailure(Exception):
    """The step failed, and not by an exception of the user's code. The message is the reason."""


class TaskRunner:
    """One attempt of a task, as the child runs it.

    Args:
        step: the plan's row. roots: the plan's import roots. scope: the parameters that the step can see.
        store: the catalog. locations: the folders of this container. redactor: of the step's secrets.
        private: a folder for this attempt alone.
        data_folder: the folder that catalog keys are relative to, itself relative to the working folder.
        folder: the attempt's in the run log, for large returns.
    """

    def __init__(
        self,
        step: StepRow,
        roots: list[str],
        scope: Scope,
        store: FileStore,
        locations: Locations,
        redactor: Redactor,
        private: str,
        data_folder: str = ".",
        folder: str = "",
    ) -> None:
        self.step = step
        self.roots = roots
        self.scope = scope
        self.store = store
        self.locations = locations
        self.redactor = redactor
        self.private = private
        self.data_folder = data_folder
        self.folder = folder
        self.inputs: dict[str, InputRecord] = {}
        self._installed = False

    # --- inputs -----------------------------------------------------------------------------------------------------

    def take(self, name: str, objects: bool = True) -> Optional[StoredValue]:
        """The value for an argument, by its name or by a binding, as records hold it; None where there is none.

        It counts as an input then. :meth:`value_of` gives the value itself.

        Args:
            objects: False leaves out values that are objects.
        """
        binding: Optional[BindRow] = self.step["bind"].get(name)
        if binding is not None and "value" in binding:
            self.inputs[name] = {"value": binding["value"]}
            return {"kind": "json", "value": binding["value"]}
        source_name = binding["name"] if binding is not None else name
        try:
            resolved = self.scope.parameter(source_name, binding.get("step") if binding is not None else None)
        except UnsuitableValue:
            # For example the largest of no items. A shell step takes all parameters, and just does without this one.
            if objects:
                raise
            return None
        if resolved is None:
            return None
        path, stored = resolved
        if not objects and _holds_object(stored):
            return None
        if path == ON_EXIT and source_name in TOLD:
            # No record holds it.
            self.inputs[name] = {"value": load_value(stored)}
            return stored
        self.inputs[name] = {
            "from": path,
            "name": source_name,
            "kind": stored["kind"],
            "sha256": value_digest(stored),
        }
        return stored

    def text_in_key(self, key: str, name: str) -> str:
        """The text of a value in a catalog key, in its spelling. The value counts as an input.

        Raises:
            BadKey: there is no value, or it is neither text nor a number. StoreFault: the value is missing or damaged.
        """
        from ..shared.keys import text_in_key

        try:
            stored = self.take(name)
        except UnsuitableValue as error:
            raise BadKey(f"the catalog key {key!r} names {name}: {error}") from None
        if stored is None:
            raise BadKey(
                f"the catalog key {key!r} names {name}, which has no value: no earlier step returns it and the run was given none "
                "of that name"
            )
        if stored["kind"] in ("object", "list"):
            # A list that is not JSON data: of objects, or for a function of the user's.
            what = "an object" if stored["kind"] == "object" else "made of all items of a map, when a step takes it"
            raise BadKey(
                f"the catalog key {key!r} names {name}, which is {what}: only text and numbers can be part of a key"
            )
        text = text_in_key(key, name, load_value(stored))
        return stored.get("spelling", text)

    def value_of(self, name: str, stored: StoredValue) -> Any:
        """The value that was taken for an argument. What a reducer made of a map's items is recorded, if it is JSON data.

        Raises:
            TaskFailure, StoreFault: as of :meth:`load`.
        """
        value = self.load(stored)
        if stored["kind"] == "list" and stored["reducer"] not in (None, "list", "last"):
            try:
                plain = conversion.as_json(name, value)
                data = conversion.json_data(name, plain)
                self.refuse_secrets(name, data)
            except (conversion.BadValue, TaskFailure):
                return value
            self.inputs[name]["reduced"] = store_value(self.folder, "json", plain, data)
        return value

    def load(self, stored: StoredValue) -> Any:
        """The value of a stored parameter; for a map's items, what the reducer makes of their values.

        Raises:
            TaskFailure: the reducer does not suit the values. StoreFault: the value is missing or damaged.
        """
        if stored["kind"] == "object":
            return imports.standard_module("pickle").loads(self.store.get_bytes(stored["sha256"]))
        if stored["kind"] != "list":
            return load_value(stored)
        reducer = stored["reducer"]
        if not isinstance(reducer, dict):
            try:
                return reduce_values(
                    reducer, [self.load(item) for item in stored["items"]], stored["map"], stored["name"]
                )
            except UnsuitableValue as error:
                raise TaskFailure(str(error)) from None
        # Before the items are loaded: what is pickled in them may need the reducer's module.
        function = self.function(reducer)
        items: Any = [self.load(item) for item in stored["items"]]
        names = signature_of(function).names
        hints = _hints_of(function) if names and not _holds_object(stored) else {}
        if names and names[0] in hints:
            items = conversion.cast(stored["name"], items, hints[names[0]], function)
        return _finished(function(items))

    def function(self, reference: FunctionRow) -> Callable[..., Any]:
        """A function of the user's code. The first call puts the user's folders on the import path."""
        if not self._installed:
            # Only once: again it would import the user's modules anew, and their classes would be other ones.
            imports.install(self.locations, self.roots)
            self._installed = True
        function: Callable[..., Any] = imports.load_function(
            reference["module"], reference["file"], reference["qualname"], self.locations.code
        )
        return function

    def arguments(self, function: Callable[..., Any]) -> tuple[list[object], dict[str, object]]:
        """The arguments for a function, by position and by name, cast to its annotations.

        Raises:
            TaskFailure: there is no value for a required argument. BadValue: a value can't be cast.
        """
        signature = signature_of(function)
        namespace = namespace_parameter(function, signature)
        if namespace is not None:
            given = {name: self.value_of(name, stored) for name, stored in self.take_all(())}
            made = _hints_of(function)[namespace](**given)
            return ([made], {}) if namespace in signature.positional else ([], {namespace: made})
        hints = _hints_of(function) if signature.names or signature.rest else {}
        values: dict[str, object] = {}
        for name in signature.names:
            stored = self.take(name)
            if stored is None:
                if name in signature.required:
                    raise TaskFailure(
                        f"the parameter {name} has no value: no earlier step returns it and the run was given none of that name"
                    )
                continue
            value = self.value_of(name, stored)
            if name in hints and not (value is None and name in signature.optional):
                value = _cast(name, stored, value, hints[name], function)
            values[name] = value
        if signature.rest:
            for name, stored in self.take_all({*values, *signature.positional}):
                value = self.value_of(name, stored)
                hint = hints.get(signature.rest)
                values[name] = value if hint is None else _cast(name, stored, value, hint, function, rest=True)
        # A positional argument without a value is given its default where a later one has a value.
        filled = [position for position, name in enumerate(signature.positional) if name in values]
        positional = [
            values.pop(name) if name in values else _default(function, name)
            for name in signature.positional[: filled[-1] + 1 if filled else 0]
        ]
        return positional, values

    def take_all(self, but: Container[str]) -> Iterator[tuple[str, StoredValue]]:
        """Takes all parameters in scope and all bindings, except those of the names ``but``."""
        for name in dict.fromkeys([*self.scope.names(), *self.step["bind"]]):
            stored = self.take(name) if name not in but else None
            if stored is not None:
                yield name, stored

    # --- returns ----------------------------------------------------------------------------------------------------

    def store_returns(
        self, values: Mapping[str, object], spellings: Optional[Mapping[str, str]] = None
    ) -> dict[str, StoredValue]:
        """The declared returns as the record holds them. Those that are objects are put into the catalog.

        Args:
            spellings: the texts that spelled values, as far as they are kept.

        Raises:
            TaskFailure: a value holds a secret. BadValue: a value is not of its kind. StoreFault: the volume can't be written.
        """
        kinds = {declared["name"]: declared["kind"] for declared in self.step["returns"]}
        stored: dict[str, StoredValue] = {}
        for name, value in values.items():
            kind = kinds[name]
            if kind == "object":
                stored[name] = self.store_object(name, *conversion.as_object(name, value))
                continue
            plain = conversion.as_metric(name, value) if kind == "metric" else conversion.as_json(name, value)
            stored[name] = self.store_json(name, kind, conversion.json_data(name, plain), plain)
            if spellings is not None and name in spellings:
                self.refuse_secrets(name, encode_value(spellings[name]))
                stored[name]["spelling"] = spellings[name]
        return stored

    def store_json(self, name: str, kind: Literal["json", "metric"], data: bytes, value: JsonValue) -> StoredValue:
        """Stores a value that is JSON data; returns it as the record holds it.

        Args:
            data: the value as JSON. value: itself, which is looked at only where it is not large.
        """
        self.refuse_secrets(name, data)
        return store_value(self.folder, kind, value, data)

    def store_object(self, name: str, data: bytes, type_name: str) -> StoredValue:
        """Puts an object's pickled bytes into the catalog; returns it as the record holds it."""
        self.refuse_secrets(name, data)
        entry = self.store.put_bytes(data)
        return {"kind": "object", "type": type_name, "sha256": entry["sha256"], "size": entry["size"]}

    def refuse_secrets(self, name: str, data: bytes) -> None:
        secret = self.redactor.found(data)
        if secret is not None:
            raise TaskFailure(
                f"the return {name} holds the secret {secret}, and what a step returns is recorded in the clear: "
                f"let the step that needs {secret} declare it instead"
            )

    # --- python tasks -----------------------------------------------------------------------------------------------

    def call_function(self) -> dict[str, StoredValue]:
        """Calls a python task's function; gives its returns as the record holds them."""
        function = self.function(self.step["function"])
        positional, named = self.arguments(function)
        names = [declared["name"] for declared in self.step["returns"]]
        result = _finished(function(*positional, **named), kept=bool(names))
        refused: Optional[conversion.BadValue] = None
        if names:
            try:
                return self.store_returns(conversion.returns_by_name(names, result))
            except conversion.BadValue as error:
                # Only now, because to look at every item of a large value takes as long as to store it.
                refused = error
        elif result is None:
            return {}
        from . import completion

        finished = completion.finish_all(function, result, kept=bool(names))
        if refused is not None and finished is result:
            raise refused
        return self.store_returns(conversion.returns_by_name(names, finished))

    # --- shell tasks ------------------------------------------------------------------------------------------------

    def shell_environment(self) -> dict[str, str]:
        """All parameters in scope as environment variables. A value above 64 KiB is in a file that NAME_FILE names.

        Raises:
            TaskFailure: a parameter would replace a variable that the shell itself needs, or can't be a variable.
        """
        variables: dict[str, str] = {}
        for name in [*self.scope.names(), *self.step["bind"]]:
            if name in variables:
                continue
            # A shell can't use an object, and loading one may need modules that only python steps have.
            stored = self.take(name, objects=False)
            if stored is None:
                continue
            value = self.value_of(name, stored)
            try:
                # A reducer may have made something else than JSON of a map's items.
                if stored["kind"] == "list":
                    value = conversion.as_json(name, value)
                    conversion.json_data(name, value)
            except conversion.BadValue:
                del self.inputs[name]
                continue
            if name in _SHELL_OWN or name.startswith(("LD_", "DYLD_")):
                raise TaskFailure(
                    f"the parameter {name} would replace the shell's own variable {name}: give it another name"
                )
            if name in self.step["secrets"]:
                raise TaskFailure(
                    f"the parameter {name} would replace the secret {name}: give one of the two another name"
                )
            text = stored["spelling"] if "spelling" in stored else as_text(value)
            if "\0" in text:
                raise TaskFailure(f"the parameter {name} holds a NUL character, which no environment variable can hold")
            try:
                os.fsencode(text)
            except UnicodeEncodeError:
                raise TaskFailure(
                    f"the parameter {name} holds half of a surrogate pair, which no environment variable can hold"
                ) from None
            if len(os.fsencode(text)) > LARGE_VALUE:
                path = os.path.join(self.private, name)
                with open(path, "wb") as file:
                    # The same bytes as of a variable.
                    file.write(os.fsencode(text))
                variables[f"{name}_FILE"] = path
            else:
                variables[name] = text
        return variables

    def store_exports(self, data: bytes) -> dict[str, StoredValue]:
        """A shell task's returns as the record holds them.

        Args:
            data: the exported variables when the shell ended, as ``env -0`` prints them.

        Raises:
            TaskFailure: a declared return was not exported. BadValue, StoreFault: as of :meth:`store_returns`.
        """
        if self.step["returns"] and not data:
            names = ", ".join(declared["name"] for declared in self.step["returns"])
            raise TaskFailure(
                f"the command handed over no exports, though the step declares to return {names}: an exec, a trap on EXIT "
                "of its own, or an exported value above 128 kB keeps them from being seen"
            )
        exports: dict[str, str] = {}
        for entry in data.split(b"\0"):
            variable, separator, value = entry.partition(b"=")
            if separator:
                exports[variable.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        values: dict[str, object] = {}
        spellings: dict[str, str] = {}
        for name in (declared["name"] for declared in self.step["returns"]):
            if name not in exports:
                raise TaskFailure(f"the command did not export {name}, which the step declares to return")
            try:
                stored = from_text(exports[name])
            except RepeatedKey as error:
                raise TaskFailure(f"the command exported {name} as JSON in which {error}") from None
            values[name] = stored["value"]
            if "spelling" in stored:
                spellings[name] = stored["spelling"]
        return self.store_returns(values, spellings)


_SHELL_OWN = frozenset({"PATH", "HOME", "IFS", "PWD", "SHELL", "ENV", "BASH_ENV", "PS4", "TMPDIR"})


_FINISHED = frozenset({type(None), bool, int, float, str, bytes, list, dict})
"""What most functions return, and what is never pending itself."""


def _finished(result: Any, kept: bool = True) -> Any:
    """What a function of the user's code returned, once its work is done (see :mod:`.completion`)."""
    if type(result) in _FINISHED:
        return result
    from . import completion

    return completion.finish(result, kept)


def _holds_object(stored: StoredValue) -> bool:
    return stored["kind"] == "object" or any(_holds_object(item) for item in stored.get("items", ()))


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    from .hints import hints_of

    return hints_of(function)


def _cast(
    name: str, stored: StoredValue, value: Any, hint: Any, function: Callable[..., Any], rest: bool = False
) -> Any:
    """A value as an argument's annotation says. An object is what was pickled, whatever the annotation.

    Args:
        stored: what the value was loaded from. rest: whether the annotation is that of ``**kwargs``.
    """
    if _holds_object(stored):
        return value
    if stored["kind"] == "list":
        try:
            # A reducer may have made anything of a map's items.
            value = conversion.as_json(name, value)
        except conversion.BadValue:
            return value
    if rest:
        from .annotations import of_keyword

        hint = of_keyword(hint, name)
    if "spelling" in stored:
        value = spelled(hint, value, stored["spelling"])
    return conversion.cast(name, value, hint, function)


def _default(function: Callable[..., Any], name: str) -> Any:
    return imports.standard_module("inspect").signature(function).parameters[name].default


def run(step: TaskRunner, environment: dict[str, str], result: int, terminal: Optional[tuple[int, int]] = None) -> int:
    """Runs the task in the forked child and reports; returns the child's exit code.

    Args:
        environment: the variables that the user's code sees. result: the descriptor that takes the report.
        terminal: the channel by which a debugger gets the user's terminal; None where there is none.
    """
    os.environ.clear()
    os.environ.update(environment)
    process, pipe = os.getpid(), os.fstat(result)
    report: ChildReport = {"returns": None}
    code = 1
    try:
        if "returns" in step.step.get("patched", ()):
            from .patch import give

            report["returns"] = give(step)
            code = 0
        elif step.step["kind"] == "shell":
            return _shell(step, environment, result)
        elif step.step["kind"] == "notebook":
            from . import notebook

            code = notebook.run(step, environment, report)
        else:
            imports.when_imported("pdb", lambda module: _take_over_debugger(module, terminal))
            code = _run_python(step, report)
    except SystemExit as leave:
        code = _exit_code(step, leave, report)
    except (TaskFailure, UnsuitableValue, conversion.BadValue, imports.CodeNotFound) as error:
        report["reason"] = str(error)
        print(error, file=sys.stderr)
    except StoreFault as error:
        report["fault"] = str(error)
    except BaseException as error:
        if reason := _debugger_reason(error):
            report["reason"] = reason
            print(reason, file=sys.stderr)
        else:
            report["exception"] = _exception_record(step, error)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    report["inputs"] = step.inputs
    # A process that the user's code forked may return to here as well. And where the user's code closed the descriptor, its
    # number may belong to a file of theirs by now.
    if os.getpid() == process and _is_same_file(result, pipe):
        _send(result, report)
    flush_streams()
    return code


def _take_over_debugger(pdb: ModuleType, terminal: Optional[tuple[int, int]]) -> None:
    from .debugger import Debugger

    Debugger(terminal).take_over(pdb)


def _debugger_reason(error: BaseException) -> Optional[str]:
    """The reason of a step that its debugger ended; None where something else did."""
    if "pdb" not in sys.modules:
        return None
    from .debugger import reason_of

    return reason_of(error)


def _run_python(step: TaskRunner, report: ChildReport) -> int:
    sys.argv = [step.step["function"]["qualname"]]
    report["returns"] = step.call_function()
    return 0


def reduced_value(step: TaskRunner, environment: dict[str, str], stored: StoredValue) -> Optional[StoredValue]:
    """What a reducer of the user's code makes of a map's items, as a record has it; None where it makes no JSON data.

    Args:
        stored: the values of the items, of the kind list.
    """
    reducer = stored["reducer"]
    assert isinstance(reducer, dict)
    try:
        value = reduce_in_fork(step, environment, reducer, stored["items"], REDUCER_LIMIT)
        step.refuse_secrets(stored["name"], encode_value(value))
    except (UnsuitableValue, TaskFailure, ValueError):
        return None
    return {"kind": "json", "value": value}


def reduce_in_fork(
    step: TaskRunner, environment: dict[str, str], reducer: FunctionRow, items: list[StoredValue], limit: int = 0
) -> JsonValue:
    """What a reducer of the user's code makes of a map's items, as JSON data. The reducer runs in a process of its own.

    Args:
        limit: seconds that it has, and then what it prints is left out as well; 0 is no limit.

    Raises:
        UnsuitableValue: the reducer raised, or what it returned is not JSON.
    """
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        answer: dict[str, JsonValue] = {}
        try:
            if limit:
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, 1)
                os.dup2(nothing, 2)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(limit)
            os.environ.clear()
            os.environ.update(environment)
            stored: StoredValue = {"kind": "list", "items": items, "reducer": reducer}
            plain = conversion.as_json("what it returns", step.load(stored))
            conversion.json_data("what it returns", plain)
            answer["value"] = plain
        except BaseException as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        _send(send, answer)
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        line = pipe.readline()
    os.waitpid(process, 0)
    reply = json.loads(line) if line else {"error": "it ended the process"}
    if "error" in reply:
        raise UnsuitableValue(f"the reducer {reducer['qualname']} failed: {step.redactor.text(reply['error'][:2000])}")
    return reply["value"]


def _is_same_file(descriptor: int, before: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), before)
    except OSError:
        return False


def _exit_code(step: TaskRunner, leave: SystemExit, report: ChildReport) -> int:
    """The exit code of a step that called sys.exit(); the reason goes into the report."""
    if leave.code is None or leave.code == 0:
        # As in a script, 0 is a success; but nothing is returned.
        names = [declared["name"] for declared in step.step["returns"]]
        if names:
            report["reason"] = f"the step left by sys.exit() without returning {', '.join(names)}"
            return 1
        report["returns"] = {}
        return 0
    if isinstance(leave.code, int):
        report["reason"] = f"the step left by sys.exit({leave.code})"
        return leave.code & 0xFF or 1
    print(leave.code, file=sys.stderr)
    report["reason"] = f"the step left by sys.exit: {leave.code}"
    return 1


def _exception_record(step: TaskRunner, error: BaseException) -> ExceptionRecord:
    """The exception as end.json has it. Its traceback, without the runtime's frames, is printed as Python would print it."""
    traceback = imports.standard_module("traceback")
    try:
        text = "".join(
            traceback.format_exception(type(error), error, imports.strip_runtime_frames(error.__traceback__))
        )
        message = str(error)
    except Exception as fault:
        text = message = f"{type(error).__name__}, which can't be shown: {type(fault).__name__}"
    if step.locations.code != step.locations.origin:
        # The step's copy of the code goes with it. The lines are those of the user's file.
        text = text.replace(step.locations.code + "/", step.locations.origin + "/")
    print(text, file=sys.stderr, end="", flush=True)
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".replace("builtins.", "", 1),
        "message": step.redactor.text(message[:10_000]),
        "traceback": step.redactor.text(text[:100_000]),
    }


def _shell(step: TaskRunner, environment: dict[str, str], result: int) -> int:
    """Reports the inputs and becomes the shell, which has the parameters in its environment and writes its exports."""
    report: ChildReport = {"returns": None, "inputs": {}}
    try:
        variables = step.shell_environment()
    except (TaskFailure, UnsuitableValue, OSError, catalog.BadKey) as error:
        report["reason"] = str(error)
        print(error, file=sys.stderr)
        _send(result, report)
        return 1
    report["inputs"] = step.inputs
    _send(result, report, more=True)
    script = step.step["command"]
    if step.step["returns"]:
        os.dup2(result, EXPORTS_DESCRIPTOR)
        # Where the pipe has this very number, dup2 changes nothing, and the pipe would be closed when the shell starts.
        os.set_inheritable(EXPORTS_DESCRIPTOR, True)
        script = _DUMP + script
    flush_streams()
    shell = step.step.get("shell", "sh")
    path = find_shell(shell)
    if not path:
        print(f"the step's command can't be started: the image has no {shell}", file=sys.stderr)
        return 127
    options = STRICT if step.step.get("strict") else ()
    try:
        os.execve(path, [shell, *options, "-c", script], {**environment, **variables})
    except OSError as error:
        print(f"the step's command can't be started: {error.strerror}", file=sys.stderr)
        return 1


def _send(descriptor: int, document: Mapping[str, object], more: bool = False) -> None:
    """Writes one line of JSON, and closes the descriptor unless more is to follow."""
    try:
        write_all(descriptor, json.dumps(document).encode("ascii") + b"\n")
        if not more:
            os.close(descriptor)
    except OSError:
        # The supervisor is gone.
        pass


def flush_streams() -> None:
    """Writes out what Python still holds of both streams, as far as they can be written to."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
