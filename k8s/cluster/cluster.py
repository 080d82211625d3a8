#!/usr/bin/env python3
"""A Kubernetes with Argo Workflows on this machine alone: see README.md beside this file.

    cluster.py up                     start it, unless it is up
    cluster.py down                   end it and remove all that is left of it
    cluster.py status [--json]        print its addresses and files; exits with 1 when it is not up
    cluster.py build [kwok]           build its programs, or kwok, into the cache
    cluster.py run COMMAND...         start it, run a command, and end it again unless it was up before
    cluster.py volume NAMESPACE CLAIM make a claim that any number of pods can write to; prints the folder behind it

Environment:
    TOOLKIT_TEST_KUBECONFIG: another cluster to use; nothing is started then.
    TOOLKIT_TEST_REGISTRY: that cluster's registry, HOST:PORT/PREFIX.
    XDG_STATE_HOME, XDG_CACHE_HOME: where its state and its programs lie, below toolkit/cluster.

It exits with 3 and one sentence when the infrastructure fails.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
from typing import NoReturn

from testcluster import build, kube, lifecycle
from testcluster.places import Failed, kubeconfig, say


def main() -> int:
    parser = argparse.ArgumentParser(description="A Kubernetes with Argo Workflows on this machine alone.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it, unless it is up")
    commands.add_parser("down", help="end it and remove all that is left of it")
    status = commands.add_parser("status", help="print its addresses and files; exits with 1 when it is not up")
    status.add_argument("--json", action="store_true", help="as JSON, for programs")
    building = commands.add_parser("build", help="build its programs into the cache")
    building.add_argument("part", nargs="?", choices=["kwok"], help="a part that only some tests need")
    volume = commands.add_parser("volume", help="make a claim that any number of pods can write to")
    volume.add_argument("namespace")
    volume.add_argument("claim")
    running = commands.add_parser("run", help="start it, run a command, and end it again unless it was up before")
    running.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, ended)  # as Ctrl-C: a start that is not complete is undone
    try:
        if arguments.command == "up":
            up()
        elif arguments.command == "down":
            say("it is down" if lifecycle.down() else "it was not up")
        elif arguments.command == "status":
            return show(arguments.json)
        elif arguments.command == "run":
            return run(arguments.words)
        elif arguments.command == "build":
            parts = [build.kwok()] if arguments.part else build.needed()
            build.ensure(parts)
            print(*(part.folder() for part in parts), sep="\n")
        else:
            if kube.foreign():
                raise Failed(
                    "volumes can be made only on the cluster of this machine, but TOOLKIT_TEST_KUBECONFIG names another"
                )
            print(kube.make_volume(kube.own(), arguments.namespace, arguments.claim))
    except Failed as failed:
        print(f"cluster: {failed}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def ended(*_: object) -> NoReturn:
    raise SystemExit(143)


def up() -> None:
    lifecycle.up()
    foreign = kube.foreign()
    print(f"export KUBECONFIG={shlex.quote(str(foreign.kubeconfig if foreign else kubeconfig()))}")


def run(words: list[str]) -> int:
    """Run a command and return its exit code; a cluster that was up stays up."""
    if not words:
        raise Failed("name a command to run")
    was_up = lifecycle.status()["up"]
    try:
        lifecycle.up()
        return subprocess.run(words).returncode
    except OSError as error:
        raise Failed(f"{words[0]} can't be run: {error.strerror}") from None
    finally:
        if not was_up and kube.foreign() is None:
            lifecycle.down()


def show(as_json: bool) -> int:
    status = lifecycle.status()
    if as_json:
        print(json.dumps(status, indent=2))
    elif status["up"]:
        values = dict(status)
        for name in ("kubeconfig", "context", "registry", "containerd", "node", "kubectl", "argo_version"):
            print(f"{name:13} {values[name] or '-'}")
    elif status["ended"]:
        print("broken: " + ", ".join(f"{name} ended with {code}" for name, code in status["ended"].items()))
    else:
        print("not up")
    return 0 if status["up"] else 1


if __name__ == "__main__":
    sys.exit(main())
