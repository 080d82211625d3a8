"""A short-lived pod that mounts the claims and answers requests about them.

It reads run log and catalog as ``runtime/server/service.py`` does.

Each request is an exec of its own over a web socket. The pod is asked as soon as it may be running and not only when the API
says so: the node's report is up to a second late, and that second would be half of what ``toolkit show`` takes.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from toolkit.backends.argo.cluster import (
    CORE,
    ApiError,
    Cluster,
    Forbidden,
    KubernetesObject,
    NotFound,
    Unreachable,
    pause,
)
from toolkit.backends.argo.pods import newest_warning, wait_reason
from toolkit.backends.argo.security import container_security, pod_security
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.protocol import FAULT, PROTOCOL, RUNTIME_MAIN
from toolkit.spec.container import GROUP

READER_LABEL = "dev.toolkit/reader"
"""On every such pod; a client that finds ended ones of others that were killed removes them."""
CONTAINER = "main"

_CONNECT_LIMIT = 15.0
_MESSAGE = 32 * 1024
"""Bytes of standard input in one message: servers limit them."""
_LONG_REQUEST = 4096
"""Bytes above which a request is packed."""
_ERROR_TAIL = 4096
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)

_NO_NODE = "no node takes it"


class BrokenConnection(Infrastructure):
    """The connection ended before the answer did: asking again may help."""


class Reader(Protocol):
    """What can answer requests about a volume."""

    def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
        """Sends one request and passes the answer to ``sink`` in pieces, as they come.

        Raises:
            BrokenConnection: the answer ended early. Infrastructure: there is no answer.
        """


class ReaderPod:
    """The pod, made when it is first needed (or at :meth:`start`) and deleted at the end of the ``with`` block.

    A client that is killed can't delete it: the container then ends by itself ``idle_limit`` seconds after the last
    request, and whoever makes the next reader pod in this namespace removes what is left of it.

    Args:
        image, pull_policy: an image with the runtime. claims: names of claims and where they are mounted, as in the steps.
        user, group: of the process, as of the steps. service_account: empty is the namespace's default; no token is mounted.
        image_pull_secrets: names. tolerations: as Kubernetes has them.
        start_limit: seconds until it must answer. silence_limit: seconds without any sign of life during an answer.
        idle_limit: seconds. lifetime: seconds after which the cluster ends it whatever it does.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        image: str,
        pull_policy: str,
        claims: Sequence[tuple[str, str]],
        user: int,
        group: int = GROUP,
        service_account: str = "",
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[Mapping[str, Any]] = (),
        image_pull_secrets: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        start_limit: float = 60.0,
        silence_limit: float = 60.0,
        idle_limit: int = 120,
        lifetime: int = 6 * 3600,
    ) -> None:
        self._cluster = cluster
        self._image = image
        self._pull_policy = pull_policy
        self._claims = list(claims)
        self._user = user
        self._group = group
        self._service_account = service_account
        self._node_selector = dict(node_selector or {})
        self._tolerations = [dict(one) for one in tolerations]
        self._image_pull_secrets = list(image_pull_secrets)
        self._labels = dict(labels or {})
        self._start_limit = start_limit
        self._silence_limit = silence_limit
        self._idle_limit = idle_limit
        self._lifetime = lifetime
        self.name = ""
        self._created = 0.0
        self._answered = False
        self._handled: list[signal.Signals] = []

    def __enter__(self) -> ReaderPod:
        # By themselves they would end the process without a word to the cluster.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _interrupt)
                    self._handled.append(number)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._remove()
        finally:
            while self._handled:
                signal.signal(self._handled.pop(), signal.SIG_DFL)

    # --- the pod ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Creates the pod, unless there is one, without waiting for it: there may be something to do meanwhile.

        Raises:
            Forbidden: the user may not. Infrastructure: the cluster refuses the pod. Unreachable.
        """
        if self.name:
            return
        # Named here and not by the server, so that it can be deleted when the answer to its creation is lost.
        self.name = f"toolkit-reader-{os.urandom(5).hex()}"
        self._created = time.monotonic()
        self._answered = False
        try:
            self._cluster.create(CORE, "pods", self.manifest())
        except ApiError as error:
            self.name = ""
            raise self._not_created(error) from None

    def manifest(self) -> KubernetesObject:
        """The pod, as the API is given it."""
        volumes = [
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, (claim, _) in enumerate(self._claims)
        ]
        mounts = [{"name": f"claim-{number}", "mountPath": path} for number, (_, path) in enumerate(self._claims)]
        spec: KubernetesObject = {
            "containers": [
                {
                    "name": CONTAINER,
                    "image": self._image,
                    "imagePullPolicy": self._pull_policy,
                    "command": ["python3", RUNTIME_MAIN, "--serve", str(PROTOCOL), str(self._idle_limit)],
                    "volumeMounts": mounts,
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": container_security(self._user, read_only_root=True),
                }
            ],
            "volumes": volumes,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self._lifetime,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(self._user, self._group),
        }
        if self._service_account:
            spec["serviceAccountName"] = self._service_account
        if self._node_selector:
            spec["nodeSelector"] = self._node_selector
        if self._tolerations:
            spec["tolerations"] = self._tolerations
        if self._image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in self._image_pull_secrets]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {**self._labels, READER_LABEL: self.name}},
            "spec": spec,
        }

    def _not_created(self, error: ApiError) -> Infrastructure:
        where = f"in the namespace {self._cluster.namespace}"
        what = f"the pod that reads the volume can't be created {where}: {error.message}"
        # A quota and a pod security standard refuse with the same status as a missing right does.
        if isinstance(error, Forbidden) and 'cannot create resource "pods"' in error.message:
            return Forbidden(f"{what} (it takes the rights create, get and delete on pods)", error.status, error.reason)
        return Infrastructure(what)

    def _remove(self) -> None:
        """Deletes the pod; a second Ctrl-C meanwhile does not keep it."""
        if not self.name:
            return
        thread = threading.Thread(target=self._delete, args=(self.name,))
        thread.start()
        interrupted = False
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt:
                # The request has a time limit of its own; a third one is not waited out.
                if interrupted:
                    raise
                interrupted = True
        self.name = ""
        if interrupted:
            raise KeyboardInterrupt

    def _delete(self, name: str) -> None:
        try:
            self._cluster.delete(CORE, "pods", name, grace=0)
        except Infrastructure:
            # What was asked for is there by now, and the pod ends by itself.
            pass

    def _sweep(self) -> None:
        """Removes what is left of reader pods that ended by themselves."""
        fields = "status.phase!=Pending,status.phase!=Running,status.phase!=Unknown"
        try:
            for pod in self._cluster.list(CORE, "pods", labels=READER_LABEL, fields=fields)["items"]:
                self._cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)
        except Infrastructure:
            # Not this command's business, and the user may not have the right to list.
            pass

    # --- requests ---------------------------------------------------------------------------------------------------

    def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
        """Sends one request (see ``runtime/server/service.py``) and passes the answer on in pieces; memory does not grow with it.

        Raises:
            BrokenConnection: the connection ended before the answer did. Forbidden: the user may not exec. Unreachable.
            Infrastructure: the pod can't start, has gone, or the runtime in it failed; one sentence.
        """
        line = _line(request)
        again = self._answered
        while True:
            self.start()
            try:
                self._first_exec(line, sink) if not self._answered else self._exec(line, sink)
                return
            except _NotYet as error:
                if not again:
                    raise BrokenConnection(f"the pod {self.name} that reads the volume has gone: {error}") from None
                # It has ended for want of requests, or its node was emptied: another one does as well.
                again = False
                self._remove()

    def _first_exec(self, line: bytes, sink: Callable[[bytes], None]) -> None:
        """Asks again and again until the container runs."""
        wait, looked, swept = 0.05, time.monotonic(), False
        while True:
            try:
                self._exec(line, sink)
                return
            except _NotYet as error:
                known = str(error)
            if not swept:
                # There is nothing better to do meanwhile.
                self._sweep()
                swept = True
            now = time.monotonic()
            late = now - self._created > self._start_limit
            if late or now - looked > 0.5:
                looked = now
                self._check(late, known)
            pause(wait)
            # An image that is being pulled takes its time; until then every tenth of a second is noticed.
            wait = 0.1 if now - self._created < 5.0 else 0.5

    def _check(self, late: bool, known: str) -> None:
        """Ends the wait for a pod that will not start, with the reason.

        Raises:
            Infrastructure
        """
        try:
            pod = self._cluster.get(CORE, "pods", self.name)
        except NotFound:
            name, self.name = self.name, ""
            raise Infrastructure(f"the pod {name} that reads the volume was deleted before it started") from None
        reason, hopeless = _why_not_running(pod)
        if not (hopeless or late):
            return
        if not hopeless and not reason.startswith(_NO_NODE):
            # An event says more than the state does: a volume that can't be mounted shows as ContainerCreating.
            reason = self._newest_warning(pod) or reason or known
        within = "" if hopeless else f" within {self._start_limit:.0f} s"
        raise Infrastructure(
            f"the pod that reads the volume did not start{within} in the namespace {self._cluster.namespace}: {reason}"
        )

    def _newest_warning(self, pod: KubernetesObject) -> str:
        about = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
        try:
            events = self._cluster.list(CORE, "events", fields=about)["items"]
        except Infrastructure:
            return ""
        return _one_line(newest_warning(events).sentence)

    def _exec(self, line: bytes, sink: Callable[[bytes], None]) -> None:
        """One exec.

        Raises:
            _NotYet: there is no running container. BrokenConnection, Forbidden, Unreachable, Infrastructure.
        """
        import websocket

        socket = self._connect()
        began = False

        def counted(data: bytes) -> None:
            nonlocal began
            # It has been there: should it go now, another one can be made.
            began = self._answered = True
            sink(data)

        try:
            for start in range(0, len(line), _MESSAGE):
                socket.send_binary(bytes([_STDIN]) + line[start : start + _MESSAGE])
            status, errors = self._receive(socket, counted)
        except websocket.WebSocketException as error:
            text = f"the connection to the pod {self.name} that reads the volume broke: {_one_line(str(error))}"
            raise BrokenConnection(text) from None
        finally:
            # Not close(): it would wait for the other side's farewell.
            socket.shutdown()
        try:
            self._judge(status, errors)
        except _NotYet as error:
            if began:
                raise BrokenConnection(f"the pod {self.name} that reads the volume has gone: {error}") from None
            raise
        self._answered = True

    def _connect(self) -> Any:
        import websocket

        client = self._cluster.api_client
        configuration = client.configuration
        headers: dict[str, str] = {}
        for scheme in configuration.auth_settings().values():
            if scheme["in"] == "header" and scheme["value"]:
                headers[scheme["key"]] = scheme["value"]
        query = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", part) for part in ("python3", RUNTIME_MAIN, "--store", str(PROTOCOL))]
        parts = urlsplit(self._cluster.server)
        path = parts.path.rstrip("/") + self._cluster.path(CORE, "pods", self.name) + "/exec"
        scheme = "ws" if parts.scheme == "http" else "wss"
        address = urlunsplit((scheme, parts.netloc, path, urlencode(query), ""))
        socket: Any = websocket.WebSocket(sslopt=_tls(configuration))
        try:
            socket.connect(
                address,
                timeout=_CONNECT_LIMIT,
                header=[f"{name}: {value}" for name, value in headers.items()],
                # The older of two: the newer one only adds an end of standard input, and the request ends with its line.
                subprotocols=["v4.channel.k8s.io"],
                suppress_origin=True,
                **_proxy(configuration),
            )
        except websocket.WebSocketBadStatusException as error:
            raise self._refused(error.status_code, getattr(error, "resp_body", None) or b"") from None
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(
                f"the Kubernetes API at {self._cluster.server} does not answer: {_one_line(str(error))}"
            ) from None
        return socket

    def _refused(self, status: int, body: bytes) -> Exception:
        try:
            message = str(json.loads(body).get("message"))
        except (ValueError, AttributeError):
            message = body.decode("utf-8", "replace").strip()[:500] or f"HTTP status {status}"
        if status == 403:
            return Forbidden(
                f"the volume can't be read through a pod in the namespace {self._cluster.namespace}: {message} "
                "(it takes the rights get and create on pods/exec)",
                status,
            )
        if status == 401:
            return ApiError(f"the credentials of the Kubernetes context are not accepted ({message})", status)
        # No node yet (400), no container yet, or a completed pod (500), gone (404): the state of the pod tells them apart.
        return _NotYet(_one_line(message))

    def _receive(self, socket: Any, sink: Callable[[bytes], None]) -> tuple[KubernetesObject | None, bytes]:
        """Reads to the end of the exec; its status is None when the connection ended before it."""
        import websocket

        errors = b""
        heard = time.monotonic()
        while True:
            # What keeps the connection alive is the API server's; the limit is about the answer.
            remaining = heard + self._silence_limit - time.monotonic()
            try:
                if remaining <= 0:
                    raise websocket.WebSocketTimeoutException
                socket.settimeout(remaining)
                kind, frame = socket.recv_data_frame(True)
            except websocket.WebSocketTimeoutException:
                raise Infrastructure(
                    f"the pod {self.name} that reads the volume said nothing for {self._silence_limit:.0f} s: "
                    "is the storage behind the claim in order?"
                ) from None
            except (websocket.WebSocketException, OSError):
                return None, errors
            if kind == websocket.ABNF.OPCODE_CLOSE:
                return None, errors
            if kind not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) or not frame.data:
                continue
            channel, data = frame.data[0], frame.data[1:]
            if data:
                heard = time.monotonic()
            if channel == _STDOUT and data:
                sink(data)
            elif channel == _STDERR:
                errors = (errors + data)[-_ERROR_TAIL:]
            elif channel == _STATUS and data:
                try:
                    status = json.loads(data)
                except ValueError:
                    status = {"status": "Failure", "message": data.decode("utf-8", "replace")}
                return status, errors

    def _judge(self, status: KubernetesObject | None, errors: bytes) -> None:
        """Raises what an exec's end means, unless it is success."""
        said = _one_line(errors.decode("utf-8", "replace"))
        if status is None:
            raise BrokenConnection(
                f"the connection to the pod {self.name} that reads the volume broke" + (f": {said}" if said else "")
            )
        if status.get("status") == "Success":
            return
        causes = (status.get("details") or {}).get("causes") or []
        codes = [str(one.get("message")) for one in causes if one.get("reason") == "ExitCode"]
        if not codes:
            # The node has not run anything: there is no such container yet, or not any more.
            raise _NotYet(_one_line(str(status.get("message"))))
        if codes[0] in ("137", "143"):
            # The container ended around it. Before the first word of an answer the pod's state says why.
            raise _NotYet(f"it was killed (exit code {codes[0]})")
        if codes[0] == str(FAULT):
            said = said.rpartition("toolkit runtime: ")[2]
        raise Infrastructure(f"the pod that reads the volume failed: {said or f'exit code {codes[0]}'}")


