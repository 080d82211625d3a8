"""The command line: parsing, printing and exit codes. What a command does is in the folders below this one."""
