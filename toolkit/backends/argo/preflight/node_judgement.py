"""Judges what keeps pods from running: nodes, quotas, limit ranges and images. Pure.

The cluster has reasons of its own, but they come late or not at all. That no node takes a step is reported when its turn comes,
perhaps after hours of work. A pod over a quota is never created, and Argo tries again without end, so no pod says why. What
the API server refuses at the submit itself is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.workflow import Image
from toolkit.backends.argo.preflight.facts import Denied, Facts, ask_admin, ask_admin_of_cluster
from toolkit.backends.argo.preflight.needs import GPU, IMAGES_LISTED, Finding, Level, Needs, SimilarSteps
from toolkit.config.quantity import parse_cpu, parse_memory
from toolkit.config.settings import ResourceList, Resources, Toleration


def usable_nodes(nodes: Iterable[KubernetesObject], steps: SimilarSteps) -> list[KubernetesObject]:
    """The nodes on which the scheduler could put pods of these steps, by labels and taints alone."""
    return [
        node
        for node in nodes
        if not node["spec"].get("unschedulable")
        and _matches_selector(node, steps)
        and all(
            taint["effect"] == "PreferNoSchedule"
            or any(_tolerates(toleration, taint) for toleration in steps.tolerations)
            for taint in node["spec"].get("taints") or ()
        )
    ]


def _matches_selector(node: KubernetesObject, steps: SimilarSteps) -> bool:
    return steps.node_selector.items() <= (node["metadata"].get("labels") or {}).items()


def _tolerates(toleration: Toleration, taint: Mapping[str, str]) -> bool:
    if toleration.effect is not None and toleration.effect != taint["effect"]:
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    if toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.get("value", "")


_POOL_LABELS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/",
)
"""How labels begin that only the nodes of a pool have."""


def judge_nodes(facts: Facts, steps: SimilarSteps) -> Iterator[Finding]:
    nodes = facts.nodes
    if isinstance(nodes, Denied):
        if steps.node_selector or _requests(steps.resources):
            what = f"whether a node has what {steps} ask{'s' if len(steps.paths) == 1 else ''} for is not known: {nodes.why}"
            yield Finding("unknown", what, ask_admin_of_cluster(facts))
        return
    # A pool that adds nodes when pods wait for them may add one that fits.
    grows = any(label.startswith(_POOL_LABELS) for node in nodes for label in node["metadata"].get("labels") or {})
    level: Level = "warning" if grows else "error"
    note = ", unless its pools add one" if grows else ""
    labels = facts.kubectl("get", "nodes", "--show-labels", everywhere=True)
    if not any(_matches_selector(node, steps) for node in nodes):
        selector = ", ".join(f"{key}={value}" for key, value in steps.node_selector.items())
        what = (
            f"no node of the cluster has the labels {selector} that {steps} must have"
            if selector
            else "the cluster has no node"
        )
        yield Finding(
            level,
            what + note,
            f"fix executor.config.node_selector; the nodes have these labels: {labels}" if selector else labels,
        )
        return
    usable = usable_nodes(nodes, steps)
    if not usable:
        taints = {
            taint["key"]
            for node in nodes
            if _matches_selector(node, steps)
            for taint in node["spec"].get("taints") or ()
        }
        why = f"they have the taints {', '.join(sorted(taints))}" if taints else "they are cordoned"
        remedy = "set executor.config.tolerations, or see " + facts.kubectl("describe", "nodes", everywhere=True)
        yield Finding(level, f"no node takes pods of {steps} now: {why}{note}", remedy)
        return
    for name, (text, amount) in _requests(steps.resources).items():
        best = max(
            (_amount(node["status"].get("allocatable", {}).get(name, "0")) for node in usable), default=Fraction(0)
        )
        if amount > best:
            shown = _amount_text(name, best)
            what = f"no node has {name} {text} for {steps}: the largest that it may run on has {shown}"
            yield Finding(level, what + note, "lower executor.config.resources, or add a larger node")
            return
    yield Finding("ok", f"{len(usable)} node{'s' if len(usable) > 1 else ''} can take the pods of {steps}")


def _requests(resources: Resources) -> dict[str, tuple[str, Fraction]]:
    """What the scheduler counts: the requests, and a limit where there is no request."""
    requests = {}
    for name, text in {**_resource_texts(resources.limits), **_resource_texts(resources.requests)}.items():
        requests[name] = (text, _amount(text))
    return requests


def _resource_texts(amounts: ResourceList) -> dict[str, str]:
    gpu = str(amounts.gpu) if amounts.gpu else None
    named = {"cpu": amounts.cpu, "memory": amounts.memory, GPU: gpu}
    return {name: text for name, text in named.items() if text is not None}


def _amount(text: str) -> Fraction:
    """CPUs or bytes as a plain number; 0 for what is no amount."""
    try:
        return Fraction(parse_cpu(text), 1000)
    except ValueError:
        try:
            return Fraction(parse_memory(text))
        except ValueError:
            return Fraction(0)


def _amount_text(name: str, amount: Fraction) -> str:
    return f"{int(amount) >> 20}Mi" if name == "memory" else f"{float(amount):g}"


def judge_limit_ranges(facts: Facts, steps: SimilarSteps) -> Iterator[Finding]:
    """Where a LimitRange would refuse a pod of these steps. If they can't be read, :func:`judge_quotas` says so, once."""
    if isinstance(facts.limit_ranges, Denied):
        return
    limits, requests = _resource_texts(steps.resources.limits), _requests(steps.resources)
    for limit_range in facts.limit_ranges:
        name = limit_range["metadata"]["name"]
        edit = f"change executor.config.resources, or an admin changes the LimitRange: {facts.kubectl('edit', 'limitrange', name)}"
        for rule in limit_range["spec"].get("limits") or ():
            if rule["type"] not in ("Container", "Pod"):
                continue
            for resource, most in (rule.get("max") or {}).items():
                text = limits.get(resource)
                if text is not None and _amount(text) > _amount(most):
                    what = f"the LimitRange {name} allows {resource} {most}, and the limit of {steps} is {text}"
                    yield Finding("error", what, edit)
            for resource, least in (rule.get("min") or {}).items():
                if rule["type"] == "Container" and resource in requests and requests[resource][1] < _amount(least):
                    text = requests[resource][0]
                    what = f"the LimitRange {name} requires {resource} {least}, and the request of {steps} is {text}"
                    yield Finding("error", what, edit)


