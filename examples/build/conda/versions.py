import os
import sys
from importlib.metadata import version

print("six", version("six"), "below", sys.prefix, os.environ["GREETING"])
