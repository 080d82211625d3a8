"""What looks like a key or a credential: by its name, or by its first bytes. Such a file is kept out of the code.

Only what is made to hold a secret counts. A certificate, a public key, an example and a program that names a key are code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from toolkit.build.dockerignore import Patterns

LARGEST = 64 << 10
"""Bytes. A larger file is judged by its name alone."""

FOLDERS = frozenset({".aws", ".azure", ".gnupg", ".kube", ".oci", ".ssh"})
"""Folders in which programs keep credentials."""

NAMES = frozenset(
    {
        "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk", "identity.agekey",
        ".netrc", "_netrc", ".pypirc", ".git-credentials", ".pgpass", ".my.cnf", ".mylogin.cnf", ".htpasswd", ".dockercfg",
        ".dockerconfigjson", ".s3cfg", ".boto", ".vault-token", ".bash_history", ".python_history", "kubeconfig",
    }
)  # fmt: skip
"""Files that hold nothing else than credentials, or what was typed."""

ENDINGS = (".env", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".agekey", ".kubeconfig", ".tfvars")
"""Ends of such names. What begins with ``.env`` is never code at all."""

_EXAMPLE = re.compile(
    r"(?:^|[._-])(?:example|examples|sample|template|dist|default|defaults|test|tests|dummy)(?:[._-]|$)"
)
"""In the name of a file that shows which settings there are."""
_SHOWN = re.compile(r"(?:^|[._-])(?:example|examples|sample|template)(?:[._-]|$)")
"""In the name of one whose content is made up. A private key of a test is a private key."""

_PROGRAMS = (
    ".py", ".pyi", ".ipynb", ".md", ".rst", ".html", ".js", ".ts", ".go", ".rs", ".c", ".h", ".cpp", ".java", ".r", ".jl", ".sql",
    ".csv", ".tsv", ".parquet", ".npy", ".npz", ".pkl", ".pickle", ".joblib", ".png", ".jpg", ".jpeg", ".gif", ".so", ".gz", ".zip",
    ".whl", ".log", ".lock", ".xml", ".svg", ".css", ".arrow", ".feather", ".onnx", ".pt", ".bin", ".jsonl", ".ndjson", ".pub",
    ".pyc",
)  # fmt: skip
"""Programs, prose and data, which may show a key without being one: their contents are not judged."""

# What follows is no placeholder, such as `<your key>`, `${KEY}` or three dots.
_PRIVATE_KEY = re.compile(
    rb"(?m)^[ \t]*-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*(?:[A-Za-z0-9+/=]{8}|[A-Z][A-Za-z-]*:)"
)
_VALUE = rb"[ \t]*[\"']?[A-Za-z0-9+/]"
_AWS = re.compile(rb"(?mi)^[ \t]*aws_secret_access_key[ \t]*=" + _VALUE)
_NPM = re.compile(rb"(?mi)(?:_authToken|_password|_auth|npmAuthToken)[\"']?[ \t]*[=:]" + _VALUE)
_ADDRESS = re.compile(
    rb"(?mi)^[ \t]*(?:index-url|extra-index-url|index|repository|url)[ \t]*=.*?://[^/\s:@$]+:[^/\s@$]+@"
)
_KUBECONFIG = re.compile(rb"(?m)^[\"']?kind[\"']?[ \t]*:[ \t]*[\"']?Config\b")
_KUBE_SECRET = re.compile(rb"(?m)^[ \t]+[-\t ]*[\"']?(?:client-key-data|token|password)[\"']?[ \t]*:" + _VALUE)
_PIP = frozenset({"pip.conf", "pip.ini", "uv.toml", ".condarc"})
_NODE = frozenset({".npmrc", ".yarnrc", ".yarnrc.yml"})
_JSON_WORDS = (b"service_account", b"refresh_token", b"client_secret", b'"auth"', b"ecretAccessKey", b'"users"')
"""Of which a JSON that is a credential has one."""
_MOST_NAMED = 5
_AGE = re.compile(rb"(?m)^AGE-SECRET-KEY-1")


def named_credential(name: str, is_folder: bool = False) -> bool:
    """Whether an entry of this name holds credentials, whatever is in it."""
    if is_folder:
        return name in FOLDERS
    if name in NAMES:
        return True
    lower = name.lower()
    return lower.endswith(ENDINGS) and not _EXAMPLE.search(lower)


def may_hold_credential(name: str, size: int) -> bool:
    """Whether the content of a file of this name and size, in bytes, has to be judged."""
    return 16 <= size <= LARGEST and not name.lower().endswith(_PROGRAMS)


def credential_in(name: str, content: bytes) -> str:
    """What the content of such a file is, for a sentence: ``a private key``; empty where it is none, or an example."""
    kind = _kind_of(name, content)
    return "" if kind and _SHOWN.search(name.lower()) else kind


def _kind_of(name: str, content: bytes) -> str:
    content = content.removeprefix(b"\xef\xbb\xbf")
    # A plain search is much faster than an expression, and most files have none of these words.
    if b"PRIVATE KEY" in content and _PRIVATE_KEY.search(content):
        return "a private key"
    if b"AGE-SECRET-KEY-1" in content and _AGE.search(content):
        return "a private key"
    if (b"aws_secret_" in content or b"AWS_SECRET_" in content) and _AWS.search(content):
        return "AWS credentials"
    if name in _NODE and _NPM.search(content):
        return "a token of a package registry"
    if name in _PIP and _ADDRESS.search(content):
        return "an index address with a password"
    if b"Config" in content and _KUBECONFIG.search(content) and _KUBE_SECRET.search(content):
        return "a kubeconfig"
    is_object = content[:1] == b"{" or content[:64].lstrip()[:1] == b"{"
    return _in_json(content) if is_object and any(word in content for word in _JSON_WORDS) else ""


def keeps_credential(patterns: Patterns, path: str) -> bool:
    """Whether a line of .dockerignore brings back a file, or a folder, though it looks like a credential.

    It has to mean the file itself, or a folder of credentials that it lies in: lines like `*` and `!src` are there in order to
    choose folders, and say nothing of a key in one of them.
    """
    if not patterns.patterns:
        return False
    if patterns.means(path):
        return True
    names = path.split("/")
    first = next((number for number, name in enumerate(names, 1) if name in FOLDERS), len(names))
    return any(patterns.means("/".join(names[:end])) for end in range(first, len(names)))


def warn_of_credentials(credentials: Mapping[str, str], warn: Callable[[str], None]) -> None:
    """Names what is left out of the code as a credential, in one sentence.

    Args:
        credentials: by path, what the content is; empty where the name tells it.
    """
    if not credentials:
        return
    paths = sorted(credentials, key=lambda path: path.encode("utf-8", "surrogateescape"))
    named = [f"{path} ({kind})" if (kind := credentials[path]) else path for path in paths]
    more = len(named) - _MOST_NAMED
    listed = ", ".join(named[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    one = len(named) == 1
    line = re.sub(r"([*?\[\\])", r"\\\1", paths[0])
    warn(
        f"{listed} {'looks like a credential' if one else 'look like credentials'}, so {'it is' if one else 'they are'} left out "
        f"of the code: secrets reach steps by `secrets` (docs/configuration.md); a line `!{line}` in .dockerignore keeps "
        f"{'it' if one else 'that one'}, and without the `!` no more is said of it"
    )


def _in_json(content: bytes) -> str:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    if found.get("type") == "service_account" and found.get("private_key"):
        return "a service account's key"
    if found.get("type") in ("authorized_user", "external_account_authorized_user") and found.get("refresh_token"):
        return "a user's credentials of Google Cloud"
    if any(isinstance(found.get(kind), dict) and found[kind].get("client_secret") for kind in ("installed", "web")):
        return "an OAuth client's secret"
    auths = found.get("auths")
    if isinstance(auths, dict) and any(isinstance(one, dict) and one.get("auth") for one in auths.values()):
        return "the logins of Docker"
    if found.get("kind") == "Config" and "users" in found and _KUBE_JSON.search(content):
        return "a kubeconfig"
    # The command line of AWS prints them one level down.
    for one in (found, found.get("AccessKey"), found.get("Credentials")):
        if isinstance(one, dict) and (one.get("secretAccessKey") or one.get("SecretAccessKey")):
            return "AWS credentials"
    return ""


_KUBE_JSON = re.compile(rb"\"(?:client-key-data|token|password)\"\s*:\s*\"[^\"]")
