"""Whether a run can work on a cluster, found out before it is submitted; every finding says the command that mends it.

Two halves: :func:`gather` asks the API server, many questions at once, and :func:`judge`, which is pure, says what the answers
mean. What the current user may not see is unknown, and never an error: most users are not their cluster's admin.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, NotFound, Object, Unreachable
from toolkit.backends.argo.workflow import DEFAULT_ACCOUNT, Image, placement
from toolkit.config.quantity import parse_cpu, parse_memory
from toolkit.config.settings import Config, ResourceList, Resources, Toleration
from toolkit.errors import Infrastructure
from toolkit.plan.plan import Plan

Level = Literal["error", "warning", "unknown", "ok"]
Right: TypeAlias = "tuple[str, str, str]"
"""A verb, an API group and a resource, as ``("get", "", "pods/log")``."""

OLDEST = (3, 6)
"""The oldest Argo that the manifests are made for; one before 3.4 has no WorkflowTaskResults at all."""
INSTALL = "https://github.com/argoproj/argo-workflows/releases/download/v3.7.18/install.yaml"
INSTANCE_LABEL = "workflows.argoproj.io/controller-instanceid"
_PHASE_LABEL = "workflows.argoproj.io/phase"
_AT_ONCE = 12
_IMAGES_LISTED = 50
"""How many images a kubelet tells of unless it is set otherwise, the largest first."""
_GPU = "nvidia.com/gpu"


def _verbs(verbs: str, group: str, resource: str) -> tuple[Right, ...]:
    return tuple((verb, group, resource) for verb in verbs.split())


USER_RIGHTS: tuple[Right, ...] = (
    *_verbs("get list watch create patch delete", "argoproj.io", "workflows"),
    *_verbs("create get patch delete", "", "configmaps"),
    *_verbs("get list watch create delete", "", "pods"),
    *_verbs("get", "", "pods/log"),
    # An exec over a web socket is a GET; newer API servers want create for it as well.
    *_verbs("create get", "", "pods/exec"),
    *_verbs("list", "", "events"),
)
"""What a person needs in the namespace to submit, follow, read and cancel runs: the Role toolkit-user of k8s/accounts."""
SCHEDULE_RIGHTS = _verbs("get list create patch delete", "argoproj.io", "cronworkflows")
ACCOUNT_RIGHTS = _verbs("create patch", "argoproj.io", "workflowtaskresults")


# --- what a run needs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Steps whose pods ask the same of nodes and quotas.

    Attributes:
        steps: their paths; none stands for all steps, when there is no plan. user: None is an ordinary one.
    """

    steps: tuple[str, ...] = ()
    user: int | None = None
    resources: Resources = field(default_factory=Resources)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()

    def __str__(self) -> str:
        if not self.steps:
            return "the steps"
        named = ", ".join(repr(step) for step in self.steps[:3])
        more = f" and {len(self.steps) - 3} more" if len(self.steps) > 3 else ""
        return f"the step{'s' if len(self.steps) > 1 else ''} {named}{more}"


@dataclass(frozen=True)
class Needs:
    """What must be there for a run; all of it is in one namespace.

    Attributes:
        claims: persistent volume claims, which every pod mounts. secrets: the keys of each Secret. accounts: of the pods.
        labels: those of the Workflow. schedules: whether it is a CronWorkflow.
    """

    claims: tuple[str, ...] = ()
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accounts: tuple[str, ...] = (DEFAULT_ACCOUNT,)
    pull_secrets: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    shapes: tuple[Shape, ...] = (Shape(),)
    labels: Mapping[str, str] = field(default_factory=dict)
    schedules: bool = False


