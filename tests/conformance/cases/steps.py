"""The names of steps, and stubs."""

from __future__ import annotations

from tests.conformance.case import OK, PASSED, Case, Expect, attempt, attempted

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
    Case(
        "patched",
        "A patched step gives what its patch says, and needs no secret, no file and no code; the others run. A run that resumes "
        "keeps its patches.",
        steps=[
            "PythonTask(functions.fetch, returns=['rows', metric('score'), pickled('frame')], secrets=['nobody_has_it'],"
            " catalog=Catalog(put=['data/{kind}.csv', 'more/']))",
            "Map('each', PythonTask(functions.half, returns=['h']).as_pipeline(), 'rows', 'row')",
            "ShellTask('shell', 'exit 1', returns=['y'])",
            "PythonTask(functions.report, returns=['seen'], catalog=Catalog(get=['data/a.csv', 'more']))",
            "PythonTask(functions.late)",
        ],
        code="def fetch(kind):\n    raise ValueError('the real one')\n\ndef half(row):\n    raise ValueError('the real one')\n\n"
        "def late():\n    raise ValueError('the real one')\n\n"
        "def report(rows, h, y, frame):\n    assert os.environ['MENDED'] == 'yes'\n"
        "    return [rows, h, y, frame, open('data/a.csv').read(), open('more/x').read()]\n",
        files={
            "patches.yaml": "fetch:\n  returns: {rows: [{z: 1, a: 2}, 2], score: 0.5, frame: {b: [1]}}\n"
            "  files: {'data/{kind}.csv': fakes/in.csv, more/x: {text: 'é'}}\n"
            "late: {}\nhalf: {returns: {h: 0.5}}\nshell: {returns: {y: text}}\n",
            "fakes/in.csv": "1\n2\n",
        },
        arguments=["--patch", "patches.yaml", "--param", "kind=a"],
        config={"environment": {"MENDED": "$MENDED"}},
        environ={"TOOLKIT_VAR_MENDED": "no"},
        fix={"TOOLKIT_VAR_MENDED": "yes"},
        expect=Expect(
            among={"report": attempted(attempt(1, "AssertionError"), attempt(0))},
            rows=7,
            parameters={"seen": [[{"z": 1, "a": 2}, 2], [0.5, 0.5], "text", {"b": [1]}, "1\n2\n", "é"]},
            puts={"fetch": {"data/a.csv": "1\n2\n", "more/x": "é"}},
            output={"shell": "this step is patched"},
        ),
    ),
)
