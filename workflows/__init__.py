"""Decisions only, on Temporal: no content passes through here, and nothing third-party is imported."""
