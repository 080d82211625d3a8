"""``toolkit build``."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.build.image.builder import build as build_image
from toolkit.cli.arguments import project_at
from toolkit.cli.output import note


def build(options: argparse.Namespace) -> int:
    """Builds the image, delivers it where an option says so, and prints its reference, and nothing else, on standard output."""
    project = project_at(options.config, Path.cwd())
    file = None
    if options.sbom is not None:
        from toolkit.build.image.materials import check_destination

        file = check_destination(project, options.sbom)
    built = build_image(project, report=note, explain=options.explain, anew=options.no_cache)
    reference = built.reference
    materials = None
    if file is not None:
        from toolkit.build.image.materials import materials_of, write_materials
        from toolkit.engine import EngineApi

        materials = materials_of(project, built, EngineApi())
        write_materials(file, materials)
    if options.push or options.load or options.node or options.context:
        from toolkit.build.delivery.deliver import deliver

        # A context or a node says where the image is loaded into.
        load = options.load or bool(options.node) or (bool(options.context) and not options.push)
        push = options.push or False
        reference = deliver(
            project, built, note, push, load, options.context, node=options.node, materials=materials
        ).reference
    print(reference)
    return 0
