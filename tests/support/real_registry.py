"""The registry `distribution` with a login, as a process of a test's own, and a token server for it.

The program is the one that the test cluster was built with. The token server is written here, from the documents of the protocol:
its tokens are signed, and checked by the real registry.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.registry import PASSWORD

_PATIENCE = 60.0
_BCRYPT = "$2b$04$UvW6YlZnjC/9LsqvSPeG5.JVBzzK.gfaaPa9Eb/ndI5FIJDoQcDpS"
"""Of PASSWORD, as `htpasswd -B` writes it."""
_LEEWAY = 60
"""Seconds for which the registry takes a token that has expired, for clocks that differ."""


def registry_program() -> Path | None:
    """The program; None where the test cluster was never built on this machine."""
    from testcluster import build

    program = build.registry().folder() / "registry"
    return program if os.access(program, os.X_OK) else None


@contextmanager
def registry(folder: Path, auth: dict[str, object]) -> Iterator[str]:
    """An empty registry with this section `auth` of its configuration; yields its host and port."""
    program = registry_program()
    assert program is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    configuration = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": host, "secret": "of-the-tests"},
        "auth": auth,
    }
    (folder / "registry.json").write_text(json.dumps(configuration))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([str(program), "serve", str(folder / "registry.json")], stdout=log, stderr=log)
    try:
        until = time.monotonic() + _PATIENCE
        while not _answers(host):
            assert process.poll() is None and time.monotonic() < until, (folder / "registry.log").read_text()
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait()


def _answers(host: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
    except urllib.error.HTTPError:
        pass
    except OSError:
        return False
    return True


def basic_auth(folder: Path) -> dict[str, object]:
    """A login of the user `me` by name and password."""
    (folder / "htpasswd").write_text(f"me:{_BCRYPT}\n")
    return {"htpasswd": {"realm": "registry", "path": str(folder / "htpasswd")}}


@dataclass
class TokenServer:
    """A token server with the users `me` and `reader`, whose password is PASSWORD, and an identity token of `me`.

    Attributes:
        rights: what each user may do, by the beginnings of repositories' names.
        lifetime: of a token, in seconds. asked: the scopes of all requests, each as one text.
        refused: answers to the next requests: a status, and its headers.
    """

    folder: Path
    rights: dict[str, dict[str, set[str]]] = field(
        default_factory=lambda: {"me": {"": {"pull", "push"}}, "reader": {"": {"pull"}}}
    )
    lifetime: float = 300.0
    asked: list[str] = field(default_factory=list)
    refused: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    realm: str = ""
    identity_token: str = "an-identity-token-of-the-tests"

    def auth(self) -> dict[str, object]:
        """The registry's configuration, once the server runs."""
        key = self.folder / "token.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        shown = subprocess.run(
            ["openssl", "rsa", "-in", str(key), "-noout", "-modulus"], check=True, capture_output=True, text=True
        )
        modulus = bytes.fromhex(shown.stdout.strip().partition("=")[2])
        jwk = {"kty": "RSA", "kid": "tests", "alg": "RS256", "use": "sig", "n": _base64(modulus), "e": "AQAB"}
        (self.folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
        jwks = str(self.folder / "jwks.json")
        return {"token": {"realm": self.realm, "service": "registry", "issuer": "tests", "jwks": jwks}}

    def answer(self, user: str | None, scopes: list[str]) -> bytes:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            rights = self.rights.get(user or "", {})
            allowed = {action for beginning, may in rights.items() if name.startswith(beginning) for action in may}
            granted = sorted(set(actions.split(",")) & allowed)
            if granted:
                access.append({"type": kind, "name": name, "actions": granted})
        now = time.time()
        claims = {
            "iss": "tests",
            "aud": "registry",
            "sub": user or "",
            "iat": int(now) - _LEEWAY,
            "nbf": int(now) - _LEEWAY,
            "exp": int(now - _LEEWAY + self.lifetime) if self.lifetime < _LEEWAY else int(now + self.lifetime),
            "jti": os.urandom(8).hex(),
            "access": access,
        }
        head = {"typ": "JWT", "alg": "RS256", "kid": "tests"}
        signed = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "token.pem")]
        signature = subprocess.run(command, input=signed.encode(), check=True, capture_output=True).stdout
        return json.dumps(
            {"token": f"{signed}.{_base64(signature)}", "expires_in": max(int(self.lifetime), 1)}
        ).encode()

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                login = self.headers.get("Authorization", "")
                name, _, password = base64.b64decode(login.partition(" ")[2]).decode().partition(":")
                known = password == PASSWORD and name in tokens.rights
                self._serve(name if known else None, bool(login) and not known, query)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                known = form.get("refresh_token") == [tokens.identity_token]
                self._serve("me" if known else None, not known, form)

            def _serve(self, user: str | None, refuses: bool, query: dict[str, list[str]]) -> None:
                scopes = [one for scope in query.get("scope", []) for one in scope.split()]
                tokens.asked.append(" ".join(scopes))
                status, headers = tokens.refused.pop(0) if tokens.refused else (401 if refuses else 200, {})
                body = tokens.answer(user, scopes) if status == 200 else b"{}"
                self.send_response(status)
                for header, value in headers.items():
                    self.send_header(header, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{server.server_address[1]}/token"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
