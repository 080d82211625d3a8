"""The packages of an image, from what its files say: a distribution's metadata, conda's records, the databases of dpkg and apk."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

Kind = Literal["python", "conda", "deb", "apk"]


@dataclass(frozen=True)
class Package:
    """A package that is installed in an image.

    Attributes:
        size: of its installed files, in bytes; 0 where nothing recorded them.
        licenses: as the package names them: one expression, or several names.
        requires: the names of the packages that it needs, normalized.
        tags: of the wheel that it was installed from, as in its name.
        source: the address that it was installed from, where that was no index: without credentials.
        commit: of the repository at that address.
        sha256: of the file that it was installed from, where the installer has recorded it.
        architecture: of a package of the operating system, or the subdir of conda's.
        build: conda's.
        installer: the tool that recorded it; ``toolkit`` is the project itself.
        imported: whether the image's ``python3`` imports it. The base image's own, beside an environment, are not.
    """

    kind: Kind
    name: str
    version: str
    size: int = 0
    licenses: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    commit: str = ""
    sha256: str = ""
    architecture: str = ""
    build: str = ""
    installer: str = ""
    imported: bool = True


@dataclass(frozen=True)
class CodeFiles:
    """The files of the project in an image. ``size`` is in bytes, and of each of the ``largest``, too."""

    files: int
    size: int
    largest: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Inventory:
    """What an image holds.

    Attributes:
        python: the version of its ``python3``; "" where it has none that runs. executable: its path.
        system: what its os-release says.
        code: None where it has no working folder of toolkit's.
    """

    python: str
    executable: str
    packages: tuple[Package, ...]
    system: dict[str, str]
    code: CodeFiles | None

    def of(self, *kinds: Kind) -> list[Package]:
        return [one for one in self.packages if one.kind in kinds]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(content: dict[str, Any]) -> Inventory:
        """What :meth:`to_json` gave. TypeError or KeyError where it is something else."""
        packages: list[dict[str, Any]] = [
            {key: tuple(value) if isinstance(value, list) else value for key, value in one.items()}
            for one in content["packages"]
        ]
        return Inventory(
            content["python"],
            content["executable"],
            tuple(Package(**one) for one in packages),
            content["system"],
            _code(content["code"]),
        )


def inventory_of(answer: dict[str, Any], dpkg: str, apk: str, os_release: str) -> Inventory:
    """The inventory of an image.

    Args:
        answer: of inventory/inside.py; empty where the image has no Python.
        dpkg, apk: the databases of the operating system's packages. os_release: the file. All may be empty.
    """
    packages = {
        *(_of_distribution(one) for one in answer.get("distributions") or ()),
        *(_of_conda(one) for one in answer.get("conda") or ()),
        *debian_packages(dpkg),
        *alpine_packages(apk),
    }
    packages = {one for one in packages if one.name}
    ordered = sorted(
        packages, key=lambda one: (one.kind, one.name, one.version, not one.imported, asdict(one).__repr__())
    )
    return Inventory(
        answer.get("python") or "",
        answer.get("executable") or "",
        tuple(ordered),
        read_os_release(os_release),
        _code(answer.get("code")),
    )


def _code(content: dict[str, Any] | None) -> CodeFiles | None:
    if content is None:
        return None
    return CodeFiles(content["files"], content["size"], tuple((path, size) for path, size in content["largest"]))


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_distribution(row: dict[str, Any]) -> Package:
    headers: dict[str, list[str]] = row["headers"]
    direct = row["direct"] if isinstance(row["direct"], dict) else {}
    archive = direct.get("archive_info") or {}
    sha256 = (archive.get("hashes") or {}).get("sha256") or str(archive.get("hash") or "").removeprefix("sha256=")
    url = without_credentials(str(direct.get("url") or ""))
    return Package(
        "python",
        (headers.get("Name") or [""])[0],
        (headers.get("Version") or [""])[0],
        row["size"],
        _licenses(headers),
        tuple(sorted({name for one in headers.get("Requires-Dist") or () if (name := _required(one))})),
        tuple(sorted(row["tags"])),
        "" if url.startswith("file:") else url,
        str((direct.get("vcs_info") or {}).get("commit_id") or ""),
        sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else "",
        installer=row["installer"],
        imported=row["imported"],
    )


def _licenses(headers: dict[str, list[str]]) -> tuple[str, ...]:
    expression = headers.get("License-Expression")
    if expression:
        return (expression[0],)
    classifiers = [
        one.rpartition(" :: ")[2] for one in headers.get("Classifier") or () if one.startswith("License :: ")
    ]
    text = (headers.get("License") or [""])[0]
    # Some have the whole text of their license there; its first line is then a title.
    short = text if text and text.upper() != "UNKNOWN" and len(text) <= 80 else ""
    named = sorted({one for one in classifiers if one != "OSI Approved"})
    return tuple(named) or ((short,) if short else ())


def _required(requirement: str) -> str:
    """The name of what a Requires-Dist needs; "" where only an extra needs it."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    marker = requirement.partition(";")[2]
    return "" if match is None or re.search(r"\bextra\b", marker) else normalized(match[1])


def without_credentials(url: str) -> str:
    """An address without what may be secret in it: user and password, a query, and the token of a channel of conda."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    path = re.sub(r"^/t/[^/]+/", "/", parts.path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def _of_conda(row: dict[str, Any]) -> Package:
    return Package(
        "conda",
        row["name"],
        row["version"],
        row["size"],
        (row["license"],) if row["license"] else (),
        source=without_credentials(row["url"]),
        sha256=row["sha256"],
        architecture=row["subdir"],
        build=row["build"],
        installer="conda",
    )


def debian_packages(status: str) -> list[Package]:
    """The packages that a status file of dpkg lists as installed. Installed-Size is in KiB."""
    found = []
    for block in re.split(r"\n\s*\n", status):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", block, re.MULTILINE))
        # The files of a distroless image, one for each package, have no Status.
        if "Package" not in fields or not fields.get("Status", "installed").endswith("installed"):
            continue
        if fields.get("Status", "").endswith("not-installed"):
            continue
        kib = fields.get("Installed-Size", "")
        size = int(kib) * 1024 if kib.isdecimal() else 0
        found.append(
            Package(
                "deb", fields["Package"], fields.get("Version", ""), size, architecture=fields.get("Architecture", "")
            )
        )
    return found


def alpine_packages(database: str) -> list[Package]:
    """The packages in a database of apk."""
    found = []
    for block in re.split(r"\n\s*\n", database):
        fields = dict(re.findall(r"^([A-Za-z]):(.*)$", block, re.MULTILINE))
        if "P" in fields:
            size = int(fields["I"]) if fields.get("I", "").isdecimal() else 0
            licenses = (fields["L"],) if fields.get("L") else ()
            found.append(
                Package("apk", fields["P"], fields.get("V", ""), size, licenses, architecture=fields.get("A", ""))
            )
    return found


def read_os_release(text: str) -> dict[str, str]:
    """The fields of an os-release file (os-release(5)), whose values are quoted as a shell's."""
    fields = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and re.fullmatch("[A-Z][A-Z0-9_]*", name):
            try:
                fields[name] = "".join(shlex.split(value))
            except ValueError:
                fields[name] = value
    return fields
