"""Our side of the Temporal server: connecting to it, and starting and signalling sessions' workflows."""
