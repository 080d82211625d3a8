"""What the locks of Poetry, PDM, Pipenv, pixi and conda-lock mean, and an environment.yml."""

from __future__ import annotations

import json
import re
from typing import Any

from toolkit.build.environment.dependencies.found import normalize_name
from toolkit.build.environment.meaning.parts import (
    Parts,
    file_name,
    of_lock,
    of_package,
    of_value,
    unordered,
    without_credentials,
)


def of_tool_lock(name: str, document: dict[str, Any]) -> Parts:
    """A poetry.lock or a pdm.lock, whose tool is asked. What it compares with the project counts: the hash of its content."""
    parts: Parts = {}
    for key, value in document.items():
        if key not in ("package", "metadata"):
            parts[of_lock(name, key)] = of_value(value)
    for key, value in (document.get("metadata") or {}).items():
        parts[of_lock(name, f"metadata.{key}")] = of_value(without_credentials(value))
    found: dict[str, list[dict[str, Any]]] = {}
    for package in document.get("package") or ():
        found.setdefault(normalize_name(str(package["name"])), []).append(package)
    for package_name, listed in found.items():
        rest = [_without_order({key: value for key, value in one.items() if key != "description"}) for one in listed]
        versions = sorted({str(one.get("version", "")) for one in listed})
        parts[f"{name}: {package_name}"] = of_package(", ".join(versions), unordered(rest))
    return parts


def of_pipfile_lock(name: str, content: bytes) -> Parts:
    """A Pipfile.lock, whose tool is asked."""
    parts: Parts = {}
    for section, packages in json.loads(content).items():
        parts[f"{name}: {section}"] = ""
        for key, value in packages.items():
            shown = str(value.get("version", "")).lstrip("=") if isinstance(value, dict) and section != "_meta" else ""
            named = f"{name}: {section}: {key}"
            parts[named] = of_package(
                shown, _without_order(value) if section != "_meta" else without_credentials(value)
            )
    return parts


def of_conda_lock(name: str, content: bytes, categories: tuple[str, ...]) -> Parts:
    """A conda-lock.yml: its packages of the category ``main`` and of those that were chosen."""
    document = _yaml(content)
    parts: Parts = {}
    for key, value in document.items():
        if key not in ("package", "metadata"):
            parts[of_lock(name, key)] = of_value(value)
    metadata = document.get("metadata") or {}
    for key in ("channels", "platforms"):
        if key in metadata:
            parts[of_lock(name, f"metadata.{key}")] = of_value(without_credentials(metadata[key]))
    found: dict[str, list[dict[str, Any]]] = {}
    for package in document["package"]:
        category = package.get("category", "main")
        is_chosen = category in ("main", *categories) or not isinstance(category, str)
        if is_chosen and _is_possible(str(package.get("platform"))):
            found.setdefault(str(package["name"]), []).append(package)
    for package_name, listed in found.items():
        versions = sorted({str(one.get("version", "")) for one in listed})
        rest = unordered(without_credentials(one) for one in listed)
        parts[f"{name}: {package_name}"] = of_package(", ".join(versions), rest)
    return parts


def of_pixi_lock(name: str, content: bytes) -> Parts:
    """A pixi.lock, and the answer of py-rattler: the packages of its environment ``default``."""
    document = _yaml(content)
    environment = document["environments"]["default"]
    listed: dict[str, list[Any]] = {key: value for key, value in environment["packages"].items() if _is_possible(key)}
    addresses = {_address_of(one) for packages in listed.values() for one in packages}
    records: dict[str, Any] = {}
    for record in document["packages"]:
        if _address_of(record) in addresses:
            records.setdefault(_address_of(record), []).append(without_credentials(record))
    if addresses - set(records):
        raise ValueError("a package that has no record")
    parts: Parts = {
        of_lock(name, key): of_value(without_credentials(value))
        for key, value in document.items()
        if key not in ("environments", "packages")
    }
    for key, value in environment.items():
        if key != "packages":
            parts[of_lock(name, f"environment.{key}")] = of_value(without_credentials(value))
    for platform, packages in listed.items():
        for one in packages:
            address = _address_of(one)
            record = records[address][0]
            package, version = _named(address, record)
            key = f"{name}: {package} ({platform})"
            value = [without_credentials(one), unordered(records[address])]
            parts[key] = of_package(version, value if key not in parts else [value, parts[key]])
    return parts


def of_environment(name: str, content: bytes) -> Parts:
    """What is solved of an environment.yml. Its name, prefix and variables are no part of that."""
    document = _yaml(content)
    parts = {name: ""}
    for key, value in document.items():
        if key in ("name", "prefix", "variables"):
            continue
        if key != "dependencies":
            parts[f"{name}: {key}"] = of_value(without_credentials(value))
            continue
        for one in value:
            if isinstance(one, str):
                parts[f"{name}: dependencies: {' '.join(one.split())}"] = ""
            elif set(one) != {"pip"}:  # those are no part of the question, and an answer's requirements hold them
                raise ValueError("a dependency of another form")
    return parts


def _is_possible(platform: str) -> bool:
    """Whether an image can have the packages of a platform: it is always Linux."""
    return not platform.startswith(("osx", "win"))


def _yaml(content: bytes) -> dict[str, Any]:
    import yaml

    document = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(document, dict):
        raise ValueError("no table")
    return document


def _address_of(entry: dict[str, Any]) -> str:
    """The address by which an environment of a pixi.lock names a package."""
    for key in ("conda", "pypi", "conda_source"):
        if key in entry:
            return f"{key} {entry[key]}"
    raise ValueError("a package of another kind")


def _named(address: str, record: dict[str, Any]) -> tuple[str, str]:
    if record.get("name") and record.get("version"):
        return str(record["name"]), str(record["version"])
    words = re.sub(r"\.(conda|tar\.bz2|whl)$", "", file_name(address)).rsplit("-", 2)
    return (words[0], words[1]) if len(words) == 3 else (address, "")


def _without_order(package: Any) -> Any:
    """A package whose files, hashes and groups are lists without order."""
    if not isinstance(package, dict):
        return without_credentials(package)
    lists = ("files", "hashes", "groups", "extras", "dependencies")
    return {
        key: unordered(without_credentials(value))
        if key in lists and isinstance(value, list)
        else without_credentials(value)
        for key, value in package.items()
    }
