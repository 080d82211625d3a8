"""Disks, engines and images that fail: exit code 3, or 2 where the input is to blame, and one sentence that says what."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scratch import LIMIT, Scratch, finish

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@pytest.fixture
def small_volume(containers: Scratch) -> Iterator[Path]:
    """The default volume on a disk of 256 kB."""
    folder = containers.volume()
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=2777", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "body",
    [
        "os.write(1, b'a' * 1_000_000)",
        "open('/mnt/large', 'wb').write(b'a' * 1_000_000)",
        "return os.urandom(400_000).hex()",
    ],
)
def test_a_full_disk_is_no_success(containers: Scratch, small_volume: Path, body: str) -> None:
    containers.steps(only=body, never="pass")
    containers.write(
        {
            "pipeline.py": "import functions\nfrom toolkit import Pipeline, PythonTask\n"
            "p = Pipeline(steps=[PythonTask(functions.only, returns=['x'] if 'return' in open('functions.py').read() else []), "
            "PythonTask(functions.never)])\n"
        }
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code in (1, 3), result.err
    assert "No space left on device" in result.err
    run = containers.show()
    assert run["status"] == "failed"
    assert run["steps"][0]["status"] == "failed"
    assert run["steps"][1]["status"] == "skipped"


def test_a_catalog_on_a_full_disk(containers: Scratch, small_volume: Path) -> None:
    containers.steps(only="open('large', 'wb').write(os.urandom(1_000_000))")
    containers.write(
        {
            "pipeline.py": "import functions\nfrom toolkit import *\n"
            "p = Pipeline(steps=[PythonTask(functions.only, catalog=Catalog(put=['large']))])\n"
        }
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 3, result.err
    assert "No space left on device" in result.err
    assert not list((small_volume / "catalog").rglob("objects/*/*"))


def test_no_engine(containers: Scratch) -> None:
    containers.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    containers.steps(only="pass")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 3
    assert "/nowhere/docker.sock" in result.err
    assert "Traceback" not in result.err


class PrivateEngine:
    """A Docker engine of the test's own, which may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        places = [
            "--data-root",
            str(folder / "data"),
            "--exec-root",
            str(folder / "exec"),
            "--pidfile",
            str(folder / "pid"),
        ]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                # In a network namespace of its own: it would take the bridge of the machine's own engine away.
                ["unshare", "--net", "dockerd", *places, "-H", self.address, "--bridge=none", "--iptables=false"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def call(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["docker", "-H", self.address, *arguments], capture_output=True, timeout=LIMIT, **options)  # type: ignore[call-overload, no-any-return]

    def wait(self) -> None:
        until = time.monotonic() + LIMIT
        while self.call("version").returncode != 0:
            assert time.monotonic() < until and self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.2)

    def containerd(self) -> int:
        return int((self.folder / "exec" / "containerd" / "containerd.pid").read_text())

    def kill(self) -> None:
        """Ends the engine as a crash would, with its containerd."""
        for pid in (self.process.pid, self.containerd()):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=LIMIT)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(self.folder)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def private_engine(tmp_path: Path) -> Iterator[PrivateEngine]:
    folder = Path("/run") / f"toolkit-test-{os.getpid()}"
    folder.mkdir()
    engine = PrivateEngine(folder)
    try:
        engine.wait()
        saved = subprocess.run(["docker", "save", base_image()], capture_output=True, check=True)
        engine.call("load", input=saved.stdout)
        yield engine
    finally:
        engine.stop()


def base_image() -> str:
    for name in ("python:3.12-slim-bookworm", "toolkit-base:bookworm"):
        if subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode == 0:
            return name
    raise AssertionError("`task setup` was to make a base image")


