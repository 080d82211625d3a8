"""on_exit and keep_failure: what runs after a pipeline, however it has ended, and handlers that only tell."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, Step, cancelled, failed, written

SUCCESS = """\
def makes():
    open("made.txt", "w").write("made")
    return 2

def looks(run_status, failed_steps, x, again, given):
    assert open("made.txt").read() == "made"
    return [run_status, failed_steps, x, again, given]

p = Pipeline(
    steps=[
        PythonTask(makes, returns=["x"], catalog=Catalog(put=["made.txt"])),
        Nested("inner", Pipeline(steps=[ShellTask("adds", "export again=$((x + 1))", returns=["again"])])),
    ],
    on_exit=Pipeline(steps=[
        PythonTask(looks, returns=["told"], catalog=Catalog(get=["made.txt"])),
        ShellTask("tells", 'echo "$run_status $failed_steps $told" | tee told.txt', catalog=Catalog(put=["told.txt"])),
        Map("each", iterate_on="ns", iterate_as="n", branch=ShellTask("one", "echo $n $run_status").as_pipeline()),
        Stub("last"),
    ]),
)
"""
FAILURE = """\
def fails(n):
    open("half.txt", "w").write("as far as it came")
    if n != 1:
        raise ValueError(f"no {n}")

def looks(run_status, failed_steps, x=0, never="nothing"):
    return [run_status, failed_steps, x, never, open("0/half.txt").read()]

p = Pipeline(
    steps=[
        ShellTask("before", "export x=7", returns=["x"]),
        Map("map", iterate_on="ns", iterate_as="n", branch=PythonTask(fails, catalog=Catalog(put=["half.txt"])).as_pipeline()),
        ShellTask("never", "export never=1", returns=["never"]),
    ],
    on_exit=Pipeline(steps=[
        PythonTask(looks, returns=["told"], catalog=Catalog(get=["0/half.txt"])),
        ShellTask("tells", "echo $told"),
    ]),
)
"""
FAILS_ITSELF = """\
def fails():
    sys.exit(4)

p = Pipeline(
    steps=[ShellTask("fine", "true")],
    on_exit=Pipeline(steps=[PythonTask(fails), Stub("never")]),
)
"""
KEPT = """\
def fails():
    sys.exit(3)

def looks(run_status, failed_steps, helped):
    return [run_status, failed_steps, helped]

p = Pipeline(
    steps=[
        Nested("inner", Pipeline(steps=[
            PythonTask(fails, keep_failure=True, on_failure=Pipeline(steps=[
                ShellTask("helps", "export helped=yes", returns=["helped"]),
                ShellTask("more", "sleep 1; echo $helped"),
            ])),
            Stub("never"),
        ])),
        Stub("never"),
    ],
    on_exit=PythonTask(looks, returns=["told"]).as_pipeline(),
)
"""
KEPT_LAST = """\
def fails():
    sys.exit(3)

def fails_too():
    sys.exit(4)

def helps():
    return ShellTask("helps", "true").as_pipeline()

p = Pipeline(steps=[Parallel("both", on_failure=helps(), keep_failure=True, branches={
    "a": PythonTask(fails, keep_failure=True, on_failure=PythonTask(fails_too).as_pipeline()).as_pipeline(),
    "b": ShellTask("fine", "true", keep_failure=True, on_failure=helps()).as_pipeline(),
})])
"""
STOPPED = """\
import signal
def sleeps():
    def leave(*_):
        time.sleep(1)
        open("half.txt", "w").write("half")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    print("ready", flush=True)
    time.sleep(1000)

def looks(run_status, failed_steps):
    return [run_status, failed_steps, open("half.txt").read()]

p = Pipeline(
    steps=[PythonTask(sleeps, catalog=Catalog(put=["half.txt"])), Stub("never")],
    on_exit=Pipeline(steps=[
        PythonTask(looks, returns=["told"], catalog=Catalog(get=["half.txt"])),
        ShellTask("tells", "echo $told"),
    ]),
)
"""
IN_YAML = """\
dag:
  start_at: fails
  on_exit: tells
  steps:
    fails:
      type: task
      command_type: shell
      command: exit 3
      next: never
      on_failure: helps
      keep_failure: true
    never:
      type: stub
      next: success
    helps:
      type: task
      command_type: shell
      command: echo help
    tells:
      type: task
      command_type: shell
      command: export told="$run_status $failed_steps"
      returns: [told]
      next: more
    more:
      type: stub
