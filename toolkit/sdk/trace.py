"""The driver form: a decorated function that is called once, with handles in place of values, to see what it calls.

generate = task(functions.generate, returns=["x", "y"])
consume = task(functions.consume)

@pipeline
def main():
    x, y = generate()
    consume(x, y)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Optional, Union

from toolkit.sdk.pipeline import Pipeline, execute
from toolkit.sdk.refusal import Refusal
from toolkit.sdk.steps import PythonTask, Return


class Handle:
    """Stands for a value that a step will return, or that the run is given, while a driver is traced.

    It can be passed to steps and nothing else: there is no value yet that could be tested or computed with.
    """

    def __init__(self, name: str, step: Optional[str]) -> None:
        self._name = name
        self._step = step

    def __repr__(self) -> str:
        return f"<the value {self._name} of a later run>"

    def _no_value(self, *_: Any, **__: Any) -> NoReturn:
        source = f"of the step {self._step}" if self._step is not None else "of the run"
        raise Refusal(
            f"{self._name} {source} has no value while the driver is traced, so it can't decide or compute anything "
            "here: pass it to a step"
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
    """The calls seen so far, and which step is the newest to return each name."""

    def __init__(self) -> None:
        self.steps: list[PythonTask] = []
        self.newest: dict[str, str] = {}

    def unique(self, name: str) -> str:
        taken = {step.name for step in self.steps}
        number = 2
        chosen = name
        while chosen in taken:
            chosen, number = f"{name}-{number}", number + 1
        return chosen


_tracing: Optional[_Trace] = None


class TaskFunction:
    """A plain function with the step declared around it: in a driver a call is a step, elsewhere it is a call."""

    def __init__(self, function: Callable[..., Any], name: str, options: dict[str, Any]) -> None:
        self.__toolkit_function__ = getattr(function, "__toolkit_function__", function)
        self.__wrapped__ = self.__toolkit_function__
        self.__name__ = getattr(function, "__name__", "task")
        self.__doc__ = getattr(function, "__doc__", None)
        self._name = name
        self._options = options
        # Refuses lambdas and nested functions where they are declared.
        PythonTask(function, name, **options)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if _tracing is None:
            return self.__toolkit_function__(*arguments, **named)
        return self._record(_tracing, arguments, named)

    def _record(self, trace: _Trace, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        import inspect

        signature = inspect.signature(self.__toolkit_function__)
        try:
            known = signature.bind_partial(*arguments, **named).arguments
        except TypeError as error:
            raise Refusal(f"{self.__name__}() is called with the wrong arguments: {error}") from None
        given: dict[str, Any] = {}
        for argument, value in known.items():
            kind = signature.parameters[argument].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                raise Refusal(f"{self.__name__}(*{argument}) can't be a step: its parameters have no names; name them")
            given.update(value if kind is inspect.Parameter.VAR_KEYWORD else {argument: value})
        bind = dict(self._options.get("bind") or {})
        for argument, value in given.items():
            binding = _binding(trace, argument, value)
            if binding is not None:
                bind[argument] = binding
        base = self._name or PythonTask(self.__toolkit_function__).name
        step = PythonTask(self.__toolkit_function__, trace.unique(base), **{**self._options, "bind": bind})
        trace.steps.append(step)
        for one in step.returns:
            trace.newest[one.name] = step.name
        handles = tuple(Handle(one.name, step.name) for one in step.returns)
        return handles[0] if len(handles) == 1 else handles or None


def _binding(trace: _Trace, argument: str, value: Any) -> Any:
    """How an argument is written down; None where taking it by its own name gives the same value."""
    if not isinstance(value, Handle):
        _check_constant(argument, value)
        return {"value": value}
    if value._step is None and value._name in trace.newest:
        # By its name alone the value of the step that returned one of that name would be taken.
        return {"parameter": value._name}
    if value._name == argument and trace.newest.get(argument) == value._step:
        return None
    return value._name if value._step is None else f"{value._step}.{value._name}"


def _check_constant(argument: str, value: Any) -> None:
    """Refuses what can't be written down in the plan as JSON."""
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float) and value - value == 0:
        return
    if not isinstance(value, (list, tuple, dict)) or not all(isinstance(key, str) for key in _keys(value)):
        raise Refusal(
            f"the argument {argument} is given {value!r}, which JSON can't hold: give a step JSON data, or let a step "
            "before it return the object"
        )
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, Handle):
            raise Refusal(
                f"the argument {argument} holds {item._name} inside a {type(value).__name__}: pass it by itself"
            )
        _check_constant(argument, item)


def _keys(value: Any) -> Any:
    return value if isinstance(value, dict) else ()


def task(
    function: Optional[Callable[..., Any]] = None,
    *,
    name: str = "",
    returns: Optional[list[Union[str, Return]]] = None,
    **options: Any,
) -> Any:
    """Declares the step around a function, for use in a driver; also as a decorator.

    Args:
        function: a function at module level. name: the step's name; the function's own when absent.
        returns, options: as PythonTask takes them.
    """
    settings = {"returns": returns, **options}
    if function is None:
        return lambda plain: TaskFunction(plain, name, settings)
    return TaskFunction(function, name, settings)


class Driver:
    """A function decorated by ``pipeline``."""

    __toolkit_pipeline__ = True

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self.name = name
        self.__doc__ = function.__doc__

    def trace(self) -> Pipeline:
        """The pipeline that the driver's calls make. Its arguments stand for parameters of the run.

        Raises:
            ValueError: a handle was used as if it had a value, or an argument has a default.
        """
        global _tracing
        code = self._function.__code__
        if self._function.__defaults__ or self._function.__kwdefaults__:
            raise Refusal("a driver's arguments are parameters of the run and have no defaults", code.co_firstlineno)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if _tracing is not None:
            raise Refusal("a driver can't call another driver")
        _tracing = _Trace()
        try:
            self._function(**{name: Handle(name, None) for name in names})
            return Pipeline(steps=_tracing.steps, name=self.name)
        finally:
            _tracing = None

    def describe(self) -> dict[str, Any]:
        return self.trace().describe()

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: str = "",
        log_level: str = "",
    ) -> None:
        """Runs the pipeline; see :meth:`toolkit.Pipeline.execute`."""
        execute(self, configuration_file, run_id, tag, parameters_file)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls the driver as the plain function that it is."""
        return self._function(*arguments, **named)


def pipeline(function: Optional[Callable[..., Any]] = None, *, name: str = "") -> Any:
    """Makes a driver of a function: the steps that it calls, in order, are the pipeline.

    Args:
        name: what lists and records call the pipeline; the file's name when absent.
    """
    if function is None:
        return lambda plain: Driver(plain, name)
    return Driver(function, name)
