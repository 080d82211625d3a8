"""Loads an image into a node whose kubelet runs containers with Docker (minikube's default), sending only what the node lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import Any

from toolkit.build.delivery.node import (
    IMPORT_TIMEOUT,
    QUERY_TIMEOUT,
    LoadResult,
    Node,
    Refused,
    query_node,
    run_in_node,
)
from toolkit.build.image.archive import Blob, layout_members, without_content
from toolkit.build.image.build_record import IDENTITY_LABEL
from toolkit.build.image.contents import ImageContents, diff_ids
from toolkit.errors import ChangedFile, Infrastructure

_INSPECT = "names=$*; docker image inspect ${names:-$(docker image ls --quiet --no-trunc)} 2>/dev/null || docker version >/dev/null"
"""Prints those that the engine has, and fails where the engine does not answer."""


def load_into_engine(node: Node, contents: ImageContents, report: Callable[[str], None]) -> LoadResult:
    """Loads the image into a node's own Docker engine: its `docker load` takes an archive without the layers that it has."""
    image, loaded = contents.image, LoadResult()

    def is_there() -> bool:
        found = _docker_images(node, image.reference, image.name_by_digest)
        return len(found) == 2 and all(_is_image(one, contents) for one in found)

    if not image.changed and is_there():
        return loaded
    present = _layers_in_docker(node, contents)
    known = contents.stored_layers()
    if known is not None and all(layer.content is not None for layer in known[present:]):
        with suppress(ChangedFile):  # the engine has it as it was
            if _docker_load(node, contents, known, present, loaded, report) is None and is_there():
                return loaded
    report(f"{node.name} lacks more than the code, so the image is exported from the Docker engine, which takes longer")
    with contents.exported(report) as layers:
        refusal: str | None = None
        for left_out in dict.fromkeys((_layers_in_docker(node, contents), 0)):
            refusal = _docker_load(node, contents, layers, left_out, loaded, report)
            if refusal is None and is_there():
                return loaded
    raise Infrastructure(
        f"{node.name} does not accept the image {image.reference}{f': {refusal}' if refusal else ''}; see its log, or use --push"
    )


def _docker_load(
    node: Node, contents: ImageContents, layers: tuple[Blob, ...], present: int, loaded: LoadResult,
    report: Callable[[str], None],
) -> str | None:  # fmt: skip
    """Sends the layers above those that the node has; returns why it refuses, or None."""
    assert contents.config is not None
    image = contents.image
    sent = (*without_content(layers[:present], [layer.digest for layer in layers[:present]]), *layers[present:])
    files = layout_members(contents.config, image.reference, sent, {})
    loaded.total = len(layers)
    try:
        run_in_node(node, (*node.within, "docker", "load", "--quiet"), IMPORT_TIMEOUT, files, report)
        run_in_node(node, (*node.within, "docker", "tag", image.reference, image.name_by_digest), QUERY_TIMEOUT)
    except Refused as error:
        return error.reason or "it gave no reason"
    loaded.sent |= {layer.digest: layer.content.size for layer in layers[present:] if layer.content is not None}
    return None


def _docker_images(node: Node, *names: str) -> list[dict[str, Any]]:
    """The images that the node's Docker engine has of these names; all where none are named."""
    output = query_node(node, ("sh", "-c", _INSPECT, "sh", *names))
    try:
        return [one for one in json.loads(output or "[]") if isinstance(one, dict)]
    except ValueError:
        return []


def _is_image(found: dict[str, Any], contents: ImageContents) -> bool:
    labels = (found.get("Config") or {}).get("Labels") or {}
    identity = contents.image.identity
    # With containerd's store its id is another one.
    return found.get("Id") == contents.image.digest or bool(identity and labels.get(IDENTITY_LABEL) == identity)


def _layers_in_docker(node: Node, contents: ImageContents) -> int:
    """How many of the image's layers, from the bottom up, one of the node's images has."""
    if contents.config is None:
        return 0
    own = diff_ids(contents.config)
    count = 0
    for image in _docker_images(node):
        theirs = (image.get("RootFS") or {}).get("Layers") or []
        same = takewhile(lambda pair: pair[0] == pair[1], zip(own, theirs, strict=False))
        count = max(count, sum(1 for _ in same))
    return count
