from importlib.metadata import version

import six


def main() -> None:
    print("forecast", version("forecast"), "with six", six.__version__)
