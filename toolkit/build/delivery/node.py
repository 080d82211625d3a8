"""Loads an image into the containerd of a Kubernetes node that runs on this machine, sending only what the node lacks.

The node's own `ctr` imports it, on this machine or inside a node's container. `ctr images check` decides whether the image
is complete, because `ctr images import` accepts an archive that lacks layers, whether the node has them or not.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.build.delivery.container_nodes import ContainerNode, NotLoadable, container_nodes, tool_of
from toolkit.build.delivery.kubeconfig import EXTENSION, find_context
from toolkit.build.image.archive import (
    Blob,
    Member,
    digest_of,
    oci_manifest,
    oci_members,
    sent_size,
    stream,
    without_content,
)
from toolkit.build.image.contents import ImageContents
from toolkit.build.progress import byte_progress
from toolkit.build.reference import full_name
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, ChangedFile, Infrastructure

if TYPE_CHECKING:
    import subprocess

_NAMESPACE = "k8s.io"
_SOCKETS = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
QUERY_TIMEOUT = 60.0
"""Seconds for a question to the node."""
IMPORT_TIMEOUT = 900.0
"""Seconds for the import of a whole image."""

_IMPORT_AND_CHECK = (
    'name=$1 by_digest=$2 id=$3 option=$4; shift 4; "$@" images import $option - >&2; '
    'exec "$@" images check "$name" "$by_digest" "$id"'
)
"""One shell and not two commands, because each `docker exec` into a node's container takes as long as the rest together."""


@dataclass(frozen=True)
class Node:
    """A node, by its containerd.

    Attributes:
        name: as messages show it.
        ctr: the `ctr` command that reaches it, including the namespace.
        within: the command that runs another one inside the node's container; empty for a node of this machine itself.
        has_docker: its kubelet runs containers with a Docker engine of the node's own.
    """

    name: str
    ctr: tuple[str, ...]
    within: tuple[str, ...] = ()
    has_docker: bool = False


@dataclass
class LoadResult:
    """What a load sent.

    Attributes:
        sent: the sizes in bytes of the layers that were sent, by their digests.
        total: how many layers the image has.
    """

    sent: dict[str, int] = field(default_factory=dict)
    total: int = 0


def find_nodes(
    engine: EngineApi, kubeconfig: str | None = None, context: str | None = None, address: str | None = None,
    well_known: bool = True,
) -> list[Node]:  # fmt: skip
    """The nodes that an image is loaded into; none when nothing names one and ``well_known`` is off.

    Args:
        kubeconfig: used instead of KUBECONFIG, in the same form.
        context: of the kubeconfig; None is the current one.
        address: of a containerd's socket. It comes before CONTAINERD_ADDRESS, and that before the context.
        well_known: also look for a socket at the usual paths of containerd and k3s.

    Raises:
        BadInput: the node that is named does not exist, or, with ``well_known``, none is found.
    """
    if address:
        return [_on_socket(address, "--node")]
    if named := os.environ.get("CONTAINERD_ADDRESS"):
        return [_on_socket(named, "CONTAINERD_ADDRESS")]
    entry = find_context(context, kubeconfig)
    if entry is not None and entry.containerd:
        return [_on_socket(entry.containerd, f"the kubeconfig's context {entry.name}")]
    tool = tool_of(entry) if entry is not None else None
    if tool is not None:
        return [_in_container(node) for node in container_nodes(engine, *tool)]
    if not well_known:
        return []
    for socket in _SOCKETS:
        if _is_socket(socket):
            node = _on_socket(socket, "")
            if _NAMESPACE in query_node(node, (*node.ctr[:-2], "namespaces", "ls", "-q")).split():
                return [node]
    reason = f"the context {entry.name} names none" if entry else "there is no kubeconfig with a current context"
    raise BadInput(
        f"no containerd node is found to load the image into ({reason}): give its socket with --node or "
        f"CONTAINERD_ADDRESS, name the context of a cluster of kind, k3d or minikube with --context, put the extension {EXTENSION} "
        "into the kubeconfig, or use --push"
    )


def names_node(engine: EngineApi, context: str | None) -> bool:
    """Whether :func:`find_nodes` would look for a node without ``well_known``; it is not looked whether that node is there.

    Of minikube it is, because its nodes may be virtual machines, to which images come in another way.
    """
    if os.environ.get("CONTAINERD_ADDRESS"):
        return True
    try:
        entry = find_context(context)
    except BadInput:
        return False
    if entry is None or entry.containerd:
        return entry is not None
    tool = tool_of(entry)
    try:
        return tool is not None and (not entry.provider or bool(container_nodes(engine, *tool)))
    except NotLoadable:
        return False


