"""What a driver is traced with: handles in place of values, and the steps that it has called, which decide what a handle means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Optional

from toolkit.sdk.refusal import Refusal, user_line
from toolkit.sdk.steps import Step, check_constant


class Handle:
    """Stands for a value that a step will return, or that the run is given, while a driver is traced.

    It can be passed to steps and nothing else, because it has no value yet.

    Args:
        step: the path, from the driver of ``trace``, of the step that returns it; None for an argument of the driver's.
        trace: the trace of the driver that it belongs to; None where that makes no difference.
    """

    __toolkit_followed__ = True

    def __init__(self, name: str, step: Optional[str], trace: Optional[Trace] = None) -> None:
        self._name = name
        self._step = step
        self._trace = trace

    def __repr__(self) -> str:
        return f"<the value {self._name} of a later run>"

    def _no_value(self, *_: Any, **__: Any) -> NoReturn:
        raise Refusal(self._without())

    def _without(self) -> str:
        """The sentence for a use that needs the value."""
        source = f"of the step {self._step}" if self._step is not None else "of the run"
        return (
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


class Ended(Handle):
    """Stands for a step that declares no returns. In a graph other steps can be after it.

    None in its place would be a value, which a step would take.
    """

    def __init__(self, step: str, trace: Trace) -> None:
        super().__init__("", step, trace)

    def __repr__(self) -> str:
        return f"<the end of the step {self._step}>"

    def _without(self) -> str:
        in_a_graph = self._trace is not None and self._trace.is_graph
        return (
            f"the step {self._step} declares no returns, so its call gives no value: name what it returns with returns=[…]"
            + (", or give the call to after" if in_a_graph else "")
        )


class Trace:
    """The steps that a driver has called so far, and for each name the newest step that returns it.

    Args:
        outer: the trace of the driver that called this one; None when no driver did.
        inside: whether the driver is a branch, a handler or called by another, so that its arguments are no parameters of the
            run.
        arguments: the names of the driver's arguments.
        order: of the pipeline that it makes.
    """

    def __init__(self, outer: Optional[Trace], inside: bool, arguments: tuple[str, ...], order: str) -> None:
        self.outer = outer
        self.inside = inside
        self.arguments = arguments
        self.is_graph = order == "graph"
        self.steps: list[Step] = []
        self.newest: dict[str, str] = {}
        self._kept: set[str] = set()
        """Names of steps of outer drivers, which no step of this one gets."""
        self.following: list[str] = []
        """The steps that each step is after which is called now."""
        self._called: list[tuple[Any, list[str]]] = []
        """Of each step what was called, and the names that it may return."""
        self._by_name: list[tuple[str, int, Optional[str], Optional[int]]] = []
        """What steps of a graph take by name alone: the name, the position, the step that it is meant to be of, and the line."""
        self._outer_steps: list[tuple[str, Optional[int]]] = []
        """The steps of outer drivers that steps name which are inside this one, each with the line."""

    def unique(self, name: str) -> str:
        taken = {step.name for step in self.steps} | self._kept
        number = 2
        chosen = name
        while chosen in taken:
            chosen, number = f"{name}-{number}", number + 1
        return chosen

    def keep_names_of(self, values: Iterable[Any]) -> None:
        """Gives no step the name of one whose value the driver is given: of a name, the nearest step is the one that is meant."""
        for value in values:
            if isinstance(value, Handle) and value._step is not None and self.around(value._trace):
                self._kept.add(value._step.partition("/")[0])

    def newest_source(self, name: str) -> Optional[tuple[Trace, str]]:
        """The newest step that returns the name, with its driver's trace; None when no step does."""
        trace: Optional[Trace] = self
        while trace is not None:
            if name in trace.newest:
                return trace, trace.newest[name]
            trace = trace.outer
        return None

    def around(self, trace: Optional[Trace]) -> list[Trace]:
        """The traces from this one to one around it, if any of these is a graph; else none."""
        found = [self]
        while found[-1] is not trace:
            outer = found[-1].outer
            if outer is None:
                return []
            found.append(outer)
        return found if any(one.is_graph for one in found) else []

    def add(self, step: Step, names: list[str], called: Any) -> tuple[Handle, ...]:
        """Adds a step that may return these names.

        Args:
            called: what the driver called for it.
        """
        step.after = list(
            dict.fromkeys([*self.names_of(f"after of the step {step.name}", step.after), *self.following])
        )
        self.steps.append(step)
        self._called.append((called, names))
        for name in names:
            self.newest[name] = step.name
        return tuple(Handle(name, step.name, self) for name in names)

    def names_of(self, owner: str, given: Sequence[Any]) -> list[str]:
        """The names of the steps that an ``after`` holds. What was called several times is all these steps.

        Args:
            owner: what has it, for messages.
        """
        found: list[str] = []
        for item in given:
            if isinstance(item, str):
                found.append(item)
            elif isinstance(item, Handle):
                if item._trace is not self or item._step is None:
                    raise Refusal(
                        f"{owner} holds {item!r}, which no step of this driver returns: a step can only be after steps beside it"
                    )
                found.append(item._step.partition("/")[0])
            else:
                calls = [
                    step.name
                    for step, (called, _) in zip(self.steps, self._called)
                    if called is item or getattr(called, "pipeline", None) is item
                ]
                if not calls:
                    name = getattr(item, "name", "") or getattr(item, "__name__", "a step")
                    raise Refusal(
                        f"{owner} holds {name}, which this driver has not called before: name the step as text"
                    )
                found += calls
        return found

    def returning(self, name: str, but: int = -1) -> list[str]:
        """The steps that may return a name, without the one at a position."""
        return [
            step.name
            for position, (step, (_, names)) in enumerate(zip(self.steps, self._called))
            if name in names and position != but
        ]

    def take_by_name(self, name: str, step: Optional[str]) -> None:
        """Notes that the step which is added next is to find the value of ``step`` under a name, or one of outside: see check.

        Args:
            step: None where the value is one of outside.
        """
        if not self.is_graph and name in self.newest and self.newest[name] != step:
            raise _finds_another(name, self.newest[name])
        if self.is_graph:
            self._by_name.append((name, len(self.steps), step, user_line()))

    def take_from_outside(self, step: str) -> None:
        """Notes that a step inside of the driver names a step of an outer one: see check."""
        self._outer_steps.append((step, user_line()))

    def check(self) -> None:
        """Refuses what a step of a graph would find elsewhere than the driver says, once all steps are called.

        Raises:
            ValueError: another step than the one that was meant returns a name, or has a name.
        """
        for name, position, meant, line in self._by_name:
            others = [step for step in self.returning(name, but=position) if step != meant]
            if others:
                raise _finds_another(name, others[0], line)
        for step, line in self._outer_steps:
            if any(own.name == step for own in self.steps):
                raise Refusal(
                    f"a value of the step {step} is given to an inner driver, which has a step {step} too: give one of them "
                    "another name",
                    line,
                )


