"""The project as something that is installed: its metadata, entry points and commands, while its code stays where it is.

What an installer would write for an editable install is written here, from what the project's files say: a ``.dist-info`` folder
beside the installed packages, a ``.pth`` file that leads to the code, and a script for each command. All of it follows from
the project's files and the environment's Python, so it is the same bytes each time.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.build import left_out
from toolkit.build.code.layer import LayerEntry
from toolkit.build.interpreter import Interpreter
from toolkit.build.setup_files import files_named, is_setup_script
from toolkit.errors import BadInput
from toolkit.runtime.shared.protocol import WORKSPACE


@dataclass(frozen=True)
class Distribution:
    """A project that declares itself to be a package.

    Attributes:
        folder: of the project, relative to the root; "." for the root itself.
        name, version: of the distribution; the version is "" where only its build backend knows it.
        roots: the folders, relative to the root, whose modules and packages are importable.
        metadata: the lines of its METADATA after name and version.
        entry_points: by group, each as ``name = module:object``.
        ask: whether the backend has to be asked, because the files don't say enough.
        reads: the files that its answer depends on, relative to the root.
    """

    folder: str
    name: str
    version: str
    roots: tuple[str, ...]
    metadata: tuple[str, ...] = ()
    entry_points: dict[str, dict[str, str]] = field(default_factory=dict)
    ask: bool = False
    reads: tuple[str, ...] = ()


def declared_distribution(root: Path, folder: str = ".") -> Distribution | None:
    """What the project in a folder installs; None where it declares itself to be no package.

    Args:
        root: the project's root. folder: relative to it.

    Raises:
        BadInput: a file that declares it is broken.
    """
    path = root / folder
    document = _toml(path / "pyproject.toml")
    tool = document.get("tool") or {}
    is_package = (tool.get("uv") or {}).get("package")
    project = document.get("project")
    if isinstance(project, dict) and "name" in project:
        if is_package is False or (is_package is None and "build-system" not in document and not _has_setup(path)):
            return None
        return _of_project(path, folder, document, project)
    poetry = tool.get("poetry")
    if isinstance(poetry, dict) and poetry.get("name") and poetry.get("package-mode", True):
        return _of_poetry(path, folder, document, poetry)
    found = _of_setup_cfg(path, folder, document) if (path / "setup.cfg").is_file() else None
    if found is None and _is_setup_script(path):
        return Distribution(folder, "", "", (), ask=True, reads=_reads(path, folder))
    return found


def installed_entries(
    distributions: Iterable[Distribution], python: Interpreter, version: Callable[[Distribution], str]
) -> list[LayerEntry]:
    """The files of these distributions as they are installed.

    Args:
        version: the version of a distribution which does not say it.
    """
    entries: list[LayerEntry] = []
    for one in distributions:
        entries += _entries(one, _normal(one.version or version(one)), python)
    return entries


def _normal(version: str) -> str:
    """A version as an installer writes it (PEP 440)."""
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(version))
    except InvalidVersion:
        return version


def backend_entries(files: Path, python: Interpreter) -> list[LayerEntry]:
    """The files that the project's build backend made for an editable install, where the environment's Python finds them.

    Args:
        files: the folder with them.
    """
    entries: list[LayerEntry] = []
    for path in sorted(files.rglob("*")):
        relative = path.relative_to(files).as_posix()
        # The scripts are written again, because these name the Python that has made them. uv's lock and cache keys stay away.
        if (
            relative.split("/")[0] in ("bin", ".lock")
            or "__pycache__" in relative
            or relative.endswith((".json", "/RECORD"))
        ):
            continue
        target = f"{python.packages}/{relative}"
        if path.is_dir():
            entries.append(LayerEntry(target, "dir", 0o755))
        else:
            entries.append(LayerEntry(target, "file", 0o644, content=path.read_bytes()))
    for path in sorted(files.glob("*.dist-info/entry_points.txt")):
        parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(path.read_text("utf-8"))
        for group in ("console_scripts", "gui_scripts"):
            for name, target in parser.items(group) if parser.has_section(group) else ():
                content = _script(target, python.executable).encode()
                entries.append(LayerEntry(f"{python.scripts}/{name}", "file", 0o755, content=content))
    return entries


def _entries(one: Distribution, version: str, python: Interpreter) -> list[LayerEntry]:
    stem = re.sub(r"[-_.]+", "_", one.name)
    info = f"{stem}-{version}.dist-info"
    lines = [f"{WORKSPACE}/{root}" if root != "." else WORKSPACE for root in one.roots]
    files = {
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {one.name}", f"Version: {version}", *one.metadata, ""]
        ),
        f"{info}/INSTALLER": "toolkit\n",
        f"{info}/direct_url.json": f'{{"dir_info": {{"editable": true}}, "url": "file://{WORKSPACE}"}}\n',
        f"__editable__.{stem}.pth": "".join(f"{line}\n" for line in lines),
    }
    groups = {name: points for name, points in one.entry_points.items() if points}
    if groups:
        files[f"{info}/entry_points.txt"] = "\n".join(
            "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in sorted(points.items())), ""])
            for group, points in sorted(groups.items())
        )
    scripts = {**groups.get("console_scripts", {}), **groups.get("gui_scripts", {})}
    commands = {f"{python.scripts}/{name}": _script(target, python.executable) for name, target in scripts.items()}
    paths = {f"{python.packages}/{name}": content for name, content in files.items()}
    record = [
        f"{os.path.relpath(path, python.packages)},sha256={_record_hash(content)},{len(content.encode())}"
        for path, content in sorted({**paths, **commands}.items())
    ]
    paths[f"{python.packages}/{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    return [
        LayerEntry(f"{python.packages}/{info}", "dir", 0o755),
        *(LayerEntry(path, "file", 0o644, content=content.encode()) for path, content in paths.items()),
        *(LayerEntry(path, "file", 0o755, content=content.encode()) for path, content in commands.items()),
    ]


def _record_hash(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip("=")


def _script(target: str, executable: str) -> str:
    module, _, name = re.sub(r"\s*\[.*\]\s*$", "", target).partition(":")
    name = name.strip() or "main"
    return (
        f"#!{executable}\nimport sys\nfrom {module.strip()} import {name.split('.')[0]}\n\n"
        f'if __name__ == "__main__":\n    sys.exit({name}())\n'
    )


# --- what projects say ----------------------------------------------------------------------------------------------------


def _toml(path: Path) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"it is no TOML: {error}", str(path)) from None


def _has_setup(path: Path) -> bool:
    return _is_setup_script(path) or (path / "setup.cfg").is_file()


def _is_setup_script(path: Path) -> bool:
    return is_setup_script(_text(path / "setup.py").encode())


def _of_project(path: Path, folder: str, document: dict[str, Any], project: dict[str, Any]) -> Distribution:
    dynamic = tuple(str(one) for one in project.get("dynamic") or ())
    points: dict[str, dict[str, str]] = {
        "console_scripts": dict(project.get("scripts") or {}),
        "gui_scripts": dict(project.get("gui-scripts") or {}),
    }
    for group, entries in (project.get("entry-points") or {}).items():
        points.setdefault(str(group), {}).update(entries)
    lines = []
    for key, header in (("description", "Summary"), ("requires-python", "Requires-Python")):
        if isinstance(project.get(key), str):
            lines.append(f"{header}: {' '.join(project[key].split())}")
    license_ = project.get("license")
    if isinstance(license_, str) or (isinstance(license_, dict) and "text" in license_):
        lines.append(f"License: {' '.join(str(license_ if isinstance(license_, str) else license_['text']).split())}")
    for key, header in (("authors", "Author"), ("maintainers", "Maintainer")):
        for person in project.get(key) or ():
            if "email" in person:
                shown = f"{person['name']} <{person['email']}>" if person.get("name") else person["email"]
                lines.append(f"{header}-email: {shown}")
            elif "name" in person:
                lines.append(f"{header}: {person['name']}")
    if project.get("keywords"):
        lines.append(f"Keywords: {','.join(project['keywords'])}")
    lines += [f"Classifier: {one}" for one in project.get("classifiers") or ()]
    lines += [f"Project-URL: {label}, {url}" for label, url in (project.get("urls") or {}).items()]
    lines += [f"Requires-Dist: {one}" for one in project.get("dependencies") or ()]
    for extra, wanted in (project.get("optional-dependencies") or {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [_of_extra(str(one), str(extra)) for one in wanted]
    roots = _source_roots(path, folder, document)
    version = str(project.get("version", ""))
    if "version" in dynamic:
        version = _dynamic_version(path, folder, document, str(project["name"]), roots)
    unknown = set(dynamic) - {"version", "readme", "classifiers", "license", "description"}
    if "version" in dynamic and not version and not _is_from_git(document):
        unknown.add("version")
    ask = bool(unknown) or _has_build_hook(document) or _is_laid_out_anew(document)
    return Distribution(
        folder,
        str(project["name"]),
        version,
        roots,
        tuple(lines),
        points,
        ask,
        _reads(path, folder) if ask else (),
    )


def _is_from_git(document: dict[str, Any]) -> bool:
    """Whether the version is that of a tag or a commit, which is no part of the image."""
    tool = document.get("tool") or {}
    requires = " ".join(str(one) for one in (document.get("build-system") or {}).get("requires") or ())
    return (
        any(
            name in requires
            for name in (
                *("setuptools-scm", "setuptools_scm", "hatch-vcs", "versioningit", "dunamai", "versioneer", "pbr"),
                *("dynamic-versioning", "setuptools-git-versioning", "hatch-regex-commit", "vcs-versioning"),
            )
        )
        or ((tool.get("hatch") or {}).get("version") or {}).get("source") in ("vcs", "uv-dynamic-versioning")
        or ((tool.get("pdm") or {}).get("version") or {}).get("source") == "scm"
    )


def _is_laid_out_anew(document: dict[str, Any]) -> bool:
    """Whether packages are imported by other names, or from other folders, than their paths in the project tell."""
    tool = document.get("tool") or {}
    mapped = set((tool.get("setuptools") or {}).get("package-dir") or {}) - {""}
    build = (tool.get("hatch") or {}).get("build") or {}
    wheel = (build.get("targets") or {}).get("wheel") or {}
    moved = {"sources", "force-include", "only-include", "dev-mode-dirs", "dev-mode-exact"}
    poetry = any(isinstance(one, dict) and "to" in one for one in (tool.get("poetry") or {}).get("packages") or ())
    own_backend = "backend-path" in (document.get("build-system") or {})
    return bool(mapped or moved & {*build, *wheel} or poetry or own_backend)


def _has_build_hook(document: dict[str, Any]) -> bool:
    build = ((document.get("tool") or {}).get("hatch") or {}).get("build") or {}
    hooks = {**(build.get("hooks") or {}), **(((build.get("targets") or {}).get("wheel") or {}).get("hooks") or {})}
    # hatch-vcs only writes a file with the version.
    return bool(set(hooks) - {"vcs"})


def _reads(path: Path, folder: str) -> tuple[str, ...]:
    """The files that say what the project installs, to its build backend."""
    own = [name for name in ("pyproject.toml", "setup.cfg", "setup.py") if (path / name).is_file()]
    texts = {name: _text(path / name).encode() for name in own}
    beside = {
        one.name for one in path.iterdir() if re.match(r"(MANIFEST\.in|VERSION|README|LICEN[CS]E|COPYING)", one.name)
    }
    names = {*own, *beside, "hatch_build.py", *files_named(_files_below(path), ".", texts)}
    return tuple(_joined(folder, name) for name in sorted(names) if (path / name).is_file())


def _files_below(path: Path) -> list[str]:
    """The project's files that a backend may read, without environments and what is hidden."""
    found: list[str] = []
    for folder, folders, names in os.walk(path):
        folders[:] = [
            one
            for one in left_out.others(folders, str(path), folder)
            if not one.startswith(".") and one != "__pycache__"
        ]
        found += [_joined(os.path.relpath(folder, path), name) for name in names]
    return found


