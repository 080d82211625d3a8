"""Builds with a real engine: a project whose images are removed afterwards."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.build.image.builder import BuiltImage, build
from toolkit.build.image.dry_run import dry_run
from toolkit.config.settings import Build, CatalogStore, Config, Executor, ExecutorConfig, RunLogStore, Secrets
from toolkit.engine import EngineApi
from toolkit.project import Project


@dataclass
class Bench:
    """A project of the test's own, whose images are removed afterwards.

    They are its own by a file: an engine that is told to remove one name of an image may not have seen yet that another
    test gives it a second, and the image is gone for both.
    """

    root: Path
    repository: str
    said: list[str] = field(default_factory=list)
    raw: EngineApi = field(default_factory=EngineApi)

    def write(self, **files: str) -> None:
        for name, content in files.items():
            path = self.root / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def build(self, settings: Build | None = None, *, root: Path | None = None, image: str | None = None) -> BuiltImage:
        root = root or self.root
        executor = Executor(config=ExecutorConfig(image=self.repository))
        config = Config(executor, RunLogStore(), CatalogStore(), Secrets(), settings or Build())
        self.said.clear()
        project = Project(root, root, config)
        return build(project, report=self.said.append, explain=True, image=image, engine=self.raw)

    def dry_run(self, settings: Build | None = None) -> str | None:
        executor = Executor(config=ExecutorConfig(image=self.repository))
        config = Config(executor, RunLogStore(), CatalogStore(), Secrets(), settings or Build())
        self.said.clear()
        return dry_run(Project(self.root, self.root, config), report=self.said.append, engine=self.raw).reference

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def run(self, reference: str, *command: str, user: str = "12345:54321") -> str:
        done = subprocess.run(
            ["docker", "run", "--rm", "--user", user, reference, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def project_to_build(folder: Path) -> Iterator[Bench]:
    """A project of one file in a new folder below this one."""
    root = folder / "project"
    root.mkdir()
    made = Bench(root, f"toolkit-test-{uuid.uuid4().hex[:12]}")
    made.write(app_py="VALUE = 1\n", this__test=made.repository)
    yield made
    for image in made.raw.json("/images/json") or []:
        for tag in image.get("RepoTags") or []:
            if tag.startswith(made.repository):
                made.raw.call("DELETE", f"/images/{tag}?force=true")
