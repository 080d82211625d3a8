"""What an image holds, read from the files of its packages; and the warning about libraries for a GPU that nothing asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from tests.support.builds import write_project
from toolkit.build.code.layer import CodeLayer
from toolkit.build.image.archive import EnvironmentImage, base_labels, compose_image
from toolkit.build.image.description import what_layers_hold
from toolkit.build.inventory import inside
from toolkit.build.inventory.gpu import gpu_packages, gpu_warning
from toolkit.build.inventory.packages import (
    Inventory,
    Package,
    debian_packages,
    inventory_of,
    read_os_release,
    without_credentials,
)
from toolkit.cli import image as image_command
from toolkit.config.settings import ExecutorConfig, Override, ResourceList, Resources
from toolkit.report import image as image_text
from toolkit.runtime.shared.protocol import IMAGE_HOME
from toolkit.runtime.user import environment as user_environment

STATUS = """Package: libc6
Status: install ok installed
Installed-Size: 12
Architecture: amd64
Version: 2.36-9+deb12u1
Description: a library
 Package: not-this-one

Package: removed
Status: deinstall ok config-files
Version: 1

Package: gone
Status: purge ok not-installed
Version: 1
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    info = "Demo_Pkg-1.0.dist-info"
    return write_project(
        tmp_path / "site-packages",
        {
            "demo/__init__.py": "x" * 100,
            "demo/a,b.txt": "y" * 10,
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: Demo.Pkg\nVersion: 1.0\nLicense: UNKNOWN\n"
            "Classifier: License :: OSI Approved :: MIT License\nClassifier: Topic :: X\n"
            "Requires-Dist: six (>=1)\nRequires-Dist: Rich.Text[all]>=2; python_version > '3'\n"
            "Requires-Dist: only-with; extra == 'more'\n\nName: of the description\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\nTag: py2-none-any\n",
            f"{info}/INSTALLER": "uv\n",
            f"{info}/RECORD": 'demo/__init__.py,sha256=x,100\n"demo/a,b.txt",,\ndemo/gone.py,,\n',
            f"{info}/direct_url.json": json.dumps(
                {"url": "https://me:secret@host/demo.whl", "archive_info": {"hash": "sha256=" + "ab" * 32}}
            ),
            "old.egg-info/PKG-INFO": "Name: old\nVersion: 2\nLicense: " + "a whole text " * 20,
            "of_conda-3.dist-info/METADATA": "Name: of-conda\nVersion: 3\n",
            "broken-4.dist-info/INSTALLER": "pip\n",
        },
    )


def test_what_a_distribution_says_of_itself(site: Path) -> None:
    owned = {str(site / "of_conda-3.dist-info/METADATA")}
    rows = json.loads(json.dumps(list(inside.distributions(str(site), True, owned))))
    found = inventory_of({"distributions": rows}, "", "", "").packages
    assert found == (
        Package(
            "python", "Demo.Pkg", "1.0", 110, ("MIT License",), ("rich-text", "six"), ("py2-none-any", "py3-none-any"),
            source="https://host/demo.whl", sha256="ab" * 32, installer="uv",
        ),
        Package("python", "old", "2"),
    )  # fmt: skip


