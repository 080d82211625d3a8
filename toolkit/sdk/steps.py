"""Tasks and stubs: the steps that have no pipeline inside them, except one for their failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from toolkit.sdk.refusal import Refusal, user_line

if TYPE_CHECKING:
    from toolkit.sdk.pipeline import Pipeline


class Return:
    """A declared return: a name and its kind (``json``, ``object`` or ``metric``)."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind

    def __repr__(self) -> str:
        return f"{_SPELLING[self.kind]}({self.name!r})"


_SPELLING = {"json": "json", "object": "pickled", "metric": "metric"}


def json(name: str) -> Return:
    """A return that is JSON data (what a plain name declares too): readable in records, and by shell steps."""
    return Return(name, "json")


def pickled(name: str) -> Return:
    """A return that is any picklable object; it is kept in the catalog."""
    return Return(name, "object")


def metric(name: str) -> Return:
    """A return that is a number, or a dict of numbers, to be compared between runs."""
    return Return(name, "metric")


class Catalog:
    """The files that a step takes from the catalog before it runs, and puts into it afterwards.

    Args:
        get: keys to get: relative paths, patterns (``*.csv``, ``data/**``), or ``step:key`` for one step's.
        put: files to put: relative paths, folders or patterns.
        store_copy: False records the hash of what is put and stores no copy.
    """

    def __init__(
        self, get: Optional[Sequence[str]] = None, put: Optional[Sequence[str]] = None, store_copy: bool = True
    ) -> None:
        self.get = _texts("Catalog(get=…)", get)
        self.put = _texts("Catalog(put=…)", put)
        self.store_copy = store_copy

    def describe(self) -> dict[str, Any]:
        return {"get": self.get, "put": self.put, "store_copy": self.store_copy}


def _texts(what: str, given: Optional[Sequence[str]]) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise Refusal(f"{what} takes a list of names, not {given!r}")
    return list(given)


class Step:
    """What all steps have: a name, and the line on which the user made it."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise Refusal(f"a step's name is text, not {name!r}")
        self.name = name
        self.line = user_line()

    def as_pipeline(self) -> Pipeline:
        """A pipeline of this step alone, to stand as a branch or as an ``on_failure``."""
        from toolkit.sdk.pipeline import Pipeline

        return Pipeline(steps=[self], name=self.name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Adds the step to the driver that calls it; returns handles for what the step returns.

        Raises:
            ValueError: it is not called by a driver.
        """
        from toolkit.sdk.trace import add

        return add(self, arguments, named)

    def returned(self) -> list[str]:
        """The names that the step, or what is inside it, may return, in order of definition."""
        return []

    def describe(self) -> dict[str, Any]:
        """The step as plain JSON data."""
        raise NotImplementedError


class Stub(Step):
    """A step that does nothing and costs no container: a place to fill in later.

    Whatever else it is given (what the task in its place would take) is kept out of the run.

    Args:
        terminate_with_success: after it the pipeline ends, succeeded.
        terminate_with_failure: after it the pipeline has failed.
    """

    def __init__(
        self, name: str, terminate_with_success: bool = False, terminate_with_failure: bool = False, **_ignored: Any
    ) -> None:
        super().__init__(name)
        self.terminate_with_success = terminate_with_success
        self.terminate_with_failure = terminate_with_failure

    def describe(self) -> dict[str, Any]:
        return {
            "type": "stub",
            "name": self.name,
            "line": self.line,
            "terminate_with_success": self.terminate_with_success,
            "terminate_with_failure": self.terminate_with_failure,
        }


class Success(Stub):
    """A step that ends its pipeline, succeeded."""

    def __init__(self, name: str = "success") -> None:
        super().__init__(name, terminate_with_success=True)


class Fail(Stub):
    """A step that ends its pipeline with a failure."""

    def __init__(self, name: str = "fail") -> None:
        super().__init__(name, terminate_with_failure=True)


class _Task(Step):
    kind = ""

    def __init__(
        self,
        name: str,
        returns: Optional[Sequence[Union[str, Return]]] = None,
        secrets: Optional[Sequence[str]] = None,
        catalog: Optional[Catalog] = None,
        overrides: Optional[dict[str, str]] = None,
        bind: Optional[dict[str, Any]] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        on_failure: Optional[Pipeline] = None,
        max_attempts: Optional[int] = None,
    ) -> None:
        super().__init__(name)
        if isinstance(returns, str):
            raise Refusal(f"returns of the step {name} is a list of names, not {returns!r}")
        self.returns = [one if isinstance(one, Return) else Return(one, "json") for one in returns or ()]
        self.secrets = _texts(f"secrets of the step {name}", secrets)
        if catalog is not None and not isinstance(catalog, Catalog):
            raise Refusal(f"catalog of the step {name} is a Catalog(get=[…], put=[…]), not {catalog!r}")
        self.catalog = catalog or Catalog()
        self.overrides = dict(overrides or {})
        self.bind = dict(bind or {})
        self.terminate_with_success = terminate_with_success
        self.terminate_with_failure = terminate_with_failure
        self.on_failure = a_pipeline(f"on_failure of the step {name}", on_failure) if on_failure is not None else None
        self.max_attempts = max_attempts

    def returned(self) -> list[str]:
        handler = self.on_failure.returned() if self.on_failure is not None else []
        return list(dict.fromkeys([*(one.name for one in self.returns), *handler]))

    def _work(self) -> dict[str, Any]:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        return {
            "type": "task",
            "kind": self.kind,
            "name": self.name,
            "line": self.line,
            "returns": [{"name": one.name, "kind": one.kind} for one in self.returns],
            "secrets": self.secrets,
            "catalog": self.catalog.describe(),
            "overrides": self.overrides,
            "bind": self.bind,
            "terminate_with_success": self.terminate_with_success,
            "terminate_with_failure": self.terminate_with_failure,
            "max_attempts": self.max_attempts,
            "on_failure": self.on_failure.describe_inside() if self.on_failure is not None else None,
            **self._work(),
        }


