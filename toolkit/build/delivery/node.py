"""Brings an image into the containerd of a Kubernetes node that is on this machine, sending only what it lacks.

The node's own `ctr` does it, here or inside a kind node's container. What counts in the end is that `ctr images check` calls
the image complete: an archive that lacks layers is taken without a word, whether the node has them or not.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.build.delivery.kubeconfig import EXTENSION, find_context
from toolkit.build.image.archive import Blob, Member, oci_manifest, oci_members, sha256, stream
from toolkit.build.image.contents import ImageContents, without_content
from toolkit.build.reference import full_name
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, Infrastructure

if TYPE_CHECKING:
    import subprocess

_NAMESPACE = "k8s.io"
_SOCKETS = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
_QUICK = 60.0
"""Seconds for a question to the node."""
_LONG = 900.0
"""Seconds for a whole image to be taken."""
_KIND = "io.x-k8s.kind.cluster"

_IMPORT_AND_CHECK = (
    'name=$1 id=$2 option=$3; shift 3; "$@" images import $option - >&2; exec "$@" images check "$name" "$id"'
)
"""One shell and not two commands: each `docker exec` into a kind node costs as much as the rest together."""


@dataclass(frozen=True)
class Node:
    """A containerd.

    Attributes:
        name: as it is shown.
        ctr: the command that speaks to it, namespace included.
        within: a command that runs another one where ``ctr`` is; nothing here.
    """

    name: str
    ctr: tuple[str, ...]
    within: tuple[str, ...] = ()


@dataclass
class LoadResult:
    """What a load sent.

    Attributes:
        sent: the layers' sizes in bytes by their digests.
        total: how many layers the image has.
    """

    sent: dict[str, int] = field(default_factory=dict)
    total: int = 0


def find_nodes(
    raw: EngineApi, kubeconfig: str | None = None, context: str | None = None, address: str | None = None,
    well_known: bool = True,
) -> list[Node]:  # fmt: skip
    """The nodes that an image is loaded into; none when nothing names one and ``well_known`` is off.

    Args:
        kubeconfig: as in KUBECONFIG, which it stands in for.
        context: of the kubeconfig; None is the current one.
        address: of a containerd's socket; it wins, then CONTAINERD_ADDRESS, then what the context says.
        well_known: also look for a socket where containerd and k3s have it.

    Raises:
        BadInput: what is named is not there, or, with ``well_known``, nothing is found.
    """
    if address:
        return [_on_socket(address, "--node")]
    if named := os.environ.get("CONTAINERD_ADDRESS"):
        return [_on_socket(named, "CONTAINERD_ADDRESS")]
    found = find_context(context, kubeconfig)
    if found is not None and found.containerd:
        return [_on_socket(found.containerd, f"the kubeconfig's context {found.name}")]
    if found is not None and found.name.startswith("kind-"):
        return _kind_nodes(raw, found.name.removeprefix("kind-"))
    if not well_known:
        return []
    for socket in _SOCKETS:
        if _is_socket(socket):
            node = _on_socket(socket, "")
            if _NAMESPACE in _ask(node, (*node.ctr[:-2], "namespaces", "ls", "-q")).split():
                return [node]
    seen = f"the context {found.name} names none" if found else "there is no kubeconfig with a current context"
    raise BadInput(
        f"no containerd node is found to load the image into ({seen}): give its socket with --node or "
        f"CONTAINERD_ADDRESS, name a kind cluster's context with --context, put the extension {EXTENSION} into the "
        "kubeconfig, or use --push"
    )


def load_into_node(node: Node, contents: ImageContents, report: Callable[[str], None]) -> LoadResult:
    """Loads the image under its reference. When this returns, the node has all of it.

    Two loads at once, of the same image or of several, do not disturb each other: containerd writes a blob once.

    Raises:
        Infrastructure: the node does not take it, or cannot be reached.
    """
    name, image_id = full_name(contents.image.reference), contents.image.digest
    known = contents.stored()
    manifest = sha256(oci_manifest(contents.config, known)) if contents.config is not None and known else ""
    wanted = _ImageQuery(name, image_id, manifest)
    loaded = LoadResult(total=len(known or ()))
    half = False
    if not contents.image.changed:  # what was built just now is not there yet
        listing = _ask(node, (*node.ctr, "images", "check", *wanted.filters))
        if wanted.is_in(listing):
            return loaded
        half = wanted.is_half_in(listing)
    # The code is left to the first pod to unpack: that is as quick there, and this is twice as quick without.
    known = None if half else known
    if contents.config is not None and known and _import(node, wanted, contents.config, known, loaded, "--no-unpack"):
        return loaded
    return _load_all(node, contents, wanted, loaded, report)


def _load_all(
    node: Node, contents: ImageContents, wanted: _ImageQuery, loaded: LoadResult, report: Callable[[str], None]
) -> LoadResult:
    """The engine is asked for the image, and the node for its layers, since the code alone was not enough."""
    report(f"{node.name} lacks more than the code, so the image is exported from the Docker engine, which takes longer")
    with contents.exported() as layers:
        assert contents.config is not None
        loaded.total = len(layers)
        wanted = _ImageQuery(wanted.name, sha256(contents.config), sha256(oci_manifest(contents.config, layers)))
        there = set(_ask(node, (*node.ctr, "content", "ls", "-q")).split())
        # What was there when it was asked may have been collected as garbage since: then everything is sent.
        for left_out in (there, set[str]()):
            if _import(node, wanted, contents.config, without_content(layers, left_out), loaded):
                return loaded
    with suppress(Infrastructure):  # half an image must not be found under its name
        _ask(node, (*node.ctr, "images", "rm", wanted.name))
    raise Infrastructure(
        f"{node.name} does not take the image {contents.image.reference}"
        f"{': ' + wanted.said if wanted.said else ''}; look into its log, or use --push"
    )


@dataclass
class _ImageQuery:
    """The image that a node shall have.

    Attributes:
        name: in full, as the kubelet asks for it.
        image_id: its config's digest. CRI names every image by it, too.
        manifest: its manifest's digest as we would write it; "" when that is not known.
        said: `ctr`'s last words.
    """

    name: str
    image_id: str
    manifest: str
    said: str = field(default="", compare=False)

    @property
    def filters(self) -> tuple[str, str]:
        return f'name=="{self.name}"', f'name=="{self.image_id}"'

    def is_in(self, listing: str) -> bool:
        """Whether what `ctr images check` printed shows this very image complete, whoever brought it there."""
        rows = _rows(listing)
        found = rows.get(self.name)
        if found is None or found[3] != "complete":
            return False
        same = rows.get(self.image_id)
        return found[2] == self.manifest or (same is not None and same[2] == found[2])

    def is_half_in(self, listing: str) -> bool:
        """Whether the name is there without all that belongs to it."""
        found = _rows(listing).get(self.name)
        return found is not None and found[3] != "complete"


def _rows(listing: str) -> dict[str, list[str]]:
    """The columns of `ctr images check`, by the images' names: name, type, digest, status …"""
    return {row[0]: row for line in listing.splitlines()[1:] if len(row := line.split()) > 3}


