"""What a person reads of runs, as text and as JSON: one run, its progress, and two runs compared."""
