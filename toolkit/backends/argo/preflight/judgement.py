"""Judges the answers about the cluster, its controller, rights, accounts, claims and secrets. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

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
from toolkit.backends.argo.preflight.platform_judgement import judge_platform


def judge(facts: Facts, needs: Needs) -> list[Finding]:
    """What the facts mean for a run, in the order in which one would fix them."""
    who = f" as {facts.user}" if facts.user else ""
    api = f"the Kubernetes API answers: {facts.version} at {facts.server}{who}, namespace {facts.namespace_name}"
    findings = [Finding("ok", api), *_api(facts, needs), *_namespace(facts, needs)]
    if facts.namespace is None:
        # Nothing can be in a namespace that does not exist.
        return findings
    findings += [*_controllers(facts, needs), *_rights(facts)]
    for name in needs.accounts:
        findings += _account(facts, name)
    for name in needs.claims:
        findings += _claim(facts, needs, name)
    for name, keys in needs.secrets.items():
        findings += _secret(facts, name, keys)
    for name in needs.pull_secrets:
        findings.append(_pull_secret(facts, name))
    for steps in needs.steps:
        findings += [*judge_nodes(facts, steps), *judge_platform(facts, steps), *judge_limit_ranges(facts, steps)]
    findings += judge_quotas(facts, needs)
    for image in needs.images:
        findings.append(judge_image(facts, needs, image))
    return findings


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
    known = {kind["name"] for kind in facts.api.get("resources") or ()} if facts.api is not None else set()
    required = ["workflows", "workflowtaskresults", *(["cronworkflows"] if needs.schedules else [])]
    missing = [name for name in required if name not in known]
    if len(missing) == len(required):
        yield Finding("error", "the cluster has no Argo Workflows: it does not know argoproj.io/v1alpha1", install)
    elif missing:
        yield Finding("error", f"the cluster's Argo Workflows does not know {' and '.join(missing)}", install)
    else:
        yield Finding("ok", "the cluster knows Argo's Workflows (argoproj.io/v1alpha1)")


def _namespace(facts: Facts, needs: Needs) -> Iterator[Finding]:
    name, namespace = facts.namespace_name, facts.namespace
    if namespace is None:
        create = facts.apply(f"namespace={name}", everywhere=True)
        yield Finding("error", f"there is no namespace {name}", create)
        return
    if isinstance(namespace, Denied):
        yield Finding("unknown", f"the namespace {name} can't be read: {namespace.why}", ask_admin(facts))
        return
    if namespace.get("status", {}).get("phase") == "Terminating":
        show = facts.kubectl("get", "namespace", name, "-o", "yaml", everywhere=True)
        yield Finding(
            "error", f"the namespace {name} is being deleted", f"choose another, or see what keeps it: {show}"
        )
        return
    standard = (namespace["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "")
    refused = [steps for steps in needs.steps if steps.user == 0] if standard == "restricted" else []
    for steps in refused:
        yield Finding(
            "error",
            f"the namespace {name} enforces the restricted Pod Security Standard, and {steps} would run as root (user 0)",
            "set executor.config.user to another number, or leave it out",
        )
    if not refused:
        suffix = f", which enforces the {standard} Pod Security Standard" if standard else ""
        yield Finding("ok", f"there is the namespace {name}{suffix}")


def _controllers(facts: Facts, needs: Needs) -> Iterator[Finding]:
    deployments, everywhere, active = (
        facts.controllers.deployments,
        facts.controllers.everywhere,
        facts.controllers.active,
    )
    if isinstance(deployments, Denied) or (not deployments and not everywhere):
        why = deployments.why if isinstance(deployments, Denied) else "only this namespace could be searched"
        before = "; one has worked on Workflows of this namespace before" if active else ""
        yield Finding("unknown", f"whether a workflow controller runs can't be seen ({why}){before}")
        return
    if not deployments:
        level: Level = "warning" if active else "error"
        before = ", though one has worked on Workflows of this namespace before" if active else ""
        apply = facts.kubectl("apply", "--server-side", "-n", "argo", "-f", INSTALL, everywhere=True)
        yield Finding(level, f"no workflow controller runs on the cluster{before}", apply)
        return
    watching = [each for each in deployments if _watched_namespace(each) in ("", facts.namespace_name)]
    if not watching:
        namespace, name = deployments[0]["metadata"]["namespace"], deployments[0]["metadata"]["name"]
        watched = _watched_namespace(deployments[0])
        level = "error" if everywhere else "unknown"
        yield Finding(
            level,
            f"the workflow controller {namespace}/{name} watches the namespace {watched} alone, not {facts.namespace_name}",
            f"use --namespace {watched}, or remove --namespaced from the controller: "
            + facts.kubectl("-n", namespace, "edit", "deployment", name, everywhere=True),
        )
        return
    for deployment in watching:
        yield from _controller(facts, needs, deployment)


def _watched_namespace(deployment: KubernetesObject) -> str:
    """The only namespace that a controller watches; empty when it watches all."""
    words = container_words(deployment)
    if "--namespaced" not in words or option(words, "--namespaced") == "false":
        return ""
    return option(words, "--managed-namespace") or str(deployment["metadata"]["namespace"])


def _controller(facts: Facts, needs: Needs, deployment: KubernetesObject) -> Iterator[Finding]:
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    image = str(controller_container(deployment)["image"])

    def command(*words: str) -> str:
        return facts.kubectl("-n", namespace, *words, everywhere=True)

    if not deployment.get("status", {}).get("readyReplicas"):
        stopped = deployment["spec"].get("replicas") == 0
        why = "is scaled to 0" if stopped else "has no pod that is ready"
        scale, describe = ("scale", f"deployment/{name}", "--replicas=1"), ("describe", "pods", "-l", "app=" + name)
        remedy = command(*(scale if stopped else describe))
        yield Finding("error", f"the workflow controller {namespace}/{name} {why}", remedy)
        return
    settings = facts.controllers.settings.get(namespace)
    yield from _settings(facts, needs, namespace, settings if isinstance(settings, dict) else {})
    tag = re.search(r":v?(\d+)\.(\d+)(?:\.\d+)?[^/]*$", image)
    version = (int(tag[1]), int(tag[2])) if tag else None
    upgrade = command("apply", "--server-side", "-f", INSTALL)
    if version is not None and version < OLDEST:
        too_old = version < (3, 4) or needs.schedules
        lacks = "WorkflowTaskResults" if version < (3, 4) else "a list of schedules" if needs.schedules else ""
        what = f"the workflow controller {namespace}/{name} is {version[0]}.{version[1]}"
        what += f", which lacks {lacks}" if lacks else ""
        oldest = f"toolkit is made for {OLDEST[0]}.{OLDEST[1]} and later"
        yield Finding("error" if too_old else "warning", f"{what}: {oldest}", upgrade)
    else:
        shown = f"{version[0]}.{version[1]}" if version else f"of an unknown version ({image})"
        what = f"the workflow controller {namespace}/{name} runs, {shown}, and watches {facts.namespace_name}"
        yield Finding("ok", what)


def _settings(facts: Facts, needs: Needs, namespace: str, config_map: KubernetesObject) -> Iterator[Finding]:
    """Settings in a controller's ConfigMap that make it ignore or refuse our Workflows."""
    data: Mapping[str, str] = config_map.get("data") or {}
    # Its keys, or, in the older form, one key with all of it as YAML.
    text = "\n".join([*(f"{key}: {value}" for key, value in data.items() if key != "config"), data.get("config", "")])
    instance = re.search(r"^ *instanceID: *[\"']?([^\"'\s#]+)", text, re.MULTILINE)
    if instance and needs.labels.get(INSTANCE_LABEL) != instance[1]:
        yield Finding(
            "error",
            f"the workflow controller in {namespace} works only on Workflows of its instance {instance[1]!r}",
            f"set executor.config.labels: {{{INSTANCE_LABEL}: {instance[1]}}}",
        )
    restricted = re.search(r"templateReferencing: *[\"']?(Strict|Secure)", text)
    if restricted:
        edit = facts.kubectl("-n", namespace, "edit", "configmap", "workflow-controller-configmap", everywhere=True)
        yield Finding(
            "error",
            f"the workflow controller in {namespace} refuses Workflows without a WorkflowTemplate "
            f"(workflowRestrictions.templateReferencing is {restricted[1]})",
            f"an admin removes the restriction: {edit}",
        )


