"""The command line: parses, calls the stages, prints. Everything heavy is imported on use."""

from pipeline.cli import (
    ask,
    audit,
    cache,
    demo,
    evaluate,
    export,
    review,
    roboflow,
    run,
    teachers,
    watch,
)
from pipeline.cli.group import main

__all__ = [
    "ask",
    "audit",
    "cache",
    "demo",
    "evaluate",
    "export",
    "main",
    "review",
    "roboflow",
    "run",
    "teachers",
    "watch",
]
