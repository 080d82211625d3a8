"""References: what toolkit tags itself, and what is an existing image."""

from __future__ import annotations

import pytest

from toolkit.build.reference import Reference, full_name, parse_reference, repository_for
from toolkit.errors import BadInput

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_to_use", Reference("image_to_use")),
        ("name:1.0", Reference("name", "1.0")),
        ("host:5000/name", Reference("host:5000/name")),
        ("host:5000/a/name:tag", Reference("host:5000/a/name", "tag")),
        (f"name@{DIGEST}", Reference("name", None, DIGEST)),
        (f"Host.example/name:t@{DIGEST}", Reference("Host.example/name", "t", DIGEST)),
        ("[::1]:5000/name", Reference("[::1]:5000/name")),
        ("a/b__c-d.e", Reference("a/b__c-d.e")),
    ],
)
def test_a_reference_is_taken_apart(text: str, expected: Reference) -> None:
    found = parse_reference(text, "image")
    assert found == expected
    assert str(found) == text
    assert found.names_an_image == bool(expected.tag or expected.digest)


@pytest.mark.parametrize(
    "text", ["", "Name", "a b", "name:", "-name", "name:ta g", "a//b", "name@sha256:12", "x" * 256]
)
def test_an_invalid_reference_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^image: "):
        parse_reference(text, "image")


@pytest.mark.parametrize(
    ("folder", "repository"),
    [("demo", "demo"), ("My Project_2", "my-project-2"), ("..", "project"), ("データ", "project"), ("-a-", "a")],
)
def test_a_folders_name_becomes_a_repository(folder: str, repository: str) -> None:
    assert repository_for(folder) == repository
    parse_reference(repository, "image")


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("a:1", "docker.io/library/a:1"),
        ("me/a:1", "docker.io/me/a:1"),
        ("localhost/a:1", "localhost/a:1"),
        ("host:5000/a:1", "host:5000/a:1"),
        ("ghcr.io/me/a:1", "ghcr.io/me/a:1"),
    ],
)
def test_a_name_is_spelt_out_as_containerd_stores_it(reference: str, full: str) -> None:
    assert full_name(reference) == full
