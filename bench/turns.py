"""Measures sides in turn, and prints their times, medians and spread, and their ratio beside its target."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAST_WORDS = 15
_TIME_LIMIT = 1800.0


class Broken(Exception):
    """A side did not run, so there is nothing to compare. The message says why."""


@dataclass(frozen=True)
class Side:
    """One of the things that are compared.

    Attributes:
        measure: does the work once and returns its time, in seconds.
    """

    name: str
    measure: Callable[[], float]


def environment(**more: str) -> dict[str, str]:
    """This process's environment variables, without those that choose another environment, project or interpreter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOOLKIT_", "RUNNABLE_"))}
    kept.pop("VIRTUAL_ENV", None)
    return {**kept, **more}


def seconds(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None, parts: int = 1) -> float:
    """The seconds from a command's start to its end, divided by ``parts``.

    Raises:
        Broken: it can't be started, ends with another code than 0, or does not end.
    """
    began = time.monotonic()
    run(command, folder, variables)
    return (time.monotonic() - began) / parts


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Runs a command and returns its standard output.

    Raises:
        Broken: it can't be started, ends with another code than 0, or does not end.
    """
    shown = " ".join(command[:6])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(variables) if variables is not None else environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME_LIMIT,
        )
    except OSError as error:
        raise Broken(f"`{shown}` can't be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Broken(f"`{shown}` did not end within {_TIME_LIMIT:g} s") from error
    if done.returncode != 0:
        last = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()[-_LAST_WORDS:])
        raise Broken(f"`{shown}` ended with exit code {done.returncode}\n{last}")
    return done.stdout


def in_turn(sides: Sequence[Side], pairs: int) -> list[list[float]]:
    """The times of each side.

    Every other round has the reverse order. Other load on the machine then affects all sides alike, and no side always
    follows the same other one.
    """
    times: list[list[float]] = [[] for _ in sides]
    for number in range(pairs):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for position in order:
            times[position].append(sides[position].measure())
    return times


def show(title: str, pairs: int) -> None:
    print(f"\n{title}; {pairs} in turn, medians (least to most)", flush=True)


def show_times(name: str, times: Sequence[float]) -> None:
    print(f"  {name:<44} {spread(times)}", flush=True)


def show_ratio(name: str, own: Sequence[float], other: Sequence[float], bound: float | None) -> None:
    """Prints the ratio of the medians, the least and the greatest ratio of a pair, and the target if there is one."""
    ratio = statistics.median(own) / statistics.median(other)
    ratios = [first / second for first, second in zip(own, other, strict=True)]
    target = "no target"
    if bound is not None:
        target = f"target at most {bound:g}: {'met' if ratio <= bound else 'MISSED'}"
    print(f"  {name:<44} {ratio:.2f} (pairs {min(ratios):.2f} to {max(ratios):.2f})  {target}", flush=True)


def show_difference(name: str, own: Sequence[float], other: Sequence[float], bound: float) -> None:
    """Prints the difference of the medians, the least and the greatest one of a pair, and the target, in seconds."""
    difference = statistics.median(own) - statistics.median(other)
    differences = [first - second for first, second in zip(own, other, strict=True)]
    pairs = f"pairs {min(differences) * 1000:.1f} to {max(differences) * 1000:.1f}"
    met = "met" if difference <= bound else "MISSED"
    print(f"  {name:<44} {difference * 1000:.1f} ms ({pairs})  target at most {bound * 1000:g} ms: {met}", flush=True)


def spread(times: Sequence[float]) -> str:
    return f"{_ms(statistics.median(times))} ms ({_ms(min(times))} to {_ms(max(times))})"


def _ms(time_in_seconds: float) -> str:
    return f"{time_in_seconds * 1000:.1f}" if time_in_seconds < 0.1 else f"{time_in_seconds * 1000:.0f}"
