"""Which Docker engine is used, and the two ways of talking to it: docker-py, and HTTP over its Unix socket.

To import docker-py takes longer than a whole unchanged build may take, so a build talks to a local engine over the socket.
Everything else, and every engine that is not behind a Unix socket, goes through docker-py.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from toolkit.errors import Infrastructure, ToolkitError

if TYPE_CHECKING:
    import docker

EngineObject = dict[str, Any]
"""An object of Docker's own: what the Engine API or docker-py takes or gives, as JSON has it."""
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_CHUNK = 1 << 20
_TAR = "application/x-tar"
_TIMEOUT = 60.0
"""Seconds without a byte from the engine after which a request fails; a load and a save have limits of their own."""


@dataclass(frozen=True)
class Endpoint:
    """An engine's address.

    Attributes:
        address: as Docker spells it: ``unix://``, ``tcp://``, ``ssh://`` …
        source: what names it: DOCKER_HOST, a context, or the default.
        certificates: the folder of ca.pem, cert.pem and key.pem; None for no TLS.
        verify: whether the engine's certificate is checked.
    """

    address: str
    source: str
    certificates: Path | None = None
    verify: bool = True

    @property
    def socket(self) -> str | None:
        """The path of the Unix socket; None for every other kind of address."""
        return self.address[len("unix://") :] if self.address.startswith("unix://") else None

    def __str__(self) -> str:
        return f"{self.address} ({self.source})"


@dataclass(frozen=True)
class Reply:
    """The engine's answer to a request: its HTTP status and its body."""

    status: int
    body: bytes

    def message(self) -> str:
        """The engine's own words for a failure."""
        try:
            return str(json.loads(self.body)["message"])
        except (ValueError, KeyError, TypeError):
            return self.body.decode("utf-8", "replace").strip() or f"status {self.status}"


def resolve_endpoint() -> Endpoint:
    """The engine that DOCKER_HOST names, else the current context's, else the default socket: the CLI's own order.

    Raises:
        Infrastructure: the current context's files are missing or broken.
    """
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if host := os.environ.get("DOCKER_HOST"):
        # As in the CLI, any value but an empty one switches verification on.
        tls = bool(os.environ.get("DOCKER_TLS_VERIFY"))
        named = os.environ.get("DOCKER_CERT_PATH")
        certificates = Path(named or folder) if tls or named else None
        return Endpoint(host, "DOCKER_HOST", certificates if host.startswith("tcp://") else None, tls)
    name = os.environ.get("DOCKER_CONTEXT") or _current_context(folder / "config.json")
    if not name or name == "default":
        return Endpoint(DEFAULT_ADDRESS, "the default socket")
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    try:
        endpoint = json.loads(meta.read_bytes())["Endpoints"]["docker"]
        address, skip = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify", False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Infrastructure(
            f"the docker context {name!r} cannot be read ({meta}): "
            "choose another with `docker context use`, or set DOCKER_HOST"
        ) from error
    keys = folder / "contexts" / "tls" / digest / "docker"
    return Endpoint(address, f"docker context {name}", keys if keys.is_dir() else None, not skip)


def _current_context(config: Path) -> str | None:
    try:
        name = json.loads(config.read_bytes()).get("currentContext")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise Infrastructure(f"{config} cannot be read ({error}): fix it, or set DOCKER_HOST") from error
    return str(name) if name else None


def connect(endpoint: Endpoint | None = None) -> docker.DockerClient:
    """A docker-py client of the engine, which has answered a ping.

    Raises:
        Infrastructure: nothing answers; the message names the address and what to do.
    """
    import docker
    import docker.tls

    endpoint = endpoint or resolve_endpoint()
    try:
        client = docker.DockerClient(
            base_url=endpoint.address,
            tls=_tls(endpoint),
            version="auto",
            use_ssh_client=endpoint.address.startswith("ssh://"),
        )
        client.ping()
    except Exception as error:  # docker-py lets exceptions of requests, urllib3 and paramiko through, besides its own
        raise unreachable(endpoint, error) from error
    return client


def _tls(endpoint: Endpoint) -> Any:
    import docker.tls

    folder = endpoint.certificates
    if folder is None:
        return False
    pair = (str(folder / "cert.pem"), str(folder / "key.pem")) if (folder / "cert.pem").exists() else None
    authority = str(folder / "ca.pem") if (folder / "ca.pem").exists() else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=authority, verify=endpoint.verify)


