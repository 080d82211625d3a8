from importlib.metadata import version

import six

print("six", version("six"), "from", six.__name__)
