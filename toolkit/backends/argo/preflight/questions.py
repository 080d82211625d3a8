"""Asks the API server, many questions at once. What the current user may not see is Denied."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, KubernetesObject, NotFound, Unreachable
from toolkit.backends.argo.preflight.facts import (
    Account,
    Answer,
    Answers,
    Claim,
    Controllers,
    Denied,
    Facts,
    SecretKeys,
    is_controller,
    settings_name,
)
from toolkit.backends.argo.preflight.needs import (
    ACCOUNT_RIGHTS,
    AT_ONCE,
    PHASE_LABEL,
    SCHEDULE_RIGHTS,
    USER_RIGHTS,
    Finding,
    Needs,
    Right,
)


def gather(cluster: Cluster, needs: Needs) -> Facts | Finding:
    """Asks for all that :func:`judge` needs; what can't be read is :class:`Denied`.

    Returns:
        the facts; or, when the API server does not answer, the one finding that says so.
    """
    try:
        version = str(cluster.request("GET", "/version").get("gitVersion", "unknown"))
    except (ApiError, Unreachable) as error:
        context = ["--context", cluster.context] if cluster.context else []
        command = " ".join(shlex.quote(word) for word in ("kubectl", *context, "cluster-info"))
        return Finding("error", str(error), f"{command} shows the same; check network, VPN and login")
    ask = _Questions(cluster)
    rights = USER_RIGHTS + (SCHEDULE_RIGHTS if needs.schedules else ())
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def each(function: Callable[[str], Any], names: Iterable[str]) -> dict[str, Future[Any]]:
            return {name: pool.submit(function, name) for name in names}

        user = pool.submit(ask.user)
        controllers = pool.submit(ask.controllers)
        lacking = pool.submit(ask.lacking, rights)
        accounts = each(ask.account, needs.accounts)
        claims = each(ask.claim, needs.claims)
        secrets = each(ask.secret, dict.fromkeys((*needs.secrets, *needs.pull_secrets)))
        namespace = pool.submit(ask.get, f"/{CORE}/namespaces/{quote(cluster.namespace, safe='')}")
        api = pool.submit(ask.get, f"/{WORKFLOWS}")
        # From the API server's cache: a large cluster has thousands.
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
            accounts={name: account.result() for name, account in accounts.items()},
            claims={name: claim.result() for name, claim in claims.items()},
            secrets={name: secret.result() for name, secret in secrets.items()},
            nodes=nodes.result(),
            quotas=quotas.result(),
            limit_ranges=limit_ranges.result(),
        )


class _Questions:
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
        """The current user's name for the API server; empty where it is too old to say."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", None, review)
        if answer is None or isinstance(answer, Denied):
            return ""
        return str(answer["status"].get("userInfo", {}).get("username", ""))

    def lacking(self, rights: Sequence[Right]) -> tuple[Right, ...] | Denied:
        """Which of these rights the current user lacks.

        One question is about all of them. Authorizers other than RBAC may leave some out of the answer, so those are asked
        for one by one.
        """
        cluster = self._cluster
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": cluster.namespace},
        }
        answer = self._request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", None, review)
        rules = answer["status"]["resourceRules"] if isinstance(answer, dict) else []
        doubtful = [right for right in rights if not any(_grants(rule, right) for rule in rules)]
        if not doubtful:
            return ()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
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

    def secret(self, name: str) -> SecretKeys | Denied | None:
        """A Secret; its values stay here."""
        answer = self.get(self._cluster.path(CORE, "secrets", name))
        if answer is None or isinstance(answer, Denied):
            return answer
        keys = {key: bool(base64.b64decode(value or "")) for key, value in (answer.get("data") or {}).items()}
        annotations = answer["metadata"].get("annotations") or {}
        return SecretKeys(answer.get("type", "Opaque"), keys, annotations.get("kubernetes.io/service-account.name", ""))

    def claim(self, name: str) -> Claim:
        claim = self.get(self._cluster.path(CORE, "persistentvolumeclaims", name))
        if claim is None or isinstance(claim, Denied):
            return Claim(claim)
        if volume := claim["spec"].get("volumeName"):
            return Claim(claim, volume=self.get(f"/{CORE}/persistentvolumes/{quote(volume, safe='')}"))
        chosen = claim["spec"].get("storageClassName")
        storage_class = self.get(f"/apis/storage.k8s.io/v1/storageclasses/{quote(chosen, safe='')}") if chosen else None
        about = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name}"
        return Claim(
            claim,
            storage_class=storage_class,
            events=self.items(self._cluster.path(CORE, "events"), {"fieldSelector": about}),
        )

    def controllers(self) -> Controllers:
        selectors = (
            {"fieldSelector": "metadata.name=workflow-controller"},
            {"labelSelector": "app=workflow-controller"},
        )
        answers = [self.items("/apis/apps/v1/deployments", query) for query in selectors]
        everywhere = not any(isinstance(answer, Denied) for answer in answers)
        if not everywhere:
            namespaces = dict.fromkeys((self._cluster.namespace, "argo"))
            answers = [self.items(self._cluster.path("apis/apps/v1", "deployments", "", name)) for name in namespaces]
        listed = [each for answer in answers if not isinstance(answer, Denied) for each in answer]
        deployments = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in listed}
        controllers = tuple(each for each in deployments.values() if is_controller(each))
        settings = {
            namespace: self.get(self._cluster.path(CORE, "configmaps", settings_name(controller), namespace))
            for controller in controllers
            for namespace in [controller["metadata"]["namespace"]]
        }
        seen = self.items(self._cluster.path(WORKFLOWS, "workflows"), {"labelSelector": PHASE_LABEL, "limit": "1"})
        denied = next((answer for answer in answers if isinstance(answer, Denied)), None)
        return Controllers(
            controllers if controllers or denied is None else denied,
            everywhere,
            settings,
            active=not isinstance(seen, Denied) and bool(seen),
        )

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Answer:
        try:
            return self._cluster.request(method, path, query, body)
        except NotFound:
            return None
        except (ApiError, Unreachable) as error:
            return Denied(str(error))


def _grants(rule: KubernetesObject, right: Right) -> bool:
    verb, group, resource = right
    if rule.get("resourceNames"):
        return False
    part = resource.partition("/")[2]
    resources = (resource, "*", f"*/{part}") if part else (resource, "*")
    return (
        any(each in ("*", verb) for each in rule.get("verbs") or ())
        and any(each in ("*", group) for each in rule.get("apiGroups") or ())
        and any(each in resources for each in rule.get("resources") or ())
    )


def _token_name(name: str, account: Answer) -> str:
    """The Secret that the controller mounts for an account, chosen as the controller chooses it."""
    if isinstance(account, dict):
        if account.get("secrets"):
            return str(account["secrets"][0]["name"])
        annotations = account["metadata"].get("annotations") or {}
        if name_of_own := annotations.get("workflows.argoproj.io/service-account-token.name"):
            return str(name_of_own)
    return f"{name}.service-account-token"
