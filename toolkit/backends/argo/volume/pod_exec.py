"""Runs a command in a container of a pod: an exec over a web socket, with a line of standard input and a stream of output."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from toolkit.backends.argo.cluster import CORE, ApiError, Cluster, Forbidden, KubernetesObject, Unreachable
from toolkit.backends.argo.volume.reader import BrokenConnection
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.protocol import FAULT

_CONNECT_LIMIT = 15.0
_MESSAGE = 32 * 1024
"""Bytes of standard input in one message: servers limit them."""
_ERROR_TAIL = 4096
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
"""The channels of the protocol: the first byte of each message names its channel."""


class NotRunning(Exception):
    """There is no running container that could execute the command."""


def one_line(text: str) -> str:
    """A text of the cluster's, as part of a sentence."""
    return " ".join(text.split())[:1000]


class PodExec:
    """One command in the pod that reads the volume.

    Args:
        pod, container: names. silence_limit: seconds without any output after which the command is given up.
    """

    def __init__(
        self, cluster: Cluster, pod: str, container: str, command: Sequence[str], silence_limit: float
    ) -> None:
        self._cluster = cluster
        self._pod = pod
        self._container = container
        self._command = command
        self._silence_limit = silence_limit

    def run(self, line: bytes, sink: Callable[[bytes], None]) -> None:
        """Sends ``line`` to the command's standard input, and passes its standard output to ``sink`` until the command ends.

        Raises:
            NotRunning. BrokenConnection: the connection ended before the command did. Forbidden, Unreachable.
            Infrastructure: the command failed, or there was no output for too long.
        """
        import websocket

        socket = self._connect()
        try:
            for start in range(0, len(line), _MESSAGE):
                socket.send_binary(bytes([_STDIN]) + line[start : start + _MESSAGE])
            status, errors = self._receive(socket, sink)
        except websocket.WebSocketException as error:
            raise self._broken(one_line(str(error))) from None
        finally:
            # Not close(), which would wait for the other side's close.
            socket.shutdown()
        self._check_status(status, errors)

    def _broken(self, reason: str) -> BrokenConnection:
        ending = f": {reason}" if reason else ""
        return BrokenConnection(f"the connection to the pod {self._pod} that reads the volume broke{ending}")

    # --- the connection -----------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        import websocket

        configuration = self._cluster.api_client.configuration
        headers: dict[str, str] = {}
        for scheme in configuration.auth_settings().values():
            if scheme["in"] == "header" and scheme["value"]:
                headers[scheme["key"]] = scheme["value"]
        socket: Any = websocket.WebSocket(sslopt=_tls_options(configuration))
        try:
            socket.connect(
                self._address(),
                timeout=_CONNECT_LIMIT,
                header=[f"{name}: {value}" for name, value in headers.items()],
                # The older of two: the newer one only adds an end of standard input, and the request ends with its line.
                subprotocols=["v4.channel.k8s.io"],
                suppress_origin=True,
                **_proxy_options(configuration),
            )
        except websocket.WebSocketBadStatusException as error:
            raise self._refusal(error.status_code, getattr(error, "resp_body", None) or b"") from None
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(
                f"the Kubernetes API at {self._cluster.server} does not answer: {one_line(str(error))}"
            ) from None
        return socket

    def _address(self) -> str:
        query = [("container", self._container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", part) for part in self._command]
        server = urlsplit(self._cluster.server)
        path = server.path.rstrip("/") + self._cluster.path(CORE, "pods", self._pod) + "/exec"
        return urlunsplit(("ws" if server.scheme == "http" else "wss", server.netloc, path, urlencode(query), ""))

    def _refusal(self, status: int, body: bytes) -> Exception:
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
        # No node yet (400), no container yet, or a completed pod (500), deleted (404): the state of the pod tells them apart.
        return NotRunning(one_line(message))

    # --- the command --------------------------------------------------------------------------------------------------

    def _receive(self, socket: Any, sink: Callable[[bytes], None]) -> tuple[KubernetesObject | None, bytes]:
        """Reads to the end of the exec: its status, which is None when the connection ended before it, and the standard error."""
        import websocket

        errors = b""
        heard = time.monotonic()
        while True:
            # Frames that only keep the connection alive are the API server's: the limit is on what the command sends.
            remaining = heard + self._silence_limit - time.monotonic()
            try:
                if remaining <= 0:
                    raise websocket.WebSocketTimeoutException
                socket.settimeout(remaining)
                kind, frame = socket.recv_data_frame(True)
            except websocket.WebSocketTimeoutException:
                raise Infrastructure(
                    f"the pod {self._pod} that reads the volume said nothing for {self._silence_limit:.0f} s: "
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

    def _check_status(self, status: KubernetesObject | None, errors: bytes) -> None:
        """Raises the error that the status of an exec means, unless it is success."""
        stderr = one_line(errors.decode("utf-8", "replace"))
        if status is None:
            raise self._broken(stderr)
        if status.get("status") == "Success":
            return
        causes = (status.get("details") or {}).get("causes") or []
        codes = [str(cause.get("message")) for cause in causes if cause.get("reason") == "ExitCode"]
        if not codes:
            # The node did not run the command: there is no such container yet, or not any more.
            raise NotRunning(one_line(str(status.get("message"))))
        if codes[0] in ("137", "143"):
            # The container ended while the command ran. Before the first byte of an answer the pod's state says why.
            raise NotRunning(f"it was killed (exit code {codes[0]})")
        if codes[0] == str(FAULT):
            stderr = stderr.rpartition("toolkit runtime: ")[2]
        raise Infrastructure(f"the pod that reads the volume failed: {stderr or f'exit code {codes[0]}'}")


def _tls_options(configuration: Any) -> dict[str, object]:
    """The certificates of the Kubernetes context, as the web socket library takes them."""
    options: dict[str, object] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
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


def _proxy_options(configuration: Any) -> dict[str, object]:
    """The proxy of the Kubernetes context, as the web socket library takes it."""
    if not configuration.proxy:
        return {}
    proxy = urlsplit(configuration.proxy)
    options: dict[str, object] = {
        "http_proxy_host": proxy.hostname,
        "http_proxy_port": proxy.port,
        "proxy_type": proxy.scheme or "http",
    }
    if configuration.no_proxy:
        options["http_no_proxy"] = configuration.no_proxy.split(",")
    if proxy.username:
        options["http_proxy_auth"] = (proxy.username, proxy.password or "")
    return options
