"""Pushes an image to a registry over the OCI distribution protocol, sending only what the registry lacks.

Not `docker push`: it would need the image under the registry's name, tells no digest before it is done, and compresses every
layer that its own memory does not know.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from toolkit.build.delivery.credentials import DOCKER_HUB, Credentials, credentials_for
from toolkit.build.delivery.transport import (
    Body,
    Response,
    Transport,
    TransportRefusal,
    check_redirect,
    is_local,
    same_host,
)
from toolkit.build.image.archive import MANIFEST, Blob, oci_manifest, sha256
from toolkit.build.image.contents import ImageContents, diff_ids
from toolkit.errors import Infrastructure

_MANIFESTS = f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"
_WAITS = (0.2, 1.0, 3.0, 8.0)
"""Seconds before each further attempt, when the registry was reached before."""
_LONGEST_WAIT = 30.0
"""Seconds, whatever Retry-After says."""
_TRANSIENT = (408, 429, 500, 502, 503, 504)

_T = TypeVar("_T")


@dataclass
class PushResult:
    """A push.

    Attributes:
        digest: the manifest's, by which the image is named in the registry.
        layers: how many layers were sent, of ``total``; 0 too when the registry had the image and nobody counted.
        size: bytes sent, the config's included.
    """

    digest: str
    layers: int = 0
    total: int = 0
    size: int = 0


class _Again(Exception):
    """A fault that may pass.

    Attributes:
        wait: what the registry asks for, in seconds.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class Registry:
    """One repository of a registry.

    Args:
        host: with its port.
        repository: without the host.
        plain: HTTP, and not HTTPS; a registry on this machine is always spoken to so.
        authority: a PEM file of CAs that are trusted as well.
        mount: another repository of the registry that is thought to have some of the layers, which then cost nothing.

    All methods raise Infrastructure: the registry can't be reached, refuses, or fails; one sentence that says what to do.
    """

    def __init__(
        self, host: str, repository: str, plain: bool = False, authority: Path | None = None, mount: str | None = None
    ) -> None:
        self.host = host
        self.repository = repository if host != DOCKER_HUB or "/" in repository else f"library/{repository}"
        name = (urlsplit(f"//{host}").hostname or "") if host else ""
        scheme = "http" if plain or is_local(name) else "https"
        self._base = f"{scheme}://{'registry-1.docker.io' if host == DOCKER_HUB else host}"
        self._mount = mount
        self._transport = Transport(authority)
        self._authorization: str | None = None
        self._credentials: Credentials | None = None
        self._asked = False
        self._reached = False

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def find(self, reference: str) -> str | None:
        """The digest of the manifest under a tag or digest; None when there is none, or the registry does not tell."""
        answer = self._ask("HEAD", f"manifests/{reference}", {"Accept": _MANIFESTS}, "asked for the image")
        return answer.headers.get("docker-content-digest") if answer.status == 200 else None

    def manifest(self, reference: str) -> tuple[str, dict[str, Any]] | None:
        """A manifest and its digest; None when there is none, or none of a single image."""
        answer = self._ask("GET", f"manifests/{reference}", {"Accept": _MANIFESTS}, "asked for the image")
        if answer.status != 200:
            return None
        try:
            found = json.loads(answer.body)
        except ValueError:
            return None
        return (sha256(answer.body), found) if isinstance(found, dict) else None

    def has(self, blob: Blob) -> bool:
        answer = self._ask("HEAD", f"blobs/{blob.digest}", {}, "asked for a layer")
        return answer.status == 200

    def upload(self, digest: str, body: Body) -> int:
        """Brings a blob into the repository, all of it or nothing; returns the bytes sent, 0 when it was mounted."""
        query = {"mount": digest, "from": self._mount} if self._mount else {}

        def attempt() -> int:
            begun = self._once("POST", f"blobs/uploads/?{urlencode(query)}".rstrip("?"), {})
            if begun.status == 201:
                return 0
            if begun.status != 202 or not begun.headers.get("location"):
                self._refuse(begun, "was sent a layer")
            location = urljoin(begun.url, begun.headers["location"])
            check_redirect(begun.url, location)
            joint = "&" if urlsplit(location).query else "?"
            address = f"{location}{joint}{urlencode({'digest': digest})}"
            done = self._once("PUT", address, {"Content-Type": "application/octet-stream"}, body)
            if done.status not in (201, 204):
                self._refuse(done, "was sent a layer")
            return body.size

        return self._patiently(attempt, "was sent a layer")

    def put_manifest(self, tag: str, manifest: bytes) -> str:
        """Puts the manifest under the tag, which makes the image visible; returns its digest."""
        body, doing = Body(lambda: [manifest], len(manifest)), "was sent the manifest"
        answer = self._patiently(lambda: self._once("PUT", f"manifests/{tag}", {"Content-Type": MANIFEST}, body), doing)
        if answer.status not in (200, 201, 202):
            self._refuse(answer, doing)
        digest = sha256(manifest)
        if answer.headers.get("docker-content-digest", digest) != digest:
            raise Infrastructure(f"the registry {self.host} keeps another manifest than it was sent: look into its log")
        return digest

    def _ask(self, method: str, path: str, headers: Mapping[str, str], doing: str) -> Response:
        answer = self._patiently(lambda: self._once(method, path, headers), doing)
        if answer.status not in (200, 404):
            self._refuse(answer, doing)
        return answer

    def _patiently(self, attempt: Callable[[], _T], doing: str) -> _T:
        """What ``attempt`` returns, tried again when the connection breaks or the registry fails.

        A registry that was never reached is given up at once: its name is more likely wrong.
        """
        for wait in (*_WAITS, None):
            try:
                return attempt()
            except _Again as fault:
                reason, longer = fault.reason, fault.wait
            except ssl.SSLError as error:
                raise self._untrusted(error) from error
            except TransportRefusal as error:
                raise Infrastructure(f"the registry {self.host} cannot be used: {error}") from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason, longer = _reason(error), 0.0
                if not self._reached:
                    break
            if wait is None:
                break
            time.sleep(min(max(wait, longer), _LONGEST_WAIT))
        if self._reached:
            raise Infrastructure(
                f"the registry {self.host} failed several times while it {doing} ({reason}): run this again later; "
                "what it has already is not sent again"
            )
        raise Infrastructure(
            f"the registry {self.host} cannot be reached ({reason}): check its name and the network, and that it is running"
        )

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> Response:
        """One request, authorized when the registry asks for it."""
        url = path if "://" in path else f"{self._base}/v2/{self.repository}/{path}"
        answer = self._transport.request(method, url, self._with_authorization(url, headers), body)
        self._reached = True
        if answer.status == 401 and same_host(url, self._base) and self._authorize(answer):
            answer = self._transport.request(method, url, self._with_authorization(url, headers), body)
        if answer.status in _TRANSIENT:
            after = answer.headers.get("retry-after", "")
            raise _Again(_words(answer), float(after) if after.isdecimal() else 0.0)
        return answer

    def _with_authorization(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        # An upload may go to another host, a store of blobs: its address is the permission.
        own = self._authorization is not None and same_host(url, self._base)
        return {**headers, "Authorization": self._authorization} if own and self._authorization else dict(headers)

    def _authorize(self, answer: Response) -> bool:
        """Meets the registry's challenge; False when there is nothing (more) to meet it with."""
        if not self._asked:
            self._credentials, self._asked = credentials_for(self.host), True
        before = self._authorization
        for challenge in answer.challenges:
            kind, _, rest = challenge.strip().partition(" ")
            if kind.lower() == "bearer":
                pairs = urllib.request.parse_keqv_list(
                    [part for part in urllib.request.parse_http_list(rest) if "=" in part]
                )
                self._authorization = self._token({name.lower(): value for name, value in pairs.items()}, answer.url)
                # A second new token for the same request would not be another one.
                return self._authorization is not None and self._authorization != before
            if kind.lower() == "basic" and self._credentials and self._credentials.basic:
                self._authorization = self._credentials.basic
                return self._authorization != before
        return False

    def _token(self, challenge: Mapping[str, str], url: str) -> str | None:
        realm = urljoin(url, challenge.get("realm", ""))
        check_redirect(url, realm)
        own = self._credentials
        scopes = [f"repository:{self.repository}:pull,push"]
        if self._mount:
            scopes.append(f"repository:{self._mount}:pull")
        fields = {"service": challenge["service"]} if challenge.get("service") else {}
        if own and own.token:
            fields |= {"scope": " ".join(scopes)}
            fields |= {"grant_type": "refresh_token", "refresh_token": own.token, "client_id": "toolkit"}
            form = urlencode(fields).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._transport.request("POST", realm, headers, Body(lambda: [form], len(form)))
        else:
            headers = {"Authorization": own.basic} if own and own.basic else {}
            joint = "&" if urlsplit(realm).query else "?"
            answer = self._transport.request(
                "GET", f"{realm}{joint}{urlencode([*fields.items(), *(('scope', one) for one in scopes)])}", headers
            )
        if answer.status in _TRANSIENT:
            raise _Again(_words(answer))
        try:
            found = json.loads(answer.body) if answer.status == 200 else {}
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError):
            return None
        return f"Bearer {token}" if token else None

    def _refuse(self, answer: Response, doing: str) -> NoReturn:
        words = _words(answer)
        if answer.status in (401, 403):
            known = "with the credentials of `docker login`" if self._credentials else "without credentials"
            raise Infrastructure(
                f"the registry {self.host} refuses {self.repository} {known} ({words}): run `docker login {self.host}` "
                "with an account that may push there"
            )
        if answer.status == 404:
            raise Infrastructure(
                f"the registry {self.host} has no repository {self.repository} and makes none ({words}): create it there, "
                "or mend the image's name"
            )
        raise Infrastructure(f"the registry {self.host} failed while it {doing} ({words}): look into its log")

    def _untrusted(self, error: ssl.SSLError) -> Infrastructure:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Infrastructure(
                f"the certificate of the registry {self.host} is not trusted ({error.verify_message}): name its CA in "
                "build.network.ca_bundle"
            )
        return Infrastructure(
            f"the registry {self.host} does not speak TLS as it should ({error.reason or 'the connection broke off'}): if it "
            f"has plain HTTP and that is meant, set build.registry to http://{self.host}"
        )


