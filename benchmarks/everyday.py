"""The whole path on real photos, with a weak real CLIP: how right are labels, teacher, student?"""

from __future__ import annotations

from pathlib import Path

from pipeline import stages
from pipeline.config import load_config
from pipeline.evaluation.record import read_evaluation
from pipeline.evaluation.wording import conclusion, summary_rows
from pipeline.run.workspace import Workspace
from pipeline.terminal import TerminalListener, print_table

_CONFIG = Path(__file__).with_name("everyday.yaml")


def main() -> None:
    """Run `everyday.yaml`, each stage only where something changed, and print its figures."""
    config = load_config(_CONFIG)
    listener = TerminalListener(False)
    stages.label(config, listener)
    stages.train(config, listener)
    stages.evaluate(config, listener)
    evaluation = read_evaluation(Workspace(config.workspace).evaluation)
    labels = evaluation.labels
    right = "–" if labels.accuracy is None else f"{labels.accuracy.value:.1%}"
    rows = [
        ["accepted of all", f"{labels.accepted:,} of {labels.accepted + labels.abstained:,}"],
        ["right among the accepted", right],
    ]
    print_table("Labels of the pool", ["", ""], rows)
    header, *rows = summary_rows(evaluation)
    print_table("On the test photos", header, rows)
    print(conclusion(evaluation))