def needs_of(plan: Plan | None, config: Config, images: Mapping[str | None, Image] | None = None) -> Needs:
    """What a plan needs; without one, what the configuration says of every step (its overrides say nothing of any step yet).

    Args:
        images: by the image of a step's own, None for the pipeline's.
    """
    executor = config.executor.config
    images = images or {}
    secrets: dict[str, dict[str, None]] = {}
    for reference in executor.secrets_from_k8s:
        secrets.setdefault(reference.secret_name, {})[reference.secret_key] = None
    every = {reference.environment_variable for reference in executor.secrets_from_k8s}
    # The Workflow itself names one, whatever its steps do.
    accounts = {executor.service_account_name or DEFAULT_ACCOUNT: None}
    steps: dict[str, list[str]] = {}
    shapes: dict[str, Shape] = {}
    for step in plan.tasks() if plan is not None else ():
        assert plan is not None and step.task is not None
        settings = plan.settings_of(step)
        place = placement(plan, config, step, images.get(settings.image) or Image("", False))
        accounts[place.service_account] = None
        for name in step.task.secrets:
            if name not in every:
                secrets.setdefault(place.step_secret, {})[name] = None
        shape = Shape((), settings.user, settings.resources, place.node_selector, place.tolerations)
        shapes.setdefault(repr(shape), shape)
        steps.setdefault(repr(shape), []).append(step.path)
    if plan is None:
        shapes[""] = Shape((), executor.user, executor.resources, executor.node_selector, executor.tolerations)
    return Needs(
        claims=tuple(one.name for one in executor.persistent_volumes),
        secrets={name: tuple(keys) for name, keys in secrets.items()},
        accounts=tuple(accounts),
        pull_secrets=executor.image_pull_secrets,
        images=tuple(dict.fromkeys(images.values())),
        shapes=tuple(replace(shape, steps=tuple(steps.get(key, ()))) for key, shape in shapes.items()),
        labels=executor.labels,
        schedules=bool(executor.schedules),
    )


