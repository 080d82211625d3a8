"""Images that say they are of another platform than the engine's. They are fakes: no registry with real ones is in reach.

One holds a Python that no machine here runs, as a real image of another platform does without an emulator. The other has the
programs of this machine under the name of another platform: it stands in for an engine with an emulator.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from toolkit.build.environment.base_image import OWN_BASE
from toolkit.build.image.archive import Member, stream
from toolkit.engine import EngineApi

ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0" + (183).to_bytes(2, "little") + b"\0" * 44
"""The head of a program for arm64."""


def load_unrunnable(engine: EngineApi, name: str, python: str = "3.11.2", architecture: str = "arm64") -> str:
    """An image for arm64 whose files are Debian's Python and its C library as far as anybody reads them. Returns its id."""
    minor = python.rpartition(".")[0]
    files = {
        f"usr/bin/python{minor}": ELF + b"\0" + python.encode() + b"\0",
        f"usr/lib/python{minor}/os.py": b"",
        "usr/lib/python3/dist-packages/README": b"",
        "usr/lib/aarch64-linux-gnu/libc.so.6": ELF
        + b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n",
        "etc/os-release": b"ID=debian\n",
        "unique": name.encode(),
    }
    links = {"usr/bin/python3": f"python{minor}", "lib": "usr/lib", "bin": "usr/bin"}
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
        for path, target in links.items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    content = layer.getvalue()
    return _load(
        engine,
        name,
        architecture,
        {"PATH": "/usr/local/bin:/usr/bin:/bin"},
        [_digest(content)],
        {_digest(content): content},
    )


def load_runnable(engine: EngineApi, name: str, architecture: str = "arm64") -> str:
    """The base image of this engine, said to be for another platform. Returns its id."""
    base = engine.image(OWN_BASE)
    assert base is not None
    variables = dict(one.partition("=")[::2] for one in base["Config"].get("Env") or [])
    return _load(engine, name, architecture, variables, base["RootFS"]["Layers"], {})


def _load(
    engine: EngineApi,
    name: str,
    architecture: str,
    variables: dict[str, str],
    diff_ids: list[str],
    layers: dict[str, bytes],
) -> str:
    config = json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "config": {"Env": [f"{key}={value}" for key, value in variables.items()], "Labels": {"test": name}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        },
        sort_keys=True,
    ).encode()

    def path(digest: str) -> str:
        return "blobs/" + digest.replace(":", "/")

    manifest = [{"Config": path(_digest(config)), "RepoTags": [name], "Layers": [path(one) for one in diff_ids]}]
    members: list[Member] = [(path(_digest(config)), config), ("manifest.json", json.dumps(manifest).encode())]
    members += [(path(digest), content) for digest, content in layers.items()]
    with engine.upload("/images/load?quiet=1") as upload:
        reply = upload.send(stream(members))
    assert reply.status == 200 and b"error" not in reply.body, reply.body
    return str((engine.image(name) or {})["Id"])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
