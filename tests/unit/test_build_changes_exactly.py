"""The image changes exactly when what is in it does, whatever is edited and in whatever order.

Without an engine: the base image and the environment are stand-ins, each with a digest that follows from its key. What is in an
image is told by a model of the project, which knows nothing of how toolkit finds out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from toolkit.build.code import grouping, kinds, own_outputs
from toolkit.build.code.grouping import LARGE_FILES, grouped
from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.index import CODE_INDEX, look_at
from toolkit.build.code.installed import declared_distribution, installed_entries
from toolkit.build.code.layer import Tar, code_digest, runtime_entries, write_code_layer
from toolkit.build.environment.definition import EnvironmentDefinition, network_files
from toolkit.build.environment.dependencies.found import Export
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.environment.meaning.memory import Memory
from toolkit.build.image.archive import Blob, EnvironmentImage, base_labels, compose_image, digest_of
from toolkit.build.image.builder import code_walk, pipeline_file
from toolkit.build.interpreter import Interpreter
from toolkit.config.load import load
from toolkit.project import Project

WAYS = ("uv", "requirements", "pylock", "poetry")
GROUPS = {"six": "", "idna": "", "pytest": "dev", "sphinx": "docs"}
"""The packages, each with the group that asks for it."""
LINES = ("*.log", "notes", "!notes/keep.txt", "**/*.tmp", "uv.lock\npyproject.toml\nrequirements.txt\npylock.toml\npoetry.lock",
         "toolkit.yaml", ".dockerignore", "!.pytest_cache/v", "!web/node_modules", "!env", "!image.txt", "!.env",
         "# a comment", "data/*", "!data/a.csv")  # fmt: skip
"""The lines that .dockerignore may have, in this order."""
PATHS = ("app.py", "src/lib.py", "src/no_bytes.py", "data/a.csv", "data/b.tmp", "data/one.bin", "data/two.bin", "notes/a.md",
         "notes/keep.txt", ".env", "src/.env.local", ".git/HEAD", "__pycache__/app.pyc", ".pytest_cache/v/last",
         ".pytest_cache/CACHEDIR.TAG", "src/.mypy_cache/x", ".ruff_cache/0", "node_modules/m.js", "web/node_modules/m.js",
         "env/pyvenv.cfg", "env/lib/x.py", "mlruns/0/meta", "demo.egg-info/PKG-INFO", ".dvc/cache/f", ".dvc/config", ".cache/x",
         "build/x", "run.log", ".coverage", ".coverage.host.1", ".gitignore", "htmlcov/i.html", "fetched/.toolkit-fetched",
         "fetched/data", "größe/ä b.txt", "image.txt", ".swp.py", "x" * 180 + "/" + "y" * 200)  # fmt: skip
TARGETS = ("app.py", "data/a.csv", "nowhere", "{root}/app.py", "src")
CACHES = (
    ".tox",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    "node_modules",
    "mlruns",
    "*.egg-info",
    ".coverage",
    ".coverage.*",
    "htmlcov",
)
LARGE, TOGETHER = 1000, 10_000
"""In place of 1 MB and 10 MB."""


class Entry(NamedTuple):
    content: bytes = b""
    executable: bool = False
    link: str = ""


@dataclass(frozen=True)
class World:
    """A project, by what its author thinks of."""

    way: str
    versions: dict[str, str] = field(default_factory=lambda: dict.fromkeys(GROUPS, "1.0"))
    hashes: dict[str, str] = field(default_factory=lambda: dict.fromkeys(GROUPS, "a" * 64))
    order: int = 0
    comment: int = 0
    host: str = "files.example"
    login: str = ""
    is_built: bool = False
    """Whether idna has no wheel, so that it is built of what the index has."""
    requires: str = ">=3.9"
    least: str = "1"
    groups: tuple[str, ...] = ()
    version: str = "1"
    description: str = "one"
    line_length: int = 80
    memory: str = "1Gi"
    in_pyproject: bool = False
    """Whether the configuration is in pyproject.toml."""
    packages: tuple[str, ...] = ()
    for_build: tuple[str, ...] = ()
    is_package: bool = False
    setting: str = ""
    base: str = "one"
    lines: frozenset[str] = frozenset()
    files: dict[str, Entry] = field(
        default_factory=lambda: {"app.py": Entry(b"1"), "src/lib.py": Entry(), "notes/a.md": Entry()}
    )
    empty: frozenset[str] = frozenset()
    """Folders that stay also without a file."""
    written: bytes | None = None
    """What a command wrote to image.txt."""

    def chosen(self) -> list[str]:
        return [name for name, group in GROUPS.items() if not group or (group in self.groups and self.way == "uv")]

    # --- the files ------------------------------------------------------------------------------------------------------

    def written_files(self, root: Path) -> dict[str, Entry]:
        texts = {"pyproject.toml": self._project()}
        if self.lines:
            texts[".dockerignore"] = "".join(f"{line}\n" for line in LINES if line in self.lines)
        if not self.in_pyproject:
            texts["toolkit.yaml"] = self._yaml()
        names = sorted(GROUPS)
        random.Random(self.order).shuffle(names)
        texts[{"requirements": "requirements.txt", "pylock": "pylock.toml"}.get(self.way, f"{self.way}.lock")] = {
            "uv": self._uv, "requirements": self._requirements, "pylock": self._pylock, "poetry": self._poetry
        }[self.way](names)  # fmt: skip
        files = {name: Entry(text.encode()) for name, text in texts.items()}
        return files | {path: one._replace(link=one.link.format(root=root)) for path, one in self.files.items()}

    def _settings(self) -> dict[str, Any]:
        build = {
            "system_packages": list(self.packages),
            "build_packages": list(self.for_build),
            "groups": list(self.groups),
        }
        return {key: value for key, value in build.items() if value}

    def _yaml(self) -> str:
        content = {
            "executor": {"type": "local", "config": {"resources": {"limits": {"memory": self.memory}}}},
            "build": self._settings(),
        }
        return f"# {self.comment}\n{json.dumps(content)}\n"

    def _project(self) -> str:
        lines = [f"# {self.comment}"]
        if self.way in ("uv", "poetry") or self.is_package:
            lines += [
                "[project]",
                'name = "demo"',
                f'version = "{self.version}"',
                f'description = "{self.description}"',
            ]
            lines += [f'requires-python = "{self.requires}"', f'dependencies = ["six>={self.least}", "idna"]']
            lines += ["[dependency-groups]", 'dev = ["pytest"]', 'docs = ["sphinx"]']
        if self.is_package:
            lines += ["[build-system]", 'requires = ["hatchling"]', 'build-backend = "hatchling.build"']
        lines += ["[tool.ruff]", f"line-length = {self.line_length}"]
        if self.setting and self.way == "uv":
            lines += ["[tool.uv]", self.setting]
        if self.way == "uv":
            lines += ["[[tool.uv.index]]", f'url = "https://{self.login}{self.host}/simple"']
        if self.in_pyproject:
            lines += ["[tool.toolkit.executor]", "type = 'local'", f"config.resources.limits.memory = '{self.memory}'"]
            lines += ["[tool.toolkit.build]"] + [
                f"{key} = {json.dumps(value)}" for key, value in self._settings().items()
            ]
        return "\n".join([*lines, ""])

    def _file(self, name: str) -> str:
        ending = ".tar.gz" if name == "idna" and self.is_built else "-py3-none-any.whl"
        return f"{name}-{self.versions[name]}{ending}"

    def _address(self, name: str) -> str:
        return f"https://{self.login}{self.host}/{self._file(name)}"

    def _table(self, name: str, hashed: str) -> str:
        one = f'{{ url = "{self._address(name)}", {hashed} }}'
        return f"sdist = {one}\n" if "tar.gz" in self._file(name) else f"wheels = [{one}]\n"

    def _uv(self, names: list[str]) -> str:
        text = f'# {self.comment}\nversion = 1\nrequires-python = "{self.requires}"\n'
        text += f'[[package]]\nname = "demo"\nversion = "{self.version}"\n'
        text += f'source = {{ {"editable" if self.is_package else "virtual"} = "." }}\n'
        text += 'dependencies = [{ name = "six" }, { name = "idna" }]\n[package.dev-dependencies]\n'
        text += 'dev = [{ name = "pytest" }]\ndocs = [{ name = "sphinx" }]\n'
        for name in names:
            text += f'[[package]]\nname = "{name}"\nversion = "{self.versions[name]}"\n'
            text += f'source = {{ registry = "https://{self.login}{self.host}/simple" }}\n'
            text += self._table(name, f'hash = "sha256:{self.hashes[name]}", size = {self.comment}')
        return text

    def _requirements(self, names: list[str]) -> str:
        text = f"# {self.comment}\n--index-url https://{self.login}{self.host}/simple\n"
        for name in names:
            if not GROUPS[name]:
                text += f"{name} == {self.versions[name]} \\\n    --hash=sha256:{self.hashes[name]}  # {self.comment}\n"
        return text

    def _pylock(self, names: list[str]) -> str:
        text = f'# {self.comment}\nlock-version = "1.0"\ncreated-by = "{self.comment}"\nrequires-python = "{self.requires}"\n'
        for name in names:
            if not GROUPS[name]:
                text += f'[[packages]]\nname = "{name}"\nversion = "{self.versions[name]}"\n'
                text += f'index = "https://{self.login}{self.host}/simple"\n'
                text += self._table(name, f'hashes = {{ sha256 = "{self.hashes[name]}" }}')
        return text

    def _poetry(self, names: list[str]) -> str:
        text = f"# {self.comment}\n"
        for name in names:
            text += f'[[package]]\nname = "{name}"\nversion = "{self.versions[name]}"\ndescription = "{self.comment}"\n'
            text += f'optional = false\npython-versions = "*"\ngroups = ["{GROUPS[name] or "main"}"]\n'
            text += f'files = [{{file = "{self._file(name)}", hash = "sha256:{self.hashes[name]}"}}]\n'
        return (
            text
            + f'[metadata]\nlock-version = "2.1"\npython-versions = "{self.requires}"\ncontent-hash = "{self.least}"\n'
        )

    def answer(self) -> bytes:
        """What Poetry would say."""
        locked = (f"{name}=={self.versions[name]} --hash=sha256:{self.hashes[name]}\n" for name in self.chosen())
        return "".join(locked).encode()

    # --- what is in the image -------------------------------------------------------------------------------------------

    def environment(self) -> Any:
        installed: dict[str, tuple[str, ...]] = {
            name: (self.versions[name], self.hashes[name], self._file(name)) for name in self.chosen()
        }
        if self.way in ("requirements", "poetry"):
            installed = {name: one[:2] for name, one in installed.items()}
        # A list that no hashes of wheels back says also where it is from.
        place = self.host if self.way == "requirements" or (self.is_built and self.way != "poetry") else ""
        more: tuple[object, ...] = ()
        if self.way == "uv":
            setting = "" if "publish" in self.setting else self.setting
            more = self.requires, self.least, setting, self.is_package, self.groups
        elif self.way == "pylock":
            more = (self.requires,)
        return self.base, set(self.packages), set(self.for_build), installed, place, more

    def code(self, root: Path) -> dict[str, tuple[object, ...]]:
        """Each entry that is code, by its path."""
        entries = self.written_files(root)
        lines = [line for block in LINES if block in self.lines for line in block.split("\n")]
        folders = {path[:at] for path in entries for at, sign in enumerate(path) if sign == "/"} | self.empty
        marked = {"env"} if "env/pyvenv.cfg" in entries else set()
        code: dict[str, tuple[object, ...]] = {}
        for path, one in entries.items():
            if self._is_out(path, lines, marked, "fetched/.toolkit-fetched" in entries):
                continue
            if (
                path == "image.txt"
                and self.written is not None
                and "!image.txt" not in lines
                and one == Entry(self.written)
            ):
                continue
            if one.link:
                target = one.link.replace(str(root), "/workspace") if one.link.startswith("/") else one.link
                code[path] = ("link", target)
            else:
                code[path] = ("file", one.executable, one.content)
        for folder in folders:
            is_kept = not self._is_out(folder, lines, marked, "fetched/.toolkit-fetched" in entries)
            if is_kept or any(path.startswith(f"{folder}/") for path in code):
                code[folder] = ("folder",)
        return code

    @staticmethod
    def _is_out(path: str, lines: list[str], marked: set[str], is_fetched: bool) -> bool:
        parts = path.split("/")
        whole = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        if any(part in (".git", ".toolkit", ".venv", "__pycache__") or part.startswith(".env") for part in parts):
            return True
        if is_fetched and parts[0] == "fetched":
            return True
        is_out = ".dvc/cache" in whole or parts[0] in marked
        is_out |= any(_fits(cache, part) for part in parts for cache in CACHES)
        for line in lines:
            if not line.startswith("#") and any(_fits(line.lstrip("!"), one) for one in whole):
                is_out = not line.startswith("!")
        return is_out

    def installed(self) -> Any:
        """What is installed of the project itself."""
        return (self.version, self.description, self.requires, self.least) if self.is_package else None

    def alone(self, root: Path) -> Any:
        """The files that lie in layers of their own."""
        entries = self.written_files(root)
        files = [
            path for path, one in self.code(root).items() if one[0] == "file" and len(entries[path].content) >= LARGE
        ]
        are_many = sum(len(entries[path].content) for path in files) > TOGETHER
        return {path: entries[path] for path in files} if are_many else {}


def _fits(pattern: str, path: str) -> bool:
    regex = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(regex, path) is not None


# --- edits --------------------------------------------------------------------------------------------------------------


Edit = Callable[[World, random.Random], World]


def _file(world: World, chance: random.Random) -> World:
    """A file comes, goes, or gets another content or kind."""
    path = chance.choice(PATHS)
    content = chance.choice([b"", b"1", b"2", b"x" * 999, b"x" * LARGE, b"y" * 9000, b"z" * 9001])
    return _with(
        world, path, chance.choice([None, Entry(content), Entry(content, True), Entry(link=chance.choice(TARGETS))])
    )


def _with(world: World, path: str, entry: Entry | None) -> World:
    files = {name: one for name, one in world.files.items() if name != path}
    return replace(world, files=files if entry is None else {**files, path: entry})


def _value(world: World, chance: random.Random) -> World:
    return _with(world, "src/lib.py", Entry(b"VALUE = %d" % chance.randrange(4)))


def _folder(world: World, chance: random.Random) -> World:
    return replace(
        world, empty=world.empty ^ {chance.choice(["logs", "notes/deep", ".tox", "data", "src/.pytest_cache"])}
    )


def _command(world: World, chance: random.Random) -> World:
    """A command writes to image.txt."""
    said = b"image:%d\n" % chance.randrange(3)
    return replace(_with(world, "image.txt", Entry(said)), written=said)


def _of_package(what: str, *values: str) -> Edit:
    def edit(world: World, chance: random.Random) -> World:
        name = chance.choice(list(GROUPS))
        value = chance.choice([one for one in values if one != getattr(world, what)[name]])
        new: dict[str, Any] = {what: {**getattr(world, what), name: value}}
        return replace(world, **new)

    return edit


def _one_of(what: str, *values: object) -> Edit:
    def edit(world: World, chance: random.Random) -> World:
        new: dict[str, Any] = {what: chance.choice([one for one in values if one != getattr(world, what)])}
        return replace(world, **new)

    return edit


EDITS: dict[str, Edit] = {
    "nothing": lambda world, chance: world,
    "a file": _file,
    "a value in code": _value,
    "a folder": _folder,
    "a command's output": _command,
    "a comment": _one_of("comment", 0, 1, 2),
    "the lock's order": _one_of("order", 0, 1, 2),
    "a version": _of_package("versions", "1.0", "1.1"),
    "a hash": _of_package("hashes", "a" * 64, "b" * 64),
    "credentials": _one_of("login", "", "me:secret@", "token@"),
    "an index": _one_of("host", "files.example", "mirror.example"),
    "a package from source": _one_of("is_built", False, True),
    "requires-python": _one_of("requires", ">=3.9", ">=3.10"),
    "a requirement": _one_of("least", "1", "1.0.1"),
    "the version": _one_of("version", "1", "2"),
    "the description": _one_of("description", "one", "two"),
    "ruff": _one_of("line_length", 80, 100),
    "memory": _one_of("memory", "1Gi", "2Gi"),
    "the configuration's place": _one_of("in_pyproject", False, True),
    "system packages": _one_of("packages", (), ("tree",), ("tree", "jq"), ("jq", "tree")),
    "build packages": _one_of("for_build", (), ("gcc",), ("gcc", "make"), ("make", "gcc")),
    "a project or a package": _one_of("is_package", False, True),
    "uv's settings": _one_of("setting", "", "no-build-isolation = false", "publish-url = 'https://x.example'"),
    "the chosen groups": lambda world, chance: replace(
        world, groups=chance.choice([(), ("docs",)]) if world.way == "uv" else ()
    ),
    "the base image": _one_of("base", "one", "two"),
    ".dockerignore": lambda world, chance: replace(world, lines=world.lines ^ {chance.choice(LINES)}),
}


# --- the project on disk, and its image ---------------------------------------------------------------------------------


def lay_out(root: Path, world: World, chance: random.Random) -> None:
    """Makes the folder as the world has it. What is the same there stays, or gets other times and bits that say nothing."""
    wanted = world.written_files(root)
    folders = {path[:at] for path in wanted for at, sign in enumerate(path) if sign == "/"} | world.empty
    for top, inner, names in os.walk(root, topdown=False):
        for name in names + [one for one in inner if os.path.islink(os.path.join(top, one))]:
            path = os.path.relpath(os.path.join(top, name), root)
            if path not in wanted and not path.startswith(".toolkit/"):
                (root / path).unlink()
        path = os.path.relpath(top, root)
        if path not in folders and path.split("/")[0] not in (".", ".toolkit"):
            os.rmdir(top)
    before = os.umask(chance.choice([0o000, 0o022, 0o077]))
    try:
        for folder in sorted(folders):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for path, one in wanted.items():
            _write(root / path, one, chance)
    finally:
        os.umask(before)


def _write(place: Path, one: Entry, chance: random.Random) -> None:
    if one.link:
        if not place.is_symlink() or os.readlink(place) != one.link:
            place.unlink(missing_ok=True)
            place.symlink_to(one.link)
        return
    if place.is_symlink():
        place.unlink()
    is_same = place.is_file() and place.read_bytes() == one.content
    old = place.stat().st_mtime_ns if place.is_file() else 0
    if not is_same or chance.random() < 0.1:
        if chance.random() < 0.3:
            place.unlink(missing_ok=True)
        place.write_bytes(one.content)
        if old and chance.random() < 0.3:
            os.utime(place, ns=(old, old))  # as `cp -p` does
    elif chance.random() < 0.1:
        os.utime(place, (chance.randrange(2_000_000_000), chance.randrange(2_000_000_000)))
    mode = (0o700 if one.executable else 0o600) | chance.choice([0, 0o004, 0o010, 0o066, 0o055])
    if bool(place.stat().st_mode & 0o100) != one.executable or chance.random() < 0.1:
        place.chmod(mode)


@dataclass(frozen=True)
class Image:
    """What tells whether two images are the same."""

    environment: str
    code: str
    alone: frozenset[str]
    reference: str
    paths: frozenset[str]


PYTHON = Interpreter("3.12.0", "/opt/venv/lib/python3.12/site-packages", "/opt/venv/bin", "/opt/venv/bin/python3")


def image_of(root: Path, world: World, scratch: Path) -> Image:
    """The image of the project as `build` puts it together, on stand-ins for what an engine installs."""
    project = load(None, root, {})
    folder = project.state / "build"
    folder.mkdir(parents=True, exist_ok=True)
    definition = _definition(project, world, folder)
    code = look_at(
        code_walk(project, network_files(project.config.build.network, project.home), _silent), folder / CODE_INDEX
    )
    hashes = FileHashes(folder / "hashes.json")
    runtime = runtime_entries(hashes)
    hashes.save()

    groups, own = grouped(code.folders, 100)
    tars = [b"".join(Tar(tuple(group.entries(code.root))).read()) for group in groups]
    found = declared_distribution(root)
    derived = installed_entries([found], PYTHON, lambda one: "0.0.0") if found is not None else []
    content = digest_of(f"{code.digest} {code_digest(runtime)}".encode())
    key = digest_of(definition.reference.encode())
    layer = write_code_layer(list(own.entries(code.root)), key, scratch, derived, content)
    below = [Blob(digest_of(tar), len(tar)) for tar in tars]
    stand_in = EnvironmentImage({"Architecture": "amd64", "Os": "linux", "RootFS": {"Layers": [key]}}, key, ())
    composed = compose_image(stand_in, layer, below, base_labels(definition.base, None))
    return Image(
        definition.reference,
        code.digest,
        frozenset(blob.digest for blob, group in zip(below, groups, strict=True) if group.holds == LARGE_FILES),
        composed.config_digest,
        frozenset(code.lines()),
    )


def _definition(project: Project, world: World, folder: Path) -> EnvironmentDefinition:
    memory, chosen = Memory(folder), project.config.build
    found = find_dependencies(project.root, chosen, _silent, memory.accepted(), pipeline_file(project))
    if isinstance(found, Export):
        found = found.answered(world.answer())
    if found.kind == "uv":
        memory.accept(found.files, found.reading)
    base = digest_of(world.base.encode())
    meaning = memory.of(found.files, found.reading)
    return EnvironmentDefinition("base:1", base, chosen.system_packages, found, meaning, chosen.build_packages)


def _silent(sentence: str) -> None:
    pass


def _remember(root: Path, written: bytes) -> None:
    """What a command leaves that wrote this to image.txt."""
    folder = own_outputs.outputs_folder(root / ".toolkit")
    folder.mkdir(parents=True, exist_ok=True)
    own_outputs._write(
        folder, "image.txt", own_outputs.OwnOutput(len(written), (0, 0, 0), hashlib.sha256(written).hexdigest())
    )


@contextmanager
def _small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "LARGE_SIZE", LARGE)
        patch.setattr(grouping, "TOGETHER", TOGETHER)
        yield


@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))  # it would look minutes for fewer edits
@given(
    way=st.sampled_from(WAYS),
    present=st.sets(st.sampled_from(PATHS)),
    names=st.permutations([*EDITS, *EDITS, *["a file", ".dockerignore"] * 4]),
    seed=st.integers(0, 10_000),
)
def test_the_image_changes_exactly_when_what_is_in_it_does(
    tmp_path_factory: pytest.TempPathFactory, way: str, present: set[str], names: list[str], seed: int
) -> None:
    top = tmp_path_factory.mktemp("p")
    root, scratch, chance = top / "project", top / "layer", random.Random(seed)
    root.mkdir()
    world = World(way)
    world = replace(world, files=world.files | {path: Entry(b"old") for path in sorted(present)})
    seen: list[tuple[str, tuple[Any, ...], Image]] = []
    with _small_limits():
        for name in ["nothing", *names]:
            world = EDITS[name](world, chance)
            lay_out(root, world, chance)
            if name == "a command's output" and world.written is not None:
                _remember(root, world.written)
            image = image_of(root, world, scratch)
            code = world.code(root)
            assert set(image.paths) == set(code), name
            model = (world.environment(), code, world.installed(), world.alone(root))
            for before, other, known in seen:
                _compare(f"{before} … {name}", (other, known), (model, image))
            seen.append((name, model, image))

        # Another machine has none of the records, another place, and other times.
        away = top / "other" / "deep" / "place"
        away.mkdir(parents=True)
        lay_out(away, world, random.Random(1))
        if world.written is not None:
            _remember(away, world.written)
        assert image_of(away, world, scratch) == seen[-1][2]
    shutil.rmtree(top)


def _compare(what: str, one: tuple[tuple[Any, ...], Image], other: tuple[tuple[Any, ...], Image]) -> None:
    (first, before), (second, after) = one, other
    same = [left == right for left, right in zip(first, second, strict=True)]
    assert (before.environment == after.environment) == same[0], f"environment: {what}"
    assert (before.code == after.code) == same[1], f"code: {what}"
    assert (before.alone == after.alone) == same[3], f"large files: {what}"
    assert (before.reference == after.reference) == all(same[:3]), f"image: {what}"
