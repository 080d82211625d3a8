"""One step: it prints what the environment has."""

from toolkit import Pipeline, ShellTask

pipeline = Pipeline(name="versions", steps=[ShellTask("versions", "python versions.py")])