class PythonTask(_Task):
    """A step that calls a function.

    Args:
        function: a function at module level, or its dotted path; it takes parameters by argument name.
        name: the step's name; the function's own when absent.
        returns: the names of what it returns: one name is the value, n names are a sequence of exactly n.
        secrets: names of secrets that this step alone gets, as environment variables.
        catalog: files to get before it runs and to put afterwards.
        overrides: per executor type, the name of an entry of ``executor.config.overrides``.
        bind: where an argument comes from, if not from the parameter of its own name: ``"parameter"`` or
            ``"step.parameter"``.
        terminate_with_success, terminate_with_failure: once it has succeeded, the pipeline ends there: succeeded, or failed.
        on_failure: a pipeline that runs when the step has failed; its result is then that of the steps around it.
        max_attempts: how often it is tried at most, in place of the configuration's retry_strategy.

    Raises:
        ValueError: the function is a lambda, nested in another, or can't be named.
    """

    kind = "python"

    def __init__(self, function: Union[Callable[..., Any], str], name: str = "", **options: Any) -> None:
        self.function = function_reference(function)
        self.live = None if isinstance(function, str) else getattr(function, "__toolkit_function__", function)
        super().__init__(name or self.function["qualname"].rpartition(".")[2], **options)

    def _work(self) -> dict[str, Any]:
        return {"function": self.function, **({"live": self.live} if self.live is not None else {})}


AsyncPythonTask = PythonTask
"""The same under the name that it has elsewhere: a function that is a coroutine is awaited in any case."""


class ShellTask(_Task):
    """A step that runs a command by ``/bin/sh -c``: parameters are environment variables, returns what it exports.

    Args:
        name: the step's name. command: for the shell. options: as PythonTask takes them.
    """

    kind = "shell"

    def __init__(self, name: str, command: str, **options: Any) -> None:
        self.command = command
        super().__init__(name, **options)

    def _work(self) -> dict[str, Any]:
        return {"command": self.command}


class NotebookTask(_Task):
    """A step that runs a notebook: parameters come after its cell tagged ``parameters``, returns are its variables.

    Args:
        name: the step's name. notebook: path of the .ipynb file, relative to the project's root. options: as PythonTask
            takes them.
    """

    kind = "notebook"

    def __init__(self, name: str, notebook: str, **options: Any) -> None:
        self.notebook = notebook
        super().__init__(name, **options)

    def _work(self) -> dict[str, Any]:
        return {"command": self.notebook}


def a_pipeline(what: str, given: Any) -> Any:
    """``given`` where it is a pipeline or a driver, by its mark.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(given, type) or getattr(given, "__toolkit_pipeline__", False) is not True:
        hint = ": call its as_pipeline()" if isinstance(given, Step) else ""
        raise Refusal(f"{what} is a Pipeline or a driver, not {given!r}{hint}")
    # Of a file's pipelines the one that is part of no other is the one to run.
    given.__toolkit_part__ = True
    return given


def function_reference(function: Union[Callable[..., Any], str], what: str = "step") -> dict[str, str]:
    """How a function is named, so that a container can find it again.

    Args:
        what: the part that it is to play, for messages.

    Raises:
        ValueError: it can't be found again: a lambda, a nested function, a partial, an instance.
    """
    if isinstance(function, str):
        if function.lstrip().startswith("lambda"):
            raise Refusal(
                f"a lambda can't be a {what}: define a function at module level and name it as module.function"
            )
        module, _, name = function.rpartition(".")
        return {"module": module, "qualname": name}
    target = getattr(function, "__toolkit_function__", function)
    if not callable(target):
        raise Refusal(f"{'function' if what == 'step' else what} takes a function, not {target!r}")
    qualname = getattr(target, "__qualname__", None)
    module_name = getattr(target, "__module__", None)
    if qualname is None or module_name is None:
        instead = (
            "give the step a function (and bind= for fixed arguments)" if what == "step" else "define a function there"
        )
        raise Refusal(f"{target!r} has no name at module level: {instead}")
    if "<lambda>" in qualname:
        raise Refusal(
            f"a lambda can't be a {what}: a container could not find it again; define a function at module level"
        )
    if "<locals>" in qualname:
        raise Refusal(
            f"the function {qualname.replace('.<locals>', '')} is nested in another and can't be a {what}: "
            "a container could not find it again; define it at module level"
        )
    return {"module": module_name, "qualname": qualname}
