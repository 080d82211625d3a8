"""What counts of an environment's files: what they mean, and not their bytes."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builds import write_project
from toolkit.build.environment.definition import EnvironmentDefinition, export_key, template
from toolkit.build.environment.dependencies.found import Dependencies, Export, ReadAs
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.environment.meaning.files import meaning_of
from toolkit.build.environment.meaning.memory import Memory
from toolkit.build.environment.meaning.parts import without_credentials
from toolkit.build.image import changes
from toolkit.build.image.build_record import (
    BuildRecord,
    BuiltImage,
    read_build_record,
    why_no_record,
    write_build_record,
)
from toolkit.build.image.changes import BuildInputs, CodeLines, Names, rebuild_reasons
from toolkit.build.image.dry_run import _Foresight
from toolkit.build.reference import Reference
from toolkit.config.load import load
from toolkit.config.settings import Build

HASHES = [f"sha256:{digit * 64}" for digit in "0123456789abcdef"]


def wheel(name: str, version: str, digest: str, host: str = "files.example") -> str:
    return f'{{ url = "https://{host}/a/{name}-{version}-py3-none-any.whl", hash = "{digest}", size = 1 }}'


def package(name: str, version: str, needs: str = "", digest: str = HASHES[0], host: str = "files.example") -> str:
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "https://{host}/simple" }}\n'
        f"{needs}wheels = [\n    {wheel(name, version, digest, host)},\n]\n"
    )


MEMBER = (
    '[[package]]\nname = "demo"\nversion = "1.0"\nsource = { virtual = "." }\n'
    'dependencies = [\n    { name = "six" },\n    { name = "rich", extra = ["jupyter"] },\n]\n\n'
    '[package.optional-dependencies]\ngpu = [{ name = "cupy" }]\n\n'
    '[package.dev-dependencies]\ndev = [{ name = "pytest" }]\ndocs = [{ name = "sphinx" }]\n'
)
RICH = package("rich", "13.0", 'dependencies = [{ name = "pygments" }]\n') + (
    '\n[package.optional-dependencies]\njupyter = [{ name = "ipywidgets" }]\nunused = [{ name = "never" }]\n'
)
PACKAGES = {
    "demo": MEMBER,
    "rich": RICH,
    **{
        name: package(name, "1.0", digest=HASHES[number])
        for number, name in enumerate(("six", "pygments", "ipywidgets", "never", "cupy", "pytest", "sphinx"))
    },
}
HEAD = 'version = 1\nrevision = 3\nrequires-python = ">=3.10"\n\n'
PROJECT = """[project]
name = "demo"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["six", "rich[jupyter]>=13"]
[project.optional-dependencies]
gpu = ["cupy"]
[dependency-groups]
dev = ["pytest"]
docs = ["sphinx"]
[[tool.uv.index]]
url = "https://files.example/simple"
"""


def lock(packages: dict[str, str] = PACKAGES) -> str:
    return HEAD + "\n".join(packages.values())


def key(root: Path, files: dict[str, str], **chosen: Any) -> str:
    """The key of the environment or of the question that these files make."""
    for old in root.iterdir():
        if old.is_file():
            old.unlink()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    found = find_dependencies(root, Build(**chosen), lambda _: None)
    if isinstance(found, Export):
        return export_key(found, "", ())
    return EnvironmentDefinition("base", "id", (), found).reference


def uv_key(root: Path, lock_text: str, project: str = PROJECT, **chosen: Any) -> str:
    return key(root, {"uv.lock": lock_text, "pyproject.toml": project}, **chosen)


# --- uv ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_says_nothing_to_uv_keeps_the_key(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    root = tmp_path_factory.mktemp("p")
    chance = random.Random(seed)
    names = list(PACKAGES)
    chance.shuffle(names)
    changed = {name: PACKAGES[name] for name in names}
    edits: list[Callable[[], None]] = [
        lambda: changed.update(demo=changed["demo"].replace('version = "1.0"', 'version = "2.0"')),
        lambda: changed.update(pytest=package("pytest", "9.9")),
        lambda: changed.update(sphinx=package("sphinx", "9.9"), cupy=package("cupy", "9.9")),
        lambda: changed.update(never=package("never", "9.9")),
        lambda: changed.update(six=changed["six"].replace("files.example", "me:secret@mirror.example")),
        lambda: changed.update(
            six=changed["six"].replace("size = 1", 'size = 2, upload-time = "2025-01-01T00:00:00Z"')
        ),
        lambda: changed.update({name: f"# {chance.random()}\n{text}" for name, text in changed.items()}),
    ]
    project = PROJECT
    words = [
        ("[project]", f"# {seed}\n[project]"),
        ('version = "1.0"', 'version = "3.0"'),
        ('name = "demo"\n', 'name = "demo"\ndescription = "new"\n'),
        ('["six", "rich[jupyter]>=13"]', '[\n  "Rich[jupyter] >=13",\n  "six",  # last\n]'),
        ('["pytest"]', '["pytest", "coverage"]'),
        ("files.example", "mirror.example"),
        ("[[tool.uv", "[tool.ruff]\nline-length = 9\n[tool.toolkit.resources]\nmemory = '1Gi'\n[[tool.uv"),
    ]
    for edit in chance.sample(edits, chance.randint(0, len(edits))):
        edit()
    for old, new in chance.sample(words, chance.randint(0, len(words))):
        assert old in project
        project = project.replace(old, new)
    assert uv_key(root, lock(changed), project) == uv_key(root, lock())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_package_counts_exactly_where_it_can_be_installed(data: st.DataObject) -> None:
    """On any graph of packages, with cycles and extras: a change of one makes another key where the project reaches it."""
    names = [f"p{number}" for number in range(6)]
    edge = st.tuples(st.sampled_from(names), st.booleans())
    plain = {name: data.draw(st.lists(edge, max_size=2), label=name) for name in names}
    extra = {name: data.draw(st.lists(edge, max_size=2), label=f"{name}[x]") for name in names}
    first = data.draw(st.lists(edge, min_size=1, max_size=2), label="the project")
    for_development = data.draw(st.lists(edge, max_size=2), label="the project's group")

    def listed(edges: list[tuple[str, bool]]) -> str:
        asked = {True: ", extra = ['x']", False: ""}
        return "[" + ", ".join(f'{{ name = "{name}"{asked[of_x]} }}' for name, of_x in edges) + "]"

    def meant(changed: str = "") -> dict[str, str]:
        text = HEAD + '[[package]]\nname = "demo"\nversion = "1"\nsource = { virtual = "." }\n'
        text += f"dependencies = {listed(first)}\n[package.dev-dependencies]\ndev = {listed(for_development)}\n"
        for name in names:
            text += package(name, "2.0" if name == changed else "1.0", f"dependencies = {listed(plain[name])}\n")
            text += f"[package.optional-dependencies]\nx = {listed(extra[name])}\n"
        return meaning_of({"uv.lock": text.encode()}, ReadAs({"uv.lock": "uv-lock"}))

    unread, reached = list(first), set(first)
    while unread:
        name, of_x = unread.pop()
        for one in [*plain[name], *(extra[name] if of_x else [])]:
            if one not in reached:
                reached.add(one)
                unread.append(one)
    installed = {name for name, _ in reached}
    assert {name for name in names if meant(name) != meant()} == installed


@pytest.mark.parametrize(
    ("of_lock", "old", "new"),
    [
        (True, 'name = "six"\nversion = "1.0"', 'name = "six"\nversion = "1.1"'),
        (True, HASHES[0], HASHES[9]),
        (True, 'name = "six" }', 'name = "six", marker = "sys_platform == \'linux\'" }'),
        (True, 'extra = ["jupyter"] }', 'extra = ["unused"] }'),
        (True, ">=3.10", ">=3.11"),
        (True, 'name = "ipywidgets"\nversion = "1.0"', 'name = "ipywidgets"\nversion = "1.1"'),
        (True, 'six-1.0-py3-none-any.whl", hash', 'six-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", hash'),
        (False, '"six", ', ""),
        (False, ">=3.10", ">=3.11"),
        (False, "[[tool.uv", "[tool.uv]\nno-build = true\n[[tool.uv"),
        (False, "[[tool.uv", "[tool.uv.sources]\nsix = { index = 'x' }\n[[tool.uv"),
        (False, "[[tool.uv", "[tool.uv]\ndefault-groups = ['docs']\n[[tool.uv"),
    ],
)
def test_what_says_something_to_uv_changes_the_key(tmp_path: Path, of_lock: bool, old: str, new: str) -> None:
    text, project = lock(), PROJECT
    assert old in (text if of_lock else project)
    before = uv_key(tmp_path, text, project)
    text, project = (text.replace(old, new), project) if of_lock else (text, project.replace(old, new))
    assert uv_key(tmp_path, text, project) != before


def test_chosen_extras_and_groups_count(tmp_path: Path) -> None:
    for setting, value, name in (("extras", "GPU", "cupy"), ("groups", "docs", "sphinx"), ("groups", "dev", "pytest")):
        chosen: dict[str, Any] = {setting: (value,)}
        changed = lock({**PACKAGES, name: package(name, "9.9")})
        assert uv_key(tmp_path, changed) == uv_key(tmp_path, lock())
        assert uv_key(tmp_path, changed, **chosen) != uv_key(tmp_path, lock(), **chosen)
    default = PROJECT + "[tool.uv]\ndefault-groups = ['docs']\n"
    assert uv_key(tmp_path, lock({**PACKAGES, "sphinx": package("sphinx", "9.9")}), default) != uv_key(
        tmp_path, lock(), default
    )


def test_extras_that_a_project_asks_of_itself_count(tmp_path: Path) -> None:
    project = (
        '[project]\nname = "my-app"\ndependencies = ["My_App[all]"]\n[project.optional-dependencies]\n'
        'all = ["my.app[gpu]"]\ngpu = ["cupy"]\n[tool.uv]\nno-build = true\n'
    )
    known = key(tmp_path, {"pyproject.toml": project})
    assert key(tmp_path, {"pyproject.toml": project.replace('"cupy"', '"cupy<2"')}) != known
    group = '[dependency-groups]\none = [{ include-group = "Two" }]\ntwo = ["attrs"]\nthree = ["idna"]\n'
    project = project.replace('"My_App[all]"', '"six"') + group
    known = key(tmp_path, {"pyproject.toml": project}, groups=("one",))
    assert key(tmp_path, {"pyproject.toml": project.replace("attrs", "attrs<2")}, groups=("one",)) != known
    for old in ("idna", "cupy"):
        assert key(tmp_path, {"pyproject.toml": project.replace(old, "other")}, groups=("one",)) == known


def test_where_packages_come_from_counts_where_hashes_do_not_say_all(tmp_path: Path) -> None:
    without_hash = PACKAGES["six"].replace(f', hash = "{HASHES[0]}"', "")
    from_source = (
        '[[package]]\nname = "six"\nversion = "1.0"\nsource = { registry = "https://files.example/simple" }\n'
        f'sdist = {{ url = "https://files.example/six-1.0.tar.gz", hash = "{HASHES[0]}" }}\n'
    )
    git = '[[package]]\nname = "six"\nversion = "1.0"\nsource = { git = "https://files.example/six?rev=main#0123456789" }\n'
    for text in (without_hash, from_source, git):
        known = uv_key(tmp_path, lock({**PACKAGES, "six": text}))
        moved = lock({**PACKAGES, "six": text.replace("files.example", "other.example")})
        assert uv_key(tmp_path, moved) != known
        secret = lock({**PACKAGES, "six": text.replace("https://files", "https://me:t0ken@files")})
        assert uv_key(tmp_path, secret) == known
        # The settings say where what is built takes from what it needs.
        index = PROJECT.replace("files.example", "other.example")
        assert uv_key(tmp_path, lock({**PACKAGES, "six": text}), index) != known
    assert uv_key(tmp_path, lock({**PACKAGES, "six": git.replace("#0123", "#9123")})) != uv_key(
        tmp_path, lock({**PACKAGES, "six": git})
    )


def test_a_folder_that_is_installed_counts_with_all_its_bytes(tmp_path: Path) -> None:
    lib = MEMBER.replace("demo", "lib").replace('virtual = "."', 'directory = "lib"')
    needs = MEMBER.replace('{ name = "six" }', '{ name = "six" }, { name = "lib" }')
    files = {"uv.lock": lock({**PACKAGES, "demo": needs, "lib": lib}), "pyproject.toml": PROJECT}
    known = key(tmp_path, {**files, "lib/pyproject.toml": PROJECT})
    assert key(tmp_path, {**files, "lib/pyproject.toml": f"# new\n{PROJECT}"}) != known


# --- Others -----------------------------------------------------------------------------------------------------------

PYLOCK = f"""lock-version = "1.0"
created-by = "uv"
[[packages]]
name = "six"
version = "1.0"
index = "https://files.example/simple"
wheels = [{wheel("six", "1.0", HASHES[0]).replace(f'hash = "{HASHES[0]}"', 'hashes = { sha256 = "00" }')}]
[[packages]]
name = "rich"
version = "13.0"
marker = "python_version > '3'"
sdist = {{ url = "https://files.example/rich-13.0.tar.gz", hashes = {{ sha256 = "11" }} }}
"""
POETRY = f"""# @generated by Poetry 2.1
[[package]]
name = "six"
version = "1.0"
description = "one"
files = [{{file = "six-1.0.tar.gz", hash = "{HASHES[0]}"}}, {{file = "six-1.0-py3-none-any.whl", hash = "{HASHES[1]}"}}]
[metadata]
lock-version = "2.1"
content-hash = "ab"
"""
PDM = f"""[metadata]
groups = ["default"]
content_hash = "sha256:ab"
[[package]]
name = "six"
version = "1.0"
groups = ["default"]
files = [{{file = "six-1.0.tar.gz", hash = "{HASHES[0]}"}}]
"""
PIPFILE = '[packages]\nsix = "==1.0"\n[scripts]\ngo = "python x.py"\n'
PIPFILE_LOCK = json.dumps(
    {"_meta": {"hash": {"sha256": "ab"}}, "default": {"six": {"version": "==1.0", "hashes": HASHES[:2]}}, "develop": {}}
)
REQUIREMENTS = f"""# head
--index-url https://me:old@files.example/simple
--extra-index-url https://second.example/simple
Six == 1.0 \\
    --hash={HASHES[0]} --hash={HASHES[1]}
