"""Secrets: which steps get them, unchanged, and where they must not appear."""

from __future__ import annotations

import json

from tests.conformance.case import Case, Expect, failed

PLAIN = "sw0rdf1sh-in-the-open"
LINES = "-----BEGIN KEY-----\nZmlyc3QgbGluZQ-one\nc2Vjb25kIGxpbmU-two\n-----END KEY-----\n"
ODD = 'it\'s "odd" $(HOME) $$ {{x}} ünï 🎉 \\n'
COMMON = "common-to-all-of-them"

CODE = """\
import base64

def own():
    print("plain", os.environ["plain"], "lines", os.environ["lines"], "odd", os.environ["odd"])
    print(base64.b64encode(os.environ["plain"].encode()).decode())
    for character in os.environ["plain"]:
        sys.stdout.write(character)
        sys.stdout.flush()
    print()
    wanted = json.load(open("digests.json"))
    return {name: digest(os.environ[name]) == wanted[name] for name in wanted}

def other():
    return sorted(name for name in ("plain", "lines", "odd", "common") if name in os.environ)

def digest(text):
    import hashlib
    return hashlib.sha256(text.encode()).hexdigest()
"""


def _digests() -> dict[str, str]:
    from tests.conformance.case import digest

    return {
        name: digest(value) for name, value in (("plain", PLAIN), ("lines", LINES), ("odd", ODD), ("common", COMMON))
    }


CASES = (
    Case(
        "secrets",
        "A step's own secrets reach it alone, those of the configuration reach every step, and all are redacted in output.",
        steps=[
            "PythonTask(functions.own, returns=['same'], secrets=['plain', 'lines', 'odd'])",
            "PythonTask(functions.other, returns=['others'])",
            "ShellTask('shell', 'echo \"$common and ${plain:-none}\"; printf %s \"$odd\"', secrets=['odd'])",
        ],
        code=CODE,
        files={"digests.json": json.dumps(_digests())},
        secrets={"plain": PLAIN, "lines": LINES, "odd": ODD},
        common={"common": COMMON},
        expect=Expect(
            parameters={"same": {"plain": True, "lines": True, "odd": True, "common": True}, "others": ["common"]},
            output={"own": "plain *** lines ***", "shell": "*** and none\n***"},
            absent=[PLAIN, "Zmlyc3QgbGluZQ-one", "c2Vjb25kIGxpbmU-two", COMMON],
        ),
    ),
    Case(
        "secret-in-a-traceback",
        "A secret in an exception is redacted in output, record and reason.",
        steps=["PythonTask(functions.raises, secrets=['plain'])"],
        code="def raises():\n    raise RuntimeError('the key is ' + os.environ['plain'])\n",
        secrets={"plain": PLAIN},
        expect=Expect(
            code=1,
            steps={"raises": failed(1, "RuntimeError: the key is ***")},
            output={"raises": "RuntimeError: the key is ***"},
            absent=[PLAIN],
        ),
    ),
    Case(
        "secret-returned",
        "A return that holds a secret fails the step, and is not recorded.",
        steps=["PythonTask(functions.returns, secrets=['plain'], returns=['x'])"],
        code="def returns():\n    return ['so', {'it': 'is ' + os.environ['plain']}]\n",
        secrets={"plain": PLAIN},
        expect=Expect(code=1, steps={"returns": failed(1, "the return x holds the secret plain")}, absent=[PLAIN]),
    ),
)
