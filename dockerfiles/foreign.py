"""Installs for a platform that this Python is not of, and makes what was installed that platform's own.

    foreign.py pip MACHINE GLIBC ARGUMENT...    pip, which takes wheels for this machine (aarch64) and glibc (2.36)
    foreign.py adapt PREFIX PYTHON VERSION      the virtual environment, for the Python at this path there, of this version

pip's own options for other platforms install into one flat folder, and read markers as this machine's. So pip is told that it
runs there: nothing but what it asks the machine for is another answer. The caller forbids source distributions.
"""

import os
import re
import sys


def main(arguments):
    task, *rest = arguments
    if task == "pip":
        return run_pip(*rest[:2], rest[2:])
    return adapt(*rest)


def run_pip(machine, glibc, arguments):
    import platform
    import runpy

    os.environ["_PYTHON_HOST_PLATFORM"] = "linux-" + machine
    own = os.confstr

    def confstr(name):
        return "glibc " + glibc if name == "CS_GNU_LIBC_VERSION" else own(name)

    os.confstr = confstr
    platform.machine = lambda: machine
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
    return 0


def adapt(prefix, python, version):
    import layer

    built = sorted({*layer.from_source(prefix), *layer.read_lines("/packed/from-source.txt")})
    if built:
        print("toolkit-foreign: " + " ".join(built))
        return 1
    path = os.path.join(prefix, "pyvenv.cfg")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    own = re.search(r"(?m)^home = (.*)$", text).group(1)
    there = os.path.dirname(python)
    text = re.sub(r"(?m)^(home|executable|command) = " + re.escape(own) + r"(?=/|$)", r"\1 = " + there, text)
    text = re.sub(r"(?m)^(version|version_info) = .*$", r"\1 = " + version, text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    scripts = os.path.join(prefix, "bin")
    for name in os.listdir(scripts):
        link = os.path.join(scripts, name)
        if os.path.islink(link) and os.path.dirname(os.readlink(link)) == own:
            target = os.path.join(there, os.path.basename(os.readlink(link)))
            os.unlink(link)
            os.symlink(target, link)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