def push_image(
    registry: Registry, tag: str, contents: ImageContents, remembered: str | None, report: Callable[[str], None]
) -> PushResult:
    """Pushes the image under the tag, what the registry lacks and then the manifest; nothing when it has it.

    Args:
        remembered: the manifest's digest at the last push of this tag: one question is then enough.

    Raises:
        Infrastructure: as Registry's methods, or the engine can't hand over a layer that is missing.
    """
    there = registry.find(tag)
    if there is not None and there == remembered:
        return PushResult(there)
    found = registry.manifest(tag) if there is not None else None
    if found is not None and _is_ours(found[1], contents.image.digest):
        return PushResult(found[0])
    pushed = PushResult("")
    layers = _push_layers(registry, contents, pushed, report)
    config = contents.config
    assert config is not None
    blob = Blob(sha256(config), len(config))
    if not registry.has(blob):
        pushed.size += registry.upload(blob.digest, Body(lambda: [config], len(config)))
    pushed.digest = registry.put_manifest(tag, oci_manifest(config, layers))
    return pushed


def _is_ours(manifest: dict[str, Any], image_id: str) -> bool:
    """Whether it is this image, however its layers are compressed: its config names what they unpack to."""
    config = manifest.get("config")
    return isinstance(config, dict) and config.get("digest") == image_id