class _NotYet(Exception):
    """No container runs that could answer."""


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _line(request: Mapping[str, Any]) -> bytes:
    data = json.dumps(request, separators=(",", ":")).encode("ascii")
    if len(data) > _LONG_REQUEST:
        data = base64.b64encode(zlib.compress(data, 1))
    return data + b"\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:1000]


def _tls(configuration: Any) -> KubernetesObject:
    """The context's certificates, as the web socket library takes them."""
    options: KubernetesObject = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if configuration.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert}
        if configuration.ssl_ca_cert is None:
            import certifi

            options["ca_certs"] = certifi.where()
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    for key, name in (("certfile", "cert_file"), ("keyfile", "key_file"), ("server_hostname", "tls_server_name")):
        if getattr(configuration, name, None):
            options[key] = getattr(configuration, name)
    return options


def _proxy(configuration: Any) -> KubernetesObject:
    if not configuration.proxy:
        return {}
    parts = urlsplit(configuration.proxy)
    options: KubernetesObject = {
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port,
        "proxy_type": parts.scheme or "http",
    }
    if configuration.no_proxy:
        options["http_no_proxy"] = configuration.no_proxy.split(",")
    if parts.username:
        options["http_proxy_auth"] = (parts.username, parts.password or "")
    return options


def _why_not_running(pod: KubernetesObject) -> tuple[str, bool]:
    """What a pod waits for, and whether waiting is in vain."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        if ended := (container.get("state") or {}).get("terminated"):
            message = _one_line(str(ended.get("message") or "")).rpartition("toolkit runtime: ")[2]
            return message or f"{ended.get('reason') or 'it ended'} (exit code {ended.get('exitCode')})", True
    if status.get("phase") in ("Failed", "Succeeded"):
        return _one_line(f"{status.get('reason') or 'it ended'} {status.get('message') or ''}"), True
    reason = wait_reason(pod)
    sentence = _one_line(reason.sentence)
    return sentence if reason.scheduled else f"{_NO_NODE}: {sentence}", reason.permanent_for_reader
