"""What runs in the supervisor's child: the user's code, with its inputs read and its returns written.

The child tells the supervisor what came of it in one JSON document through a pipe. User code that ends the process without
coming back here (``os._exit``, a signal) leaves that pipe empty, which is never taken for a success.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from ..shared import catalog
from ..shared.catalog import FileStore, StoreFault
from ..shared.protocol import LARGE_VALUE
from ..shared.records import encode
from ..shared.redaction import Redactor
from ..shared.scope import Scope, UnsuitableValue, reduce_values
from . import conversion, imports
from .signature import hints_of, signature_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from ..shared.locations import Locations

EXPORTS_DESCRIPTOR = 9
"""Where a shell step's exported variables are written to; the highest that POSIX sh can redirect."""

_DUMP = (
    "trap 'toolkit_status=$?; trap - EXIT; "
    "{ command -p cat /proc/self/environ 2>/dev/null || command -p env -0; } >&9; exit $toolkit_status' EXIT\n"
)
"""Hands the exported variables over when the shell ends; a child's own environment is just those.

``command -p`` finds the two also where the command has set a PATH of its own.
"""


class TaskFailure(Exception):
    """The step failed for a reason that is not an exception of the user's code."""


class TaskRunner:
    """One attempt, from the child's side.

    Args:
        step: the plan's step. roots: the plan's import roots. scope: what it can see. store: the catalog.
        locations: where things are. redactor: of the step's secrets. private: a folder for this attempt alone.
        data_folder: relative to the working folder, what catalog keys are relative to.
    """

    def __init__(
        self,
        step: dict[str, Any],
        roots: list[str],
        scope: Scope,
        store: FileStore,
        locations: Locations,
        redactor: Redactor,
        private: str,
        data_folder: str = ".",
    ) -> None:
        self.step = step
        self.roots = roots
        self.scope = scope
        self.store = store
        self.locations = locations
        self.redactor = redactor
        self.private = private
        self.data_folder = data_folder
        self.inputs: dict[str, dict[str, Any]] = {}
        self._installed = False

    # --- inputs -----------------------------------------------------------------------------------------------------

    def take(self, name: str, objects: bool = True) -> tuple[bool, Any]:
        """Whether there is a value for an argument, by name or by a binding, and the value.

        Args:
            objects: False passes over what is an object, and so loads none.
        """
        stored = self.take_stored(name, objects)
        return (False, None) if stored is None else (True, self.loaded(stored))

    def take_stored(self, name: str, objects: bool = True) -> Optional[dict[str, Any]]:
        """The same, as records hold it, for :meth:`loaded`; None where there is none."""
        binding = self.step["bind"].get(name)
        if binding is not None and "value" in binding:
            self.inputs[name] = {"value": binding["value"]}
            return {"kind": "json", "value": binding["value"]}
        source_name = binding["name"] if binding is not None else name
        try:
            found = self.scope.parameter(source_name, binding.get("step") if binding is not None else None)
        except UnsuitableValue:
            # The largest of no items, say: to a shell, which takes all there is, there is none.
            if objects:
                raise
            return None
        if found is None:
            return None
        path, stored = found
        if not objects and _holds_object(stored):
            return None
        digest = stored["sha256"] if stored["kind"] == "object" else _sha256(encode(stored.get("value", stored)))
        self.inputs[name] = {"from": path, "name": source_name, "kind": stored["kind"], "sha256": digest}
        return stored

    def loaded(self, stored: dict[str, Any]) -> Any:
        """The value of a stored parameter; of a map's items what its reducer makes of them.

        Raises:
            TaskFailure: the reducer can't.
        """
        if stored["kind"] == "object":
            return imports.standard_module("pickle").loads(self.store.get_bytes(stored["sha256"]))
        if stored["kind"] != "list":
            return stored["value"]
        reducer = stored["reducer"]
        if not isinstance(reducer, dict):
            try:
                return reduce_values(
                    reducer, [self.loaded(one) for one in stored["items"]], stored["map"], stored["name"]
                )
            except UnsuitableValue as error:
                raise TaskFailure(str(error)) from None
        # Before the items: what is pickled in them may be of its module.
        function = self.function(reducer)
        return function([self.loaded(one) for one in stored["items"]])

    def function(self, reference: dict[str, Any]) -> Any:
        """A function of the user's; from the first one on its modules are found."""
        if not self._installed:
            # Once: whatever was imported by then would be imported anew, and its classes be others.
            imports.install(self.locations, self.roots)
            self._installed = True
        return imports.load_function(reference["module"], reference["file"], reference["qualname"], self.locations.code)

    def arguments(self, function: Any) -> tuple[list[Any], dict[str, Any]]:
        """What the function is called with: its parameters by name, cast to its annotations.

        Raises:
            TaskFailure: a required one is nowhere, or can't be cast.
        """
        signature = signature_of(function)
        hints = hints_of(function) if signature.names else {}
        given: dict[str, Any] = {}
        for name in signature.names:
            there, value = self.take(name)
            if not there:
                if name in signature.required:
                    raise TaskFailure(
                        f"the parameter {name} is nowhere: no earlier step returns it and the run was given none of that name"
                    )
                continue
            is_object = self.inputs[name].get("kind") in ("object", "list")
            given[name] = value if is_object or name not in hints else conversion.cast(name, value, hints[name])
        if signature.everything:
            for name in [*self.scope.names(), *self.step["bind"]]:
                if name not in given and name not in signature.positional:
                    there, value = self.take(name)
                    if there:
                        given[name] = value
        # One that nothing gives has its default, which has to be said where a later one is given.
        wanted = [position for position, name in enumerate(signature.positional) if name in given]
        positional = [
            given.pop(name) if name in given else _default(function, name)
            for name in signature.positional[: wanted[-1] + 1 if wanted else 0]
        ]
        return positional, given

    # --- returns ----------------------------------------------------------------------------------------------------

    def stored(self, produced: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The declared returns as the record holds them.

        Raises:
            TaskFailure: a value is not of its kind, or holds a secret. StoreFault: the catalog can't take it.
        """
        kinds = {one["name"]: one["kind"] for one in self.step["returns"]}
        found: dict[str, dict[str, Any]] = {}
        for name, value in produced.items():
            kind = kinds[name]
            if kind == "object":
                found[name] = self.stored_object(name, *conversion.as_object(name, value))
                continue
            plain = conversion.as_metric(name, value) if kind == "metric" else conversion.as_json(name, value)
            self._refuse_secrets(name, encode(plain))
            found[name] = {"kind": kind, "value": plain}
        return found

    def stored_object(self, name: str, data: bytes, type_name: str) -> dict[str, Any]:
        """A return that is an object, by its pickled bytes."""
        self._refuse_secrets(name, data)
        return {"kind": "object", "type": type_name, **self.store.put_bytes(data)}

    def _refuse_secrets(self, name: str, data: bytes) -> None:
        secret = self.redactor.found(data)
        if secret is not None:
            raise TaskFailure(
                f"the return {name} holds the secret {secret}, and what a step returns is recorded in the clear: "
                f"let the step that needs {secret} declare it instead"
            )

    # --- the two kinds of task --------------------------------------------------------------------------------------

    def python(self) -> dict[str, dict[str, Any]]:
        """Runs a python step; returns what the record holds of its returns."""
        function = self.function(self.step["function"])
        positional, given = self.arguments(function)
        result = function(*positional, **given)
        if hasattr(result, "__await__") and hasattr(result, "send"):
            result = imports.standard_module("asyncio").run(result)
        return self.stored(conversion.returns_by_name([one["name"] for one in self.step["returns"]], result))

    def shell_environment(self) -> dict[str, str]:
        """The whole scope as environment variables; a value above 64 KiB is a file that NAME_FILE names.

        Raises:
            TaskFailure: a parameter would replace a variable that the shell itself lives by.
        """
        variables: dict[str, str] = {}
        for name in [*self.scope.names(), *self.step["bind"]]:
            if name in variables:
                continue
            # An object is nothing to a shell, and loading it may need modules that only python steps have.
            there, value = self.take(name, objects=False)
            if not there or self._made_an_object(name, value):
                continue
            if name in _SHELL_OWN or name.startswith(("LD_", "DYLD_")):
                raise TaskFailure(
                    f"the parameter {name} would replace the shell's own variable {name}: give it another name"
                )
            if name in self.step["secrets"]:
                raise TaskFailure(
                    f"the parameter {name} would replace the secret {name}: give one of the two another name"
                )
            text = conversion.as_text(value)
            if "\0" in text:
                raise TaskFailure(f"the parameter {name} holds a NUL character, which no environment variable can")
            try:
                os.fsencode(text)
            except UnicodeEncodeError:
                raise TaskFailure(
                    f"the parameter {name} holds half of a surrogate pair, which no environment variable can"
                ) from None
            if len(text.encode("utf-8", "surrogatepass")) > LARGE_VALUE:
                path = os.path.join(self.private, name)
                with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
                    file.write(text)
                variables[f"{name}_FILE"] = path
            else:
                variables[name] = text
        return variables

    def _made_an_object(self, name: str, value: Any) -> bool:
        """Whether a reducer made of a map's items what is no JSON, and so as little to a shell as a pickled object."""
        if self.inputs[name].get("kind") != "list":
            return False
        try:
            conversion.as_json(name, value)
        except conversion.BadValue:
            del self.inputs[name]
            return True
        return False

    def exported(self, data: bytes) -> dict[str, dict[str, Any]]:
        """A shell step's returns, out of the environment that it ended with.

        Raises:
            TaskFailure: a declared return was not exported.
        """
        if self.step["returns"] and not data:
            names = ", ".join(one["name"] for one in self.step["returns"])
            raise TaskFailure(
                f"the command handed over no exports, though the step declares to return {names}: an exec, a trap on EXIT "
                "of its own, or an exported value above 128 kB keeps them from being seen"
            )
        found: dict[str, str] = {}
        for entry in data.split(b"\0"):
            name, separator, value = entry.partition(b"=")
            if separator:
                found[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        produced = {}
        for one in self.step["returns"]:
            if one["name"] not in found:
                raise TaskFailure(f"the command did not export {one['name']}, which the step declares to return")
            produced[one["name"]] = conversion.from_text(found[one["name"]])
        return self.stored(produced)


_SHELL_OWN = frozenset({"PATH", "HOME", "IFS", "PWD", "SHELL", "ENV", "BASH_ENV", "PS4", "TMPDIR"})


def _holds_object(stored: dict[str, Any]) -> bool:
    return stored["kind"] == "object" or any(_holds_object(one) for one in stored.get("items", ()))


def _default(function: Any, name: str) -> Any:
    return imports.standard_module("inspect").signature(function).parameters[name].default


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def run(step: TaskRunner, environment: dict[str, str], result: int) -> int:
    """The child's whole life after the fork; returns its exit code.

    Args:
        environment: what the user's code sees. result: the descriptor that takes the JSON document.
    """
    os.environ.clear()
    os.environ.update(environment)
    process, pipe = os.getpid(), os.fstat(result)
    document: dict[str, Any] = {"returns": None}
    code = 1
    try:
        if step.step["kind"] == "shell":
            return _shell(step, environment, result)
        if step.step["kind"] == "notebook":
            from . import notebook

            code = notebook.run(step, environment, document)
        else:
            code = _python(step, document)
    except SystemExit as leave:
        code = _system_exit(step, leave, document)
    except (TaskFailure, UnsuitableValue, conversion.BadValue, imports.CodeNotFound) as error:
        document["reason"] = str(error)
        print(error, file=sys.stderr)
    except StoreFault as error:
        document["fault"] = str(error)
    except BaseException as error:
        document["exception"] = _exception_record(step, error)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    document["inputs"] = step.inputs
    # A fork of the user's code may come back here too, and a descriptor that it closed may be a file of its own by now.
    if os.getpid() == process and _is_still(result, pipe):
        _send(result, document)
    _flush()
    return code


def _python(step: TaskRunner, document: dict[str, Any]) -> int:
    sys.argv = [step.step["function"]["qualname"]]
    document["returns"] = step.python()
    return 0


def reduce_in_fork(
    step: TaskRunner, environment: dict[str, str], reducer: dict[str, Any], items: list[dict[str, Any]]
) -> Any:
    """What a reducer of the user's makes of a map's items, as JSON data; it runs in a process of its own.

    Raises:
        UnsuitableValue: it raised, or what it returned is not JSON.
    """
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        document: dict[str, Any] = {}
        try:
            os.environ.clear()
            os.environ.update(environment)
            stored = {"kind": "list", "items": items, "reducer": reducer}
            document["value"] = conversion.as_json("what it returns", step.loaded(stored))
        except BaseException as error:
            document["error"] = f"{type(error).__name__}: {error}"
        _send(send, document)
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        line = pipe.readline()
    os.waitpid(process, 0)
    answer = json.loads(line) if line else {"error": "it ended the process"}
    if "error" in answer:
        raise UnsuitableValue(f"the reducer {reducer['qualname']} failed: {step.redactor.text(answer['error'][:2000])}")
    return answer["value"]


def _is_still(descriptor: int, known: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), known)
    except OSError:
        return False


def _system_exit(step: TaskRunner, leave: SystemExit, document: dict[str, Any]) -> int:
    if leave.code is None or leave.code == 0:
        # As in a script, leaving with 0 is a success; but it returns nothing.
        declared = [one["name"] for one in step.step["returns"]]
        if declared:
            document["reason"] = f"the step left by sys.exit() without returning {', '.join(declared)}"
            return 1
        document["returns"] = {}
        return 0
    if isinstance(leave.code, int):
        document["reason"] = f"the step left by sys.exit({leave.code})"
        return leave.code & 0xFF or 1
    print(leave.code, file=sys.stderr)
    document["reason"] = f"the step left by sys.exit: {leave.code}"
    return 1


def _exception_record(step: TaskRunner, error: BaseException) -> dict[str, Any]:
    """The exception for the record, and its traceback, without frames of ours, where Python would print it."""
    traceback = imports.standard_module("traceback")
    try:
        text = "".join(
            traceback.format_exception(type(error), error, imports.strip_runtime_frames(error.__traceback__))
        )
        message = str(error)
    except Exception as fault:
        text = message = f"{type(error).__name__}, which can't be shown: {type(fault).__name__}"
    print(text, file=sys.stderr, end="", flush=True)
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".replace("builtins.", "", 1),
        "message": step.redactor.text(message[:10_000]),
        "traceback": step.redactor.text(text[:100_000]),
    }


