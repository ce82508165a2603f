"""SQL, the truth: tables, the transactions on them, the log and its live bus."""
