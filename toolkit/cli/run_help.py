"""``toolkit run PIPELINE --help``: what the pipeline can be given."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import replace

from toolkit.cli.arguments import run_request
from toolkit.cli.output import note
from toolkit.config.environment import choose_environment
from toolkit.model.argument_types import shown
from toolkit.model.pipeline import Argument, DeclaredParameter
from toolkit.model.taken import Taken, Taker
from toolkit.report.table import print_table
from toolkit.run.preparation import Preparation, prepare

_MOST_STEPS = 5
"""Steps that are listed beside a parameter."""


def run_help(options: argparse.Namespace) -> int:
    """Prints the parameters of a pipeline. It is described as for a run, and nothing is run."""
    # What a run would be given is not asked for, and need not be right.
    request = run_request(argparse.Namespace(**{**vars(options), "param": [], "parameters": None}))
    environment, _ = choose_environment(options.env, request.project.config)
    preparation = prepare(replace(request, environment=environment), note, parameters_given=False)
    print(
        f"usage: toolkit run {options.pipeline} [--param NAME=VALUE]… [-p FILE] (`toolkit run --help` has the options)"
    )
    print()
    _print_parameters(preparation)
    return 0


def _print_parameters(preparation: Preparation) -> None:
    declared, taken = preparation.declared, preparation.taken
    rows = _of_takers(taken) if declared is None else _of_declared(declared, taken)
    steps = [path for path in taken.of_everything if path] if declared is None else []
    if rows:
        print("parameters:")
        print_table([("NAME", "TYPE", "DEFAULT", "TAKEN BY", "DESCRIPTION"), *rows])
    elif not steps:
        print("it takes no parameters")
    if steps:
        print(f"{'any other' if rows else 'any'} name is taken by {_listed(steps)}")


def _of_declared(declared: tuple[DeclaredParameter, ...], taken: Taken) -> list[tuple[str, ...]]:
    everything = [path for path in taken.of_everything if path]
    rows: list[tuple[str, ...]] = []
    for parameter in declared:
        steps = [_step(taker) for taker in taken.takers if taker.name == parameter.name]
        by = _listed([*steps, *everything]) or "nothing"
        rows.append((parameter.name, _type(parameter), _default(parameter, True), by, parameter.description))
    return rows


def _of_takers(taken: Taken) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in taken.names():
        takers = [taker for taker in taken.takers if taker.name == name]
        types = dict.fromkeys(_type(taker.known) for taker in takers)
        defaults = dict.fromkeys(_default(taker.known, taker.required) for taker in takers)
        rows.append((name, _either(types), _either(defaults), _listed([_step(taker) for taker in takers]), ""))
    return rows


def _step(taker: Taker) -> str:
    return taker.path + (f" (as {taker.argument})" if taker.argument else f" ({taker.use})" if taker.use else "")


def _type(argument: Argument) -> str:
    return shown(argument.type) if argument.type is not None else argument.annotation


def _default(argument: Argument, is_required: bool) -> str:
    if argument.default is not None:
        return json.dumps(argument.default[0], ensure_ascii=False)
    return "required" if is_required else ""


def _either(texts: Iterable[str]) -> str:
    return " or ".join(text for text in texts if text)


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _MOST_STEPS} more" if len(paths) > _MOST_STEPS else ""
    return ", ".join(paths[:_MOST_STEPS]) + more
