"""Keys and credentials are no code unless .dockerignore keeps them, whoever lists or judges the code."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builds import write_project as write
from toolkit.build.code import judged
from toolkit.build.code.files import CodeFile, credential_of, is_left_out, is_project_file, project_files, walk_of
from toolkit.build.code.index import look_at
from toolkit.build.code.judged import JudgedFiles
from toolkit.build.environment.dependencies.found import read_folder

KEY = "-----BEGIN " + "EC PRIVATE KEY-----\nbm90IGEga2V5\n-----END EC PRIVATE KEY-----\n"


def code(root: Path) -> set[str]:
    return {file.path for file in project_files(root, warn=lambda _: None) if file.kind == "file"}


def said(root: Path) -> list[str]:
    sentences: list[str] = []
    project_files(root, warn=sentences.append)
    return sentences


def test_credentials_are_no_code_and_are_named_in_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, {"id_rsa": KEY, "certs/server.pem": KEY, "certs/ca.pem": "-----BEGIN CERTIFICATE-----\nbm8=\n"})
    write(tmp_path, {".aws/credentials": "x", "prod.env": "A=b", "app.py": "", "kubeconfig/__init__.py": ""})
    assert code(tmp_path) == {"app.py", "certs/ca.pem", "kubeconfig/__init__.py"}
    assert said(tmp_path) == [
        ".aws, certs/server.pem (a private key), id_rsa, prod.env look like credentials, so they are left out of the code: "
        "secrets reach steps by `secrets` (docs/configuration.md); a line `!.aws` in .dockerignore keeps that one, and without "
        "the `!` no more is said of it"
    ]
    assert is_left_out(tmp_path, tmp_path / ".aws/new") and is_left_out(tmp_path, tmp_path / ".aws")
    assert not is_project_file(tmp_path, "a/gone/.netrc") and is_project_file(tmp_path, "gone.json")


@pytest.mark.parametrize("name", ["id_rsa", "a [1]*?.pem", "back\\slash.pem", "#!x.pem", "ä/.netrc"])
def test_the_lines_that_the_sentence_names_do_what_it_says(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: KEY})
    (sentence,) = said(tmp_path)
    line = sentence.split("a line `")[1].split("` in .dockerignore")[0]
    (tmp_path / ".dockerignore").write_text(line + "\n")
    assert code(tmp_path) == {".dockerignore", name} and said(tmp_path) == []
    if not line.startswith("!#"):
        (tmp_path / ".dockerignore").write_text(line[1:] + "\n")
        assert code(tmp_path) == {".dockerignore"} and said(tmp_path) == []


def test_what_dockerignore_leaves_out_is_not_named_and_many_are_counted(tmp_path: Path) -> None:
    write(tmp_path, {f"keys/{number}.pem": KEY for number in range(9)} | {"id_rsa": KEY})
    (tmp_path / ".dockerignore").write_text("id_rsa\n")
    (sentence,) = said(tmp_path)
    assert "id_rsa" not in sentence and "keys/4.pem (a private key) and 4 more look like" in sentence
    (tmp_path / ".dockerignore").write_text("id_rsa\nkeys\n")
    assert said(tmp_path) == []


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ("!certs/server.pem", {"certs/server.pem"}),
        ("!**/*.pem", {"certs/server.pem"}),
        ("!id_rsa", {"id_rsa"}),
        ("!.aws", {".aws/credentials", ".aws/config"}),
        ("!.aws/config", {".aws/config"}),
        ("!.aws\n.aws/credentials", {".aws/config"}),
        # These choose folders, and say nothing of the keys in them.
        ("!certs", set()),
        ("*\n!certs\n!certs/**\n!.aws/*", set()),
        ("!id_rsa\nid_rsa", set()),
    ],
)
def test_a_line_that_means_a_credential_keeps_it(tmp_path: Path, lines: str, kept: set[str]) -> None:
    secrets = {"id_rsa": KEY, "certs/server.pem": KEY, ".aws/credentials": "x", ".aws/config": "y"}
    write(tmp_path, {**secrets, ".dockerignore": lines + "\n"})
    assert code(tmp_path) - {".dockerignore"} == kept
    assert all(is_project_file(tmp_path, path) == (path in kept) for path in secrets)


NAMES = st.sampled_from(["id_rsa", "a.pem", "b.json", ".aws", ".ssh", "prod.env", "src", "x.py", "node_modules"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
LINES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "!", "!"]),
    st.sampled_from(["", "**/", "src/"]),
    PATHS | st.sampled_from(["*", "**"]),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(PATHS, st.sampled_from([KEY, "nothing of the kind"]), max_size=8), st.lists(LINES, max_size=4))
def test_all_who_ask_get_the_same_answer(contents: dict[str, str], lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, store = Path(folder, "project"), Path(folder, "judged")
        root.mkdir()
        for path in sorted(contents):
            if not any(parent.is_file() for parent in (root / path).parents) and not (root / path).is_dir():
                write(root, {path: contents[path]})
        write(root, {".dockerignore": "\n".join(lines)})
        there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        found, first, again = code(root), list[str](), list[str]()
        assert found == {path for path in there if is_project_file(root, path)}
        indexed = look_at(walk_of(root, warn=first.append), Path(folder, "index"))
        assert found == {file.path for file in indexed.files()}
        project_files(root, warn=again.append, judge=JudgedFiles(store).of)
        assert first == again == said(root)
        # Whatever is left out though no line does it is named, or more are than one sentence names.
        plain = {path for path in there if path.endswith(("id_rsa", "prod.env")) and "node_modules" not in path}
        if not lines and len(plain) < 4:
            assert all(
                any(path.startswith(named) for named in first[0].split(" look")[0].split(", "))
                for path in plain - found
            )


def test_a_file_that_came_to_rest_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def read_one(file: CodeFile) -> str:
        read.append(file.path)
        return credential_of(file)

    monkeypatch.setattr(judged, "credential_of", read_one)

    def look() -> list[str]:
        read.clear()
        remembered = JudgedFiles(tmp_path / "judged.json")
        found = project_files(tmp_path / "project", warn=lambda _: None, judge=remembered.of)
        remembered.save()
        assert [file.path for file in found] == ["b.json"]
        return list(read)

    write(tmp_path / "project", {"a.pem": KEY, "b.json": '{"a": "nothing of the kind"}'})
    assert look() == ["a.pem", "b.json"] and look() == ["a.pem", "b.json"]
    for name in ("a.pem", "b.json"):
        os.utime(tmp_path / "project" / name, (1, 1))
    monkeypatch.setattr(judged, "RACY_NS", 0)
    time.sleep(0.02)
    assert look() == ["a.pem", "b.json"] and look() == []
    (tmp_path / "judged.json").write_text('{"judge": 1}')
    assert look() == ["a.pem", "b.json"]


def test_an_installed_folder_of_the_project_brings_no_credential_into_the_environment(tmp_path: Path) -> None:
    write(tmp_path, {"lib/setup.py": "", "lib/pkg/key.pem": KEY, "lib/pkg/.netrc": "x", "lib/.aws/config": "y"})
    assert set(read_folder(tmp_path, "lib", "here")) == {"lib/setup.py"}
    (tmp_path / ".dockerignore").write_text("!lib/pkg/key.pem\n")
    assert set(read_folder(tmp_path, "lib", "here")) == {"lib/setup.py", "lib/pkg/key.pem"}
