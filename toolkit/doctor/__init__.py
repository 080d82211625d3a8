"""What an environment lacks for a run, and the command that fixes it."""
