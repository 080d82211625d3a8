"""The whole model in each form: SDK, driver and YAML give one plan and one run."""

from __future__ import annotations

from tests.conformance.case import SKIPPED, Case, Expect, attempt, attempted, failed

FUNCTIONS = """\
def lists(size):
    return list(range(size)), "go"

async def train(number, word):
    with open("model.txt", "w") as file:
        file.write(f"{word} {number}")
    return number * 10, {"loss": number / 2}

def best(values):
    return max(values, key=json.dumps)

def fails(score):
    raise ValueError(f"{score} is not enough")

def helps(score):
    return score + 1

def judge(score, attempt):
    return score + 10, score >= 20

def last(score, losses, helped):
    return [score, losses, helped]
"""
SDK = """\
import functions
from toolkit import *

each = Pipeline(steps=[
    PythonTask(functions.train, returns=["score", metric("losses")], max_attempts=2, catalog=Catalog(put=["model.txt"])),
])
risky = Pipeline(name="risky", steps=[
    PythonTask(functions.fails, on_failure=PythonTask(functions.helps, returns=["helped"]).as_pipeline()),
    Stub("after fails"),
])

p = Pipeline(name="all of it", steps=[
    PythonTask(functions.lists, returns=["numbers", "word"]),
    Map("each number", branch=each, iterate_on="numbers", iterate_as="number", reducer="functions.best", concurrency=2),
    risky,
    Parallel("both", branches={
        "shell": ShellTask("shell", "cat 1/model.txt", catalog=Catalog(get=["1/model.txt"])).as_pipeline(),
        "stub": Stub("to do").as_pipeline(),
    }),
    Loop("until enough", max_iterations=5, break_on="enough", index_as="attempt",
        branch=PythonTask(functions.judge, returns=["score", "enough"]).as_pipeline()),
    Conditional("go?", parameter="word", branches={
        "stop": Pipeline(steps=[Fail()]),
        "go": Pipeline(steps=[ShellTask("goes", 'echo "$score"')]),
    }, default=Stub("neither").as_pipeline()),
    Map("sums", branch=PythonTask(functions.helps, returns=["sum"], bind={"score": "number"}).as_pipeline(),
        iterate_on="numbers", iterate_as="number", reducer="sum"),
    PythonTask(functions.last, returns=["all"], terminate_with_success=True),
    Stub("never"),
])
"""
DRIVER = """\
import functions
from toolkit import *

@pipeline
def each():
    task(functions.train, returns=["score", metric("losses")], max_attempts=2, catalog=Catalog(put=["model.txt"]))()

@pipeline
def handler():
    task(functions.helps, returns=["helped"])()

@pipeline(name="risky")
def risky():
    PythonTask(functions.fails, on_failure=handler)()
    Stub("after fails")()

@pipeline
def shell():
    ShellTask("shell", "cat 1/model.txt", catalog=Catalog(get=["1/model.txt"]))()

@pipeline
def judging():
    task(functions.judge, returns=["score", "enough"])()

@pipeline
def stops():
    Fail()()

@pipeline
def goes():
    ShellTask("goes", 'echo "$score"')()

@pipeline
def adds(number):
    task(functions.helps, returns=["sum"])(number)

@pipeline(name="all of it")
def main():
    task(functions.lists, returns=["numbers", "word"])()
    Map("each number", branch=each, iterate_on="numbers", iterate_as="number", reducer=functions.best, concurrency=2)()
    risky()
    Parallel("both", branches={"shell": shell, "stub": Stub("to do").as_pipeline()})()
    Loop("until enough", branch=judging, max_iterations=5, break_on="enough", index_as="attempt")()
    Conditional("go?", parameter="word", branches={"stop": stops, "go": goes}, default=Stub("neither").as_pipeline())()
    Map("sums", branch=adds, iterate_on="numbers", iterate_as="number", reducer=sum)()
    task(functions.last, returns=["all"], terminate_with_success=True)()
    Stub("never")()

main.execute()
"""
YAML = """\
neither: &neither
  start_at: neither
  steps: {neither: {type: stub}}
to do: &to-do
  dag: {start_at: to do, steps: {to do: {type: stub, next: success}, success: {type: success}}}
dag:
  name: all of it
  start_at: lists
  steps:
    lists:
      command: functions.lists
      returns: [{name: numbers}, {name: word}]
      next: each number
    each number:
      type: map
      iterate_on: numbers
      iterate_as: number
      reducer: functions.best
      concurrency: 2
      next: risky
      branch:
        start_at: train
        steps:
          train:
            command: functions.train
            returns: [{name: score}, {name: losses, kind: metric}]
            max_attempts: 2
            catalog: {put: [model.txt]}
    risky:
      type: pipeline
      next: both
      branch:
        start_at: fails
        steps:
          fails:
            command: functions.fails
            on_failure:
              start_at: helps
              steps: {helps: {command: functions.helps, returns: [{name: helped}]}}
            next: after fails
          after fails: {type: stub}
    both:
      type: parallel
      next: until enough
      branches:
        shell:
          start_at: shell
          steps: {shell: {command_type: shell, command: cat 1/model.txt, catalog: {get: [1/model.txt]}}}
        stub: *to-do
    until enough:
      type: loop
      max_iterations: 5
      break_on: enough
      index_as: attempt
      next: go?
      branch:
        start_at: judge
        steps: {judge: {command: functions.judge, returns: [{name: score}, {name: enough}]}}
    go?:
      type: conditional
      parameter: word
      next: sums
      branches:
        stop: {start_at: fail, steps: {fail: {type: fail}}}
        go: {start_at: goes, steps: {goes: {command_type: shell, command: 'echo "$score"'}}}
      default: *neither
    sums:
      type: map
      iterate_on: numbers
      iterate_as: number
      reducer: sum
      next: last
      branch:
        start_at: helps
        steps: {helps: {command: functions.helps, returns: [{name: sum}], bind: {score: number}}}
    last:
      command: functions.last
      returns: [{name: all}]
      terminate_with_success: true
      next: never
    never: {type: stub}
"""
JOB = """\
import volume
from toolkit import *

def work(n: int):
    if volume.attempts("job") < 1:
        raise ValueError("once")
    with open("n.txt", "w") as file:
        file.write(str(n))
    return n * n

PythonJob(work, returns=["squared"], catalog=Catalog(put=["n.txt"]), max_attempts=2).execute()
"""