"""

CASES = (
    Case(
        "on-exit-after-success",
        "The steps of on_exit run after a success, see all that the pipeline left, and are told how it has ended.",
        **written(SUCCESS),
        arguments=["--param", "ns=[1, 2]", "--param", "given=3"],
        expect=Expect(
            among={"on_exit": PASSED, "on_exit/each": PASSED, "on_exit/last": PASSED, "inner": PASSED},
            rows=10,
            output={"on_exit/tells": 'succeeded [] ["succeeded", [], 2, 3, 3]', "on_exit/each/1/one": "2 succeeded"},
        ),
    ),
    Case(
        "on-exit-after-failure",
        "The steps of on_exit run after a failure, and are told which steps failed; the run stays failed.",
        core="only Argo's own onExit runs after a failure on a cluster, and what was told is compiled into its pods",
        **written(FAILURE),
        arguments=["--param", "ns=[0, 1, 2]"],
        expect=Expect(
            code=1,
            steps={
                "before": OK,
                "map": BROKEN,
                "map/0/fails": failed(1, "ValueError: no 0"),
                "map/1/fails": OK,
                "map/2/fails": failed(1, "ValueError: no 2"),
                "never": SKIPPED,
                "on_exit": PASSED,
                "on_exit/looks": OK,
                "on_exit/tells": OK,
            },
            output={"on_exit/tells": '["failed", ["map/0/fails", "map/2/fails"], 7, "nothing", "as far as it came"]'},
            reason="the step map/0/fails failed: ValueError: no 0",
        ),
    ),
    Case(
        "on-exit-that-fails",
        "A failure in on_exit is shown, and changes neither the run's status nor the exit code.",
        **written(FAILS_ITSELF),
        expect=Expect(
            steps={
                "fine": OK,
                "on_exit": BROKEN,
                "on_exit/fails": failed(4, "sys.exit(4)"),
                "on_exit/never": SKIPPED,
            },
            stderr="on_exit did not succeed, which does not change the run's status: the step on_exit/fails failed",
        ),
    ),
    Case(
        "on-exit-after-cancel",
        "A first request to cancel stops the pipeline, and its on_exit runs after what was asked to stop has ended.",
        core="on a cluster a request that would leave out on_exit looks the same until somebody needs it",
        **written(STOPPED),
        config={"grace_period_in_seconds": 60},
        cancel_at="ready",
        expect=Expect(
            code=130,
            steps={
                "sleeps": cancelled(143),
                "never": SKIPPED,
                "on_exit": PASSED,
                "on_exit/looks": OK,
                "on_exit/tells": OK,
            },
            output={"on_exit/tells": '["cancelled", [], "half"]'},
            reason="cancelled",
        ),
    ),
    Case(
        "on-exit-out-of-time",
        "The run's time limit stops the pipeline and not its on_exit, which has a time limit of its own.",
        **written(STOPPED),
        config={"max_workflow_duration_in_seconds": 15, "grace_period_in_seconds": 20},
        expect=Expect(
            code=1,
            steps={
                "sleeps": cancelled(143),
                "never": SKIPPED,
                "on_exit": PASSED,
                "on_exit/looks": OK,
                "on_exit/tells": OK,
            },
            output={"on_exit/tells": '["failed", [], "half"]'},
            reason="time limit of 15 s",
        ),
    ),
    Case(
        "on-exit-time-limit",
        "A step of on_exit that takes too long is ended, and the run is as it was.",
        **written('p = Pipeline(steps=[Stub("x")], on_exit=ShellTask("long", "sleep 1000").as_pipeline())\n'),
        config={"max_on_exit_step_duration_in_seconds": 1, "grace_period_in_seconds": 1},
        expect=Expect(
            steps={"x": PASSED, "on_exit": BROKEN, "on_exit/long": failed(143, "time limit of 1 s")},
        ),
    ),
    Case(
        "keep-failure",
        "With keep_failure the handler runs and the step stays failed: what follows is skipped, and the run fails.",
        **written(KEPT),
        expect=Expect(
            code=1,
            steps={
                "inner": BROKEN,
                "inner/fails": failed(3, "sys.exit(3)"),
                "inner/fails/on_failure/helps": OK,
                "inner/fails/on_failure/more": OK,
                "inner/never": SKIPPED,
                "never": SKIPPED,
                "on_exit": PASSED,
                "on_exit/looks": OK,
            },
            reason="the step inner/fails failed: the step left by sys.exit(3)",
        ),
    ),
    Case(
        "keep-failure-of-more",
        "A handler that only tells may fail itself, be of a composite, or not be needed.",
        **written(KEPT_LAST),
        expect=Expect(
            code=1,
            steps={
                "both": BROKEN,
                "both/a/fails": failed(3, "sys.exit(3)"),
                "both/a/fails/on_failure/fails_too": failed(4, "sys.exit(4)"),
                "both/b/fine": OK,
                "both/b/fine/on_failure/helps": SKIPPED,
                "both/on_failure/helps": OK,
            },
            reason="the step both/a/fails failed: the step left by sys.exit(3)",
        ),
    ),
    Case(
        "on-exit-in-yaml",
        "In YAML, on_exit is a dag, or names the step at which it begins.",
        files={"pipeline.yaml": IN_YAML},
        pipeline="pipeline.yaml",
        expect=Expect(
            code=1,
            steps={
                "fails": failed(3, "exit code 3"),
                "fails/on_failure/helps": OK,
                "never": SKIPPED,
                "on_exit": PASSED,
                "on_exit/tells": OK,
                "on_exit/more": Step("succeeded"),
            },
        ),
    ),
)
