"""Container images of a single static program, written without any engine."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
import tarfile
import tempfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclasses.dataclass(frozen=True)
class Image:
    """An image that holds nothing but the given files."""

    name: str
    files: dict[str, Path]
    entrypoint: list[str] = dataclasses.field(default_factory=list)
    user: str = ""


def member(name: str, size: int = 0, mode: int = 0o644, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """An entry of an archive. It has no time and no owner, so that equal files make an equal image."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = size, mode, kind
    return entry


def archive(path: Path, images: list[Image]) -> None:
    """Write the images, with their names, in the format of `docker save`, which `ctr images import` reads."""
    manifest = []
    with tarfile.open(path, "w") as out:
        for image in images:
            with tempfile.TemporaryFile(dir=path.parent) as file:
                with tarfile.open(fileobj=file, mode="w") as layer:
                    for folder in sorted({str(Path(name).parent) for name in image.files} - {"."}):
                        layer.addfile(member(folder, mode=0o755, kind=tarfile.DIRTYPE))
                    for name, source in image.files.items():
                        with open(source, "rb") as content:
                            layer.addfile(member(name, source.stat().st_size, 0o755), content)
                size = file.tell()
                file.seek(0)
                digest = hashlib.sha256()
                while piece := file.read(1 << 20):
                    digest.update(piece)
                file.seek(0)
                layer_name = f"{digest.hexdigest()}.tar"
                out.addfile(member(layer_name, size), file)
            config = json.dumps(
                {
                    "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
                    "os": "linux",
                    "config": {"Env": ["PATH=/bin"], "Entrypoint": image.entrypoint or None, "User": image.user},
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
                }
            ).encode()
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            out.addfile(member(config_name, len(config)), io.BytesIO(config))
            manifest.append({"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]})
        text = json.dumps(manifest).encode()
        out.addfile(member("manifest.json", len(text)), io.BytesIO(text))
