"""The commands and their options. The module that does a command's work is imported when the command is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

from toolkit import errors
from toolkit.report.ending import exit_code_of
from toolkit.report.streams import goes_to_files

_DESCRIPTION = """\
Packages your code into an image and runs each step of a pipeline as a container: on this machine, or on Kubernetes."""

_EPILOG = """\
exit codes: 0 all steps succeeded, 1 a step failed, 2 bad input, 3 engine, cluster or disk, 130 cancelled,
141 the reader of standard output left before it had all of it"""


class _RunHelp(argparse.Action):
    """``--help`` of a command that is about a pipeline: with the pipeline, it lists what that takes.

    So it can't end the parsing, as argparse's own does.
    """

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings, dest, nargs=0, default=False, help="show this help; with a pipeline, its parameters"
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.help = parser


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        # `--n 4`, meant as a parameter, would be `--namespace 4`, and the run would have the default of n.
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise errors.BadInput(f"{message} (see `{self.prog} --help`)")


def run(argv: Sequence[str]) -> int:
    """Runs one command line and writes all of its output; returns its exit code."""

    def work() -> int:
        code = _call(argv)
        # Only now it is known whether the output could be written.
        sys.stdout.flush()
        return code

    if not goes_to_files() or _prints_data(argv):
        return exit_code_of(work)
    from toolkit.build.code.own_outputs import CommandOutputs
    from toolkit.cli.arguments import on_project

    outputs = CommandOutputs()
    on_project.append(outputs.announce)
    try:
        code = exit_code_of(work)
    finally:
        on_project.remove(outputs.announce)
    try:
        outputs.record(anew=code == errors.SUCCEEDED)
    except KeyboardInterrupt:
        # They are code then. The command itself has ended as it has.
        pass
    return code


def _prints_data(argv: Sequence[str]) -> bool:
    """Whether the output of a command may be the user's own data or code, which stays code also where it is a file."""
    command = argv[0] if argv else ""
    return command in ("init", "lock", "migrate") or (
        command == "catalog" and any(word.partition("=")[0] == "--get" for word in argv)
    )


def _as_parameter(argv: Sequence[str], unknown: str) -> str:
    """How a parameter is given, where a word that no option takes looks like one: ``--n 3``, ``n=3``, ``-p n 3``."""
    name = unknown.lstrip("-").partition("=")[0]
    before = argv[max(0, argv.index(unknown) - 2) : argv.index(unknown)]
    if len(before) == 2 and before[0] in ("--param", "-p") and before[1].isidentifier():
        return f"; a parameter is given with --param {before[1]}={unknown}"
    is_named = unknown.startswith("--") or "=" in unknown
    return f"; a parameter is given with --param {name}=…" if is_named and name.isidentifier() else ""


def _call(argv: Sequence[str]) -> int:
    parser = _parser(argv[0] if argv else "")
    try:
        options, unknown = parser.parse_known_args(argv)
        if unknown:
            remedy = _as_parameter(argv, unknown[0]) if hasattr(options, "param") else ""
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{remedy}")
    except SystemExit:
        # It has printed the help or the version.
        return errors.SUCCEEDED
    if options.command is None:
        parser.print_help()
        return errors.BAD_INPUT
    if getattr(options, "help", False):
        if options.pipeline is None:
            options.help.print_help()
            return errors.SUCCEEDED
        from toolkit.cli.run_help import run_help

        return run_help(options)
    return int(options.call(options))


def _parser(word: str) -> argparse.ArgumentParser:
    """The parser of a command line that begins with this word. Where that is a command, it knows no other: each takes its time."""
    parser = _Parser(
        prog="toolkit", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=parser.prog)
    adds = (
        _add_init,
        _add_build,
        _add_image,
        _add_lock,
        _add_run,
        _add_retry,
        _add_compile,
        _add_compose,
        _add_runs,
        _add_show,
        _add_logs,
        _add_catalog,
        _add_fetch,
        _add_cancel,
        _add_diff,
        _add_doctor,
        _add_migrate,
    )
    for add in [one for one in adds if one.__name__ == f"_add_{word}"] or adds:
        add(commands)
    return parser


def _version() -> str:
    from toolkit import __version__

    return f"toolkit {__version__}"


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _command(commands: _Commands, name: str, help_text: str, own_help: type[argparse.Action] | None = None) -> _Parser:
    """Adds a command. Its work is the function of its name in the module of its name, which is imported when it is called.

    Args:
        own_help: what ``--help`` does, where it is not argparse's own.
    """

    def call(options: argparse.Namespace) -> int:
        from importlib import import_module

        work: Callable[[argparse.Namespace], int] = getattr(import_module(f"toolkit.cli.{name}"), name)
        return work(options)

    parser: _Parser = commands.add_parser(name, help=help_text, description=help_text, add_help=own_help is None)
    if own_help is not None:
        parser.add_argument("-h", "--help", action=own_help)
    parser.set_defaults(call=call)
    return parser


