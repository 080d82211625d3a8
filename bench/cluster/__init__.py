"""A chain of steps on a real cluster: beside the same chain written by hand for Argo, and the peer's workflow for it.

The whole command is measured beside `kubectl create` and a watch. Other benches measure what the client alone costs, beside raw
`docker run`, and count the pods of a pipeline.
"""

from __future__ import annotations

import json
import shutil
import signal
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from string import Template
from types import FrameType
from typing import NoReturn

from bench import graph
from bench.cluster import peer
from bench.cluster.namespaces import ROOT, Absent, Failed, KubernetesObject, Namespace, find, fresh, temporary_namespace
from bench.projects import console, project, remove_images, toolkit_run
from bench.turns import Broken, Side, in_turn, run, seconds, show, show_ratio, show_times

STEPS = 5
HAND_WRITTEN_SHARE = 0.05
HAND_WRITTEN_SECONDS = 1.5
"""The target is the larger of the two."""
PEER_BOUND = 0.6
CLIENT_BOUND = 4.0
CLAIM = "toolkit"
"""The claim of a project whose configuration names no volume."""
_HEAD = "from functions import nothing\n\nfrom toolkit import Map, Parallel, Pipeline, PythonTask\n\n"
_SHAPES = {
    "map": """\
items = Map(
    "items",
    branch=Pipeline(steps=[PythonTask(name="item", function=nothing)]),
    iterate_on="numbers",
    iterate_as="number",
)
pipeline = Pipeline(steps=[items, PythonTask(name="collect", function=nothing)])
""",
    "branches": """\
def branch(name):
    return Pipeline(steps=[PythonTask(name=f"{name}-{number}", function=nothing) for number in range(2)])


pipeline = Pipeline(steps=[Parallel("both", branches={"left": branch("left"), "right": branch("right")})])
""",
}
"""Pipelines of no-op steps, each with a manifest of the same DAG beside this file."""
_ITEMS = 20
_EXAMPLE = ROOT / "examples" / "getting-started"


def main(pairs: int) -> None:
    """The chain, beside the hand-written DAG and the peer's workflow. Without a cluster, it prints a line that says so.

    Raises:
        Broken: a side did not run.
    """
    _on_cluster(_chain, pairs)


def main_shapes(pairs: int) -> None:
    """Composites beside hand-written DAGs of their shapes (see :func:`main`)."""
    _on_cluster(_shapes, pairs)


def main_graph(pairs: int) -> None:
    """Steps that sleep, as a line and as a graph (see :func:`main`)."""
    _on_cluster(_graph, pairs)


def main_client(pairs: int) -> None:
    """What the client costs, and how many pods an example takes (see :func:`main`)."""
    _on_cluster(_client_and_examples, pairs)


def _on_cluster(measure: Callable[[Namespace, Path, int], None], pairs: int) -> None:
    try:
        cluster = find()
    except Absent as error:
        print(f"\ncluster: skipped, because {error}", flush=True)
        return
    try:
        # A namespace must not stay behind when the bench is asked to stop.
        with _sigterm_raises(), project(STEPS) as root:
            try:
                with temporary_namespace(cluster, restricted=True, claims=[CLAIM, "runnable-volume"]) as namespace:
                    measure(namespace, root, pairs)
            finally:
                cluster.forget_images(_repository(root))
    except Failed as failed:
        raise Broken(str(failed)) from failed


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _chain(namespace: Namespace, root: Path, pairs: int) -> None:
    counts: list[list[int]] = [[], [], []]

    own, other = _sides(namespace, root, "chain", _command(namespace), counts)
    with peer.sides(namespace.cluster, root.parent / "peer", STEPS, counts[2]) as peers:
        sides = [own, other, *(peers if isinstance(peers, list) else [])]
        figures = in_turn(sides, pairs)
    show(f"cluster: a chain of {STEPS} steps on Kubernetes with Argo", pairs)
    for side, times in zip(sides, figures, strict=True):
        show_times(side.name, times)
    _show_difference(figures[0], figures[1])
    if isinstance(peers, list):
        show_ratio("toolkit run / the peer's by default", figures[0], figures[2], PEER_BOUND)
        show_ratio("toolkit run / the peer's, cpu not limited", figures[0], figures[3], None)
        print(f"    ({peer.CONDITIONS})", flush=True)
    else:
        print(f"  without the peer: {peers}", flush=True)
    for name, count in zip(("toolkit run", "hand-written", "the peer's"), counts, strict=True):
        if count:
            print(f"  {'pods of ' + name:<44} {count[0]}", flush=True)


