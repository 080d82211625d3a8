"""A chain of steps on a real cluster: beside the same chain written by hand for Argo, and the peer's workflow for it.

The whole command is measured against nothing but `kubectl create` and a watch. Then what the client alone costs, beside raw
`docker run`, and how many pods a pipeline takes.
"""

from __future__ import annotations

import json
import shutil
import signal
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from types import FrameType
from typing import Any, NoReturn

from bench.cluster import peer
from bench.cluster.place import ROOT, Absent, Failed, Namespace, find, fresh, namespace
from bench.projects import console, project, remove_images, toolkit_run
from bench.turns import Broken, Side, in_turn, run, seconds, show, show_ratio, show_times

STEPS = 5
HAND_WRITTEN_SHARE = 0.05
HAND_WRITTEN_SECONDS = 1.5
"""Whichever of the two is more."""
PEER_BOUND = 0.6
CLIENT_BOUND = 4.0
CLAIM = "toolkit"
"""The claim of a project whose configuration names none."""
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
    """The chain, beside the hand-written DAG and the peer's workflow; without a cluster a line that says so.

    Raises:
        Broken: a side did not run.
    """
    _on_cluster(_chain, pairs)


def main_shapes(pairs: int) -> None:
    """Composites beside hand-written DAGs of their shapes (see :func:`main`)."""
    _on_cluster(_shapes, pairs)


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
        # A namespace must not stay behind because the bench was told to end.
        with _ends_by_exception(), project(STEPS) as root:
            try:
                with namespace(cluster, restricted=True, claims=[CLAIM, "runnable-volume"]) as place:
                    measure(place, root, pairs)
            finally:
                cluster.forget_images(_repository(root))
    except Failed as failed:
        raise Broken(str(failed)) from failed


@contextmanager
def _ends_by_exception() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _chain(place: Namespace, root: Path, pairs: int) -> None:
    counts: list[list[int]] = [[], [], []]

    own, other = _sides(place, root, "chain", _command(place), counts)
    with peer.sides(place.cluster, root.parent / "peer", STEPS, counts[2]) as theirs:
        sides = [own, other, *(theirs if isinstance(theirs, list) else [])]
        figures = in_turn(sides, pairs)
    show(f"cluster: a chain of {STEPS} steps on Kubernetes with Argo", pairs)
    for side, times in zip(sides, figures, strict=True):
        show_times(side.name, times)
    _show_difference(figures[0], figures[1])
    if isinstance(theirs, list):
        show_ratio("toolkit run / the peer's by default", figures[0], figures[2], PEER_BOUND)
        show_ratio("toolkit run / the peer's, cpu not limited", figures[0], figures[3], None)
        print(f"    ({peer.CONDITIONS})", flush=True)
    else:
        print(f"  without the peer: {theirs}", flush=True)
    for name, count in zip(("toolkit run", "hand-written", "the peer's"), counts, strict=True):
        if count:
            print(f"  {'pods of ' + name:<44} {count[0]}", flush=True)


def _shapes(place: Namespace, root: Path, pairs: int) -> None:
    for shape in _SHAPES:
        _shape(place, root, shape, pairs)


def _client_and_examples(place: Namespace, root: Path, pairs: int) -> None:
    _client(place, root, pairs)
    _examples(place)


def _sides(
    place: Namespace, root: Path, shape: str, command: Sequence[str], counts: Sequence[list[int]]
) -> tuple[Side, Side]:
    """A command's run and the hand-written DAG of a shape; the first two of ``counts`` take how many pods each had last.

    Raises:
        Broken: a run failed, or its pods are no longer like the manifest's.
    """
    manifest = _hand_written(place, root, shape, command)

    def whole() -> float:
        run_id = fresh("bench")
        taken = seconds([*command, "--run-id", run_id], root, place.cluster.variables())
        counts[0][:] = [len(place.pods(run_id))]
        place.forget(run_id)
        return taken

    def written() -> float:
        name, taken = place.create_and_wait(manifest)
        counts[1][:] = [len(place.pods(name))]
        place.forget(name)
        return taken

    return (
        Side("toolkit run --env argo: all of it", whole),
        Side("hand-written: kubectl create to its end", written),
    )


def _shape(place: Namespace, root: Path, shape: str, pairs: int) -> None:
    """A composite beside the DAG of the same shape."""
    (root / f"{shape}.py").write_text(_HEAD + _SHAPES[shape])
    given = [] if shape != "map" else ["--param", f"numbers={list(range(_ITEMS))}"]
    command = [console("toolkit"), "run", f"{shape}.py", "--env", "argo", *given, *place.options()]
    counts: list[list[int]] = [[], []]

    own, other = _sides(place, root, shape, command, counts)
    figures = in_turn([own, other], pairs)
    show(f"cluster: {shape} on Kubernetes with Argo", pairs)
    show_times(own.name, figures[0])
    show_times(other.name, figures[1])
    _show_difference(figures[0], figures[1])
    print(f"  {'pods of toolkit run, of the hand-written':<44} {counts[0][0]}, {counts[1][0]}", flush=True)


def _command(place: Namespace) -> list[str]:
    return [*toolkit_run(STEPS, "argo"), *place.options()]