def test_what_conda_records(tmp_path: Path) -> None:
    record = {
        "name": "zlib",
        "version": "1.3",
        "build": "h_1",
        "url": "https://t/k@host/linux-64/zlib.conda",
        "files": ["lib/z"],
    }
    write_project(tmp_path, {"conda-meta/zlib.json": json.dumps(record), "conda-meta/bad.json": "{", "lib/z": "zz"})
    (row,) = inside.conda_packages(str(tmp_path))
    assert row.pop("files") == [str(tmp_path / "lib/z")]
    (found,) = inventory_of({"conda": [row]}, "", "", "").packages
    assert (found.kind, found.name, found.version, found.build, found.size) == ("conda", "zlib", "1.3", "h_1", 2)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host/a.whl", "https://host/a.whl"),
        ("https://host/a.whl?token=secret#sha256=1", "https://host/a.whl"),
        ("https://host/t/secret/forge/linux-64/a.conda", "https://host/forge/linux-64/a.conda"),
        ("ssh://git@host/a.git", "ssh://host/a.git"),
        ("https://[host/a", ""),
        ("", ""),
    ],
)
def test_an_address_is_kept_without_what_may_be_secret(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_the_project_in_an_image(tmp_path: Path) -> None:
    write_project(tmp_path, {"a.py": "1234", "data/big": "x" * 50})
    (tmp_path / "link").symlink_to("/nowhere")
    found = inside.files_below(str(tmp_path))
    assert (found["files"], found["largest"][0]) == (3, ["data/big", 50])


def test_debian_packages_are_those_that_are_installed() -> None:
    assert debian_packages(STATUS) == [Package("deb", "libc6", "2.36-9+deb12u1", 12288, architecture="amd64")]
    # A distroless image has a file for each, without a Status.
    assert debian_packages("Package: tzdata\nVersion: 1\n") == [Package("deb", "tzdata", "1")]


def test_an_alpine_database() -> None:
    inventory = inventory_of({}, "", "C:Q1=\nP:musl\nV:1.2.5-r0\nA:x86_64\nI:400\nL:MIT\nF:lib\n\nP:zlib\nV:1\n", "")
    assert inventory.packages[0] == Package("apk", "musl", "1.2.5-r0", 400, ("MIT",), architecture="x86_64")
    assert len(inventory.packages) == 2 and inventory.python == ""


def test_os_release_is_read_as_a_shell_would() -> None:
    assert read_os_release("ID=debian\nNAME=\"A 'B'\"\n# c\nX='\nbad line\n") == {
        "ID": "debian",
        "NAME": "A 'B'",
        "X": "'",
    }


def test_an_inventory_survives_being_kept(site: Path) -> None:
    rows = list(inside.distributions(str(site), False, set()))
    code = {"files": 1, "size": 2, "largest": [["a", 2]]}
    found = inventory_of(
        {"python": "3.12.1", "executable": "/p", "distributions": rows, "code": code}, STATUS, "", "ID=x"
    )
    assert Inventory.from_json(json.loads(json.dumps(found.to_json()))) == found


# --- libraries for a GPU ------------------------------------------------------------------------------------------------


def holding(*names: tuple[str, str, int]) -> Inventory:
    packages = tuple(Package("python", name, version, size) for name, version, size in names)
    return Inventory("3.12.1", "/usr/bin/python3", packages, {}, None)


TORCH = (("torch", "2.5.1", 1_700_000_000), ("nvidia-cudnn-cu12", "9.1", 700_000_000), ("numpy", "2", 50_000_000))


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (TORCH, ["torch", "nvidia-cudnn-cu12"]),
        ((("torch", "2.5.1+cpu", 1), ("numpy", "2", 1)), []),
        ((("torch", "2.5.1", 1),), []),  # of an arm64 machine: it has no CUDA
        ((("torch", "2.5.1+cu121", 1),), ["torch"]),
        ((("cupy_cuda12x", "1", 1), ("cupy", "1", 1)), ["cupy_cuda12x"]),
        (
            (("jax-cuda12-plugin", "1", 1), ("jaxlib", "0.4+cuda12.cudnn89", 1), ("jax", "1", 1)),
            ["jax-cuda12-plugin", "jaxlib"],
        ),
        ((("nvidia-ml-py", "12", 1), ("pynvml", "1", 1)), []),
    ],
)
def test_which_packages_are_for_a_gpu(installed: Sequence[tuple[str, str, int]], expected: list[str]) -> None:
    assert [one.name for one in gpu_packages(holding(*installed))] == expected


@pytest.mark.parametrize(
    ("lock", "remedy"),
    [
        ("uv.lock", "`uv add torch --index pytorch-cpu=https://download.pytorch.org/whl/cpu`"),
        ("poetry.lock", "`poetry add --source pytorch-cpu torch`"),
        ("", "torch==2.5.1+cpu on the index https://download.pytorch.org/whl/cpu"),
        (
            "requirements.txt",
            "torch==2.5.1+cpu, with the line `--extra-index-url https://download.pytorch.org/whl/cpu`",
        ),
    ],
)
def test_the_warning_has_the_size_and_a_remedy(lock: str, remedy: str) -> None:
    warning = gpu_warning(holding(*TORCH), ExecutorConfig(), [], lock)
    assert warning.startswith(
        "torch and nvidia-cudnn-cu12 are built for GPUs and take 2.4 GB, and the configuration asks for no GPU"
    )
    assert remedy in warning


def test_who_asks_for_a_gpu_or_has_a_base_for_one_is_not_warned() -> None:
    asks = Resources(limits=ResourceList(gpu=1))
    assert not gpu_warning(holding(*TORCH), ExecutorConfig(resources=asks), [])
    assert not gpu_warning(holding(*TORCH), ExecutorConfig(overrides={"big": Override(resources=asks)}), [])
    assert not gpu_warning(holding(*TORCH), ExecutorConfig(), ["PATH=/bin", "CUDA_VERSION=12.4"])
    assert gpu_warning(holding(*TORCH), ExecutorConfig(overrides={"other": Override()}), ["PATH=/bin"])


# --- the image's config ---------------------------------------------------------------------------------------------------


def composed(config: dict[str, Any], about: dict[str, str] | None = None) -> dict[str, Any]:
    image = {"Config": config, "Architecture": "amd64", "Os": "linux", "RootFS": {"Layers": []}}
    layer = CodeLayer(Path("none"), "sha256:" + "1" * 64, 1, "2" * 64)
    made = compose_image(EnvironmentImage(image, "sha256:" + "3" * 64, ()), layer, about=about)
    return dict(json.loads(made.config)["config"])


def test_what_the_base_says_of_itself_does_not_pass_for_ours() -> None:
    of_base = {
        "org.opencontainers.image.title": "python",
        "org.opencontainers.image.base.name": "debian",
        "team": "data",
    }
    made = composed(
        {"Labels": of_base}, base_labels("python:3.12", {"RepoDigests": ["other@sha256:1", "python@sha256:2"]})
    )
    assert made["Labels"]["org.opencontainers.image.base.name"] == "python:3.12"
    assert made["Labels"]["org.opencontainers.image.base.digest"] == "sha256:2"
    assert made["Labels"]["team"] == "data"
    assert "org.opencontainers.image.title" not in made["Labels"]