def _shapes(namespace: Namespace, root: Path, pairs: int) -> None:
    for shape in _SHAPES:
        _shape(namespace, root, shape, pairs)


def _graph(namespace: Namespace, root: Path, pairs: int) -> None:
    graph.write(root)
    line, other = (partial(_whole_run, namespace, root, f"{order}.py") for order in graph.ORDERS)
    graph.measure(line, other, "pods on Kubernetes with Argo", pairs)


def _whole_run(namespace: Namespace, root: Path, file: str) -> float:
    run_id = fresh("bench")
    command = [console("toolkit"), "run", file, "--env", "argo", *namespace.options(), "--run-id", run_id]
    taken = seconds(command, root, namespace.cluster.variables())
    namespace.forget(run_id)
    return taken


def _client_and_examples(namespace: Namespace, root: Path, pairs: int) -> None:
    _client(namespace, root, pairs)
    _examples(namespace)


def _sides(
    namespace: Namespace, root: Path, shape: str, command: Sequence[str], counts: Sequence[list[int]]
) -> tuple[Side, Side]:
    """A command's run and the hand-written DAG of a shape; the first two of ``counts`` take the number of pods of their last runs.

    Raises:
        Broken: a run failed, or its pods differ from the manifest's.
    """
    manifest = _hand_written(namespace, root, shape, command)

    def whole() -> float:
        run_id = fresh("bench")
        taken = seconds([*command, "--run-id", run_id], root, namespace.cluster.variables())
        counts[0][:] = [len(namespace.pods(run_id))]
        namespace.forget(run_id)
        return taken

    def written() -> float:
        name, taken = namespace.create_and_wait(manifest)
        counts[1][:] = [len(namespace.pods(name))]
        namespace.forget(name)
        return taken

    return (
        Side("toolkit run --env argo: all of it", whole),
        Side("hand-written: kubectl create to its end", written),
    )


def _shape(namespace: Namespace, root: Path, shape: str, pairs: int) -> None:
    """A composite beside the DAG of the same shape."""
    (root / f"{shape}.py").write_text(_HEAD + _SHAPES[shape])
    parameters = [] if shape != "map" else ["--param", f"numbers={list(range(_ITEMS))}"]
    command = [console("toolkit"), "run", f"{shape}.py", "--env", "argo", *parameters, *namespace.options()]
    counts: list[list[int]] = [[], []]

    own, other = _sides(namespace, root, shape, command, counts)
    figures = in_turn([own, other], pairs)
    show(f"cluster: {shape} on Kubernetes with Argo", pairs)
    show_times(own.name, figures[0])
    show_times(other.name, figures[1])
    _show_difference(figures[0], figures[1])
    print(f"  {'pods of toolkit run, of the hand-written':<44} {counts[0][0]}, {counts[1][0]}", flush=True)


def _command(namespace: Namespace) -> list[str]:
    return [*toolkit_run(STEPS, "argo"), *namespace.options()]


def _repository(root: Path) -> str:
    """The name of the project's images, without a tag."""
    line = next(line for line in (root / "toolkit.yaml").read_text().splitlines() if "image:" in line)
    return line.partition("image:")[2].strip()


def _show_difference(own: Sequence[float], other: Sequence[float]) -> None:
    base = statistics.median(other)
    more = statistics.median(own) - base
    differences = [first - second for first, second in zip(own, other, strict=True)]
    met = more <= max(HAND_WRITTEN_SECONDS, HAND_WRITTEN_SHARE * base)
    print(
        f"  {'toolkit run - the hand-written DAG':<44} {more:+.2f} s, {more / base:+.1%} "
        f"(pairs {min(differences):+.2f} to {max(differences):+.2f} s)  "
        f"target at most {HAND_WRITTEN_SECONDS:g} s or {HAND_WRITTEN_SHARE:.0%}: {'met' if met else 'MISSED'}",
        flush=True,
    )