def extension_module(root: Path, folder: str = ".") -> str:
    """The file, with its line, that declares an extension module which nobody has built in place; empty where none does."""
    path = root / folder
    document = _toml(path / "pyproject.toml")
    backend = str((document.get("build-system") or {}).get("build-backend") or "")
    where = "pyproject.toml" if backend.startswith(("maturin", "mesonpy", "scikit_build_core", "pymsbuild")) else ""
    for number, line in enumerate(_text(path / "setup.py").splitlines(), 1):
        if re.search(r"\b(ext_modules|cffi_modules|rust_extensions)\s*=", line):
            where = f"setup.py:{number}"
    if where and not any(name.endswith(".so") for name in _files_below(path)):
        return where
    return ""


def _of_extra(requirement: str, extra: str) -> str:
    target, semicolon, marker = requirement.partition(";")
    condition = f"({marker.strip()}) and " if semicolon else ""
    return f"Requires-Dist: {target.strip()} ; {condition}extra == '{extra}'"


def _of_poetry(path: Path, folder: str, document: dict[str, Any], poetry: dict[str, Any]) -> Distribution:
    scripts = {
        name: target if isinstance(target, str) else str(target.get("reference") or target.get("callable") or "")
        for name, target in (poetry.get("scripts") or {}).items()
    }
    points: dict[str, dict[str, str]] = {"console_scripts": {name: one for name, one in scripts.items() if ":" in one}}
    for group, entries in (poetry.get("plugins") or {}).items():
        points.setdefault(str(group), {}).update(entries)
    lines = [f"Summary: {' '.join(str(poetry['description']).split())}"] if poetry.get("description") else []
    lines += [f"Author: {one}" for one in poetry.get("authors") or ()]
    version = str(poetry.get("version") or "")
    if version == "0.0.0" and "poetry-dynamic-versioning" in (document.get("tool") or {}):
        # It stands for the version of a tag.
        version = ""
    return Distribution(
        folder,
        str(poetry["name"]),
        version,
        _source_roots(path, folder, document),
        tuple(lines),
        points,
    )