def _with_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help="configuration (default: toolkit.yaml or pyproject.toml upward)"
    )


def _with_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig (default: the configuration's, else the current)"
    )
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        help="namespace of the cluster (default: the configuration's, else the context's)",
    )


def _with_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env", metavar="ENV", help="look only there: local, process or argo (default: wherever the run is)"
    )
    _with_cluster(parser)


def _with_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        "--parameters",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML or JSON file of parameters; of several, the later ones win, also inside of dictionaries",
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter, or NAME.KEY=VALUE for what is in it; the value is JSON, or else text",
    )


def _with_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")


def _add_init(commands: _Commands) -> None:
    parser = _command(commands, "init", "make a new project that runs")
    parser.add_argument("folder", nargs="?", default=".", help="where (default: here)")


def _add_build(commands: _Commands) -> None:
    parser = _command(commands, "build", "build the image of this code and print its reference")
    _with_config(parser)
    parser.add_argument("--explain", action="store_true", help="say what changed since the last build")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[,…]",
        help="the platform of the image, as linux/arm64; several with --push (default: build.platform, else the engine's)",
    )
    parser.add_argument(
        "--push", action="store_true", help="push the layers that the registry lacks; the reference then has the digest"
    )
    parser.add_argument(
        "--load",
        action="store_true",
        help="load the layers that a node lacks (containerd, kind, k3d, minikube) into it",
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="install everything again, and choose again what nothing locks"
    )
    parser.add_argument(
        "--ssh",
        metavar="default[=PATH]",
        help="log in to Git repositories by this machine's SSH agent, or by the key or socket PATH (build.network.ssh)",
    )
    parser.add_argument(
        "--lock-base",
        action="store_true",
        help="write the base image's digest into the configuration file, and build on it",
    )
    parser.add_argument(
        "--sbom",
        metavar="FILE",
        help="write a bill of materials (CycloneDX JSON); with --push it is attached to the image",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write the image as an OCI archive; into a folder (DIR/), only the blobs that it lacks",
    )
    parser.add_argument("--context", metavar="NAME", help="the node's context in the kubeconfig (default: the current)")
    parser.add_argument("--node", metavar="SOCKET", help="the node's containerd socket (default: CONTAINERD_ADDRESS)")


def _add_image(commands: _Commands) -> None:
    parser = _command(commands, "image", "show what is in an image: layers, packages, sizes, your code")
    parser.add_argument("ref", nargs="?", metavar="REF", help="an image of the engine (default: the last one built)")
    _with_config(parser)
    _with_json(parser)


def _add_lock(commands: _Commands) -> None:
    parser = _command(commands, "lock", "write a pylock.toml of what the project declares without a lock")
    _with_config(parser)


def _with_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--explain",
        action="store_true",
        help="say what changed since the last build, and why the pipeline is described anew",
    )


def _add_run(commands: _Commands) -> None:
    parser = _command(commands, "run", "run a pipeline, each step a container", _RunHelp)
    parser.add_argument(
        "pipeline", nargs="?", help="file.py, file.py:name or file.yaml (default: `pipeline` of the configuration)"
    )
    parser.add_argument("--env", metavar="ENV", help="local (Docker), argo (Kubernetes) or process (no containers)")
    _with_config(parser)
    _with_parameters(parser)
    _with_logs(parser)
    parser.add_argument("--run-id", metavar="ID", help="the run's id (default: made from the time)")
    parser.add_argument("--tag", default="", help="a word to find the run by")
    _with_patch(parser)
    _with_detach(parser)
    _with_explain(parser)
    _with_cluster(parser)


def _with_patch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patch",
        metavar="FILE",
        help="YAML or JSON file of what steps give in place of running: STEP: {returns: {…}, files: {KEY: PATH}}",
    )


def _with_logs(parser: _Parser) -> None:
    parser.add_argument("--logs", action="store_true", help="print the lines that the steps write as they come")


def _with_detach(parser: _Parser) -> None:
    parser.add_argument(
        "--detach", action="store_true", help="with argo: submit the run, print its id and do not follow it"
    )


def _add_retry(commands: _Commands) -> None:
    parser = _command(commands, "retry", "resume a run that failed: what succeeded does not run again")
    parser.add_argument("run", nargs="?", help="the run's id (default: the newest that failed or was cancelled)")
    parser.add_argument("pipeline", nargs="?", help="as for run (default: the run's own file)")
    parser.add_argument("--env", metavar="ENV", help="where to resume it (default: the run's own environment)")
    _with_parameters(parser)
    parser.add_argument(
        "--tag", help="the run's tag; like its parameters it is given only where this machine has not kept it"
    )
    parser.add_argument(
        "--changed-shape",
        action="store_true",
        help="accept other steps, another order or other returns, and run all steps again from the first that differs",
    )
    _with_logs(parser)
    _with_detach(parser)
    _with_explain(parser)
    _with_config(parser)
    _with_cluster(parser)


