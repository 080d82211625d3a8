"""An image index (OCI): one name for the images of several platforms, of which each machine takes its own."""

from __future__ import annotations

import json
from collections.abc import Sequence

from toolkit.build.image.archive import digest_of
from toolkit.platforms import Platform

INDEX = "application/vnd.oci.image.index.v1+json"
_TAG_LENGTH = 16
"""Hexadecimal digits of the digest that make the tag, as of an image."""


def image_index(images: Sequence[tuple[Platform, str, bytes]]) -> bytes:
    """The index of these images, each with the digest and the bytes of its manifest. Their order does not count."""
    manifests = []
    for platform, digest, manifest in sorted(images):
        described = {"os": platform.os, "architecture": platform.architecture}
        if platform.variant:
            described["variant"] = platform.variant
        media_type = json.loads(manifest)["mediaType"]
        manifests.append({"mediaType": media_type, "digest": digest, "size": len(manifest), "platform": described})
    content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def index_tag(index: bytes) -> str:
    """The tag of an index. It follows from the images alone."""
    return digest_of(index).partition(":")[2][:_TAG_LENGTH]