def _push_layers(
    registry: Registry, contents: ImageContents, pushed: PushResult, report: Callable[[str], None]
) -> tuple[Blob, ...]:
    """The layers as the registry has them now."""
    known = contents.packed()
    there = {layer.digest for layer in known[:-1] if registry.has(layer)} if known else set[str]()
    if known is not None and all(layer.digest in there for layer in known[:-1]):
        pushed.total = len(known)
        return (*known[:-1], _send(registry, contents, known[-1], "", pushed))
    report(
        f"{registry.host} lacks more than the code, so the image is exported from the Docker engine, which takes longer"
    )
    with contents.exported() as layers:
        assert contents.config is not None
        pushed.total = len(layers)
        names = diff_ids(contents.config)
        return tuple(
            known[number]
            if known is not None and known[number].digest in there
            else _send(registry, contents, layer, names[number], pushed)
            for number, layer in enumerate(layers)
        )


def _send(registry: Registry, contents: ImageContents, layer: Blob, diff_id: str, pushed: PushResult) -> Blob:
    with contents.pack(layer, diff_id) as packed:
        content = packed.content
        assert content is not None and packed.size is not None
        if not registry.has(packed):
            sent = registry.upload(packed.digest, Body(content.read, packed.size))
            pushed.size += sent
            pushed.layers += 1 if sent else 0
        return Blob(packed.digest, packed.size, packed.media_type)


def _words(answer: Response) -> str:
    """The registry's own words for a failure, on one line, and its status."""
    text = ""
    try:
        first = json.loads(answer.body)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())[:200]
    return f"{text}, status {answer.status}" if text else f"status {answer.status}"


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it gives no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
