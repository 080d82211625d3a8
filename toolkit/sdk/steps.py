"""Tasks and stubs: the steps that hold no pipeline, except for an ``on_failure``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

from toolkit.sdk.refusal import Refusal, user_line

if TYPE_CHECKING:
    # No type checker needs it to be installed: they all bring its types along.
    from typing_extensions import TypedDict, Unpack

    from toolkit.sdk.composites import Pipeline
    from toolkit.sdk.description import (
        AfterData,
        CatalogData,
        FunctionName,
        StepData,
        StubData,
        TaskData,
        TaskWork,
    )
    from toolkit.sdk.job import _Job
    from toolkit.sdk.trace import Driver, TaskFunction

    AnyPipeline = Union[Pipeline, Driver, _Job]
    Followed = Union[str, "Step", AnyPipeline, TaskFunction]
    """A step that another one is to follow. In a driver also what its call gave, whose type is Any."""
    After = Union[Followed, Sequence[Followed]]

    class Amounts(TypedDict, total=False):
        """Amounts in Kubernetes' notation: ``"500m"``, ``2``, ``"2Gi"``; ``gpu`` is whole devices."""

        cpu: Union[str, int, float]
        memory: Union[str, int]
        gpu: int

    class StepResources(TypedDict, total=False):
        limits: Amounts
        requests: Amounts

    class StepRetries(TypedDict, total=False):
        """How often and when a step is attempted again. What is absent is the configuration's.

        Keys:
            limit: how many attempts may follow the first. delay: seconds before the second. factor: each further wait is the
                previous one times this. max_duration: seconds that bound all waits and attempts together.
        """

        limit: int
        delay: int
        factor: float
        max_duration: int
        policy: Literal["Always", "OnFailure", "OnError"]

    class OwnSettings(TypedDict, total=False):
        """What a task may say of its container and its attempts; :class:`PythonTask` says what each option means."""

        resources: Optional[StepResources]
        timeout: Optional[int]
        retries: Union[int, StepRetries, None]
        image: Optional[str]
        environment: Optional[Mapping[str, str]]
        user: Optional[int]

    class TaskOptions(OwnSettings, total=False):
        """What every kind of task takes; :class:`PythonTask` says what each option means."""

        returns: Optional[Sequence[Union[str, Return]]]
        secrets: Optional[Sequence[str]]
        catalog: Optional[Catalog]
        overrides: Union[str, Mapping[str, str], None]
        bind: Optional[Mapping[str, object]]
        terminate_with_success: bool
        terminate_with_failure: bool
        on_failure: Optional[AnyPipeline]
        keep_failure: bool
        max_attempts: Optional[int]
        after: Optional[After]


