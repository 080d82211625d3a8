"""The commands that messages of a build name, each of which works as it is spelled here.

One list, so that a test can run each of them, and another can find a message that names any other. ``{file}`` and the like are
filled in where the message is made.
"""

from __future__ import annotations

import re

COMMANDS = frozenset(
    {
        "uv lock",
        "uv lock --check",
        "uv lock --refresh",
        "uv export -o requirements.txt",
        "uv export --script {file} -o pylock.toml",
        "uv pip compile {file} -o requirements.txt",
        "uv pip compile --generate-hashes {file} -o {file}",
        "uv pip compile --generate-hashes --upgrade-package {package} {file} -o {file}",
        "poetry lock",
        "pdm lock",
        "pdm lock --lockfile {file}",
        "pdm lock {groups}",
        "pipenv lock",
        "pixi lock",
        "pixi init --import {file}",
        "pixi workspace platform add {platform}",
        "conda-lock lock",
        "conda-lock lock -p {platform}",
        "conda-lock lock -f {file} -p linux-64",
        "docker images",
        "docker push {image}",
        "docker push HOST/{image}",
        "docker system df",
        "docker tag {image} HOST/{image}",
        "docker login",
        "task setup",
        "toolkit lock",
        # The tool that a project is declared for: uv, Poetry or PDM.
        "{tool} lock",
    }
)


def command(text: str, **values: str) -> str:
    """A command of :data:`COMMANDS` as a message shows it. What ``values`` lacks stays to be filled in."""
    if text not in COMMANDS:
        raise KeyError(text)
    return "`" + re.sub(r"\{(\w+)\}", lambda name: values.get(name[1], name[0]), text) + "`"


def writing_again(file: str, package: str = "") -> str:
    """The command that writes a lock, or requirements with hashes, again, with the hashes that the index has now.

    Args:
        package: the one whose hash is wrong; "" is any.
    """
    name = file.rpartition("/")[2]
    if name == "uv.lock":
        # Without it, uv keeps the hashes that a lock has.
        return command("uv lock --refresh")
    if name == "Pipfile.lock":
        return command("pipenv lock")
    if name in ("poetry.lock", "pdm.lock", "pixi.lock"):
        return command({"poetry.lock": "poetry lock", "pdm.lock": "pdm lock", "pixi.lock": "pixi lock"}[name])
    if name.startswith("pdm."):
        return command("pdm lock --lockfile {file}", file=file)
    if name.endswith((".toml", ".yml", ".yaml")):
        return "the tool that wrote it"
    if not package:
        return command("uv pip compile --generate-hashes {file} -o {file}", file=file)
    # uv keeps the hashes of the file that it writes, but for packages that it may upgrade.
    bare = re.split(r"[^\w.-]", package)[0]
    return command(
        "uv pip compile --generate-hashes --upgrade-package {package} {file} -o {file}", file=file, package=bare
    )
