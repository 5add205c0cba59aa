"""The whole path on real photos, with a weak real CLIP: how right are labels, teacher, student?"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import stages
from pipeline.config import load_config
from pipeline.evaluation.wording import conclusion, summary_rows
from pipeline.terminal import TerminalListener, print_table

_CONFIG = Path(__file__).with_name("everyday.yaml")


def main() -> None:
    """Run `everyday.yaml`, each stage only where something changed, and print its figures."""
    config = load_config(_CONFIG)
    listener = TerminalListener(False)
    stages.label(config, listener)
    stages.train(config, listener)
    stages.evaluate(config, listener)
    evaluation = json.loads((config.workspace / "evaluation.json").read_text("utf-8"))
    labels = evaluation["labels"]
    rows = [
        [
            "accepted of all",
            f"{labels['accepted']:,} of {labels['accepted'] + labels['abstained']:,}",
        ],
        ["right among the accepted", f"{labels['accuracy']['value']:.1%}"],
    ]
    print_table("Labels of the pool", ["", ""], rows)
    header, *rows = summary_rows(evaluation)
    print_table("On the test photos", header, rows)
    print(conclusion(evaluation))
