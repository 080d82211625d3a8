"""What a pushed image's manifest says of where the image comes from.

It may change with a commit while the image does not, so it lies in annotations of the manifest, and nothing of it in the image's
configuration: the image's identity is its content.
"""

from __future__ import annotations

from functools import partial

from toolkit.build.environment.dockerfile import REPOSITORY
from toolkit.build.image.build_record import BuiltImage, read_build_record
from toolkit.build.image.builder import is_code
from toolkit.build.reference import Reference, full_name, parse_reference
from toolkit.build.revision import read_revision
from toolkit.build.state import build_folder
from toolkit.engine import EngineApi
from toolkit.errors import ToolkitError
from toolkit.project import Project

_OCI = "org.opencontainers.image"
REVISION = f"{_OCI}.revision"
CREATED = f"{_OCI}.created"
SOURCE = f"{_OCI}.source"
VERSION = f"{_OCI}.version"
BASE_NAME = f"{_OCI}.base.name"
BASE_DIGEST = f"{_OCI}.base.digest"
UNCOMMITTED = "dev.toolkit.uncommitted"


def manifest_annotations(project: Project, built: BuiltImage, engine: EngineApi) -> dict[str, str]:
    """The annotations of the manifest of an image that was just built, as far as they are known.

    ``created`` is the time of the commit and not that of the push, so that one commit has one manifest, on whatever machine. It is
    missing where files are not as they are in the commit.
    """
    revision = read_revision(project.root, partial(is_code, project))
    found = {VERSION: _version(project), **_base(project, built, engine)}
    if revision is not None:
        found |= {
            REVISION: revision.commit,
            SOURCE: revision.repository,
            CREATED: "" if revision.uncommitted else revision.committed,
            UNCOMMITTED: "true" if revision.uncommitted else "",
        }
    return {name: value for name, value in found.items() if value}


def _version(project: Project) -> str:
    """The project's own version, as pyproject.toml or the setting build.version says it."""
    import tomli

    try:
        document = tomli.loads((project.root / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        document = {}
    tool = document.get("tool")
    for table in (document.get("project"), tool.get("poetry") if isinstance(tool, dict) else None):
        if isinstance(table, dict) and isinstance(table.get("version"), str):
            return str(table["version"])
    return project.config.build.version or ""


def _base(project: Project, built: BuiltImage, engine: EngineApi) -> dict[str, str]:
    """Name and digest of the image that the environment started from."""
    target = Reference(built.reference.rpartition(":")[0])
    record = read_build_record(build_folder(project), target, project.config.build.platform or "")
    if record is None or record.result.digest != built.digest or record.base.startswith(f"{REPOSITORY}:"):
        return {}  # what a Dockerfile of the project made has a name on this engine alone
    try:
        base = parse_reference(record.base, "build.base_image")
        image = engine.image(record.base_id) or {}
    except ToolkitError:
        return {}
    digests = [
        str(one).partition("@")[2]
        for one in image.get("RepoDigests") or []
        if full_name(str(one).partition("@")[0]) == full_name(base.repository)
    ]
    digest = base.digest or (digests[0] if digests else "")
    named = Reference(base.repository, base.tag or (None if base.digest else "latest"))
    return {BASE_NAME: full_name(str(named)), BASE_DIGEST: digest}
