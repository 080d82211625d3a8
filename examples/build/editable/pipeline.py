"""One step: the project's own command, which is installed with it."""

from toolkit import Pipeline, ShellTask

pipeline = Pipeline(name="versions", steps=[ShellTask("versions", "forecast")])
