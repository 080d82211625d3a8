from importlib.metadata import version

import greeting

print("greeting", version("greeting"), "from", greeting.__name__)
