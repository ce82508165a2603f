"""The version of the product; `pyproject.toml` states the same."""

VERSION = "0.1.0"
