"""The names of steps, and stubs."""

from __future__ import annotations

from tests.conformance.case import OK, PASSED, Case, Expect

NAMES = (
    "a_b",
    "a b",
    "a-b",
    "A_B",
    "ünïcödé 数据 🎉",
    "$(HOME) $HOME ${HOME} $$",
    "{{x}} {{=1}} {{inputs.parameters.path}} }}",
    "数" * 200,
)

CASES = (
    Case(
        "names",
        "Any printable name can be a step's name, and similar names are kept apart.",
        steps=[
            f"ShellTask({name!r}, 'export r{number}={number}; printf {number} > f{number}',"
            f" returns=['r{number}'], catalog=Catalog(put=['f{number}']))"
            for number, name in enumerate(NAMES)
        ],
        expect=Expect(
            steps={name: OK for name in NAMES},
            parameters={f"r{number}": number for number in range(len(NAMES))},
            puts={name: {f"f{number}": str(number)} for number, name in enumerate(NAMES)},
        ),
    ),
    Case(
        "stubs",
        "A stub can stand anywhere. Steps after it see what came before it, and a process that a step left behind delays nothing.",
        core="a stub has no pod, and a step that leaves a process running ends its pod",
        steps=[
            "Stub('first', whatever=['it', 'is', 'given'])",
            "ShellTask('makes', 'export x=1', returns=['x'])",
            "Stub('{{middle}} $(HOME)')",
            "Stub('middle, again')",
            "ShellTask('uses', 'sleep 1000 & echo $x')",
            "Stub('last')",
        ],
        expect=Expect(
            steps={
                "first": PASSED,
                "makes": OK,
                "{{middle}} $(HOME)": PASSED,
                "middle, again": PASSED,
                "uses": OK,
                "last": PASSED,
            },
            output={"uses": "1\n"},
        ),
    ),
    Case(
        "stubs-alone",
        "A pipeline of stubs alone succeeds.",
        core="a run without a pod",
        steps=["Stub('one')", "Stub('two')"],
        arguments=["--param", "x=1"],
        expect=Expect(steps={"one": PASSED, "two": PASSED}, parameters={"x": 1}),
    ),
)
