"""A Dockerfile of the user's own: what is read of it, which files it can read, what counts, and which line failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.build.code.files import walk_of
from toolkit.build.code.hashes import FileHashes
from toolkit.build.environment.dockerfile import (
    faulty_instruction,
    line_before,
    read_dockerfile,
    with_argument,
)
from toolkit.build.environment.failures import explain_own_dockerfile
from toolkit.build.environment.places import FaultyRequirement, placed
from toolkit.build.environment.python_version import check_python
from toolkit.build.image.context import chosen_files, copier, parts_of, walk_by
from toolkit.build.image.own_dockerfile import find_own_dockerfile
from toolkit.config.load import load
from toolkit.errors import BadInput, ChangedFile, Infrastructure
from toolkit.platforms import parse_platform


def sources(text: str) -> tuple[str, ...] | None:
    return read_dockerfile(text.encode(), {}).sources


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN make", ()),
        ("COPY a b/ /x/", ("a", "b")),
        ("copy ./a/../c /x", ("c",)),
        ("COPY /a ../b /x", ("a", "b")),
        ('COPY ["a b", "c", "/x"]', ("a b", "c")),
        ("COPY --chown=1:1 --chmod=644 a /x", ("a",)),
        ("COPY --from=other a /x", ()),
        ("COPY *.txt src/**/x.py /x/", ("*.txt", "src/**/x.py")),
        ("COPY a \\\n  # a comment\n\n  b \\  \n  /x", ("a", "b")),
        ("# COPY a /x\n  # COPY b /x\nCOPY c /x", ("c",)),
        ("# escape=`\nFROM x\nCOPY a `\n  b /x", ("a", "b")),
        ("ADD https://host/f.tgz git@host:x.git#main a.tgz /x/", ("a.tgz",)),
        ("RUN --mount=type=bind,source=a,target=/a --mount=type=cache,target=/c pip", ("a",)),
        ("RUN --mount=source=a,target=/a --network=none x", ("a",)),
        ("RUN --mount=type=bind,from=other,source=a,target=/a x", ()),
        ("RUN --mount=type=secret,id=netrc x --mount=type=bind,source=b", ()),
        ("COPY <<EOF /x\nCOPY a /x\nEOF\nCOPY b /x", ("b",)),
        ("RUN <<-'END' python\n\tCOPY a /x\n\tEND\nCOPY b /x", ("b",)),
        ('RUN bash -c "cat <<EOF"\nCOPY b /x\nEOF', ("b",)),
        ("RUN cat <<EOF\nCOPY b /x", ("b",)),
        ("RUN cat <<EOF >/y && cat <<\"B\"\nCOPY a /x\nEOF\nCOPY c /x\nB\nCOPY b /x", ("b",)),
        ("RUN echo $((1<<2))\nCOPY b /x", ("b",)),
        ("RUN python <<EOF 3<<OTHER\none\nEOF\nCOPY a /x\nOTHER\nCOPY b /x", ("b",)),
        ("# syntax=docker/dockerfile:1\nFROM x\nCOPY a /x", ("a",)),
        # What can't be told is the whole context.
        ("COPY . /x", None),
        ("COPY / /x", None),
        ("RUN --mount=target=/x make", None),
        ("ARG WHAT=a\nCOPY $WHAT /x", None),
        ("RUN --mount=source=${A},target=/a x", None),
        ('COPY "a" /x', None),
        ("COPY a\\ b /x", None),
        ("ONBUILD COPY a /x", None),
        ("# syntax=example.org/mine\nFROM x\nREAD a", None),
        ("COPY [\"a\", /x]", None),
    ],
)  # fmt: skip
def test_what_a_dockerfile_reads_of_the_context(text: str, expected: tuple[str, ...] | None) -> None:
    assert sources(text) == expected


NAMES = st.text("abcd.-_", min_size=1, max_size=6).filter(lambda name: name.strip(".") and not name.startswith("-"))
BREAKS = st.sampled_from([" ", " \\\n  ", "\t", " \\  \n# COPY hidden /x\n ", " \\\n\n "])


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.data(), st.sampled_from(["\n", "\r\n"]))
def test_continued_lines_and_comments_change_nothing(names: list[str], data: Any, end: str) -> None:
    written = "COPY" + "".join(data.draw(BREAKS) + name for name in [*names, "/x"])
    found = read_dockerfile(f"FROM x\n{written}\nRUN true\n".replace("\n", end).encode(), {})
    assert found.sources == tuple(sorted(names))
    assert [one.keyword for one in found.instructions] == ["FROM", "COPY", "RUN"]
    assert found.instructions[2].line == 3 + written.count("\n")


@given(st.binary(max_size=200))
def test_whatever_it_holds_reading_ends(content: bytes) -> None:
    read_dockerfile(content, {})
    with_argument(content, read_dockerfile(content, {}), "X=1")


def test_stages_and_what_they_start_from() -> None:
    text = b"""\
