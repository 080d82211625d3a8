"""The installation itself: the steps of an environment's build that install packages, compile them and write their layer, beside uv
that installs and compiles them in the same build.

Both sides are steps of BuildKit on one base with one cache, so what differs is what toolkit's templates do around uv, and the tar
of the layer, which uv's side does without. Target: at most 1.1 of uv's time. A target that is missed is printed, and nothing
fails.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from bench.turns import Broken, Side, in_turn, show, show_ratio, show_times
from toolkit.build.environment import buildkit
from toolkit.build.environment.base_image import find_base_image
from toolkit.build.environment.definition import EnvironmentDefinition, network_files, support, template
from toolkit.build.environment.dependencies.found import Dependencies
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.image.environment_image import ensure_environment
from toolkit.config.settings import Build, BuildNetwork
from toolkit.engine import EngineApi

BOUND = 1.1
PACKAGES = ("numpy", "pandas", "requests", "rich")
_PROJECT = '[project]\nname = "bench"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{}"]\n'
_PLAIN = {
    "uv.lock": "UV_PROJECT_ENVIRONMENT=/opt/venv /opt/uv/bin/uv sync --locked --no-dev --no-install-project",
    "pylock.toml": "/opt/uv/bin/uv venv -q /opt/venv; /opt/uv/bin/uv pip sync --python /opt/venv/bin/python3 pylock.toml",
    "requirements.txt": "/opt/uv/bin/uv venv -q /opt/venv; "
    "/opt/uv/bin/uv pip install --python /opt/venv/bin/python3 --require-hashes -r requirements.txt",
}
"""uv's own way, by the file that it reads."""


def main(pairs: int) -> None:
    """Measures each way of installing the same packages.

    Raises:
        Broken: a side could not be run.
    """
    show(f"install: {', '.join(PACKAGES)} in a build, by toolkit's templates beside uv itself", pairs)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pyproject.toml").write_text(_PROJECT.format('", "'.join(PACKAGES)))
        for command in (
            ["uv", "lock", "-q"],
            ["uv", "export", "-q", "--no-emit-project", "-o", "requirements.txt"],
            ["uv", "export", "-q", "--no-emit-project", "--format", "pylock.toml", "-o", "pylock.toml"],
        ):
            if subprocess.run(command, cwd=root).returncode != 0:
                raise Broken(f"`{' '.join(command)}` failed")
        for name, plain in _PLAIN.items():
            own, other = _measured(root, name, plain, pairs)
            show_times(f"{name}: the template's step", own)
            show_times(f"{name}: uv", other)
            show_ratio(f"{name}: the template's step / uv", own, other, BOUND)


def _measured(root: Path, name: str, plain: str, pairs: int) -> tuple[list[float], list[float]]:
    engine = EngineApi()
    base, image = find_base_image(engine, None)
    if image is None:
        raise Broken(f"the engine has no {base}: run `task setup`")
    found = find_dependencies(root, Build(lock=name), lambda _sentence: None)
    assert isinstance(found, Dependencies)
    definition = EnvironmentDefinition(base, str(image["Id"]), (), found)
    build = root / "build"
    build.mkdir(exist_ok=True)
    network = network_files(BuildNetwork(), root)

    def templates() -> float:
        ensure_environment(engine, definition, network, build, lambda _sentence: None, anew=True)
        log = (build / "environment.log").read_text()
        return _step(log, "installing the dependencies") + _step(log, "writing the layer")

    def uv() -> float:
        dockerfile = template(found.kind).split(b"FROM tools AS builder")[0].decode()
        mounts = "--mount=type=cache,id=toolkit-uv,target=/root/.cache/uv "
        mounts += "--mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem"
        step = f': "step: installing the dependencies"; set -e; . /toolkit/network.sh; export UV_COMPILE_BYTECODE=1; {plain}'
        (root / "Dockerfile").write_text(
            f"{dockerfile}\nFROM tools\nCOPY project /build\nWORKDIR /build\nRUN {mounts} {step}\n"
        )
        context = root / "context"
        for path, content in (
            *((f"project/{path}", content) for path, content in found.files.items()),
            *((f"toolkit/{path}", content) for path, content in support().items()),
        ):
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).write_bytes(content)
        request = buildkit.BuildRequest(
            root / "Dockerfile",
            context,
            "toolkit-bench-install",
            build / "uv.log",
            {"BASE": base, "INSTALLER": "uv"},
            secrets=network,
            anew=True,
        )
        result = buildkit.run_build(buildkit.find_build_client(engine.endpoint), request, lambda _sentence: None)
        if not result.succeeded:
            raise Broken(result.text[-2000:])
        return _step(result.text, "installing the dependencies")

    sides = [Side("templates", templates), Side("uv", uv)]
    # The first round fills the cache.
    in_turn(sides, 1)
    own, other = in_turn(sides, pairs)
    return own, other


def _step(log: str, name: str) -> float:
    """The seconds of a step, as BuildKit has measured them."""
    number = re.search(rf'#(\d+) \[.*"step: {name}"', log)
    took = number and re.search(rf"(?m)^#{number[1]} DONE ([\d.]+)s$", log)
    if not took:
        raise Broken("the build's output does not say how long the step took")
    return float(took[1])
