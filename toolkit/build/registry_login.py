"""The credentials of `docker login`, from where the Docker CLI keeps them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.build.reference import registry_of
from toolkit.errors import Infrastructure

DOCKER_HUB = "docker.io"
_HELPER_TIMEOUT = 30.0
"""Seconds for a credential helper, which may ask a key store."""


@dataclass(frozen=True)
class Credentials:
    """What a registry knows the user by; never shown.

    Attributes:
        token: an identity token, which a token server takes in place of name and password.
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
    """The registry's credentials: from its own helper or the general one, then from the file; None when there are none.

    Which entry of config.json is the registry's, and how it is encoded, docker-py knows. It is not asked for the
    credentials as a whole, because it waits for a helper without a limit, takes a helper that is not installed for an
    error, overlooks a name and a password that are not encoded, and gives up the whole file for one broken entry.

    Raises:
        Infrastructure: config.json or a helper is broken.
    """
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Infrastructure(f"{file} cannot be read ({error}): fix it, or log in again with `docker login`") from error
    # Imported only here: most registries that a run asks know the image without a login.
    from docker import auth

    config = config if isinstance(config, dict) else {}
    helpers = auth.AuthConfig({"credsStore": config.get("credsStore"), "credHelpers": config.get("credHelpers") or {}})
    helper = helpers.get_credential_store(host)
    if helper:
        credentials = _from_helper(str(helper), auth.INDEX_URL if host == DOCKER_HUB else host)
        if credentials is not None:
            return credentials
    return _from_file(config.get("auths") or {}, host)


def credentials_for_engine(reference: str) -> dict[str, str]:
    """The credentials for an image's registry, as an engine is given them with a pull; empty when there are none.

    Raises:
        Infrastructure: config.json or a helper is broken.
    """
    host = registry_of(reference) or DOCKER_HUB
    credentials = credentials_for(host)
    if credentials is None:
        return {}
    if credentials.token:
        return {"identitytoken": credentials.token, "serveraddress": host}
    return {"username": credentials.user, "password": credentials.password, "serveraddress": host}


def _from_file(auths: Mapping[str, object], host: str) -> Credentials | None:
    from docker import auth

    for address, entry in auths.items():
        if auth.resolve_index_name(address) != host or not isinstance(entry, dict):
            continue
        try:
            user, password = auth.decode_auth(str(entry["auth"])) if entry.get("auth") else ("", "")
        except ValueError:
            continue
        user, password = str(entry.get("username") or user), str(entry.get("password") or password.rstrip("\0"))
        token = str(entry.get("identitytoken") or "")
        if user or token:
            return Credentials(user, password, token)
    return None


def _from_helper(helper: str, server: str) -> Credentials | None:
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=server, capture_output=True, text=True, timeout=_HELPER_TIMEOUT)
        if done.returncode != 0:
            return None  # it has none, or is locked; the registry will say whether that matters
        answer = json.loads(done.stdout)
        user, secret = str(answer.get("Username") or ""), str(answer.get("Secret") or "")
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise Infrastructure(f"{program} gave no answer within {_HELPER_TIMEOUT:g} s: unlock its key store") from error
    except (OSError, ValueError, AttributeError) as error:
        # Not the error's own text: it may hold what the helper printed.
        raise Infrastructure(f"{program} gave no usable answer: run `docker login` again") from error
    if not user:
        return None
    return Credentials(token=secret) if user == "<token>" else Credentials(user, secret)
