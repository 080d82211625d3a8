"""Which of a project's files its dependencies are installed from, and what is said about the others."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from toolkit.build.environment.dependencies.found import Dependencies, Export, ReadAs, Tool, read_folder, read_input
from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.build.environment.dependencies.declared import Declared
    from toolkit.config.settings import Build

Found = Dependencies | Export
Report = Callable[[str], None]


class _Way(NamedTuple):
    """A way of declaring dependencies.

    Attributes:
        pattern: of the file's path, relative to the project's root.
        kind: what reads it. tool: whose file it is, for messages.
        above: whether its tool finds the file in a folder above as well.
    """

    pattern: str
    kind: str
    tool: str
    above: bool = False


_WAYS = (
    # In the order of the search: what is locked comes first, by its own tool; then what is written by hand; then what is only
    # declared.
    _Way("uv.lock", "uv", "the lock of uv", above=True),
    _Way("pylock.toml", "pylock", "a lock by the standard (PEP 751)"),
    _Way("pylock.*.toml", "pylock", "a lock by the standard (PEP 751)"),
    _Way("poetry.lock", "poetry", "the lock of Poetry", above=True),
    _Way("pdm.lock", "pdm", "the lock of PDM", above=True),
    _Way("pdm.*.lock", "pdm", "a lock of PDM"),
    _Way("Pipfile.lock", "pipenv", "the lock of Pipenv", above=True),
    _Way("pixi.lock", "pixi", "the lock of pixi"),
    _Way("conda-lock.yml", "conda-lock", "the lock of conda-lock"),
    _Way("binder/requirements.txt", "requirements", "requirements of Binder"),
    _Way(".binder/requirements.txt", "requirements", "requirements of Binder"),
    _Way("requirements.txt", "requirements", "requirements"),
    _Way("requirements.lock", "requirements", "locked requirements"),
    *(
        _Way(f"requirements/{name}.txt", "requirements", "requirements")
        for name in ("production", "prod", "main", "requirements", "default", "base", "common")
    ),
    _Way("environment.yml", "conda", "an environment of conda"),
    _Way("environment.yaml", "conda", "an environment of conda"),
    _Way("binder/environment.yml", "conda", "an environment of conda"),
    _Way(".binder/environment.yml", "conda", "an environment of conda"),
    _Way("pixi.toml", "pixi-project", "a project of pixi without a lock"),
    _Way("requirements.in", "in", "requirements without a lock"),
    _Way("pyproject.toml", "project", "a project without a lock"),
    _Way("setup.cfg", "project", "a project without a lock"),
    _Way("setup.py", "project", "a project without a lock"),
    _Way("Pipfile", "pipfile", "a Pipfile without a lock"),
)
_OF_ONE_PROJECT = {
    "uv.lock": ("pyproject.toml",),
    "poetry.lock": ("pyproject.toml",),
    "pdm.lock": ("pyproject.toml",),
    "Pipfile.lock": ("Pipfile",),
    "pixi.lock": ("pyproject.toml", "pixi.toml"),
    "conda-lock.yml": ("environment.yml", "environment.yaml"),
    "pyproject.toml": ("setup.cfg", "setup.py"),
    "setup.cfg": ("setup.py",),
}
"""Files that declare what the lock locks. They are not passed over."""
_WRITES = {
    "uv": "uv lock",
    "poetry": "poetry lock",
    "pdm": "pdm lock",
    "pipenv": "pipenv lock",
    "pixi": "pixi lock",
    "conda-lock": "conda-lock lock",
}
"""The command that writes a lock, by what reads it."""
_UNREAD = {
    ".tool-versions": "the versions of tools that asdf installs",
    "postBuild": "a script of Binder's",
    "cog.yaml": "the image of Cog",
}


def find_dependencies(
    root: Path, settings: Build, report: Report, accepted: Mapping[str, str] | None = None, pipeline: Path | None = None
) -> Found:
    """What the project's packages are installed from, checked.

    Args:
        accepted: the input hashes of the last build.
        pipeline: the configuration's pipeline, which may be a script that declares its own dependencies.

    Raises:
        BadInput: the file is missing, not supported or unreadable, or names a package that must not be installed.
    """
    return _Search(root, settings, report, dict(accepted or {}), pipeline).find()


def declaring_file(root: Path, settings: Build, pipeline: Path | None = None) -> str | None:
    """The file that :func:`find_dependencies` would install from, where it names any package; None where nothing does."""
    try:
        found = find_dependencies(root, settings, lambda _: None, {}, pipeline)
    except BadInput as error:
        # It is there, whatever is wrong with it.
        return (error.where or "").partition(":")[0] or None
    if isinstance(found, Dependencies):
        if found.kind == "none" or (found.kind == "pip" and _says_nothing(found)):
            return None
        if found.kind == "uv":
            lock = b"".join(content for name, content in found.files.items() if os.path.basename(name) == "uv.lock")
            own = re.findall(rb'(?m)^source = \{ (?:virtual|editable) = "', lock)
            if lock.count(b"[[package]]") == len(own):
                return None
    return found.file


class _Search:
    def __init__(
        self, root: Path, settings: Build, report: Report, accepted: dict[str, str], pipeline: Path | None
    ) -> None:
        self._root = root
        self._settings = settings
        self._report = report
        self._accepted = accepted
        self._pipeline = pipeline

    def find(self) -> Found:
        chosen = self._settings.lock
        if chosen == "none":
            return Dependencies("none")
        found = self._find(chosen)
        return self._offline(found, self._settings.wheelhouse) if self._settings.wheelhouse else found

    def _find(self, chosen: str | None) -> Found:
        if chosen is not None:
            if not (self._root / chosen).is_file():
                remedy = _WRITES.get(_kind_of(chosen), "")
                raise BadInput(
                    f"build.lock names {chosen!r}, which is not a file below {self._root}{f': run `{remedy}`' if remedy else ''}"
                )
            return self._read(chosen, _kind_of(chosen))
        self._say_unread()
        present = list(self._present())
        if present and present[0][0] == "pyproject.toml":
            # A member of a workspace has its lock in the workspace's root.
            around = self._workspace_around()
            if around is not None:
                return around
        empty: Found | None = None
        for name, way in present:
            found = self._read(name, way.kind)
            if isinstance(found, Dependencies) and found.kind == "pip" and _says_nothing(found):
                # Only comments: what another file declares counts.
                empty = empty or found
                continue
            if isinstance(found, Dependencies) and found.kind == "none":
                # It is a file that declares nothing: a table of a linter, a setup.py without requirements.
                continue
            self._say_others(name, found, present)
            return found
        return self._above() or self._script() or empty or Dependencies("none")

    def _offline(self, found: Found, wheelhouse: str) -> Dependencies:
        """The same packages from a folder of the project's alone. pip installs them, because uv would have to be fetched."""
        folder = read_folder(self._root, os.path.normpath(wheelhouse), "build.wheelhouse")
        if not folder:
            raise BadInput(f"build.wheelhouse names {wheelhouse!r}, which has no packages below {self._root}")
        if isinstance(found, Dependencies) and found.kind == "none":
            return found
        of_pip = found.kind == "pip" if isinstance(found, Dependencies) else found.tool == "uv"
        if found.file is None or not of_pip:
            raise BadInput(
                "a lock says where each package comes from, so build.wheelhouse can't take its place: write requirements "
                "(`uv export -o requirements.txt`), and name them in build.lock",
                found.file,
            )
        options = dict(found.options) if isinstance(found, Dependencies) else {"REQUIREMENTS": found.source}
        options["INSTALLER"] = "pip"
        links = f"--no-index --find-links {os.path.normpath(wheelhouse)}"
        options["PIP_OPTIONS"] = f"{options.get('PIP_OPTIONS', '')} {links}".strip()
        # uv's settings do not matter to pip.
        forms = {name: "unread" if form == "uv-settings" else form for name, form in found.reading.forms.items()}
        reading = replace(found.reading, forms=forms)
        return Dependencies("pip", found.file, {**found.files, **folder}, options, found.variables, reading=reading)

    def _present(self) -> list[tuple[str, _Way]]:
        """The declaring files of the root, in the order of the search."""
        found: list[tuple[str, _Way]] = []
        for way in _WAYS:
            if "*" in way.pattern:
                names = sorted(fnmatch.filter(os.listdir(self._root), way.pattern))
                if len(names) > 1 and not found:
                    raise BadInput(f"there are {' and '.join(names)}: build.lock chooses one", names[0])
            else:
                names = [way.pattern]
            found += [(name, way) for name in names if (self._root / name).is_file()]
        if not any(name.startswith("requirements") for name, _ in found):
            alone = sorted((self._root / "requirements").glob("*.txt"))
            if len(alone) == 1:
                found.append((f"requirements/{alone[0].name}", _Way("", "requirements", "requirements")))
        return found

    def _read(self, name: str, kind: str) -> Found:
        """The dependencies of one file, relative to the root."""
        settings = self._settings
        if kind == "uv":
            from toolkit.build.environment.dependencies.uv import read_uv_lock

            base = (self._root / name).parent
            accepted = {key: value for key, value in self._accepted.items() if key.startswith("lock ")}
            return read_uv_lock(base, "uv.lock", "", settings.extras, settings.groups, name, accepted)
        if kind == "pylock":
            options = {"LOCK": name, "SYNC_OPTIONS": " ".join(self._chosen_options())}
            reading = ReadAs({name: "pylock"}, settings.extras, settings.groups)
            return Dependencies("sync", name, {name: read_input(self._root, name, name)}, options, reading=reading)
        if kind == "requirements":
            from toolkit.build.environment.dependencies.requirements import read_requirements

            read = read_requirements(self._root, name)
            return self._with_project(name, read) if read.computed is not None else read
        if kind == "in":
            from toolkit.build.environment.dependencies.requirements import read_requirements

            read = read_requirements(self._root, name)
            if read.computed is not None:
                return self._with_project(name, read)
            remedy = f"`uv pip compile {name} -o requirements.txt` locks it"
            return _choosing(name, read.files, name, read.variables, _unlocked(name, remedy), read.reading)
        if kind in ("poetry", "pdm", "pipenv"):
            from toolkit.build.environment.dependencies.exporters import read_tool_lock

            return read_tool_lock(self._root, name, cast("Tool", kind), settings.extras, settings.groups)
        if kind in ("project", "pipfile"):
            return self._declared(name, kind)
        if kind == "script":
            from toolkit.build.environment.dependencies.declared import script_requirements

            script = script_requirements(self._root, name)
            if script is None:
                raise BadInput("it is a script that declares no dependencies (`# /// script`)", name)
            return self._of_script(script)
        from toolkit.build.environment.dependencies import conda

        if kind == "pixi-project":
            raise BadInput(
                "only pixi itself knows what it means, and there is no pixi.lock beside it: run `pixi lock`", name
            )
        if kind == "pixi":
            return conda.read_pixi_lock(self._root, name, settings.extras, settings.groups)
        if kind == "conda-lock":
            return conda.read_conda_lock(self._root, name, settings.groups)
        return conda.read_environment(self._root, name)

    def _chosen_options(self) -> list[str]:
        settings = self._settings
        return [f"--extra={name}" for name in settings.extras] + [f"--group={name}" for name in settings.groups]

    def _declared(self, name: str, kind: str) -> Found:
        from toolkit.build.environment.dependencies.declared import (
            declared_requirements,
            parsed_toml,
            pipfile_requirements,
        )

        if kind == "pipfile":
            return self._resolved(pipfile_requirements(self._root, name), "`pipenv lock` locks it")
        declared = declared_requirements(self._root, self._settings.extras, name, self._settings.groups)
        if declared.file != name:
            return Dependencies("none")
        pyproject = declared.files.get("pyproject.toml", b"") if name == "pyproject.toml" else b""
        if re.search(rb"(?m)^\[tool\.pixi\.(dependencies|target|feature)\b", pyproject):
            raise BadInput("it names packages of conda, and there is no pixi.lock beside it: run `pixi lock`", name)
        own = next((one for one in ("poetry", "pdm") if f"[tool.{one}".encode() in pyproject), "uv")
        remedy = f"`toolkit lock` or `{own} lock` locks it"
        if pyproject:
            from toolkit.build.environment.dependencies.indexes import refuse_sources, uv_inputs

            document = parsed_toml(pyproject, name)
            refuse_sources(document, declared.lines, name)
            files = None if declared.dynamic else uv_inputs(self._root, document, declared.lines, name)
            if files is not None:
                source = " ".join([name, *self._chosen_options()])
                # Without [project], uv asks the build backend.
                form = "uv-project" if "project" in document else "backend"
                reading = ReadAs({name: form, "uv.toml": "uv-settings"}, self._settings.extras, self._settings.groups)
                return _choosing(name, {name: pyproject, **files}, source, (), _unlocked(name, remedy), reading)
        return self._resolved(declared, remedy)

    def _resolved(self, declared: Declared, remedy: str) -> Found:
        """What is declared, resolved by uv."""
        if declared.dynamic:
            return self._built(declared, remedy)
        if not declared.lines:
            return Dependencies("none")
        files = {"requirements.in": "".join(f"{line}\n" for line in declared.lines).encode()}
        reading = ReadAs({"requirements.in": "requirements"})
        return _choosing(declared.file, files, "requirements.in", (), _unlocked(declared.file, remedy), reading)

    def _built(self, declared: Declared, remedy: str) -> Export:
        """What only the project's build backend knows: uv asks it, with the whole project beside it."""
        beside, files = self._beside(declared)
        options = "".join(f" --extra {name}" for name in self._settings.extras)
        reading = ReadAs({"pyproject.toml": "backend"})
        export = _choosing(declared.file, files, declared.file, (), _unlocked(declared.file, remedy), reading)
        return replace(export, command=export.command + options, beside=beside)

    def _with_project(self, name: str, read: Dependencies) -> Export:
        """Requirements that hold the project itself, which its build backend has to be asked about."""
        assert read.computed is not None
        beside, files = self._beside(read.computed)
        unlocked = _unlocked(name, "`toolkit lock` locks it")
        reading = ReadAs({**read.reading.forms, "pyproject.toml": "backend"})
        export = _choosing(name, {**files, **read.files}, name, read.variables, unlocked, reading)
        return replace(export, beside=beside, checked=_without_the_project)

    def _beside(self, declared: Declared) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """The whole project, and those of its files whose change makes its build backend be asked again."""
        from toolkit.build.setup_files import files_named

        beside = read_folder(self._root, ".", declared.file)
        named = re.compile(
            r"(pyproject\.toml|setup\.(py|cfg)|MANIFEST\.in|[^/]*(requirements|version|README|\.in)[^/]*)",
            re.IGNORECASE,
        )
        reads = {*files_named(beside, ".", declared.files), *declared.files, *declared.reads}
        return beside, {name: content for name, content in beside.items() if named.fullmatch(name) or name in reads}

    def _script(self) -> Found | None:
        """The pipeline's own script, or the only one beside the configuration that declares dependencies."""
        from toolkit.build.environment.dependencies.declared import script_requirements

        scripts = [self._pipeline] if self._pipeline is not None else sorted(self._root.glob("*.py"))
        declared = [
            one
            for path in scripts
            if path.suffix == ".py" and path.is_file() and path.is_relative_to(self._root)
            for one in [script_requirements(self._root, path.relative_to(self._root).as_posix())]
            if one is not None
        ]
        if len(declared) > 1:
            names = " and ".join(one.file for one in declared)
            raise BadInput(f"{names} each declare dependencies of their own: build.lock names the file that counts")
        if not declared:
            return None
        return self._of_script(declared[0])

    def _of_script(self, declared: Declared) -> Found:
        from toolkit.build.environment.dependencies.declared import parsed_toml, script_block
        from toolkit.build.environment.dependencies.indexes import uv_inputs

        name = declared.file
        remedy = f"`uv export --script {name} -o pylock.toml` locks it"
        document = parsed_toml(script_block(next(iter(declared.files.values()))), name)
        files = uv_inputs(self._root, document, declared.lines, name)
        if files is None:
            return self._resolved(declared, remedy)
        # The block alone counts: another line of the script asks nothing again.
        block = b"# /// script\n" + next(iter(declared.files.values())) + b"# ///\n"
        reading = ReadAs({name: "script", "uv.toml": "uv-settings"})
        return _choosing(name, {name: block, **files}, name, (), _unlocked(name, remedy), reading)

    def _workspace_around(self) -> Found | None:
        """The lock of the workspace that the root is a member of."""
        from toolkit.build.environment.dependencies.declared import parsed_toml

        for folder in self._root.parents:
            project = folder / "pyproject.toml"
            if project.is_file():
                shown = os.path.relpath(project, self._root)
                workspace = (
                    parsed_toml(read_input(folder, "pyproject.toml", shown), shown).get("tool", {}).get("uv", {})
                )
                members = (workspace.get("workspace") or {}).get("members") or ()
                member = self._root.relative_to(folder).as_posix()
                if any(fnmatch.fnmatch(member, os.path.normpath(str(pattern))) for pattern in members):
                    lock = _Way("uv.lock", "uv", "the lock of the workspace")
                    return self._read_above(folder, lock, member) if (folder / "uv.lock").is_file() else None
            if (folder / ".git").exists():
                return None
        return None

    def _above(self) -> Found | None:
        """A project around the root, where its tool would find it from here."""
        for folder in self._root.parents:
            if not (folder / "pyproject.toml").is_file() and not (folder / "Pipfile").is_file():
                if (folder / ".git").exists():
                    return None
                continue
            for way in _WAYS:
                if way.above and (folder / way.pattern).is_file():
                    return self._read_above(folder, way)
            return None
        return None

    def _read_above(self, folder: Path, way: _Way, member: str = "") -> Found:
        shown = os.path.relpath(folder / way.pattern, self._root)
        if way.kind != "uv":
            raise BadInput(
                f"{shown} is the lock of the project around this folder, and the image would not have its packages: "
                f"set build.context to {os.path.relpath(folder, self._root)!r}, or build.lock to none",
                shown,
            )
        from toolkit.build.environment.dependencies.uv import read_uv_lock

        accepted = {key: value for key, value in self._accepted.items() if key.startswith("lock ")}
        self._report(f"dependencies are installed from {shown}, {way.tool} around this folder (build.lock chooses)")
        return read_uv_lock(folder, "uv.lock", member, self._settings.extras, self._settings.groups, shown, accepted)

    def _say_unread(self) -> None:
        for name, what in _UNREAD.items():
            if (self._root / name).is_file():
                self._report(f"note: {name} is not read ({what})")
        project = self._root / "pyproject.toml"
        if project.is_file() and b"[tool.hatch.envs" in project.read_bytes():
            self._report(
                "note: the environments of hatch in pyproject.toml are not read (the project's own dependencies are)"
            )

    def _say_others(self, taken: str, found: Found, present: list[tuple[str, _Way]]) -> None:
        """One line for the files that declare dependencies, too, and do not agree with the one that is taken."""
        others = [
            name
            for name, way in present
            if name != taken and name not in _OF_ONE_PROJECT.get(taken, ()) and not self._agree(found, name, way)
        ]
        if others:
            self._report(
                f"warning: dependencies are installed from {taken}, and {', '.join(others)} is not used (build.lock chooses)"
            )

    def _agree(self, found: Found, name: str, way: _Way) -> bool:
        """Whether all that another file names is in the one that is taken."""
        try:
            other = self._read(name, way.kind)
        except BadInput:
            return False
        if isinstance(other, Dependencies) and other.kind == "none":
            return True
        wanted, have = _names(other), _names(found)
        return wanted is not None and have is not None and wanted <= have