def _add_compile(commands: _Commands) -> None:
    parser = _command(commands, "compile", "print the Argo objects of a pipeline as YAML")
    parser.add_argument("pipeline", nargs="?", help="as for run")
    _with_config(parser)
    _with_parameters(parser)
    parser.add_argument("--run-id", metavar="ID", help="the run's id, which is the Workflow's name")
    parser.add_argument("--tag", default="", help="a word to find the run by")
    _with_patch(parser)
    _with_explain(parser)
    _with_cluster(parser)


def _add_compose(commands: _Commands) -> None:
    parser = _command(
        commands,
        "compose",
        "print a docker-compose file: a service for each step, and a dev shell",
    )
    parser.add_argument("pipeline", nargs="?", help="as for run")
    _with_config(parser)
    _with_parameters(parser)
    _with_explain(parser)


def _add_runs(commands: _Commands) -> None:
    parser = _command(commands, "runs", "list the runs")
    _with_config(parser)
    parser.add_argument("--tag", help="only those with this tag")
    parser.add_argument(
        "--table", metavar="NAME,…", help="a column for each of these parameters and metrics; a.b is b in the mapping a"
    )
    parser.add_argument("--sort", metavar="NAME", help="the order of the runs; --sort=-NAME has the largest first")
    _with_place(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    form.add_argument("--csv", action="store_true", help="print CSV")


def _add_show(commands: _Commands) -> None:
    parser = _command(commands, "show", "show a run: its steps, values and files")
    parser.add_argument("run", nargs="?", help="the run's id (default: the newest)")
    parser.add_argument("--values", action="store_true", help="show values above 1 MiB, too (default: size and hash)")
    _with_config(parser)
    _with_place(parser)
    _with_json(parser)


def _add_logs(commands: _Commands) -> None:
    parser = _command(commands, "logs", "print what a run's steps wrote")
    parser.add_argument(
        "run", nargs="?", help="the run's id; else it is a STEP of the newest run (default: the newest)"
    )
    parser.add_argument("step", nargs="?", help="a step's path, for it and all inside it (default: all)")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="print also what is written from now on, until the run ends"
    )
    _with_config(parser)
    _with_place(parser)
    _with_json(parser)


def _add_catalog(commands: _Commands) -> None:
    parser = _command(commands, "catalog", "list the files and objects that a run has in the catalog")
    parser.add_argument("run", nargs="?", help="the run's id (default: the newest)")
    parser.add_argument("--get", metavar="KEY", help="write the bytes of this file or object to standard output")
    _with_config(parser)
    _with_place(parser)
    _with_json(parser)


def _add_fetch(commands: _Commands) -> None:
    parser = _command(commands, "fetch", "copy files and objects that a run has in the catalog to a folder")
    parser.add_argument("run", nargs="?", help="the run's id; else it is a KEY of the newest run (default: the newest)")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="names or patterns, also STEP:KEY (default: all)")
    parser.add_argument("--to", metavar="FOLDER", help="where (default: .toolkit/fetched/RUN)")
    _with_config(parser)
    _with_place(parser)
    _with_json(parser)


def _add_cancel(commands: _Commands) -> None:
    parser = _command(commands, "cancel", "cancel a run, and wait until it has ended")
    parser.add_argument("run", nargs="?", help="the run's id (default: the one that goes on and was started from here)")
    parser.add_argument("--kill", action="store_true", help="do not wait for the steps' grace period")
    _with_config(parser)
    _with_place(parser)


def _add_diff(commands: _Commands) -> None:
    parser = _command(commands, "diff", "say whether two runs are the same, and where not")
    parser.add_argument("a", metavar="RUN", help="a run's id")
    parser.add_argument("b", metavar="RUN", help="another run's id")
    parser.add_argument("--all", action="store_true", help="say also what is not compared, and why")
    parser.add_argument(
        "--no-bytes", action="store_true", help="do not read objects on this machine; compare their hashes only"
    )
    parser.add_argument("--fetch", action="store_true", help="read the objects of runs on a cluster as well")
    _with_config(parser)
    _with_place(parser)
    _with_json(parser)


def _add_doctor(commands: _Commands) -> None:
    parser = _command(commands, "doctor", "say what an environment lacks for a run, and how to fix it")
    parser.add_argument(
        "pipeline", nargs="?", help="check also what this pipeline needs (default: the configuration alone)"
    )
    parser.add_argument("--env", metavar="ENV", help="local, argo or process")
    _with_config(parser)
    _with_cluster(parser)
    parser.add_argument(
        "--manifests",
        metavar="BASE[=NAME]",
        help="print manifests for kubectl apply: all, namespace, accounts, claim, secrets, limits or nodes",
    )
    _with_json(parser)


def _add_migrate(commands: _Commands) -> None:
    parser = _command(commands, "migrate", "rewrite the imports and the configuration of a project made for runnable")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="Python and YAML files, or folders, whose files below them are meant"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and write nothing")
