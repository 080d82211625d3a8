"""``toolkit lock``."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.build.image.builder import lock_dependencies
from toolkit.cli.arguments import project_at
from toolkit.cli.output import note
from toolkit.runtime.shared.whole_files import write_whole


def lock(options: argparse.Namespace) -> int:
    """Writes a pylock.toml of what the project declares into its root, and prints its path."""
    project = project_at(options.config, Path.cwd())
    content = lock_dependencies(project, report=note)
    target = project.root / "pylock.toml"
    write_whole(str(target), content)
    note("commit it: from now on builds install exactly what it lists, until you remove it or write it again")
    print(target)
    return 0
