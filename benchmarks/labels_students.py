"""What better labels are worth to a student: one trained on refined labels, one on plain ones.

Real photos of ten everyday things, as in `everyday.yaml`. Each student is trained with three seeds,
and answers on the labeled test photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.label_results import keep
from pipeline import stages
from pipeline.config import Config, LabelConfig, SpaceConfig, load_config
from pipeline.errors import ConfigError
from pipeline.evaluation.metrics import proportion
from pipeline.evaluation.record import read_evaluation
from pipeline.listener import SILENT
from pipeline.run.workspace import Workspace
from pipeline.terminal import print_table

_CONFIG = Path(__file__).with_name("everyday.yaml")
_SEEDS = (0, 1, 2)
_PHOTOS_TIMED = 8  # speed is another benchmark's affair


def main() -> None:
    """Train all students, each once, and print how right they are.

    Raises:
        ConfigError: the photos are not there.
    """
    config = load_config(_CONFIG)
    if not config.sources[0].path.is_dir():
        raise ConfigError(
            f"{config.sources[0].path} is not there, which students would learn from."
        )
    rows = []
    for seed in _SEEDS:
        for name, labels in _ways(config):
            rows.append(_train(config, name, labels, seed))
            row = rows[-1]
            print(f"{name}, seed {seed}: {row['accuracy']:.1%}", flush=True)
            keep({"students": rows + _pooled(rows)})
    rows += _pooled(rows)
    print_table(
        "Students on the test photos",
        ["labels", "seed", "labels right", "accuracy", "95 %"],
        [
            [
                row["labels"],
                str(row["seed"]),
                f"{row['labels_right']:.1%}",
                f"{row['accuracy']:.1%}",
                f"{row['low']:.1%}–{row['high']:.1%}",
            ]
            for row in rows
        ],
    )
    print("All seeds: answers of all of them together, on the same photos.")


def _ways(config: Config) -> Iterator[tuple[str, LabelConfig]]:
    """How the photos are labeled, by name; a second teacher's sight only where it is there."""
    yield "plain", config.label.model_copy(update={"refine": "none"})
    yield "auto", config.label.model_copy(update={"refine": "auto"})
    folder = Path(config.teachers[0].model.removeprefix("local-dir:")).with_name("natural-small")
    if folder.is_dir():
        space = SpaceConfig(model=f"local-dir:{folder}")
        yield (
            f"auto + sight of {folder.name}",
            config.label.model_copy(update={"refine": "auto", "space": space}),
        )


def _train(config: Config, name: str, labels: LabelConfig, seed: int) -> dict[str, Any]:
    folder = f"{name.replace(' ', '_')}-{seed}"
    run = config.model_copy(
        update={
            "workspace": config.workspace.parent / "labels" / folder,
            "label": labels,
            "student": config.student.model_copy(update={"seed": seed}),
            "evaluate": config.evaluate.model_copy(update={"latency_images": _PHOTOS_TIMED}),
        }
    )
    stages.label(run, SILENT)
    stages.train(run, SILENT)
    stages.evaluate(run, SILENT)
    found = read_evaluation(Workspace(run.workspace).evaluation)
    right, labeled = found.student.accuracy, found.labels.accuracy
    assert right is not None and labeled is not None  # both are labeled by people
    return {
        "labels": name,
        "seed": seed,
        "accuracy": right.value,
        "low": right.low,
        "high": right.high,
        "n": right.n,
        "labels_right": labeled.value,
        "accepted": found.labels.accepted,
    }


def _pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each way to label: all seeds together."""
    found = []
    for name in dict.fromkeys(row["labels"] for row in rows):
        mine = [row for row in rows if row["labels"] == name]
        n = sum(row["n"] for row in mine)
        share = proportion(round(sum(row["accuracy"] * row["n"] for row in mine)), n)
        assert share is not None
        found.append(
            {
                "labels": name,
                "seed": "all" if len(mine) == len(_SEEDS) else f"all {len(mine)}",
                "accuracy": share.value,
                "low": share.low,
                "high": share.high,
                "n": n,
                "labels_right": sum(row["labels_right"] for row in mine) / len(mine),
                "accepted": sum(row["accepted"] for row in mine) / len(mine),
            }
        )
    return found
