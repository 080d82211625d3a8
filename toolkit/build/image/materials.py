"""The bill of materials of a built image: what is installed in it, with the hashes of the project's locks."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.build.code.files import BILL_NAMES
from toolkit.build.image.build_record import BASE_DIGEST_LABEL, BASE_NAME_LABEL, BuiltImage
from toolkit.build.image.builder import dependency_files, is_code
from toolkit.build.inventory.lock_hashes import locked_files
from toolkit.build.inventory.reading import read_inventory
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.whole_files import write_whole


def materials_of(project: Project, built: BuiltImage, engine: EngineApi) -> bytes:
    """The bill of materials of an image that was just built: CycloneDX 1.6 as JSON, the same bytes each time.

    Raises:
        Infrastructure: the engine no longer has the image, or can't show what is in it.
    """
    # It costs a quarter of a second, which only those spend who ask for it.
    from toolkit.build.inventory.sbom import Subject, bill_of_materials

    image = engine.image(built.id)
    if image is None:
        raise Infrastructure(f"the image {built.reference} was removed from the engine meanwhile: build again")
    labels = (image.get("Config") or {}).get("Labels") or {}
    facts = {
        "dev.toolkit.config": built.digest,
        "dev.toolkit.identity": built.identity,
        "dev.toolkit.platform": _platform(image),
    }
    subject = Subject(
        built.reference.partition("@")[0].rpartition("/")[2].partition(":")[0],
        built.content,
        str(labels.get(BASE_NAME_LABEL) or ""),
        str(labels.get(BASE_DIGEST_LABEL) or ""),
        {name: value for name, value in facts.items() if value},
    )
    inventory = read_inventory(engine, built.id, built.reference)
    if not inventory.python:
        raise Infrastructure(
            f"the Python in {built.reference} ({_platform(image)}) did not say what is installed: try again, on a machine "
            "that runs such images"
        )
    return bill_of_materials(subject, inventory, locked_files(dependency_files(project, engine)))


def _platform(image: dict[str, object]) -> str:
    return "/".join(str(image[key]) for key in ("Os", "Architecture", "Variant") if image.get(key))


def check_destination(project: Project, text: str) -> Path:
    """The file that a bill of materials is written to. It is no code of the next image: by its name, or where it lies.

    Raises:
        BadInput: it can't be written there, as far as that is known before.
    """
    file = Path(text)
    if text == "-":
        raise BadInput("--sbom: standard output has the image's reference: name a file (--sbom sbom.cdx.json)")
    if not text or file.is_dir():
        raise BadInput(f"--sbom: {text!r} is a folder: name a file in it (--sbom {file / 'sbom.cdx.json'})")
    if not file.parent.is_dir():
        raise BadInput(f"--sbom: the folder {str(file.parent)!r} does not exist: create it first")
    path = os.path.relpath(os.path.realpath(file), os.path.realpath(project.root))
    if not path.startswith("..") and not file.name.endswith(BILL_NAMES) and is_code(project, path):
        raise BadInput(
            f"--sbom: {text!r} would be code of the next image, and so change it: name it {file.stem}.cdx.json or sbom.json, or "
            "name its folder in .dockerignore"
        )
    return file


def write_materials(file: Path, content: bytes) -> None:
    """Writes a bill of materials, all of it or nothing.

    Raises:
        Infrastructure: the disk is full, or the file can't be written.
    """
    try:
        write_whole(str(file), content)
    except OSError as error:
        raise Infrastructure(f"{file} cannot be written: {error.strerror}") from error
