"""Runs one command in a new process and tells when it first said something, and how much memory it
took. A script of its own, run by its path: the figure for the memory of a child begins with that of
whoever starts it, so that this one must be small.

    python -I -S launch.py SECONDS COMMAND ...

What the command writes to its standard output is not shown. Prints `{"seconds", "megabytes"}`: from
the start to the first line, and the most memory that it held, null where the system does not tell.
Exit status: the command's own, or 1 where it said nothing or took more than SECONDS.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time


def main() -> int:
    """Run what the arguments say."""
    limit, command = float(sys.argv[1]), sys.argv[2:]
    # Where memory ends, this should end and not whoever asked for it. Only Linux knows it.
    with contextlib.suppress(OSError):
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(handle, b"1000")
        os.close(handle)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    timer = threading.Timer(limit, process.kill)
    timer.start()
    assert process.stdout is not None
    first = process.stdout.readline()
    seconds = time.perf_counter() - started
    process.stdout.read()  # a full pipe would hold it up
    status = process.wait()
    timer.cancel()
    sys.stdout.write(json.dumps({"seconds": round(seconds, 3), "megabytes": _megabytes()}) + "\n")
    return status if first else status or 1


def _megabytes() -> "float | None":
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(most / (1e6 if sys.platform == "darwin" else 1e6 / 1024), 1)


if __name__ == "__main__":
    sys.exit(main())
