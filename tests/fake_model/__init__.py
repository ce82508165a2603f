"""A model provider for tests: speaks three model APIs over HTTP and answers as the user's text tells it to.

It is not a model. It exists so that real agent programs can be run without a key or a network: they send their real
requests here, and get well-formed answers with token usage. See `script` for what a user's text may ask for.
"""

from tests.fake_model.server import FakeModel, Logged

__all__ = ["FakeModel", "Logged"]