def _shell(step: TaskRunner, environment: dict[str, str], result: int) -> int:
    """Becomes the shell: the parameters in its environment, and where returns are declared, its exports handed over."""
    document: dict[str, Any] = {"returns": None, "inputs": {}}
    try:
        variables = step.shell_environment()
    except (TaskFailure, UnsuitableValue, OSError, catalog.BadKey) as error:
        document["reason"] = str(error)
        print(error, file=sys.stderr)
        _send(result, document)
        return 1
    document["inputs"] = step.inputs
    _send(result, document, more=True)
    script = step.step["command"]
    if step.step["returns"]:
        os.dup2(result, EXPORTS_DESCRIPTOR)
        # Where the pipe had this very number, dup2 left it as it was: closed when the shell starts.
        os.set_inheritable(EXPORTS_DESCRIPTOR, True)
        script = _DUMP + script
    _flush()
    try:
        os.execve("/bin/sh", ["sh", "-c", script], {**environment, **variables})
    except OSError as error:
        print(f"the step's command can't be started: {error.strerror}", file=sys.stderr)
    return 1


def _send(descriptor: int, document: dict[str, Any], more: bool = False) -> None:
    data = json.dumps(document).encode("ascii") + b"\n"
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
        if not more:
            os.close(descriptor)
    except OSError:
        # Its reader is gone; there is nobody left to tell.
        pass


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
