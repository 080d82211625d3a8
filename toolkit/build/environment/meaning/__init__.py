"""What the files mean that an environment is installed from: named parts, from which its key and ``--explain`` follow."""
