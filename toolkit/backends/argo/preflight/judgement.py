"""Says what the answers mean: the cluster, its controller, rights, accounts, claims and secrets. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT
from toolkit.backends.argo.pods import newest_event
from toolkit.backends.argo.preflight.facts import (
    Answer,
    Claim,
    Denied,
    Facts,
    ask_admin,
    ask_admin_of_cluster,
    container_words,
    controller_container,
    option,
)
from toolkit.backends.argo.preflight.needs import (
    ACCOUNT_RIGHTS,
    INSTALL,
    INSTANCE_LABEL,
    OLDEST,
    Finding,
    Level,
    Needs,
    Right,
)
from toolkit.backends.argo.preflight.node_judgement import (
    judge_image,
    judge_limit_ranges,
    judge_nodes,
    judge_quotas,
    usable_nodes,
)


def judge(facts: Facts, needs: Needs) -> list[Finding]:
    """What the facts mean for a run, in the order in which one would mend them."""
    who = f" as {facts.user}" if facts.user else ""
    api = f"the Kubernetes API answers: {facts.version} at {facts.server}{who}, namespace {facts.namespace_name}"
    found = [Finding("ok", api), *_api(facts, needs)]
    place = list(_namespace(facts, needs))
    if any(one.level == "error" for one in place) and not isinstance(facts.namespace, dict):
        # Nothing can be in a namespace that is not there.
        return [*found, *place]
    found += [*place, *_controllers(facts, needs), *_rights(facts)]
    for name in needs.accounts:
        found += _account(facts, name)
    for name in needs.claims:
        found += _claim(facts, needs, name)
    for name, keys in needs.secrets.items():
        found += _secret(facts, name, keys)
    for name in needs.pull_secrets:
        found.append(_pull_secret(facts, name))
    for shape in needs.shapes:
        found += [*judge_nodes(facts, shape), *judge_limit_ranges(facts, shape)]
    found += judge_quotas(facts, needs)
    for image in needs.images:
        found.append(judge_image(facts, needs, image))
    return found


def _api(facts: Facts, needs: Needs) -> Iterator[Finding]:
    install = " ; ".join(
        (
            facts.kubectl("create", "namespace", "argo", everywhere=True),
            facts.kubectl("apply", "--server-side", "-n", "argo", "-f", INSTALL, everywhere=True),
        )
    )
    if isinstance(facts.api, Denied):
        yield Finding("unknown", f"whether the cluster has Argo Workflows is not known: {facts.api.why}")
        return
    known = {one["name"] for one in facts.api.get("resources") or ()} if facts.api is not None else set()
    wanted = ["workflows", "workflowtaskresults", *(["cronworkflows"] if needs.schedules else [])]
    missing = [name for name in wanted if name not in known]
    if len(missing) == len(wanted):
        yield Finding("error", "the cluster has no Argo Workflows: it does not know argoproj.io/v1alpha1", install)
    elif missing:
        yield Finding("error", f"the cluster's Argo Workflows does not know {' and '.join(missing)}", install)
    else:
        yield Finding("ok", "the cluster knows Argo's Workflows (argoproj.io/v1alpha1)")


def _namespace(facts: Facts, needs: Needs) -> Iterator[Finding]:
    name, namespace = facts.namespace_name, facts.namespace
    if namespace is None:
        make = facts.apply(f"namespace={name}", everywhere=True)
        yield Finding("error", f"there is no namespace {name}", make)
        return
    if isinstance(namespace, Denied):
        yield Finding("unknown", f"the namespace {name} can't be looked at: {namespace.why}", ask_admin(facts))
        return
    if namespace.get("status", {}).get("phase") == "Terminating":
        events = facts.kubectl("get", "namespace", name, "-o", "yaml", everywhere=True)
        yield Finding(
            "error", f"the namespace {name} is being deleted", f"choose another, or see what holds it: {events}"
        )
        return
    standard = (namespace["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "")
    root = [shape for shape in needs.shapes if shape.user == 0] if standard == "restricted" else []
    for shape in root:
        yield Finding(
            "error",
            f"the namespace {name} enforces the restricted Pod Security Standard, and {shape} would run as root (user 0)",
            "set executor.config.user to another number, or leave it out",
        )
    if not root:
        suffix = f", which enforces the {standard} Pod Security Standard" if standard else ""
        yield Finding("ok", f"there is the namespace {name}{suffix}")


def _controllers(facts: Facts, needs: Needs) -> Iterator[Finding]:
    seen = facts.controllers
    if isinstance(seen.found, Denied) or (not seen.found and not seen.everywhere):
        why = seen.found.why if isinstance(seen.found, Denied) else "only this namespace could be searched"
        known = "; one has worked on Workflows of this namespace before" if seen.active else ""
        yield Finding("unknown", f"whether a workflow controller runs can't be seen ({why}){known}")
        return
    if not seen.found:
        level: Level = "warning" if seen.active else "error"
        before = ", though one has worked on Workflows of this namespace before" if seen.active else ""
        apply = facts.kubectl("apply", "--server-side", "-n", "argo", "-f", INSTALL, everywhere=True)
        yield Finding(level, f"no workflow controller runs on the cluster{before}", apply)
        return
    watching = [one for one in seen.found if _watches(one) in ("", facts.namespace_name)]
    if not watching:
        one = seen.found[0]
        place, name = one["metadata"]["namespace"], one["metadata"]["name"]
        level = "error" if seen.everywhere else "unknown"
        yield Finding(
            level,
            f"the workflow controller {place}/{name} watches the namespace {_watches(one)} alone, not {facts.namespace_name}",
            f"use --namespace {_watches(one)}, or take --namespaced off: "
            + facts.kubectl("-n", place, "edit", "deployment", name, everywhere=True),
        )
        return
    for one in watching:
        yield from _controller(facts, needs, one)


def _watches(deployment: KubernetesObject) -> str:
    """The one namespace that a controller watches; empty when it watches all."""
    words = container_words(deployment)
    if "--namespaced" not in words or option(words, "--namespaced") == "false":
        return ""
    return option(words, "--managed-namespace") or str(deployment["metadata"]["namespace"])


def _controller(facts: Facts, needs: Needs, deployment: KubernetesObject) -> Iterator[Finding]:
    place, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    image = str(controller_container(deployment)["image"])

    def command(*words: str) -> str:
        return facts.kubectl("-n", place, *words, everywhere=True)

    if not deployment.get("status", {}).get("readyReplicas"):
        stopped = deployment["spec"].get("replicas") == 0
        why = "is scaled to 0" if stopped else "has no pod that is ready"
        mend = ("scale", f"deployment/{name}", "--replicas=1") if stopped else ("describe", "pods", "-l", "app=" + name)
        yield Finding("error", f"the workflow controller {place}/{name} {why}", command(*mend))
        return
    settings = facts.controllers.settings.get(place)
    yield from _settings(facts, needs, place, settings if isinstance(settings, dict) else {})
    found = re.search(r":v?(\d+)\.(\d+)(?:\.\d+)?[^/]*$", image)
    version = (int(found[1]), int(found[2])) if found else None
    upgrade = command("apply", "--server-side", "-f", INSTALL)
    if version is not None and version < OLDEST:
        too_old = version < (3, 4) or needs.schedules
        lacks = "WorkflowTaskResults" if version < (3, 4) else "a list of schedules" if needs.schedules else ""
        what = f"the workflow controller {place}/{name} is {version[0]}.{version[1]}"
        wanted = f"toolkit is made for {OLDEST[0]}.{OLDEST[1]} and later"
        yield Finding(
            "error" if too_old else "warning", f"{what}{f', which lacks {lacks}' if lacks else ''}: {wanted}", upgrade
        )
    else:
        told = f"{version[0]}.{version[1]}" if version else f"of an unknown version ({image})"
        yield Finding("ok", f"the workflow controller {place}/{name} runs, {told}, and watches {facts.namespace_name}")


def _settings(facts: Facts, needs: Needs, place: str, config_map: KubernetesObject) -> Iterator[Finding]:
    """What a controller's ConfigMap says that would make it leave or refuse our Workflows."""
    data: Mapping[str, str] = config_map.get("data") or {}
    # Its keys, or, in the older form, one key with all of it as YAML.
    text = "\n".join([*(f"{key}: {value}" for key, value in data.items() if key != "config"), data.get("config", "")])
    instance = re.search(r"^ *instanceID: *[\"']?([^\"'\s#]+)", text, re.MULTILINE)
    if instance and needs.labels.get(INSTANCE_LABEL) != instance[1]:
        yield Finding(
            "error",
            f"the workflow controller in {place} works only on Workflows of its instance {instance[1]!r}",
            f"set executor.config.labels: {{{INSTANCE_LABEL}: {instance[1]}}}",
        )
    restricted = re.search(r"templateReferencing: *[\"']?(Strict|Secure)", text)
    if restricted:
        edit = facts.kubectl("-n", place, "edit", "configmap", "workflow-controller-configmap", everywhere=True)
        yield Finding(
            "error",
            f"the workflow controller in {place} refuses Workflows without a WorkflowTemplate "
            f"(workflowRestrictions.templateReferencing is {restricted[1]})",
            f"an admin takes the restriction out: {edit}",
        )


