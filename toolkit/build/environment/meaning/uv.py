"""What a uv.lock and a pylock.toml mean: the packages that can be installed from them."""

from __future__ import annotations

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

_LOCAL = ("editable", "directory", "virtual")
_NOT_OF_LOCK = frozenset({"package", "manifest", "options", "revision"})
"""Tables of a uv.lock of which the packages follow, and the revision of its form, which says nothing to uv."""
_NOT_OF_PACKAGE = frozenset(
    {
        "name",
        "version",
        "source",
        "dependencies",
        "optional-dependencies",
        "dev-dependencies",
        "metadata",
        "wheels",
        "sdist",
    }
)
"""What is read by itself, and what only tells whether the lock is current."""
_NOT_OF_FILE = frozenset({"url", "size", "upload-time", "name", "filename"})


def of_uv_lock(
    name: str, document: dict[str, Any], extras: tuple[str, ...], groups: tuple[str, ...] | None
) -> tuple[Parts, bool]:
    """The parts of a uv.lock, and whether it matters where packages come from, because not all of them have hashes.

    Args:
        groups: those that may be installed; None for all.

    Only what its members need counts, with the chosen extras and groups. Whether a marker holds is not asked: a package counts
    wherever it could be installed.
    """
    packages: dict[str, list[dict[str, Any]]] = {}
    for package in document.get("package", []):
        packages.setdefault(normalize_name(str(package["name"])), []).append(package)
    members = {normalize_name(one) for one in document.get("manifest", {}).get("members", [])}
    members |= {
        name
        for name, listed in packages.items()
        if any(one.get("source", {}).get(kind) == "." for one in listed for kind in _LOCAL)
    }
    wanted_extras, wanted_groups = _names(extras), _names(groups) if groups is not None else None

    def needs(package: dict[str, Any], extra: str) -> list[dict[str, Any]]:
        """What a package depends on, by one of its extras; by none for "", which is also by the groups of a member."""
        if extra:
            return [
                one
                for key, listed in package.get("optional-dependencies", {}).items()
                if normalize_name(key) == extra
                for one in listed
            ]
        found = list(package.get("dependencies", []))
        if normalize_name(str(package["name"])) in members:
            for key, listed in package.get("dev-dependencies", {}).items():
                if wanted_groups is None or normalize_name(key) in wanted_groups:
                    found += listed
        return found

    unread = [(member, extra) for member in members for extra in ("", *wanted_extras)]
    for key, listed in document.get("manifest", {}).get("dependency-groups", {}).items():
        # The groups of a root that is no project.
        if wanted_groups is None or normalize_name(key) in wanted_groups:
            unread += [(normalize_name(str(one["name"])), extra) for one in listed for extra in _and_itself(one)]
    seen = set(unread)
    while unread:
        current, extra = unread.pop()
        for package in packages.get(current, ()):
            for one in needs(package, extra):
                for further in _and_itself(one):
                    step = (normalize_name(str(one["name"])), further)
                    if step not in seen:
                        seen.add(step)
                        unread.append(step)

    parts: Parts = {of_lock(name, key): of_value(document[key]) for key in document if key not in _NOT_OF_LOCK}
    addresses = False
    reached = sorted({current for current, _ in seen})
    for current in reached:
        versions, rest = [], []
        asked = sorted(extra for one, extra in seen if one == current)
        for package in packages.get(current, ()):
            by_extra = {extra: unordered(without_credentials(needs(package, extra))) for extra in asked}
            if current in members and set(package.get("source", {})) & set(_LOCAL):
                # Its version is that of the project's own code.
                rest.append({"source": package["source"], "needs": by_extra})
                continue
            is_hashed = _is_hashed(package, "registry")
            addresses = addresses or not is_hashed
            versions.append(str(package.get("version", "")))
            rest.append(
                {
                    "version": package.get("version"),
                    "others": {key: package[key] for key in package if key not in _NOT_OF_PACKAGE},
                    "source": _source(package.get("source", {}), is_hashed),
                    "files": _files(package, is_hashed),
                    "needs": by_extra,
                }
            )
        parts[f"{name}: {current}"] = of_package(", ".join(sorted(versions)), unordered(rest))
    return parts, addresses


def of_pylock(name: str, document: dict[str, Any]) -> tuple[Parts, bool]:
    """The parts of a pylock.toml (PEP 751), and whether it matters where packages come from."""
    left_out = {"packages", "created-by", "tool"}
    parts: Parts = {
        of_lock(name, key): of_value(unordered(value) if isinstance(value, list) else value)
        for key, value in document.items()
        if key not in left_out
    }
    addresses = False
    found: dict[str, list[dict[str, Any]]] = {}
    for package in document.get("packages", []):
        found.setdefault(normalize_name(str(package["name"])), []).append(package)
    for current, listed in found.items():
        rest = []
        for package in listed:
            is_hashed = _is_hashed(package)
            addresses = addresses or not is_hashed
            own = {
                key: value
                for key, value in package.items()
                if key not in ("wheels", "sdist", "index", "tool", "attestation-identities")
            }
            kept = {**without_credentials(own), "files": _files(package, is_hashed)}
            rest.append(kept if is_hashed else {**kept, "index": without_credentials(package.get("index"))})
        parts[f"{name}: {current}"] = of_package(
            ", ".join(sorted(str(one.get("version", "")) for one in listed)), unordered(rest)
        )
    return parts, addresses


def _names(names: tuple[str, ...]) -> set[str]:
    return {normalize_name(one) for one in names}


def _and_itself(dependency: dict[str, Any]) -> list[str]:
    """The extras that a dependency asks for, and none of them, which is always meant as well."""
    return ["", *(normalize_name(str(one)) for one in dependency.get("extra", []))]


def _listed(package: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    files = [("wheel", one) for one in package.get("wheels", [])]
    return [*files, *(("sdist", one) for one in [package.get("sdist")] if one)]


def _is_hashed(package: dict[str, Any], *sources: str) -> bool:
    """Whether hashes alone say what is installed: each file has one, and there is a wheel, so that nothing is built.

    A build takes what it needs from the index, and no lock has hashes of that.

    Args:
        sources: the kinds of source for which that can be; any where there are none.
    """
    files = _listed(package)
    is_there = not sources or bool(set(package.get("source", {})) & set(sources))
    return (
        is_there
        and all(one.get("hash") or one.get("hashes") for _, one in files)
        and any(kind == "wheel" and _fits(one) for kind, one in files)
    )


def _fits(wheel: dict[str, Any]) -> bool:
    """Whether a wheel is for Linux, or for any machine."""
    named = str(
        wheel.get("name") or file_name(str(wheel.get("url") or wheel.get("path") or wheel.get("filename") or ""))
    )
    return named.endswith("-any.whl") or "linux" in named


def _source(source: dict[str, Any], is_hashed: bool) -> Any:
    return list(source) if is_hashed else without_credentials(source)


def _files(package: dict[str, Any], is_hashed: bool) -> list[Any]:
    """The files of a package: by name and hash. Where one comes from counts where there is a hash missing."""
    found = []
    for kind, one in _listed(package):
        place = str(one.get("url") or one.get("path") or "")
        kept = {key: value for key, value in one.items() if key not in _NOT_OF_FILE}
        kept |= {"kind": kind, "name": str(one.get("name") or one.get("filename") or file_name(place))}
        if not (one.get("hash") or one.get("hashes")) or not is_hashed:
            kept["url"] = without_credentials(place)
        found.append(kept)
    return unordered(found)
