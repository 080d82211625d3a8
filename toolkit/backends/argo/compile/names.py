"""Names that Kubernetes and Argo accept, made from ours. Two different names of ours never give the same one."""

from __future__ import annotations

import hashlib
import re

_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TASK = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,79}")
"""In Argo's ``depends`` a name that begins with a digit can't be used."""
_WORDS = re.compile("true|false|nil|not|in|and|or|let|if|else|matches|contains|startsWith|endsWith")
"""Words of the language in which Argo evaluates ``depends``; task names are not quoted there."""
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DIGITS = 8
"""Digits of the hash after a name that had to be changed: cleaned names may collide (``a_b`` and ``a b``)."""


def task_name(path: str) -> str:
    """The name of a DAG's task for the step at ``path``."""
    if _TASK.fullmatch(path) and not _WORDS.fullmatch(path) and not re.search(rf"-[0-9a-f]{{{_DIGITS}}}$", path):
        return path
    cleaned = _clean_name(path, r"[^a-zA-Z0-9]+", 60)
    return ("step-" if cleaned[0].isdigit() else "") + cleaned + _hash(path)


def object_name(name: str, longest: int) -> str:
    """A lower-case name of at most ``longest`` characters for an object, a volume or a template."""
    if len(name) <= longest and _OBJECT.fullmatch(name):
        return name
    return _clean_name(name.lower(), r"[^a-z0-9]+", longest - _DIGITS - 1) + _hash(name)


def label_value(text: str) -> str:
    """A label's value by which objects can be found. The whole text belongs in an annotation."""
    if not text or _LABEL.fullmatch(text):
        return text
    return _clean_name(text, r"[^A-Za-z0-9]+", 50) + _hash(text)


def _clean_name(text: str, unwanted: str, longest: int) -> str:
    return re.sub(unwanted, "-", text).strip("-")[:longest].rstrip("-") or "x"


def _hash(text: str) -> str:
    return "-" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:_DIGITS]