def _choosing(
    file: str, files: dict[str, bytes], source: str, variables: tuple[str, ...], unlocked: str, reading: ReadAs
) -> Export:
    """uv is asked which versions requirements mean."""
    command = f"uv pip compile --no-header --format pylock.toml --output-file pylock.toml {source}"
    options = {"GIT": "1"} if any(re.search(rb"git\+|\bgit\s*=", content) for content in files.values()) else {}
    source = source.split(" ")[0]
    return Export(
        "uv", file, files, source, command, options, variables, unlocked, checked=_never_editable, reading=reading
    )


def _without_the_project(answer: bytes) -> bytes:
    """The answer without the project itself, whose code is in the image anyhow."""
    head, *packages = re.split(rb"(?m)^(?=\[\[packages\]\])", answer)
    others = [one for one in packages if not re.search(rb'(?m)^directory = \{ path = "\."', one)]
    return _never_editable(b"".join([head, *others]))


def _never_editable(answer: bytes) -> bytes:
    """A folder of the project is installed, never linked: the folder of the build is not in the image."""
    return re.sub(rb"(?<=[{ ])editable = true", b"editable = false", answer)


def _says_nothing(requirements: Dependencies) -> bool:
    """Whether requirements are nothing but comments."""
    from toolkit.build.environment.dependencies.requirements import decoded

    # Whatever it includes, it would name.
    name = requirements.options["REQUIREMENTS"]
    lines = decoded(requirements.files[name], name).splitlines()
    return all(not line.strip() or line.lstrip().startswith("#") for line in lines)


