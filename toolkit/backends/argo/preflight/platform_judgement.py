"""Compares the platform of the images with the nodes that the pods may go to. Pure.

The scheduler does not know what platform an image is for. A pod on the wrong node ends with "exec format error".
"""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.preflight.facts import Denied, Facts, ask_admin_of_cluster
from toolkit.backends.argo.preflight.needs import Finding, SimilarSteps
from toolkit.backends.argo.preflight.node_judgement import usable_nodes
from toolkit.platforms import Platform, normalized, parse_platform

_ARCHITECTURE = "kubernetes.io/arch"


def judge_platform(facts: Facts, steps: SimilarSteps) -> Iterator[Finding]:
    """What is wrong with the platform of the image of these steps; nothing where it is not known, or no node takes them anyhow."""
    if not steps.platform:
        return
    image = parse_platform(steps.platform, "image")
    if isinstance(facts.nodes, Denied):
        what = f"whether the nodes run images for {image} is not known: {facts.nodes.why}"
        yield Finding("unknown", what, ask_admin_of_cluster(facts))
        return
    nodes = {node["metadata"]["name"]: _platform(node) for node in usable_nodes(facts.nodes, steps)}
    known = {name: platform for name, platform in nodes.items() if platform is not None}
    unfit = {name: platform for name, platform in known.items() if not platform.runs(image)}
    if not known:
        return
    theirs = ", ".join(sorted({str(platform) for platform in unfit.values()}))
    one = sorted(unfit.values())[0] if unfit else image
    subject = f"the image of {steps} is for {image}" if steps.paths else f"the image is for {image}"
    if steps.has_other_platforms and unfit:
        what = f"{subject} on this machine, and nodes are {theirs}: whether its registry has it for them can't be seen from here"
        yield Finding(
            "warning", what, f"docker manifest inspect IMAGE; else name an image for {one} in executor.config.image"
        )
    elif len(unfit) == len(nodes):
        remedy = f"build it for them: `build: {{platform: {one}}}` in the configuration (or `toolkit build --platform {one}`)"
        yield Finding("error", f"{subject}, and the nodes are {theirs}", remedy, is_input=True)
    elif unfit:
        listed = ", ".join(sorted(unfit)[:3]) + (" …" if len(unfit) > 3 else "")
        remedy = f"executor.config.node_selector: {{{_ARCHITECTURE}: {image.architecture}}}"
        yield Finding("warning", f"{subject}, and pods may go to nodes that are {theirs} ({listed})", remedy)
    else:
        yield Finding("ok", f"{subject}, as the nodes are that {'they' if steps.paths else 'its pods'} may go to")


def _platform(node: KubernetesObject) -> Platform | None:
    info = node.get("status", {}).get("nodeInfo") or {}
    if not info.get("architecture"):
        return None
    return normalized(str(info.get("operatingSystem") or "linux"), str(info["architecture"]))