def _finds_another(name: str, step: str, line: Optional[int] = None) -> Refusal:
    return Refusal(
        f"{name} is given to a step of an inner pipeline, which finds a newer {name} under that name (of the step "
        f"{step}): return one of the two under another name",
        line,
    )


def name_of(trace: Trace, step: str, value: Handle, key: str) -> str:
    """The text by which a composite reads a value; a composite has no bindings."""
    if isinstance(value, Ended):
        value._no_value()
    around = trace.around(value._trace)
    if around and value._step is not None and key != "break_on":
        return _of_step(around, value)
    if around:
        _take_by_name(around, value)
        return value._name
    if binding_of(trace, value._name, value) is not None:
        raise Refusal(
            f"the step {step} reads {value._name}, but another step returns a newer {value._name} before it: return one of the two "
            "under another name"
        )
    return value._name


def binding_of(trace: Trace, argument: str, value: Any) -> Any:
    """The binding of an argument; None where the parameter of its own name is the same value."""
    if not isinstance(value, Handle):
        _refuse_inner_handles(argument, value)
        check_constant(argument, value)
        return {"value": value}
    name, step = value._name, value._step
    if isinstance(value, Ended):
        value._no_value()
    around = trace.around(value._trace)
    if around and step is not None:
        return _of_step(around, value)
    if around and not around[-1].inside:
        return {"parameter": name}
    if around:
        _take_by_name(around, value)
        return None if name == argument else name
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
        raise _finds_another(name, newest[1] if newest is not None else "none")
    return name


def _of_step(around: Sequence[Trace], value: Handle) -> str:
    """How a graph, or what is inside one, names the value of a step: by the step, which is one of the last trace."""
    step = str(value._step)
    for trace in around[:-1]:
        trace.take_from_outside(step.partition("/")[0])
    return f"{step}.{value._name}"


def _take_by_name(around: Sequence[Trace], value: Handle) -> None:
    """Where only a name can be given, sees to it that it means the value: one of the last trace, or of outside of it."""
    for trace in around:
        trace.take_by_name(value._name, value._step if trace is around[-1] else None)


def _refuse_inner_handles(argument: str, value: Any) -> None:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        if isinstance(item, Ended):
            item._no_value()
        if isinstance(item, Handle):
            raise Refusal(
                f"the argument {argument} holds {item._name} inside a {type(value).__name__}: pass it by itself"
            )
        _refuse_inner_handles(argument, item)


def is_seen(trace: Trace, name: str) -> bool:
    """Whether a step before returns the name, or a driver around takes it."""
    outer: Optional[Trace] = trace
    while outer is not None:
        if name in outer.newest or name in outer.arguments:
            return True
        outer = outer.outer
    return False


def handle_of(trace: Trace, name: str) -> Handle:
    """The handle of the value that a driver sees under a name."""
    source = trace.newest_source(name)
    steps = source[0].returning(name) if source is not None and source[0].is_graph else []
    if len(steps) > 1:
        raise Refusal(
            f"the call of an inner driver does not give it its argument {name}, which both {steps[0]} and {steps[-1]} return: give "
            "it one of the two"
        )
    return Handle(name, None, trace) if source is None else Handle(name, source[1], source[0])


def from_inside(value: Any, inner: Trace, outer: Trace, name: str) -> Any:
    """What an inner driver returned, with its handles replaced by handles of the outer driver."""
    if isinstance(value, Handle):
        if value._trace is not inner or value._step is None:
            return value
        if isinstance(value, Ended):
            return Ended(f"{name}/{value._step}", outer)
        is_only = not inner.is_graph or len(inner.returning(value._name)) == 1
        if is_only and inner.newest.get(value._name) == value._step:
            return Handle(value._name, name, outer)
        return Handle(value._name, f"{name}/{value._step}", outer)
    if isinstance(value, (list, tuple)):
        return tuple(from_inside(item, inner, outer, name) for item in value)
    if isinstance(value, dict):
        return {key: from_inside(item, inner, outer, name) for key, item in value.items()}
    return value
