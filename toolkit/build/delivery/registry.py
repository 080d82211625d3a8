"""Pushes an image to a registry over the OCI distribution protocol, sending only what the registry lacks.

It does not use `docker push`, which needs a tag in the registry's name, tells the digest only at the end, and compresses every
layer that it has not pushed before.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from toolkit.build.delivery.transport import (
    Body,
    Response,
    Transport,
    TransportRefusal,
    check_redirect,
    is_local,
    same_host,
)
from toolkit.build.image.archive import MANIFEST, Blob, digest_of, oci_manifest
from toolkit.build.image.contents import ImageContents, diff_ids
from toolkit.build.progress import byte_progress
from toolkit.build.registry_login import DOCKER_HUB, Credentials, credentials_for
from toolkit.errors import ChangedFile, Infrastructure

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFESTS = ", ".join(
    (
        MANIFEST,
        "application/vnd.docker.distribution.manifest.v2+json",
        # Of an image for several platforms.
        _INDEX,
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_WAITS = (0.2, 1.0, 3.0, 8.0)
"""Seconds before each further attempt at a request, once the registry has answered any."""
_LONGEST_WAIT = 30.0
"""Seconds; a longer Retry-After is not waited for."""
_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)

_T = TypeVar("_T")


@dataclass
class PushResult:
    """What a push sent.

    Attributes:
        digest: the manifest's, which names the image in the registry.
        layers: how many layers were sent.
        total: how many layers the image has; 0 when the registry had the image already.
        size: bytes sent, including the config's.
    """

    digest: str
    layers: int = 0
    total: int = 0
    size: int = 0


class _TransientFault(Exception):
    """A fault that may pass.

    Attributes:
        wait: seconds that the registry asks the client to wait.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class RemoteRepository:
    """One repository of a registry. As a context manager, its connections are closed at the end.

    Args:
        host: the registry's, with its port.
        name: the repository's, without the host.
        plain_http: HTTP instead of HTTPS. A registry on this machine is always reached by HTTP.
        ca_file: a PEM file of CAs that are trusted besides the system's.
        mount_from: another repository of the registry that may have some of the layers, which then need not be sent.

    All methods raise Infrastructure when the registry can't be reached, refuses or fails; its sentence says what to do.
    """

    def __init__(
        self, host: str, name: str, plain_http: bool = False, ca_file: Path | None = None, mount_from: str | None = None
    ) -> None:
        self.host = host
        self.name = name if host != DOCKER_HUB or "/" in name else f"library/{name}"
        hostname = (urlsplit(f"//{host}").hostname or "") if host else ""
        scheme = "http" if plain_http or is_local(hostname) else "https"
        self._base = f"{scheme}://{'registry-1.docker.io' if host == DOCKER_HUB else host}"
        self._mount_from = mount_from
        self._transport = Transport(ca_file)
        self._authorization: str | None = None
        self._credentials: Credentials | None = None
        self._credentials_read = False
        self._writes = False
        self._reached = False

    def __enter__(self) -> RemoteRepository:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def manifest_digest(self, reference: str) -> str | None:
        """The digest of the manifest under a tag or digest; None when there is none, or the registry does not tell it."""
        response = self._look_up("HEAD", f"manifests/{reference}", {"Accept": _MANIFESTS}, "asked for the image")
        return response.headers.get("docker-content-digest") if response.status == 200 else None

    def has_manifest(self, digest: str) -> bool:
        return self._look_up("HEAD", f"manifests/{digest}", {"Accept": _MANIFESTS}, "asked for the image").status == 200

    def manifest_and_config_digest(self, reference: str) -> tuple[str, object] | None:
        """The digests of a manifest and of the config that it names; None when there is no manifest.

        The config's is None when the manifest is not that of a single image.
        """
        response = self._look_up("GET", f"manifests/{reference}", {"Accept": _MANIFESTS}, "asked for the image")
        if response.status != 200:
            return None
        try:
            manifest = json.loads(response.body)
        except ValueError:
            return None
        config = manifest.get("config") if isinstance(manifest, dict) else None
        return digest_of(response.body), config.get("digest") if isinstance(config, dict) else None

    def manifest(self, reference: str) -> bytes | None:
        """The manifest, or the index, under a tag or digest; None when there is none."""
        response = self._look_up("GET", f"manifests/{reference}", {"Accept": _MANIFESTS}, "asked for the image")
        return response.body if response.status == 200 else None

    def referrers(self, digest: str) -> bytes | None:
        """The index of what is attached to a manifest; None where the registry keeps no such lists."""
        action = "asked what is attached to the image"
        response = self._with_retries(lambda: self._request("GET", f"referrers/{digest}", {"Accept": _INDEX}), action)
        if response.status in (401, 403):
            self._refuse(response, action)
        # One that does not know the question has many ways to say so.
        is_index = response.status == 200 and response.headers.get("content-type", "").partition(";")[0] == _INDEX
        return response.body if is_index else None

    def has_blob(self, blob: Blob) -> bool:
        return self._look_up("HEAD", f"blobs/{blob.digest}", {}, "asked for a layer").status == 200

    def upload_blob(self, digest: str, body: Body) -> int:
        """Puts a blob into the repository, all of it or nothing; returns the bytes sent, 0 when it was mounted."""

        def attempt() -> int:
            mount = urlencode({"mount": digest, "from": self._mount_from}) if self._mount_from else ""
            started = self._request("POST", f"blobs/uploads/?{mount}".rstrip("?"), {})
            if mount and started.status in (400, 401, 403, 404):
                # This user may not read the other repository any more, or it is gone: then the layer is sent.
                self._mount_from = None
                started = self._request("POST", "blobs/uploads/", {})
            if started.status == 201:
                return 0
            if started.status != 202 or not started.headers.get("location"):
                self._refuse(started, "was sent a layer")
            location = urljoin(started.url, started.headers["location"])
            check_redirect(started.url, location)
            joint = "&" if urlsplit(location).query else "?"
            url = f"{location}{joint}{urlencode({'digest': digest})}"
            response = self._request("PUT", url, {"Content-Type": "application/octet-stream"}, body)
            if response.status not in (201, 204):
                self._refuse(response, "was sent a layer")
            return body.size

        return self._with_retries(attempt, "was sent a layer")

    def put_manifest(self, tag: str, manifest: bytes) -> str:
        """Puts the manifest under the tag, which makes the image visible; returns its digest."""
        self.put(tag, manifest, MANIFEST)
        return digest_of(manifest)

    def put_index(self, tag: str, index: bytes) -> str:
        """Puts an index of manifests that the repository has under the tag; returns its digest."""
        self.put(tag, index, _INDEX)
        return digest_of(index)

    def put(self, reference: str, manifest: bytes, media_type: str) -> Mapping[str, str]:
        """Puts a manifest or an index under a tag or its digest; returns the headers of the registry's answer."""
        body, action = Body(lambda: [manifest], len(manifest)), "was sent the manifest"
        response = self._with_retries(
            lambda: self._request("PUT", f"manifests/{reference}", {"Content-Type": media_type}, body), action
        )
        if response.status not in (200, 201, 202):
            self._refuse(response, action)
        digest = digest_of(manifest)
        if response.headers.get("docker-content-digest", digest) != digest:
            raise Infrastructure(
                f"the registry {self.host} stored another manifest than the one that it was sent: see the registry's log"
            )
        return response.headers

    def _look_up(self, method: str, path: str, headers: Mapping[str, str], action: str) -> Response:
        response = self._with_retries(lambda: self._request(method, path, headers), action)
        if response.status not in (200, 404):
            self._refuse(response, action)
        return response

    def _with_retries(self, attempt: Callable[[], _T], action: str) -> _T:
        """What ``attempt`` returns. It is made again when the connection breaks or the registry fails.

        A registry that has never answered is given up at once, because its name is more likely wrong. urllib3's own retries
        would repeat one request, and an upload that broke off has to begin anew, with its POST.

        Args:
            action: what the registry was doing, for a sentence.
        """
        for wait in (*_WAITS, None):
            try:
                return attempt()
            except _TransientFault as fault:
                reason, retry_after = fault.reason, fault.wait
            except ssl.SSLError as error:
                raise self._tls_failure(error) from error
            except TransportRefusal as error:
                raise Infrastructure(f"the registry {self.host} cannot be used: {error}") from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason, retry_after = _reason(error), 0.0
                if not self._reached:
                    break
            if wait is None:
                break
            time.sleep(min(max(wait, retry_after), _LONGEST_WAIT))
        if self._reached:
            raise Infrastructure(
                f"the registry {self.host} failed several times when it {action} ({reason}): try again later; "
                "what it already has is not sent again"
            )
        raise Infrastructure(
            f"the registry {self.host} cannot be reached ({reason}): check its name and the network, and that it is running"
        )

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> Response:
        """One request, sent again with credentials when the registry asks for them.

        Args:
            path: below the repository's, or a whole URL.
        """
        url = path if "://" in path else f"{self._base}/v2/{self.name}/{path}"
        response = self._transport.request(method, url, self._with_authorization(url, headers), body)
        self._reached = True
        self._writes = self._writes or method not in ("GET", "HEAD")
        if response.status == 401 and same_host(url, self._base) and self._authorize(response):
            response = self._transport.request(method, url, self._with_authorization(url, headers), body)
        if response.status in _TRANSIENT_STATUS:
            raise _TransientFault(_error_text(response), _retry_after(response))
        return response

    def _with_authorization(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        # An upload may go to another host that stores the blobs. Its URL is the permission.
        if self._authorization is None or not same_host(url, self._base):
            return dict(headers)
        return {**headers, "Authorization": self._authorization}

    def _authorize(self, response: Response) -> bool:
        """Answers the registry's challenge; returns whether the request is worth sending again."""
        if not self._credentials_read:
            self._credentials, self._credentials_read = credentials_for(self.host), True
        before = self._authorization
        for challenge in response.challenges:
            scheme, _, rest = challenge.strip().partition(" ")
            if scheme.lower() == "bearer":
                pairs = urllib.request.parse_keqv_list(
                    [part for part in urllib.request.parse_http_list(rest) if "=" in part]
                )
                parameters = {name.lower(): value for name, value in pairs.items()}
                self._authorization = self._fetch_token(parameters, response.url)
                return self._authorization is not None and self._authorization != before
            if scheme.lower() == "basic" and self._credentials and self._credentials.basic:
                self._authorization = self._credentials.basic
                return self._authorization != before
        return False

    def _fetch_token(self, challenge: Mapping[str, str], url: str) -> str | None:
        """The Authorization header that the token server of a challenge gives; None when it gives none."""
        realm = urljoin(url, challenge.get("realm", ""))
        check_redirect(url, realm)
        credentials = self._credentials
        repository = f"repository:{self.name}"
        # A token server may refuse a reader who asks for more. Once something is written, each further token is for that, too.
        is_reader = not self._writes and challenge.get("scope") == f"{repository}:pull"
        scopes = [f"{repository}:{'pull' if is_reader else 'pull,push'}"]
        if self._mount_from and not is_reader:
            scopes.append(f"repository:{self._mount_from}:pull")
        fields = {"service": challenge["service"]} if challenge.get("service") else {}
        if credentials and credentials.token:
            fields |= {"scope": " ".join(scopes)}
            fields |= {"grant_type": "refresh_token", "refresh_token": credentials.token, "client_id": "toolkit"}
            form = urlencode(fields).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._transport.request("POST", realm, headers, Body(lambda: [form], len(form)))
        else:
            headers = {"Authorization": credentials.basic} if credentials and credentials.basic else {}
            joint = "&" if urlsplit(realm).query else "?"
            query = urlencode([*fields.items(), *(("scope", scope) for scope in scopes)])
            response = self._transport.request("GET", f"{realm}{joint}{query}", headers)
        if response.status in _TRANSIENT_STATUS:
            raise _TransientFault(_error_text(response), _retry_after(response))
        try:
            answer = json.loads(response.body) if response.status == 200 else {}
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            return None
        return f"Bearer {token}" if token else None

    def _refuse(self, response: Response, action: str) -> NoReturn:
        text = _error_text(response)
        if response.status in (401, 403):
            login = "with the credentials of `docker login`" if self._credentials else "without credentials"
            raise Infrastructure(
                f"the registry {self.host} refuses access to {self.name} {login} ({text}): run `docker login {self.host}` "
                "with an account that has access to it"
            )
        if response.status == 404:
            raise Infrastructure(
                f"the registry {self.host} does not have the repository {self.name} and does not create it ({text}): create "
                "it there, or fix the image's name"
            )
        raise Infrastructure(f"the registry {self.host} failed when it {action} ({text}): see the registry's log")

    def _tls_failure(self, error: ssl.SSLError) -> Infrastructure:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Infrastructure(
                f"the certificate of the registry {self.host} is not trusted ({error.verify_message}): name its CA in "
                "build.network.ca_bundle"
            )
        return Infrastructure(
            f"the registry {self.host} does not answer by TLS ({error.reason or 'the connection broke off'}): if it is meant "
            f"to use plain HTTP, set build.registry to http://{self.host}"
        )


def push_image(
    repository: RemoteRepository,
    tag: str,
    contents: ImageContents,
    last_digest: str | None,
    report: Callable[[str], None],
    annotations: Callable[[], Mapping[str, str]] = dict,
) -> PushResult:
    """Pushes the image under the tag: the blobs that the registry lacks, then the manifest. Sends nothing when it has the image.

    Args:
        last_digest: the manifest's digest at the last push of this tag. When it still holds, one request is enough.
        annotations: gives those of the manifest, and is only called where one is put. An image that the registry has keeps its own.

    Raises:
        Infrastructure: as RemoteRepository's methods, or the engine can't export a layer that the registry lacks.
    """
    current = repository.manifest_digest(tag)
    if current is not None and current == last_digest:
        return PushResult(current)
    # It may be this very image with its layers compressed otherwise: the config names what they unpack to.
    pushed_before = repository.manifest_and_config_digest(tag) if current is not None else None
    if pushed_before is not None and pushed_before[1] == contents.image.digest:
        return PushResult(pushed_before[0])
    result = PushResult("")
    layers = _push_layers(repository, contents, result, report)
    config = contents.config
    assert config is not None
    blob = Blob(digest_of(config), len(config))
    if not repository.has_blob(blob):
        result.size += repository.upload_blob(blob.digest, Body(lambda: [config], len(config)))
    result.digest = repository.put_manifest(tag, oci_manifest(config, layers, annotations()))
    return result


def _push_layers(
    repository: RemoteRepository, contents: ImageContents, result: PushResult, report: Callable[[str], None]
) -> tuple[Blob, ...]:
    """Sends the layers that the registry lacks; returns all layers as the registry has them now."""
    own = contents.own_layers()
    names = diff_ids(contents.config) if contents.config is not None else []
    known = {name: blob for name in names if (blob := contents.compressed_layer(name)) is not None}
    present = {name: blob for name, blob in known.items() if repository.has_blob(blob)}
    if names and all(name in own for name in names if name not in present):
        result.total = len(names)
        try:
            for name in names:
                if name not in present:
                    present[name] = _push_layer(repository, contents, own[name], name, result, report)
            return tuple(present[name] for name in names)
        except ChangedFile:
            pass  # the engine has it as it was
    report(
        f"{repository.host} lacks more than the code, so the image is exported from the Docker engine, which takes longer"
    )
    with contents.exported(report) as layers:
        assert contents.config is not None
        result.total = len(layers)
        return tuple(
            present.get(name) or _push_layer(repository, contents, layer, name, result, report)
            for name, layer in zip(diff_ids(contents.config), layers, strict=True)
        )


def _push_layer(
    repository: RemoteRepository, contents: ImageContents, layer: Blob, diff_id: str, result: PushResult,
    report: Callable[[str], None],
) -> Blob:  # fmt: skip
    # Each changed line makes another code layer: it would push out what is worth remembering.
    with contents.compress(layer, diff_id if diff_id != contents.image.code else "", report) as compressed:
        content = compressed.content
        assert content is not None and compressed.size is not None
        if not repository.has_blob(compressed):
            with byte_progress(content.size, f"sending {{}} to {repository.host}", report, elsewhere=True) as counted:
                body = Body(lambda: counted(content.read()), compressed.size)
                sent = repository.upload_blob(compressed.digest, body)
            result.size += sent
            result.layers += 1 if sent else 0
        return Blob(compressed.digest, compressed.size, compressed.media_type)


def _error_text(response: Response) -> str:
    """The registry's own text for a failure, on one line, and the status."""
    text = ""
    try:
        first = json.loads(response.body)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:200]
    return f"{text}, status {response.status}" if text else f"status {response.status}"


def _retry_after(response: Response) -> float:
    """The seconds that a server asks to wait, as a number or until a time; 0 where it asks for none."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(until.timestamp() - time.time(), 0.0)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it gives no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
