"""Delivers a built image to where a cluster gets it from: pushes it to a registry, or loads it into a node."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.delivery.kubeconfig import EXTENSION
from toolkit.build.environment.definition import network_files
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import ImageContents
from toolkit.build.image.engine_images import uses_containerd_store
from toolkit.build.progress import shown_size
from toolkit.build.reference import full_name, parse_reference, registry_of
from toolkit.build.state import build_folder
from toolkit.config.rules import check_registry
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.whole_files import write_whole

if TYPE_CHECKING:
    from toolkit.build.delivery.node import Node
    from toolkit.build.delivery.registry import RemoteRepository
    from toolkit.platforms import Platform

Report = Callable[[str], None]


@dataclass(frozen=True)
class DeliveredImage:
    """Where a cluster finds an image.

    Attributes:
        reference: what a manifest should name it by: with the digest of its manifest, where a registry has it.
        pull_policy_never: no registry has it, so a cluster must not try to pull it.
        how: what was done, or why nothing was done, as one sentence.
        loaded: the nodes have it, from now or from an earlier load.
        node_name: the name that holds its whole digest, where it is loaded into nodes; they have the reference as well.
    """

    reference: str
    pull_policy_never: bool
    how: str
    loaded: bool = False
    node_name: str = ""

    @property
    def name_in_pods(self) -> str:
        """What the pods of a run name it by. No other image can get that name, as far as the image was delivered by toolkit."""
        return self.node_name or self.reference


@dataclass(frozen=True)
class _PushTarget:
    """Where an image is pushed to.

    Attributes:
        repository: including the registry's host.
        plain_http: HTTP instead of HTTPS.
    """

    host: str
    repository: str
    plain_http: bool


def deliver(
    project: Project, built: BuiltImage, report: Report, push: bool | None = None, load: bool | None = None,
    context: str | None = None, *, node: str | None = None, engine: EngineApi | None = None, final: bool = True,
    materials: bytes | None = None,
) -> DeliveredImage:  # fmt: skip
    """Pushes the image, loads it into a node, or leaves it where it is.

    Without a request for either, the image is pushed if its name, ``build.registry`` or TOOLKIT_REGISTRY names a registry.
    Else it is loaded if CONTAINERD_ADDRESS, the kubeconfig or a kind context names a node. Else nothing is sent.
    An existing image that is used as it is is never pushed, because its registry has it. The registry is asked for the digest
    of an image, unless the image's name or the engine, which has pulled it, says it already.

    Args:
        report: gets progress and what was sent, a sentence at a time; ``how`` is one of them.
        push: True pushes, False does not, None follows the rule above. False for both only names the image.
        load: the same for loading.
        context: of the kubeconfig; None is executor.config.context, else the current one.
        node: the address of the containerd to load into.
        engine: the engine that has the image; None is the one that DOCKER_HOST or the current context names.
        materials: the image's bill of materials, which is attached to it in a registry; None is one where build.sbom is set.
        final: pods will be made by the answer. So an image that a registry should have must be there, also where nothing is sent.

    Raises:
        BadInput: this image cannot be delivered as requested, no node is found, or the registry does not have it.
        Infrastructure: the registry, the node or the engine fails.
    """
    build_folder(project)
    delivery = _Delivery(
        project, built, engine or EngineApi(), report, context or project.config.executor.config.context, node, final,
        materials,
    )  # fmt: skip
    load = True if node else load
    delivered = delivery.deliver_existing(push, load) if built.existing else delivery.deliver_built(push, load)
    if not delivered.how.startswith(_REPORTED):
        report(delivered.how)
    return delivered


def foresee_delivery(
    project: Project, repository: str, push: bool, load: bool, context: str | None = None, node: str | None = None,
    engine: EngineApi | None = None,
) -> list[str]:  # fmt: skip
    """Where an image of this name would be sent, as sentences. No registry and no node is asked anything.

    Raises:
        BadInput: there is no registry, or the node that is named is not there.
    """
    context = context or project.config.executor.config.context
    image = BuiltImage(f"{repository}:", "", "", "", "", changed=False)
    delivery = _Delivery(
        project, image, engine or EngineApi(), lambda _: None, context, node, final=False, materials=None
    )
    return delivery.foreseen(push, load)


def push_index(
    project: Project,
    pushed: Sequence[tuple[Platform, BuiltImage, str]],
    report: Report,
    engine: EngineApi | None = None,
) -> str:
    """Pushes an index of images that were pushed for several platforms; returns its reference, with its digest.

    The same images give the same index, and its tag follows from its content, as that of an image does.

    Args:
        pushed: each with its platform and the reference that :func:`deliver` gave it.

    Raises:
        Infrastructure: the registry fails.
    """
    from toolkit.build.delivery.index import image_index, index_tag

    delivery = _Delivery(project, pushed[0][1], engine or EngineApi(), report, None, None, final=True, materials=None)
    target = delivery.wanted_target()
    with delivery.repository(target) as repository:
        described = []
        for platform, _, reference in pushed:
            digest = reference.rpartition("@")[2]
            manifest = repository.manifest(digest)
            if manifest is None:
                raise Infrastructure(
                    f"the registry {target.host} lost {reference}, which was pushed a moment ago: push again"
                )
            described.append((platform, digest, manifest))
        index = image_index(described)
        tag = index_tag(index)
        digest = repository.put_index(tag, index)
    names = ", ".join(str(platform) for platform, _, _ in pushed)
    report(f"pushed {target.repository}:{tag}, which is the image for {names}")
    return f"{target.repository}@{digest}"


_REPORTED = ("pushed", "loaded")
"""How the sentences begin that are reported when the work is done."""


class _Delivery:
    def __init__(
        self,
        project: Project,
        built: BuiltImage,
        engine: EngineApi,
        report: Report,
        context: str | None,
        node: str | None,
        final: bool,
        materials: bytes | None,
    ) -> None:
        self._project = project
        self._built = built
        self._engine = engine
        self._report = report
        self._context = context
        self._node = node
        self._final = final
        self._materials = materials
        self._folder = project.state / "build"

    def foreseen(self, push: bool, load: bool) -> list[str]:
        sentences = []
        if push:
            target = self.wanted_target()
            sentences.append(f"the layers that {target.host} lacks would be pushed to {target.repository}")
        if load:
            from toolkit.build.delivery.node import find_nodes

            nodes = find_nodes(self._engine, None, self._context, self._node, well_known=False)
            where = ", ".join(node.name for node in nodes) or "the node that is found on this machine then"
            sentences.append(f"the layers that it lacks would be loaded into {where}")
        return sentences

    def deliver_built(self, push: bool | None, load: bool | None) -> DeliveredImage:
        reference = self._built.reference
        if push is False and load is False:
            return self._name_only()
        target = None if push is False else self.wanted_target() if push else self._target()
        is_pushed = bool(push) if push is not None or load else target is not None
        nodes = self._nodes(load, or_named=not is_pushed)
        pushed = self._push(target) if is_pushed and target is not None else None
        loaded = self._load(nodes) if nodes else None
        if pushed is not None:
            return pushed
        return loaded or DeliveredImage(reference, True, self._not_delivered())

    def _name_only(self) -> DeliveredImage:
        """How a cluster would name the image if it were delivered by the rule; nothing is sent."""
        target = self._target()
        if target is None:
            how = f"{self._built.reference} is on no registry: `toolkit build --load` loads it into a node"
            return DeliveredImage(self._built.reference, True, how, node_name=self._name_in_named_node())
        tag = self._built.reference.rpartition(":")[2]
        digest = _PushHistory(self._folder / "pushes.json").last_digest(target.repository, tag)
        if self._final:
            digest = self._ask_for_digest(target, tag, digest)
        if digest is not None:
            return DeliveredImage(f"{target.repository}@{digest}", False, f"{target.repository}:{tag} was pushed")
        how = f"{target.repository}:{tag} was not pushed from this project: `toolkit build --push` pushes it"
        return DeliveredImage(f"{target.repository}:{tag}", False, how)

    def _name_in_named_node(self) -> str:
        """The name that the image has in a node into which the rule would load it; empty when nothing names a node.

        A check that makes no pods gets none: its remedies are for the engine, which does not know the image by that name.
        """
        from toolkit.build.delivery.node import names_node

        return self._built.name_by_digest if self._final and names_node(self._engine, self._context) else ""

    def _ask_for_digest(self, target: _PushTarget, tag: str, last_digest: str | None) -> str:
        """The digest by which the registry has an image that was built here.

        Raises:
            BadInput: the registry does not have it.
        """
        with self.repository(target) as repository:
            if last_digest is not None and repository.has_manifest(last_digest):
                return last_digest
            found = repository.manifest_and_config_digest(tag)
        if found is None or found[1] != self._built.digest:
            raise BadInput(
                f"the registry {target.host} does not have {target.repository}:{tag} as it was built here, so pods could not "
                "get it: `toolkit build --push` pushes it"
            )
        return found[0]

    def deliver_existing(self, push: bool | None, load: bool | None) -> DeliveredImage:
        reference = self._built.reference
        if push:
            self._report(f"note: {reference} is an existing image that is used as it is, so it is not pushed")
        if not load:
            in_registry = self._name_in_registry()
            if in_registry is not None:
                return in_registry
        elif "@" in reference:
            raise BadInput(
                f"{reference} cannot be loaded into a node, because it is named by its registry's digest: a cluster pulls "
                "it from there; name it by a tag to load it"
            )
        nodes = self._nodes(load, or_named=True)
        if nodes:
            return self._load(nodes)
        node_name = self._name_in_named_node() if load is False else ""
        return DeliveredImage(reference, True, self._not_delivered(), node_name=node_name)

    def _name_in_registry(self) -> DeliveredImage | None:
        """An existing image by the digest that its registry has it under; None when nothing shows that a registry has it.

        Raises:
            BadInput: its registry does not have it, or has another image under its tag.
        """
        reference = self._built.reference
        if "@" in reference:
            return DeliveredImage(reference, False, f"{reference} is named by its digest, so nothing is sent")
        image = self._engine.image(self._built.id) or {}
        repository, _, tag = reference.rpartition(":")
        digests = [
            digest.partition("@")[2]
            for digest in image.get("RepoDigests") or []
            if full_name(digest.partition("@")[0]) == full_name(repository)
        ]
        host = registry_of(reference)
        # The containerd store gives every image such a digest, even one that no registry ever had.
        if digests and not uses_containerd_store(self._engine, image):
            pulled = f"{repository}@{digests[0]}"
            return DeliveredImage(pulled, False, f"{reference} was pulled as {pulled}, so nothing is sent")
        if host is None:
            return None
        if not self._final or self._project.config.executor.config.image_pull_policy == "Never":
            how = f"{reference} names a registry, so nothing is sent; its digest is not known on this machine"
            return DeliveredImage(reference, False, how)
        digest = self._digest_of_existing(_PushTarget(host, repository, self._is_plain_http(host)), tag, digests)
        how = f"{reference} is {repository}@{digest} in its registry, so nothing is sent"
        return DeliveredImage(f"{repository}@{digest}", False, how)

    def _digest_of_existing(self, target: _PushTarget, tag: str, known: list[str]) -> str:
        with self.repository(target) as repository:
            for digest in known:
                if repository.has_manifest(digest):
                    return digest
            found = repository.manifest_and_config_digest(tag)
        reference, here = self._built.reference, (self._built.id, self._built.digest)
        if found is None:
            raise BadInput(
                f"image: the registry {target.host} does not have {reference}, so pods could not get it: push it there; where "
                "the nodes have it already, set image_pull_policy to Never"
            )
        digest, config = found
        # The config of an image for several platforms is not told: the runtime compares what it finds.
        if config is not None and config not in here and digest not in here:
            raise BadInput(
                f"image: {reference} is another image in its registry than on this machine, where the pipeline was described: "
                "`docker pull` or `docker push` it"
            )
        return digest

    def _not_delivered(self) -> str:
        return (
            f"{self._built.reference} is neither pushed nor loaded, and pods do not pull it, so the cluster must have it: set "
            f"build.registry, or name its node's containerd in CONTAINERD_ADDRESS or in the kubeconfig's extension {EXTENSION}"
        )

    def _registry_setting(self) -> tuple[str, str]:
        """TOOLKIT_REGISTRY, else build.registry, and which of them it is; empty when neither is set.

        Raises:
            BadInput: it is no registry.
        """
        setting = os.environ.get("TOOLKIT_REGISTRY") or ""
        source = "TOOLKIT_REGISTRY" if setting else "build.registry"
        setting = setting or self._project.config.build.registry or ""
        if setting:
            try:
                check_registry(setting)
            except ValueError as error:
                raise BadInput(f"{source} {error}, but this is {setting[:60]!r}") from None
        return setting, source

    def _is_plain_http(self, host: str) -> bool:
        setting, _ = self._registry_setting()
        return setting.startswith("http://") and _without_scheme(setting).partition("/")[0] == host

    def _target(self) -> _PushTarget | None:
        repository = self._built.reference.rpartition(":")[0]
        setting, source = self._registry_setting()
        prefix = _without_scheme(setting)
        host = registry_of(repository)
        if host is not None:
            return _PushTarget(host, repository, self._is_plain_http(host))
        if not setting:
            return None
        with_prefix = parse_reference(f"{prefix}/{repository}", source).repository
        return _PushTarget(prefix.partition("/")[0], with_prefix, setting.startswith("http://"))

    def wanted_target(self) -> _PushTarget:
        target = self._target()
        if target is None:
            raise BadInput(
                f"--push needs a registry, and the name {self._built.reference.rpartition(':')[0]} has none: set build.registry or "
                "TOOLKIT_REGISTRY, or write executor.config.image with one (HOST/NAME)"
            )
        return target

    def repository(self, target: _PushTarget, mount_from: str | None = None) -> RemoteRepository:
        from toolkit.build.delivery.registry import RemoteRepository

        ca_file = network_files(self._project.config.build.network, self._project.home).get("ca")
        return RemoteRepository(
            target.host, target.repository.partition("/")[2], target.plain_http, ca_file, mount_from
        )

    def _push(self, target: _PushTarget) -> DeliveredImage:
        from toolkit.build.delivery.annotations import manifest_annotations
        from toolkit.build.delivery.registry import push_image

        tag = self._built.reference.rpartition(":")[2]
        history = _PushHistory(self._folder / "pushes.json")
        last_digest = history.last_digest(target.repository, tag)
        mount_from = history.other_repository(target.repository, target.host)
        contents = ImageContents(self._engine, self._folder, self._built)
        annotations = partial(manifest_annotations, self._project, self._built, self._engine)
        with self.repository(target, mount_from) as repository:
            pushed = push_image(repository, tag, contents, last_digest, self._report, annotations)
            attached = self._attach(repository, pushed.digest)
        if pushed.digest != last_digest:
            history.add(target.repository, tag, pushed.digest)
        reference = f"{target.repository}@{pushed.digest}"
        amount = (
            f"sent {pushed.layers} of {pushed.total} layers, {shown_size(pushed.size)}"
            if pushed.total
            else "it was there already, nothing was sent"
        )
        how = f"pushed {target.repository}:{tag} ({amount}){attached}"
        self._report(how)
        return DeliveredImage(reference, False, how)

    def _attach(self, repository: RemoteRepository, digest: str) -> str:
        """Attaches the bill of materials to a pushed image, where one is wanted; what is said of that."""
        if self._materials is None and not self._project.config.build.sbom:
            return ""
        from toolkit.build.delivery.referrers import attach

        if self._materials is None:
            from toolkit.build.image.materials import materials_of

            self._materials = materials_of(self._project, self._built, self._engine)
        try:
            is_new = attach(repository, digest, self._materials, "application/vnd.cyclonedx+json", "sbom.cdx.json")
        except Infrastructure as error:
            raise Infrastructure(
                f"the image was pushed, but its bill of materials can't be attached: {error}"
            ) from error
        return ", its bill of materials attached" if is_new else ""

    def _nodes(self, load: bool | None, or_named: bool) -> list[Node]:
        """The nodes to load into: when that is requested, or, if ``or_named``, when the environment names them."""
        if load is False or not (load or or_named):
            return []
        from toolkit.build.delivery.container_nodes import NotLoadable
        from toolkit.build.delivery.node import find_nodes

        try:
            return find_nodes(self._engine, None, self._context, self._node, well_known=bool(load))
        except NotLoadable:
            if load:
                raise
            return []

    def _load(self, nodes: list[Node]) -> DeliveredImage:
        from toolkit.build.delivery.node import LoadResult, load_into_node

        def load(node: Node) -> LoadResult:
            return load_into_node(node, ImageContents(self._engine, self._folder, self._built), self._report)

        if len(nodes) == 1:
            results = [load(nodes[0])]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(len(nodes), 4)) as pool:
                results = list(pool.map(load, nodes))
        sentences = []
        for node, loaded in zip(nodes, results, strict=True):
            amount = (
                f"sent {len(loaded.sent)} of {loaded.total} layers, {shown_size(sum(loaded.sent.values()))}"
                if loaded.sent
                else "it was there already, nothing was sent"
            )
            sentences.append(f"loaded {self._built.reference} into {node.name} ({amount})")
            self._report(sentences[-1])
        how = "; ".join(sentences)
        return DeliveredImage(self._built.reference, True, how, loaded=True, node_name=self._built.name_by_digest)


def _without_scheme(registry: str) -> str:
    return registry.removeprefix("https://").removeprefix("http://").rstrip("/")


class _PushHistory:
    """The last push to each repository. It lets an unchanged push take one request."""

    _KEPT = 32
    """Repositories that are remembered."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pushes = self._read()

    def last_digest(self, repository: str, tag: str) -> str | None:
        """The manifest's digest, if this tag was the last one pushed there."""
        last = self._pushes.get(repository)
        return last[1] if last is not None and last[0] == tag else None

    def other_repository(self, repository: str, host: str) -> str | None:
        """The last other repository of this registry that was pushed to, without the host."""
        others = [name for name in self._pushes if name != repository and name.startswith(f"{host}/")]
        return others[-1].partition("/")[2] if others else None

    def add(self, repository: str, tag: str, digest: str) -> None:
        pushes = self._read()
        pushes.pop(repository, None)
        pushes[repository] = [tag, digest]
        write_whole(str(self._file), json.dumps(dict(list(pushes.items())[-self._KEPT :])).encode())

    def _read(self) -> dict[str, list[str]]:
        try:
            pushes = json.loads(self._file.read_bytes())
            return {str(name): [str(tag), str(digest)] for name, (tag, digest) in pushes.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
