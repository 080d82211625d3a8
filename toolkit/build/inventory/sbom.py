"""What is installed in an image as a CycloneDX bill of materials: the same bytes each time, without a time or a random number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from toolkit.build.inventory.lock_hashes import Locked, files_of
from toolkit.build.inventory.packages import Inventory, Package, normalized
from toolkit.build.reference import registry_of

MEDIA_TYPE = "application/vnd.cyclonedx+json"
OWN_DISTRIBUTION = "samerun"
OWN_INSTALLER = "toolkit"
"""What the project itself is recorded by, because its code stays where it is."""


@dataclass(frozen=True)
class Subject:
    """The image that a bill of materials is of.

    Attributes:
        name, version: of the project, where nothing in the image says them.
        base: the base image's name. base_digest: its digest in its registry; both "" where they are not known.
        properties: further facts, by name, which begins with ``dev.toolkit.``.
    """

    name: str
    version: str
    base: str
    base_digest: str
    properties: Mapping[str, str]


def bill_of_materials(subject: Subject, inventory: Inventory, locked: Locked) -> bytes:
    """The bill of materials of an image, as JSON by CycloneDX 1.6.

    Args:
        locked: the hashes of the project's locks.
    """
    own = [one for one in inventory.of("python") if one.installer == OWN_INSTALLER]
    root = _root(subject, own)
    bom = Bom()
    bom.metadata.component = root
    bom.metadata.tools.components.add(Component(name="toolkit", version=_version(), type=ComponentType.APPLICATION))
    for name, value in subject.properties.items():
        bom.metadata.properties.add(Property(name=name, value=value))
    components: dict[str, Component] = {}
    needs: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for package in inventory.packages:
        if len(own) == 1 and package is own[0]:
            continue
        made = _component(package, inventory.system, locked)
        reference = str(made.bom_ref.value)
        # Of two of one name and version, in the environment and in the base's own Python, the imported one comes first.
        if reference not in components:
            components[reference] = made
            needs[reference] = set(package.requires)
            if package.kind == "python" and package.imported:
                names[normalized(package.name)] = reference
    system = _system(inventory.system)
    base = _base(subject)
    for component in (*components.values(), *filter(None, (system, base))):
        bom.components.add(component)
    edges = {
        reference: [components[names[name]] for name in wanted if names.get(name, reference) != reference]
        for reference, wanted in needs.items()
    }
    for reference, wanted_components in edges.items():
        bom.register_dependency(components[reference], wanted_components)
    of_system = [one for one in components.values() if str(one.purl).startswith(("pkg:deb/", "pkg:apk/"))]
    needed = {str(one.bom_ref.value) for wanted in edges.values() for one in wanted}
    top = [one for reference, one in components.items() if reference not in needed and one not in of_system]
    if system is not None:
        bom.register_dependency(system, of_system)
    bom.register_dependency(root, [*top, *filter(None, (system, base)), *(of_system if system is None else [])])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # Of the same image there is the same bill: neither is required.
    del document["serialNumber"], document["metadata"]["timestamp"]
    # What tells it from other files comes first (BILL_TOP of the project's files).
    about = document.pop("metadata")
    ordered = {
        "metadata": {"properties": about.pop("properties"), **dict(sorted(about.items()))},
        **dict(sorted(document.items())),
    }
    return json.dumps(ordered, indent=2).encode() + b"\n"


def _version() -> str | None:
    """The version of this tool, as it is installed."""
    try:
        return metadata.version(OWN_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def _root(subject: Subject, own: list[Package]) -> Component:
    """The project: by the distribution that it declares itself to be, where it is one."""
    if len(own) != 1:
        return Component(name=subject.name, version=subject.version, type=ComponentType.APPLICATION, bom_ref="project")
    return Component(
        name=own[0].name,
        version=own[0].version,
        type=ComponentType.APPLICATION,
        bom_ref="project",
        purl=PackageURL("pypi", None, own[0].name, own[0].version),
        licenses=_licenses(own[0].licenses),
    )


def _component(package: Package, system: Mapping[str, str], locked: Locked) -> Component:
    purl = _purl(package, system)
    hashes, references = [], []
    files = files_of(package, locked) if package.kind == "python" and package.imported else ()
    if package.sha256:
        hashes = [package.sha256]
    elif len(files) == 1:
        hashes = [files[0].sha256]
    elif files:
        references.append(
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(str(purl)),
                comment="the files of this version that the lock allows",
                hashes=_hashes(file.sha256 for file in files),
            )
        )
    source = package.source or (files[0].url if len(files) == 1 else "")
    if source.startswith("http"):
        references.append(ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(source)))
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        hashes=_hashes(hashes),
        licenses=_licenses(package.licenses),
        external_references=references,
    )


def _purl(package: Package, system: Mapping[str, str]) -> PackageURL:
    qualifiers: dict[str, str] = {}
    if package.kind in ("deb", "apk"):
        distribution = system.get("ID", "debian" if package.kind == "deb" else "alpine")
        qualifiers = {"arch": package.architecture}
        if system.get("VERSION_ID"):
            qualifiers["distro"] = f"{distribution}-{system['VERSION_ID']}"
        return PackageURL(package.kind, distribution, package.name, package.version, _given(qualifiers))
    if package.kind == "conda":
        above = package.source.rpartition("/")[0].removesuffix(f"/{package.architecture}")
        channel = above.rpartition("/")[2]
        qualifiers = {"build": package.build, "channel": channel, "subdir": package.architecture}
        return PackageURL("conda", None, package.name, package.version, _given(qualifiers))
    if package.commit:
        qualifiers["vcs_url"] = f"git+{package.source}@{package.commit}"
    elif package.source:
        qualifiers["download_url"] = package.source
    return PackageURL("pypi", None, package.name, package.version, _given(qualifiers))


def _given(qualifiers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in qualifiers.items() if value}


def _hashes(values: Iterable[str]) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=value) for value in values]


def _licenses(names: tuple[str, ...]) -> list[License]:
    """An expression stands alone; several names are several licences."""
    made: list[License] = [LicenseFactory().make_from_string(name) for name in names]
    if len(made) > 1:
        made = [
            LicenseFactory().make_with_name(one.value) if isinstance(one, LicenseExpression) else one for one in made
        ]
    return made


def _system(fields: Mapping[str, str]) -> Component | None:
    if not fields.get("ID"):
        return None
    return Component(
        name=fields["ID"],
        version=fields.get("VERSION_ID"),
        type=ComponentType.OPERATING_SYSTEM,
        description=fields.get("PRETTY_NAME"),
        bom_ref="operating-system",
    )


def _base(subject: Subject) -> Component | None:
    """The base image. Only a registry's digest makes a name of it that others can look up."""
    if not subject.base:
        return None
    name, _, digest = subject.base.partition("@")
    tag = ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
    digest = subject.base_digest or digest
    purl = None
    if digest:
        where = name if registry_of(name) else f"docker.io/{name if '/' in name else f'library/{name}'}"
        purl = PackageURL("oci", None, name.rpartition("/")[2], digest, _given({"repository_url": where, "tag": tag}))
    return Component(
        name=name, version=digest or tag or None, type=ComponentType.CONTAINER, purl=purl, bom_ref="base-image"
    )
