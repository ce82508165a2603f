"""Side effects: what workflows order, done against database and runtimes. Dependencies are constructor arguments."""
