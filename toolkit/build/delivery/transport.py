"""HTTP to a registry by ``requests``, with the rules of a push: trusted CAs, redirects, time limits.

It is imported only when an image is pushed, because requests takes a while to import.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

_CONNECT_TIMEOUT = 15.0
"""Seconds until a connection stands."""
_READ_TIMEOUT = 120.0
"""Seconds without a byte. A registry that stores its blobs elsewhere needs time for a large one."""
_MAX_RESPONSE = 16 << 20
"""Bytes of a response that are read. No manifest or token is as large."""
_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_LOCAL = ("localhost", "::1")


class TransportRefusal(Exception):
    """An address that is not followed, or a CA file that holds no CA; the text says why."""


@dataclass(frozen=True)
class Body:
    """A request's body, which can be read again when the request has to be repeated.

    It has a length, so that requests announces it: not every registry takes a chunked body.

    Attributes:
        chunks: returns the content from its beginning, in pieces.
        size: bytes.
    """

    chunks: Callable[[], Iterable[bytes]]
    size: int

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks())

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class Response:
    """A registry's response.

    Attributes:
        headers: by their names in lower case.
        challenges: the WWW-Authenticate headers.
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
    """A session whose connections are kept open; not for several threads.

    Args:
        ca_file: a PEM file of CAs that are trusted besides the system's.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._session = requests.Session()
        # Else requests would replace our Authorization header by what it finds in ~/.netrc.
        self._session.trust_env = False
        # Cookies know no ports: one of a registry would reach whatever else listens on its host.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        self._session.close()

    def request(self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None) -> Response:
        """Sends one request and returns its response. Redirects are followed, the Authorization header only on the same host.

        They are followed here and not by requests, which repeats a redirected PUT or POST as a GET, leaves TLS when it
        is redirected so, and keeps the header from http to https of one host.

        Raises:
            OSError, http.client.HTTPException: the connection could not be made, or broke off.
            TransportRefusal: a redirect leads from TLS to none, or in a circle.
        """
        sent_headers = dict(headers)
        for _ in range(_MAX_REDIRECTS):
            response = self._send(method, url, sent_headers, body)
            location = response.headers.get("location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            target = urljoin(url, location)
            if not same_host(url, target):
                sent_headers.pop("Authorization", None)
            check_redirect(url, target)
            url = target
        raise TransportRefusal("it redirects in a circle")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Response:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}/"
        if parts.scheme == "https" and origin not in self._session.adapters:
            self._session.mount(origin, _TlsAdapter(self._tls_context(parts.netloc)))
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT),
                allow_redirects=False,
                proxies={} if is_local(parts.hostname or "") else get_environ_proxies(url),
                stream=True,
            ) as response:
                return Response(
                    response.status_code,
                    {name.lower(): value for name, value in response.headers.items()},
                    tuple(response.raw.headers.getlist("WWW-Authenticate")),
                    _read_limited(response),
                    url,
                )
        except requests.RequestException as error:
            raise _root_cause(error) from error

    def _tls_context(self, netloc: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        # The Docker engine looks for a registry's own CA in this folder.
        files = sorted((Path("/etc/docker/certs.d") / netloc).glob("*.crt"))
        for file in [self._ca_file, *files] if self._ca_file is not None else files:
            try:
                context.load_verify_locations(str(file))
            except OSError as error:
                reason = error.strerror or "it is no PEM file"
                raise TransportRefusal(f"the CA in {file} cannot be read ({reason})") from error
        return context


class _TlsAdapter(HTTPAdapter):
    """Connections to one host that are checked by a context of ours.

    requests itself would trust certifi's CAs and not the system's, where an organization installs its own.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Adds no CAs: the context has them, and it demands a certificate that they signed."""


def _read_limited(response: requests.Response) -> bytes:
    content = b""
    for chunk in response.iter_content(_CHUNK):
        content += chunk
        if len(content) >= _MAX_RESPONSE:
            break
    return content


def _root_cause(error: BaseException) -> BaseException:
    """The system's own error inside one of requests, which wraps urllib3's: it has the words and the kind that count."""
    for cause in _causes(error):
        if isinstance(cause, OSError | http.client.HTTPException) and not isinstance(cause, requests.RequestException):
            return cause
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it, the nearest first. A chain may have a circle, because causes are raised again."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__]


def same_host(first: str, second: str) -> bool:
    """Whether two URLs have scheme, host and port in common."""
    return urlsplit(first)[:2] == urlsplit(second)[:2]


def check_redirect(source: str, target: str) -> None:
    """Checks that an address which a server named may be followed.

    Raises:
        TransportRefusal: it would leave TLS, or has another scheme than HTTP's.
    """
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https") or (urlsplit(source).scheme == "https" and scheme != "https"):
        raise TransportRefusal(f"it redirects to {scheme}://{urlsplit(target).hostname}, which is not followed")


__all__ = ["Body", "Response", "Transport", "TransportRefusal", "check_redirect", "is_local", "same_host"]
