"""HTTP to a registry: kept connections, proxies, TLS with the build's CA, redirects, and time limits."""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

_CONNECT = 15.0
"""Seconds until a connection stands."""
_SILENCE = 120.0
"""Seconds without a byte; a registry that keeps its blobs elsewhere takes its time to put a large one away."""
_LARGEST = 16 << 20
"""Bytes of an answer that are read: no manifest or token is as large."""
_REDIRECTS = 5
_LOCAL = ("localhost", "::1")


class TransportRefusal(Exception):
    """An address that is not followed, or a CA that is none; says why."""


@dataclass(frozen=True)
class Body:
    """A request's body, which can be read again when the request has to be repeated.

    Attributes:
        size: bytes.
    """

    chunks: Callable[[], Iterable[bytes]]
    size: int


@dataclass(frozen=True)
class Response:
    """A registry's answer, its headers' names in lower case.

    Attributes:
        url: where it came from, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    body: bytes
    url: str


def is_local(host: str) -> bool:
    """Whether the host, without a port, is this machine by its name: there HTTP is no worse than HTTPS."""
    return host in _LOCAL or host.startswith("127.")


class Transport:
    """Connections, one for each host; not for several threads.

    Args:
        authority: a PEM file of CAs that are trusted besides the system's.
    """

    def __init__(self, authority: Path | None = None) -> None:
        self._authority = authority
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def request(self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None) -> Response:
        """One request and its answer; redirects are followed, the Authorization header only on the same host.

        Raises:
            OSError, http.client.HTTPException: the connection could not be made, or broke off.
            TransportRefusal: a redirect leads from TLS to none, or in a circle.
        """
        sent = dict(headers)
        for _ in range(_REDIRECTS):
            answer = self._exchange(method, url, sent, body)
            target = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer
            following = urljoin(url, target)
            if not same_host(url, following):
                sent.pop("Authorization", None)
            check_redirect(url, following)
            url = following
        raise TransportRefusal("it redirects in a circle")

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Response:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        connection = self._connections.get(key)
        if connection is None:
            connection = self._connections[key] = self._connect(parts)
        try:
            return self._on(connection, method, url, headers, body)
        except BaseException:
            # Nothing is known of its state.
            connection.close()
            self._connections.pop(key, None)
            raise

    def _on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Response:
        parts = urlsplit(url)
        # Through a proxy and without TLS, the proxy is sent the whole address.
        path = (
            url if getattr(connection, "whole_address", False) else parts._replace(scheme="", netloc="").geturl() or "/"
        )
        sent = {**getattr(connection, "proxy_headers", {}), **headers, "Accept-Encoding": "identity"}
        if body is not None or method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = str(body.size if body else 0)
        if connection.sock is None:
            connection.connect()
            connected: Any = connection.sock
            connected.settimeout(_SILENCE)
        try:
            connection.request(method, path, body=_filled(body) if body else None, headers=sent)
        except (BrokenPipeError, ConnectionResetError):
            if body is None:
                raise
            # It may have answered before it read all, and says why; when not, reading the answer fails.
        response = connection.getresponse()
        content = response.read(_LARGEST)
        named = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close or not response.isclosed():
            connection.close()
        return Response(response.status, named, tuple(response.headers.get_all("WWW-Authenticate") or ()), content, url)

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        proxy = _proxy_for(parts)
        if proxy is None:
            if secure:
                return http.client.HTTPSConnection(
                    host, port, timeout=_CONNECT, context=self._context(parts.netloc), blocksize=1 << 20
                )
            return http.client.HTTPConnection(host, port, timeout=_CONNECT, blocksize=1 << 20)
        extra = {}
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            extra["Proxy-Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        connection: http.client.HTTPConnection
        if secure:
            connection = http.client.HTTPSConnection(
                proxy.hostname or "", proxy.port or 80, timeout=_CONNECT, context=self._context(parts.netloc),
                blocksize=1 << 20,
            )  # fmt: skip
            connection.set_tunnel(host, port, extra)
        else:
            connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=_CONNECT)
            connection.whole_address, connection.proxy_headers = True, extra  # type: ignore[attr-defined]
        return connection

    def _context(self, netloc: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        # And where the Docker engine looks for a registry's own CA.
        files = [self._authority] if self._authority is not None else []
        for file in [*files, *sorted((Path("/etc/docker/certs.d") / netloc).glob("*.crt"))]:
            try:
                context.load_verify_locations(str(file))
            except OSError as error:
                raise TransportRefusal(
                    f"the CA in {file} cannot be read ({error.strerror or 'it is no PEM file'})"
                ) from error
        return context


def _filled(body: Body) -> Iterator[bytes]:
    # http.client takes an empty chunk for the end.
    return (chunk for chunk in body.chunks() if chunk)


def _proxy_for(parts: SplitResult) -> SplitResult | None:
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    chosen = proxies.get(parts.scheme) or proxies.get("all")
    if not chosen or is_local(host) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urlsplit(chosen if "://" in chosen else f"http://{chosen}")


def same_host(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def check_redirect(one: str, other: str) -> None:
    """An address that a server named may be gone to from another one.

    Raises:
        TransportRefusal: it would leave TLS, or speaks something else than HTTP.
    """
    scheme = urlsplit(other).scheme
    if scheme not in ("http", "https") or (urlsplit(one).scheme == "https" and scheme != "https"):
        raise TransportRefusal(f"it sends on to {scheme}://{urlsplit(other).hostname}, which is not followed")


__all__ = ["Body", "Response", "Transport", "TransportRefusal", "check_redirect", "is_local", "same_host"]