def _of_setup_cfg(path: Path, folder: str, document: dict[str, Any]) -> Distribution | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string((path / "setup.cfg").read_text("utf-8"))
    except (OSError, ValueError, configparser.Error) as error:
        raise BadInput(f"it can't be read: {str(error).splitlines()[0]}", str(path / "setup.cfg")) from None
    name = parser.get("metadata", "name", fallback="").strip()
    if not name:
        return None
    version = parser.get("metadata", "version", fallback="").strip()
    if version.startswith("file:"):
        version = _text(path / version.removeprefix("file:").strip()).strip()
    points: dict[str, dict[str, str]] = {}
    if parser.has_section("options.entry_points"):
        for group, text in parser.items("options.entry_points"):
            pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
            points[group] = {key.strip(): target.strip() for key, _, target in pairs}
    summary = parser.get("metadata", "description", fallback="").strip()
    lines = [f"Summary: {summary}"] if summary and not summary.startswith("file:") else []
    moved = {
        key.strip(): target.strip()
        for line in re.split(r"[\n,]", parser.get("options", "package_dir", fallback=""))
        if "=" in line
        for key, _, target in [line.partition("=")]
    }
    package_folder = moved.get("") or parser.get("options.packages.find", "where", fallback="").strip()
    if not package_folder and (parser.has_option("options", "packages") or parser.has_option("options", "py_modules")):
        # Who lists packages gets no folder of setuptools' own choice.
        package_folder = "."
    roots = (_joined(folder, package_folder),) if package_folder else _source_roots(path, folder, document)
    setup = _text(path / "setup.py") if _is_setup_script(path) else ""
    # What setup.py gives beside setup.cfg, and what leads to another name, only setuptools knows.
    computed = (
        (set(moved) - {""})
        or re.search(r"\bsetup\(\s*(?!\)|use_scm_version\b)", setup)
        or "file:" in parser.get("options", "entry_points", fallback="")
    )
    if version.startswith("attr:"):
        version = _attribute(path, folder, roots, version.removeprefix("attr:").strip())
    lines += _requirements_of_setup_cfg(parser)
    is_known = version or _is_from_git(document) or "scm" in setup
    ask = bool(computed or not is_known) and ("build-system" in document or bool(setup))
    return Distribution(
        folder,
        name,
        version,
        roots,
        tuple(lines),
        points,
        ask,
        _reads(path, folder) if ask else (),
    )