def _list_rights(rights: Iterable[Right]) -> str:
    """``create and patch workflows.argoproj.io, get pods/log``."""
    verbs: dict[str, list[str]] = {}
    for verb, group, resource in rights:
        verbs.setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
    return "; ".join(f"{', '.join(one)} {resource}" for resource, one in verbs.items())


def _rights(facts: Facts) -> Iterator[Finding]:
    name = facts.namespace_name
    if isinstance(facts.lacking, Denied):
        yield Finding("unknown", f"what you may do in {name} is not known: {facts.lacking.why}")
    elif facts.lacking:
        yield Finding("error", f"you may not do all of this in {name}: {_list_rights(facts.lacking)}", ask_admin(facts))
    else:
        yield Finding("ok", f"you may create, follow and cancel Workflows in {name}")


def _account(facts: Facts, name: str) -> Iterator[Finding]:
    made = facts.apply("accounts" if name == DEFAULT_ACCOUNT else f"accounts={name}")
    seen = facts.accounts[name]
    if seen.account is None:
        yield Finding("error", f"there is no service account {name}, which the steps' pods have", made)
        return
    good = True
    if isinstance(seen.account, Denied):
        good = False
        yield Finding("unknown", f"the service account {name} can't be looked at: {seen.account.why}", ask_admin(facts))
    token, secret = seen.token, seen.token_name
    if isinstance(token, Denied):
        good = False
        yield Finding(
            "unknown", f"the token Secret {secret} of {name} can't be looked at: {token.why}", ask_admin(facts)
        )
    elif token is None:
        good = False
        lost = f"there is no Secret {secret} with the token of {name}: every pod would wait for it for ever"
        yield Finding("error", lost, made)
    elif token.type != "kubernetes.io/service-account-token" or token.account != name:
        good = False
        again = facts.kubectl("delete", "secret", secret)
        what = f"the Secret {secret} is no token of the service account {name}: its type is {token.type}"
        whose = f", for {token.account}" if token.account else ""
        yield Finding("error", what + whose, f"{again} && {made}")
    elif not token.keys.get("token"):
        good = False
        again = facts.kubectl("delete", "secret", secret)
        yield Finding(
            "error", f"the Secret {secret} holds no token yet", f"wait a moment, or make it anew: {again} && {made}"
        )
    if isinstance(seen.lacking, Denied):
        good = False
        what = f"whether {name} may {_list_rights(ACCOUNT_RIGHTS)} is not known: {seen.lacking.why}"
        yield Finding("unknown", what, ask_admin(facts))
    elif seen.lacking:
        good = False
        yield Finding("error", f"the service account {name} may not {_list_rights(seen.lacking)}", made)
    if good:
        yield Finding("ok", f"the service account {name} has its token and its rights")


