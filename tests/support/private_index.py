"""A package index that asks for a login, on an address of this machine that builds reach."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from toolkit.engine import EngineApi

USER = "reader"
PASSWORD = "CANARY-4471-password"


def bridge_address() -> str:
    """The address of this machine on the engine's bridge."""
    return str((EngineApi().json("/networks/bridge") or {})["IPAM"]["Config"][0]["Gateway"])


def wheel(name: str, version: str) -> bytes:
    """A pure wheel, whose one module has ``FROM = "the private index"``."""
    content = io.BytesIO()
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": 'FROM = "the private index"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
        names = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), names)
    return content.getvalue()


@dataclass
class PrivateIndex:
    """The index.

    Attributes:
        host: its address without the port. port: where it listens.
        logins: what it accepts, as ``user:password``. refusal: the status of its answer to all others.
        asked: the logins that it was sent; empty where there was none.
        folder: one whose files it has as well, as a bare Git repository.
    """

    host: str
    port: int
    logins: set[str] = field(default_factory=lambda: {f"{USER}:{PASSWORD}"})
    refusal: int = 401
    asked: list[str] = field(default_factory=list)
    packages: dict[str, bytes] = field(default_factory=dict)
    folder: Path | None = None

    def add(self, name: str, version: str) -> str:
        """Adds a package; returns the hash of its wheel."""
        content = wheel(name, version)
        self.packages[f"{name}-{version}-py3-none-any.whl"] = content
        return hashlib.sha256(content).hexdigest()

    def address(self, login: str = "") -> str:
        return f"http://{login}{'@' if login else ''}{self.host}:{self.port}/simple"

    def answer(self, path: str, login: str) -> tuple[int, bytes]:
        self.asked.append(login)
        if login not in self.logins:
            return self.refusal, b""
        file = self.folder / path.partition("?")[0].lstrip("/") if self.folder is not None else None
        if file is not None and file.is_file():
            return 200, file.read_bytes()
        *_, folder, name = path.rstrip("/").split("/")
        if folder == "files":
            return (200, self.packages[name]) if name in self.packages else (404, b"")
        links = [
            f'<a href="/files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>'
            for file, content in self.packages.items()
            if file.split("-")[0] == name
        ]
        return (200, "\n".join(links).encode()) if links else (404, b"")


@contextmanager
def private_index(port: int = 0) -> Iterator[PrivateIndex]:
    """An index on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers.get("Authorization") or ""
            status, body = index.answer(self.path, base64.b64decode(header.partition(" ")[2]).decode())
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Type", "application/octet-stream" if "/files/" in self.path else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    host = bridge_address()
    with ThreadingHTTPServer((host, port), Handler) as server:
        index = PrivateIndex(host, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
