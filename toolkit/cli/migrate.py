"""``toolkit migrate``"""

from __future__ import annotations

import argparse
import os
import re
import tokenize
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.migrate.configuration import left_of_yaml, migrate_yaml
from toolkit.migrate.migrated import Migrated
from toolkit.migrate.python_code import THEIRS, migrate_python

_DEPENDENCY = re.compile(rf"""^\s*["']?{THEIRS}(\[[^\]]*\])?\s*(["',;=<>~!@]|$)""")
_NO_CODE = frozenset({"node_modules", "__pycache__", "site-packages"})


def migrate(options: argparse.Namespace) -> int:
    """Rewrites each file in place, and says in one line for each what changed and what is left to do by hand.

    Raises:
        BadInput: a file does not exist or can't be read; the files before it are written.
    """
    changed = left = 0
    for path in _files([Path(name) for name in options.files]):
        migrated = _migrate_file(path, options.dry_run)
        if migrated.changes:
            changed += 1
            verb = "would change" if options.dry_run else "changed"
            print(f"{shown(path)}: {migrated.changes} place{'s' if migrated.changes > 1 else ''} {verb}")
        for line, sentence in migrated.left:
            left += 1
            print(f"{shown(path)}:{line}: to do: {sentence}")
    print(
        f"{changed} file{'' if changed == 1 else 's'} {'would change' if options.dry_run else 'changed'}, {left} to do by hand"
    )
    return 0


def _files(given: list[Path]) -> Iterator[Path]:
    for path in given:
        if not path.is_dir():
            yield path
            continue
        for folder, names, files in os.walk(path):
            # Environments, tools' caches and hidden folders are nobody's project.
            names[:] = sorted(
                name
                for name in names
                if not name.startswith(".")
                and name not in _NO_CODE
                and not (Path(folder) / name / "pyvenv.cfg").exists()
            )
            for name in sorted(files):
                if name.endswith((".py", ".yaml", ".yml")) or _declares_dependencies(name):
                    yield Path(folder) / name


def _declares_dependencies(name: str) -> bool:
    return name == "pyproject.toml" or (name.startswith("requirements") and name.endswith((".txt", ".in")))


def _migrate_file(path: Path, dry_run: bool) -> Migrated:
    where = shown(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"this file can't be read: {(error.strerror or 'no such file').lower()}", where) from None
    if path.suffix == ".py":
        return _migrate_python_file(path, data, dry_run)
    text = data.decode("utf-8", errors="surrogateescape")
    if path.suffix in (".yaml", ".yml"):
        migrated = migrate_yaml(path, text)
        _write(path, data, migrated.text.encode("utf-8", errors="surrogateescape"), dry_run)
        if not dry_run:
            migrated.left += left_of_yaml(path)
        return migrated
    if _declares_dependencies(path.name):
        lines = enumerate(text.splitlines(), 1)
        sentence = f"{THEIRS} is no dependency any more, and toolkit need not be one: every image has its SDK"
        return Migrated(text, left=[(number, sentence) for number, line in lines if _DEPENDENCY.match(line)])
    raise BadInput("this is neither a Python nor a YAML file", where)


def _migrate_python_file(path: Path, data: bytes, dry_run: bool) -> Migrated:
    where = shown(path)
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        migrated = migrate_python(data.decode(encoding))
    except SyntaxError as error:
        raise BadInput(f"this is not Python that can be read: {error.msg}", f"{where}:{error.lineno or 1}") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"this is not Python that can be read: {error}", where) from None
    _write(path, data, migrated.text.encode(encoding), dry_run)
    return migrated


def _write(path: Path, before: bytes, after: bytes, dry_run: bool) -> None:
    if after != before and not dry_run:
        path.write_bytes(after)
