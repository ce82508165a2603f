"""Skills on the wire: the SDK's models, and in front of them the keys that older clients know."""

from typing import Final

from anthropic.types.beta import BetaDeletedSkill, BetaSkill
from anthropic.types.beta.skills import BetaDeletedSkillVersion, BetaSkillVersion
from pydantic import BaseModel, ConfigDict

Skill = BetaSkill
DeletedSkill = BetaDeletedSkill
SkillVersion = BetaSkillVersion
DeletedSkillVersion = BetaDeletedSkillVersion

MAX_LISTED: Final = 1000
MAX_DISPLAY_NAME: Final = 255
SOURCES: Final = ("custom", "anthropic", "anthropic_example", "plugin")
LATEST: Final = "latest"


class SkillPage(BaseModel):
    """A page of skills. With `anthropic-beta: skills-2025-10-02` it has `has_more`, and skills of the older shape."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[Skill]
    next_page: str | None
    """Cursor of the next page; null on the last."""


class SkillVersionPage(BaseModel):
    """A page of a skill's versions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[SkillVersion]
    next_page: str | None
    """Cursor of the next page; null on the last."""