def _requirements_of_setup_cfg(parser: configparser.ConfigParser) -> list[str]:
    def listed(section: str, option: str) -> list[str]:
        lines = [line.strip() for line in parser.get(section, option, fallback="").splitlines()]
        return [line for line in lines if line and not line.startswith(("#", "file:"))]

    python = parser.get("options", "python_requires", fallback="").strip()
    found = [f"Requires-Python: {python}"] if python else []
    found += [f"Requires-Dist: {one}" for one in listed("options", "install_requires")]
    extras = parser.options("options.extras_require") if parser.has_section("options.extras_require") else []
    for extra in extras:
        found.append(f"Provides-Extra: {extra}")
        found += [_of_extra(one, extra) for one in listed("options.extras_require", extra)]
    return found


def _dynamic_version(path: Path, folder: str, document: dict[str, Any], name: str, roots: tuple[str, ...]) -> str:
    """The version that the project's own files spell, where each backend would look for it; "" where they do not."""
    tool = document.get("tool") or {}
    setuptools = ((tool.get("setuptools") or {}).get("dynamic") or {}).get("version") or {}
    if isinstance(setuptools, dict) and "attr" in setuptools:
        return _attribute(path, folder, roots, str(setuptools["attr"]))
    if isinstance(setuptools, dict) and "file" in setuptools:
        files = setuptools["file"]
        return _text(path / (files if isinstance(files, str) else str(files[0]))).strip()
    hatch = (tool.get("hatch") or {}).get("version") or {}
    pdm = (tool.get("pdm") or {}).get("version") or {}
    for table in (hatch, pdm):
        if "path" in table and table.get("source", "regex") in ("regex", "file", "code"):
            pattern = table.get("pattern") if isinstance(table.get("pattern"), str) else None
            return _spelled(_text(path / str(table["path"])), pattern)
    if str((document.get("build-system") or {}).get("build-backend") or "").startswith("flit_core"):
        module = str(((tool.get("flit") or {}).get("module") or {}).get("name") or name)
        return _attribute(path, folder, roots, f"{module}.__version__")
    return ""


