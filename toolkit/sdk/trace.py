"""The driver form: a decorated function is called once, with handles in place of values, and the steps it calls are recorded.

generate = task(functions.generate, returns=["x", "y"])
consume = task(functions.consume)

@pipeline
def main():
    x, y = generate()
    consume(x, y)

Steps of the SDK, pipelines and other drivers can be called in it. Each call adds a step to its pipeline.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union, overload

from toolkit.sdk.composites import Nested, Pipeline, checked_order, execute
from toolkit.sdk.handles import Ended, Handle, Trace, binding_of, from_inside, handle_of, is_seen, name_of
from toolkit.sdk.parameters import described_arguments
from toolkit.sdk.refusal import Refusal, user_line
from toolkit.sdk.steps import PythonTask, Step, a_pipeline, checked_keep_failure, followed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal

    from typing_extensions import Unpack

    from toolkit.sdk.description import ParameterData, PipelineData
    from toolkit.sdk.steps import After, AnyPipeline, TaskOptions


_tracing: Optional[Trace] = None


def _traced() -> Trace:
    if _tracing is None:
        raise Refusal(
            "a step is called inside a driver (a @pipeline function) and nowhere else: to run a pipeline, execute() it"
        )
    return _tracing


def add(step: Step, arguments: tuple[Any, ...], named: Mapping[str, object]) -> Any:
    """Adds a step of the SDK, which was called, to the driver that calls it.

    Returns:
        a handle when the step returns one name, a named tuple of handles when it returns several, None when it returns none.

    Raises:
        ValueError: no driver is being traced, or the step can't take the arguments.
    """
    trace = _traced()
    added = step.__class__.__new__(step.__class__)
    added.__dict__.update(step.__dict__)
    added.name = trace.unique(step.name)
    # Messages name the line of the call, not the line on which the step was made.
    added.line = user_line() or step.line
    given = named
    if isinstance(step, PythonTask) and step.live is not None:
        given = _arguments(step.live, step.name, arguments, named)
    elif arguments:
        raise Refusal(f"the step {step.name} takes arguments by name")
    if given and not hasattr(step, "bind"):
        raise Refusal(
            f"the step {step.name} takes no arguments: the steps inside it take parameters by their own names, so return the "
            "value under the name that they take"
        )
    if given:
        added.__dict__["bind"] = _bindings(trace, step.__dict__["bind"], given)
    for key in ("iterate_on", "parameter", "break_on"):
        if isinstance(added.__dict__.get(key), Handle):
            added.__dict__[key] = name_of(trace, added.name, added.__dict__[key], key)
    return _given(trace, added.name, trace.add(added, step.returned(), step))


def _given(trace: Trace, step: str, handles: tuple[Handle, ...]) -> Any:
    """What a call of a step gives: its one handle, or all of them by position and by name."""
    if len(handles) <= 1:
        return handles[0] if handles else Ended(step, trace)
    return namedtuple("Returned", [handle._name for handle in handles], rename=True)(*handles)


def _arguments(
    function: Callable[..., Any], name: str, arguments: tuple[Any, ...], named: Mapping[str, object]
) -> dict[str, object]:
    """The arguments of a call by their names."""
    import inspect

    signature = inspect.signature(function)
    try:
        bound = signature.bind_partial(*arguments, **named).arguments
    except TypeError as error:
        raise Refusal(f"{name}() is called with the wrong arguments: {error}") from None
    given: dict[str, object] = {}
    for argument, value in bound.items():
        kind = signature.parameters[argument].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            raise Refusal(f"{name}(*{argument}) can't be a step: its parameters have no names; name them")
        given.update(value if kind is inspect.Parameter.VAR_KEYWORD else {argument: value})
    return given


def _bindings(trace: Trace, declared: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The bindings that the step declares, and those of a call's arguments."""
    bind = dict(declared)
    for argument, value in given.items():
        if isinstance(value, TaskFunction):
            raise Refusal(
                f"the argument {argument} is given the task {value.__name__} itself: call it, to give what it returns"
            )
        binding = binding_of(trace, argument, value)
        if binding is not None:
            bind[argument] = binding
    return bind


