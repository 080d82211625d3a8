"""Output: all of its bytes are kept, in order."""

from __future__ import annotations

from tests.conformance.case import Case, Expect

CASES = (
    Case(
        "output",
        "Kept in full: an unfinished line, both streams in order, Unicode, other bytes, a megabyte, a child's last output.",
        steps=[
            "PythonTask(functions.no_newline)",
            "PythonTask(functions.in_order)",
            "PythonTask(functions.any_bytes)",
            "PythonTask(functions.large)",
            "PythonTask(functions.silent)",
            "ShellTask('shell', 'printf \"a\\\\000b\"; echo err >&2; printf end')",
        ],
        code="""\
import subprocess

def no_newline():
    print("the last line has no end", end="")

def in_order():
    for number in range(20):
        print("out", number)
        print("err", number, file=sys.stderr)
    subprocess.run(["sh", "-c", "echo child; echo child-err >&2"])
    os.write(1, b"raw\\n")

def any_bytes():
    print("ünïcödé 数据 🎉 \\x1b[31mred\\x1b[0m\\r\\ttab")
    sys.stdout.flush()
    os.write(2, b"\\xff\\xfe no utf-8 \\x00 \\x80\\n")
    print("\\udcff half", file=sys.stderr)

def large():
    for number in range(20_000):
        print(f"{number:06d} " + "x" * 50)

def silent():
    pass
""",
        expect=Expect(
            output={
                "no_newline": "the last line has no end",
                "in_order": "".join(f"out {n}\nerr {n}\n" for n in range(20)) + "child\nchild-err\nraw\n",
                "any_bytes": "ünïcödé 数据 🎉 \x1b[31mred\x1b[0m\r\ttab\n\ufffd\ufffd no utf-8 \x00 \ufffd\n",
                "large": "".join(f"{n:06d} " + "x" * 50 + "\n" for n in range(20_000)),
                "silent": "",
                "shell": "a\x00berr\nend",
            }
        ),
    ),
)
