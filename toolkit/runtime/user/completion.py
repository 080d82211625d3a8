"""What a call gives back before its work is done: the step does that work before it ends.

An awaitable is awaited, a generator and a lazy iterator are run to their end, and a future is waited for; the same holds for
what they give, and for what lies inside lists, tuples, sets and dicts. What nothing in the step will ever do fails it. Where the
function itself shows that a call of it runs nothing, it is refused when the pipeline is described.
"""

from __future__ import annotations

import os

from . import imports
from .conversion import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_GENERATOR = 0x20 | 0x200
"""The flags in the code of a function with ``yield`` (``inspect.CO_GENERATOR`` and ``CO_ASYNC_GENERATOR``)."""
_ITERABLE_COROUTINE = 0x100
"""The flag in the code of a generator that ``types.coroutine`` has made awaitable."""
_ENDLESS = ("count", "cycle", "repeat")
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_FUTURE_METHODS = ("result", "done", "add_done_callback")


def delayed_call(function: Callable[..., Any], code: str) -> str:
    """Why a call of the function runs nothing of its body, as a sentence; empty for all others.

    Args:
        code: the folder that the file in the sentence is named relative to.
    """
    called: Any = function
    while not hasattr(called, "__code__"):
        if hasattr(called, "__func__"):
            called = called.__func__
        elif _is(called, "functools.partial"):
            called = called.func
        else:
            kind = type(called)
            if isinstance(function, type) or not hasattr(getattr(kind, "__call__", None), "__code__"):  # noqa: B004
                return ""
            called = kind.__call__
    made: Any = getattr(called, "__wrapped__", None)
    if called.__globals__.get("__name__") == "contextlib" and hasattr(made, "__code__"):
        body, what = made.__code__, "is a context manager"
        remedy = "enter it by `with` in a function, and make that the step"
    elif called.__code__.co_flags & _GENERATOR and not called.__code__.co_flags & _ITERABLE_COROUTINE:
        body, what, remedy = called.__code__, "has a yield", "return a list of what it yields"
    else:
        return ""
    place = f"{os.path.relpath(body.co_filename, code)}:{body.co_firstlineno}"
    return (
        f"the function {called.__qualname__} ({place}) {what}, so that a call of it runs nothing of its body: {remedy}"
    )


def finish(result: Any, kept: bool = True) -> Any:
    """What a call gave back, once it is no longer pending itself. A generator's values are a list.

    Args:
        kept: whether anybody will see the values; else those of a generator are not collected.

    Raises:
        BadValue: its work can't be done here. Exceptions of the user's code pass through.
    """
    while True:
        is_asynchronous = _is_asynchronous(result)
        if is_asynchronous and _loop_of(result) is None:
            result = imports.standard_module("asyncio").run(_finish_in_loop(result, kept))
        elif is_asynchronous:
            result = _result_of_loop(result)
        elif _is_future(result):
            result = result.result()
        elif _is(result, "multiprocessing.pool.ApplyResult"):
            _check_pool(result)
            result = result.get()
        elif _is_lazy(result):
            return _run_out(result, kept)
        else:
            return result


def finish_all(function: Callable[..., Any], result: Any, kept: bool) -> Any:
    """The same for all that lies inside a result of ``function`` as well. It looks at every item of it.

    Raises:
        BadValue: something in it was only made, and nothing will run it.
    """
    result = finish(result, kept)
    if isinstance(function, type) and type(result) is function and callable(result):
        name = function.__qualname__
        raise BadValue(
            f"the step's function is the class {name}: the step made an instance, and its __call__ did not run; give the step "
            f"a function that calls {name}(…)(…)"
        )
    if result is function and not isinstance(result, _FUNCTIONS):
        raise BadValue("the call of the step's function gave back what was called, so that nothing of it may have run")
    return _finish_inside(result, kept, set())


def _finish_inside(value: Any, kept: bool, around: set[int]) -> Any:
    _refuse_unrun(value)
    if not isinstance(value, (list, tuple, set, frozenset, dict)) or id(value) in around:
        return value
    items = list(value.values() if isinstance(value, dict) else value)
    if _PLAIN.issuperset(map(type, items)):
        return value
    around.add(id(value))
    finished = [_finish_inside(finish(item, kept), kept, around) for item in items]
    around.discard(id(value))
    return _with_items(value, items, finished)


def _with_items(container: Any, before: list[Any], finished: list[Any]) -> Any:
    """A container with its items finished: the same one where they are what they were, and a set as a list."""
    if all(new is old for new, old in zip(finished, before)):
        return container
    if isinstance(container, dict):
        return dict(zip(container, finished))
    return tuple(finished) if isinstance(container, tuple) else finished


# --- what is asynchronous -------------------------------------------------------------------------------------------


def _is_asynchronous(value: Any) -> bool:
    """Whether it can be awaited, or is an asynchronous generator. A class is neither."""
    kind = type(value)
    if hasattr(kind, "__await__") and not (_is_future(value) and not hasattr(kind, "get_loop")):
        return True
    code = getattr(value, "gi_code", None) if kind.__name__ == "generator" else None
    return (code is not None and bool(code.co_flags & _ITERABLE_COROUTINE)) or kind.__name__ == "async_generator"


def _loop_of(value: Any) -> Any:
    """The event loop that an asyncio Future or Task belongs to; None for all else."""
    return value.get_loop() if hasattr(type(value), "get_loop") and _is_future(value) else None