def _claim(facts: Facts, needs: Needs, name: str) -> Iterator[Finding]:
    seen = facts.claims[name]
    claim = seen.claim
    if claim is None:
        yield Finding("error", f"there is no claim {name}, which the steps mount", facts.apply(f"claim={name}"))
        return
    if isinstance(claim, Denied):
        yield Finding("unknown", f"the claim {name} can't be looked at: {claim.why}", ask_admin(facts))
        return
    again = f"{facts.kubectl('delete', 'pvc', name)} && {facts.apply(f'claim={name}')}  # deletes what it holds"
    if claim["metadata"].get("deletionTimestamp"):
        yield Finding(
            "error", f"the claim {name} is being deleted", facts.apply(f"claim={name}") + "  # once it is gone"
        )
        return
    modes = claim["spec"].get("accessModes") or []
    if not {"ReadWriteMany", "ReadWriteOnce"} & set(modes):
        why = "attempts and the pod that reads records would wait for each other"
        reason = why if "ReadWriteOncePod" in modes else "steps write there"
        mode = ", ".join(modes) or "of no access mode"
        yield Finding("error", f"the claim {name} is {mode}, and {reason}: it must be ReadWriteMany", again)
        return
    phase = claim.get("status", {}).get("phase", "Pending")
    if phase == "Bound":
        state = f"is bound, {', '.join(modes)}{_size(claim)}"
    elif phase == "Pending" and _waits_for_pod(seen):
        state = "waits for its first pod before it is bound, which is as its storage class has it"
    else:
        events = facts.kubectl("describe", "pvc", name)
        yield Finding("error", f"the claim {name} is {phase}: {_why_unbound(seen)}", f"{events}  # tells more")
        return
    shared = _node_conflict(facts, needs, name, "ReadWriteMany" in modes)
    if shared is not None:
        yield shared
    if shared is None or shared.level == "unknown":
        yield Finding("ok", f"the claim {name} {state}{_without_group(seen.volume)}")


