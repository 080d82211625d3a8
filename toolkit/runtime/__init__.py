"""The part that runs inside the container: standard library only, Python 3.9 and later.

In an image these files lie in /opt/toolkit/runtime and are loaded as the package ``_toolkit_runtime``, so that no module
name of the user's can stand in for one of ours. The host imports the same files as ``toolkit.runtime``, but only what lies in
``shared``. No module has a name of the standard library's: none must stand in for one while this folder is first on the path.
"""
