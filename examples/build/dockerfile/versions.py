import os
from importlib.metadata import version
from pathlib import Path

summary = Path("/usr/share/forecast/summary").read_text().strip()
print("six", version("six"), "and", summary, "in", os.environ["FORECAST_UNITS"], "units")