def _size(claim: KubernetesObject) -> str:
    size = (claim.get("status", {}).get("capacity") or {}).get("storage")
    return f", {size}" if size else ""


def _without_group(volume: Answer) -> str:
    """Kubernetes makes most volumes writable for the steps' group, but not these."""
    kind = next((one for one in ("hostPath", "nfs") if isinstance(volume, dict) and one in volume["spec"]), None)
    return f" (a volume of the kind {kind} must itself be writable for the group 1000)" if kind else ""


def _waits_for_pod(seen: Claim) -> bool:
    if isinstance(seen.storage_class, dict):
        return seen.storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    events = () if isinstance(seen.events, Denied) else seen.events
    return any(one.get("reason") == "WaitForFirstConsumer" for one in events)


def _why_unbound(seen: Claim) -> str:
    assert isinstance(seen.claim, dict)
    chosen = seen.claim["spec"].get("storageClassName")
    if chosen and seen.storage_class is None:
        return f"there is no storage class {chosen}"
    # Kubernetes says as a normal event that a claim without a storage class finds no volume: not only warnings count.
    last = newest_event(() if isinstance(seen.events, Denied) else seen.events)
    if last is not None:
        return " ".join(str(last.get("message", "")).split())[:300]
    if chosen is None:
        return "it names no storage class, and the cluster has no default one"
    return "no volume was made for it yet"