class Return:
    """A declared return: a name and its kind (``json``, ``object`` or ``metric``)."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind

    def __repr__(self) -> str:
        return f"{_SPELLING[self.kind]}({self.name!r})"


_SPELLING = {"json": "json", "object": "pickled", "metric": "metric"}


def json(name: str) -> Return:
    """Declares a return that is JSON data. A plain name in ``returns`` declares the same.

    Pydantic models and dataclasses become objects, tuples become lists, numpy scalars become numbers. The value can be read in
    the records and by shell steps. What JSON can't hold (NaN, a set, a key that is not text) fails the step.

    Args:
        name: the parameter that later steps find the value under.

    Returns:
        an entry for the ``returns`` of a task.
    """
    return Return(name, "json")


def pickled(name: str) -> Return:
    """Declares a return that is any object that can be pickled. Its bytes are kept in the catalog.

    The steps that take it need the modules of its classes. A shell step neither takes nor returns one.

    Args:
        name: the parameter that later steps find the object under.

    Returns:
        an entry for the ``returns`` of a task: ``returns=["rows", pickled("model")]``.
    """
    return Return(name, "object")


def metric(name: str) -> Return:
    """Declares a return that is a number, or a dict of numbers. ``toolkit diff`` compares it between runs.

    Args:
        name: the parameter that later steps find the value under.

    Returns:
        an entry for the ``returns`` of a task: ``returns=[metric("score")]``.
    """
    return Return(name, "metric")


class Catalog:
    """The files that a step gets from the catalog before it runs, and those that it puts there afterwards.

    A key is a path relative to the step's folder, and stays inside it. Of several steps that put one key, the newest earlier
    one wins; two branches of a ``Parallel`` may not put one key. The files of a step that fails are put as well. A name in
    braces (``model-{item}.pkl``) stands for the value that the step sees, and ``{{`` for a brace.

    ```python
    PythonTask(train, catalog=Catalog(get=["data/*.csv"], put=["model.bin"]))
    ```

    Args:
        get: keys to get: paths, patterns (``*.csv``, ``data/**``), or ``step:key`` for the key of one step.
        put: files to put: paths, folders or patterns.
        store_copy: whether the bytes of what is put are stored. With False only their hash is recorded.

    Raises:
        ValueError: ``get`` or ``put`` is not a list of text.
    """

    def __init__(
        self, get: Optional[Sequence[str]] = None, put: Optional[Sequence[str]] = None, store_copy: bool = True
    ) -> None:
        self.get = _texts("Catalog(get=…)", get)
        self.put = _texts("Catalog(put=…)", put)
        self.store_copy = store_copy

    def describe(self) -> CatalogData:
        """The two lists and the flag as plain JSON data."""
        return {"get": self.get, "put": self.put, "store_copy": self.store_copy}


def _texts(argument: str, given: Optional[Sequence[str]]) -> list[str]:
    """A list of names as given; ``argument`` names it in messages."""
    if given is None:
        return []
    # A generator gives its items once.
    names = None if isinstance(given, str) else list(given)
    if names is None or not all(isinstance(item, str) for item in names):
        raise Refusal(f"{argument} takes a list of names, not {given!r}")
    return names


class Step:
    """What all steps have: a name, and the line on which the user made it.

    Args:
        name: printable Unicode without ``/``, at most 200 characters, unique in its pipeline.
        after: in a graph the steps beside it that it follows, beyond those whose values and files it takes.

    Raises:
        ValueError: the name is empty, or no text. Or ``after`` holds what is no step.
    """

    def __init__(self, name: str, after: Optional[After] = None) -> None:
        if not isinstance(name, str) or not name:
            raise Refusal(f"a step's name is text, not {name!r}")
        self.name = name
        self.line = user_line()
        self.after = followed(f"after of the step {name}", after)

    def as_pipeline(self) -> Pipeline:
        """A pipeline of this step alone, which can be a branch or an ``on_failure``."""
        from toolkit.sdk.composites import Pipeline

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

    def describe(self) -> StepData:
        """The step as plain JSON data. This is how a pipeline leaves its own file."""
        raise NotImplementedError

    def _after(self) -> AfterData:
        """The part of the description that says what it follows; nothing where it follows nothing."""
        return {"after": [_name_of(given, self) for given in self.after]} if self.after else {}


def followed(owner: str, given: Any) -> list[Any]:
    """What an ``after`` holds, one by one.

    Args:
        owner: what has it, for messages.

    Raises:
        ValueError: something in it can't stand for a step.
    """
    if given is None:
        return []
    if _is_followed(given):
        return [given]
    try:
        items = list(given)
    except TypeError:
        items = [given]
    steps: list[Any] = []
    for item in items:
        # What the call of a step that returns several values gave is a tuple.
        if not isinstance(item, (list, tuple)) and not _is_followed(item):
            raise Refusal(f"{owner} is a list of steps and names of steps, and holds {item!r}")
        steps += followed(owner, item)
    return steps


def _is_followed(given: Any) -> bool:
    """Whether something can stand for a step: by what it is, or by a mark, since a handle refuses all that would need its value."""
    if isinstance(given, type):
        return False
    marks = ("__toolkit_pipeline__", "__toolkit_followed__")
    return isinstance(given, (str, Step)) or any(getattr(given, mark, False) is True for mark in marks)


def _name_of(given: Any, step: Step) -> str:
    """The name of a step that another step of a list follows."""
    if isinstance(given, str):
        return given
    if getattr(given, "__toolkit_followed__", False) is True:
        raise Refusal(
            f"the step {step.name} is after {given!r}, which only means something where a driver calls the step: name the step "
            "that it follows",
            step.line,
        )
    name: str = (given if isinstance(given, Step) else given.as_step()).name
    return name


class Stub(Step):
    """A step that does nothing and has no container: a placeholder for a task.

    It accepts whatever the task in its place would take, and ignores it.

    ```python
    Pipeline(steps=[Stub("fetch"), PythonTask(train), Stub("publish", secrets=["token"])])
    ```

    Args:
        name: the step's name.
        terminate_with_success: whether the pipeline ends after it, as succeeded.
        terminate_with_failure: whether the pipeline ends after it, as failed.
        after: in a graph the steps that it follows.
    """

    def __init__(
        self,
        name: str,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        after: Optional[After] = None,
        **_ignored: Any,
    ) -> None:
        super().__init__(name, after)
        self.terminate_with_success = terminate_with_success
        self.terminate_with_failure = terminate_with_failure

    def describe(self) -> StubData:
        return {
            "type": "stub",
            "name": self.name,
            "line": self.line,
            "terminate_with_success": self.terminate_with_success,
            "terminate_with_failure": self.terminate_with_failure,
            **self._after(),
        }


class Success(Stub):
    """A step that ends its pipeline as succeeded. The steps after it are skipped.

    Args:
        name: the step's name.
    """

    def __init__(self, name: str = "success") -> None:
        super().__init__(name, terminate_with_success=True)


class Fail(Stub):
    """A step that ends its pipeline as failed. The steps after it are skipped.

    Args:
        name: the step's name.
    """

    def __init__(self, name: str = "fail") -> None:
        super().__init__(name, terminate_with_failure=True)


class _Task(Step):
    kind = ""
    """What the task runs: ``python``, ``shell`` or ``notebook``."""

    def __init__(
        self,
        name: str,
        returns: Optional[Sequence[Union[str, Return]]] = None,
        secrets: Optional[Sequence[str]] = None,
        catalog: Optional[Catalog] = None,
        overrides: Union[str, Mapping[str, str], None] = None,
        bind: Optional[Mapping[str, object]] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        on_failure: Optional[AnyPipeline] = None,
        max_attempts: Optional[int] = None,
        after: Optional[After] = None,
        keep_failure: bool = False,
        **settings: Unpack[OwnSettings],
    ) -> None:
        super().__init__(name, after)
        if isinstance(returns, str):
            raise Refusal(f"returns of the step {name} is a list of names, not {returns!r}")
        self.returns = [entry if isinstance(entry, Return) else Return(entry, "json") for entry in returns or ()]
        self.secrets = _texts(f"secrets of the step {name}", secrets)
        if catalog is not None and not isinstance(catalog, Catalog):
            raise Refusal(f"catalog of the step {name} is a Catalog(get=[…], put=[…]), not {catalog!r}")
        self.catalog = catalog or Catalog()
        if not isinstance(overrides, (str, Mapping, type(None))) or not _is_plain(overrides):
            raise Refusal(f"overrides of the step {name} is a name, or names by executor type, not {overrides!r}")
        self.overrides = overrides if isinstance(overrides, str) else dict(overrides or {})
        self.settings = _plain_settings(name, settings)
        self.bind = dict(bind or {})
        for argument, binding in self.bind.items():
            if isinstance(binding, dict) and "value" in binding:
                check_constant(argument, binding["value"])
        self.terminate_with_success = terminate_with_success
        self.terminate_with_failure = terminate_with_failure
        self.on_failure = a_pipeline(f"on_failure of the step {name}", on_failure) if on_failure is not None else None
        self.keep_failure = checked_keep_failure(name, keep_failure, self.on_failure)
        self.max_attempts = max_attempts

    def returned(self) -> list[str]:
        handler = self.on_failure.returned() if self.on_failure is not None else []
        return list(dict.fromkeys([*(declared.name for declared in self.returns), *handler]))

    def _work(self) -> TaskWork:
        """The part of the description that says what it runs."""
        raise NotImplementedError

    def describe(self) -> TaskData:
        work = self._work()
        if self.settings:
            work["settings"] = self.settings
        described: TaskData = {
            "type": "task",
            "kind": self.kind,
            "name": self.name,
            "line": self.line,
            "returns": [{"name": declared.name, "kind": declared.kind} for declared in self.returns],
            "secrets": self.secrets,
            "catalog": self.catalog.describe(),
            "overrides": self.overrides,
            "bind": self.bind,
            "terminate_with_success": self.terminate_with_success,
            "terminate_with_failure": self.terminate_with_failure,
            "max_attempts": self.max_attempts,
            "on_failure": self.on_failure.describe_inside() if self.on_failure is not None else None,
            **work,
            **self._after(),
        }
        if self.keep_failure:
            described["keep_failure"] = True
        return described


def checked_keep_failure(name: str, keep_failure: bool, on_failure: Optional[AnyPipeline]) -> bool:
    """Whether a step stays failed when its ``on_failure`` has succeeded.

    Raises:
        ValueError: it is no truth value, or the step has no ``on_failure``.
    """
    if not isinstance(keep_failure, bool):
        raise Refusal(f"keep_failure of the step {name!r} is True or False, not {keep_failure!r}")
    if keep_failure and on_failure is None:
        raise Refusal(
            f"the step {name!r} has keep_failure and no on_failure: keep_failure says that the step stays failed when its "
            "on_failure has succeeded"
        )
    return keep_failure


_INSTEAD = {"retry": "retries", "retry_strategy": "retries", "max_step_duration_in_seconds": "timeout"}
"""For words of the configuration and of others, the options that are meant."""
_SETTINGS = ("resources", "timeout", "retries", "image", "environment", "user")
_OF_PIPELINES = ("on_exit", "order")


def _plain_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings beside a step that are given. What each may be is checked where the configuration is known."""
    settings = {}
    for key, value in given.items():
        if key not in _SETTINGS:
            raise Refusal(f"the step {name!r} takes no option {key!r}{_hint(key)}")
        if value is None:
            continue
        if not _is_plain(value):
            hint = ": give the seconds, as a number" if hasattr(value, "total_seconds") else ""
            raise Refusal(f"{key} of the step {name} is given {value!r}, which JSON can't hold{hint}")
        settings[key] = _copy(value)
    return settings


def _hint(option: str) -> str:
    import difflib  # only a mistake needs it

    if option in _OF_PIPELINES:
        return ": it is an option of the pipeline"
    known = [*_INSTEAD, *_SETTINGS, "returns", "secrets", "catalog", "overrides", "bind", "max_attempts", "on_failure"]
    known += ["keep_failure", "after"]
    near = difflib.get_close_matches(option, known, 1)
    return f": did you mean {_INSTEAD.get(near[0], near[0])!r}?" if near else ""


def refuse_unknown_options(kind: str, name: Any, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses what a step that holds steps does not take.

    Raises:
        ValueError: there is no such option.
    """
    for option in given:
        if option not in known:
            belongs = option in (
                *_INSTEAD,
                *_SETTINGS,
                "returns",
                "secrets",
                "catalog",
                "overrides",
                "bind",
                "max_attempts",
            )
            where = ": give it to the tasks inside" if belongs else f" (it takes {', '.join(known)})"
            raise Refusal(f"the {kind} {name!r} takes no option {option!r}{where}")


def _is_plain(value: Any) -> bool:
    """Whether JSON holds the value as it is."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and value - value == 0)


def _copy(value: Any) -> Any:
    """A copy in JSON's own types: what the author changes afterwards concerns the next step."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, (list, tuple)) else value


def check_constant(argument: str, value: Any) -> None:
    """Refuses a value that JSON, and so the plan, can't hold, or would change: of its keys 1 and "1" it makes one."""
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float) and value - value == 0:
        return
    keys = value if isinstance(value, dict) else ()
    if not isinstance(value, (list, tuple, dict)) or not all(isinstance(key, str) for key in keys):
        raise Refusal(
            f"the argument {argument} is given {value!r}, which JSON can't hold: give a step JSON data, or let a step "
            "before it return the object"
        )
    for item in value.values() if isinstance(value, dict) else value:
        check_constant(argument, item)


class PythonTask(_Task):
    """A step that calls a function.

    The function gets parameters by argument name, cast to its annotations: from the newest earlier step that returns the name,
    else from the run's own parameters. An argument with a default needs no parameter. A coroutine function is awaited.

    ```python
    PythonTask(generate, returns=["x", "y"], secrets=["secret_key"], catalog=Catalog(put=["data.csv"]))
    ```

    Args:
        function: a function at module level, or its dotted path as text.
        name: the step's name. The function's own when empty.
        returns: the names of what it returns. One name is the value itself, n names are a sequence of exactly n values. An
            entry is a name, or what :func:`json`, :func:`pickled` or :func:`metric` gives.
        secrets: names of secrets. This step alone gets them, as environment variables.
        catalog: the files to get before it runs and to put afterwards.
        overrides: the name of an entry of the configuration's ``executor.config.overrides``; or such names by executor type,
            for the configurations of these types.
        bind: for an argument, the parameter that it takes in place of the one of its own name: ``"parameter"``, or
            ``"step.parameter"`` for what one step returned.
        terminate_with_success: whether the pipeline ends, as succeeded, after the step has succeeded.
        terminate_with_failure: whether the pipeline ends, as failed, after the step has succeeded.
        on_failure: a pipeline that runs when the step has failed. Its result is then the result of the pipeline.
        max_attempts: how many attempts the step has at most: ``retries`` counts one less.
        resources: ``{"limits": {…}, "requests": {…}}`` with amounts of ``cpu``, ``memory`` and ``gpu``. This option and those
            below take the place of what the override and the configuration say.
        timeout: the longest time of one attempt, in seconds.
        retries: how many attempts may follow the first; or a dict of ``limit``, ``delay``, ``factor``, ``max_duration`` and
            ``policy``.
        image: with tag or digest an existing image, without the repository of one that is built.
        environment: environment variables of the step, beside those of the configuration.
        user: the numeric user id.
        after: in a graph the steps that it follows, beyond those whose values and files it takes: names, or the steps
            themselves. In a driver also what the call of a step gave, or the task for its calls so far.
        keep_failure: whether the step stays failed, and the pipeline fails, when its ``on_failure`` has succeeded.
        max_attempts: how many attempts the step has at most, in place of the configuration's ``retry_strategy``.

    Raises:
        ValueError: the function is a lambda, is nested in another, or can't be found by its name. Or an option has a value
            that it can't have.
    """

    kind = "python"

    def __init__(
        self, function: Union[Callable[..., Any], str], name: str = "", **options: Unpack[TaskOptions]
    ) -> None:
        self.function = function_reference(function)
        self.live = None if isinstance(function, str) else getattr(function, "__toolkit_function__", function)
        super().__init__(name or self.function["qualname"].rpartition(".")[2], **options)

    def _work(self) -> TaskWork:
        if self.live is None:
            return {"function": self.function}
        return {"function": self.function, "live": self.live}


class AsyncPythonTask(PythonTask):
    """Another name of :class:`PythonTask`, which also awaits coroutine functions."""


class ShellTask(_Task):
    """A step that runs a command by ``/bin/sh -c``, or by bash.

    It finds every parameter as an environment variable: text as it is, everything else as JSON. Above 64 kB the variable
    ``NAME_FILE`` names a file that holds the value. Its returns are the variables that it exports.

    ```python
    ShellTask("count", "export rows=$(wc -l < data.csv)", returns=["rows"], catalog=Catalog(get=["data.csv"]))
    ```

    Args:
        name: the step's name.
        command: the text for the shell.
        shell: ``"sh"``, or ``"bash"`` for arrays, ``[[ … ]]`` and all else that only bash has. The image must have it.
        strict: whether it runs in ``bash -euo pipefail``, whatever ``shell`` is: it ends at the first command that fails, and at
            a variable that is not set. What the configuration says (``executor.config.strict``) when absent.
        options: as :class:`PythonTask` takes them.

    Raises:
        ValueError: an option has a value that it can't have.
    """

    kind = "shell"

    def __init__(
        self,
        name: str,
        command: str,
        shell: str = "sh",
        strict: Optional[bool] = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        self.command = command
        self.shell = shell
        self.strict = strict
        super().__init__(name, **options)

    def _work(self) -> TaskWork:
        work: TaskWork = {"command": self.command}
        if self.shell != "sh":
            work["shell"] = self.shell
        if self.strict is not None:
            work["strict"] = self.strict
        return work


class NotebookTask(_Task):
    """A step that executes a notebook with a Python kernel of its own.

    Parameters are set in a new cell after the cell that is tagged ``parameters``. Its returns are variables of those names. The
    executed notebook is put into the catalog, with ``_out.ipynb`` after its name, also when a cell fails; where several steps have
    a notebook of that name, it is named by the step. The image needs nbclient, nbformat and ipykernel, for a notebook that is text
    jupytext, and for HTML nbconvert.

    ```python
    NotebookTask("report", "notebooks/report.ipynb", returns=["total"])
    NotebookTask("fit", "notebooks/fit.py", html=True)
    ```

    Args:
        name: the step's name.
        notebook: the path of the notebook, relative to the project's root: an .ipynb file, or text that jupytext reads, such as
            .py with cells after ``# %%``, or .md.
        html: whether the executed notebook is put as HTML as well, beside it.
        options: as :class:`PythonTask` takes them.

    Raises:
        ValueError: an option has a value that it can't have.
    """

    kind = "notebook"

    def __init__(self, name: str, notebook: str, html: bool = False, **options: Unpack[TaskOptions]) -> None:
        self.notebook = notebook
        self.html = html
        super().__init__(name, **options)

    def _work(self) -> TaskWork:
        work: TaskWork = {"command": self.notebook}
        if self.html is not False:
            work["html"] = self.html
        return work


def a_pipeline(argument: str, given: Any) -> AnyPipeline:
    """``given``, when its mark says that it is a pipeline, a driver or a job.

    Args:
        argument: what it is given as, for messages.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(given, type) or getattr(given, "__toolkit_pipeline__", False) is not True:
        hint = ": call its as_pipeline()" if isinstance(given, Step) else ""
        raise Refusal(f"{argument} is a Pipeline or a driver, not {given!r}{hint}")
    # Of a file's pipelines, the one that is part of no other is the one to run.
    given.__toolkit_part__ = True
    pipeline: AnyPipeline = given
    return pipeline


def function_reference(function: Union[Callable[..., Any], str], role: str = "step") -> FunctionName:
    """How a function is named, so that a container can find it again.

    Args:
        role: what the function is used as, for messages: a step or a reducer.

    Raises:
        ValueError: it can't be found again: a lambda, a nested function, a partial, an instance.
    """
    if isinstance(function, str):
        if function.lstrip().startswith("lambda"):
            raise Refusal(
                f"a lambda can't be a {role}: define a function at module level and name it as module.function"
            )
        module, _, name = function.rpartition(".")
        return {"module": module, "qualname": name}
    target = getattr(function, "__toolkit_function__", function)
    if not callable(target):
        raise Refusal(f"{'function' if role == 'step' else role} takes a function, not {target!r}")
    qualname = getattr(target, "__qualname__", None)
    module_name = getattr(target, "__module__", None)
    if qualname is None or module_name is None:
        instead = (
            "give the step a function (and bind= for fixed arguments)" if role == "step" else "define a function there"
        )
        raise Refusal(f"{target!r} has no name at module level: {instead}")
    if "<lambda>" in qualname:
        raise Refusal(
            f"a lambda can't be a {role}: a container could not find it again; define a function at module level"
        )
    if "<locals>" in qualname:
        raise Refusal(
            f"the function {qualname.replace('.<locals>', '')} is nested in another and can't be a {role}: "
            "a container could not find it again; define it at module level"
        )
    return {"module": module_name, "qualname": qualname}