# --- the hand-written side ----------------------------------------------------------------------------------------------


def _hand_written(namespace: Namespace, root: Path, shape: str, command: Sequence[str]) -> Path:
    """The committed manifest of a shape, with the image, policy, user and claim of the pods of a run. That run warms all caches.

    Raises:
        Broken: a run failed, or its pods differ from the manifest's.
    """
    run_id = fresh("bench")
    run([*command, "--run-id", run_id], root, namespace.cluster.variables())
    spec = namespace.pods(run_id)[0]["spec"]
    main = next(container for container in spec["containers"] if container["name"] == "main")
    here = Path(__file__).parent
    text = Template((here / "hand-written.yaml").read_text()).substitute(
        SHAPE=(here / f"{shape}.yaml").read_text(),
        IMAGE=json.dumps(main["image"]),
        PULL_POLICY=main["imagePullPolicy"],
        USER=spec["securityContext"]["runAsUser"],
        CLAIM=CLAIM,
    )
    namespace.forget(run_id)
    manifest = root.parent / f"{shape}.yaml"
    manifest.write_text(text)
    name, _ = namespace.create_and_wait(manifest)
    expected, actual = _comparable(spec), _comparable(namespace.pods(name)[0]["spec"])
    namespace.forget(name)
    differing = [key for key in sorted({*expected, *actual}) if expected.get(key) != actual.get(key)]
    if differing:
        differences = "; ".join(f"{key}: {expected.get(key)} and {actual.get(key)}" for key in differing)
        raise Broken(f"the pods of bench/cluster/hand-written.yaml differ from those of a run: {differences}")
    return manifest


def _comparable(spec: KubernetesObject) -> dict[str, object]:
    """The fields that pods must have in common for their times to be comparable. A run's own ConfigMap is left out."""
    pod = (
        "automountServiceAccountToken",
        "enableServiceLinks",
        "restartPolicy",
        "securityContext",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
    )
    fields = {key: spec.get(key) for key in pod}
    fields["claims"] = [each["persistentVolumeClaim"] for each in spec["volumes"] if "persistentVolumeClaim" in each]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for key in ("image", "imagePullPolicy", "resources", "securityContext", "workingDir"):
            fields[f"{container['name']}.{key}"] = container.get(key)
    return fields


# --- the client, and the pods -------------------------------------------------------------------------------------------


def _client(namespace: Namespace, root: Path, pairs: int) -> None:
    """What the client costs until it detaches: start, build, plan, preflight and submit."""
    variables = namespace.cluster.variables()
    image = run([console("toolkit"), "build"], root).strip()

    def detached() -> float:
        run_id = fresh("bench")
        taken = seconds([*_command(namespace), "--run-id", run_id, "--detach"], root, variables)
        namespace.forget(run_id)
        return taken

    raw = Side("docker run --rm IMAGE true", lambda: seconds(["docker", "run", "--rm", image, "true"], root))
    own = Side("toolkit run --detach", detached)
    in_turn([own, raw], 1)
    figures = in_turn([own, raw], pairs)
    show("cluster: the client's side, up to a run that is submitted", pairs)
    show_times(own.name, figures[0])
    show_times(raw.name, figures[1])
    show_ratio("toolkit run --detach / docker run", figures[0], figures[1], CLIENT_BOUND)


def _examples(namespace: Namespace) -> None:
    """Counts the pods of examples/getting-started."""
    repository = fresh("toolkit-bench")
    namespace.secret("toolkit-secrets", secret_key="the-bench-key")
    namespace.secret("postgres", connection_string="postgresql://bench@localhost/bench")
    with project() as root:
        shutil.copytree(_EXAMPLE, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        settings = root / "toolkit.yaml"
        settings.write_text(settings.read_text().replace("image: image_to_use", f"image: {repository}"))
        try:
            run_id = fresh("bench")
            command = [console("toolkit"), "run", "sdk.py", "--env", "argo", "--run-id", run_id, *namespace.options()]
            run(command, root, namespace.cluster.variables())
            count = len(namespace.pods(run_id))
        finally:
            remove_images(repository)
            namespace.cluster.forget_images(repository)
    print(f"\ncluster: an example\n  {'pods of ' + _EXAMPLE.name + ', 2 steps':<44} {count}", flush=True)