ARG PY=3.11
ARG BASE="python:${PY}" OTHER
FROM --platform=linux/amd64 ${BASE}-slim AS Base
FROM base
FROM ${OTHER:-scratch} as last
"""
    read = read_dockerfile(text, {"PY": "3.12"})
    assert [(stage.name, stage.image, stage.line) for stage in read.stages] == [
        ("base", "python:3.12-slim", 3),
        ("", "base", 4),
        ("last", "scratch", 5),
    ]
    assert read.images == ("python:3.12-slim",)
    assert [read.has_stage(one) for one in ("BASE", "1", "last", "3", "x")] == [True, True, True, False, False]
    assert read.undeclared({"PY": "", "OTHER": "", "TYPO": "", "HTTP_PROXY": ""}) == ["TYPO"]


def test_another_argument_in_each_stage_keeps_the_lines() -> None:
    text = b"FROM a AS x\nRUN 1\nFROM \\\n  b\nRUN 2\n"
    read = read_dockerfile(text, {})
    added = with_argument(text, read, "ANEW=1")
    assert added == b"FROM a AS x\nARG ANEW=1\nRUN 1\nFROM \\\n  b\nARG ANEW=1\nRUN 2\n"
    lines = added.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        if not line.startswith(b"ARG"):
            assert text.split(b"\n")[line_before(read, number) - 1] == line


# What BuildKit of Docker 20.10, and a later one, print.
DOCKERFILE = b"ARG PY=3\nFROM toolkit-base:bookworm AS base\nCOPY a /x\n# c\nRUN echo hi && \\\n    false\nFROM base\nCOPY $PY /y\n"
FAILED_RUN = """\
#8 [base 3/3] RUN echo hi &&     false
#8 sha256:aae6
#8 0.616 hi
#8 ERROR: executor failed running [/bin/sh -c echo hi &&     false]: exit code: 1
------
 > [base 3/3] RUN echo hi &&     false:
