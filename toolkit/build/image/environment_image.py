"""The environment image: the base image with its system packages, and on it the layer of the dependencies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from toolkit.build.code.layer import CodeLayer
from toolkit.build.environment.builder import DependencyLayer, dependency_layer, ensure_system, run_commands
from toolkit.build.environment.definition import EnvironmentDefinition, short_command
from toolkit.build.image.archive import Blob, ComposedImage, EnvironmentImage, Slice, identity_of, image_config
from toolkit.build.image.build_record import IDENTITY_LABEL
from toolkit.build.image.engine_images import find_image_id, load_image, read_environment_image
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import Infrastructure

_PREFIX = "/opt/venv"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What an engine takes for PATH where an image has none."""


def ensure_environment(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
) -> EngineObject:
    """The environment image. It is built when the engine does not have it.

    Args:
        secrets: the files that the build needs to reach the package index (network_files).
        folder: where the build writes (`.toolkit/build`).
        anew: whether it is built although the engine has it, and nothing is taken from a cache.

    Raises:
        BadInput: the lock does not match pyproject.toml, or its packages cannot be installed.
        Infrastructure: there is no BuildKit, network or space, or the time limit has passed.
    """
    if definition.is_base:
        # It was resolved already, and its name may mean another image by now.
        base = engine.image(definition.base_id)
        if base is None:
            raise Infrastructure(f"the image {definition.base} was removed from the engine meanwhile: build again")
        return base
    reference = definition.reference
    image = engine.image(reference)
    if (image is None or anew) and definition.commands:
        if definition.platform:
            from toolkit.build.environment.foreign.environment import require_emulation

            require_emulation(engine, definition, f"build.run: {short_command(definition.commands[0])!r} has to run")
        inner = definition.without_commands
        ensure_environment(engine, inner, secrets, folder, report, anew)
        run_commands(engine, definition, inner.reference, reference, secrets, folder, report, anew)
        image = engine.image(reference)
    elif image is None or anew:
        _build(engine, definition, reference, secrets, folder, report, anew)
        image = engine.image(reference)
    if image is None:
        raise Infrastructure(f"the engine reported no error, but does not have {reference}: see the engine's log")
    return image


def _build(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    reference: str,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool,
) -> None:
    making: Callable[..., AbstractContextManager[DependencyLayer]] = dependency_layer
    if definition.platform:
        from toolkit.build.environment.foreign.environment import foreign_layer, require_emulation

        making = foreign_layer
        if definition.packages:
            names = ", ".join(sorted(set(definition.packages)))
            require_emulation(
                engine,
                definition,
                f"build.system_packages: apt has to run for {names}",
                "name a base image that has them, ",
            )
    system = ensure_system(
        engine,
        definition.base,
        definition.base_id,
        definition.packages,
        secrets,
        folder,
        report,
        anew,
        definition.platform,
    )
    if definition.lock.kind == "none":
        return
    if definition.made_of:
        report(
            f"note: {definition.lock.file} is installed into /opt/venv, so steps do not see Python packages that the "
            "Dockerfile's own commands installed (build.lock: none takes the image as it is)"
        )
    with making(engine, definition, system, secrets, folder, report, anew) as made:
        if made.from_source:
            report(
                f"note: {', '.join(made.from_source)} {'is' if len(made.from_source) == 1 else 'are'} built from source here, "
                "so the files may differ on another machine"
            )
        found = engine.image(system if definition.packages else definition.base_id)
        if found is None:
            raise Infrastructure(f"the image {system} was removed from the engine meanwhile: build again")
        base = read_environment_image(engine, str(found["Id"]), found, folder)
        composed = compose_environment(base, made.file, definition.lock.environment)
        if find_image_id(engine, reference, composed.identity, composed.diff_ids) is None:
            load_image(engine, composed, base, str(found["Id"]), reference, folder, report)


def compose_environment(base: EnvironmentImage, layer: Path, variables: Mapping[str, str]) -> ComposedImage:
    """The base with the layer of the dependencies on top. Nothing in it depends on when, where or by whom it is built.

    Of the base's settings it keeps those that the final image keeps.

    Args:
        layer: the file with the layer's tar.
        variables: environment variables that the image sets beside PATH and VIRTUAL_ENV.

    Raises:
        Infrastructure: the file can't be read.
    """
    import hashlib

    content = Slice(layer, 0, layer.stat().st_size)
    digest = hashlib.sha256()
    for chunk in content.read():
        digest.update(chunk)
    top = Blob(f"sha256:{digest.hexdigest()}", content.size, content=content)
    identity = identity_of(base.config_digest, [top.digest, json.dumps(dict(variables), sort_keys=True)])
    inherited: EngineObject = base.image.get("Config") or {}
    set_before = dict(entry.partition("=")[::2] for entry in inherited.get("Env") or [])
    path = f"{_PREFIX}/bin:{set_before.get('PATH') or _DEFAULT_PATH}"
    environment = {**set_before, "VIRTUAL_ENV": _PREFIX, "PATH": path, **variables}
    settings: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**(inherited.get("Labels") or {}), IDENTITY_LABEL: identity},
    }
    config = image_config(base, "base", settings, [top.digest], ["dependencies"])
    diff_ids = (*base.diff_ids, top.digest)
    return ComposedImage(config, identity, diff_ids, CodeLayer(layer, top.digest, content.size, ""), (top,))
