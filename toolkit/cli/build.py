"""``toolkit build``."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.image.builder import BuiltImage
from toolkit.build.image.builder import build as build_image
from toolkit.cli.arguments import project_at
from toolkit.cli.output import note
from toolkit.errors import BadInput
from toolkit.project import Project

if TYPE_CHECKING:
    from toolkit.platforms import Platform


def build(options: argparse.Namespace) -> int:
    """Builds the image, delivers it where an option says so, and prints its reference, and nothing else, on standard output."""
    platforms = _platforms(options)
    if len(platforms) > 1:
        return _for_several(_project(options), options, platforms)
    project = _project(options, *platforms)
    # A context or a node says where the image is loaded into.
    load = options.load or bool(options.node) or (bool(options.context) and not options.push)
    if options.dry_run:
        named = {"--lock-base": options.lock_base, "--sbom": options.sbom, "--output": options.output}
        writes = next((name for name, value in named.items() if value), None)
        if writes:
            raise BadInput(f"{writes} writes a file, which --dry-run never does: name one of them")
        return _dry_run(project, options, load)
    if options.lock_base:
        from toolkit.build.environment.base_lock import lock_base

        lock_base(project, note)
        project = _project(options, *platforms)
    file = None
    if options.sbom is not None:
        from toolkit.build.image.materials import check_destination

        file = check_destination(project, options.sbom)
    destination = None
    if options.output is not None:
        from toolkit.build.delivery.layout import check_output

        destination = check_output(project, options.output)
    built = build_image(project, report=note, explain=options.explain, anew=options.no_cache)
    reference = built.reference
    materials = None
    if file is not None:
        from toolkit.build.image.materials import materials_of, write_materials
        from toolkit.engine import EngineApi

        materials = materials_of(project, built, EngineApi())
        write_materials(file, materials)
    if destination is not None:
        from toolkit.build.delivery.layout import write_image

        write_image(project, destination, built, note)
    if options.push or load:
        from toolkit.build.delivery.deliver import deliver

        push = options.push or False
        reference = deliver(
            project, built, note, push, load, options.context, node=options.node, materials=materials
        ).reference
    print(reference)
    return 0


def with_platform(project: Project, platform: Platform) -> Project:
    """The project, whose image is to be for this platform."""
    config = project.config
    return replace(project, config=config._replace(build=config.build._replace(platform=str(platform))))


def _for_several(project: Project, options: argparse.Namespace, platforms: list[Platform]) -> int:
    """Builds and pushes an image for each platform, and the index that names them all."""
    if not options.push:
        raise BadInput(
            "--platform names several platforms, and an engine holds an image of one: add --push, which puts them into a registry "
            "under one name, or build them one by one"
        )
    alone = ["--load"] if options.load else []
    alone += [f"--{name}" for name in ("node", "context", "sbom", "output") if getattr(options, name)]
    alone += ["--lock-base"] if options.lock_base else []
    if alone:
        raise BadInput(f"{alone[0]} is about one image: name one platform with it")
    if options.dry_run:
        for platform in platforms:
            note(f"for {platform}:")
            _dry_run(with_platform(project, platform), options, load=False)
        return 0
    from toolkit.build.delivery.deliver import deliver, push_index

    pushed: list[tuple[Platform, BuiltImage, str]] = []
    for platform in platforms:
        note(f"for {platform}:")
        one = with_platform(project, platform)
        built = build_image(one, report=note, explain=options.explain, anew=options.no_cache)
        if built.existing:
            raise BadInput(
                f"{built.reference} is an existing image that is used as it is, so it is not made for other platforms"
            )
        pushed.append((platform, built, deliver(one, built, note, push=True, load=False).reference))
    print(push_index(project, pushed, note))
    return 0


def _platforms(options: argparse.Namespace) -> list[Platform]:
    """What ``--platform`` names, each once.

    Raises:
        BadInput: one is no platform.
    """
    if options.platform is None:
        return []
    from toolkit.platforms import parse_platform

    return list(dict.fromkeys(parse_platform(one, "--platform") for one in options.platform.split(",")))


def _project(options: argparse.Namespace, platform: Platform | None = None) -> Project:
    """The project, with what ``--ssh`` and ``--platform`` say in the place of its settings.

    Raises:
        BadInput: there is no agent, or no such file.
    """
    project = project_at(options.config, Path.cwd())
    project = with_platform(project, platform) if platform is not None else project
    if options.ssh is None:
        return project
    name, _, path = options.ssh.partition("=")
    path = path or ("" if name == "default" else name) or os.environ.get("SSH_AUTH_SOCK", "")
    if not path or not os.path.exists(os.path.expanduser(path)):
        what = f"{path} does not exist" if path else "no SSH agent runs here (SSH_AUTH_SOCK is not set)"
        raise BadInput(
            f"--ssh: {what}: start one (ssh-agent, ssh-add), or name a key without a passphrase (--ssh default=PATH)"
        )
    build = project.config.build
    network = build.network._replace(ssh=os.path.abspath(os.path.expanduser(path)))
    return replace(project, config=project.config._replace(build=build._replace(network=network)))


def _dry_run(project: Project, options: argparse.Namespace, load: bool) -> int:
    """Says what would be done; prints the reference of an image that would stay as it is."""
    from toolkit.build.image.dry_run import dry_run

    foreseen = dry_run(project, report=note, explain=options.explain, anew=options.no_cache)
    push = bool(options.push) and not foreseen.existing
    if options.push and foreseen.existing:
        note("an existing image that is used as it is would not be pushed")
    if push or load:
        from toolkit.build.delivery.deliver import foresee_delivery

        for sentence in foresee_delivery(project, foreseen.repository, push, load, options.context, options.node):
            note(sentence)
    if foreseen.reference is not None:
        print(foreseen.reference)
    return 0
