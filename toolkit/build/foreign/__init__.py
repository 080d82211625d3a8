"""What the files of an image tell that this machine can't run."""
