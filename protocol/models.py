"""Models on the wire: the SDK's `BetaModelInfo`, which the GA type reads too."""

from typing import Literal

from anthropic.types.beta import BetaModelInfo
from pydantic import BaseModel, ConfigDict

Model = BetaModelInfo
Lifecycle = Literal["active", "deprecated", "retired"]


class ModelPage(BaseModel):
    """A page of models."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Model]
    has_more: bool
    first_id: str | None
    """Id of the first on the page; null if it is empty."""
    last_id: str | None
    """Id of the last on the page, for `after_id`; null if it is empty."""
