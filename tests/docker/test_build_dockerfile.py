"""A Dockerfile of the project's own as the base of its environment, and the commands of ``build.run``, in a real engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.support.engine_builds import Bench
from toolkit.build.environment.base_image import find_base_image
from toolkit.config.settings import Build, BuildNetwork
from toolkit.errors import BadInput

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

_MORE = "several builds by BuildKit, of what one core test shows of one"


@pytest.fixture
def base(bench: Bench) -> Iterator[str]:
    """The name of a base image that the engine has. What the Dockerfiles of the test made is removed."""
    before = _made(bench)
    yield find_base_image(bench.raw, None)[0]
    for tag in _made(bench) - before:
        image = bench.raw.image(tag) or {}
        if f"TEST={bench.repository}" in ((image.get("Config") or {}).get("Env") or []):
            bench.raw.call("DELETE", f"/images/{tag}?force=true")


def _made(bench: Bench) -> set[str]:
    tags = {tag for image in bench.raw.json("/images/json") or [] for tag in image.get("RepoTags") or []}
    return {tag for tag in tags if tag.startswith(("toolkit-dockerfile:", "toolkit-env:"))}


def write(bench: Bench, base: str, text: str) -> None:
    (bench.root / "Dockerfile").write_text(f"FROM {base} AS base\nENV TEST={bench.repository}\n{text}")


def asked(bench: Bench) -> bool:
    return any("building the base image from Dockerfile" in sentence for sentence in bench.said)


def test_a_dockerfile_takes_the_place_of_the_base_image(bench: Bench, base: str) -> None:
    write(bench, base, "ARG WHO=nobody\nCOPY words/* /words/\nRUN echo $WHO >/who\nUSER 7\nFROM base\nRUN false\n")
    bench.write(words__a_txt="first\n", words__b_csv="x\n")
    settings = Build(dockerfile="Dockerfile", target="base", args={"WHO": "me"}, lock="none")
    first = bench.build(settings)
    assert asked(bench)
    shown = bench.run(first.reference, "sh", "-c", "cat /who /words/a.txt; ls /words; echo $TEST; id -u").split()
    assert shown == ["me", "first", "a.txt", "b.csv", bench.repository, "12345"]
    # Another line of code is no other base.
    bench.write(app_py="VALUE = 2\n")
    second = bench.build(settings)
    assert not asked(bench) and second.environment == first.environment
    bench.write(words__a_txt="second\n")
    assert bench.dry_run(settings) is None
    assert any("words/a.txt (read by Dockerfile) changed" in sentence for sentence in bench.said), bench.said
    third = bench.build(settings)
    assert asked(bench) and "words/a.txt (read by Dockerfile) changed" in bench.said
    assert bench.run(third.reference, "cat", "/words/a.txt") == "second\n"


@pytest.mark.full(_MORE)
def test_commands_run_in_the_environment_with_their_files(bench: Bench, base: str) -> None:
    write(bench, base, "")
    bench.write(data__one_txt="one\n", not__two_txt="two\n")
    commands = ("cat data/one.txt >/one; echo more >>data/one.txt; ls >/listed; id -u >>/listed", "test -e /one")
    settings = Build(dockerfile="Dockerfile", lock="none", run=commands, files=("data",))
    built = bench.build(settings)
    assert (
        bench.run(built.reference, "sh", "-c", "cat /one /listed; ls /dev/shm; ls -d /toolkit* || true")
        == "one\ndata\n0\n"
    )
    assert any("may differ" in sentence for sentence in bench.said)
    bench.write(not__two_txt="three\n")
    assert bench.build(settings).environment == built.environment
    bench.write(data__one_txt="other\n")
    again = bench.build(settings)
    assert "data/one.txt (read by build.run) changed" in bench.said
    assert bench.run(again.reference, "cat", "/one") == "other\n"
    with pytest.raises(BadInput, match=r"build\.run\[1\]: echo no; exit 4 failed with exit code 4: no"):
        bench.build(settings._replace(run=("true", "echo no; exit 4")))
    with pytest.raises(BadInput, match=r"build\.files names 'nope'"):
        bench.build(settings._replace(files=("nope",)))


@pytest.mark.full(_MORE)
@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("RUN echo so && \\\n  exit 3\n", "Dockerfile:3", "RUN echo so && exit 3 failed with exit code 3: so"),
        ("RUN true\nCOPY .env nope /x/\n", "Dockerfile:4", "is not in the build's context"),
        ("\n# c\nRUN true\nNOPE x\n", "Dockerfile:6", "unknown instruction"),
        ("ONBUILD RUN make\n", "Dockerfile:3", "the image has ONBUILD RUN make"),
        ("FROM scratch\nCOPY app.py /x\n", "Dockerfile", "has no python3 that runs"),
    ],
)
def test_an_error_names_the_line(bench: Bench, base: str, text: str, where: str, words: str) -> None:
    write(bench, base, text)
    with pytest.raises(BadInput) as error:
        bench.build(Build(dockerfile="Dockerfile", lock="none"))
    assert error.value.where == where and words in error.value.message, str(error.value)


@pytest.mark.full(_MORE)
def test_the_python_of_a_virtual_environment_is_the_one_that_is_used(bench: Bench, base: str) -> None:
    write(
        bench,
        base,
        'RUN python3 -m venv /mine\nENV VIRTUAL_ENV=/mine PATH=/mine/bin:$PATH\nUSER 7\nSHELL ["/mine/bin/python3", "-c"]\n',
    )
    settings = Build(dockerfile="Dockerfile", lock="none")
    assert bench.run(bench.build(settings).reference, "python3", "-c", "import sys; print(sys.prefix)") == "/mine\n"
    bench.write(requirements_txt="six==1.16.0\n")
    built = bench.build(settings._replace(lock=None))
    assert any("installed into /opt/venv" in sentence for sentence in bench.said)
    shown = bench.run(built.reference, "python3", "-c", "import sys, six; print(sys.prefix, six.__version__)")
    assert shown == "/opt/venv 1.16.0\n"


@pytest.mark.full(_MORE)
def test_the_context_is_code_and_secrets_come_by_their_mounts(bench: Bench, base: str) -> None:
    for name in (
        ".env",
        ".git/config",
        "keep.txt",
        "skip.txt",
        "netrc",
        ".dockerignore",
        "docker/Dockerfile.dockerignore",
    ):
        path = bench.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text({".dockerignore": "keep.txt\n", "docker/Dockerfile.dockerignore": "skip.txt\n"}.get(name, name))
    text = "COPY . /all/\nRUN --mount=type=secret,id=netrc,target=/run/n sha256sum </run/n >/sum\n"
    (bench.root / "docker/Dockerfile").write_text(f"FROM {base}\nENV TEST={bench.repository}\n{text}")
    settings = Build(dockerfile="docker/Dockerfile", lock="none", network=BuildNetwork(netrc="netrc"))
    built = bench.build(settings)
    assert any("may read any file of the project" in sentence for sentence in bench.said)
    assert bench.run(built.reference, "sh", "-c", "cd /all && find . -type f | sort; cat /sum").split() == [
        "./.dockerignore",
        "./app.py",
        "./docker/Dockerfile",
        "./docker/Dockerfile.dockerignore",
        "./keep.txt",
        "./this/test",
        hashlib.sha256(b"netrc").hexdigest(),
        "-",
    ]
