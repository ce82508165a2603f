"""OpenCode: a coding agent, driven over the HTTP API of a running `opencode serve`."""
