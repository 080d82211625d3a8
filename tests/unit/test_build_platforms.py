"""Platforms: how they are spelled and compared, and what an image that nothing can be run of tells about its Python."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.build.delivery.index import image_index, index_tag
from toolkit.build.environment.foreign.install import uv_platform, without_wheel
from toolkit.build.foreign.interpreter import find_interpreter, libc_of
from toolkit.errors import BadInput
from toolkit.platforms import Platform, normalized, parse_platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("Linux/AArch64", "linux/arm64"),
        ("arm64", "linux/arm64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ],
)
def test_a_platform_has_one_spelling(text: str, platform: str) -> None:
    assert str(parse_platform(text, "--platform")) == platform


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "linux/vax", "windows/amd64", "linux/arm/v7/x", "linux/arm/x", "a b"]
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^--platform: "):
        parse_platform(text, "--platform")


@given(st.sampled_from(["amd64", "aarch64", "arm", "armhf", "386", "s390x"]), st.sampled_from(["", "v7", "8", "v1"]))
def test_a_normal_platform_stays_as_it_is(architecture: str, variant: str) -> None:
    once = normalized("linux", architecture, variant)
    assert normalized(*once) == once == parse_platform(str(once), "x")


@pytest.mark.parametrize(
    ("machine", "image", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm64", "linux/amd64", False),
        ("linux/amd64", "linux/386", True),
        ("linux/arm64", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm64", False),
    ],
)
def test_what_a_machine_runs(machine: str, image: str, runs: bool) -> None:
    assert parse_platform(machine, "x").runs(parse_platform(image, "x")) is runs


def test_an_image_of_the_same_architecture_but_another_variant_is_another() -> None:
    wanted = parse_platform("linux/arm/v6", "x")
    assert wanted.is_of({"Os": "linux", "Architecture": "arm", "Variant": "v6"})
    assert not wanted.is_of({"Os": "linux", "Architecture": "arm", "Variant": "v7"})
    assert parse_platform("arm64", "x").is_of({"Os": "linux", "Architecture": "arm64", "Variant": "v8"})


class Files:
    """The files of an image, and its links by what they lead to."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"/{path}": content for path, content in files.items()}

    def real_path(self, path: str) -> str | None:
        content = self.files.get(path)
        if content is not None and content.startswith(b"-> "):
            return self.real_path(content[3:].decode())
        return path if any(one == path or one.startswith(path + "/") for one in self.files) else None

    def read(self, path: str) -> bytes | None:
        return self.files.get(self.real_path(path) or "")


DEBIAN = {
    "usr/bin/python3": b"-> /usr/bin/python3.11",
    "usr/bin/python3.11": b"...\0003.11.2\0...",
    "usr/lib/python3/dist-packages/six.py": b"",
    "lib/aarch64-linux-gnu/libc.so.6": b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u4) stable release version 2.36.\n\0",
}
OFFICIAL = {
    "usr/local/bin/python3": b"-> /usr/local/bin/python3.12",
    "usr/local/bin/python3.12": b"",
    "usr/local/lib/libpython3.12.so.1.0": b"\0003.12.7\0",
}


def test_debians_own_python_is_found() -> None:
    found = find_interpreter(Files(**DEBIAN), {"PATH": "/usr/local/bin:/usr/bin"})
    assert found == ("3.11.2", "/usr/local/lib/python3.11/dist-packages", "/usr/local/bin", "/usr/bin/python3")


@pytest.mark.parametrize("variables", [{}, {"PYTHON_VERSION": "3.12.7"}, {"PYTHON_VERSION": "3.9.1"}])
def test_the_official_images_python_is_found(variables: dict[str, str]) -> None:
    found = find_interpreter(Files(**DEBIAN, **OFFICIAL), variables)
    assert found == ("3.12.7", "/usr/local/lib/python3.12/site-packages", "/usr/local/bin", "/usr/local/bin/python3")


