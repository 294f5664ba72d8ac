"""What the commands do, for Python: one file a verb. The command line only parses options and prints."""