def _names(found: Found) -> set[str] | None:
    """The distributions that files name: ``name``, and ``name==version`` where it is exact. None where they can't be read."""
    from toolkit.build.environment.dependencies.found import normalize_name

    names: set[str] = set()
    for path, content in found.files.items():
        text = content.decode("utf-8", "replace")
        if os.path.basename(path) == "pixi.lock":
            return None
        if os.path.basename(path) == "Pipfile.lock":
            pattern = r'"([A-Za-z0-9._-]+)": \{[^{}]*?"version": "==([^"]+)"'
        elif path.endswith((".lock", "pylock.toml")) or path.startswith("pylock."):
            pattern = r'(?m)^name = "([^"]+)"(?:\nversion = "([^"]+)")?'
        elif path.endswith((".txt", ".in")):
            pattern = r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?:\s*==\s*([^\s;\\]+))?"
        elif os.path.basename(path) in ("pyproject.toml", "Pipfile", "setup.cfg", "setup.py"):
            continue
        else:
            return None
        for name, version in re.findall(pattern, text):
            names.add(normalize_name(name))
            if version:
                names.add(f"{normalize_name(name)}=={version}")
    return names


def _kind_of(name: str) -> str:
    """What reads a file that build.lock names: by its name, else as requirements, which may be called anything."""
    base = os.path.basename(name)
    for way in _WAYS:
        if fnmatch.fnmatch(base, os.path.basename(way.pattern)) and way.kind != "requirements":
            return way.kind
    if base.endswith(".py"):
        return "script"
    if base.endswith("conda-lock.yml"):
        return "conda-lock"
    if base.endswith((".yml", ".yaml")):
        return "conda"
    return "requirements"


def _unlocked(name: str, remedy: str) -> str:
    return f"nothing is locked: {name} only declares what it needs, and the newest versions are installed; {remedy}"