def _repository(root: Path) -> str:
    """The name of the project's images, without a tag."""
    line = next(line for line in (root / "toolkit.yaml").read_text().splitlines() if "image:" in line)
    return line.partition("image:")[2].strip()


def _show_difference(own: Sequence[float], other: Sequence[float]) -> None:
    base = statistics.median(other)
    more = statistics.median(own) - base
    each = [one - two for one, two in zip(own, other, strict=True)]
    met = more <= max(HAND_WRITTEN_SECONDS, HAND_WRITTEN_SHARE * base)
    print(
        f"  {'toolkit run - the hand-written DAG':<44} {more:+.2f} s, {more / base:+.1%} "
        f"(pairs {min(each):+.2f} to {max(each):+.2f} s)  "
        f"target at most {HAND_WRITTEN_SECONDS:g} s or {HAND_WRITTEN_SHARE:.0%}: {'met' if met else 'MISSED'}",
        flush=True,
    )


# --- the hand-written side ----------------------------------------------------------------------------------------------


def _hand_written(place: Namespace, root: Path, shape: str, command: Sequence[str]) -> Path:
    """The committed manifest of a shape, with image, policy, user and claim of a run's own pods, which warms all caches as well.

    Raises:
        Broken: a run failed, or its pods are no longer like the manifest's.
    """
    run_id = fresh("bench")
    run([*command, "--run-id", run_id], root, place.cluster.variables())
    theirs = place.pods(run_id)[0]["spec"]
    main = next(one for one in theirs["containers"] if one["name"] == "main")
    here = Path(__file__).parent
    text = Template((here / "hand-written.yaml").read_text()).substitute(
        SHAPE=(here / f"{shape}.yaml").read_text(),
        IMAGE=json.dumps(main["image"]),
        PULL_POLICY=main["imagePullPolicy"],
        USER=theirs["securityContext"]["runAsUser"],
        CLAIM=CLAIM,
    )
    place.forget(run_id)
    manifest = root.parent / f"{shape}.yaml"
    manifest.write_text(text)
    name, _ = place.create_and_wait(manifest)
    ours, written = _likeness(theirs), _likeness(place.pods(name)[0]["spec"])
    place.forget(name)
    unlike = [key for key in sorted({*ours, *written}) if ours.get(key) != written.get(key)]
    if unlike:
        told = "; ".join(f"{key}: {ours.get(key)} and {written.get(key)}" for key in unlike)
        raise Broken(f"the pods of bench/cluster/hand-written.yaml are no longer like a run's: {told}")
    return manifest


def _likeness(spec: dict[str, Any]) -> dict[str, Any]:
    """What pods must have in common to be compared: all that the node does more or less for, but a run's own ConfigMap."""
    pod = (
        "automountServiceAccountToken",
        "enableServiceLinks",
        "restartPolicy",
        "securityContext",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
    )
    found = {key: spec.get(key) for key in pod}
    found["claims"] = [one["persistentVolumeClaim"] for one in spec["volumes"] if "persistentVolumeClaim" in one]
    for one in [*spec.get("initContainers", []), *spec["containers"]]:
        for key in ("image", "imagePullPolicy", "resources", "securityContext", "workingDir"):
            found[f"{one['name']}.{key}"] = one.get(key)
    return found


# --- the client, and the pods -------------------------------------------------------------------------------------------


def _client(place: Namespace, root: Path, pairs: int) -> None:
    """What the client costs until the run is left to itself: start, build, plan, preflight, submit."""
    variables = place.cluster.variables()
    image = run([console("toolkit"), "build"], root).strip()

    def detached() -> float:
        run_id = fresh("bench")
        taken = seconds([*_command(place), "--run-id", run_id, "--detach"], root, variables)
        place.forget(run_id)
        return taken

    raw = Side("docker run --rm IMAGE true", lambda: seconds(["docker", "run", "--rm", image, "true"], root))
    own = Side("toolkit run --detach", detached)
    in_turn([own, raw], 1)
    figures = in_turn([own, raw], pairs)
    show("cluster: the client's side, up to a run that is submitted", pairs)
    show_times(own.name, figures[0])
    show_times(raw.name, figures[1])
    show_ratio("toolkit run --detach / docker run", figures[0], figures[1], CLIENT_BOUND)


def _examples(place: Namespace) -> None:
    """Pods of examples/getting-started."""
    repository = fresh("toolkit-bench")
    place.secret("toolkit-secrets", secret_key="the-bench-key")
    place.secret("postgres", connection_string="postgresql://bench@localhost/bench")
    with project() as root:
        shutil.copytree(_EXAMPLE, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        settings = root / "toolkit.yaml"
        settings.write_text(settings.read_text().replace("image: image_to_use", f"image: {repository}"))
        try:
            run_id = fresh("bench")
            command = [console("toolkit"), "run", "sdk.py", "--env", "argo", "--run-id", run_id, *place.options()]
            run(command, root, place.cluster.variables())
            count = len(place.pods(run_id))
        finally:
            remove_images(repository)
            place.cluster.forget_images(repository)
    print(f"\ncluster: an example\n  {'pods of ' + _EXAMPLE.name + ', 2 steps':<44} {count}", flush=True)
