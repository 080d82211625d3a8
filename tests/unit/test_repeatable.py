"""A description is kept only where the project's code shows that it depends on the image and its environment alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import toolkit
from toolkit.run.describe import KeptAnswers
from toolkit.run.repeatable import known
from toolkit.run.repeatable.verdict import obstacle

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse

FUNCTIONS = "import os, time\ndef f(): return time.time()\ndef g(x): return x\n"
FILES = {
    "functions.py": FUNCTIONS,
    "mod.py": "import time\ndef __getattr__(n): return time.time()\n",
    "helper.py": "import time\nx = time.time()\n",
    "pkg/__init__.py": "",
    "pkg/sub.py": "import random\nx = random.random()\n",
    "other.py": "import helper\nx = 1\n",
}
SDK = "from toolkit import *\n"


def request(name: str | None = None, functions: tuple[str, ...] = ()) -> DescribeRequest:
    file = None if functions else "pipeline.py"
    return {
        "roots": [".", "src"],
        "file": file,
        "functions": list(functions),
        "name": name,
        "nth": None,
        "arguments": [],
    }


def verdict(
    root: Path,
    text: str,
    files: Mapping[str, str] = FILES,
    asked: DescribeRequest | None = None,
    environment: Mapping[str, str] = {},
) -> str:
    for path, content in {**files, "pipeline.py": SDK + text}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return obstacle(root, asked or request(), environment)


def cases(text: str) -> dict[str, str]:
    """Texts of a pipeline's file by name: each comes after a line with its name."""
    parts = re.split(r"^### (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


HARMLESS = cases(
    r"""
### plain
import functions
from toolkit import Pipeline, PythonTask
p = Pipeline(steps=[PythonTask(functions.f, returns=['x'])])
if __name__ == '__main__':
    p.execute()
### fstrings
names = ['a', 'b']
steps = []
for i, n in enumerate(names):
    steps.append(ShellTask(f's-{n}-{i:02d}', f'echo {n}'))
p = Pipeline(steps=steps)
### comp
N = 3
p = Pipeline(steps=[ShellTask(f's{i}', 'true') for i in range(N)])
### path
from pathlib import Path
HERE = Path(__file__).resolve().parent
DATA = HERE / 'data' / 'x.csv'
p = Pipeline(steps=[ShellTask('a', f'cat {DATA}')])
### factory
import functions
def build(n=3):
    steps = [PythonTask(functions.f, name=f'f{i}') for i in range(n)]
    return Pipeline(steps=steps, name='x')
p = build(4)
### driver
import functions
f = task(functions.f, returns=['x'])
@task(returns=['y'])
def g(x): return x
@pipeline
def main(a):
    x = f(a)
    g(x)
    Conditional('c', parameter=x, branches={'0': other}, default=other)()
@pipeline(name='o')
def other():
    ShellTask('s', 'true')()
### graph
import functions
from toolkit import after, pipeline, task
f = task(functions.f, returns=['x'])
@pipeline(order='graph')
def main(a):
    with after(f(a), 'last'):
        f(a)
    ShellTask('last', 'true')()
### ext
import pandas as pd
import numpy as np
from tenacity import retry, stop_after_attempt
@retry(stop=3)
def f(df: pd.DataFrame = None): return np.zeros(3)
p = PythonJob(f)
### env
import os
p = Pipeline(steps=[ShellTask(f's{i}', 'true') for i in range(int(os.environ['N']))])
X = os.environ.get('A', 'b')
Y = os.getenv('Q')
if 'Z' in os.environ: pass
### logger
import logging, re, typing
log = logging.getLogger(__name__)
log.setLevel(logging.INFO)
R = re.compile('x')
T = typing.TypeVar('T')
p = ShellJob('true')
### dataclass
from dataclasses import dataclass, field
import enum
@dataclass(frozen=True)
class C:
    name: str = 'x'
    more: list = field(default_factory=list)
    def helper(self): return 1
class Color(enum.Enum):
    RED = 'red'
c = C(name='b')
p = ShellJob('true', name=f'{c.name}-{Color.RED.value}')
### main
import argparse, sys
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--n', type=int, default=3)
    args = parser.parse_args()
    p = Pipeline(steps=[ShellTask(f's{i}', 'true') for i in range(args.n)])
    p.execute()
    return 0
if __name__ == '__main__':
    sys.exit(main())
### try
try:
    import tomllib
except ImportError:
    import tomli as tomllib
try:
    import numpy
except ImportError:
    numpy = None
def f(): return tomllib
p = PythonJob(f)
### deco
import functools
def traced(f):
    @functools.wraps(f)
    def inner(*a, **k):
        print(a)
        return f(*a, **k)
    return inner
@traced
def f(): pass
p = PythonJob(f)
### const
A = {'a': 1, **{'b': 2}}
B = sorted(A.items(), key=lambda kv: kv[1])
C = [k.upper() for k, v in B if v > 1]
D = '-'.join(C)
E = 'x' if D else None
F = A['a'] * 2 + 1
G = tuple(map(str, range(3)))
H, *I = G
assert F
p = ShellJob('true', name='-'.join(G))
### typechecking
import typing
if typing.TYPE_CHECKING:
    import time
    t = time.time()
def f(): pass
p=PythonJob(f)
### inclass
class Steps:
    N = 3
    @staticmethod
    def f(): pass
    @classmethod
    def g(cls): pass
p = Pipeline(steps=[PythonTask(Steps.f), PythonTask(Steps.g)])
### bystar
from functions import *
p = PythonJob(f)
### import-time-in-body
import time, datetime, random, os
def f():
    print(time.time(), random.random(), os.listdir('.'), open('x').read())
p = PythonJob(f)
### nested
import functions
inner = Pipeline(name='i', steps=[PythonTask(functions.f)])
m = Map('m', inner, 'xs', 'x', reducer=max)
p = Pipeline(steps=[m, inner, Parallel('par', {'a': inner, 'b': inner})])
### asyncp
import asyncio
p = AsyncPipeline(steps=[Stub('a')])
async def main():
    await p.execute()
if __name__ == '__main__':
    asyncio.run(main())
### partialuse
import functools
Shell = functools.partial
p = ShellJob('true')
### versions
import numpy as np
p = ShellJob('true', name=f'of-{np.__version__}')
### named
Step = PythonTask
import functions
fs = (functions.f, functions.g)
p = Pipeline(steps=[PythonTask(f, name=f.__name__) for f in fs])
"""
)


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_what_is_shown_to_be_harmless_may_be_kept(tmp_path: Path, text: str) -> None:
    assert verdict(tmp_path, text) == ""


MAY_VARY = cases(
    r"""
### date
import datetime
NOW = datetime.datetime.now()
### date-alias
from datetime import datetime as d
n = d.utcnow().isoformat()
### today
import datetime as dt
n = str(dt.date.today())
### default
import time
def f(x=time.time()): pass
### kwdefault
import time
def f(*, x=time.time()): pass
### decoarg
import time
from tenacity import retry
@retry(stop=time.time())
def f(): pass
### classbody
import time
class C:
    t = time.time()
### classkw
import uuid
class C(object, x=uuid.uuid4()): pass
### comp
import random
x = [random.random() for i in range(3)]
### lambda
import time
f = lambda: time.time()
x = f()
### lambda-in-map
import time
x = list(map(lambda i: time.time(), range(3)))
### key
import time
x = sorted([1], key=lambda i: time.time())
### mapext
import time
x = list(map(time.strftime, ['%Y']))
### helper
import time
def now():
    return time.time()
x = now()
### helper2
import time
def now(c):
    return c()
x = now(time.time)
### getattr
import time
x = getattr(time, 'time')()
### dunderimport
x = __import__('time').time()
### importlib
import importlib
x = importlib.import_module('time').time()
### listdir
import os
x = os.listdir('.')
### glob
from pathlib import Path
x = sorted(Path(__file__).parent.glob('*.csv'))
### iterdir
from pathlib import Path
x = [p.name for p in Path('data').iterdir()]
### exists
from pathlib import Path
if Path('x').exists(): pass
### open
x = open('x').read()
### withopen
with open('x') as f: x = f.read()
### readtext
from pathlib import Path
x = Path('x').read_text()
### environ-all
import os
x = dict(os.environ)
### environ-iter
import os
x = [k for k in os.environ]
### environ-var
import os
N = 'HOST' + 'NAME'
x = os.environ[N]
### hostname
import os
x = os.environ['HOSTNAME']
### hostname2
from os import environ
x = environ.get('HOSTNAME', 'x')
### hostname3
import os
x = os.getenv('HOSTNAME')
### socket
import socket
x = socket.gethostname()
### uuid
from uuid import uuid4
x = uuid4().hex
### id
x = id(3)
### addr
def f(): pass
x = f'{f}'
### addr2
x = str(object())
### addr3
import toolkit
x = f'{toolkit.Stub("a")}'
### addr4
x = f'{map(str, [1])}'
### addr5
class C: pass
x = f'{C()}'
### setorder
import functions
x = [f for f in {functions.f, functions.g}]
### property
import time
class C:
    @property
    def now(self): return time.time()
x = C().now
### init
import time
class C:
    def __init__(self): self.t = time.time()
x = C()
### postinit
import time
from dataclasses import dataclass
@dataclass
class C:
    def __post_init__(self): self.t = time.time()
x = C()
### factory
import time
from dataclasses import dataclass, field
@dataclass
class C:
    t: float = field(default_factory=time.time)
x = C()
### factory2
import time
from pydantic import BaseModel, Field
class C(BaseModel):
    t: float = Field(default_factory=lambda: time.time())
x = C()
### settings
from pydantic_settings import BaseSettings
class S(BaseSettings):
    n: int = 3
s = S()
### metaclass
import time
class M(type):
    def __call__(cls): return time.time()
class C(metaclass=M): pass
x = C()
### initsub
import time
class B:
    def __init_subclass__(cls): cls.t = time.time()
class C(B): pass
### getattrmod
import mod
x = mod.now
### opadd
import time
class C:
    def __add__(self, o): return time.time()
x = C() + 1
### ctx
import time, contextlib
@contextlib.contextmanager
def c():
    yield time.time()
with c() as x: pass
### ownctx
import time
class C:
    def __enter__(self): return time.time()
    def __exit__(self, *a): pass
with C() as x: pass
### ctxext
import mylib
with mylib.thing: pass
### star
from helper import *
### inpackage
import pkg.sub
### transitive
from other import x
### driver
import time
@pipeline
def main():
    ShellTask(f'{time.time()}', 'x')()
### graph
import time
@pipeline(order='graph')
def main():
    with after(str(time.time())):
        ShellTask('s', 'x')()
### driver2
import time
def go():
    return time.time()
@pipeline
def main():
    go()
### taskoutside
import time
@task(returns=['x'])
def now(): return time.time()
x = now()
p=ShellJob('t')
### taskoutside2
import time
@pipeline
def main():
    ShellTask('a', x)()
@task(returns=['x'])
def now(): return time.time()
x = now()
### walrus
import time
if (n := time.time()): pass
### aug
import time
x = 0
x += time.time()
### while
import time
while time.time() < 0: pass
### tryelse
import time
try:
    pass
finally:
    x = time.time()
### match
import time
match time.time():
    case 1: pass
### methodcaller
import operator, datetime
x = operator.methodcaller('now')(datetime.datetime)
### partial
import functools, time
now = functools.partial(time.time)
x = now()
### defaultdict
import collections, time
d = collections.defaultdict(time.time)
x = d['a']
### append
import time
fs = []
fs.append(time.time)
x = fs[0]()
### dictcall
import time
d = {'now': time.time}
x = d['now']()
### listmod
import requests
ms = [requests]
x = ms[0].get('u')
### loopmod
import requests
for m in (requests,):
    x = m.get('u')
### get
import requests
x = requests.get('http://x')
### exec
exec('import time; x = time.time()')
### eval
x = eval('1')
### globals
globals()['x'] = 3
### syspath
import sys
sys.path.insert(0, 'lib')
### sysmod
import sys
sys.modules['x'] = 1
### subprocess
import subprocess
x = subprocess.check_output(['git', 'rev-parse', 'HEAD'])
### shadow
import time
def len(x): return time.time()
x = len('a')
### shadowsdk
import time
def Pipeline(x): return time.time()
x = Pipeline('a')
### osdict
import os
x = os.__dict__['environ']['HOSTNAME']
### condimport
try:
    import os
except ImportError:
    import posix as os
x = os.environ['HOSTNAME']
### pid
import os
x = os.getpid()
### cpu
import os
x = os.cpu_count()
### nonlocalf
import time
def outer():
    f = len
    def inner():
        nonlocal f
        f = time.time
    inner()
    return f()
x = outer()
### globalf
import time
f = len
def change():
    global f
    f = time.time
change()
x = f()
### sub
import re, time
x = re.sub('a', lambda m: str(time.time()), 'a')
### submethod
import re, time
x = re.compile('a').sub(lambda m: str(time.time()), 'a')
### addarg
import argparse, time
p = argparse.ArgumentParser()
p.add_argument('x', type=time.strftime)
### yaml
import yaml
x = yaml.safe_load('a: 1')
### numpy
import numpy as np
x = np.random.rand(3)
### iter2
import time
x = next(iter(time.time, 0))
### pctfmt
def f(): pass
x = '%s' % f
### relative
from .x import y
### syntax
def f(:
### clsattr
import time
class C:
    now = time.time
x = C.now()
### clsmeth
import time
class C:
    @classmethod
    def now(cls): return time.time()
x = C.now()
### decorated
import functools
from lib import deco
@deco
def f(): pass
x = f()
### projdeco
import time
def deco(f):
    time.time()
    return f
@deco
def f(): pass
### classdeco
import time
class deco:
    def __init__(self, f): self.t = time.time()
@deco
def f(): pass
### gen
import time
def g():
    yield time.time()
x = list(g())
### genexpr
import time
x = sum(time.time() for i in range(2))
### unpack
import time
a, b = time.time, len
x = a()
### kw
import time
def f(*, now): return now()
x = f(now=time.time)
### kwargs
import time
def f(**k): return k['now']()
x = f(now=time.time)
### method-on-param
import requests
def f(r): return r.get('x')
x = f(requests)
### ifexp
import time
f = time.time if 1 else len
x = f()
### attrstore
import time
class C: pass
C.f = time.time
x = C.f()
### del
import time
del [1][int(time.time())]
### starargs
import time
x = print(*[time.time()])
### return
import time
x = [lambda: time.time()][0]()
"""
)


@pytest.mark.parametrize("text", MAY_VARY.values(), ids=MAY_VARY)
def test_what_may_vary_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    place = verdict(tmp_path, text).partition(" ")[0]
    file, _, line = place.partition(":")
    assert (tmp_path / file).read_text().splitlines()[int(line) - 1].strip()


def test_the_line_that_forbids_it_is_in_whichever_module_of_the_project_it_is(tmp_path: Path) -> None:
    assert verdict(tmp_path, "import other\n") == "helper.py:2 calls time.time()"
    assert verdict(tmp_path, "import other\n", {**FILES, "helper.py": "x = 1\n"}) == ""
    (tmp_path / "helper.py").unlink()
    # So it is in src, in a folder that PYTHONPATH names, and in one that an environment makes importable.
    for place in ("src/helper.py", "lib/helper.py"):
        files = {path: text for path, text in FILES.items() if path != "helper.py"}
        found = verdict(tmp_path, "import other\n", {**files, place: FILES["helper.py"]})
        assert found == f"{place}:2 calls time.time()"
        (tmp_path / place).unlink()


def test_relative_imports_of_the_pipelines_own_file_are_followed_in_its_package(tmp_path: Path) -> None:
    asked: DescribeRequest = {**request(), "file": "pkg/pipeline.py", "package": "pkg"}
    files = {
        **FILES,
        "pkg/pipeline.py": SDK + "from . import fine\nfrom .fine import N\np = ShellJob('true', name=f's{N}')\n",
    }
    assert verdict(tmp_path, "", {**files, "pkg/fine.py": "N = 3\n"}, asked) == ""
    found = verdict(tmp_path, "", {**files, "pkg/fine.py": "from .sub import x as N\n"}, asked)
    assert found == "pkg/sub.py:2 calls random.random()"


def test_what_a_named_function_or_a_dotted_path_runs_counts(tmp_path: Path) -> None:
    text = "import time\ndef build(): return Pipeline(steps=[ShellTask(f'{time.time()}', 'true')])\n"
    assert verdict(tmp_path, text) == ""
    assert verdict(tmp_path, text, asked=request("build")) == "pipeline.py:3 calls time.time()"
    text = "p = PythonJob('helper.x')"
    assert verdict(tmp_path, text) == "helper.py:2 calls time.time()"
    assert verdict(tmp_path, "p = [PythonTask(name) for name in 'helper.x helper.y'.split()]") == (
        "pipeline.py:2 names a function by a text that is computed"
    )


def test_functions_that_yaml_names_depend_on_what_defines_them(tmp_path: Path) -> None:
    plain = {"functions.py": "import time\nlogger = time.time()\ndef f(x): pass\n"}
    assert verdict(tmp_path, "", plain, request(functions=("functions.f", "installed.f"))) == ""
    twice = {"functions.py": "import time\nif time.time():\n    def f(x): pass\nelse:\n    def f(y): pass\n"}
    assert verdict(tmp_path, "", twice, request(functions=("functions.f",))) == "functions.py:2 calls time.time()"


def test_the_names_of_the_sdk_are_known() -> None:
    assert set(toolkit.__all__) == known.SDK_NAMES


class Asked:
    """A describer that counts, and answers with the number."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, request: DescribeRequest) -> DescribeResponse:
        self.times += 1
        return {"pipeline": {"name": str(self.times), "steps": []}}


def kept(
    folder: Path,
    asked: Asked,
    why: str = "",
    environment: Mapping[str, str] = {},
    recorded: Mapping[str, DescribeResponse] = {},
    image: str = "sha256:1",
    user: int = 1000,
) -> KeptAnswers:
    return KeptAnswers(folder, asked, image, user, environment, lambda _: why, lambda: recorded)


def test_a_repeatable_answer_is_kept_by_image_user_environment_and_request(tmp_path: Path) -> None:
    asked = Asked()
    for _ in range(2):
        answers = kept(tmp_path, asked)
        assert answers(request())["pipeline"]["name"] == "1"
        assert (answers.computed, answers.described) == ("", {})
    others = [
        kept(tmp_path, asked, environment={"N": "1"}),
        kept(tmp_path, asked, environment={"N": "3"}),
        kept(tmp_path, asked, image="sha256:2"),
        kept(tmp_path, asked, user=0),
    ]
    assert [answers(request())["pipeline"]["name"] for answers in others] == ["2", "3", "4", "5"]
    assert kept(tmp_path, asked)(request("other"))["pipeline"]["name"] == "6"


def test_one_that_may_vary_is_asked_for_each_time_and_a_run_that_exists_keeps_its_own(tmp_path: Path) -> None:
    asked = Asked()
    first = kept(tmp_path, asked, "pipeline.py:2 calls time.time()")
    assert first(request())["pipeline"]["name"] == "1"
    # The code is read once for an image; the verdict is kept.
    second = kept(tmp_path, asked, why="not asked for")
    assert second(request())["pipeline"]["name"] == "2"
    assert second.computed == "pipeline.py:2 calls time.time()"
    # A run that was made of the first answer is described as it was, but not after its code has changed.
    again = kept(tmp_path, asked, recorded=first.described)
    assert again(request())["pipeline"]["name"] == "1"
    assert again.described == first.described
    changed = kept(tmp_path, asked, "still", recorded=first.described, image="sha256:2")
    assert changed(request())["pipeline"]["name"] == "3"
