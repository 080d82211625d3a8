# /// script
# requires-python = ">=3.9"
# dependencies = ["six==1.16.0"]
# ///
"""A script that declares what it needs; the pipeline is in it."""

import six

from toolkit import Pipeline, PythonTask


def versions():
    print("six", six.__version__, "from", six.__name__)


pipeline = Pipeline(name="versions", steps=[PythonTask(versions)])
