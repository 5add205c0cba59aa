"""`python -m benchmarks [name …]`: run the named benchmarks, by default all of them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pipeline.errors import Clip2YoloError

# name → what it measures; each is a module with `main() -> None`.
BENCHMARKS = {
    "everyday": "labels, student and teacher on real photos of ten everyday things",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks one after the other; 1 if one of them cannot run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="  ".join(f"{name}: {what}." for name, what in BENCHMARKS.items()),
    )
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="name")
    for name in parser.parse_args(argv).names or BENCHMARKS:
        try:
            importlib.import_module(f"benchmarks.{name}").main()
        except Clip2YoloError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
