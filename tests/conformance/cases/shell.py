"""Shell steps: which shell runs, and what a command exports."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, Case, Expect, failed

SCRIPT = """\
cat <<'END'
a here-document with $HOME and {{x}}
END
x=1
export inner=$(( x + 1 ))
( export inner=99 )
cd sub
export where=$(basename "$PWD")
PATH=/nowhere
export quoted='"in quotes"' multi='one
two' unicode='数据 🎉'
"""
TRAPS = """\
trap 'echo the trap' USR1
kill -USR1 $$
export a=1
if true; then exit 0; fi
export a=2
"""
USES = """\
echo "$inner $where $a"
test "$multi" = "one
two"
echo $?
"""

CASES = (
    Case(
        "shell-bash",
        "A command that needs bash asks for it; sh refuses it, and the reason says what to do.",
        steps=[
            "ShellTask('counts', 'words=(a b c); [[ ${words[1]} == b ]] && export n=${#words[@]}', shell='bash', returns=['n'])",
            "ShellTask('refused', 'words=(a b c)')",
        ],
        expect=Expect(
            code=1,
            steps={"counts": OK, "refused": failed(2, "shell: bash")},
            parameters={"n": 3},
        ),
    ),
    Case(
        "shell-strict",
        "A strict step ends at the first command that fails and at a variable that nothing sets. What it exported until then does "
        "not count. A step says for itself what the configuration says for all.",
        config={"strict": True},
        steps=[
            "ShellTask('passes', 'words=(a b); x=${#words[@]}; export x; false || true', returns=['x'])",
            "ShellTask('lenient', 'echo \"[$no_such_name]\"; false; export y=$x', strict=False, returns=['y'])",
            "Parallel('both', branches={"
            "'x': ShellTask('pipes', 'export z=1\\n(exit 7) | cat\\nexport z=2', returns=['z']).as_pipeline(), "
            "'y': ShellTask('names', 'echo one\\necho $no_such_name\\necho two', strict=True).as_pipeline()})",
        ],
        expect=Expect(
            code=1,
            among={
                "both": BROKEN,
                "both/x/pipes": failed(7),
                "both/y/names": failed(1, "no_such_name: unbound variable"),
            },
            rows=5,
            parameters={"x": 2, "y": 2},
            output={"lenient": "[]\n", "both/y/names": "one\n"},
        ),
    ),
    Case(
        "shell-exports",
        "A command returns the last values that it exported, from any folder and with any PATH. A subshell's exports do not count.",
        steps=[
            f"ShellTask('script', {SCRIPT!r}, returns=['inner', 'where', 'quoted', 'multi', 'unicode'])",
            f"ShellTask('traps', {TRAPS!r}, returns=['a'])",
            f"ShellTask('uses', {USES!r})",
            "ShellTask('$(HOME) {{x}}', 'echo $(echo {{x}}) $$ | cut -c1-5; echo \"$\"HOME')",
            "ShellTask('substituted', 'diff --help >/dev/null 2>&1; echo ${0##*/} $#; echo \"${BASH:-no bash}\"')",
        ],
        files={"sub/file.txt": ""},
        expect=Expect(
            parameters={
                "inner": 2,
                "where": "sub",
                "quoted": "in quotes",
                "multi": "one\ntwo",
                "unicode": "数据 🎉",
                "a": 1,
            },
            output={
                "script": "a here-document with $HOME and {{x}}\n",
                "traps": "the trap\n",
                "uses": "2 sub 1\n0\n",
                "$(HOME) {{x}}": "{{x}}\n$HOME\n",
                "substituted": "sh 0\n",
            },
        ),
    ),
)