class TaskFunction:
    """A function that ``task`` has declared as a step. In a driver, a call adds the step; elsewhere it calls the function."""

    __toolkit_followed__ = True

    def __init__(self, function: Callable[..., Any], name: str, options: TaskOptions) -> None:
        self.__toolkit_function__ = getattr(function, "__toolkit_function__", function)
        self.__wrapped__ = self.__toolkit_function__
        self.__name__ = getattr(function, "__name__", "task")
        self.__doc__ = getattr(function, "__doc__", None)
        self._name = name
        self._options = options
        # Refuses lambdas and nested functions on the line that declares them.
        PythonTask(function, name, **options)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if _tracing is None:
            return self.__toolkit_function__(*arguments, **named)
        return self._record(_tracing, arguments, named)

    def _record(self, trace: Trace, arguments: tuple[Any, ...], named: Mapping[str, object]) -> Any:
        given = _arguments(self.__toolkit_function__, self.__name__, arguments, named)
        bind = _bindings(trace, self._options.get("bind") or {}, given)
        base = self._name or PythonTask(self.__toolkit_function__).name
        options: TaskOptions = {**self._options, "bind": bind}
        step = PythonTask(self.__toolkit_function__, trace.unique(base), **options)
        # Later steps see what its handler returns as well, but the call gives only what the function returns.
        trace.add(step, step.returned(), self)
        return _given(trace, step.name, tuple(Handle(declared.name, step.name, trace) for declared in step.returns))


@overload
def task(function: Callable[..., Any], *, name: str = "", **options: Unpack[TaskOptions]) -> TaskFunction: ...


@overload
def task(
    function: None = None, *, name: str = "", **options: Unpack[TaskOptions]
) -> Callable[[Callable[..., Any]], TaskFunction]: ...


def task(function: Optional[Callable[..., Any]] = None, *, name: str = "", **options: Unpack[TaskOptions]) -> Any:
    """Declares the step that a call of the function is in a driver. It can be called, or used as a decorator.

    ```python
    generate = task(functions.generate, returns=["x", "y"])

    @task(returns=["total"])
    def add(x, y):
        return x + y
    ```

    Args:
        function: a function at module level. Absent in a decorator with options.
        name: the step's name. The function's own when empty. A second call of the same name gets ``-2`` after it.
        options: as :class:`PythonTask` takes them.

    Returns:
        what is called in a driver. The call gives a handle for the one value that the step returns, a named tuple of handles
        for several, and for none what no other step can take. Outside of a driver it calls the plain function.

    Raises:
        ValueError: as for :class:`PythonTask`.
    """
    if function is None:
        return lambda plain: TaskFunction(plain, name, options)
    return TaskFunction(function, name, options)


class _Following:
    """What ``after`` gives: it is entered by ``with``."""

    def __init__(self, steps: tuple[Any, ...]) -> None:
        self._steps = steps
        self._trace: Optional[Trace] = None
        self._before: list[str] = []

    def __enter__(self) -> None:
        # In the plain program there are values in place of handles, and the order is that of the calls.
        self._trace = _tracing
        if self._trace is not None:
            self._before = self._trace.following
            names = self._trace.names_of("after(…)", followed("after(…)", self._steps))
            self._trace.following = [*self._before, *names]

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._trace is not None:
            self._trace.following = self._before


def after(*steps: After) -> _Following:
    """In a driver whose order is a graph: the steps that are called in the ``with`` block run after these.

    A step follows those whose handles it is given without this. Outside of a driver it has no effect.

    ```python
    @pipeline(order="graph")
    def main():
        ready = migrate()
        with after(ready):
            load()
    ```

    Args:
        steps: what the call of a step gave, the step's name, or what was called: a task, a step, a pipeline or a driver stands for
            all its calls so far.

    Returns:
        what ``with`` takes.

    Raises:
        ValueError: when it is entered: something stands for no step of the driver.
    """
    return _Following(steps)


_DELAYED = 0x20 | 0x80 | 0x200
"""The flags in the code of a generator, a coroutine function and an asynchronous generator (``inspect.CO_GENERATOR`` …)."""


