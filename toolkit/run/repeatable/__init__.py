"""Whether a description is repeatable: the same whenever it is made from the same image, so that it may be kept.

The project's code is read, and never run. What it shows to be harmless is harmless; all else makes a description anew for each run.
"""

VERSION = 1
"""Part of what verdicts are kept by: raise it where a verdict may be another one than before."""
