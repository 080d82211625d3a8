"""Attaches a document to an image in a registry, as OCI 1.1 has it: a manifest whose subject is the image's.

A registry that knows referrers lists it by itself. For any other, an index under a tag that is made from the image's digest lists
it (the referrers tag schema), to which the client adds.
"""

from __future__ import annotations

import json
from typing import Any

from toolkit.build.delivery.registry import RemoteRepository
from toolkit.build.delivery.transport import Body
from toolkit.build.image.archive import MANIFEST, Blob, digest_of

INDEX = "application/vnd.oci.image.index.v1+json"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
"""The config of a manifest that is of no image."""


def attach(repository: RemoteRepository, subject: str, content: bytes, media_type: str, title: str) -> bool:
    """Attaches a document to an image; returns False where that very document is attached already, and nothing is sent.

    Args:
        subject: the digest of the image's manifest, which the repository has.
        media_type: the document's, which is what referrers are searched by.
        title: the name of the file that a client writes it to.

    Raises:
        Infrastructure: the registry fails, or refuses such a manifest.
    """
    image = repository.manifest(subject)
    if image is None:
        return False  # it was removed meanwhile, and what is attached to it with it
    manifest = _encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": {"mediaType": _EMPTY_TYPE, "digest": digest_of(_EMPTY), "size": len(_EMPTY), "data": "e30="},
            "layers": [
                {
                    "mediaType": media_type,
                    "digest": digest_of(content),
                    "size": len(content),
                    "annotations": {"org.opencontainers.image.title": title},
                }
            ],
            "subject": {"mediaType": _media_type(image), "digest": subject, "size": len(image)},
        }
    )
    digest = digest_of(manifest)
    tag = subject.replace(":", "-", 1)[:128]
    listed = repository.referrers(subject)
    if any(row.get("digest") == digest for row in _rows(listed if listed is not None else repository.manifest(tag))):
        return False
    for blob in (_EMPTY, content):
        if not repository.has_blob(Blob(digest_of(blob), len(blob))):
            repository.upload_blob(digest_of(blob), Body(lambda blob=blob: [blob], len(blob)))  # type: ignore[misc]
    headers = repository.put(digest, manifest, MANIFEST)
    if not headers.get("oci-subject"):
        # Read only now, so that what others added meanwhile is kept.
        rows = _rows(repository.manifest(tag))
        own = {"mediaType": MANIFEST, "digest": digest, "size": len(manifest), "artifactType": media_type}
        merged = [*(row for row in rows if row.get("digest") != digest), own]
        repository.put(tag, _encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": merged}), INDEX)
    return True


def _rows(index: bytes | None) -> list[dict[str, Any]]:
    """The descriptors in an index; none where it is none."""
    try:
        rows = json.loads(index or b"{}").get("manifests") or []
        return [row for row in rows if isinstance(row, dict)]
    except (ValueError, AttributeError):
        return []


def _media_type(manifest: bytes) -> str:
    try:
        return str(json.loads(manifest).get("mediaType") or MANIFEST)
    except (ValueError, AttributeError):
        return MANIFEST


def _encoded(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