class Driver:
    """A function decorated by ``pipeline``."""

    __toolkit_pipeline__ = True

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        on_failure: Optional[AnyPipeline] = None,
        parameters_file: str = "",
        order: Literal["line", "graph"] = "line",
        keep_failure: bool = False,
        on_exit: Optional[AnyPipeline] = None,
    ) -> None:
        self._function = function
        self.name = name
        self.on_failure = a_pipeline("on_failure", on_failure) if on_failure is not None else None
        self.keep_failure = checked_keep_failure(name or function.__name__, keep_failure, self.on_failure)
        self.on_exit = a_pipeline("on_exit", on_exit) if on_exit is not None else None
        self.parameters_file = parameters_file
        checked_order(order)
        self.order: Literal["line", "graph"] = order
        self.line = user_line()
        self.__doc__ = function.__doc__
        self._running = False

    def trace(self, inside: bool = False) -> Pipeline:
        """The pipeline that the driver's calls make. Its arguments stand for parameters of the run.

        Args:
            inside: whether it is a branch or a handler. Its arguments then stand for the parameters that it sees.

        Raises:
            ValueError: a handle was used as if it had a value, or an argument of one that is inside has a default.
        """
        names, defaults = self._arguments(), self._defaults()
        if inside and defaults:
            raise Refusal(
                f"the driver {self._function.__name__} is a branch, a handler or in a list of steps, where its arguments are what "
                f"it sees of the pipeline around it, so the default of {next(iter(defaults))} would have no effect: leave it out, "
                "and let the pipeline that is run declare it",
                self._function.__code__.co_firstlineno,
            )
        trace = Trace(None, inside, names, self.order)
        self._run(trace, {name: Handle(name, None, trace) for name in names})
        return self._made(trace)

    def _made(self, trace: Trace) -> Pipeline:
        trace.check()
        pipeline = Pipeline(steps=trace.steps, name=self.name, parameters_file=self.parameters_file, order=self.order)
        pipeline.line = self.line
        return pipeline

    def _arguments(self) -> tuple[str, ...]:
        code = self._function.__code__
        if code.co_flags & _DELAYED:
            raise Refusal(
                f"the driver {self._function.__name__} is an async function or has a yield, so that a call of it runs none of its "
                "steps: make it a plain function",
                code.co_firstlineno,
            )
        return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    def _defaults(self) -> dict[str, Any]:
        code, by_position = self._function.__code__, self._function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(by_position) : code.co_argcount]
        return {**dict(zip(names, by_position)), **(self._function.__kwdefaults__ or {})}

    def _declared(self) -> list[ParameterData]:
        """Its arguments, as all that a run of it can be given; none where no argument has an annotation or a default."""
        if not self._defaults() and not _is_annotated(self._function):
            return []
        defaults, remarks = self._defaults(), described_arguments(self.__doc__)
        own = self._function.__globals__ is getattr(sys.modules.get("__main__"), "__dict__", None)
        line = self._function.__code__.co_firstlineno if own else None
        declared: list[ParameterData] = []
        for name in self._arguments():
            data: ParameterData = {
                "name": name,
                "line": line,
                "driver": self._function,
            }
            if name in defaults:
                data["default"] = defaults[name]
            if name in remarks:
                data["description"] = remarks[name]
            declared.append(data)
        return declared

    def _run(self, trace: Trace, given: Mapping[str, object]) -> Any:
        global _tracing
        if self._running:
            raise Refusal(f"the driver {self._function.__name__} calls itself: use a Loop to run a pipeline again")
        before, _tracing = _tracing, trace
        self._running = True
        try:
            return self._function(**given)
        finally:
            _tracing = before
            self._running = False

    def describe(self) -> PipelineData:
        """The pipeline as plain data: JSON, but for functions.

        Raises:
            ValueError: as ``trace`` does; or it has an ``on_failure`` and is no step.
        """
        pipeline = self.trace()
        pipeline.on_failure = self.on_failure
        pipeline.on_exit = self.on_exit
        described = pipeline.describe()
        declared = self._declared()
        if declared:
            described["parameters"] = declared
        return described

    def describe_inside(self, handled: bool = False) -> PipelineData:
        """The same, where the driver is inside another pipeline.

        Args:
            handled: whether it is a step, which can have an ``on_failure``. A branch and a handler can't.
        """
        pipeline = self.trace(inside=True)
        pipeline.on_failure = self.on_failure
        pipeline.on_exit = self.on_exit
        return pipeline.describe_inside(handled)

    def returned(self) -> list[str]:
        """The names that its steps may return."""
        return self.trace(inside=True).returned()

    def as_step(self) -> Step:
        """The driver's pipeline as a step of another pipeline, under its name, or the function's."""
        return Nested(self.name or self._function.__name__, self, self.on_failure, keep_failure=self.keep_failure)

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: Union[str, Sequence[str]] = "",
        log_level: str = "",
    ) -> None:
        """Runs the pipeline. Arguments and errors are those of :meth:`toolkit.Pipeline.execute`."""
        execute(self, configuration_file, run_id, tag, parameters_file)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """In another driver, adds the pipeline as a step; elsewhere calls the function.

        Returns:
            what the function returns, with handles of the outer driver in place of its own. Where that is None, a graph gets what
            other steps can be after.
        """
        if _tracing is None:
            return self._function(*arguments, **named)
        outer = _tracing
        a_pipeline("what is called", self)
        names = self._arguments()
        given = _arguments(self._function, self._function.__name__, arguments, named)
        inner = Trace(outer, True, names, self.order)
        defaults = self._defaults()
        values = {
            name: given[name]
            if name in given
            else defaults[name]
            if name in defaults and not is_seen(outer, name)
            else handle_of(outer, name)
            for name in names
        }
        inner.keep_names_of(values.values())
        result = self._run(inner, values)
        name = outer.unique(self.name or self._function.__name__)
        made = self._made(inner)
        made.on_exit = self.on_exit
        step = Nested(name, made, self.on_failure, keep_failure=self.keep_failure)
        outer.add(step, step.returned(), self)
        return from_inside(result, inner, outer, name) if result is not None else Ended(name, outer)


