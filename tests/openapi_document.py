"""`python -m tests.openapi_document`: print the OpenAPI document of this tree, for what changes between two."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from api.app import create_app, new_state
from settings import Settings


def openapi_document() -> dict[str, Any]:
    """Return what `/openapi.json` answers."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder), database_url=f"sqlite:///{folder}/waystation.db")
        return create_app(new_state(settings)).openapi()


if __name__ == "__main__":
    json.dump(openapi_document(), sys.stdout, indent=1, sort_keys=True)
