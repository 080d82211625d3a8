from setuptools import setup

setup(name="demo", version="1.0", py_modules=["versions"], install_requires=["six==1.16.0"])
