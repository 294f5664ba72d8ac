"""The command line: one file a command, options parsed and results printed here, the work done by the library."""