def load_into_node(node: Node, contents: ImageContents, report: Callable[[str], None]) -> LoadResult:
    """Loads the image under its reference, and under the name that holds its digest. When this returns, the node has all of it.

    Concurrent loads, of the same image or of several, do not disturb each other: containerd writes a blob once.

    Raises:
        Infrastructure: the node does not accept the image, or cannot be reached.
    """
    if node.has_docker:
        from toolkit.build.delivery.node_engine import load_into_engine

        return load_into_engine(node, contents, report)
    names, image_id = _names(contents), contents.image.digest
    layers = contents.stored_layers()
    manifest = digest_of(oci_manifest(contents.config, layers)) if contents.config is not None and layers else ""
    query = _ImageQuery(names, image_id, manifest)
    loaded = LoadResult(total=len(layers or ()))
    is_incomplete = False
    if not contents.image.changed:  # an image that was built just now is not on the node yet
        listing = query_node(node, (*node.ctr, "images", "check", *query.filters))
        if query.is_complete(listing):
            return loaded
        is_incomplete = query.is_incomplete(listing)
    # Our layers are left for the first pod to unpack: that is as quick there, and the import is twice as quick without.
    if contents.config is not None and layers:
        code_alone = without_content(layers, [layer.digest for layer in layers[:-1]])
        if not is_incomplete and _import(node, query, contents.config, code_alone, loaded, report, "--no-unpack"):
            return loaded
        if any(layer.content is not None for layer in layers[:-1]):
            present = _present(node)
            lacking = without_content(layers, present)
            if all(layer.content is not None or layer.digest in present for layer in lacking):
                with suppress(ChangedFile):  # the engine has it as it was
                    if _import(node, query, contents.config, lacking, loaded, report, "--no-unpack"):
                        return loaded
    return _load_all(node, contents, query, loaded, report)


def _present(node: Node) -> set[str]:
    """The digests of the blobs that a node has."""
    return set(query_node(node, (*node.ctr, "content", "ls", "-q")).split())


def _load_all(
    node: Node, contents: ImageContents, query: _ImageQuery, loaded: LoadResult, report: Callable[[str], None]
) -> LoadResult:
    """Exports the image from the engine and sends the layers that the node lacks, since the code alone was not enough."""
    report(f"{node.name} lacks more than the code, so the image is exported from the Docker engine, which takes longer")
    with contents.exported(report) as layers:
        assert contents.config is not None
        loaded.total = len(layers)
        query = _ImageQuery(query.names, digest_of(contents.config), digest_of(oci_manifest(contents.config, layers)))
        # containerd may have collected some of them as garbage since then: the second attempt sends all.
        for left_out in (_present(node), set[str]()):
            if _import(node, query, contents.config, without_content(layers, left_out), loaded, report):
                return loaded
    for name in query.names:
        with suppress(Infrastructure):  # an incomplete image must not be found under its name
            query_node(node, (*node.ctr, "images", "rm", name))
    raise Infrastructure(
        f"{node.name} does not accept the image {contents.image.reference}"
        f"{': ' + query.error if query.error else ''}; see its log, or use --push"
    )


@dataclass
class _ImageQuery:
    """The image that a node is asked for.

    Attributes:
        names: its full reference, and the name that holds its digest; the kubelet asks for one of them.
        image_id: its config's digest. CRI names every image by it as well.
        manifest: its manifest's digest as this module would write it; "" when that is not known.
        error: the last line of `ctr`'s standard error.
    """

    names: tuple[str, str]
    image_id: str
    manifest: str
    error: str = field(default="", compare=False)

    @property
    def filters(self) -> tuple[str, ...]:
        return tuple(f'name=="{name}"' for name in (*self.names, self.image_id))

    def is_complete(self, listing: str) -> bool:
        """Whether the output of `ctr images check` shows this very image complete, whoever loaded it."""
        rows = _rows(listing)
        named = [rows[name] for name in self.names if name in rows and rows[name][3] == "complete"]
        if len(named) < len(self.names):
            return False
        by_id = rows.get(self.image_id)
        return all(row[2] == self.manifest or (by_id is not None and by_id[2] == row[2]) for row in named)

    def is_incomplete(self, listing: str) -> bool:
        """Whether the node has a name without all of the image's content."""
        rows = _rows(listing)
        return any(rows[name][3] != "complete" for name in self.names if name in rows)