def _list_rights(rights: Iterable[Right]) -> str:
    """``create and patch workflows.argoproj.io, get pods/log``."""
    verbs: dict[str, list[str]] = {}
    for verb, group, resource in rights:
        verbs.setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
    return "; ".join(f"{', '.join(allowed)} {resource}" for resource, allowed in verbs.items())


def _rights(facts: Facts) -> Iterator[Finding]:
    name = facts.namespace_name
    if isinstance(facts.lacking, Denied):
        yield Finding("unknown", f"what you may do in {name} is not known: {facts.lacking.why}")
    elif facts.lacking:
        yield Finding("error", f"you may not do all of this in {name}: {_list_rights(facts.lacking)}", ask_admin(facts))
    else:
        yield Finding("ok", f"you may create, follow and cancel Workflows in {name}")


def _account(facts: Facts, name: str) -> Iterator[Finding]:
    create = facts.apply("accounts" if name == DEFAULT_ACCOUNT else f"accounts={name}")
    answers = facts.accounts[name]
    if answers.account is None:
        yield Finding("error", f"there is no service account {name}, which the steps' pods have", create)
        return
    good = True
    if isinstance(answers.account, Denied):
        good = False
        yield Finding("unknown", f"the service account {name} can't be read: {answers.account.why}", ask_admin(facts))
    token, secret = answers.token, answers.token_name
    if isinstance(token, Denied):
        good = False
        yield Finding("unknown", f"the token Secret {secret} of {name} can't be read: {token.why}", ask_admin(facts))
    elif token is None:
        good = False
        what = f"there is no Secret {secret} with the token of {name}: every pod would wait for it for ever"
        yield Finding("error", what, create)
    elif token.type != "kubernetes.io/service-account-token" or token.account != name:
        good = False
        delete = facts.kubectl("delete", "secret", secret)
        what = f"the Secret {secret} is no token of the service account {name}: its type is {token.type}"
        what += f", for {token.account}" if token.account else ""
        yield Finding("error", what, f"{delete} && {create}")
    elif not token.keys.get("token"):
        good = False
        delete = facts.kubectl("delete", "secret", secret)
        yield Finding(
            "error", f"the Secret {secret} holds no token yet", f"wait a moment, or recreate it: {delete} && {create}"
        )
    if isinstance(answers.lacking, Denied):
        good = False
        what = f"whether {name} may {_list_rights(ACCOUNT_RIGHTS)} is not known: {answers.lacking.why}"
        yield Finding("unknown", what, ask_admin(facts))
    elif answers.lacking:
        good = False
        yield Finding("error", f"the service account {name} may not {_list_rights(answers.lacking)}", create)
    if good:
        yield Finding("ok", f"the service account {name} has its token and its rights")


