"""Secrets in what a step prints and returns: found however a program spells them, and wherever a chunk ends."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolkit.runtime.shared.redaction import MASK, RedactedStream, Redactor

CANARY = 's3cr3t-Ünïcode/"quo\'ted"+&=%'
PLAIN = "correct-horse-battery"
KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\n  indented-line-of-it  \nab\n-----END KEY-----\n"
NASTY = r".*+?^${}()|[]\d"


def in_base64(secret: str, before: str, after: str, urlsafe: bool = False) -> bytes:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return encode(f"{before}{secret}{after}".encode())


def spelled(secret: str) -> list[tuple[str, bytes]]:
    raw = secret.encode()
    return [
        ("plain", raw),
        ("JSON", json.dumps(secret).encode()),
        ("JSON in Unicode", json.dumps(secret, ensure_ascii=False).encode()),
        ("repr", repr(secret).encode()),
        ("repr in a dict", repr({"password": secret}).encode()),
        ("repr of its bytes", repr(raw).encode()),
        ("a stream of ASCII", secret.encode("ascii", "backslashreplace")),
        ("URL", quote(secret).encode()),
        ("URL without exceptions", quote(secret, safe="").encode()),
        ("form", quote_plus(secret).encode()),
        ("hex", raw.hex().encode()),
        ("HEX", raw.hex().upper().encode()),
        *(
            (f"base64 after {before!r}", in_base64(secret, before, "tail"))
            for before in ("", "a", "ab", "abc", "user:")
        ),
        *((f"urlsafe base64 after {before!r}", in_base64(secret, before, "?>", True)) for before in ("", "~", "~?")),
    ]


@pytest.mark.parametrize("secret", [CANARY, PLAIN, NASTY, KEY, "密码密码", "a" * 3000])
def test_each_spelling_is_found_inside_other_text(secret: str) -> None:
    redactor = Redactor({"other": "unrelated-value", "mine": secret})
    for how, spelling in spelled(secret):
        text = b"before " + spelling + b" after"
        assert redactor.found(text) == "mine", how
        redacted = redactor.redacted(text)
        assert MASK in redacted and redactor.found(redacted) is None, how
        assert redacted.startswith(b"before ") and redacted.endswith(b" after"), how


@pytest.mark.parametrize("secret", [CANARY, KEY, NASTY])
def test_each_spelling_is_found_when_it_comes_byte_by_byte(secret: str) -> None:
    redactor = Redactor({"mine": secret})
    for how, spelling in spelled(secret):
        text = b"before " + spelling + b" after"
        stream = RedactedStream(redactor)
        passed = b"".join(stream.feed(bytes([byte])) for byte in text) + stream.end()
        assert passed == redactor.redacted(text), how


def test_base64_that_is_broken_into_lines_is_found_in_what_is_returned() -> None:
    # Given a secret that is longer than a line, and one that a line's end may cut,
    for secret in ("long" * 40, PLAIN):
        redactor = Redactor({"mine": secret})
        for before in range(60):
            lines = base64.encodebytes(b"x" * before + secret.encode())
            # when it is in a record, or in a pickled object, then it is found.
            assert redactor.found(json.dumps(lines.decode()).encode()) == "mine"
            assert redactor.found(json.dumps(lines.decode().replace("\n", "\r\n")).encode()) == "mine"
            assert redactor.found(b"\x80" + lines) == "mine"


def test_other_text_is_left_as_it_is() -> None:
    redactor = Redactor({"mine": PLAIN})
    for text in (b"", b"correct-horse", b"\xff\x00\xfe", b"Correct-Horse-Battery", b"***", b"correct-horse-batter" * 5):
        assert redactor.redacted(text) == text
        assert redactor.found(text) is None


def test_a_secret_of_less_than_four_characters_is_not_searched_for() -> None:
    redactor = Redactor({"empty": "", "one": "1", "three": "abc", "four": "abcd"})
    assert redactor.redacted(b"1 abc 1 abcd") == b"1 abc 1 ***"


def test_without_secrets_everything_passes_at_once() -> None:
    stream = RedactedStream(Redactor({}))
    assert stream.feed(b"abc\xff") == b"abc\xff"
    assert stream.end() == b""


def test_a_line_of_a_secret_of_many_lines_is_found_by_itself() -> None:
    redactor = Redactor({"key": KEY})
    assert redactor.redacted(b"1: MIIEpAIBAAKCAQEA7\r\n2: indented-line-of-it\r\n") == b"1: ***\r\n2: ***\r\n"


def test_the_longer_of_two_secrets_is_found_whole_though_the_shorter_is_its_beginning() -> None:
    # Given a password, and another one that goes on where the first ends,
    redactor = Redactor({"short": "abcd", "long": "abcdefgh"})
    stream = RedactedStream(redactor)
    # when a chunk ends between the two,
    passed = stream.feed(b"x abcd") + stream.feed(b"efgh y abcd") + stream.feed(b"ef") + stream.end()
    # then nothing of the longer one's end is left over.
    assert passed == b"x *** y ***ef"


def test_a_secret_that_is_not_text_can_be_blotted_out_of_text() -> None:
    redactor = Redactor({"raw": b"\x80abc\xff".decode("utf-8", "surrogateescape")})
    assert redactor.redacted(b"[\x80abc\xff]") == b"[***]"
    assert "***" in redactor.text("\u0100\udc80") or redactor.text("é\udc80") == "é\udc80"


@given(st.dictionaries(st.sampled_from("nm"), st.text(min_size=4, max_size=12), max_size=2), st.text(max_size=80))
def test_any_text_can_be_redacted(secrets: dict[str, str], text: str) -> None:
    redactor = Redactor(secrets)
    assert redactor.found(
        redactor.text(text + "".join(secrets.values())).encode("utf-8", "surrogatepass")
    ) is None or any(
        # What remains around a mask may by chance be a secret that itself holds the mask's characters.
        "*" in secret
        for secret in secrets.values()
    )


FEW = "ab*"
"""Few letters, so that secrets overlap, contain and continue one another all the time."""


@given(
    st.lists(st.text(FEW, min_size=4, max_size=7), min_size=1, max_size=4),
    st.lists(st.text(FEW, max_size=9), max_size=12),
)
@example(["abab", "babbb"], ["aba", "bb", "b"])
@example(["aaaa", "aaaaaaa"], ["aaaaa", "aaaaaaaa"])
def test_in_any_chunks_a_stream_passes_what_the_whole_would_be(secrets: list[str], chunks: list[str]) -> None:
    redactor = Redactor({str(number): secret for number, secret in enumerate(secrets)})
    stream = RedactedStream(redactor)
    passed = b"".join(stream.feed(chunk.encode()) for chunk in chunks) + stream.end()
    assert passed == redactor.redacted("".join(chunks).encode())


def test_ten_megabytes_without_a_newline_pass_on_as_they_come() -> None:
    # Given an output without any line,
    stream = RedactedStream(Redactor({"mine": PLAIN}))
    chunk = b"correct-" * (1 << 13)
    held = []
    # when it comes in chunks of a pipe's size,
    for _ in range(160):
        passed = stream.feed(chunk)
        held.append(len(chunk) - len(passed))
    # then no more is ever held back than a secret's length, whatever has passed before.
    assert max(held) <= len(PLAIN) * 2
    assert stream.end() == b"correct-"


def test_a_long_key_takes_memory_in_proportion_to_its_length() -> None:
    # The runtime's own memory counts against the step's limit.
    taken = []
    for size in (250, 1_000):
        secret = base64.b64encode(random.Random(1).randbytes(size)).decode()
        tracemalloc.start()
        stream = RedactedStream(Redactor({"key": secret}))
        stream.feed(secret[:-1].encode() * 3)
        taken.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert taken[1] < 8 * taken[0]