# --- what is found ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: an error stops a submit; a warning may be meant; unknown is what this user may not see.
        what: one sentence. remedy: the command, or the setting, that mends it; empty when nothing is to be mended.
    """

    level: Level
    what: str
    remedy: str = ""


def check(cluster: Cluster, needs: Needs) -> list[Finding]:
    """Asks the cluster and judges: a request or two after one another, however much there is to ask."""
    facts = gather(cluster, needs)
    return [facts] if isinstance(facts, Finding) else judge(facts, needs)


def require(findings: Iterable[Finding]) -> None:
    """Refuses to go on when there is an error among the findings.

    Raises:
        Infrastructure: the first of them with its remedy, and how many more there are.
    """
    errors = [one for one in findings if one.level == "error"]
    if errors:
        first, more = errors[0], len(errors) - 1
        rest = f" ({more} more: `toolkit doctor --env argo` lists all)" if more else ""
        raise Infrastructure(f"{first.what}; to mend it: {first.remedy}{rest}")


# --- asking -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Denied:
    """What the API server did not tell this user, and why."""

    why: str


Answer: TypeAlias = "Object | Denied | None"
"""An object, or None when there is none."""
Answers: TypeAlias = "tuple[Object, ...] | Denied"


@dataclass(frozen=True)
class Held:
    """A Secret without its values: whether each key has one.

    Attributes:
        account: the service account whose token it is for.
    """

    type: str
    keys: Mapping[str, bool]
    account: str = ""


@dataclass(frozen=True)
class Account:
    """A service account, the Secret of its token, and which of its rights it lacks."""

    account: Answer
    token_name: str
    token: Held | Denied | None
    lacking: tuple[Right, ...] | Denied


@dataclass(frozen=True)
class Claim:
    """A claim, and what says whether it can be used: its volume, or its storage class and events while it has none."""

    claim: Answer
    volume: Answer = None
    storage_class: Answer = None
    events: Answers = ()


@dataclass(frozen=True)
class Controllers:
    """The Deployments of workflow controllers that this user can see.

    Attributes:
        found: of the whole cluster, or of the namespaces that could be looked into. everywhere: whether that was all of it.
        settings: each one's ConfigMap, by its namespace.
        active: whether a controller has ever worked on a Workflow of this namespace.
    """

    found: Answers
    everywhere: bool
    settings: Mapping[str, Answer] = field(default_factory=dict)
    active: bool = False


@dataclass(frozen=True)
class Facts:
    """All that was asked, for one namespace."""

    context: str
    namespace_name: str
    server: str
    version: str
    user: str
    namespace: Answer
    api: Answer
    controllers: Controllers
    lacking: tuple[Right, ...] | Denied
    accounts: Mapping[str, Account]
    claims: Mapping[str, Claim]
    secrets: Mapping[str, Held | Denied | None]
    nodes: Answers = ()
    quotas: Answers = ()
    limit_ranges: Answers = ()

    def kubectl(self, *words: str, everywhere: bool = False) -> str:
        """A command for this context and, unless it is about the whole cluster, this namespace."""
        context = ["--context", self.context] if self.context else []
        namespace = [] if everywhere else ["-n", self.namespace_name]
        return " ".join(shlex.quote(word) for word in ("kubectl", *context, *namespace, *words))

    def apply(self, base: str, everywhere: bool = False) -> str:
        """A command that applies one of k8s/."""
        applied = self.kubectl("apply", "-f", "-", everywhere=everywhere)
        return f"toolkit doctor --manifests {shlex.quote(base)} | {applied}"


def gather(cluster: Cluster, needs: Needs) -> Facts | Finding:
    """Asks for all that :func:`judge` wants to know; what can't be had is :class:`Denied`.

    Returns:
        the facts, or the one finding that there is when the API server does not answer.
    """
    try:
        version = str(cluster.request("GET", "/version").get("gitVersion", "unknown"))
    except (ApiError, Unreachable) as error:
        context = ["--context", cluster.context] if cluster.context else []
        seen = " ".join(shlex.quote(word) for word in ("kubectl", *context, "cluster-info"))
        return Finding("error", str(error), f"{seen} shows the same; check network, VPN and login")
    ask = _Asking(cluster)
    wanted = USER_RIGHTS + (SCHEDULE_RIGHTS if needs.schedules else ())
    with ThreadPoolExecutor(_AT_ONCE) as pool:

        def each(function: Callable[[str], Any], names: Iterable[str]) -> dict[str, Future[Any]]:
            return {name: pool.submit(function, name) for name in names}

        user = pool.submit(ask.user)
        controllers = pool.submit(ask.controllers)
        lacking = pool.submit(ask.lacking, wanted)
        accounts = each(ask.account, needs.accounts)
        claims = each(ask.claim, needs.claims)
        secrets = each(ask.secret, dict.fromkeys((*needs.secrets, *needs.pull_secrets)))
        namespace = pool.submit(ask.get, f"/{CORE}/namespaces/{quote(cluster.namespace, safe='')}")
        api = pool.submit(ask.get, f"/{WORKFLOWS}")
        # Out of the API server's cache: a large cluster has thousands.
        nodes = pool.submit(ask.items, f"/{CORE}/nodes", {"resourceVersion": "0"})
        quotas = pool.submit(ask.items, cluster.path(CORE, "resourcequotas"))
        limit_ranges = pool.submit(ask.items, cluster.path(CORE, "limitranges"))
        return Facts(
            context=cluster.context,
            namespace_name=cluster.namespace,
            server=cluster.server,
            version=version,
            user=user.result(),
            namespace=namespace.result(),
            api=api.result(),
            controllers=controllers.result(),
            lacking=lacking.result(),
            accounts={name: one.result() for name, one in accounts.items()},
            claims={name: one.result() for name, one in claims.items()},
            secrets={name: one.result() for name, one in secrets.items()},
            nodes=nodes.result(),
            quotas=quotas.result(),
            limit_ranges=limit_ranges.result(),
        )


class _Asking:
    """The questions; each method may run in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def get(self, path: str) -> Answer:
        return self._request("GET", path)

    def items(self, path: str, query: Mapping[str, str] | None = None) -> Answers:
        answer = self._request("GET", path, query)
        if isinstance(answer, Denied):
            return answer
        return tuple(answer.get("items") or ()) if answer is not None else ()

    def user(self) -> str:
        """Who this is to the API server; empty where it is too old to say."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", None, review)
        if answer is None or isinstance(answer, Denied):
            return ""
        return str(answer["status"].get("userInfo", {}).get("username", ""))

    def lacking(self, wanted: Sequence[Right]) -> tuple[Right, ...] | Denied:
        """The rights that the current user lacks.

        One question answers for all of them; authorizers other than RBAC may leave some out, so those are asked for singly.
        """
        cluster = self._cluster
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": cluster.namespace},
        }
        answer = self._request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", None, review)
        rules = answer["status"]["resourceRules"] if isinstance(answer, dict) else []
        doubtful = [right for right in wanted if not any(_grants(rule, right) for rule in rules)]
        if not doubtful:
            return ()
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                granted = list(pool.map(lambda right: cluster.may(*right), doubtful))
        except (ApiError, Unreachable) as error:
            return Denied(str(error))
        return tuple(right for right, may in zip(doubtful, granted, strict=True) if not may)

    def account(self, name: str) -> Account:
        account = self.get(self._cluster.path(CORE, "serviceaccounts", name))
        token = _token_name(name, account)
        return Account(account, token, self.secret(token), self._account_lacking(name) if account is not None else ())

    def _account_lacking(self, name: str) -> tuple[Right, ...] | Denied:
        namespace = self._cluster.namespace
        lacking = []
        for verb, group, resource in ACCOUNT_RIGHTS:
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "LocalSubjectAccessReview",
                "metadata": {"namespace": namespace},
                "spec": {
                    "user": f"system:serviceaccount:{namespace}:{name}",
                    "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
                    "resourceAttributes": {
                        "namespace": namespace,
                        "verb": verb,
                        "group": group,
                        "resource": resource,
                    },
                },
            }
            path = self._cluster.path("apis/authorization.k8s.io/v1", "localsubjectaccessreviews")
            answer = self._request("POST", path, None, review)
            if answer is None or isinstance(answer, Denied):
                return answer or Denied("the API server has no LocalSubjectAccessReview")
            if not answer["status"].get("allowed"):
                lacking.append((verb, group, resource))
        return tuple(lacking)

    def secret(self, name: str) -> Held | Denied | None:
        """A Secret; its values go no further than here."""
        answer = self.get(self._cluster.path(CORE, "secrets", name))
        if answer is None or isinstance(answer, Denied):
            return answer
        keys = {key: bool(base64.b64decode(value or "")) for key, value in (answer.get("data") or {}).items()}
        annotations = answer["metadata"].get("annotations") or {}
        return Held(answer.get("type", "Opaque"), keys, annotations.get("kubernetes.io/service-account.name", ""))

    def claim(self, name: str) -> Claim:
        claim = self.get(self._cluster.path(CORE, "persistentvolumeclaims", name))
        if claim is None or isinstance(claim, Denied):
            return Claim(claim)
        if volume := claim["spec"].get("volumeName"):
            return Claim(claim, volume=self.get(f"/{CORE}/persistentvolumes/{quote(volume, safe='')}"))
        chosen = claim["spec"].get("storageClassName")
        found = self.get(f"/apis/storage.k8s.io/v1/storageclasses/{quote(chosen, safe='')}") if chosen else None
        about = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name}"
        return Claim(
            claim,
            storage_class=found,
            events=self.items(self._cluster.path(CORE, "events"), {"fieldSelector": about}),
        )

    def controllers(self) -> Controllers:
        selected = (
            {"fieldSelector": "metadata.name=workflow-controller"},
            {"labelSelector": "app=workflow-controller"},
        )
        answers = [self.items("/apis/apps/v1/deployments", query) for query in selected]
        everywhere = not any(isinstance(answer, Denied) for answer in answers)
        if not everywhere:
            places = dict.fromkeys((self._cluster.namespace, "argo"))
            answers = [self.items(self._cluster.path("apis/apps/v1", "deployments", "", place)) for place in places]
        seen = [answer for answer in answers if not isinstance(answer, Denied)]
        found = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for answer in seen for one in answer}
        controllers = tuple(one for one in found.values() if _is_controller(one))
        settings = {
            place: self.get(self._cluster.path(CORE, "configmaps", _settings_name(one), place))
            for one in controllers
            for place in [one["metadata"]["namespace"]]
        }
        touched = self.items(self._cluster.path(WORKFLOWS, "workflows"), {"labelSelector": _PHASE_LABEL, "limit": "1"})
        refused = next((answer for answer in answers if isinstance(answer, Denied)), None)
        return Controllers(
            controllers if controllers or refused is None else refused,
            everywhere,
            settings,
            active=not isinstance(touched, Denied) and bool(touched),
        )

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        try:
            return self._cluster.request(method, path, query, body)
        except NotFound:
            return None
        except (ApiError, Unreachable) as error:
            return Denied(str(error))


def _grants(rule: Mapping[str, Any], right: Right) -> bool:
    verb, group, resource = right
    if rule.get("resourceNames"):
        return False
    part = resource.partition("/")[2]
    resources = (resource, "*", f"*/{part}") if part else (resource, "*")
    return (
        any(one in ("*", verb) for one in rule.get("verbs") or ())
        and any(one in ("*", group) for one in rule.get("apiGroups") or ())
        and any(one in resources for one in rule.get("resources") or ())
    )


def _token_name(name: str, account: Answer) -> str:
    """The Secret that the controller mounts for an account, found as it does."""
    if isinstance(account, dict):
        if account.get("secrets"):
            return str(account["secrets"][0]["name"])
        annotations = account["metadata"].get("annotations") or {}
        if own := annotations.get("workflows.argoproj.io/service-account-token.name"):
            return str(own)
    return f"{name}.service-account-token"


def _is_controller(deployment: Object) -> bool:
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return deployment["metadata"]["name"] == "workflow-controller" or labels.get("app") == "workflow-controller"


def _words(deployment: Object) -> list[str]:
    """The controller's command line, with ``--option=value`` as two words."""
    container = _controller_container(deployment)
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]


