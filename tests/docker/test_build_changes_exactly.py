"""The image changes exactly when what is in it does, and is the same on two machines: with a real engine and `toolkit build`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.engine import without_images
from tests.support.scratch import Scratch
from toolkit.engine import EngineApi, resolve_endpoint

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(900),
    pytest.mark.full("it builds a dozen images; the core tier has the model of the same without an engine"),
]

FILES = {
    "pyproject.toml": '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["six<2", "idna"]\n'
    '[dependency-groups]\ndocs = ["iniconfig"]\n',
    "toolkit.yaml": "executor:\n  type: local\n",
    "app.py": "VALUE = 1\n",
    "data/a.csv": "1\n",
    ".dockerignore": "pyproject.toml\nuv.lock\ntoolkit.yaml\n.dockerignore\n*.md\n",
    "README.md": "one\n",
}


def lock(root: Path, *options: str) -> None:
    environment = os.environ | {"UV_PYTHON": sys.executable}
    subprocess.run([sys.executable, "-m", "uv", "lock", "-q", *options], cwd=root, env=environment, check=True)


def id_of(reference: str) -> str:
    """The digest by which the engine has the image."""
    image = EngineApi().image(reference)
    assert image is not None
    return str(image["Id"])


def labels(image: str) -> dict[str, str]:
    found = EngineApi().image(image)
    assert found is not None
    return dict(found["Config"]["Labels"])


def test_a_dozen_edits(tmp_path: Path) -> None:
    root = tmp_path / f"exactly-{uuid.uuid4().hex[:8]}"
    scratch = Scratch(root, {"TOOLKIT_ENV": None})

    def text(name: str, old: str, new: str) -> Callable[[], None]:
        def edit() -> None:
            before = (root / name).read_text()
            assert old in before
            (root / name).write_text(before.replace(old, new, 1))

        return edit

    def caches() -> None:
        scratch.write(
            {
                ".pytest_cache/v/last": "x",
                "src/.mypy_cache/y": "z",
                "mine/pyvenv.cfg": "home = /",
                ".git/HEAD": "ref: x",
            }
        )
        shutil.rmtree(root / "src")  # a folder that is empty otherwise is in the image
        scratch.write({".env": "TOKEN=1\n", ".gitignore~": ""})
        (root / ".gitignore~").unlink()

    def times() -> None:
        os.utime(root / "app.py", (1_000_000_000, 1_000_000_000))
        (root / "data/a.csv").chmod(0o600)
        (root / "data").chmod(0o700)

    def order() -> None:
        head, *packages = (root / "uv.lock").read_text().split("[[package]]\n")
        (root / "uv.lock").write_text(
            f"# by hand\n{head}" + "".join(f"[[package]]\n{one}\n" for one in reversed(packages))
        )

    same, other, other_environment = (True, True), (True, False), (False, False)
    edits: list[tuple[str, Callable[[], object], tuple[bool, bool]]] = [
        ("times and bits that say nothing", times, same),
        ("caches, an environment, secrets", caches, same),
        ("a comment in what is not in the image", text("pyproject.toml", "[project]", "# why\n[project]"), same),
        ("the order of the lock", order, same),
        ("ruff and a limit", lambda: (root / "toolkit.yaml").write_text(
            "executor:\n  type: local\n  config:\n    resources:\n      limits: {memory: 1Gi}\n"), same),
        ("a group that is not chosen", text("pyproject.toml", '"iniconfig"', '"iniconfig>1"'), same),
        ("a file that .dockerignore names", text("README.md", "one", "two"), same),
        ("a value", text("app.py", "1", "2"), other),
        ("data", text("data/a.csv", "1", "2"), other),
        ("the executable bit", lambda: (root / "app.py").chmod(0o755), other),
        ("a link", lambda: (root / "link").symlink_to("app.py"), other),
        ("a version", lambda: lock(root, "--upgrade-package", "six==1.16.0"), other_environment),
    ]  # fmt: skip
    with without_images(root):
        scratch.write(FILES)
        lock(root)
        last = built(scratch)
        first, seen = last, {last}
        for name, edit, (keeps_environment, keeps_image) in edits:
            edit()
            now = built(scratch)
            assert (now == last) == keeps_image, name
            assert keeps_image or now not in seen, name
            is_same = labels(now)["dev.toolkit.environment"] == labels(last)["dev.toolkit.environment"]
            assert is_same == keeps_environment, name
            seen.add(now)
            last = now
        assert built(scratch, "--no-cache") == last
        # All of it undone is the first image again.
        (root / "link").unlink()
        (root / "app.py").chmod(0o644)
        scratch.write({name: FILES[name] for name in ("app.py", "data/a.csv")})
        lock(root, "--upgrade-package", "six")
        assert built(scratch) == first


def built(scratch: Scratch, *options: str) -> str:
    """The digest of the image, whose reference goes into a file of the project, as in a script of a user's."""
    with (scratch.root / "image.txt").open("w") as file:
        command = [sys.executable, "-m", "toolkit", "build", *options]
        done = subprocess.run(
            command, cwd=scratch.root, stdout=file, stderr=subprocess.PIPE, text=True, check=False, timeout=600
        )
    assert done.returncode == 0, done.stderr
    return id_of((scratch.root / "image.txt").read_text().strip())


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can be another user as well")
def test_another_user_folder_time_umask_and_cache_give_the_same_image(tmp_path: Path) -> None:
    """The second machine has none of what the first one left: no record, no cache, no image, and a user that is not root."""
    user = 65_533
    name = f"exactly-{uuid.uuid4().hex[:8]}"
    socket = resolve_endpoint().socket
    if socket is None:
        pytest.skip("the engine is not at a socket, which a group may use")
    # It may read all, because the tests' own Python may lie in root's home. What it writes is its own.
    reads_all = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    ids = (f"--reuid={user}", f"--regid={user}", f"--groups={os.stat(socket).st_gid}")
    one, other = tmp_path / "a" / name, tmp_path / "b" / "much" / "deeper" / "than that" / name
    files = {**FILES, "large/one.bin": "1" * 6_000_000, "large/two.bin": "2" * 6_000_000, "run.sh": "#!/bin/sh\n"}
    digests = []
    with without_images(one):
        Scratch(one).write(files)
        lock(one)
        for root, is_user, umask in ((one, False, 0o022), (other, True, 0o077)):
            before = os.umask(umask)
            try:
                if root is other:
                    for source in sorted(one.rglob("*")):
                        place = other / source.relative_to(one)
                        if source.is_file() and ".toolkit" not in source.parts:
                            place.parent.mkdir(parents=True, exist_ok=True)
                            place.write_bytes(source.read_bytes())
                            os.utime(place, (1_500_000_000, 1_500_000_000))
                (root / "run.sh").chmod(0o700 if is_user else 0o755)
                home = root.parent / "home"
                home.mkdir()
                environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
                environment |= {
                    name: os.environ[name] for name in ("DOCKER_HOST", "SSL_CERT_FILE") if name in os.environ
                }
                command = [sys.executable, "-m", "toolkit", "build"]
                if is_user:
                    for place in (tmp_path / "b", *(tmp_path / "b").rglob("*")):
                        os.chown(place, user, user, follow_symlinks=False)
                    command = ["setpriv", *ids, *reads_all, *command]
                done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
            finally:
                os.umask(before)
            assert done.returncode == 0, done.stderr
            reference = done.stdout.strip()
            digests.append((reference, id_of(reference)))
            EngineApi().call("DELETE", f"/images/{reference}?force=true")
            assert EngineApi().image(reference) is None
        assert digests[0] == digests[1]
