"""The command line: flags generated from the options of the jobs."""
