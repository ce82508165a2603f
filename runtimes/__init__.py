"""Runtime adapters: one folder each, reached only through `runtimes.registry`."""