def _controller_container(deployment: Object) -> Object:
    containers: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    return next((one for one in containers if one["name"] in ("workflow-controller", "controller")), containers[0])


def _option(words: Sequence[str], name: str) -> str:
    return next((after for word, after in pairwise(words) if word == name), "")


def _settings_name(deployment: Object) -> str:
    return _option(_words(deployment), "--configmap") or "workflow-controller-configmap"


# --- judging ------------------------------------------------------------------------------------------------------------


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
        found += [*_nodes(facts, shape), *_limit_ranges(facts, shape)]
    found += _quotas(facts, needs)
    for image in needs.images:
        found.append(_image(facts, needs, image))
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
        yield Finding("unknown", f"the namespace {name} can't be looked at: {namespace.why}", _ask_admin(facts))
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


def _ask_admin(facts: Facts) -> str:
    """What lets a user see in the namespace what a preflight asks for; for the cluster's admin."""
    user = facts.user or "USER"
    bind = facts.kubectl("create", "rolebinding", _binding(user), "--role", "toolkit-user", "--user", user)
    return f"an admin grants it: {facts.apply('accounts')} && {bind}"


def _ask_admin_of_cluster(facts: Facts) -> str:
    """The same for nodes and volumes, which are in no namespace."""
    user = facts.user or "USER"
    words = ("create", "clusterrolebinding", _binding(user), "--clusterrole", "toolkit-nodes", "--user", user)
    return f"an admin grants it: {facts.apply('nodes', everywhere=True)} && {facts.kubectl(*words, everywhere=True)}"


