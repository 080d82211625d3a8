"""The part that runs inside the container: standard library only, Python 3.9 and later.

In an image these files lie in /opt/toolkit/runtime and are loaded as the package ``_toolkit_runtime``, so that no module of the
user's is taken for one of ours. The host imports the same files as ``toolkit.runtime``, but only those in ``shared``. No module
has the name of one in the standard library: this folder is first on the path for a moment, and would replace it.
"""
