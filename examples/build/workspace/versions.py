from importlib.metadata import version

import backend

print("backend", version("backend"), "with six", backend.SIX)
