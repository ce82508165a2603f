"""Side effects: what workflows order, done against the database and the runtimes. Dependencies are constructor arguments."""
