"""Data that lies elsewhere, in runs as plain processes."""

from __future__ import annotations

from pathlib import Path

from tests.support.local_project import LocalProject

CONFIG = """\
executor:
  config:
    persistent_volumes:
      - {name: toolkit, mount_path: /mnt}
      - {name: data, mount_path: /data, host_path: ../data, read_only: true}
"""


def test_what_is_said_of_a_volume_that_lies_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    project = LocalProject(tmp_path / "project")
    project.write("toolkit.yaml", CONFIG)
    project.write(
        "pipeline.py",
        "from toolkit import *\np = Pipeline(steps=[ShellTask('only', 'touch $TOOLKIT_VOLUME_DATA/new || true')])\n",
    )
    # A folder that is not there is told with its place, before anything is started.
    assert project.run("pipeline.py") == 2
    assert "toolkit.yaml:5" in project.err and "the host_path of the volume data, ../data, can't be used" in project.err
    assert project.toolkit("runs", "--env", "process") == 0 and "pipeline" not in project.out
    assert project.toolkit("doctor", "--env", "process") != 0
    assert "the host_path of the volume data" in project.out
    # Once it is there, no step writes there, or the run says that nothing keeps them from it.
    (tmp_path / "data").mkdir()
    assert project.run("pipeline.py") == 0, project.err
    written = (tmp_path / "data" / "new").exists()
    assert written == ("nothing keeps a step from writing on what is read-only elsewhere: data" in project.err)
    assert project.toolkit("doctor", "--env", "process") == 0, project.out
    assert "which steps only read" in project.out
