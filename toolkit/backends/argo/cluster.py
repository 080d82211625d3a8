"""One namespace of one cluster through the Kubernetes API: JSON in, JSON out, and every error as one sentence.

The client library reads the kubeconfig, handles credentials and certificates, and owns the connections. Objects stay plain
dicts, because the library's models drop fields that they don't know, and it has no model of Workflows. It is imported when a
cluster is opened and not before: that takes half a second.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from toolkit.backends.argo.certificates import keep_off_disk
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project

KubernetesObject = dict[str, Any]
"""An object of the Kubernetes API, or a part of one, as JSON. It has the shape that the API says."""

TIME_LIMIT = 30.0
"""Seconds for one answer of the API server; a watch or a log has a limit of its own."""

WORKFLOWS = "apis/argoproj.io/v1alpha1"
CORE = "api/v1"
_CONNECTIONS = 32
_MERGE_PATCH = "application/merge-patch+json"


class ApiError(Infrastructure):
    """The API server refused. ``status`` is HTTP's, ``reason`` Kubernetes' word for it."""

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFound(ApiError):
    """There is no such object."""


class Conflict(ApiError):
    """There is such an object already, or it has been changed meanwhile."""


class Forbidden(ApiError):
    """The current user may not do that."""


class Unreachable(Infrastructure):
    """The API server gave no answer."""


@dataclass(frozen=True)
class Event:
    """One line of a watch: ``type`` is ADDED, MODIFIED or DELETED."""

    type: str
    object: KubernetesObject


class Cluster:
    """One namespace as the current user sees it.

    Args:
        configuration: the client library's, loaded. context: the context's name, empty in a pod. namespace: where runs are.
    """

    def __init__(self, configuration: Any, context: str, namespace: str) -> None:
        from kubernetes.client import ApiClient

        # The default depends on the number of cores. With more threads than connections urllib3 warns on standard error.
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._pool = self._client.rest_client.pool_manager
        self.context = context
        self.namespace = namespace

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._configuration.host)

    @property
    def api_client(self) -> Any:
        """The client library's own, for an exec, which is a web socket and no request with one answer."""
        return self._client

    # --- objects ----------------------------------------------------------------------------------------------------

    def path(self, group: str, kind: str, name: str = "", namespace: str | None = None) -> str:
        """The address of an object or, without a name, of all objects of a kind; ``kind`` is the API's plural."""
        chosen = namespace if namespace is not None else self.namespace
        return f"/{group}/namespaces/{quote(chosen, safe='')}/{kind}" + (f"/{quote(name, safe='')}" if name else "")

    def get(self, group: str, kind: str, name: str, namespace: str | None = None) -> KubernetesObject:
        """One object.

        Raises:
            NotFound: there is none. ApiError, Unreachable.
        """
        return self.request("GET", self.path(group, kind, name, namespace))

    def find(self, group: str, kind: str, name: str, namespace: str | None = None) -> KubernetesObject | None:
        """One object, or None when there is none."""
        try:
            return self.get(group, kind, name, namespace)
        except NotFound:
            return None

    def list(self, group: str, kind: str, labels: str = "", fields: str = "", limit: int = 500) -> KubernetesObject:
        """All objects of a kind as one list, whatever the number of pages; its metadata has the resourceVersion."""
        query = {"limit": str(limit)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        whole = self.request("GET", self.path(group, kind), query)
        while next_page := whole["metadata"].get("continue"):
            page = self.request("GET", self.path(group, kind), {**query, "continue": next_page})
            whole["items"] += page["items"]
            whole["metadata"] = page["metadata"]
        return whole

    def create(self, group: str, kind: str, document: Mapping[str, object], dry_run: bool = False) -> KubernetesObject:
        """Creates an object.

        Raises:
            Conflict: there is one of this name. ApiError, Unreachable.
        """
        query = {"dryRun": "All"} if dry_run else {}
        return self.request("POST", self.path(group, kind), query, document)

    def patch(self, group: str, kind: str, name: str, change: Mapping[str, object]) -> KubernetesObject:
        """Merges a change into an object (JSON merge patch)."""
        return self.request("PATCH", self.path(group, kind, name), {}, change, _MERGE_PATCH)

    def delete(self, group: str, kind: str, name: str, grace: int | None = None) -> None:
        """Deletes an object and what it owns; it is no error when the object is gone already.

        Args:
            grace: seconds until a pod is killed; None is the pod's own grace period.
        """
        options: KubernetesObject = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self.request("DELETE", self.path(group, kind, name), {}, options)
        except NotFound:
            pass

    def watch(
        self, group: str, kind: str, version: str, labels: str = "", fields: str = "", seconds: float = 60.0
    ) -> Iterator[Event]:
        """The changes to the objects of a kind since a resource version, for ``seconds`` or until the server ends the watch.

        Raises:
            ApiError: with status 410 when the version is too old, so that the caller must list again. Unreachable.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        with self._answer("GET", self.path(group, kind), query, timeout=seconds + 10.0) as answer:
            for line in _lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(str(status.get("message", status)), int(status.get("code", 500)))
                yield Event(event["type"], event["object"])

    def log(self, pod: str, container: str, follow: bool, seconds: float = 3600.0) -> Iterator[bytes]:
        """A container's output as the node keeps it, in pieces; with ``follow`` until the container ends.

        Raises:
            NotFound: the pod is gone. ApiError: the container has not started yet (status 400), or worse. Unreachable.
        """
        query = {"container": container, "follow": "true" if follow else "false"}
        path = self.path(CORE, "pods", pod) + "/log"
        with self._answer("GET", path, query, timeout=seconds if follow else TIME_LIMIT) as answer:
            while data := answer.read1(1 << 16) if hasattr(answer, "read1") else answer.read(1 << 12):
                yield data

    def may(self, verb: str, group: str, kind: str, name: str = "") -> bool:
        """Whether the current user may do this in the namespace, by a SelfSubjectAccessReview.

        Args:
            group: the API group without its version, empty for the core. kind: plural, with a subresource as ``pods/log``.
        """
        resource, _, subresource = kind.partition("/")
        attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": resource}
        if subresource:
            attributes["subresource"] = subresource
        if name:
            attributes["name"] = name
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}, review)
        return bool(answer["status"].get("allowed"))

    # --- requests ---------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        content_type: str = "application/json",
    ) -> KubernetesObject:
        """One request and its answer. A GET is tried again when the connection breaks.

        Raises:
            NotFound, Conflict, Forbidden, ApiError: the server's own sentence. Unreachable: no answer in time.
        """
        with self._answer(method, path, query or {}, body, content_type) as answer:
            data = answer.read()
        document: KubernetesObject = json.loads(data) if data else {}
        return document

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, object] | None = None,
        content_type: str = "application/json",
        timeout: float = TIME_LIMIT,
    ) -> Iterator[Any]:
        import urllib3

        address = self.server + path + (f"?{urlencode(query)}" if query else "")
        data = json.dumps(body).encode() if body is not None else None
        tries = urllib3.Retry(total=3 if method == "GET" else 0, redirect=0, status=0, backoff_factor=0.3, read=1)
        try:
            answer = self._pool.request(
                method,
                address,
                body=data,
                headers=self._headers(content_type if body is not None else None),
                timeout=urllib3.Timeout(connect=10.0, read=timeout),
                preload_content=False,
                retries=tries,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(self._no_answer(error)) from None
        try:
            if answer.status >= 400:
                raise _api_error(answer.status, answer.read())
            yield answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(self._no_answer(error)) from None
        finally:
            # An answer that was read to its end has given its connection back. That of a watch can't be used again.
            answer.close()

    def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "toolkit"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        for scheme in self._configuration.auth_settings().values():
            if scheme["in"] == "header" and scheme["value"]:
                headers[scheme["key"]] = scheme["value"]
        return headers

    def _no_answer(self, error: BaseException) -> str:
        cause = getattr(error, "reason", None) or error
        text = str(cause).rpartition(": ")[2] or type(cause).__name__
        of_context = f" of the context {self.context}" if self.context else ""
        return f"the Kubernetes API{of_context} at {self.server} does not answer: {text}"


def _lines(answer: Any) -> Iterator[bytes]:
    """The lines of a chunked answer, as they arrive."""
    rest = b""
    for piece in answer.stream(1 << 16, decode_content=True):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line for line in lines if line)


def _api_error(status: int, data: bytes) -> ApiError:
    try:
        document = json.loads(data)
        message, reason = str(document.get("message") or document), str(document.get("reason") or "")
    except (ValueError, AttributeError):
        message, reason = data.decode("utf-8", "replace").strip()[:500] or f"HTTP status {status}", ""
    kind = {404: NotFound, 409: Conflict, 403: Forbidden}.get(status, ApiError)
    if status == 401:
        message = f"the credentials of the Kubernetes context are not accepted ({message})"
    return kind(message, status, reason)


def connect(context: str | None, namespace: str | None) -> Cluster:
    """The cluster of a context in the kubeconfig (KUBECONFIG, else ~/.kube/config); in a pod without one, the pod's cluster.

    Args:
        context: None is the current one. namespace: None is that of the context, or ``default``.

    Raises:
        BadInput: there is no kubeconfig, or no such context in it.
    """
    from kubernetes import config
    from kubernetes.client import Configuration
    from kubernetes.config import kube_config

    configuration = Configuration()
    kubeconfig = os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [path for path in kubeconfig.split(os.pathsep) if path and os.path.exists(os.path.expanduser(path))]
    if not files and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise BadInput(f"the cluster of this pod can't be used: {error}") from None
        return Cluster(configuration, "", namespace or _namespace_of_pod())
    if not files:
        raise BadInput(f"there is no kubeconfig at {kubeconfig}: set KUBECONFIG, or run with --env local")
    try:
        contexts, current = config.list_kube_config_contexts(kubeconfig)
        chosen = next((each for each in contexts if each["name"] == context), None) if context else current
        if chosen is None:
            available = ", ".join(each["name"] for each in contexts)
            raise BadInput(f"the kubeconfig {kubeconfig} has no context {context!r}; it has: {available}")
        folder = keep_off_disk(kube_config)
        config.load_kube_config(kubeconfig, chosen["name"], client_configuration=configuration, temp_file_path=folder)
    except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"the kubeconfig {kubeconfig} can't be used: {error}") from None
    of_context = (chosen.get("context") or {}).get("namespace")
    return Cluster(configuration, chosen["name"], namespace or of_context or "default")


def open_cluster(project: Project, context: str | None, namespace: str | None) -> Cluster:
    """The cluster that options, else the configuration, else the kubeconfig name.

    Raises:
        BadInput: there is no kubeconfig, or no such context in it.
    """
    executor = project.config.executor.config
    return connect(context or executor.context, namespace or executor.namespace)


def _namespace_of_pod() -> str:
    try:
        with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
            return file.read().strip()
    except OSError:
        return "default"


def pause(seconds: float) -> None:
    """Waits between two looks; a function of its own so that tests can make it short."""
    time.sleep(seconds)
