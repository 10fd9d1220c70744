"""The command line: flowkd, its commands, and how they print."""
