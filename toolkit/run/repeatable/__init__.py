"""Whether a description is repeatable: the same whenever it is made from the same image, so that it may be kept.

The project's code is read, and never run. What it shows to be harmless is harmless; all else makes a description anew for each run.
"""

VERSION = 2
"""Part of what verdicts and descriptions are kept by: raise it where either may be another one than before."""
