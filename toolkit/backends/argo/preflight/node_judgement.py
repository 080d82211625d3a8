"""Says what the answers mean for pods: nodes, quotas, limits and images. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.workflow import Image
from toolkit.backends.argo.preflight.facts import Denied, Facts, ask_admin, ask_admin_of_cluster
from toolkit.backends.argo.preflight.needs import GPU, IMAGES_LISTED, Finding, Level, Needs, Shape
from toolkit.config.quantity import parse_cpu, parse_memory
from toolkit.config.settings import ResourceList, Resources, Toleration


def usable_nodes(nodes: Iterable[KubernetesObject], shape: Shape) -> list[KubernetesObject]:
    """The nodes that the scheduler could put pods of this shape on, as far as labels and taints go."""
    return [
        node
        for node in nodes
        if not node["spec"].get("unschedulable")
        and _matches_selector(node, shape)
        and all(
            taint["effect"] == "PreferNoSchedule" or any(_tolerates(one, taint) for one in shape.tolerations)
            for taint in node["spec"].get("taints") or ()
        )
    ]


def _matches_selector(node: KubernetesObject, shape: Shape) -> bool:
    return shape.node_selector.items() <= (node["metadata"].get("labels") or {}).items()


def _tolerates(toleration: Toleration, taint: Mapping[str, str]) -> bool:
    if toleration.effect is not None and toleration.effect != taint["effect"]:
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    if toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.get("value", "")


_POOLS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/",
)


def judge_nodes(facts: Facts, shape: Shape) -> Iterator[Finding]:
    nodes = facts.nodes
    if isinstance(nodes, Denied):
        if shape.node_selector or _requests(shape.resources):
            what = f"whether a node has what {shape} ask{'s' if len(shape.steps) == 1 else ''} for is not known: {nodes.why}"
            yield Finding("unknown", what, ask_admin_of_cluster(facts))
        return
    # A pool that makes nodes when pods wait for them may make one that fits.
    grows = any(label.startswith(_POOLS) for node in nodes for label in node["metadata"].get("labels") or {})
    level: Level = "warning" if grows else "error"
    note = ", unless its pools add one" if grows else ""
    labels = facts.kubectl("get", "nodes", "--show-labels", everywhere=True)
    if not any(_matches_selector(node, shape) for node in nodes):
        wanted = ", ".join(f"{key}={value}" for key, value in shape.node_selector.items())
        what = (
            f"no node of the cluster has the labels {wanted} that {shape} must have"
            if wanted
            else "the cluster has no node"
        )
        yield Finding(level, what + note, f"mend executor.config.node_selector: {labels}" if wanted else labels)
        return
    usable = usable_nodes(nodes, shape)
    if not usable:
        taints = {
            taint["key"]
            for node in nodes
            if _matches_selector(node, shape)
            for taint in node["spec"].get("taints") or ()
        }
        why = f"they have the taints {', '.join(sorted(taints))}" if taints else "they are cordoned"
        mend = "set executor.config.tolerations, or see " + facts.kubectl("describe", "nodes", everywhere=True)
        yield Finding(level, f"no node takes pods of {shape} now: {why}{note}", mend)
        return
    for name, (text, amount) in _requests(shape.resources).items():
        best = max(
            (_amount(node["status"].get("allocatable", {}).get(name, "0")) for node in usable), default=Fraction(0)
        )
        if amount > best:
            shown = _amount_text(name, best)
            what = f"no node has {name} {text} for {shape}: the largest that it may run on has {shown}"
            yield Finding(level, what + note, "lower executor.config.resources, or add a larger node")
            return
    yield Finding("ok", f"{len(usable)} node{'s' if len(usable) > 1 else ''} can take the pods of {shape}")


def _requests(resources: Resources) -> dict[str, tuple[str, Fraction]]:
    """What the scheduler looks for: the requests, and a limit where there is no request."""
    found = {}
    for name, text in {**_resource_texts(resources.limits), **_resource_texts(resources.requests)}.items():
        found[name] = (text, _amount(text))
    return found


def _resource_texts(amounts: ResourceList) -> dict[str, str]:
    gpu = str(amounts.gpu) if amounts.gpu else None
    named = {"cpu": amounts.cpu, "memory": amounts.memory, GPU: gpu}
    return {name: text for name, text in named.items() if text is not None}


def _amount(text: str) -> Fraction:
    """Thousandths of a CPU and bytes alike as the plain number; 0 for what is no amount."""
    try:
        return Fraction(parse_cpu(text), 1000)
    except ValueError:
        try:
            return Fraction(parse_memory(text))
        except ValueError:
            return Fraction(0)


def _amount_text(name: str, amount: Fraction) -> str:
    return f"{int(amount) >> 20}Mi" if name == "memory" else f"{float(amount):g}"


def judge_limit_ranges(facts: Facts, shape: Shape) -> Iterator[Finding]:
    """What would refuse a pod of this shape outright; where they can't be seen, the quotas say so once."""
    if isinstance(facts.limit_ranges, Denied):
        return
    limits, asked = _resource_texts(shape.resources.limits), _requests(shape.resources)
    for one in facts.limit_ranges:
        name = one["metadata"]["name"]
        edit = f"mend executor.config.resources, or an admin changes it: {facts.kubectl('edit', 'limitrange', name)}"
        for rule in one["spec"].get("limits") or ():
            if rule["type"] not in ("Container", "Pod"):
                continue
            for resource, most in (rule.get("max") or {}).items():
                text = limits.get(resource)
                if text is not None and _amount(text) > _amount(most):
                    what = f"the LimitRange {name} allows {resource} {most}, and the limit of {shape} is {text}"
                    yield Finding("error", what, edit)
            for resource, least in (rule.get("min") or {}).items():
                if rule["type"] == "Container" and resource in asked and asked[resource][1] < _amount(least):
                    what = f"the LimitRange {name} wants at least {resource} {least}, and {shape} asks for {asked[resource][0]}"
                    yield Finding("error", what, edit)


