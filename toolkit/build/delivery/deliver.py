"""Brings a built image to where a cluster gets it from, a registry or its node, and says under which name it is there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolkit.build.delivery.kubeconfig import EXTENSION
from toolkit.build.environment.definition import network_files
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import ImageContents
from toolkit.build.image.engine_images import keeps_blobs
from toolkit.build.reference import full_name, parse_reference, registry_of
from toolkit.build.state import build_folder
from toolkit.config.rules import check_registry
from toolkit.engine import EngineApi
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.runtime.shared.whole_files import write_whole

if TYPE_CHECKING:
    from toolkit.build.delivery.node import Node

Report = Callable[[str], None]


@dataclass(frozen=True)
class DeliveredImage:
    """Where a cluster finds an image.

    Attributes:
        reference: to be named in a manifest: with the digest that its registry knows it by, where there is one.
        pull_policy_never: it is on no registry, so a cluster must not try to pull it.
        how: what was done, or why nothing was, as one sentence.
        loaded: it is on the nodes, since just now or since before.
    """

    reference: str
    pull_policy_never: bool
    how: str
    loaded: bool = False


@dataclass(frozen=True)
class _Target:
    """Where an image is pushed to.

    Attributes:
        repository: with the registry's host.
        plain: without TLS.
    """

    host: str
    repository: str
    plain: bool


def deliver(
    project: Project, built: BuiltImage, report: Report, push: bool | None = None, load: bool | None = None,
    context: str | None = None, *, node: str | None = None, raw: EngineApi | None = None,
) -> DeliveredImage:  # fmt: skip
    """Pushes the image, loads it into a node, or leaves it where it is.

    When neither is asked for, it is pushed if its name, ``build.registry`` or TOOLKIT_REGISTRY has a registry; else
    loaded if CONTAINERD_ADDRESS, the kubeconfig or a kind context names a node; else nothing is sent. An existing image
    that is used as it is is never pushed: its registry has it.

    Args:
        report: is given progress and what was sent, one sentence each; ``how`` is among them.
        push: True pushes; False never does; None leaves it to the rule. False for both only says what it would be called.
        load: the same for loading.
        context: of the kubeconfig; None is executor.config.context, else the current one.
        node: the address of a node's containerd, which is then loaded into.
        raw: the engine that has the image; None is the one that DOCKER_HOST or the current context names.

    Raises:
        BadInput: what is asked for cannot be done with this image, or no node is found.
        Infrastructure: registry, node or engine.
    """
    delivery = _Delivery(
        project, built, raw or EngineApi(), report, context or project.config.executor.config.context, node
    )
    load = True if node else load
    found = delivery.existing(push, load) if built.existing else delivery.own(push, load)
    if not found.how.startswith(_SAID):
        report(found.how)
    return found


_SAID = ("pushed", "loaded")
"""How a sentence begins that was reported when the thing was done."""


class _Delivery:
    def __init__(
        self, project: Project, built: BuiltImage, raw: EngineApi, report: Report, context: str | None, node: str | None
    ) -> None:
        self._project = project
        self._built = built
        self._raw = raw
        self._report = report
        self._context = context
        self._node = node
        self._folder = build_folder(project)

    def own(self, push: bool | None, load: bool | None) -> DeliveredImage:
        reference = self._built.reference
        if push is False and load is False:
            return self._named()
        target = None if push is False else self._target()
        if push and target is None:
            raise BadInput(
                f"--push needs a registry, and the name {reference.rpartition(':')[0]} has none: set build.registry or "
                "TOOLKIT_REGISTRY, or write executor.config.image with one (HOST/NAME)"
            )
        pushing = bool(push) if push is not None or load else target is not None
        nodes = self._nodes(load, explicit=not pushing)
        pushed = self._push(target) if pushing and target is not None else None
        loaded = self._load(nodes) if nodes else None
        if pushed is not None:
            return pushed
        return loaded or DeliveredImage(reference, True, self._nowhere())

    def _named(self) -> DeliveredImage:
        """What a cluster would know the image by, if it were brought there as the rule says; nothing is sent."""
        target = self._target()
        if target is None:
            how = f"{self._built.reference} is on no registry: `toolkit build --load` brings it to a node"
            return DeliveredImage(self._built.reference, True, how)
        tag = self._built.reference.rpartition(":")[2]
        digest = _Pushes(self._folder / "pushes.json").last(target.repository, tag)
        if digest is not None:
            return DeliveredImage(f"{target.repository}@{digest}", False, f"{target.repository}:{tag} was pushed")
        how = f"{target.repository}:{tag} was not pushed from here: `toolkit build --push` does that"
        return DeliveredImage(f"{target.repository}:{tag}", False, how)

    def existing(self, push: bool | None, load: bool | None) -> DeliveredImage:
        reference = self._built.reference
        if push:
            self._report(f"note: {reference} is an existing image that is used as it is, so it is not pushed")
        if not load:
            on_registry = self._on_registry()
            if on_registry is not None:
                return on_registry
        elif "@" in reference:
            raise BadInput(
                f"{reference} cannot be loaded into a node, because it is named by its registry's digest: a cluster pulls "
                "it from there; name it by a tag to load it"
            )
        nodes = self._nodes(load, explicit=True)
        return (self._load(nodes) if nodes else None) or DeliveredImage(reference, True, self._nowhere())

    def _on_registry(self) -> DeliveredImage | None:
        """An existing image by what its registry calls it; None when nothing says that it is on one."""
        reference = self._built.reference
        if "@" in reference:
            return DeliveredImage(reference, False, f"{reference} is named by its digest, so nothing is sent")
        image = self._raw.image(reference) or {}
        repository = reference.rpartition(":")[0]
        known = [
            digest
            for digest in image.get("RepoDigests") or []
            if full_name(digest.partition("@")[0]) == full_name(repository)
        ]
        # The containerd store gives every image such a digest, also one that was never on a registry.
        if known and (registry_of(reference) or not keeps_blobs(self._raw, image)):
            return DeliveredImage(known[0], False, f"{reference} was pulled as {known[0]}, so nothing is sent")
        if registry_of(reference):
            how = f"{reference} is taken to be in its registry, because its name has one; its digest is not known here"
            return DeliveredImage(reference, False, how)
        return None

    def _nowhere(self) -> str:
        return (
            f"{self._built.reference} is sent nowhere and never pulled, so the cluster must have it: set build.registry, "
            f"or name its node's containerd in CONTAINERD_ADDRESS or in the kubeconfig's extension {EXTENSION}"
        )

    def _target(self) -> _Target | None:
        repository = self._built.reference.rpartition(":")[0]
        setting = os.environ.get("TOOLKIT_REGISTRY") or ""
        source = "TOOLKIT_REGISTRY" if setting else "build.registry"
        setting = setting or self._project.config.build.registry or ""
        if setting:
            try:
                check_registry(setting)
            except ValueError as error:
                raise BadInput(f"{source} {error}, but this is {setting[:60]!r}") from None
        place = setting.removeprefix("https://").removeprefix("http://").rstrip("/")
        host = registry_of(repository)
        if host is not None:
            return _Target(host, repository, setting.startswith("http://") and place.partition("/")[0] == host)
        if not setting:
            return None
        full = parse_reference(f"{place}/{repository}", source).repository
        return _Target(place.partition("/")[0], full, setting.startswith("http://"))

    def _push(self, target: _Target) -> DeliveredImage:
        from toolkit.build.delivery.registry import Registry, push_image

        tag = self._built.reference.rpartition(":")[2]
        pushes = _Pushes(self._folder / "pushes.json")
        last, mount = pushes.last(target.repository, tag), pushes.other(target.repository, target.host)
        authority = network_files(self._project.config.build.network, self._project.home).get("ca")
        path = target.repository.partition("/")[2]
        with Registry(target.host, path, target.plain, authority, mount) as registry:
            pushed = push_image(registry, tag, ImageContents(self._raw, self._folder, self._built), last, self._report)
        if pushed.digest != last:
            pushes.remember(target.repository, tag, pushed.digest)
        reference = f"{target.repository}@{pushed.digest}"
        amount = (
            f"sent {pushed.layers} of {pushed.total} layers, {_size(pushed.size)}"
            if pushed.total
            else "it was there, nothing sent"
        )
        how = f"pushed {target.repository}:{tag} ({amount})"
        self._report(how)
        return DeliveredImage(reference, False, how)

    def _nodes(self, load: bool | None, explicit: bool) -> list[Node]:
        """The nodes to load into: what is asked for, or, if ``explicit``, what something names."""
        if load is False or not (load or explicit):
            return []
        from toolkit.build.delivery.node import find_nodes

        return find_nodes(self._raw, None, self._context, self._node, well_known=bool(load))

    def _load(self, nodes: list[Node]) -> DeliveredImage:
        from toolkit.build.delivery.node import LoadResult, load_into_node

        def into(node: Node) -> LoadResult:
            return load_into_node(node, ImageContents(self._raw, self._folder, self._built), self._report)

        if len(nodes) == 1:
            results = [into(nodes[0])]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(len(nodes), 4)) as pool:
                results = list(pool.map(into, nodes))
        said = []
        for node, loaded in zip(nodes, results, strict=True):
            amount = (
                f"sent {len(loaded.sent)} of {loaded.total} layers, {_size(sum(loaded.sent.values()))}"
                if loaded.sent
                else "it was there, nothing sent"
            )
            said.append(f"loaded {self._built.reference} into {node.name} ({amount})")
            self._report(said[-1])
        return DeliveredImage(self._built.reference, True, "; ".join(said), loaded=True)


class _Pushes:
    """The last push to each repository, so that an unchanged one needs one question."""

    _KEPT = 32

    def __init__(self, file: os.PathLike[str]) -> None:
        from pathlib import Path

        self._file = Path(file)
        self._found = self._read()

    def last(self, repository: str, tag: str) -> str | None:
        """The manifest's digest when this tag was the last one pushed there."""
        found = self._found.get(repository)
        return found[1] if found is not None and found[0] == tag else None

    def other(self, repository: str, host: str) -> str | None:
        """Another repository of the same registry that was pushed to, the newest, without its host."""
        others = [one for one in self._found if one != repository and one.startswith(f"{host}/")]
        return others[-1].partition("/")[2] if others else None

    def remember(self, repository: str, tag: str, digest: str) -> None:
        found = self._read()
        found.pop(repository, None)
        found[repository] = [tag, digest]
        write_whole(str(self._file), json.dumps(dict(list(found.items())[-self._KEPT :])).encode())

    def _read(self) -> dict[str, list[str]]:
        try:
            found = json.loads(self._file.read_bytes())
            return {str(name): [str(tag), str(digest)] for name, (tag, digest) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _size(size: int) -> str:
    """A number of bytes as it is read most easily."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
