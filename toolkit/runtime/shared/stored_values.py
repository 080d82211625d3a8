"""Values as records store them: in the record, or, where they are large, in a file beside it."""

from __future__ import annotations

import hashlib
import json
import os

from .catalog import StoreFault
from .protocol import LARGEST_IN_RECORD, VALUES_FILE
from .records import encode
from .tree import ANY
from .values import encode_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .documents import EndRecord, JsonValue, StoredValue

    Kind = Literal["json", "metric"]

_UNPUBLISHED = ".values.tmp"
"""The file while values are added to it. Whoever fetches records fetches a file once, so it gets its name when it is whole."""


def store_value(folder: str, kind: Kind, value: JsonValue, data: bytes) -> StoredValue:
    """A value as the record has it. A large one is written to the attempt's folder, for :func:`publish_values`.

    Args:
        folder: the attempt's. data: the value as JSON.

    Raises:
        StoreFault: the folder can't be written.
    """
    if len(data) <= LARGEST_IN_RECORD:
        return {"kind": kind, "value": value}
    try:
        with open(os.path.join(folder, _UNPUBLISHED), "ab") as file:
            offset = file.tell()
            file.writelines((data, b"\n"))
    except OSError as error:
        raise StoreFault(f"{folder} can't be written: {error.strerror}") from None
    return {"kind": kind, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "offset": offset}


def publish_values(folder: str, record: EndRecord) -> None:
    """Gives the file of an attempt's large values its name, or removes it where the record names none of them.

    Raises:
        OSError
    """
    temporary = os.path.join(folder, _UNPUBLISHED)
    reduced = [taken["reduced"] for taken in record["inputs"].values() if "reduced" in taken]
    if any("offset" in stored for stored in (*record["returns"].values(), *reduced)):
        os.rename(temporary, os.path.join(folder, VALUES_FILE))
    elif os.path.exists(temporary):
        os.unlink(temporary)


def load_value(stored: StoredValue) -> JsonValue:
    """The value of a stored parameter of the kind json or metric. One that lies beside its record is read once.

    Raises:
        StoreFault: it is missing or damaged.
    """
    if "value" not in stored:
        stored["value"] = json.loads(_read(stored))
    return stored["value"]


def _read(stored: StoredValue) -> bytes:
    path = stored.get("file", "")
    try:
        with open(path, "rb") as file:
            file.seek(stored["offset"])
            data = file.read(stored["size"])
    except OSError as error:
        raise StoreFault(f"the value in {path} can't be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        raise StoreFault(
            f"the value in {path or 'a record'} can't be found: the record that names it is damaged"
        ) from None
    if hashlib.sha256(data).hexdigest() != stored["sha256"]:
        raise StoreFault(f"the value in {path} is damaged: it has another hash than its record says")
    return data


def value_digest(stored: StoredValue) -> str:
    """The hash of a stored value. The order of a value's keys and its spelling are part of the value."""
    if stored["kind"] == "list":
        # Where the values are written makes no difference.
        return _sha256(encode(without_place(stored), _OF_ITEMS))
    if "sha256" in stored:
        return stored["sha256"]
    if "spelling" in stored:
        return _sha256(encode_value([stored["value"], stored["spelling"]]))
    return _sha256(encode_value(stored["value"]))


_OF_ITEMS = tuple(("items", ANY) * depth + ("value",) for depth in range(1, 10))
"""Where the values of a map's items are, also of maps inside it."""


def without_place(stored: StoredValue) -> StoredValue:
    """A stored value as it is compared and hashed: where it is written is no part of it."""
    if stored["kind"] == "list":
        return {**stored, "items": [without_place(item) for item in stored["items"]]}
    if "offset" not in stored:
        return stored
    return {"kind": stored["kind"], "sha256": stored["sha256"], "size": stored["size"]}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
