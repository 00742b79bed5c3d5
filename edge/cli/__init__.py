"""The command line: thin commands; the work is done elsewhere."""
