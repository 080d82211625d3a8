"""A registry in memory, which can also fail as registries do; tests/argo has a real one."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PASSWORD = "a-pass-word-of-the-tests"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Request(BaseHTTPRequestHandler):
    """A request, which the stand-in answers."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def work(self) -> None:
        self.server.stand_in.work(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = work


def _body(request: Request) -> bytes:
    """The body of a request; an engine sends a layer in chunks."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    parts = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine."""

    daemon_threads = True

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.stand_in = stand_in


class StandIn:
    """A registry in memory.

    Attributes:
        faults: for requests of a kind (their method, and how the path's last part begins), the answers to the next ones in order:
            a status, 0 for an ordinary answer, or "drop" for a connection that ends without an answer.
        auth: "", "basic" or "bearer".
        lists_referrers: whether it knows what is attached to an image, as OCI 1.1 has it.
        seen: all requests, as their method and path without the query.
    """

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.auth = ""
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.scopes: list[list[str]] = []
        self.mountable = True
        self.lists_referrers = False
        self.server = Server(self)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def work(self, request: Request) -> None:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        self.seen.append(f"{request.command} {path}")
        self.headers.append(dict(request.headers))
        if path == "/token":
            self.scopes.append(query.get("scope", []))
            if request.headers.get("Authorization") == self._basic():
                return request.answer(200, json.dumps({"token": "good"}).encode())
            return request.answer(401)
        if path == "/v2/":
            return request.answer(200)  # by which an engine sees that it is a registry
        kind = f"{request.command} {'blob' if '/blobs/' in path else 'manifest'}"
        fault = self.faults[kind].pop(0) if self.faults.get(kind) else None
        if fault == "drop":
            request.close_connection = True
            request.connection.close()
            return None
        body = _body(request)
        if isinstance(fault, int) and fault:
            return request.answer(fault, b'{"errors":[{"code":"X","message":"a\\nfault"}]}')
        wanted = {"basic": self._basic(), "bearer": "Bearer good"}.get(self.auth)
        if wanted and request.headers.get("Authorization") != wanted:
            realm = f'Bearer realm="http://{self.host}/token",service="s",scope="x"'
            return request.answer(
                401, b"{}", WWW_Authenticate=realm if self.auth == "bearer" else 'Basic realm="registry"'
            )
        return self._serve(request, path, query, body)

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()

    def _serve(self, request: Request, path: str, query: dict[str, list[str]], body: bytes) -> None:
        if "/referrers/" in path:
            return self._serve_referrers(request, *path.removeprefix("/v2/").split("/referrers/"))
        repository, _, rest = path.removeprefix("/v2/").partition("/manifests/" if "/manifests/" in path else "/blobs/")
        if "/manifests/" in path:
            if request.command == "PUT":
                self.manifests[repository, rest] = self.manifests[repository, digest_of(body)] = body
                headers = {"Docker_Content_Digest": digest_of(body)}
                subject = json.loads(body).get("subject") if self.lists_referrers else None
                if subject:
                    headers["OCI_Subject"] = subject["digest"]
                return request.answer(201, b"", **headers)
            found = self.manifests.get((repository, rest))
            if found is not None:
                media_type = json.loads(found).get("mediaType", "") if found.startswith(b"{") else ""
                return request.answer(200, found, Docker_Content_Digest=digest_of(found), Content_Type=media_type)
        elif request.command == "POST":
            source = (query.get("from", [""])[0], query.get("mount", [""])[0])
            if self.mountable and source in self.blobs:
                self.blobs[repository, source[1]] = self.blobs[source]
                return request.answer(201)
            return request.answer(202, Location=f"/v2/{repository}/blobs/uploads/{len(self.seen)}?state=a%2Fb")
        elif request.command == "PATCH":
            self.parts[path] = self.parts.get(path, b"") + body
            received = f"0-{len(self.parts[path]) - 1}"
            return request.answer(202, Location=f"{path}?state=a%2Fb", Range=received)
        elif request.command == "PUT":
            digest, body = query["digest"][0], self.parts.pop(path, b"") + body
            assert query["state"] == ["a/b"] and digest_of(body) == digest
            self.blobs[repository, digest] = body
            return request.answer(201)
        else:
            found = self.blobs.get((repository, rest))
        if found is None:
            kind = "MANIFEST_UNKNOWN" if "/manifests/" in path else "BLOB_UNKNOWN"
            return request.answer(404, json.dumps({"errors": [{"code": kind, "message": "unknown"}]}).encode())
        return request.answer(200, found, Docker_Content_Digest=digest_of(found))

    def offer(self, repository: str, tag: str, files: dict[str, bytes]) -> str:
        """Puts an image of one layer with these files under a tag; returns its digest."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        diff_id = digest_of(layer.getvalue())
        machine = {"aarch64": "arm64", "x86_64": "amd64"}.get(platform.machine(), platform.machine())
        config = json.dumps(
            {"architecture": machine, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        ).encode()
        oci = "application/vnd.oci.image"
        for blob in (config, layer.getvalue()):
            self.blobs[repository, digest_of(blob)] = blob
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{oci}.manifest.v1+json",
                "config": {"mediaType": f"{oci}.config.v1+json", "digest": digest_of(config), "size": len(config)},
                "layers": [
                    {"mediaType": f"{oci}.layer.v1.tar", "digest": diff_id, "size": len(layer.getvalue())},
                ],
            }
        ).encode()
        self.manifests[repository, tag] = self.manifests[repository, digest_of(manifest)] = manifest
        return digest_of(manifest)

    def _serve_referrers(self, request: Request, repository: str, digest: str) -> None:
        if not self.lists_referrers:
            return request.answer(404, b"404 page not found")
        found = {
            digest_of(body): body
            for (name, _), body in self.manifests.items()
            if name == repository and (json.loads(body).get("subject") or {}).get("digest") == digest
        }
        index = {"manifests": [{"digest": one, "size": len(body)} for one, body in sorted(found.items())]}
        return request.answer(200, json.dumps(index).encode(), Content_Type="application/vnd.oci.image.index.v1+json")

    def count(self, beginning: str) -> int:
        return sum(one.startswith(beginning) for one in self.seen)
