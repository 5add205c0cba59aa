"""What this process may use of the machine it is on."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many processors this process may run on: a container, a job scheduler or taskset
    may allow it fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
