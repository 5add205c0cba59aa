"""The one reader of the Roboflow key."""

from __future__ import annotations

import json
import os
from pathlib import Path


def roboflow_key(workspace: str | None = None) -> str | None:
    """Return the key from `ROBOFLOW_API_KEY`, else from the file that `roboflow login` writes.

    The file is found, and a workspace chosen in it, as roboflow itself does (1.7.3,
    roboflow/config.py); the package is not imported for it.

    Args:
        workspace: whose key, by its id; where it is unknown or None, the one that the person has
            made the default.

    Returns:
        The key, or None where there is none.
    """
    if key := os.environ.get("ROBOFLOW_API_KEY", "").strip():
        return key
    try:
        known = json.loads(_config_file().read_text("utf-8"))
        spaces = {space["url"]: space for space in known["workspaces"].values()}
        default = os.environ.get("RF_WORKSPACE") or known.get("RF_WORKSPACE")
        chosen = spaces.get(workspace) or spaces[default]
        return str(chosen["apiKey"]).strip() or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _config_file() -> Path:
    if chosen := os.environ.get("ROBOFLOW_CONFIG_DIR"):  # a file, in spite of its name
        return Path(chosen)
    below = Path("roboflow") if os.name == "nt" else Path(".config", "roboflow")
    return Path.home() / below / "config.json"
