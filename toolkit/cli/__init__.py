"""The command line: parsing, printing and exit codes; what a command does is elsewhere."""