def _names(contents: ImageContents) -> tuple[str, str]:
    return full_name(contents.image.reference), full_name(contents.image.name_by_digest)


def _rows(listing: str) -> dict[str, list[str]]:
    """The columns of `ctr images check`, by the images' names: name, type, digest, status …"""
    return {row[0]: row for line in listing.splitlines()[1:] if len(row := line.split()) > 3}


def _import(
    node: Node, query: _ImageQuery, config: bytes, layers: tuple[Blob, ...], loaded: LoadResult,
    report: Callable[[str], None], option: str = "",
) -> bool:  # fmt: skip
    """Sends the content of these layers; returns whether the image is complete afterwards.

    The exit status of `ctr images import` does not tell that. It fails to unpack for a kubelet with another snapshotter,
    although containerd then unpacks the image itself for the first container; and without unpacking it misses no layer.
    """
    files = oci_members(config, query.names, layers)
    command = (*node.within, "sh", "-c", _IMPORT_AND_CHECK, "sh", *query.filters, option, *node.ctr)
    listing, query.error = run_in_node(node, command, IMPORT_TIMEOUT, files, report)
    loaded.sent |= {layer.digest: layer.content.size for layer in layers if layer.content is not None}
    return query.is_complete(listing)


def _on_socket(address: str, source: str) -> Node:
    path = address.removeprefix("unix://")
    if source and not _is_socket(path):
        raise BadInput(f"{source} names {address!r}, where no containerd listens: fix it, or start that node")
    if shutil.which("ctr"):
        program: tuple[str, ...] = ("ctr",)
    elif shutil.which("k3s"):
        program = ("k3s", "ctr")
    else:
        raise BadInput("loading into a node needs containerd's program `ctr`: install it, or use --push")
    return Node(f"containerd at {path}", (*program, "--address", path, "--namespace", _NAMESPACE))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _in_container(node: ContainerNode) -> Node:
    address = ("--address", node.address) if node.address else ()
    return Node(node.name, ("ctr", *address, "--namespace", _NAMESPACE), node.within, node.has_docker)


def query_node(node: Node, command: tuple[str, ...]) -> str:
    output, _ = run_in_node(node, (*node.within, *command), QUERY_TIMEOUT)
    return output


def run_in_node(
    node: Node, command: tuple[str, ...], timeout: float, files: list[Member] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[str, str]:  # fmt: skip
    """A command's output, and the last line of its standard error.

    Args:
        timeout: seconds.
        files: the members of an archive for its standard input.
        report: gets progress.

    Raises:
        ChangedFile: a file of the archive changed since the build.
        Infrastructure: the node does not answer, or not in time.
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
        timed_out = threading.Event()

        def kill() -> None:
            timed_out.set()
            process.kill()

        # A node that stops reading would block the write below for ever.
        timer = threading.Timer(timeout, kill)
        timer.daemon = True
        timer.start()
        try:
            files = files or []
            with byte_progress(sent_size(files), f"sending {{}} to {node.name}", report, elsewhere=True) as counted:
                output = _feed(process, counted(stream(files)) if files else None)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            timer.cancel()
        errors.seek(0)
        lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("ctr:")), lines[-1] if lines else "")
    last = "".join(letter for letter in last.removeprefix("ctr:").strip() if letter.isprintable())[:300]
    if timed_out.is_set():
        raise Infrastructure(f"{node.name} did not answer within {timeout:g} s: check that it is running")
    if process.returncode != 0:
        raise _unusable(node, last)
    return output.decode("utf-8", "replace"), last


def _feed(process: subprocess.Popen[bytes], chunks: Iterable[bytes] | None) -> bytes:
    """Writes the archive to the process and returns what it prints."""
    if chunks is not None:
        assert process.stdin is not None
        try:
            with process.stdin as target:
                for chunk in chunks:
                    target.write(chunk)
        except BrokenPipeError:
            pass  # its standard error says why it stopped reading
    assert process.stdout is not None
    return process.stdout.read()


class Refused(Infrastructure):
    """A node's command failed.

    Attributes:
        reason: what it said last.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def _unusable(node: Node, reason: str) -> Refused:
    if "permission denied" in reason:
        return Refused(
            f"{node.name} denies access to this user ({reason}): run as a user who has access, such as root, or use --push",
            reason,
        )
    return Refused(f"{node.name} cannot be used ({reason or 'it gave no reason'}): check that it is running", reason)