rich[Jupyter] >=13,<14 ; python_version>"3"   # why
"""
PIXI: dict[str, Any] = {
    "version": 6,
    "environments": {
        "default": {
            "channels": [{"url": "https://conda.example/"}],
            "packages": {"linux-64": [{"conda": "https://conda.example/a-1.0-0.conda"}], "osx-64": []},
        },
        "test": {"channels": [], "packages": {"linux-64": [{"conda": "https://conda.example/t-1.0-0.conda"}]}},
    },
    "packages": [
        {"conda": "https://conda.example/a-1.0-0.conda", "sha256": "00", "depends": ["b"]},
        {"conda": "https://conda.example/t-1.0-0.conda", "sha256": "00"},
    ],
}
CONDA_LOCK: dict[str, Any] = {
    "metadata": {
        "content_hash": {"linux-64": "ab"},
        "channels": [{"url": "c"}],
        "time_metadata": {"created_at": "now"},
    },
    "package": [
        {"name": "a", "version": "1.0", "platform": "linux-64", "category": "main", "hash": {"md5": "0"}, "url": "u"},
        {"name": "t", "version": "1.0", "platform": "linux-64", "category": "test", "hash": {"md5": "0"}, "url": "t"},
    ],
}
ENVIRONMENT = (
    "name: x\nchannels: [one, two]\nvariables: {A: b}\ndependencies:\n  - python=3.11\n  - sqlite >=3\n  - pip: [six]\n"
)
SCRIPT = '# /// script\n# dependencies = ["six"]\n# [tool.uv]\n# no-build = true\n# ///\nprint()\n'


def reversed_packages(document: dict[str, Any], table: str) -> str:
    return yaml.safe_dump({**document, table: document[table][::-1]})


FORMATS: dict[str, tuple[dict[str, str], list[tuple[str, str, str]], list[tuple[str, str, str]]]] = {
    "pylock": (
        {"pylock.toml": PYLOCK},
        [
            ("pylock.toml", '"uv"', '"pip"'),
            ("pylock.toml", "lock-version", "# new\nlock-version"),
            ("pylock.toml", "size = 1", "size = 7"),
        ],
        [
            ("pylock.toml", '"13.0"', '"13.1"'),
            ("pylock.toml", '"11"', '"12"'),
            ("pylock.toml", "> '3'", "> '4'"),
            ("pylock.toml", "files.example/rich", "other.example/rich"),
        ],
    ),
    "poetry": (
        {"poetry.lock": POETRY, "pyproject.toml": PROJECT},
        [
            ("poetry.lock", "Poetry 2.1", "Poetry 2.2"),
            ("poetry.lock", '"one"', '"two"'),
            ("pyproject.toml", '"1.0"', '"2.0"'),
            ("pyproject.toml", "[project]", "[tool.black]\n[project]"),
        ],
        [
            ("poetry.lock", '"ab"', '"cd"'),
            ("poetry.lock", HASHES[0], HASHES[5]),
            ("poetry.lock", 'version = "1.0"', 'version = "1.1"'),
            ("pyproject.toml", '"six", ', ""),
            ("pyproject.toml", "[project]", "[tool.poetry]\nsource = []\n[project]"),
        ],
    ),
    "pdm": (
        {"pdm.lock": PDM, "pyproject.toml": PROJECT},
        [("pdm.lock", "[metadata]", "# new\n[metadata]"), ("pyproject.toml", '"1.0"', '"2.0"')],
        [
            ("pdm.lock", "sha256:ab", "sha256:cd"),
            ("pdm.lock", HASHES[0], HASHES[5]),
            ("pyproject.toml", "files.example", "other.example"),
        ],
    ),
    "pipenv": (
        {"Pipfile.lock": PIPFILE_LOCK, "Pipfile": PIPFILE},
        [("Pipfile.lock", "{", "{\n"), ("Pipfile", "x.py", "y.py"), ("Pipfile", "[packages]", "# new\n[packages]")],
        [("Pipfile.lock", HASHES[0], HASHES[5]), ("Pipfile.lock", "==1.0", "==1.1"), ("Pipfile", "==1.0", "*")],
    ),
    "requirements": (
        {"requirements.txt": REQUIREMENTS},
        [
            ("requirements.txt", "# head", "# other\n\n"),
            ("requirements.txt", "me:old", "you:new"),
            ("requirements.txt", "Six == 1.0", "six==1.0"),
            ("requirements.txt", f"{HASHES[0]} --hash={HASHES[1]}", f"{HASHES[1]} \\\n  --hash={HASHES[0]}"),
            (
                "requirements.txt",
                'rich[Jupyter] >=13,<14 ; python_version>"3"',
                "Rich[jupyter]<14,>=13; python_version > '3'",
            ),
            ("requirements.txt", "   # why", ""),
        ],
        [
            ("requirements.txt", "1.0", "1.1"),
            ("requirements.txt", HASHES[0], HASHES[5]),
            ("requirements.txt", "files.example", "other.example"),
            ("requirements.txt", '"3"', '"4"'),
            ("requirements.txt", "[Jupyter]", ""),
            ("requirements.txt", "--extra-index-url", "--find-links"),
            # pip takes the next line for a part of this comment, and uv does not.
            ("requirements.txt", "# why", "# why \\\nattrs"),
            ("requirements.txt", "# head", "# head\n-c more.txt"),
        ],
    ),
    "pixi": (
        {"pixi.lock": yaml.safe_dump(PIXI)},
        [("pixi.lock", "version: 6", "# new\nversion: 6"), ("pixi.lock", "t-1.0-0", "t-2.0-0")],
        [
            ("pixi.lock", "a-1.0-0", "a-2.0-0"),
            ("pixi.lock", "- b", "- c"),
            ("pixi.lock", "url: https://conda", "url: https://other"),
        ],
    ),
    "conda-lock": (
        {"conda-lock.yml": yaml.safe_dump(CONDA_LOCK)},
        [("conda-lock.yml", "now", "then"), ("conda-lock.yml", "ab", "cd"), ("conda-lock.yml", "url: t", "url: tt")],
        [
            ("conda-lock.yml", "url: u", "url: uu"),
            ("conda-lock.yml", "url: c", "url: d"),
            ("conda-lock.yml", "category: test", "category: main"),
        ],
    ),
    "environment": (
        {"environment.yml": ENVIRONMENT},
        [
            ("environment.yml", "name: x", "name: y # z"),
            ("environment.yml", "A: b", "A: c"),
            ("environment.yml", "  - python=3.11\n  - sqlite >=3\n", "  - sqlite   >=3\n  - python=3.11\n"),
        ],
        [("environment.yml", "one, two", "two, one"), ("environment.yml", "3.11", "3.12")],
    ),
    "script": (
        {"job.py": SCRIPT},
        [
            ("job.py", "print()", "print(1)"),
            ("job.py", '# dependencies = ["six"]', '# # why\n# dependencies = ["Six"]'),
        ],
        [("job.py", '"six"', '"six>1"'), ("job.py", "no-build", "no-index")],
    ),
    "project": (
        {"pyproject.toml": PROJECT},
        [
            ("pyproject.toml", '"1.0"', '"2.0"'),
            ("pyproject.toml", '["pytest"]', "[]"),
            ("pyproject.toml", "[project]", "[tool.mypy]\n[project]"),
            ("pyproject.toml", "https://files", "https://me:token@files"),
        ],
        [("pyproject.toml", '"six", ', '"six<2", '), ("pyproject.toml", "files.example", "other.example")],
    ),
    "dynamic": (
        {
            "pyproject.toml": '[project]\nname = "demo"\ndynamic = ["dependencies"]\n[build-system]\nrequires = ["x"]\n'
            "[tool.x]\na = 1\n"
        },
        [("pyproject.toml", "[project]", "# new\n[tool.ruff]\n[project]")],
        [
            ("pyproject.toml", "a = 1", "a = 2"),
            ("pyproject.toml", '["x"]', '["x", "y"]'),
            ("pyproject.toml", '"demo"', '"demo"\nversion = "2"'),
        ],
    ),
    "setup": (
        {"setup.py": "from setuptools import setup\nsetup(install_requires=['six'])\n"},
        [("setup.py", "setup(i", "# new\nsetup(i")],
        [("setup.py", "'six'", "'six<2'")],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_file_means_makes_the_key(tmp_path: Path, name: str) -> None:
    files, same, other = FORMATS[name]
    write = {"more.txt": "attrs\n"} if name == "requirements" else {}
    known = key(tmp_path, {**files, **write})
    for edits, is_same in ((same, True), (other, False)):
        for file, old, new in edits:
            assert old in files[file], old
            changed = {**files, **write, file: files[file].replace(old, new)}
            assert (key(tmp_path, changed) == known) is is_same, (file, old, new)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("pylock", "pylock"),
        ("poetry", "tool-lock"),
        ("pdm", "tool-lock"),
        ("pipenv", "pipfile-lock"),
        ("requirements", "requirements"),
    ],
)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_damaged_file_never_has_the_key_of_the_whole_one(name: str, form: str, seed: int) -> None:
    """What is left of a lock whose end was lost is not taken for it, unless only a comment or an end of line was lost."""
    chance = random.Random(seed)
    file, text = next(iter(FORMATS[name][0].items()))
    cut = chance.randrange(len(text))
    reading = ReadAs({file: form})
    whole, rest = meaning_of({file: text.encode()}, reading), meaning_of({file: text[:cut].encode()}, reading)
    lost = text[cut:]
    assert rest != whole or not lost.strip() or "#" in lost or "#" in text[:cut].splitlines()[-1]
    assert meaning_of({file: f"\x00{text}".encode()}, reading) != whole


def test_the_order_of_packages_says_nothing_and_that_of_indexes_does(tmp_path: Path) -> None:
    assert key(tmp_path, {"pixi.lock": reversed_packages(PIXI, "packages")}) == key(
        tmp_path, {"pixi.lock": yaml.safe_dump(PIXI)}
    )
    lines = ["-i https://a.example", "--extra-index-url https://b.example", "--extra-index-url https://c.example"]
    one = key(tmp_path, {"requirements.txt": "\n".join([*lines, "six", "attrs", ""])})
    assert key(tmp_path, {"requirements.txt": "\n".join([*lines, "attrs", "six", ""])}) == one
    assert key(tmp_path, {"requirements.txt": "\n".join([lines[0], lines[2], lines[1], "six", "attrs", ""])}) != one


def test_a_package_may_be_called_as_a_setting_is(tmp_path: Path) -> None:
    """A package ``version`` and a package ``options`` exist, and so do such keys."""
    texts = {name: package(name, "1.0") for name in ("version", "requires-python")}
    needs = MEMBER.replace('{ name = "six" }', ", ".join(f'{{ name = "{name}" }}' for name in texts))
    known = uv_key(tmp_path, lock({**PACKAGES, "demo": needs, **texts}))
    for name in texts:
        assert uv_key(tmp_path, lock({**PACKAGES, "demo": needs, **texts, name: package(name, "1.1")})) != known
    assert uv_key(tmp_path, lock({**PACKAGES, "demo": needs, **texts}).replace(">=3.10", ">=3.11")) != known
    known = key(tmp_path, {"requirements.txt": "--pre\noptions\n"})
    assert known != key(tmp_path, {"requirements.txt": "options\n"})
    assert known != key(tmp_path, {"requirements.txt": "--pre\n"})


def test_an_answer_counts_by_what_it_says(tmp_path: Path) -> None:
    write_project(tmp_path, {"pyproject.toml": PROJECT})
    found = find_dependencies(tmp_path, Build(), print)
    assert isinstance(found, Export)

    def made(answer: str, question: Export = found) -> str:
        return EnvironmentDefinition("base", "id", (), question.answered(answer.encode())).reference

    assert made(PYLOCK) == made(f"# new\n{PYLOCK}") != made(PYLOCK.replace("13.0", "13.1"))
    commented = replace(found, files={"pyproject.toml": f"# new\n{PROJECT}".encode()})
    assert made(PYLOCK, commented) == made(PYLOCK)


def test_what_a_backend_was_asked_with_does_not_count_beside_its_answer(tmp_path: Path) -> None:
    project = '[project]\nname = "demo"\ndynamic = ["dependencies"]\n'
    write_project(tmp_path, {"pyproject.toml": project, "README.md": "one", "wheels/six.whl": "1"})

    def made(answer: str) -> str:
        found = find_dependencies(tmp_path, Build(), lambda _: None)
        assert isinstance(found, Export) and "README.md" in found.files
        found = replace(found, files={**found.files, "wheels/six.whl": (tmp_path / "wheels/six.whl").read_bytes()})
        return EnvironmentDefinition("base", "id", (), found.answered(answer.encode())).reference

    local = PYLOCK + '[[packages]]\nname = "local"\narchive = { path = "wheels/six.whl" }\n'
    known, with_file = made(PYLOCK), made(local)
    (tmp_path / "README.md").write_text("two")
    assert (made(PYLOCK), made(local)) == (known, with_file)
    (tmp_path / "wheels/six.whl").write_text("2")
    assert made(PYLOCK) == known and made(local) != with_file


def test_settings_of_uv_that_appear_beside_an_unchanged_lock_are_seen(tmp_path: Path) -> None:
    write_project(tmp_path, {"uv.lock": lock(), "pyproject.toml": PROJECT})
    memory, said = Memory(tmp_path), print
    found = find_dependencies(tmp_path, Build(), said)
    memory.accept(found.files, found.reading)
    assert sorted(memory.accepted()) == ["lock pyproject.toml", "lock uv.lock"]
    assert find_dependencies(tmp_path, Build(), said, memory.accepted()).reading == found.reading
    write_project(tmp_path, {"uv.toml": "no-build = true\n"})
    assert "uv.toml" in find_dependencies(tmp_path, Build(), said, memory.accepted()).files


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://me:pass@host/a", "https://host/a"),
        ("git+ssh://git@host/a@main", "git+ssh://host/a@main"),
        ("https://host/a?token=1&rev=2#sub", "https://host/a?rev=2#sub"),
        ("https://host/a?X-Amz-Signature=1", "https://host/a"),
        ("https://${NAME}:${TOKEN}@host/a", "https://host/a"),
        ("https://host/@scope/a", "https://host/@scope/a"),
    ],
)
def test_credentials_do_not_count(address: str, kept: str) -> None:
    assert without_credentials({"a": [address]}) == {"a": [kept]}


def test_a_meaning_is_remembered_and_not_worked_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, reading = {"uv.lock": lock().encode(), "pyproject.toml": PROJECT.encode()}, ReadAs({"uv.lock": "uv-lock"})
    memory = Memory(tmp_path)
    first = memory.of(files, reading)
    with monkeypatch.context() as patch:
        patch.setattr("toolkit.build.environment.meaning.files.meaning_of", lambda *_: pytest.fail("parsed again"))
        assert memory.of(files, reading) == first
    assert Memory(tmp_path).of(files, replace(reading, groups=("docs",))) != first
    for number in range(60):
        memory.of({"a": str(number).encode()}, ReadAs())
    assert len(list((tmp_path / "meanings").iterdir())) == 40


# --- What changed -----------------------------------------------------------------------------------------------------


def environment(root: Path, files: dict[str, str], packages: tuple[str, ...] = (), **chosen: Any) -> dict[str, str]:
    found = find_dependencies(write_project(root, files), Build(**chosen), lambda _: None)
    assert isinstance(found, Dependencies)
    return EnvironmentDefinition("base", "id", packages, found).inputs()


def test_what_changed_is_said_by_file_and_setting(tmp_path: Path) -> None:
    old = environment(tmp_path, {"uv.lock": lock(), "pyproject.toml": PROJECT}, ("tree",))
    changed = {
        **PACKAGES,
        "six": package("six", "1.1"),
        "rich": RICH + "# no\n",
        "pygments": package("pygments", "1.0", digest=HASHES[7]),
    }
    demo = MEMBER.replace('{ name = "six" }', '{ name = "six" }, { name = "attrs" }')
    project = PROJECT.replace(">=3.10", ">=3.11").replace(">=13", ">=12")
    new_files = {
        "uv.lock": lock({**changed, "demo": demo, "attrs": package("attrs", "5.0")}),
        "pyproject.toml": project,
    }
    new = environment(tmp_path, new_files, ("libgomp1",), extras=("gpu",))
    names = Names("python:3.13", "python:3.12", "toolkit.yaml", None, frozenset({"pyproject.toml", "uv.lock"}))
    new["the base image"] = "other"
    reasons = rebuild_reasons(
        BuildInputs("t", old, "1"),
        BuildInputs("t", new, "2"),
        False,
        lambda: ({"steps.py": "1"}, {"steps.py": "2"}),
        names,
    )
    assert reasons == [
        "toolkit.yaml: build.extras: gpu was added",
        "toolkit.yaml: build.system_packages: libgomp1 was added",
        "toolkit.yaml: build.system_packages: tree was removed",
        "pyproject.toml: project.dependencies: rich changed from [jupyter]>=13 to [jupyter]>=12",
        "pyproject.toml: project.optional-dependencies: gpu: cupy was added",
        "pyproject.toml: project.requires-python changed from >=3.10 to >=3.11",
        "the base image changed from python:3.12 to python:3.13",
        "uv.lock: attrs was added",
        "uv.lock: cupy was added",
        "uv.lock: demo changed",
        "uv.lock: pygments changed (still 1.0: its files, its source or what it needs)",
        "uv.lock: six changed from 1.0 to 1.1",
        "steps.py changed",
    ]


def _no_lines() -> CodeLines:
    raise AssertionError("the code is the same")


def test_a_change_that_only_the_code_has_is_said_so() -> None:
    def lines() -> CodeLines:
        return {"pyproject.toml": "1", "a.py": "1"}, {"pyproject.toml": "2", "a.py": "2"}

    names = Names(declaring=frozenset({"pyproject.toml"}))
    reasons = rebuild_reasons(BuildInputs("t", {}, "1"), BuildInputs("t", {}, "2"), False, lines, names)
    assert reasons == ["a.py changed", "pyproject.toml changed (only the code layer)"]
    old, new = {"pyproject.toml: a": "1"}, {"pyproject.toml: a": "2"}
    reasons = rebuild_reasons(BuildInputs("t", old, "1"), BuildInputs("t", new, "2"), False, lines, names)
    assert reasons == ["pyproject.toml: a changed from 1 to 2", "a.py changed", "pyproject.toml changed"]
    # What a tool was asked about may have changed its answer.
    asked = replace(names, asked=("poetry.lock", "requirements.txt"))
    old, new = {"requirements.txt: six": "1"}, {"requirements.txt: six": "2"}
    reasons = rebuild_reasons(BuildInputs("t", old, "1"), BuildInputs("t", new, "2"), False, lines, asked)
    assert reasons == ["poetry.lock: six changed from 1 to 2", "a.py changed", "pyproject.toml changed"]
    assert "pyproject.toml changed (only the code layer)" in rebuild_reasons(
        BuildInputs("t", old, "1"), BuildInputs("t", old, "2"), False, lines, asked
    )


def test_a_record_of_another_version_is_said(tmp_path: Path) -> None:
    target = Reference("name")
    assert why_no_record(tmp_path, target).startswith("this machine has no record")
    image = BuiltImage("name:1", "sha256:1", "", "", "", changed=False)
    write_build_record(tmp_path, target, BuildRecord(BuildInputs("name"), "base", "id", image))
    assert read_build_record(tmp_path, target) is not None
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace('"version": ', '"version": 99'))
    assert read_build_record(tmp_path, target) is None
    reasons = rebuild_reasons(None, BuildInputs("name"), True, _no_lines, None, why_no_record(tmp_path, target))
    assert reasons == [
        "the record of the last build is one of another version of toolkit, so what changed since is not known"
    ]


def test_changes_are_bounded_and_a_file_that_came_or_went_is_one() -> None:
    many = {f"uv.lock: p{number}": "1" for number in range(30)}
    other = {f"uv.lock: p{number}": "2" for number in range(30)}
    reasons = rebuild_reasons(BuildInputs("t", many), BuildInputs("t", other), False, _no_lines)
    assert len(reasons) == 11 and reasons[-1] == "uv.lock: and 20 more changes"
    reasons = rebuild_reasons(BuildInputs("t", many), BuildInputs("t", {"requirements.txt: a": "1"}), False, _no_lines)
    assert sorted(reasons) == ["requirements.txt was added", "uv.lock was removed"]
    answered = Names(asked=("poetry.lock", "requirements.txt"))
    old, new = {"requirements.txt: six": "==1"}, {"requirements.txt: six": "==2"}
    assert rebuild_reasons(BuildInputs("t", old), BuildInputs("t", new), False, _no_lines, answered) == [
        "poetry.lock: six changed from ==1 to ==2"
    ]


def test_a_sentence_names_no_option_of_a_template_and_is_one_line_whatever_a_file_is_called() -> None:
    def inputs(code: str, **options: str) -> BuildInputs:
        return BuildInputs("name", {f"the option {key}": value for key, value in options.items()}, code)

    old = inputs("1", INSTALLER="uv", REQUIREMENTS="a.txt")
    new = inputs("2", INSTALLER="pip", REQUIREMENTS="b.txt", GIT="1")
    said = rebuild_reasons(old, new, False, lambda: ({}, {"a\nb": "x"}))
    assert said == [
        "whether Git is needed changed",
        "what installs the packages changed from uv to pip",
        "the file that is installed from changed from a.txt to b.txt",
        "a\ufffdb was added",
    ]


def test_each_option_of_a_template_has_a_name_for_a_user() -> None:
    given = {
        name
        for kind in ("uv", "sync", "pip", "conda")
        for name in re.findall(r"(?m)^ARG ([A-Z_]+)", template(kind).decode())
    }
    # The last two follow from the platform, which the base image has.
    others = {"BASE", "ANEW", "BUILD_PACKAGES", "INDEXES", "TOOL", "PIP", "UV_PIP_OPTIONS"}
    assert given - others <= set(changes._OPTIONS)


@pytest.mark.parametrize("was_built", [True, False])
def test_a_dry_run_says_that_an_environment_is_gone(tmp_path: Path, was_built: bool) -> None:
    class Emptied:
        """A stand-in for an engine that has the base image alone."""

        def image(self, reference: str) -> dict[str, str] | None:
            return {"Id": "id"} if reference == "base" else None

    write_project(tmp_path, {"requirements.txt": "six==1.17.0\n"})
    found = find_dependencies(tmp_path, Build(), lambda _: None)
    assert isinstance(found, Dependencies)
    definition = EnvironmentDefinition("base", "id", (), found)
    inputs = BuildInputs("name", definition.inputs())
    last = BuildRecord(inputs, "base", "id", BuiltImage("name:tag", "", "", "", "", False)) if was_built else None
    said: list[str] = []
    foresight = _Foresight(load(None, tmp_path, {}), Emptied(), said.append, False, False)  # type: ignore[arg-type]
    foresight._say_environment(definition, last)
    (sentence,) = said
    assert sentence.endswith(f"because: the engine {'no longer has' if was_built else 'does not have'} it")