def _attribute(path: Path, folder: str, roots: tuple[str, ...], dotted: str) -> str:
    """The text that a module assigns to a name: ``package.module.__version__``."""
    module, _, name = dotted.rpartition(".")
    for root in roots:
        stem = path / os.path.relpath(root, folder) / module.replace(".", "/")
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            found = _spelled(_text(file), rf"(?m)^{re.escape(name)}\s*(?::[^=\n]+)?=\s*['\"](?P<version>[^'\"]+)['\"]")
            if found:
                return found
    return ""


def _spelled(text: str, pattern: str | None) -> str:
    default = r"(?im)^(?:__version__|VERSION)\s*(?::[^=\n]+)?=\s*['\"]v?(?P<version>[^'\"]+)['\"]"
    try:
        found = re.search(pattern or default, text)
        return found["version"] if found else ""
    except (re.error, IndexError):
        return ""


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError):
        return ""


def _joined(folder: str, inner: str) -> str:
    return os.path.normpath(os.path.join(folder, inner))


def _source_roots(path: Path, folder: str, document: dict[str, Any]) -> tuple[str, ...]:
    """The folders that an editable install puts on the import path, by each backend's own settings."""
    tool = document.get("tool") or {}
    roots: list[str] = []
    setuptools = tool.get("setuptools") or {}
    roots += [str(target) for name, target in (setuptools.get("package-dir") or {}).items() if name == ""]
    packages = setuptools.get("packages")
    if isinstance(packages, dict):
        roots += [str(one) for one in (packages.get("find") or {}).get("where") or ()]
    if not roots and {"packages", "py-modules"} & set(setuptools):
        # Who lists packages gets no folder of setuptools' own choice.
        roots = ["."]
    hatch = ((tool.get("hatch") or {}).get("build") or {}).get("targets") or {}
    roots += [os.path.dirname(str(one)) or "." for one in (hatch.get("wheel") or {}).get("packages") or ()]
    roots += [
        str(one.get("from") or ".") for one in (tool.get("poetry") or {}).get("packages") or () if isinstance(one, dict)
    ]
    backend = str((document.get("build-system") or {}).get("build-backend") or "")
    if backend == "uv_build":
        roots.append(str(((tool.get("uv") or {}).get("build-backend") or {}).get("module-root", "src")) or ".")
    if "package-dir" in ((tool.get("pdm") or {}).get("build") or {}):
        roots.append(str(tool["pdm"]["build"]["package-dir"]))
    if not roots:
        has_src = (path / "src").is_dir() and not (path / "src" / "__init__.py").exists()
        if has_src and backend.startswith(("hatchling", "poetry", "flit")):
            # These look for the package by the project's name, and in the root first.
            name = str((document.get("project") or (tool.get("poetry") or {})).get("name") or "")
            module = str(((tool.get("flit") or {}).get("module") or {}).get("name") or re.sub(r"[-_.]+", "_", name))
            own = {one for one in (module, module.lower())}
            has_src = not any(
                (path / one / "__init__.py").is_file() or (path / f"{one}.py").is_file() for one in own
            ) or any((path / "src" / one).exists() for one in own)
        roots = ["src" if has_src else "."]
    return tuple(dict.fromkeys(_joined(folder, root) for root in roots))
