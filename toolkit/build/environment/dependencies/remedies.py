"""The commands that messages of a build name, each of which works as it is spelled here.

One list, so that a test can run each of them. ``{file}`` and the like are filled in where the message is made.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "uv lock": "uv lock",
    "uv lock --check": "uv lock --check",
    "uv pip compile": "uv pip compile {file} -o requirements.txt",
    "uv pip compile --generate-hashes": "uv pip compile --generate-hashes {file} -o requirements.lock",
    "uv export": "uv export -o requirements.txt",
    "uv export --script": "uv export --script {file} -o pylock.toml",
    "poetry lock": "poetry lock",
    "pdm lock": "pdm lock",
    "pdm lock --lockfile": "pdm lock --lockfile {file}",
    "pdm lock -G": "pdm lock {options}",
    "pipenv lock": "pipenv lock",
    "pixi lock": "pixi lock",
    "pixi init": "pixi init --import {file}",
    "conda-lock": "conda-lock lock -f {file} -p linux-64",
    "docker system df": "docker system df",
    "docker login": "docker login",
    "task setup": "task setup",
    "toolkit lock": "toolkit lock",
    "toolkit build --no-cache": "toolkit build --no-cache",
}


def command(name: str, **values: str) -> str:
    """A command as a message shows it, by its name in :data:`COMMANDS`."""
    text = COMMANDS[name]
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return f"`{text}`"
