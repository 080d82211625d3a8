"""``toolkit image``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.image.build_record import BASE_DIGEST_LABEL, BASE_NAME_LABEL
from toolkit.build.image.description import ImageDescription, describe_image, last_built
from toolkit.build.inventory.gpu import gpu_warning
from toolkit.cli.arguments import project_at
from toolkit.cli.output import note, print_json
from toolkit.engine import EngineApi
from toolkit.project import Project

if TYPE_CHECKING:
    from toolkit.report.contract import ImageDocument


_LOCKS = ("uv.lock", "poetry.lock", "requirements.txt")
"""Those for which a remedy is known, in the order in which a build looks for them."""


def image(options: argparse.Namespace) -> int:
    """Shows what an image is made of: the one that is named, else the project's last."""
    project = project_at(options.config, Path.cwd())
    reference = options.ref
    if reference is None:
        reference = last_built(project)
        note(f"the last image of this project is {reference}")
    document = _document(project, describe_image(EngineApi(), reference))
    if options.json:
        print_json(document)
    else:
        from toolkit.report.image import print_image

        print_image(document)
    return 0


def _document(project: Project, found: ImageDescription) -> ImageDocument:
    inventory, config = found.inventory, found.config
    labels = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    base = labels.get(BASE_NAME_LABEL)
    code = inventory.code
    # Of an image that somebody else made, for other ends, the project's settings say nothing.
    lock = next((name for name in _LOCKS if (project.root / name).is_file()), "")
    warning = (
        gpu_warning(inventory, project.config.executor.config, config.get("Env") or [], lock) if found.is_built else ""
    )
    return {
        "reference": found.reference,
        "id": str(found.image["Id"]),
        "built_by_toolkit": found.is_built,
        "created": str(found.image.get("Created") or "") or None,
        "platform": found.platform,
        "size": int(found.image.get("Size") or 0),
        "user": str(config.get("User") or ""),
        "labels": labels,
        "base": {"name": base, "digest": labels.get(BASE_DIGEST_LABEL)} if base else None,
        "system": inventory.system.get("PRETTY_NAME") or inventory.system.get("NAME"),
        "python": {"version": inventory.python, "executable": inventory.executable} if inventory.python else None,
        "layers": [
            {"holds": one.holds or None, "digest": one.digest or None, "size": one.size, "made_by": one.made_by}
            for one in found.layers
        ],
        "packages": [
            {
                "name": one.name,
                "version": one.version,
                "size": one.size,
                "kind": one.kind,
                "added": one.name in found.added if found.added is not None and one.kind in ("deb", "apk") else None,
            }
            for one in sorted(inventory.packages, key=lambda one: (-one.size, one.name, one.version))
        ],
        "code": None
        if code is None
        else {
            "files": code.files,
            "size": code.size,
            "largest": [{"path": path, "size": size} for path, size in code.largest],
        },
        "warnings": [warning] if warning else [],
    }
