"""How many responses the post-processing of a head looks at."""

from collections.abc import Mapping
from typing import Any

# What mmdet and mmdet3d call it; the first one that is set counts.
LIMITS = ('nms_pre', 'topK', 'max_per_img', 'max_num')


def find_limit(settings: Mapping[str, Any] | None) -> int | None:
    """The limit in the test settings of a head, or None."""
    for key in LIMITS:
        limit = (settings or {}).get(key)
        if limit is not None and limit > 0:
            return int(limit)
    return None