def test_the_python_of_a_virtual_environment_is_found() -> None:
    venv = {"opt/venv/bin/python3": b"-> /usr/local/bin/python3", "opt/venv/pyvenv.cfg": b"home = /usr/local/bin\n"}
    found = find_interpreter(Files(**OFFICIAL, **venv), {"PATH": "/opt/venv/bin:/usr/local/bin"})
    assert found == ("3.12.7", "/opt/venv/lib/python3.12/site-packages", "/opt/venv/bin", "/opt/venv/bin/python3")


def test_a_python_that_no_name_tells_is_found_by_its_library() -> None:
    files = Files(**{"opt/py/bin/python3": b"elf", "opt/py/lib/python3.13/os.py": b""})
    found = find_interpreter(files, {"PATH": "/opt/py/bin"})
    assert found == ("3.13.0", "/opt/py/lib/python3.13/site-packages", "/opt/py/bin", "/opt/py/bin/python3")


def test_an_image_without_python_has_none() -> None:
    assert find_interpreter(Files(**{"bin/sh": b""}), {}) is None
    # A link that leads to nothing.
    assert find_interpreter(Files(**{"usr/bin/python3": b"-> /usr/bin/python3.9"}), {}) is None


def test_the_c_library_says_which_wheels_fit() -> None:
    assert libc_of(Files(**DEBIAN), "arm64") == (2, 36)
    assert libc_of(Files(**{"lib/ld-musl-aarch64.so.1": b""}), "arm64") is None
    assert libc_of(Files(), "arm64") == (2, 17)


@pytest.mark.parametrize(
    ("glibc", "name"),
    [
        ((2, 36), "aarch64-manylinux_2_36"),
        ((2, 30), "aarch64-manylinux_2_28"),
        ((2, 41), "aarch64-manylinux_2_40"),
        ((2, 12), "aarch64-manylinux_2_17"),
        ((3, 1), "aarch64-manylinux_2_40"),
        (None, "aarch64-unknown-linux-musl"),
    ],
)
def test_uvs_platform_needs_no_newer_c_library_than_the_image_has(glibc: tuple[int, int] | None, name: str) -> None:
    assert uv_platform("aarch64", glibc) == name


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (
            "#9 1.2 error: Distribution `docopt==0.6.2 @ registry+https://pypi.org/simple` can't be installed because it is "
            "marked as `--no-build` but has no binary distribution",
            ("docopt",),
        ),
        (
            "#9 0.8 error: Package `docopt` can't be installed because it is marked as `--no-build` but has no binary",
            ("docopt",),
        ),
        ("#9 1.2 error: Building source distributions is disabled", ()),
        # Nothing of that name or version, whatever the platform.
        ("#9 1.2 ERROR: No matching distribution found for docopt==0.6.2", None),
        (
            '#9 RUN uv pip sync --no-build "pylock.toml"\n#9 1.2 error: Failed to fetch: `https://host/simple/six/`',
            None,
        ),
        ("#9 3.0 toolkit-foreign: docopt six", ("docopt", "six")),
        (
            "  × No solution found\n  ╰─▶ Because docopt==0.6.2 has no usable wheels\n      hint: Wheels are required for `docopt` "
            "because building from source is disabled for all packages",
            ("docopt",),
        ),
        ("error: Failed to fetch: `https://pypi.org/simple/six/`", None),
    ],
)
def test_what_has_no_wheel_is_named(output: str, names: tuple[str, ...] | None) -> None:
    assert without_wheel(output) == names


def test_an_index_is_the_same_whatever_the_order() -> None:
    media = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"mediaType": media}).encode()
    images = [
        (Platform("linux", "arm", "v7"), "sha256:b", manifest),
        (Platform("linux", "amd64"), "sha256:a", manifest),
    ]
    index = image_index(images)
    assert index == image_index(images[::-1])
    assert [one["platform"] for one in json.loads(index)["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
    ]
    assert {(one["mediaType"], one["size"]) for one in json.loads(index)["manifests"]} == {(media, len(manifest))}
    assert index_tag(index) != index_tag(image_index(images[:1]))