CASES = (
    Case(
        "forms-of-everything",
        "Each kind of step gives the same plan and the same run as a list of steps, as a driver and as YAML.",
        core="each kind of step but a notebook, in each form",
        pipeline="sdk.py",
        also=("driver.py", "pipeline.yaml"),
        compiles=True,
        code=FUNCTIONS,
        files={"sdk.py": SDK, "driver.py": DRIVER, "pipeline.yaml": YAML},
        arguments=["--param", "size=2"],
        expect=Expect(
            among={
                "risky/fails": failed(1, "ValueError: 10 is not enough"),
                "risky/after fails": SKIPPED,
                "go?/stop/fail": SKIPPED,
                "go?/default/neither": SKIPPED,
                "never": SKIPPED,
            },
            parameters={
                "numbers": [0, 1],
                "word": "go",
                "score": 30,
                "enough": True,
                "helped": 11,
                "sum": 3,
                "all": [30, {"loss": 0.5}, 11],
            },
            output={"both/shell/shell": "go 1", "go?/go/goes": "30\n"},
        ),
    ),
    Case(
        "job",
        "A job is one task without a pipeline, with the same records, files and exit code.",
        pipeline="job.py",
        files={"job.py": JOB},
        arguments=["--param", "n=4"],
        expect=Expect(
            steps={"work": attempted(attempt(1, "ValueError: once"), attempt(0))},
            parameters={"squared": 16},
            puts={"work": {"n.txt": "4"}},
        ),
    ),
)
