"""One step: it calls a command that a package of the project's own channel has."""

from toolkit import Pipeline, ShellTask

pipeline = Pipeline(name="versions", steps=[ShellTask("versions", "greeting")])