def _result_of_loop(future: Any) -> Any:
    """The result of a Future or a Task that belongs to an event loop of the user's own."""
    loop = future.get_loop()
    if future.done():
        return future.result()
    if loop.is_running():
        asyncio = imports.standard_module("asyncio")
        return asyncio.run_coroutine_threadsafe(_await(future), loop).result()
    if loop.is_closed():
        raise BadValue("the step returned a task whose event loop was closed before it was done: await it in the step")
    return loop.run_until_complete(future)


async def _await(value: Any) -> Any:
    return await value


async def _finish_in_loop(value: Any, kept: bool) -> Any:
    """Awaits what can be awaited here. While tasks of the loop are left, which end with it, also what lies inside a container."""
    asyncio = imports.standard_module("asyncio")
    loop = asyncio.get_running_loop()
    while _is_asynchronous(value) and _loop_of(value) in (None, loop):
        if type(value).__name__ == "async_generator":
            values = []
            async for item in value:
                finished = await _finish_in_loop(item, kept)
                if kept:
                    values.append(finished)
            return values
        value = await value
    if isinstance(value, (list, tuple, set, dict)) and len(asyncio.all_tasks()) > 1:
        items = list(value.values() if isinstance(value, dict) else value)
        return _with_items(value, items, [await _finish_in_loop(item, kept) for item in items])
    return value


# --- what is lazy ---------------------------------------------------------------------------------------------------


def _is_future(value: Any) -> bool:
    return all(callable(getattr(type(value), method, None)) for method in _FUTURE_METHODS)


def _is_lazy(value: Any) -> bool:
    """Whether it is an iterator that computes each item when it is asked for it. An open file is none."""
    kind = type(value)
    if _is(value, "multiprocessing.pool.IMapIterator"):
        return True
    return hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools")


def _run_out(iterator: Any, kept: bool) -> Any:
    kind = type(iterator)
    if kind.__module__ == "itertools" and kind.__name__ in _ENDLESS:
        raise BadValue(
            f"the step returned itertools.{kind.__name__}, which has no end: return a list of what is needed"
        )
    if hasattr(iterator, "_pool"):
        _check_pool(iterator)
    if kept:
        return [finish(item) for item in iterator]
    for item in iterator:
        _finish_inside(finish(item, False), False, set())
    return None


def _check_pool(result: Any) -> None:
    """Refuses what a pool will never give because it was ended, as at the end of its ``with``."""
    state = getattr(getattr(result, "_pool", None), "_state", None)
    is_ready = hasattr(result, "ready") and result.ready()
    if state == "TERMINATE" and not is_ready:
        raise BadValue(
            "the step returned a result of a pool that was ended before it was there: get it inside the `with`"
        )


# --- what nothing will run ------------------------------------------------------------------------------------------


class _Example:
    def method(self) -> None: ...


_FUNCTIONS = (type(finish), type(len), type(_Example().method))
"""The types of functions, of those that are built in, and of methods."""


def _is(value: Any, name: str) -> bool:
    """Whether it is of a class, or of one that inherits it, by the class's full name: the module may not be imported here."""
    return any(f"{kind.__module__}.{kind.__qualname__}" == name for kind in type(value).__mro__)


def _refuse_unrun(value: Any) -> None:
    """Refuses what was only made, and is dropped or can't be stored. (Data of one's own may be all that a step wants to make.)

    Raises:
        BadValue: it is a function, a context manager, a thread or a process that was not run, or a lazy table.
    """
    if type(value) in _PLAIN:
        return
    if isinstance(value, type):
        name = value.__qualname__
        raise BadValue(f"the step returned the class {name}, and no instance of it: did you mean {name}()?")
    if isinstance(value, _FUNCTIONS):
        name = value.__qualname__
        raise BadValue(f"the step returned the function {name}, which nothing has called: did you mean {name}()?")
    if _is(value, "functools.partial"):
        raise BadValue(f"the step returned {value!r}, which nothing has called: call it, and return what it gives")
    if _is(value, "contextlib._GeneratorContextManagerBase"):
        made_by = getattr(value, "gen", None)
        raise BadValue(
            f"the step returned the context manager {getattr(made_by, '__qualname__', '')}, which nothing has entered, so that "
            "its body did not run: enter it by `with` in a function, and make that the step"
        )
    if _is(value, "threading.Thread") and (value.ident is None or (value.daemon and value.is_alive())):
        state = "that was not started" if value.ident is None else "that still runs, and ends with the step"
        raise BadValue(f"the step returned a thread {state}: start() and join() it in the step")
    if _is(value, "multiprocessing.process.BaseProcess") and (value.pid is None or (value.daemon and value.is_alive())):
        state = "that was not started" if value.pid is None else "that still runs, and ends with the step"
        raise BadValue(f"the step returned a process {state}: start() and join() it in the step")
    if _is(value, "subprocess.Popen") and value.poll() is None:
        raise BadValue("the step returned a process that still runs, and ends with the step: wait() for it in the step")
    if hasattr(type(value), "__dask_graph__"):
        raise BadValue("the step returned a dask object that nothing has computed: call its compute() in the step")
    if type(value).__name__ == "LazyFrame" and hasattr(type(value), "collect"):
        raise BadValue("the step returned a LazyFrame that nothing has computed: call its collect() in the step")


__all__ = ["finish", "finish_all"]
