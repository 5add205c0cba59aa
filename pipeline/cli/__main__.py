"""The console command; `python -m pipeline.cli` where it is not on the path."""

from __future__ import annotations

import atexit
import logging
import os
import sys

from pipeline.cli import main
from pipeline.imports import process_is_ours


class _Leave:
    """Ends the process without taking the libraries apart, which lasts a quarter of a second once
    torch is loaded, a tenth of `classify`.

    Registered before everything else it comes after everything else: threads have ended, and what
    others want done at the end is done.
    """

    def __init__(self) -> None:
        self.status = 1  # of an exception that nobody expected, whose traceback was printed
        atexit.register(self)

    def __call__(self) -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # as Python has it where its last words are lost
                self.status = self.status or 120
        os._exit(self.status)


def console() -> None:
    """Run the command line as a process of its own."""
    leave = _Leave()
    process_is_ours()
    try:
        main()
    except SystemExit as end:
        leave.status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


if __name__ == "__main__":
    console()
