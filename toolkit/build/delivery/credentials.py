"""The credentials of `docker login`, from where the Docker CLI keeps them."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import Infrastructure

DOCKER_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_PATIENCE = 30.0
"""Seconds for a credential helper, which may ask a key store."""


@dataclass(frozen=True)
class Credentials:
    """What a registry knows the user by; never shown.

    Attributes:
        token: an identity token, which stands in for name and password where a token server takes it.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str | None:
        """The value of an Authorization header; None without a name."""
        if not self.user:
            return None
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def credentials_for(host: str) -> Credentials | None:
    """The registry's, by Docker's order: its own helper, the general one, the file; None when there are none.

    Raises:
        Infrastructure: config.json or a helper is broken.
    """
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        config: Any = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Infrastructure(
            f"{file} cannot be read ({error}): mend it, or log in again with `docker login`"
        ) from error
    config = config if isinstance(config, dict) else {}
    keys = (_HUB_KEY, host) if host == DOCKER_HUB else (host, f"https://{host}", f"http://{host}")
    helpers = config.get("credHelpers") or {}
    helper = next((helpers[key] for key in keys if helpers.get(key)), None) or config.get("credsStore")
    if helper:
        found = _from_helper(str(helper), keys[0])
        if found is not None:
            return found
    return _from_file(config.get("auths") or {}, keys)


def _from_file(auths: dict[str, Any], keys: tuple[str, ...]) -> Credentials | None:
    for name, entry in auths.items():
        # Older logins are kept under the address of the API's first or second version.
        plain = name if name == _HUB_KEY else name.rstrip("/").removesuffix("/v1").removesuffix("/v2")
        if plain not in keys or not isinstance(entry, dict):
            continue
        try:
            pair = base64.b64decode(str(entry.get("auth") or ""), validate=False).decode().rstrip("\0")
        except ValueError:
            continue
        user, _, password = pair.partition(":")
        user, password = str(entry.get("username") or user), str(entry.get("password") or password)
        token = str(entry.get("identitytoken") or "")
        if user or token:
            return Credentials(user, password, token)
    return None


def _from_helper(helper: str, key: str) -> Credentials | None:
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=key, capture_output=True, text=True, timeout=_PATIENCE)
        if done.returncode != 0:
            return None  # it has none, or is locked; the registry will say whether that matters
        found = json.loads(done.stdout)
        user, secret = str(found.get("Username") or ""), str(found.get("Secret") or "")
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise Infrastructure(f"{program} gave no answer within {_PATIENCE:g} s: unlock its key store") from error
    except (OSError, ValueError, AttributeError) as error:
        # Not the error's own text: it may hold what the helper printed.
        raise Infrastructure(f"{program} gave no usable answer: try `docker login` again") from error
    if not user:
        return None
    return Credentials(token=secret) if user == "<token>" else Credentials(user, secret)
