import six

SIX = six.__version__