def judge_quotas(facts: Facts, needs: Needs) -> Iterator[Finding]:
    if isinstance(facts.quotas, Denied):
        yield Finding("unknown", f"the quotas of the namespace can't be read: {facts.quotas.why}", ask_admin(facts))
        return
    defaults = _defaults(() if isinstance(facts.limit_ranges, Denied) else facts.limit_ranges)
    for quota in facts.quotas:
        if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
            # It counts some pods only, and which ones is not known yet.
            continue
        name, hard = quota["metadata"]["name"], quota["spec"].get("hard") or {}
        used = quota.get("status", {}).get("used") or {}
        edit = f"free some of it, or an admin raises it: {facts.kubectl('edit', 'resourcequota', name)}"
        # In a quota, cpu and memory are short for requests.cpu and requests.memory.
        full_names = {
            resource: {"cpu": "requests.cpu", "memory": "requests.memory"}.get(resource, resource) for resource in hard
        }
        required = [
            resource
            for resource, full_name in full_names.items()
            if full_name.startswith(("requests.", "limits.")) and full_name.endswith(("cpu", "memory"))
        ]
        lacking = [resource for resource in required if full_names[resource] not in defaults]
        if lacking:
            what = (
                f"the quota {name} refuses containers without {', '.join(lacking)}, and Argo's own containers in each pod have "
                "none unless the controller's settings or a LimitRange give them"
            )
            yield Finding("warning", what, facts.apply("limits"))
        for resource in ("pods", "count/pods", *required):
            if resource in hard and _amount(hard[resource]) <= _amount(used.get(resource, "0")):
                yield Finding("warning", f"the quota {name} is used up: {resource} {hard[resource]}", edit)
        for steps in needs.steps:
            for resource, text in _quota_usage(steps.resources).items():
                most = hard.get(resource)
                if most is not None and _amount(text) > _amount(most):
                    what = f"the quota {name} has {resource} {most} for all pods, and each pod of {steps} takes {text}"
                    yield Finding("error", what, edit)


