"""The sha256 of JSON values, which two programs must be able to agree on."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest_json(content: dict[str, Any]) -> str:
    """Return the sha256 of JSON in its canonical form: sorted keys, no blanks, ASCII."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
