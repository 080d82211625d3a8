"""The result of a build, and the record of it that the next build reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.build.image.changes import BuildInputs
from toolkit.build.reference import Reference
from toolkit.runtime.shared.whole_files import write_whole

IDENTITY_LABEL = "dev.toolkit.identity"
PROTOCOL_LABEL = "dev.toolkit.protocol"
ENVIRONMENT_LABEL = "dev.toolkit.environment"

_VERSION = 1


@dataclass(frozen=True)
class BuiltImage:
    """An image that the engine has.

    Attributes:
        reference: every backend names the image by it. The tag follows from the content.
        digest: of the OCI config, ``sha256:…``; the engine's id for an existing image.
        code: the code layer's diff id.
        environment: the config digest of the environment image.
        identity: a digest of environment and code, the same in every store and from every checkout.
        changed: whether it had to be built.
        existing: whether it is the user's own, named by tag or digest, and used as it is.
    """

    reference: str
    digest: str
    code: str
    environment: str
    identity: str
    changed: bool
    existing: bool = False


@dataclass(frozen=True)
class BuildRecord:
    """The last build of one target repository.

    Attributes:
        base: the base image's reference.
        base_id: the id that the base image had.
        result: the image, with ``changed`` off.
    """

    inputs: BuildInputs
    base: str
    base_id: str
    result: BuiltImage


def read_build_record(folder: Path, target: Reference) -> BuildRecord | None:
    """The last build; None when there is none that this version of toolkit can read."""
    try:
        record = json.loads(_file(folder, target).read_bytes())
        if record["version"] != _VERSION:
            return None
        return BuildRecord(
            BuildInputs(**record["inputs"]), record["base"], record["base_id"], BuiltImage(**record["result"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_build_record(folder: Path, target: Reference, build: BuildRecord) -> None:
    content = json.dumps({"version": _VERSION, **asdict(build)}, sort_keys=True)
    write_whole(str(_file(folder, target)), content.encode())


def _file(folder: Path, target: Reference) -> Path:
    return folder / f"image-{hashlib.sha256(str(target).encode()).hexdigest()[:16]}.json"
