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
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Union, overload

from toolkit.sdk.composites import Nested, Pipeline, execute
from toolkit.sdk.parameters import described_arguments
from toolkit.sdk.refusal import Refusal, user_line
from toolkit.sdk.steps import PythonTask, Step, a_pipeline, check_constant

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from toolkit.sdk.description import ParameterData, PipelineData
    from toolkit.sdk.steps import AnyPipeline, TaskOptions


class Handle:
    """Stands for a value that a step will return, or that the run is given, while a driver is traced.

    It can be passed to steps and nothing else, because it has no value yet.

    Args:
        step: the path, from the driver of ``trace``, of the step that returns it; None for an argument of the driver's.
        trace: the trace of the driver that it belongs to; None where that makes no difference.
    """

    def __init__(self, name: str, step: Optional[str], trace: Optional[_Trace] = None) -> None:
        self._name = name
        self._step = step
        self._trace = trace

    def __repr__(self) -> str:
        return f"<the value {self._name} of a later run>"

    def _no_value(self, *_: Any, **__: Any) -> NoReturn:
        source = f"of the step {self._step}" if self._step is not None else "of the run"
        raise Refusal(
            f"{self._name} {source} has no value while the driver is traced, so it can't decide or compute anything "
            "here: pass it to a step, or to a Conditional, a Map or a Loop"
        )

    __bool__ = __iter__ = __len__ = __int__ = __float__ = __index__ = __contains__ = _no_value
    __getitem__ = __setitem__ = __call__ = __enter__ = _no_value
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _no_value
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _no_value
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = _no_value
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rlshift__ = __rshift__ = _no_value
    __rrshift__ = __matmul__ = __rmatmul__ = __divmod__ = __rdivmod__ = __invert__ = __pos__ = __round__ = _no_value
    __complex__ = __bytes__ = __reversed__ = __delitem__ = __await__ = __aiter__ = __str__ = __format__ = _no_value
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._no_value()


class _Trace:
    """The steps that a driver has called so far, and for each name the newest step that returns it.

    Args:
        outer: the trace of the driver that called this one; None when no driver did.
        inside: whether the driver is a branch, a handler or called by another, so that its arguments are no parameters of the
            run.
        arguments: the names of the driver's arguments.
    """

    def __init__(self, outer: Optional[_Trace], inside: bool, arguments: tuple[str, ...]) -> None:
        self.outer = outer
        self.inside = inside
        self.arguments = arguments
        self.steps: list[Step] = []
        self.newest: dict[str, str] = {}

    def unique(self, name: str) -> str:
        taken = {step.name for step in self.steps}
        number = 2
        chosen = name
        while chosen in taken:
            chosen, number = f"{name}-{number}", number + 1
        return chosen

    def newest_source(self, name: str) -> Optional[tuple[_Trace, str]]:
        """The newest step that returns the name, with its driver's trace; None when no step does."""
        trace: Optional[_Trace] = self
        while trace is not None:
            if name in trace.newest:
                return trace, trace.newest[name]
            trace = trace.outer
        return None

    def add(self, step: Step, names: list[str]) -> tuple[Handle, ...]:
        """Adds a step that may return these names."""
        self.steps.append(step)
        for name in names:
            self.newest[name] = step.name
        return tuple(Handle(name, step.name, self) for name in names)


_tracing: Optional[_Trace] = None


def _traced() -> _Trace:
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
            added.__dict__[key] = _name_of(trace, added.name, added.__dict__[key])
    names = step.returned()
    handles = trace.add(added, names)
    if len(handles) <= 1:
        return handles[0] if handles else None
    return namedtuple("Returned", names, rename=True)(*handles)


def _name_of(trace: _Trace, step: str, value: Handle) -> str:
    """The name by which a composite reads a value; a composite has no bindings."""
    if _binding(trace, value._name, value) is not None:
        raise Refusal(
            f"the step {step} reads {value._name}, but another step returns a newer {value._name} before it: return one of the two "
            "under another name"
        )
    return value._name


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