def unreachable(endpoint: Endpoint, error: BaseException) -> Infrastructure:
    return Infrastructure(
        f"no Docker engine answers at {endpoint}: {_reason(error)}; "
        "start it, install one with `task setup`, or name another in DOCKER_HOST"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


class EngineApi:
    """The Engine API without docker-py, where the engine is behind a Unix socket.

    Requests without a body are HTTP/1.0: the answer then ends with the connection and is never chunked, so that no HTTP
    library is needed (the standard one alone costs as much to import as five requests take).
    """

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self.endpoint = endpoint or resolve_endpoint()
        self._client: docker.DockerClient | None = None

    def json(self, path: str) -> Any:
        """GET of ``path``, decoded; None when the engine does not have it.

        Raises:
            Infrastructure: nothing answers, or the engine reports a fault.
        """
        reply = self.call("GET", path)
        if reply.status == 404:
            return None
        if reply.status >= 400:
            raise Infrastructure(f"the Docker engine at {self.endpoint} failed: {reply.message()}")
        return json.loads(reply.body)

    def image(self, reference: str) -> EngineObject | None:
        """An image as `docker inspect` shows it; None when the engine does not have it."""
        image: EngineObject | None = self.json(f"/images/{reference}/json")
        return image

    def call(self, method: str, path: str, timeout: float = _TIMEOUT) -> Reply:
        """One request without a body; ``timeout`` is the longest silence in seconds."""
        if self.endpoint.socket is None:
            return self._through_docker_py(method, path, None, timeout)
        try:
            with self._open(f"{method} {path} HTTP/1.0", timeout) as connection, connection.makefile("rb") as stream:
                status, _ = _read_head(stream)
                return Reply(status, stream.read())
        except (OSError, ValueError) as error:
            raise unreachable(self.endpoint, error) from error

    def upload(self, path: str, timeout: float = 600.0) -> Upload:
        """A POST whose head is sent now. Its body follows by :meth:`Upload.send`, or never when the upload is closed first.

        To load an image an engine starts a process that unpacks it. With the head sent early it does so while the image is
        being built.
        """
        if self.endpoint.socket is None:
            return Upload(self.endpoint, None, lambda body: self._through_docker_py("POST", path, body, timeout))
        head = f"POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Type: {_TAR}\r\nTransfer-Encoding: chunked"
        try:
            return Upload(self.endpoint, self._open(head, timeout), None)
        except OSError as error:
            raise unreachable(self.endpoint, error) from error

    def save(self, reference: str, destination: BinaryIO, timeout: float = 600.0, shown: str = "") -> None:
        """The image's archive (`docker save`), written to ``destination``.

        Args:
            shown: how a sentence names the image, where ``reference`` is an id.

        Raises:
            Infrastructure: the engine does not have it or cannot read it.
        """
        path = f"/images/{reference}/get"
        if self.endpoint.socket is None:
            for chunk in self._docker_py().api.get_image(reference):
                destination.write(chunk)
            return
        try:
            with self._open(f"GET {path} HTTP/1.0", timeout) as connection, connection.makefile("rb") as stream:
                status, _ = _read_head(stream)
                if status >= 400:
                    raise Infrastructure(
                        f"the image {shown or reference} cannot be saved: {Reply(status, stream.read()).message()}"
                    )
                while chunk := stream.read(_CHUNK):
                    destination.write(chunk)
        except (OSError, ValueError) as error:
            raise unreachable(self.endpoint, error) from error

    def _open(self, head: str, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(self.endpoint.socket or "")
            connection.sendall(f"{head}\r\nHost: docker\r\n\r\n".encode())
        except BaseException:
            connection.close()
            raise
        return connection

    def _docker_py(self) -> docker.DockerClient:
        if self._client is None:
            self._client = connect(self.endpoint)
        return self._client

    def _through_docker_py(self, method: str, path: str, body: Iterable[bytes] | None, timeout: float) -> Reply:
        api = self._docker_py().api  # a requests.Session that knows TLS, ssh and the rest
        headers = {"Content-Type": _TAR} if body is not None else None
        try:
            response = api.request(method, api.base_url + path, data=body, timeout=timeout, headers=headers)
            return Reply(response.status_code, response.content)
        except ToolkitError:
            raise  # raised by the body's iterator
        except Exception as error:  # as in connect()
            raise unreachable(self.endpoint, error) from error


class Upload:
    """A request that waits for its body (see :meth:`EngineApi.upload`); a context manager, which closes it."""

    def __init__(
        self,
        endpoint: Endpoint,
        connection: socket.socket | None,
        send_whole: Callable[[Iterable[bytes]], Reply] | None,
    ) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._send_whole = send_whole

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def send(self, body: Iterable[bytes]) -> Reply:
        """Sends the body; only once. What the iterator raises is passed on.

        Raises:
            Infrastructure: the engine does not answer any more.
        """
        if self._connection is None:
            assert self._send_whole is not None
            return self._send_whole(iter(body))
        try:
            try:
                for chunk in body:
                    if chunk:
                        self._connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                self._connection.sendall(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # the engine answered before it had read everything: its answer says why
            with self._connection.makefile("rb") as stream:
                status, chunked = _read_head(stream)
                return Reply(status, _read_chunks(stream) if chunked else stream.read())
        except OSError as error:
            raise Infrastructure(
                f"the Docker engine at {self._endpoint} ended the connection before it had answered ({_reason(error)}): see "
                "whether it still runs, and try again"
            ) from error
        except ValueError as error:
            raise unreachable(self._endpoint, error) from error


def _read_head(stream: BinaryIO) -> tuple[int, bool]:
    """Reads the head of a reply: its status, and whether its body is chunked.

    Raises:
        OSError: the connection was closed before it.
        ValueError: it is not HTTP.
    """
    first = _read_line(stream).split(None, 2)
    if len(first) < 2 or not first[0].startswith(b"HTTP/"):
        raise ValueError("what answers there does not speak HTTP")
    chunked = False
    while line := stream.readline().strip().lower():
        chunked = chunked or (line.startswith(b"transfer-encoding:") and b"chunked" in line)
    return int(first[1]), chunked


def _read_line(stream: BinaryIO) -> bytes:
    """A line of a reply. An engine that ended meanwhile has sent none."""
    line = stream.readline()
    if not line:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return line


def _read_chunks(stream: BinaryIO) -> bytes:
    parts: list[bytes] = []
    while size := int(_read_line(stream).split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    return b"".join(parts)
