"""The part of the runtime that loads the user's code: in the supervisor's child, and where a pipeline is described."""