def _bindings(trace: _Trace, declared: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The bindings that the step declares, and those of a call's arguments."""
    bind = dict(declared)
    for argument, value in given.items():
        binding = _binding(trace, argument, value)
        if binding is not None:
            bind[argument] = binding
    return bind


class TaskFunction:
    """A function that ``task`` has declared as a step. In a driver, a call adds the step; elsewhere it calls the function."""

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

    def _record(self, trace: _Trace, arguments: tuple[Any, ...], named: Mapping[str, object]) -> Any:
        given = _arguments(self.__toolkit_function__, self.__name__, arguments, named)
        bind = _bindings(trace, self._options.get("bind") or {}, given)
        base = self._name or PythonTask(self.__toolkit_function__).name
        options: TaskOptions = {**self._options, "bind": bind}
        step = PythonTask(self.__toolkit_function__, trace.unique(base), **options)
        # Later steps see what its handler returns as well, but the call gives only what the function returns.
        trace.add(step, step.returned())
        handles = tuple(Handle(declared.name, step.name, trace) for declared in step.returns)
        return handles[0] if len(handles) == 1 else handles or None


def _binding(trace: _Trace, argument: str, value: Any) -> Any:
    """The binding of an argument; None where the parameter of its own name is the same value."""
    if not isinstance(value, Handle):
        _refuse_inner_handles(argument, value)
        check_constant(argument, value)
        return {"value": value}
    name, step = value._name, value._step
    newest = trace.newest_source(name)
    if step is None and newest is not None and value._trace is not None and not value._trace.inside:
        # The name alone would mean the value that a step returned under it.
        return {"parameter": name}
    is_newest = newest == (None if step is None else (value._trace, step))
    if is_newest and name == argument:
        return None
    if step is not None and value._trace is trace:
        return f"{step}.{name}"
    if not is_newest:
        newer = newest[1] if newest is not None else "none"
        raise Refusal(
            f"{name} is given to a step of an inner pipeline, which finds a newer {name} under that name (of the step "
            f"{newer}): return one of the two under another name"
        )
    return name


def _refuse_inner_handles(argument: str, value: Any) -> None:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        if isinstance(item, Handle):
            raise Refusal(
                f"the argument {argument} holds {item._name} inside a {type(value).__name__}: pass it by itself"
            )
        _refuse_inner_handles(argument, item)


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
        what is called in a driver. The call gives a handle for the one value that the step returns, a tuple of handles for
        several, None for none. Outside of a driver it calls the plain function.

    Raises:
        ValueError: as for :class:`PythonTask`.
    """
    if function is None:
        return lambda plain: TaskFunction(plain, name, options)
    return TaskFunction(function, name, options)


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
    ) -> None:
        self._function = function
        self.name = name
        self.on_failure = a_pipeline("on_failure", on_failure) if on_failure is not None else None
        self.parameters_file = parameters_file
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
        trace = _Trace(None, inside, names)
        self._run(trace, {name: Handle(name, None, trace) for name in names})
        return self._made(trace)

    def _made(self, trace: _Trace) -> Pipeline:
        pipeline = Pipeline(steps=trace.steps, name=self.name, parameters_file=self.parameters_file)
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

    def _run(self, trace: _Trace, given: Mapping[str, object]) -> Any:
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
        return pipeline.describe_inside(handled)

    def returned(self) -> list[str]:
        """The names that its steps may return."""
        return self.trace(inside=True).returned()

    def as_step(self) -> Step:
        """The driver's pipeline as a step of another pipeline, under its name, or the function's."""
        return Nested(self.name or self._function.__name__, self, self.on_failure)

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
            what the function returns, with handles of the outer driver in place of its own.
        """
        if _tracing is None:
            return self._function(*arguments, **named)
        outer = _tracing
        a_pipeline("what is called", self)
        names = self._arguments()
        given = _arguments(self._function, self._function.__name__, arguments, named)
        inner = _Trace(outer, True, names)
        defaults = self._defaults()
        values = {
            name: given[name]
            if name in given
            else defaults[name]
            if name in defaults and not _is_seen(outer, name)
            else _handle_of(outer, name)
            for name in names
        }
        result = self._run(inner, values)
        name = outer.unique(self.name or self._function.__name__)
        step = Nested(name, self._made(inner), self.on_failure)
        outer.add(step, step.returned())
        return _from_inside(result, inner, outer, name)


def _is_annotated(function: Callable[..., Any]) -> bool:
    try:
        return any(name != "return" for name in function.__annotations__)
    except NameError:
        # Python 3.14 evaluates them only now, and what is imported for type checkers is not there.
        return True


def _is_seen(trace: _Trace, name: str) -> bool:
    """Whether a step before returns the name, or a driver around takes it."""
    outer: Optional[_Trace] = trace
    while outer is not None:
        if name in outer.newest or name in outer.arguments:
            return True
        outer = outer.outer
    return False


def _handle_of(trace: _Trace, name: str) -> Handle:
    """The handle of the value that a driver sees under a name."""
    source = trace.newest_source(name)
    return Handle(name, None, trace) if source is None else Handle(name, source[1], source[0])


def _from_inside(value: Any, inner: _Trace, outer: _Trace, name: str) -> Any:
    """What an inner driver returned, with its handles replaced by handles of the outer driver."""
    if isinstance(value, Handle):
        if value._trace is not inner or value._step is None:
            return value
        if inner.newest.get(value._name) == value._step:
            return Handle(value._name, name, outer)
        return Handle(value._name, f"{name}/{value._step}", outer)
    if isinstance(value, (list, tuple)):
        return tuple(_from_inside(item, inner, outer, name) for item in value)
    if isinstance(value, dict):
        return {key: _from_inside(item, inner, outer, name) for key, item in value.items()}
    return value


@overload
def pipeline(
    function: Callable[..., Any],
    *,
    name: str = "",
    on_failure: Optional[AnyPipeline] = None,
    parameters_file: str = "",
) -> Driver: ...


@overload
def pipeline(
    function: None = None,
    *,
    name: str = "",
    on_failure: Optional[AnyPipeline] = None,
    parameters_file: str = "",
) -> Callable[[Callable[..., Any]], Driver]: ...


def pipeline(
    function: Optional[Callable[..., Any]] = None,
    *,
    name: str = "",
    on_failure: Optional[AnyPipeline] = None,
    parameters_file: str = "",
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
        parameters_file: a file that scripts read themselves, as for :class:`Pipeline`.

    Returns:
        the driver. It has the ``execute()`` of a :class:`Pipeline`, and can be a branch, a handler or a step.

    Raises:
        ValueError: when the pipeline is described: a handle was used as if it had a value, or an argument has a default where
            the driver is a branch.
    """
    if function is None:
        return lambda plain: Driver(plain, name, on_failure, parameters_file)
    return Driver(function, name, on_failure, parameters_file)
