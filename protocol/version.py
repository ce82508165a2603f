"""The version of the product, as its package states it."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("waystation")
except PackageNotFoundError:  # run from a source tree that was never installed
    VERSION = "0.0.0+source"
