"""Labels for the benchmark of distillation: runs of the product, put into folders of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.distillation_cases import HOME, Case, image, write_batch
from benchmarks.label_data import EVERYDAY
from pipeline import stages
from pipeline.config import Config, SpaceConfig, SplitsConfig, TeacherConfig, load_config
from pipeline.files import replacing, write_text
from pipeline.images.truth import read_truth
from pipeline.labels.again import gather_again
from pipeline.labels.answers import Answer, AnswerLog, now
from pipeline.labels.gather import batch_of
from pipeline.listener import SILENT, Listener
from pipeline.ontology import ontology_of
from pipeline.records import LABELS, read_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from pipeline.sample.folder import set_up
from pipeline.teachers.panel import ask, panel_of

_DRAWN = "packing line"
_EPOCHS = 24  # of its students; the sample itself is content with less
_FIRST = Path(EVERYDAY.teachers[0].model.removeprefix("local-dir:"))
_SPLITS = SplitsConfig(train=0.9, valid=0.1, test=0)
_SMALL = _FIRST.with_name("natural-small")  # a teacher with better sight


def prepare(listener: Listener) -> None:
    """Label what is at hand and not prepared yet, and say what is neither. Truth is given, so the
    dataset needs no test split: students learn from what it would have held."""
    for data, teacher, config in _runs(listener):
        for labels, settings in _ways(teacher):
            name = _name(data, teacher, labels)
            if not _is_prepared(name):
                listener.say(f"Labeling {name}.")
                label = config.label.model_copy(update=settings)
                workspace = HOME / "runs" / name
                dataset = config.dataset.model_copy(update={"splits": _SPLITS})
                run = config.model_copy(
                    update={"label": label, "workspace": workspace, "dataset": dataset}
                )
                _prepare(name, data, labels, run)


def _name(data: str, teacher: str, labels: str) -> str:
    return f"{data}-{teacher}-{labels}".replace(" ", "_")


def _is_prepared(name: str) -> bool:
    return (HOME / name / "case.json").is_file()


def _runs(listener: Listener) -> Iterator[tuple[str, str, Config]]:
    """Data, teacher and config of what can be labeled."""
    pool, first = EVERYDAY.sources[0].path, _FIRST
    for folder in (first, _SMALL):
        if pool.is_dir() and folder.is_dir():
            teacher = TeacherConfig(model=f"local-dir:{folder}")
            yield "everyday", folder.name, EVERYDAY.model_copy(update={"teachers": [teacher]})
        elif not _is_prepared(_name("everyday", folder.name, "plain")):
            lacking = folder if pool.is_dir() else pool
            listener.warn(f"Skipped: everyday photos by {folder.name}; {lacking} is not there.")
    if not all(_is_prepared(_name(_DRAWN, "pocket", labels)) for labels, _ in _ways("pocket")):
        drawn = load_config(set_up(Path(__file__).parent.parent, listener))
        student = drawn.student.model_copy(update={"epochs": _EPOCHS})
        yield _DRAWN, "pocket", drawn.model_copy(update={"student": student})


def _ways(teacher: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of ways to label, with what `label` is set to."""
    yield "plain", {"refine": "none"}
    yield "auto", {"refine": "auto"}
    yield "truth", {}
    if teacher == _FIRST.name and _SMALL.is_dir():
        yield "auto+sight", {"refine": "auto", "space": SpaceConfig(model=f"local-dir:{_SMALL}")}


def _prepare(name: str, data: str, labels: str, config: Config) -> None:
    space, ontology = Workspace(config.workspace), ontology_of(config)
    assert config.pool_truth is not None and config.truth is not None
    pool, _ = read_truth(config.pool_truth, beside=[config.sources[0].path])
    if labels == "truth":
        log = AnswerLog(space.said)
        log.add([Answer(one, "class", of, at=now()) for one, of in pool["id", "class"].rows()])
    stages.label(config, SILENT)
    found = read_table(space.labels, LABELS, "label", ["id", "path", "guess", "class"])
    # Beside what a person decided stands what the words say.
    found = found.with_columns(guess=pl.coalesce("class", "guess"))
    test, _ = read_truth(config.truth)
    panel = panel_of(config, ontology, ontology.dataset_classes, SILENT)
    asked = ask(panel, test, config.max_pixels, SILENT)
    best = asked.answers().together.argmax(axis=1).tolist()
    answers = pl.DataFrame({"id": asked.ids, "teacher": [panel.classes[row] for row in best]})
    for image_id, path in pl.concat([found["id", "path"], test["id", "path"]]).rows():
        _take(Path(path), image(image_id))
    student, model = config.student, Path(config.student.model)
    if model.is_file():
        _take(model, HOME / model.name)
    right = found.join(pool.select("id", truth="class"), "id")
    case = Case(
        name, data, Path(config.teachers[0].model.removeprefix("local-dir:")).name, labels,
        model.name, student.imgsz, student.epochs, student.batch,
        float((right["guess"] == right["truth"]).mean()),  # type: ignore[arg-type]
    )  # fmt: skip
    run = Run.of(config)
    gathered = gather_again(run, found["id"])
    batch = batch_of(run, gathered.asked, gathered.seen, gathered.images, gathered.beside, {})
    with replacing(HOME / name) as aside:
        aside.mkdir()
        write_batch(aside / "batch.npz", batch, gathered.asked.ids)
        beliefs = pl.read_parquet(space.beliefs, glob=False).with_columns(path=pl.col("id"))
        beliefs.write_parquet(aside / "beliefs.parquet")
        plan = pl.read_parquet(space.dataset_table, glob=False)
        plan.select("id", "class", "split", "file").write_parquet(aside / "dataset.parquet")
        found.select("id", "guess").write_parquet(aside / "guesses.parquet")
        known = test.select("id", "class").join(answers, "id", maintain_order="left")
        known.write_parquet(aside / "test.parquet")
        write_text(aside / "case.json", json.dumps(asdict(case), indent=1))


def _take(source: Path, target: Path) -> None:
    if not target.is_file():
        with replacing(target) as aside:
            shutil.copyfile(source, aside)