def _claim(facts: Facts, needs: Needs, name: str) -> Iterator[Finding]:
    answers = facts.claims[name]
    claim = answers.claim
    if claim is None:
        yield Finding("error", f"there is no claim {name}, which the steps mount", facts.apply(f"claim={name}"))
        return
    if isinstance(claim, Denied):
        yield Finding("unknown", f"the claim {name} can't be read: {claim.why}", ask_admin(facts))
        return
    recreate = f"{facts.kubectl('delete', 'pvc', name)} && {facts.apply(f'claim={name}')}  # deletes what it holds"
    if claim["metadata"].get("deletionTimestamp"):
        yield Finding(
            "error", f"the claim {name} is being deleted", facts.apply(f"claim={name}") + "  # once it is gone"
        )
        return
    modes = claim["spec"].get("accessModes") or []
    read_only = name in needs.read_only
    usable = {"ReadWriteMany", "ReadWriteOnce", *(["ReadOnlyMany"] if read_only else [])}
    if not usable & set(modes):
        wait = "attempts and the pod that reads records would wait for each other"
        reason = wait if "ReadWriteOncePod" in modes else "steps write there"
        mode = ", ".join(modes) or "of no access mode"
        yield Finding("error", f"the claim {name} is {mode}, and {reason}: it must be ReadWriteMany", recreate)
        return
    phase = claim.get("status", {}).get("phase", "Pending")
    if phase == "Bound":
        state = f"is bound, {', '.join(modes)}{_size(claim)}"
    elif phase == "Pending" and _waits_for_pod(answers):
        state = "waits for its first pod before it is bound, as its storage class says"
    else:
        describe = facts.kubectl("describe", "pvc", name)
        yield Finding("error", f"the claim {name} is {phase}: {_why_unbound(answers)}", f"{describe}  # says more")
        return
    many = "ReadWriteMany" in modes or (read_only and "ReadOnlyMany" in modes)
    conflict = _node_conflict(facts, needs, name, many)
    if conflict is not None:
        yield conflict
    if conflict is None or conflict.level == "unknown":
        group = " and only read" if read_only else _without_group(answers.volume)
        yield Finding("ok", f"the claim {name} {state}{group}")


def _size(claim: KubernetesObject) -> str:
    size = (claim.get("status", {}).get("capacity") or {}).get("storage")
    return f", {size}" if size else ""


def _without_group(volume: Answer) -> str:
    """A note for volumes that Kubernetes does not make writable for the steps' group."""
    kind = next((kind for kind in ("hostPath", "nfs") if isinstance(volume, dict) and kind in volume["spec"]), None)
    return f" (a volume of the kind {kind} must itself be writable for the group 1000)" if kind else ""


def _waits_for_pod(answers: Claim) -> bool:
    if isinstance(answers.storage_class, dict):
        return answers.storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    events = () if isinstance(answers.events, Denied) else answers.events
    return any(event.get("reason") == "WaitForFirstConsumer" for event in events)