@pytest.mark.parametrize(
    ("name", "digests", "expected"),
    [
        ("host:5000/a", ["host:5000/a@sha256:1"], "sha256:1"),
        ("host:5000/a:1", ["docker.io/library/a@sha256:2", "host:5000/a@sha256:1"], "sha256:1"),
        ("a@sha256:1", ["a@sha256:1"], "sha256:1"),
        ("docker.io/library/a:1", ["a@sha256:1"], "sha256:1"),
        ("a:1", [], None),
    ],
)
def test_the_bases_digest_is_that_of_its_own_repository(name: str, digests: list[str], expected: str | None) -> None:
    assert base_labels(name, {"RepoDigests": digests}).get("org.opencontainers.image.base.digest") == expected
    assert base_labels(name, None) == {"org.opencontainers.image.base.name": name}


def test_an_image_has_an_ordinary_user_with_a_home_and_a_step_does_not_have_that_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = composed({"Env": ["PATH=/bin"], "User": "root"})
    assert (made["User"], made["Env"]) == ("1000:1000", ["PATH=/bin", f"HOME={IMAGE_HOME}"])
    assert composed({"Env": ["HOME=/srv"]})["Env"] == ["HOME=/srv"]

    def home(given: str) -> str:
        variables = {"HOME": given}
        user_environment.add_own_variables(variables, SimpleNamespace(work="/workspace"), str(tmp_path))  # type: ignore[arg-type]
        return variables["HOME"]

    import pwd

    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_dir=str(own), pw_name="me"))
    assert home(IMAGE_HOME) == str(own)
    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_dir="/", pw_name="me"))
    assert home(IMAGE_HOME) == str(tmp_path / "home")
    assert home("/tmp") == "/tmp"


OLD = ["ADD rootfs", "RUN x : 'step: system packages'", "COPY /opt/venv /opt/venv"]


@pytest.mark.parametrize(
    ("made_by", "of_base", "expected"),
    [
        ([*OLD, "toolkit: code"], None, ["base", "system packages", "dependencies", "code"]),
        (["ADD", *OLD, "toolkit: code"], 2, ["base", "base", "system packages", "dependencies", "code"]),
        (["toolkit: environment"] * 2 + ["toolkit: code"], None, ["environment", "environment", "code"]),
        (["toolkit: environment"] * 2 + ["toolkit: code"], 1, ["base", "environment", "code"]),
        (
            ["toolkit: base", "toolkit: base", "toolkit: dependencies", *["toolkit: code"] * 4],
            1,
            ["base", "system packages", "dependencies", "runtime", "large files", "large files", "code"],
        ),
        (
            ["toolkit: base", "toolkit: dependencies", 'RUN : "step: build.run[0]"; sh', *["toolkit: code"] * 2],
            1,
            ["base", "dependencies", "build.run", "runtime", "code"],
        ),
        (
            ["toolkit: base", "toolkit: runtime", *["toolkit: data"] * 2, "toolkit: programs", "toolkit: code"],
            1,
            ["base", "runtime", "data", "data", "programs", "code"],
        ),
        (["ADD rootfs", "RUN pip install x"], None, ["", ""]),
    ],
)
def test_what_each_layer_is(made_by: list[str], of_base: int | None, expected: list[str]) -> None:
    assert what_layers_hold(made_by, of_base) == expected


# --- toolkit image ------------------------------------------------------------------------------------------------------


def test_the_document_is_as_its_schema_says_and_the_text_has_the_largest(capsys: pytest.CaptureFixture[str]) -> None:
    from toolkit import report
    from toolkit.build.image.description import ImageDescription, Layer

    packages = tuple(Package("python", f"p{number}", "1", number) for number in range(20))
    inventory = Inventory("3.12.1", "/p", (*packages, *debian_packages(STATUS)), {"NAME": "Debian"}, None)
    image = {
        "Id": "sha256:" + "1" * 64,
        "Os": "linux",
        "Architecture": "arm64",
        "Variant": "v8",
        "Config": {"User": "1000:1000"},
    }
    found = ImageDescription("demo:1", image, True, (Layer("base", "", 5, "ADD"),), inventory, frozenset({"libc6"}))
    project = SimpleNamespace(
        root=Path("none"), config=SimpleNamespace(executor=SimpleNamespace(config=ExecutorConfig()))
    )
    document = image_command._document(project, found)  # type: ignore[arg-type]
    schema = json.loads((Path(report.__file__).parent / "schemas/image.schema.json").read_text())
    jsonschema.validate(document, schema)
    image_text.print_image(document)
    text = capsys.readouterr().out
    assert "linux/arm64/v8" in text and "SYSTEM PACKAGE" in text and "and 5 more, 10 B (all with --json)" in text
    assert text.index("p19") < text.index("p18") and "p4 " not in text
