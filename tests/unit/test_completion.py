"""What a call gives back before its work is done: the step does that work, or fails and says what was not done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import itertools
import multiprocessing.pool
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from toolkit.runtime.user.completion import finish, finish_all
from toolkit.runtime.user.conversion import BadValue

done: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


def work(value: Any = 1) -> Any:
    """The body that must have run."""
    done.append(value)
    return value


def rows() -> Iterator[int]:
    yield work(1)
    yield work(2)


async def later(value: Any = 1) -> Any:
    await asyncio.sleep(0)
    return work(value)


async def stream() -> AsyncIterator[int]:
    yield await later(1)
    yield await later(2)


async def spawns() -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(later(1)), asyncio.create_task(later(2))]


async def returns_a_task() -> asyncio.Task[Any]:
    return asyncio.create_task(later(1))


@types.coroutine
def old_style() -> Generator[Any, None, Any]:
    yield
    return work(1)


class Awaitable:
    def __await__(self) -> Generator[Any, None, Any]:
        return later(1).__await__()


def submitted(ended: bool = True) -> concurrent.futures.Future[Any]:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=ended)
    return future


def of_a_loop() -> Any:
    return asyncio.new_event_loop().create_task(later(1))


def of_a_thread() -> Any:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop.create_task(later(1)) if loop.is_running() else asyncio.run_coroutine_threadsafe(later(1), loop)


@pytest.mark.parametrize(
    ("call", "result", "did"),
    [
        (rows, [1, 2], [1, 2]),
        (lambda: (work(item) for item in (1, 2)), [1, 2], [1, 2]),
        (lambda: map(work, (1, 2)), [1, 2], [1, 2]),
        (lambda: filter(work, (0, 2)), [2], [0, 2]),
        (lambda: zip(map(work, (1, 2)), "ab", strict=False), [(1, "a"), (2, "b")], [1, 2]),
        (lambda: enumerate(rows()), [(0, 1), (1, 2)], [1, 2]),
        (lambda: itertools.starmap(work, [(1,), (2,)]), [1, 2], [1, 2]),
        (lambda: iter(functools.partial(next, map(work, (1, 2, 3))), 3), [1, 2], [1, 2, 3]),
        (stream, [1, 2], [1, 2]),
        (later, 1, [1]),
        (functools.partial(later, 2), 2, [2]),
        (lambda: later(1), 1, [1]),
        (old_style, 1, [1]),
        (Awaitable, 1, [1]),
        (returns_a_task, 1, [1]),
        (spawns, [1, 2], [1, 2]),
        (of_a_loop, 1, [1]),
        (of_a_thread, 1, [1]),
        (submitted, 1, [1]),
        (lambda: submitted(ended=False), 1, [1]),
        (lambda: later(rows()), [1, 2], None),
        (lambda: concurrent.futures.ThreadPoolExecutor(2).map(work, (1, 1)), [1, 1], [1, 1]),
        (lambda: multiprocessing.pool.ThreadPool(1).apply_async(work), 1, [1]),
        (lambda: multiprocessing.pool.ThreadPool(1).imap(work, (1, 2)), [1, 2], [1, 2]),
    ],
)
def test_pending_work_is_done_and_its_result_is_the_steps(call: Callable[[], Any], result: Any, did: Any) -> None:
    # Given what a function gave back, when the step ends, its work is done, whether or not it declares a return.
    for kept in (True, False):
        done.clear()
        found = finish(call(), kept)
        if kept:
            assert found == result
        if did is not None:
            assert done == did


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda: [later(1), later(2)], [1, 2]),
        (lambda: {"a": later(1), "b": [submitted()]}, {"a": 1, "b": [1]}),
        (lambda: (rows(), map(work, [3])), ([1, 2], [3])),
        (lambda: {submitted()}, [1]),
        (lambda: map(later, (1, 2)), [1, 2]),
        (lambda: ([later(1)] for _ in range(2)), [[1], [1]]),
    ],
)
def test_pending_work_inside_what_is_returned_is_done_as_well(call: Callable[[], Any], result: Any) -> None:
    assert finish_all(call, call(), kept=True) == result
    done.clear()
    finish_all(call, call(), kept=False)
    assert done


def fails() -> Any:
    raise ValueError("seen")


async def fails_later() -> Any:
    raise ValueError("seen")


def fails_at_the_end() -> Iterator[int]:
    yield 1
    raise ValueError("seen")


@pytest.mark.parametrize(
    "call",
    [
        fails_at_the_end,
        lambda: [fails_later()],
        lambda: [concurrent.futures.ThreadPoolExecutor(1).submit(fails)],
        lambda: {"all": [map(int, ["1", "seen"])]},
    ],
)
def test_an_exception_of_pending_work_is_the_steps(call: Callable[[], Any]) -> None:
    for kept in (True, False):
        with pytest.raises(ValueError, match="seen"):
            finish_all(call, call(), kept)


@contextlib.contextmanager
def session() -> Iterator[None]:
    work()
    yield


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[None]:
    yield


class Trains:
    def __call__(self) -> Any:
        return self


class Delayed:
    def __dask_graph__(self) -> None: ...


fluent = Trains()


def ended_pool() -> Any:
    with multiprocessing.pool.ThreadPool(1) as pool:
        return pool.map_async(threading.Event().wait, [60])


@pytest.mark.parametrize(
    ("function", "call", "says"),
    [
        (session, session, "the context manager session, which nothing has entered"),
        (connection, connection, "the context manager connection, which nothing has entered"),
        (fails, lambda: work, "the function work, which nothing has called: did you mean work()?"),
        (fails, lambda: [1, fluent.__call__], "the function Trains.__call__, which nothing has called"),
        (fails, lambda: functools.partial(work, 1), "which nothing has called"),
        (fails, lambda: Trains, "the class Trains, and no instance of it: did you mean Trains()?"),
        (
            Trains,
            Trains,
            "the step's function is the class Trains: the step made an instance, and its __call__ did not run",
        ),
        (fluent, fluent, "gave back what was called"),
        (fails, lambda: itertools.count(), "itertools.count, which has no end"),
        (fails, lambda: threading.Thread(target=work), "a thread that was not started"),
        (fails, lambda: {"t": [multiprocessing.Process(target=work)]}, "a process that was not started"),
        (fails, Delayed, "a dask object that nothing has computed"),
        (fails, ended_pool, "a pool that was ended before it was there"),
    ],
)
def test_what_nothing_will_run_fails_the_step(function: Any, call: Callable[[], Any], says: str) -> None:
    with pytest.raises(BadValue) as refused:
        finish_all(function, call(), kept=False)
    assert says in str(refused.value)


def test_a_process_that_a_step_returns_has_to_have_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with pytest.raises(BadValue, match=r"a process that still runs.*wait\(\) for it"):
            finish_all(fails, process, kept=False)
    finally:
        process.communicate()
    assert finish_all(fails, process, kept=False) is process


class Model:
    """What a library's model often is: data that can be called."""

    def __call__(self) -> None: ...


def test_data_stays_what_it_is(tmp_path: Any) -> None:
    itself: list[Any] = []
    itself.append(itself)
    with open(__file__) as file:
        for value in (None, 1, [1, {"a": (2, {3})}], range(3), {1}.__iter__, Model(), file, itself, {"a": 1}.keys()):
            if not callable(value) or isinstance(value, Model):
                assert finish_all(fails, value, kept=True) is value
        assert file.readline() != ""