def test_an_engine_that_stops_half_way(containers: Scratch, private_engine: PrivateEngine) -> None:
    containers.environ["DOCKER_HOST"] = private_engine.address
    containers.write({"toolkit.yaml": "executor: {type: local-container, config: {grace_period_in_seconds: 1}}\n"})
    containers.steps(slow="print('ready', flush=True); time.sleep(1000)", never="pass")
    process = containers.start("run", "pipeline.py")
    containers.wait_for(lambda: process.poll() is not None or any(containers.volume().rglob("output.log")))
    containers.wait_for_output("ready")
    private_engine.kill()
    result = finish(process)
    assert result.code == 3, result.err
    assert "stopped answering" in result.err
    assert "Traceback" not in result.err
    run = containers.show()
    assert run["status"] == "failed"
    assert all(step["status"] not in ("running", "waiting") for step in run["steps"])
    # What ran there ends by itself when nobody holds its standard input any more.
    containers.wait_for(lambda: any(containers.volume().rglob("end.json")))


def test_an_image_that_does_not_exist(containers: Scratch) -> None:
    containers.write({"toolkit.yaml": "executor: {type: local-container, config: {image: 'no-such-image-at-all:1'}}\n"})
    containers.steps(only="pass")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code in (2, 3)
    assert "no-such-image-at-all:1" in result.err
    assert "Traceback" not in result.err


def test_an_image_without_python(containers: Scratch) -> None:
    repository = f"toolkit-test-empty-{os.getpid()}"
    name = import_image(f"{repository}:1", {"etc/empty": b""})
    try:
        containers.write({"toolkit.yaml": f"executor: {{type: local-container, config: {{image: '{name}'}}}}\n"})
        containers.steps(only="pass")
        result = containers.toolkit("run", "pipeline.py")
        assert result.code == 2, result.err
        assert "python3" in result.err
        assert "Traceback" not in result.err
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True)
        remove_images(f"{repository}-toolkit")


def import_image(name: str, files: dict[str, bytes]) -> str:
    """An image of these files alone."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    subprocess.run(["docker", "import", "-", name], input=archive.getvalue(), check=True, capture_output=True)
    return name


def remove_images(repository: str) -> None:
    listed = subprocess.run(["docker", "images", "-q", repository], capture_output=True, text=True).stdout.split()
    for image in listed:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True)


def derived(containers: Scratch, name: str, steps: str) -> None:
    """An image of the test's own on the project's, made by the legacy builder (a container and a commit)."""
    reference = containers.toolkit("build").out.strip()
    made = subprocess.run(
        ["docker", "create", "--user", "0", reference, "sh", "-c", steps], capture_output=True, text=True
    )
    container = made.stdout.strip()
    subprocess.run(["docker", "start", "-a", container], check=True, capture_output=True)
    subprocess.run(["docker", "commit", container, name], check=True, capture_output=True)
    subprocess.run(["docker", "rm", container], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("label", "change"),
    [
        ("the label says so", ""),
        (
            "only the runtime says so",
            # Its bytecode too, which Python takes without a look at the file: both lie in an image of another version.
            "sed -i 's/^PROTOCOL = .*/PROTOCOL = 999/' /opt/toolkit/runtime/shared/protocol.py && "
            "python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/toolkit/runtime/shared/protocol.py",
        ),
    ],
)
def test_an_image_whose_runtime_speaks_another_protocol(containers: Scratch, label: str, change: str) -> None:
    containers.steps(only="pass")
    name = f"toolkit-test-protocol-{os.getpid()}:1"
    derived(containers, name, change or "true")
    try:
        if not change:
            relabelled = subprocess.run(
                ["docker", "create", name], capture_output=True, text=True, check=True
            ).stdout.strip()
            subprocess.run(
                ["docker", "commit", "-c", "LABEL dev.toolkit.protocol=999", relabelled, name],
                check=True,
                capture_output=True,
            )
            subprocess.run(["docker", "rm", relabelled], check=True, capture_output=True)
        containers.write({"toolkit.yaml": f"executor: {{type: local-container, config: {{image: '{name}'}}}}\n"})
        result = containers.toolkit("run", "pipeline.py")
        assert result.code in (2, 3), result.err
        assert "protocol" in result.err and "build" in result.err, result.err
        assert "Traceback" not in result.err
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True)