def _is_annotated(function: Callable[..., Any]) -> bool:
    try:
        return any(name != "return" for name in function.__annotations__)
    except NameError:
        # Python 3.14 evaluates them only now, and what is imported for type checkers is not there.
        return True


@overload
def pipeline(
    function: Callable[..., Any],
    *,
    name: str = "",
    on_failure: Optional[AnyPipeline] = None,
    parameters_file: str = "",
    order: Literal["line", "graph"] = "line",
    keep_failure: bool = False,
    on_exit: Optional[AnyPipeline] = None,
) -> Driver: ...


@overload
def pipeline(
    function: None = None,
    *,
    name: str = "",
    on_failure: Optional[AnyPipeline] = None,
    parameters_file: str = "",
    order: Literal["line", "graph"] = "line",
    keep_failure: bool = False,
    on_exit: Optional[AnyPipeline] = None,
) -> Callable[[Callable[..., Any]], Driver]: ...


def pipeline(
    function: Optional[Callable[..., Any]] = None,
    *,
    name: str = "",
    on_failure: Optional[AnyPipeline] = None,
    parameters_file: str = "",
    order: Literal["line", "graph"] = "line",
    keep_failure: bool = False,
    on_exit: Optional[AnyPipeline] = None,
) -> Any:
    """Makes a driver of a function: the steps that it calls, in order, are the pipeline.

    The function is called once, with handles in place of values. A handle can be passed to steps and to nothing else. The
    function's arguments are parameters of the run. Where one of them has an annotation or a default, they are all that a run can
    be given, with descriptions from ``Annotated[int, "…"]`` or the docstring.

    ```python
    @pipeline
    def main(start: int = 0):
        x, y = generate(start)
        consume(x, y)

    if __name__ == "__main__":
        main.execute()
    ```

    Args:
        function: the function. Absent in a decorator with options.
        name: what lists and records call the pipeline. The file's name when empty.
        on_failure: for a driver that is called in another: a pipeline that runs when it has failed.
        keep_failure: for a driver that is called in another: whether it stays failed when its ``on_failure`` has succeeded.
        on_exit: for the driver that is run: what runs after it, as for :class:`Pipeline`. A driver that is an ``on_exit`` may take
            ``run_status`` and ``failed_steps``.
        parameters_file: a file that scripts read themselves, as for :class:`Pipeline`.
        order: ``"line"``, or ``"graph"``, in which a step is after those whose handles it is given, and those of :func:`after`.

    Returns:
        the driver. It has the ``execute()`` of a :class:`Pipeline`, and can be a branch, a handler or a step.

    Raises:
        ValueError: when the pipeline is described: a handle was used as if it had a value, or an argument has a default where
            the driver is a branch.
    """
    if function is None:
        return lambda plain: Driver(plain, name, on_failure, parameters_file, order, keep_failure, on_exit)
    return Driver(function, name, on_failure, parameters_file, order, keep_failure, on_exit)