def _binding(user: str) -> str:
    return "toolkit-" + (re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:50] or "user")


# Argo's controller ------------------------------------------------------------------------------------------------------


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


def _watches(deployment: Object) -> str:
    """The one namespace that a controller watches; empty when it watches all."""
    words = _words(deployment)
    if "--namespaced" not in words or _option(words, "--namespaced") == "false":
        return ""
    return _option(words, "--managed-namespace") or str(deployment["metadata"]["namespace"])


def _controller(facts: Facts, needs: Needs, deployment: Object) -> Iterator[Finding]:
    place, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    image = str(_controller_container(deployment)["image"])

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


def _settings(facts: Facts, needs: Needs, place: str, config_map: Object) -> Iterator[Finding]:
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


# rights and accounts ----------------------------------------------------------------------------------------------------


def _listed(rights: Iterable[Right]) -> str:
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
        yield Finding("error", f"you may not do all of this in {name}: {_listed(facts.lacking)}", _ask_admin(facts))
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
        yield Finding(
            "unknown", f"the service account {name} can't be looked at: {seen.account.why}", _ask_admin(facts)
        )
    token, secret = seen.token, seen.token_name
    if isinstance(token, Denied):
        good = False
        yield Finding(
            "unknown", f"the token Secret {secret} of {name} can't be looked at: {token.why}", _ask_admin(facts)
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
        what = f"whether {name} may {_listed(ACCOUNT_RIGHTS)} is not known: {seen.lacking.why}"
        yield Finding("unknown", what, _ask_admin(facts))
    elif seen.lacking:
        good = False
        yield Finding("error", f"the service account {name} may not {_listed(seen.lacking)}", made)
    if good:
        yield Finding("ok", f"the service account {name} has its token and its rights")


# claims -----------------------------------------------------------------------------------------------------------------


def _claim(facts: Facts, needs: Needs, name: str) -> Iterator[Finding]:
    seen = facts.claims[name]
    claim = seen.claim
    if claim is None:
        yield Finding("error", f"there is no claim {name}, which the steps mount", facts.apply(f"claim={name}"))
        return
    if isinstance(claim, Denied):
        yield Finding("unknown", f"the claim {name} can't be looked at: {claim.why}", _ask_admin(facts))
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
    shared = _shared_by_nodes(facts, needs, name, "ReadWriteMany" in modes)
    if shared is not None:
        yield shared
    if shared is None or shared.level == "unknown":
        yield Finding("ok", f"the claim {name} {state}{_without_group(seen.volume)}")


def _size(claim: Object) -> str:
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
    if not isinstance(seen.events, Denied) and seen.events:
        last = max(seen.events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
        return " ".join(str(last.get("message", "")).split())[:300]
    if chosen is None:
        return "it names no storage class, and the cluster has no default one"
    return "no volume was made for it yet"


def _shared_by_nodes(facts: Facts, needs: Needs, name: str, many: bool) -> Finding | None:
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
        return Finding("unknown", what, _ask_admin_of_cluster(facts))
    nodes = {one["metadata"]["name"]: one for shape in needs.shapes for one in _usable(facts.nodes, shape)}
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


def _reaches(volume: Object, node: Object) -> bool:
    """Whether a volume's node affinity allows a node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if not required:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(_expressed(one, labels) for one in term.get("matchExpressions") or ())
        and all(_expressed(one, fields) for one in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
    )


def _expressed(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
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


# secrets ----------------------------------------------------------------------------------------------------------------


def _secret(facts: Facts, name: str, keys: Sequence[str]) -> Iterator[Finding]:
    held = facts.secrets[name]
    if isinstance(held, Denied):
        yield Finding("unknown", f"the Secret {name} can't be looked at: {held.why}", _ask_admin(facts))
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
        return Finding("unknown", f"the image pull secret {name} can't be looked at: {held.why}", _ask_admin(facts))
    words = ("create", "secret", "docker-registry", name)
    rest = " --docker-server=… --docker-username=… --docker-password=…"
    make = facts.kubectl(*words) + rest
    if held is None:
        return Finding("error", f"there is no image pull secret {name}", make)
    if held.type not in ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"):
        again = f"{facts.kubectl('delete', 'secret', name)} && {make}"
        return Finding("error", f"the image pull secret {name} holds no registry login: its type is {held.type}", again)
    return Finding("ok", f"there is the image pull secret {name}")


# nodes, quotas and images -----------------------------------------------------------------------------------------------


def _usable(nodes: Iterable[Object], shape: Shape) -> list[Object]:
    """The nodes that the scheduler could put pods of this shape on, as far as labels and taints go."""
    return [
        node
        for node in nodes
        if not node["spec"].get("unschedulable")
        and _selected(node, shape)
        and all(
            taint["effect"] == "PreferNoSchedule" or any(_tolerates(one, taint) for one in shape.tolerations)
            for taint in node["spec"].get("taints") or ()
        )
    ]


def _selected(node: Object, shape: Shape) -> bool:
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


def _nodes(facts: Facts, shape: Shape) -> Iterator[Finding]:
    nodes = facts.nodes
    if isinstance(nodes, Denied):
        if shape.node_selector or _asked(shape.resources):
            what = f"whether a node has what {shape} ask{'s' if len(shape.steps) == 1 else ''} for is not known: {nodes.why}"
            yield Finding("unknown", what, _ask_admin_of_cluster(facts))
        return
    # A pool that makes nodes when pods wait for them may make one that fits.
    grows = any(label.startswith(_POOLS) for node in nodes for label in node["metadata"].get("labels") or {})
    level: Level = "warning" if grows else "error"
    note = ", unless its pools add one" if grows else ""
    labels = facts.kubectl("get", "nodes", "--show-labels", everywhere=True)
    if not any(_selected(node, shape) for node in nodes):
        wanted = ", ".join(f"{key}={value}" for key, value in shape.node_selector.items())
        what = (
            f"no node of the cluster has the labels {wanted} that {shape} must have"
            if wanted
            else "the cluster has no node"
        )
        yield Finding(level, what + note, f"mend executor.config.node_selector: {labels}" if wanted else labels)
        return
    usable = _usable(nodes, shape)
    if not usable:
        taints = {
            taint["key"] for node in nodes if _selected(node, shape) for taint in node["spec"].get("taints") or ()
        }
        why = f"they have the taints {', '.join(sorted(taints))}" if taints else "they are cordoned"
        mend = "set executor.config.tolerations, or see " + facts.kubectl("describe", "nodes", everywhere=True)
        yield Finding(level, f"no node takes pods of {shape} now: {why}{note}", mend)
        return
    for name, (text, amount) in _asked(shape.resources).items():
        best = max(
            (_amount(node["status"].get("allocatable", {}).get(name, "0")) for node in usable), default=Fraction(0)
        )
        if amount > best:
            shown = _shown(name, best)
            what = f"no node has {name} {text} for {shape}: the largest that it may run on has {shown}"
            yield Finding(level, what + note, "lower executor.config.resources, or add a larger node")
            return
    yield Finding("ok", f"{len(usable)} node{'s' if len(usable) > 1 else ''} can take the pods of {shape}")


def _asked(resources: Resources) -> dict[str, tuple[str, Fraction]]:
    """What the scheduler looks for: the requests, and a limit where there is no request."""
    found = {}
    for name, text in {**_named(resources.limits), **_named(resources.requests)}.items():
        found[name] = (text, _amount(text))
    return found


def _named(amounts: ResourceList) -> dict[str, str]:
    gpu = str(amounts.gpu) if amounts.gpu else None
    named = {"cpu": amounts.cpu, "memory": amounts.memory, _GPU: gpu}
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


def _shown(name: str, amount: Fraction) -> str:
    return f"{int(amount) >> 20}Mi" if name == "memory" else f"{float(amount):g}"


def _limit_ranges(facts: Facts, shape: Shape) -> Iterator[Finding]:
    """What would refuse a pod of this shape outright; where they can't be seen, the quotas say so once."""
    if isinstance(facts.limit_ranges, Denied):
        return
    limits, asked = _named(shape.resources.limits), _asked(shape.resources)
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


def _quotas(facts: Facts, needs: Needs) -> Iterator[Finding]:
    if isinstance(facts.quotas, Denied):
        yield Finding(
            "unknown", f"the quotas of the namespace can't be looked at: {facts.quotas.why}", _ask_admin(facts)
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
            for resource, text in _counted(shape.resources).items():
                most = hard.get(resource)
                if most is not None and _amount(text) > _amount(most):
                    what = f"the quota {name} has {resource} {most} for all pods, and each of {shape} takes {text}"
                    yield Finding("error", what, edit)


def _counted(resources: Resources) -> dict[str, str]:
    """What a pod counts for, by the names that quotas have."""
    asked = {name: text for name, (text, _) in _asked(resources).items()}
    found = {f"limits.{name}": text for name, text in _named(resources.limits).items()}
    found.update({f"requests.{name}": text for name, text in asked.items()})
    return {**found, **{name: text for name, text in asked.items() if name in ("cpu", "memory")}}


def _defaults(limit_ranges: Iterable[Object]) -> set[str]:
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


def _image(facts: Facts, needs: Needs, image: Image) -> Finding:
    if image.loaded:
        return Finding("ok", f"the image {image.reference} was loaded into the nodes")
    if not image.never_pulled:
        what = f"the nodes pull the image {image.reference}: whether its registry has it and lets them can't be seen from here"
        return Finding("unknown", what)
    if isinstance(facts.nodes, Denied):
        what = f"whether a node has the image {image.reference}, which is never pulled, is not known: {facts.nodes.why}"
        return Finding("unknown", what, _ask_admin_of_cluster(facts))
    nodes = {node["metadata"]["name"]: node for shape in needs.shapes for node in _usable(facts.nodes, shape)}
    having = {name for name, node in nodes.items() if _has(node, image.reference)}
    without = sorted(nodes.keys() - having)
    if not without:
        return Finding("ok", f"the image {image.reference} is on {'the node' if len(nodes) == 1 else 'all nodes'}")
    # A kubelet tells of its largest images only, and of a new one within a minute; so this is never an error.
    full = any(len(nodes[name].get("status", {}).get("images") or ()) >= _IMAGES_LISTED for name in without)
    listed = ", ".join(without[:3]) + (" …" if len(without) > 3 else "")
    what = f"the image {image.reference} is never pulled, and the node{'s' if len(without) > 1 else ''} {listed} "
    if full:
        return Finding("unknown", what + f"may not have it (a node names {_IMAGES_LISTED} of its images only)")
    mend = (
        f"if it was not loaded just now: docker save {image.reference} | ctr -n k8s.io images import - on each node, "
        "or give executor.config.image a registry"
    )
    return Finding("warning", what + "did not have it a minute ago", mend)


def _has(node: Object, reference: str) -> bool:
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