def judge_quotas(facts: Facts, needs: Needs) -> Iterator[Finding]:
    if isinstance(facts.quotas, Denied):
        yield Finding(
            "unknown", f"the quotas of the namespace can't be looked at: {facts.quotas.why}", ask_admin(facts)
        )
        return
    given = _defaults(() if isinstance(facts.limit_ranges, Denied) else facts.limit_ranges)
    for one in facts.quotas:
        if one["spec"].get("scopes") or one["spec"].get("scopeSelector"):
            continue  # of some pods only, and which is decided later
        name, hard = one["metadata"]["name"], one["spec"].get("hard") or {}
        used = one.get("status", {}).get("used") or {}
        edit = f"free some of it, or an admin changes it: {facts.kubectl('edit', 'resourcequota', name)}"
        spelt = {"cpu": "requests.cpu", "memory": "requests.memory"}
        wanted = [resource for resource in hard if spelt.get(resource, resource).startswith(("requests.", "limits."))]
        wanted = [resource for resource in wanted if resource.endswith(("cpu", "memory"))]
        lacking = [resource for resource in wanted if spelt.get(resource, resource) not in given]
        if lacking:
            what = (
                f"the quota {name} refuses containers without {', '.join(lacking)}, and Argo's own containers in each pod have "
                "none unless the controller's settings or a LimitRange give them"
            )
            yield Finding("warning", what, facts.apply("limits"))
        counted = ("pods", "count/pods", "count/workflows.argoproj.io", "count/configmaps", "configmaps", *wanted)
        for resource in counted:
            if resource in hard and _amount(hard[resource]) <= _amount(used.get(resource, "0")):
                yield Finding("warning", f"the quota {name} is used up: {resource} {hard[resource]}", edit)
        for shape in needs.shapes:
            for resource, text in _quota_usage(shape.resources).items():
                most = hard.get(resource)
                if most is not None and _amount(text) > _amount(most):
                    what = f"the quota {name} has {resource} {most} for all pods, and each of {shape} takes {text}"
                    yield Finding("error", what, edit)


def _quota_usage(resources: Resources) -> dict[str, str]:
    """What a pod counts for, by the names that quotas have."""
    asked = {name: text for name, (text, _) in _requests(resources).items()}
    found = {f"limits.{name}": text for name, text in _resource_texts(resources.limits).items()}
    found.update({f"requests.{name}": text for name, text in asked.items()})
    return {**found, **{name: text for name, text in asked.items() if name in ("cpu", "memory")}}


def _defaults(limit_ranges: Iterable[KubernetesObject]) -> set[str]:
    """What the LimitRanges give to containers that say nothing, by the names that quotas have."""
    given: set[str] = set()
    for one in limit_ranges:
        for rule in one["spec"].get("limits") or ():
            if rule["type"] == "Container":
                given.update(f"limits.{name}" for name in (*(rule.get("default") or ()), *(rule.get("max") or ())))
                # A request that is not given is the limit.
                requests = (*(rule.get("defaultRequest") or ()), *(rule.get("default") or ()), *(rule.get("max") or ()))
                given.update(f"requests.{name}" for name in requests)
    return given


def judge_image(facts: Facts, needs: Needs, image: Image) -> Finding:
    if image.loaded:
        return Finding("ok", f"the image {image.reference} was loaded into the nodes")
    if not image.never_pulled:
        what = f"the nodes pull the image {image.reference}: whether its registry has it and lets them can't be seen from here"
        return Finding("unknown", what)
    if isinstance(facts.nodes, Denied):
        what = f"whether a node has the image {image.reference}, which is never pulled, is not known: {facts.nodes.why}"
        return Finding("unknown", what, ask_admin_of_cluster(facts))
    nodes = {node["metadata"]["name"]: node for shape in needs.shapes for node in usable_nodes(facts.nodes, shape)}
    having = {name for name, node in nodes.items() if _has(node, image.reference)}
    without = sorted(nodes.keys() - having)
    if not without:
        return Finding("ok", f"the image {image.reference} is on {'the node' if len(nodes) == 1 else 'all nodes'}")
    # A kubelet tells of its largest images only, and of a new one within a minute; so this is never an error.
    full = any(len(nodes[name].get("status", {}).get("images") or ()) >= IMAGES_LISTED for name in without)
    listed = ", ".join(without[:3]) + (" …" if len(without) > 3 else "")
    what = f"the image {image.reference} is never pulled, and the node{'s' if len(without) > 1 else ''} {listed} "
    if full:
        return Finding("unknown", what + f"may not have it (a node names {IMAGES_LISTED} of its images only)")
    mend = (
        f"if it was not loaded just now: docker save {image.reference} | ctr -n k8s.io images import - on each node, "
        "or give executor.config.image a registry"
    )
    return Finding("warning", what + "did not have it a minute ago", mend)


def _has(node: KubernetesObject, reference: str) -> bool:
    named = {name for one in node.get("status", {}).get("images") or () for name in one.get("names") or ()}
    return _full_name(reference) in {_full_name(name) for name in named}


def _full_name(reference: str) -> str:
    """With the registry and the tag that a short name stands for."""
    first, slash, _ = reference.partition("/")
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif not ("." in first or ":" in first or first == "localhost"):
        reference = f"docker.io/{reference}"
    tagged = "@" in reference or ":" in reference.rpartition("/")[2]
    return reference if tagged else f"{reference}:latest"