------
executor failed running [/bin/sh -c echo hi &&     false]: exit code: 1
"""
NEWER_RUN = """\
#8 [base 3/3] RUN echo hi &&     false
#8 0.616 hi
#8 ERROR: process "/bin/sh -c echo hi &&     false" did not complete successfully: exit code: 1
------
Dockerfile:5
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c echo hi" did not complete successfully: exit code: 1
"""
MISSING = """\
#6 [stage-1 2/2] COPY 3 /y
#6 sha256:0b7f
#6 ERROR: "/3" not found: not found
------
failed to compute cache key: "/3" not found: not found
"""
PARSE = (
    "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
    "dockerfile parse error line 3: unknown instruction: FOO"
)
NO_REGISTRY = """\
#3 [internal] load metadata for docker.io/library/toolkit-base:bookworm
#3 sha256:8fd9
#3 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host
"""
NO_FRONTEND = NO_REGISTRY.replace(
    "[internal] load metadata for docker.io/library/toolkit-base:bookworm",
    "resolve image config for docker.io/docker/dockerfile:1",
)
NO_IMAGE = (
    NO_REGISTRY.partition("ERROR")[0]
    + "ERROR: pull access denied, repository does not exist or may require authorization\n"
)


@pytest.mark.parametrize(
    ("text", "where", "words", "kind"),
    [
        (FAILED_RUN, "D:5", "RUN echo hi && false failed with exit code 1: hi (the whole log: LOG)", BadInput),
        (NEWER_RUN, "D:5", "RUN echo hi && false failed with exit code 1: hi (the whole log: LOG)", BadInput),
        (MISSING, "D:8", "COPY $PY /y: 3 is not in the build's context: there is no such file", BadInput),
        (MISSING.replace('"/3" not', 'failed to calculate checksum of ref x::y: "/3": not'), "D:8", "3 is not in the", BadInput),
        (FAILED_RUN.replace("616 hi", '616 "/gcc" not found'), "D:5", 'failed with exit code 1: "/gcc" not found', BadInput),
        (PARSE, "D:3", "unknown instruction: FOO", BadInput),
        (NO_REGISTRY, "D:2", "its registry cannot be reached", Infrastructure),
        (NO_FRONTEND, "D:1", "the image docker.io/docker/dockerfile:1 is not on this engine", Infrastructure),
        (NO_IMAGE, "D:2", "does not exist, or needs a login", BadInput),
        (FAILED_RUN.replace("hi\n#8 ERROR", "No space left on device\n#8 ERROR"), "D:5", "disk is full", Infrastructure),
    ],
)  # fmt: skip
def test_the_line_that_failed(text: str, where: str, words: str, kind: type) -> None:
    content = DOCKERFILE.replace(b"ARG PY=3", b"# syntax=docker/dockerfile:1") if text is NO_FRONTEND else DOCKERFILE
    error = explain_own_dockerfile(text, read_dockerfile(content, {}), "D", "LOG")
    assert type(error) is kind and error.where == where and words in error.message, str(error)


def test_a_line_is_the_files_own_where_another_argument_was_added() -> None:
    read = read_dockerfile(DOCKERFILE, {})
    assert faulty_instruction(NEWER_RUN.replace("Dockerfile:5", "Dockerfile:7"), read, added=True)[0] == 6


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "a.txt",
        "b.txt",
        "src/one.py",
        "src/deep/two.py",
        "other/three.py",
        ".env",
        ".git/x",
        "src/.env.local",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / ".toolkit").mkdir()
    return tmp_path


def paths(root: Path, patterns: list[str] | None) -> list[str]:
    return [file.path for file in chosen_files(walk_of(root), patterns) if file.kind != "dir"]


def test_the_context_holds_what_is_read_and_is_code(root: Path) -> None:
    assert paths(root, ["*.txt"]) == ["a.txt", "b.txt"]
    assert paths(root, ["src"]) == ["src/deep/two.py", "src/one.py"]
    assert paths(root, ["src/*.py", "[^a].txt"]) == ["b.txt", "src/one.py"]
    assert paths(root, ["*/deep"]) == ["src/deep/two.py"]
    assert paths(root, [".env", ".git", ".toolkit"]) == []
    assert paths(root, None) == ["a.txt", "b.txt", "other/three.py", "src/deep/two.py", "src/one.py"]
    (root / ".dockerignore").write_text("a.txt\n")
    assert paths(root, ["*.txt"]) == ["b.txt"]
    (root / "D.dockerignore").write_text("b.txt\n")
    walk = walk_by(walk_of(root), root / "D.dockerignore")
    assert [file.path for file in chosen_files(walk, ["*.txt"])] == ["a.txt"]


def test_through_a_link_any_file_may_be_meant(root: Path) -> None:
    (root / "link").symlink_to("other")
    assert "other/three.py" in paths(root, ["link"])
    assert "other/three.py" in paths(root, ["link/three.py"])
    assert paths(root, ["a.txt"]) == ["a.txt"]


def test_a_file_that_changes_is_not_copied(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = chosen_files(walk_of(root), ["src"])
    to = tmp_path_factory.mktemp("context")
    copier(files)(to)
    assert sorted(path.relative_to(to).as_posix() for path in to.rglob("*.py")) == ["src/deep/two.py", "src/one.py"]
    (root / "src/one.py").write_text("longer than before")
    with pytest.raises(ChangedFile):
        copier(files)(tmp_path_factory.mktemp("again"))


def test_many_files_are_one_part(root: Path) -> None:
    for number in range(60):
        (root / f"src/{number}").touch()
    hashes = FileHashes(root / ".toolkit/hashes")
    assert list(parts_of(chosen_files(walk_of(root), ["src"]), hashes, "D")) == ["what D reads of the project"]
    (root / "empty").mkdir()
    assert list(parts_of(chosen_files(walk_of(root), ["empty", "other"]), hashes, "D")) == [
        "empty (read by D)",
        "other/three.py (read by D)",
    ]
    assert "a.txt (read by D)" in parts_of(chosen_files(walk_of(root), ["a.txt"]), hashes, "D")


class _Engine:
    """An engine that has one image. Only its name and its triggers matter here, and no build."""

    def image(self, name: str) -> dict[str, Any] | None:
        return {"Config": {"OnBuild": ["COPY . /x"]}} if name == "triggers" else None


def configured(root: Path, settings: str, dockerfile: str, **environ: str) -> Any:
    (root / "D").write_text(dockerfile)
    (root / "toolkit.yaml").write_text(f"build: {{dockerfile: D, {settings}}}\n")
    project = load(root / "toolkit.yaml", root, environ)
    engine: Any = _Engine()
    return find_own_dockerfile(project, engine, walk_of(root), root / ".toolkit")


@pytest.mark.parametrize(
    "text, target, platform",
    [
        ("FROM x", "", ""),
        ("FROM --platform=linux/arm64 x", "", "linux/arm64"),
        ("ARG P=linux/arm64\nFROM --platform=$P x AS One\nFROM one\nFROM one AS two", "two", "linux/arm64"),
        ("FROM --platform=$BUILDPLATFORM x AS one\nFROM y\nCOPY --from=one /a /b", "", ""),
        ("FROM --platform=$BUILDPLATFORM x AS one\nFROM y", "0", "$BUILDPLATFORM"),
        ("FROM --platform=linux/arm64 x AS x\nFROM x AS x", "x", "linux/arm64"),
    ],
)
def test_the_platform_that_the_image_of_a_dockerfile_starts_from(text: str, target: str, platform: str) -> None:
    assert read_dockerfile(text.encode(), {}).root_of(target).platform == platform


def test_each_platform_has_its_own_image_of_a_dockerfile(root: Path) -> None:
    (root / "D").write_text("FROM x\n")
    (root / "toolkit.yaml").write_text("build: {dockerfile: D}\n")
    project = load(root / "toolkit.yaml", root, {})
    engine: Any = _Engine()
    found = [
        find_own_dockerfile(
            project,
            engine,
            walk_of(root),
            root / ".toolkit",
            platform=parse_platform(one, "build.platform") if one else None,
        )
        for one in ("", "linux/arm64", "linux/s390x", "aarch64")
    ]
    assert len({one.reference for one in found}) == 3 and found[1].reference == found[3].reference


def test_what_counts_for_the_image_of_a_dockerfile(root: Path) -> None:
    text = "FROM x AS one\nCOPY a.txt /x\nFROM one\n"
    first = configured(root, "args: {PY: 3.10}", text)
    assert first.parts["build.args: PY"].startswith("3.10")
    keys = {first.reference}

    def same(settings: str = "args: {PY: '3.10'}") -> bool:
        found = configured(root, settings, text).reference
        is_same = found in keys
        keys.add(found)
        return is_same

    (root / "b.txt").write_text("no build reads it")
    (root / ".dockerignore").write_text("other\n")
    assert same()
    assert not same("args: {PY: '3.11'}")
    assert not same("args: {PY: '3.10'}, target: one")
    (root / "a.txt").write_text("other")
    assert not same()
    (root / ".dockerignore").write_text("a.txt\n")
    assert not same()
    text = "# a comment\n" + text
    assert not same()


def test_a_value_from_a_variable_is_never_shown(root: Path) -> None:
    own = configured(root, 'args: {TOKEN: "${MINE}"}', "FROM x\n", TOOLKIT_VAR_MINE="hush-hush")
    other = configured(root, 'args: {TOKEN: "${MINE}"}', "FROM x\n", TOOLKIT_VAR_MINE="another")
    assert "hush-hush" not in str(own.parts) and own.reference != other.reference


def test_triggers_of_an_image_may_read_any_file(root: Path) -> None:
    assert configured(root, "", "FROM x\n").files == []
    assert any(file.path == "src/one.py" for file in configured(root, "", "FROM triggers\n").files)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("dockerfile: D, base_image: x", "toolkit.yaml:1: build.base_image chooses the base image"),
        ("dockerfile: D, base: x", "toolkit.yaml:1: build.base chooses the base image"),
        ("dockerfile: D, python: '3.12'", "toolkit.yaml:1: build.python chooses the base image"),
        ("target: x", "build.target is for a Dockerfile"),
        ("args: {A: x}", "build.args is for a Dockerfile"),
        ("dockerfile: D, args: {a-b: x}", "'a-b'"),
        ("dockerfile: D, args: {A: [x]}", "build.args.A must be a text"),
        ("files: [x]", "build.files are for the commands of build.run"),
    ],
)
def test_settings_that_contradict_each_other(tmp_path: Path, settings: str, words: str) -> None:
    (tmp_path / "toolkit.yaml").write_text(f"build: {{{settings}}}\n")
    with pytest.raises(BadInput) as error:
        load(tmp_path / "toolkit.yaml", tmp_path)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("settings", "dockerfile", "words"),
    [
        ("target: nope", "FROM x AS base\n", "build.target: D has no stage 'nope' (it has: base)"),
        ("", "RUN x\n", "it has no FROM"),
    ],
)
def test_a_dockerfile_that_nothing_can_be_made_of(root: Path, settings: str, dockerfile: str, words: str) -> None:
    with pytest.raises(BadInput, match=r".*") as error:
        configured(root, settings, dockerfile)
    assert words in str(error.value)


def test_a_remedy_names_the_from_where_no_setting_chooses_the_base(tmp_path: Path) -> None:
    (tmp_path / "toolkit.yaml").write_text("build: {dockerfile: D}\n")
    (tmp_path / "r.txt").write_text("\nnumpy\n")
    project = load(tmp_path / "toolkit.yaml", tmp_path)
    for error, expected in (
        (BadInput("name one in build.base_image (python:3.12)", "p:1"), "p:1: name one in the FROM of D (python:3.12)"),
        (BadInput("build.base_image: the Python of x has no venv: add it"), "D: the Python of x has no venv: add it"),
        (
            FaultyRequirement("name one in build.base_image or build.python, or another", "r.txt", "numpy"),
            "r.txt:2: name one in the FROM of D, or another",
        ),
    ):
        with pytest.raises(BadInput) as caught, placed(project):
            raise error
        assert str(caught.value) == expected
    (tmp_path / ".python-version").write_text("3.10\n")
    said: list[str] = []
    check_python(tmp_path, "toolkit-dockerfile:1", "3.11.2", said.append)
    assert "build.python" not in said[0] and "the FROM of the Dockerfile" in said[0]