def _why_unbound(answers: Claim) -> str:
    assert isinstance(answers.claim, dict)
    storage_class = answers.claim["spec"].get("storageClassName")
    if storage_class and answers.storage_class is None:
        return f"there is no storage class {storage_class}"
    # Kubernetes says as a normal event that a claim without a storage class finds no volume: not only warnings count.
    newest = newest_event(() if isinstance(answers.events, Denied) else answers.events)
    if newest is not None:
        return " ".join(str(newest.get("message", "")).split())[:300]
    if storage_class is None:
        return "it names no storage class, and the cluster has no default one"
    return "no volume was made for it yet"


def _node_conflict(facts: Facts, needs: Needs, name: str, many: bool) -> Finding | None:
    """What is wrong where pods may run on several nodes and a claim is of one node; None when nothing is."""
    answers = facts.claims[name]
    assert isinstance(answers.claim, dict)
    host_path = isinstance(answers.volume, dict) and "hostPath" in answers.volume["spec"]
    if many and not host_path:
        return None
    pinned = all("kubernetes.io/hostname" in steps.node_selector for steps in needs.steps)
    hosts = {steps.node_selector.get("kubernetes.io/hostname") for steps in needs.steps}
    if pinned and len(hosts) == 1:
        return None
    mode = "a folder of one node" if host_path else "ReadWriteOnce, which pods of one node can mount at a time"
    if isinstance(facts.nodes, Denied):
        what = f"the claim {name} is {mode}, and whether the steps run on several nodes is not known: {facts.nodes.why}"
        return Finding("unknown", what, ask_admin_of_cluster(facts))
    nodes = {node["metadata"]["name"]: node for steps in needs.steps for node in usable_nodes(facts.nodes, steps)}
    if isinstance(answers.volume, dict):
        nodes = {key: node for key, node in nodes.items() if _reaches(answers.volume, node)}
    if len(nodes) <= 1:
        return None
    listed = ", ".join(sorted(nodes)[:3]) + (" …" if len(nodes) > 3 else "")
    what = f"the claim {name} is {mode}, and the steps' pods may run on {len(nodes)} nodes ({listed})"
    pin = f"executor.config.node_selector: {{kubernetes.io/hostname: {min(nodes)}}}"
    remedy = f"set {pin}, or make it a ReadWriteMany claim: {facts.apply(f'claim={name}')}"
    # A volume of one node makes the scheduler put all pods there. Until the volume can be seen, it may be such a one.
    return Finding("error" if isinstance(answers.volume, dict) else "warning", what, remedy)


def _reaches(volume: KubernetesObject, node: KubernetesObject) -> bool:
    """Whether a volume's node affinity allows a node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if not required:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(_matches_expression(expression, labels) for expression in term.get("matchExpressions") or ())
        and all(_matches_expression(expression, fields) for expression in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
    )


def _matches_expression(expression: KubernetesObject, labels: Mapping[str, str]) -> bool:
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
    secret = facts.secrets[name]
    if isinstance(secret, Denied):
        yield Finding("unknown", f"the Secret {name} can't be read: {secret.why}", ask_admin(facts))
        return
    if secret is None:
        literals = " ".join(f"--from-literal={shlex.quote(key)}=…" for key in keys)
        create = f"{facts.kubectl('create', 'secret', 'generic', name)} {literals}"
        yield Finding("error", f"there is no Secret {name}, of which the steps get {', '.join(keys)}", create)
        return
    missing = [key for key in keys if key not in secret.keys]
    if missing:
        data = ", ".join(f'"{key}": "…"' for key in missing)
        patch = f"{facts.kubectl('patch', 'secret', name, '--type', 'merge', '-p')} '{{\"stringData\": {{{data}}}}}'"
        yield Finding("error", f"the Secret {name} has no key {', '.join(missing)}", patch)
    for key in keys:
        if key in secret.keys and not secret.keys[key]:
            patch = f'{facts.kubectl("patch", "secret", name, "--type", "merge", "-p")} \'{{"stringData": {{"{key}": "…"}}}}\''
            yield Finding("warning", f"the key {key} of the Secret {name} is empty", patch)
    if not missing and all(secret.keys[key] for key in keys):
        yield Finding("ok", f"the Secret {name} has {', '.join(keys)}")


def _pull_secret(facts: Facts, name: str) -> Finding:
    secret = facts.secrets[name]
    if isinstance(secret, Denied):
        return Finding("unknown", f"the image pull secret {name} can't be read: {secret.why}", ask_admin(facts))
    words = ("create", "secret", "docker-registry", name)
    rest = " --docker-server=… --docker-username=… --docker-password=…"
    create = facts.kubectl(*words) + rest
    if secret is None:
        return Finding("error", f"there is no image pull secret {name}", create)
    if secret.type not in ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"):
        recreate = f"{facts.kubectl('delete', 'secret', name)} && {create}"
        return Finding(
            "error", f"the image pull secret {name} holds no registry login: its type is {secret.type}", recreate
        )
    return Finding("ok", f"there is the image pull secret {name}")