def _node_conflict(facts: Facts, needs: Needs, name: str, many: bool) -> Finding | None:
    """Whether the pods that mount a claim could be on several nodes where only one can have it; None when all is well."""
    seen = facts.claims[name]
    assert isinstance(seen.claim, dict)
    host_path = isinstance(seen.volume, dict) and "hostPath" in seen.volume["spec"]
    if many and not host_path:
        return None
    pinned = all("kubernetes.io/hostname" in shape.node_selector for shape in needs.shapes)
    hosts = {shape.node_selector.get("kubernetes.io/hostname") for shape in needs.shapes}
    if pinned and len(hosts) == 1:
        return None
    mode = "a folder of one node" if host_path else "ReadWriteOnce, which pods of one node can mount at a time"
    if isinstance(facts.nodes, Denied):
        what = f"the claim {name} is {mode}, and whether the steps run on several nodes is not known: {facts.nodes.why}"
        return Finding("unknown", what, ask_admin_of_cluster(facts))
    nodes = {one["metadata"]["name"]: one for shape in needs.shapes for one in usable_nodes(facts.nodes, shape)}
    if isinstance(seen.volume, dict):
        nodes = {key: node for key, node in nodes.items() if _reaches(seen.volume, node)}
    if len(nodes) <= 1:
        return None
    listed = ", ".join(sorted(nodes)[:3]) + (" …" if len(nodes) > 3 else "")
    what = f"the claim {name} is {mode}, and the steps' pods may run on {len(nodes)} nodes ({listed})"
    pin = f"executor.config.node_selector: {{kubernetes.io/hostname: {min(nodes)}}}"
    mend = f"set {pin}, or make it a ReadWriteMany claim: {facts.apply(f'claim={name}')}"
    # Storage that is of one node brings the pods there; until the volume can be seen, that is possible.
    return Finding("error" if isinstance(seen.volume, dict) else "warning", what, mend)


def _reaches(volume: KubernetesObject, node: KubernetesObject) -> bool:
    """Whether a volume's node affinity allows a node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if not required:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(_matches_expression(one, labels) for one in term.get("matchExpressions") or ())
        and all(_matches_expression(one, fields) for one in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
    )


def _matches_expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return True


def _secret(facts: Facts, name: str, keys: Sequence[str]) -> Iterator[Finding]:
    held = facts.secrets[name]
    if isinstance(held, Denied):
        yield Finding("unknown", f"the Secret {name} can't be looked at: {held.why}", ask_admin(facts))
        return
    if held is None:
        literals = " ".join(f"--from-literal={shlex.quote(key)}=…" for key in keys)
        make = f"{facts.kubectl('create', 'secret', 'generic', name)} {literals}"
        yield Finding("error", f"there is no Secret {name}, of which the steps get {', '.join(keys)}", make)
        return
    missing = [key for key in keys if key not in held.keys]
    if missing:
        data = ", ".join(f'"{key}": "…"' for key in missing)
        patch = f"{facts.kubectl('patch', 'secret', name, '--type', 'merge', '-p')} '{{\"stringData\": {{{data}}}}}'"
        yield Finding("error", f"the Secret {name} has no key {', '.join(missing)}", patch)
    for key in keys:
        if key in held.keys and not held.keys[key]:
            patch = f'{facts.kubectl("patch", "secret", name, "--type", "merge", "-p")} \'{{"stringData": {{"{key}": "…"}}}}\''
            yield Finding("warning", f"the key {key} of the Secret {name} is empty", patch)
    if not missing and all(held.keys[key] for key in keys):
        yield Finding("ok", f"the Secret {name} has {', '.join(keys)}")


def _pull_secret(facts: Facts, name: str) -> Finding:
    held = facts.secrets[name]
    if isinstance(held, Denied):
        return Finding("unknown", f"the image pull secret {name} can't be looked at: {held.why}", ask_admin(facts))
    words = ("create", "secret", "docker-registry", name)
    rest = " --docker-server=… --docker-username=… --docker-password=…"
    make = facts.kubectl(*words) + rest
    if held is None:
        return Finding("error", f"there is no image pull secret {name}", make)
    if held.type not in ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"):
        again = f"{facts.kubectl('delete', 'secret', name)} && {make}"
        return Finding("error", f"the image pull secret {name} holds no registry login: its type is {held.type}", again)
    return Finding("ok", f"there is the image pull secret {name}")
