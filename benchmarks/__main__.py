"""`python -m benchmarks [name …]`: run the named benchmarks, by default all of them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Clip2YoloError

# name → what it measures; each is a module with `main() -> None`.
BENCHMARKS = {
    "speed": "images a second and whole commands beside other tools and limits (--gpu: on a GPU)",
    "scale": "the cost of an image among 10,000, 100,000 and 1,000,000 (CLIP2YOLO_SCALE: others)",
    "cluster": "a Ray cluster beside the local engine; the memory of its driver",
    "labels": "how right labels are, of lucky and unlucky batches; doubt, rejection, cost",
    "answers": "labels after so many answers, by what was asked about; intervals of audits",
    "everyday": "labels, student and teacher on real photos of ten everyday things",
    "distillation": "students of soft and hard labels beside ultralytics' own, three seeds",
    "formats": "students in each format beside PyTorch and a ViT-B/32: answers, times, sizes",
    "fit": "pictures cropped, padded or stretched to squares, on wide and ordinary pictures",
    "labels_students": "students of refined labels beside those of plain ones, three seeds",
    "encoder": "where the time of a ViT-B/32 goes on one core in bf16, and the sum of its parts",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks one after the other; 1 if one of them cannot run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="  ".join(f"{name}: {what}." for name, what in BENCHMARKS.items()),
    )
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="name")
    parser.add_argument("--gpu", action="store_true", help="with speed: on a GPU")
    parser.add_argument(
        "--photos", type=int, default=1000, metavar="N",
        help="with speed: another number, to try it; no results are written then (1000)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N",
        help="with speed: fewer, likewise (3)",
    )  # fmt: skip
    parser.add_argument(
        "--tool", action="append", default=[], metavar="NAME",
        help="with speed: this one beside clip2yolo, and not all of them, likewise",
    )  # fmt: skip
    parser.add_argument(
        "--prompts", action="append", default=[], type=int, metavar="N",
        help="with speed: 10 or 100 of them, and not both, likewise",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="with speed: write the figures of such a trial here"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="FOLDER",
        help="with labels and answers: a further data set, of class folders",
    )  # fmt: skip
    parser.add_argument(
        "--teacher", action="append", default=[], metavar="NAME",
        help="with labels and answers: a further teacher, or its folder",
    )  # fmt: skip
    parser.add_argument("--million", action="store_true", help="with labels: a million images, too")
    parser.add_argument(
        "--draws", type=int, default=3, metavar="N",
        help="with labels and answers: how often what is left to chance is drawn (3)",
    )  # fmt: skip
    parser.add_argument(
        "--only", default="", metavar="WORDS",
        help="with distillation: words that say which students, as 'everyday auto soft 0'",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N",
        help="with distillation: students that are trained at a time (1)",
    )  # fmt: skip
    asked = parser.parse_args(argv)
    said: dict[str, dict[str, Any]] = {
        "speed": {
            "gpu": asked.gpu,
            "most": asked.photos,
            "rounds": asked.rounds,
            "tools": asked.tool,
            "prompts": asked.prompts,
            "to": asked.to,
        },
        "distillation": {"only": asked.only, "jobs": asked.jobs},
        "answers": {"data": asked.data, "teacher": asked.teacher, "draws": asked.draws},
        "labels": {
            "data": asked.data,
            "teacher": asked.teacher,
            "million": asked.million,
            "draws": asked.draws,
        },
    }
    for name in asked.names or BENCHMARKS:
        options = said.get(name, {})
        try:
            importlib.import_module(f"benchmarks.{name}").main(**options)
        except Clip2YoloError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
