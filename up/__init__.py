"""The embedded launcher: everything Waystation needs, on one machine, from one command."""
