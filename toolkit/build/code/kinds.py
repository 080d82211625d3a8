"""What a file of the code is, by its name, its size and its executable bit: a program or a setting, data, or a large file.

It tells which files change often. A wrong guess costs time when the file changes, and nothing else: the image holds the same.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from toolkit.build.code.files import EntryKind

PROGRAM, DATA, LARGE = range(3)
"""The kinds. A program is what people write: settings, queries, templates and documents as well. A link counts as one."""
LARGE_SIZE = 1_000_000
"""Bytes of a file from which it is large."""

FORMAT = 2
"""Of marshal: the last one that writes equal values as equal bytes, in each Python. A later one marks what is referred to twice."""
Own: TypeAlias = "tuple[str, EntryKind, bool, int, str]"
"""A file or link that is code: its name, kind, executable bit, size, and SHA-256 in hex or target."""
Part: TypeAlias = tuple[int, int, bytes]
"""Of a folder's own files those of one kind: how many, how many bytes they have, and a list of :data:`Own` as marshal writes it."""
Parts: TypeAlias = tuple[Part, ...]
"""A folder's own files: a part for each kind (:mod:`toolkit.build.code.kinds`)."""
Folders: TypeAlias = Mapping[str, Parts]
"""The code, by the path of each folder, with a slash at its end ("" for the root), in order."""


_ENDINGS = """
    py pyi pyx pxd pxi ipynb sh bash zsh fish ps1 bat cmd awk sed pl pm rb lua tcl
    sql hql cypher r rmd qmd jl m f f90 f95 f03 c h cc cpp cxx hh hpp cu cuh rs go java scala kt groovy cs swift
    js mjs cjs jsx ts tsx vue css scss less html htm j2 jinja jinja2 tmpl tpl mako mustache
    toml yaml yml cfg ini conf properties env lock in tf hcl nix mk cmake gradle dockerfile
    proto thrift avsc graphql ipy dvc smk nf wdl cwl
    md markdown rst adoc tex bib
"""
_NAMES = "makefile dockerfile containerfile procfile jenkinsfile snakefile license requirements.txt cmakelists.txt package.json"
_PROGRAM_ENDINGS = frozenset(_ENDINGS.split())
_PROGRAM_NAMES = frozenset(_NAMES.split())


def kind_of(name: str, size: int, is_executable: bool) -> int:
    """The kind of a file.

    Args:
        name: without its folder. size: in bytes.
    """
    if size >= LARGE_SIZE:
        return LARGE
    if name.lower() in _PROGRAM_NAMES:
        return PROGRAM
    stem, dot, ending = name.rpartition(".")
    if not stem:
        # A file such as .gitignore is a setting, and a script needs no ending. Some file systems set the bit of every file.
        return PROGRAM if dot or is_executable else DATA
    return PROGRAM if ending.lower() in _PROGRAM_ENDINGS else DATA


def parts_of(own: Iterable[Own]) -> Parts:
    """The files and links of a folder, by their kinds."""
    kinds: tuple[list[Own], ...] = tuple([] for _ in (PROGRAM, DATA, LARGE))
    for one in sorted(own):
        name, kind, executable, size, _ = one
        kinds[PROGRAM if kind != "file" else kind_of(name, size, executable)].append(one)
    return tuple(part_of(files) for files in kinds)


def part_of(files: list[Own]) -> Part:
    """Files of one kind, in order."""
    return len(files), sum(one[3] for one in files), marshal.dumps(files, FORMAT)


NOTHING = parts_of(())
"""The parts of an empty folder."""
