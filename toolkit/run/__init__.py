"""Running a pipeline: from its file and configuration to the end of the run, on any backend of this machine."""
