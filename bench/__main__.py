"""``python -m bench [NAME …] [--pairs N]``: runs all benches, or those that are named.

It exits with 0, or with 1 when a side could not be run. A target that is missed is printed, and does not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

from bench import (
    build,
    chain,
    cluster,
    describe,
    export,
    fan_out,
    graph,
    install,
    large,
    load,
    look,
    peer,
    startup,
    tree,
    value,
)
from bench.turns import Broken
from toolkit.errors import ToolkitError

PAIRS = 5

_Bench = Callable[[int], None]


def _build(pairs: int) -> None:
    print("\nbuild: toolkit build beside a raw `docker run` and BuildKit's own rebuild", flush=True)
    try:
        code = build.main(pairs=pairs)
    except (subprocess.CalledProcessError, OSError, ToolkitError) as error:
        raise Broken(str(error)) from error
    if code != 0:
        raise Broken(f"it ended with {code}")


# The quick ones first.
_BENCHES: dict[str, _Bench] = {
    "help": startup.main_help,
    "process": startup.main_process,
    "data": startup.main_data,
    "value": value.main,
    "build": _build,
    "export": export.main,
    "describe": describe.main,
    "load": load.main,
    "large": large.main,
    "look": look.main,
    "tree": tree.main,
    "install": install.main,
    "chain": chain.main,
    "chain-200": chain.main_long,
    "graph": graph.main,
    "fan-out": fan_out.main,
    "peer": peer.main,
    "cluster": cluster.main,
    "cluster-shapes": cluster.main_shapes,
    "cluster-graph": cluster.main_graph,
    "cluster-client": cluster.main_client,
}


def main(argv: list[str]) -> int:
    """Runs the named benches, or all of them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures this project beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHES)} (default: all)")
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, metavar="N", help=f"times that each side is measured (default: {PAIRS})"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in _BENCHES]
    if unknown:
        parser.error(f"there is no bench {unknown[0]}: choose from {', '.join(_BENCHES)}")
    if options.pairs < 1:
        parser.error("--pairs is at least 1")
    failed = []
    for name in dict.fromkeys(options.names or _BENCHES):
        try:
            _BENCHES[name](options.pairs)
        except Broken as error:
            failed.append(name)
            print(f"\n{name}: a side did not run: {error}", file=sys.stderr, flush=True)
    if failed:
        print(f"\nwithout figures: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
