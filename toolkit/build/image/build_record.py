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
CODE_LABEL = "dev.toolkit.code"
LAYERS_LABEL = "dev.toolkit.layers"
"""The diff ids of all layers on the environment, from the bottom up, so that one list of images tells which layers are there."""
BASE_NAME_LABEL = "org.opencontainers.image.base.name"
BASE_DIGEST_LABEL = "org.opencontainers.image.base.digest"

_VERSION = 3


@dataclass(frozen=True)
class BuiltImage:
    """An image that the engine has.

    Attributes:
        reference: what a person reads, and what the image is delivered under. The tag follows from the content, and yet it may
            be given to another image: nothing that runs is made by it.
        digest: of the OCI config, ``sha256:…``; the engine's id for an existing image.
        code: the code layer's diff id.
        environment: the config digest of the environment image.
        identity: a digest of the environment and of all layers on it, the same in every store and from every checkout.
        changed: whether it had to be built.
        existing: whether it is the user's own, named by tag or digest, and used as it is.
        id: the engine's, by which containers are made. It is the config's digest with a graph driver, and the manifest's with
            containerd's store.
        content: the hash of the user's code, the runtime and the SDK in the image's id file; "" for an existing image that an
            earlier version built.
        platform: what it is for, as ``linux/arm64``; "" where an earlier version built it.
    """

    reference: str
    digest: str
    code: str
    environment: str
    identity: str
    changed: bool
    existing: bool = False
    id: str = ""
    content: str = ""
    platform: str = ""

    @property
    def name_by_digest(self) -> str:
        """A name that holds the whole digest, so that nobody gives it to another image. Nodes that have no registry know it."""
        return f"{self.reference.rpartition(':')[0]}:{self.digest.partition(':')[2]}"

    @property
    def expectation(self) -> str:
        """What the runtime compares with the image that it finds itself in, as the protocol's IMAGE_VARIABLE holds it."""
        known = {"code": self.content, "environment": self.environment}
        expected = {"reference": self.reference, **{key: value for key, value in known.items() if value}}
        return json.dumps(expected, sort_keys=True, separators=(",", ":"))


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


def read_build_record(folder: Path, target: Reference, platform: str = "") -> BuildRecord | None:
    """The last build for a platform ("" is the engine's); None when there is none that this version of toolkit can read."""
    try:
        record = json.loads(_file(folder, target, platform).read_bytes())
        if record["version"] != _VERSION:
            return None
        return BuildRecord(
            BuildInputs(**record["inputs"]), record["base"], record["base_id"], BuiltImage(**record["result"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def why_no_record(folder: Path, target: Reference, platform: str = "") -> str:
    """Why :func:`read_build_record` gives none, as a sentence."""
    if _file(folder, target, platform).exists():
        return "the record of the last build is one of another version of toolkit, so what changed since is not known"
    return "this machine has no record of an earlier build of this project"


def write_build_record(folder: Path, target: Reference, build: BuildRecord, platform: str = "") -> None:
    content = json.dumps({"version": _VERSION, **asdict(build)}, sort_keys=True)
    write_whole(str(_file(folder, target, platform)), content.encode())


def code_file(folder: Path, target: Reference, platform: str = "") -> Path:
    """The file that keeps the lines of the code of the last build. They are only read to say what changed."""
    return _file(folder, target, platform).with_suffix(".code")


def _file(folder: Path, target: Reference, platform: str) -> Path:
    of = f"{target} {platform}".strip()
    return folder / f"image-{hashlib.sha256(of.encode()).hexdigest()[:16]}.json"
