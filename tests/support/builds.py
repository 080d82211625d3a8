"""Builds without an engine: contents to push or to load, and a stand-in for an engine that can only save an image."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import BinaryIO

from tests.support.registry import digest_of
from toolkit.build.code.grouping import Group, GroupTar
from toolkit.build.code.kinds import part_of
from toolkit.build.code.layer import Tar
from toolkit.build.image.archive import Blob
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import ImageContents, keep_source, made_folder


class SavingEngine:
    """A Docker engine that can only save one image, in the layout that engines before 25 write."""

    def __init__(self, config: bytes, layers: list[bytes]) -> None:
        self.config, self.layers, self.saves = config, layers, 0

    def save(self, reference: str, destination: BinaryIO, shown: str = "") -> None:
        self.saves += 1
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        manifest = json.dumps([{"Config": "config.json", "Layers": names}]).encode()
        files = [("manifest.json", manifest), ("config.json", self.config), *zip(names, self.layers, strict=True)]
        with tarfile.open(fileobj=destination, mode="w") as tar:
            for name, content in files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


class Builds:
    """Builds of one project: the environment's two layers and a code layer of one line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.large_file = folder / "large"
        self.below = [b"base" * 50_000, b"packages" * 30_000]

    def build(
        self, line: str, kept: bool = True, changed: bool = True, large: bytes | None = None
    ) -> tuple[ImageContents, SavingEngine]:
        """A build whose code is this line.

        Args:
            large: the content of a file in a layer of its own, which :attr:`large_file` gets.
        """
        code = line.encode() * 100
        layers = [*self.below, code]
        sources = []
        if large is not None:
            self.large_file.write_bytes(large)
            digest = hashlib.sha256(large).hexdigest()
            group = Group("large files", (("", part_of([(self.large_file.name, "file", False, len(large), digest)])),))
            tar = b"".join(Tar(tuple(group.entries(str(self.folder)))).read())
            layers.insert(2, tar)
            blob = Blob(digest_of(tar), len(tar), content=GroupTar(group, str(self.folder), len(tar)))
            sources = [keep_source(blob, made_folder(self.folder))]
        config = json.dumps({"line": line, "rootfs": {"diff_ids": [digest_of(layer) for layer in layers]}}).encode()
        image = BuiltImage("name:tag", digest_of(config), digest_of(code), "", "", changed)
        if kept:
            made = made_folder(self.folder)
            (made / f"{image.digest[7:]}.json").write_bytes(config)
            (made / f"{image.digest[7:]}.tar").write_bytes(code)
            (made / f"{image.digest[7:]}.layers").write_text(json.dumps(sources))
        engine = SavingEngine(config, layers)
        return ImageContents(engine, self.folder, image), engine  # type: ignore[arg-type]


def write_project(root: Path, files: dict[str, str]) -> Path:
    """Writes a project's files, by their paths, and returns its folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root