def _import(
    node: Node, wanted: _ImageQuery, config: bytes, layers: tuple[Blob, ...], loaded: LoadResult, option: str = ""
) -> bool:
    """Sends these layers' contents; returns whether the image is complete afterwards.

    Whether `ctr` was content says nothing: it can't unpack for a kubelet that has another snapshotter, which containerd then
    does itself when a container is created, and without unpacking it misses no layer.
    """
    files = oci_members(config, wanted.name, layers)
    command = (*node.within, "sh", "-c", _IMPORT_AND_CHECK, "sh", *wanted.filters, option, *node.ctr)
    listing, wanted.said = _run(node, command, _LONG, files)
    loaded.sent |= {layer.digest: layer.content.size for layer in layers if layer.content is not None}
    return wanted.is_in(listing)


def _on_socket(address: str, source: str) -> Node:
    path = address.removeprefix("unix://")
    if source and not _is_socket(path):
        raise BadInput(f"{source} names {address!r}, where no containerd listens: mend it, or start that node")
    if shutil.which("ctr"):
        program: tuple[str, ...] = ("ctr",)
    elif shutil.which("k3s"):
        program = ("k3s", "ctr")
    else:
        raise BadInput("loading into containerd needs its program `ctr`: install containerd's, or use --push")
    return Node(f"containerd at {path}", (*program, "--address", path, "--namespace", _NAMESPACE))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _kind_nodes(raw: EngineApi, cluster: str) -> list[Node]:
    import json
    from urllib.parse import quote

    chosen = quote(json.dumps({"label": [f"{_KIND}={cluster}"]}))
    found = raw.json(f"/containers/json?filters={chosen}") or []
    names = sorted(
        str(container["Names"][0]).lstrip("/")
        for container in found
        if container.get("Labels", {}).get("io.x-k8s.kind.role") != "external-load-balancer"
    )
    if not names:
        raise BadInput(f"the kind cluster {cluster!r} has no running node on this Docker engine: start it")
    docker = shutil.which("docker")
    if docker is None:
        raise BadInput("loading into a kind node needs the `docker` program: install it, or use --push")
    return [
        Node(f"kind node {name}", ("ctr", "--namespace", _NAMESPACE), (docker, "exec", "--interactive", name))
        for name in names
    ]


def _ask(node: Node, command: tuple[str, ...]) -> str:
    listing, _ = _run(node, (*node.within, *command), _QUICK, None)
    return listing


def _run(node: Node, command: tuple[str, ...], limit: float, files: list[Member] | None) -> tuple[str, str]:
    """What a command printed, and its last words; ``files`` are an archive for its standard input.

    Raises:
        Infrastructure: nothing answers, or not in time.
    """
    import subprocess
    import tempfile
    import threading

    with tempfile.TemporaryFile() as errors:
        source = subprocess.DEVNULL if files is None else subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=errors)
        except OSError as error:
            raise Infrastructure(f"{command[0]} cannot be started: {error.strerror}") from error
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        # A node that stops reading would block the write below for ever.
        timer = threading.Timer(limit, end)
        timer.daemon = True
        timer.start()
        try:
            output = _feed(process, files)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            timer.cancel()
        errors.seek(0)
        words = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    said = next((line for line in reversed(words) if line.startswith("ctr:")), words[-1] if words else "")
    said = "".join(one for one in said.removeprefix("ctr:").strip() if one.isprintable())[:300]
    if late.is_set():
        raise Infrastructure(f"{node.name} did not answer within {limit:g} s: look whether it is running")
    if process.returncode != 0:
        raise _node_unreachable(node, said)
    return output.decode("utf-8", "replace"), said


def _feed(process: subprocess.Popen[bytes], files: list[Member] | None) -> bytes:
    if files is not None:
        assert process.stdin is not None
        try:
            with process.stdin as target:
                for chunk in stream(files):
                    target.write(chunk)
        except BrokenPipeError:
            pass  # it has said why
    assert process.stdout is not None
    return process.stdout.read()


def _node_unreachable(node: Node, said: str) -> Infrastructure:
    if "permission denied" in said:
        return Infrastructure(
            f"{node.name} may not be used by this user ({said}): run as one who may, such as root, or use --push"
        )
    return Infrastructure(f"{node.name} cannot be used ({said or 'it gave no reason'}): look whether it is running")