def _quota_usage(resources: Resources) -> dict[str, str]:
    """What a pod takes of a quota, by the names that quotas use."""
    requests = {name: text for name, (text, _) in _requests(resources).items()}
    usage = {f"limits.{name}": text for name, text in _resource_texts(resources.limits).items()}
    usage.update({f"requests.{name}": text for name, text in requests.items()})
    return {**usage, **{name: text for name, text in requests.items() if name in ("cpu", "memory")}}


def _defaults(limit_ranges: Iterable[KubernetesObject]) -> set[str]:
    """What the LimitRanges give to containers that say nothing, by the names that quotas use."""
    defaults: set[str] = set()
    for limit_range in limit_ranges:
        for rule in limit_range["spec"].get("limits") or ():
            if rule["type"] == "Container":
                defaults.update(f"limits.{name}" for name in (*(rule.get("default") or ()), *(rule.get("max") or ())))
                # A request that is left out is the limit.
                requests = (*(rule.get("defaultRequest") or ()), *(rule.get("default") or ()), *(rule.get("max") or ()))
                defaults.update(f"requests.{name}" for name in requests)
    return defaults


def judge_image(facts: Facts, needs: Needs, image: Image) -> Finding:
    if image.loaded:
        return Finding("ok", f"the image {image.reference} was loaded into the nodes")
    if not image.never_pulled:
        what = f"the nodes pull the image {image.reference}: whether its registry has it and allows that can't be seen from here"
        return Finding("unknown", what)
    if isinstance(facts.nodes, Denied):
        what = f"whether a node has the image {image.reference}, which is never pulled, is not known: {facts.nodes.why}"
        return Finding("unknown", what, ask_admin_of_cluster(facts))
    nodes = {node["metadata"]["name"]: node for steps in needs.steps for node in usable_nodes(facts.nodes, steps)}
    having = {name for name, node in nodes.items() if _has(node, image.reference)}
    without = sorted(nodes.keys() - having)
    if not without:
        return Finding("ok", f"the image {image.reference} is on {'the node' if len(nodes) == 1 else 'all nodes'}")
    # A kubelet lists its largest images only, and a new one within a minute. So this is never an error.
    full = any(len(nodes[name].get("status", {}).get("images") or ()) >= IMAGES_LISTED for name in without)
    listed = ", ".join(without[:3]) + (" …" if len(without) > 3 else "")
    what = f"the image {image.reference} is never pulled, and the node{'s' if len(without) > 1 else ''} {listed} "
    if full:
        return Finding("unknown", what + f"may not have it (a node lists only {IMAGES_LISTED} of its images)")
    remedy = (
        f"if it was not loaded just now: docker save {image.reference} | ctr -n k8s.io images import - on each node, "
        "or give executor.config.image a registry"
    )
    return Finding("warning", what + "did not have it a minute ago", remedy)


def _has(node: KubernetesObject, reference: str) -> bool:
    names = {name for image in node.get("status", {}).get("images") or () for name in image.get("names") or ()}
    return _full_name(reference) in {_full_name(name) for name in names}


def _full_name(reference: str) -> str:
    """A reference with the registry and the tag that a short name stands for."""
    first, slash, _ = reference.partition("/")
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif not ("." in first or ":" in first or first == "localhost"):
        reference = f"docker.io/{reference}"
    tagged = "@" in reference or ":" in reference.rpartition("/")[2]
    return reference if tagged else f"{reference}:latest"
