"""What makes a stage out of date, what does not, and what a stage that runs again brings back.

One small run on drawn pictures of three colors is made once; a test that changes files in it finds
them as they were, since the folder is put back afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from PIL import Image

from pipeline import stages
from pipeline.config import Config, parse_config
from pipeline.dataset.beliefs import plan_beliefs
from pipeline.errors import ConfigError, WorkspaceError
from pipeline.evaluation.against import ANSWERS
from pipeline.labels.counts import LabelInputs
from pipeline.labels.stage import LABEL as LABELING
from pipeline.listener import Listener
from pipeline.records import DATASET, IMAGES, LABELS, read_table, write_table
from pipeline.records import digest_of_columns as digest_of
from pipeline.run.stage import Run as StageRun
from pipeline.run.stage import next_command
from pipeline.run.workspace import Workspace
from pipeline.student import train
from pipeline.student.kept import Students
from pipeline.teachers.presets import PRESETS
from tests.fakes import Told, photos, sha256
from tests.tiny_student import renumber

COLORS = ("red", "green", "blue")
# Green is the commonest color of the dataset, red that of its train split.
SPLITS = {
    "red": {"train": 8},
    "green": {"train": 6, "test": 9},
    "blue": {"train": 5, "valid": 7},
}
TRUTH = {"red": 3, "green": 4, "blue": 5}


@dataclass(frozen=True)
class Run:
    """A run's folder with what it was made from."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root / "run")

    @property
    def students(self) -> Students:
        return Students(self.workspace.students)

    def config(self, **changes: Any) -> Config:
        """The run's config; sections are changed key by key, and None removes a key."""
        known: dict[str, Any] = {
            "source": "photos", "truth": "truth", "pool_truth": "pool.csv", "workspace": "run",
            "ontology": {f"a {name} ball": name for name in COLORS},
            "teacher": {"model": "local-dir:teacher", "device": "cpu", "precision": "fp32"},
            "label": {"min_confidence": 0.0},
            "dataset": {"near_duplicate": None, "files": "copy"},
            "student": {"distill": "hard",
                        "model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "batch": 16,
                        "device": "cpu", "workers": 0},
            "evaluate": {"latency_images": 8, "cold_starts": False, "disagreements": 2},
        }  # fmt: skip
        for key, value in changes.items():
            if value is None:
                del known[key]
            elif isinstance(value, dict):
                known[key] = known.get(key, {}) | value
            else:
                known[key] = value
        return parse_config(known, self.root / "run.yaml")

    def states(self, **changes: Any) -> list[str]:
        return [one.state for one in stages.status(self.config(**changes))]

    def forget(self, *stages: str) -> None:
        for stage in stages:
            self.workspace.stamp(stage).unlink()

    def evaluation(self) -> Any:
        return json.loads(self.workspace.evaluation.read_text("utf-8"))

    def evaluate_again(self, listener: Listener | None = None, **changes: Any) -> Any:
        """Evaluate, whether or not something has changed, and return evaluation.json."""
        self.workspace.stamp("evaluate").unlink(missing_ok=True)
        stages.evaluate(self.config(**changes), listener or Listener())
        return self.evaluation()


def stale_from(stage: int) -> list[str]:
    return ["done"] * stage + ["out of date"] * (4 - stage)


DONE, LABEL, DATASET_ON, TRAIN, EVALUATE = (stale_from(stage) for stage in (4, 0, 1, 2, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run. Every image of the pool is labeled by a person, so that the labels, and with
    the table below the splits, are the same whatever the teacher thinks."""
    root = tmp_path_factory.mktemp("made")
    run = Run(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(root / "cache"))
        pocket = PRESETS["pocket"].model.removeprefix("local-dir:")
        shutil.copytree(pocket, root / "teacher")
        pool = photos(root / "photos", {name: sum(SPLITS[name].values()) for name in COLORS})
        for name in COLORS:
            photos(root / "truth" / name, {name: TRUTH[name]}, start=500)
        classes = [path.name.split("_")[0] for path in pool]
        known = pl.DataFrame({"path": [f"photos/{path.name}" for path in pool], "class": classes})
        known.write_csv(root / "pool.csv")
        run.workspace.root.mkdir()
        decided = known.with_columns(id=pl.Series([sha256(path) for path in pool]))
        decided.write_csv(run.workspace.human)
        stages.label(run.config())
        plan = read_table(run.workspace.dataset_table, DATASET, "label").sort("path")
        dealt = [
            split for name in sorted(COLORS) for split, n in SPLITS[name].items() for _ in range(n)
        ]
        plan = plan.with_columns(split=pl.Series(dealt)).with_columns(
            file=pl.concat_str("split", "class", pl.col("file").str.split("/").list.last(),
                               separator="/")
        )  # fmt: skip
        shutil.rmtree(run.workspace.dataset)
        for split in ("train", "valid", "test"):
            for name in COLORS:
                (run.workspace.dataset / split / name).mkdir(parents=True)
        for path, file in plan.select("path", "file").iter_rows():
            shutil.copy(path, run.workspace.dataset / file)
        write_table(run.workspace.dataset_table, plan)
        labels = read_table(run.workspace.labels, LABELS, "label")
        write_table(run.workspace.beliefs, plan_beliefs(labels, plan, COLORS))
        stages.train(run.config())
        stages.evaluate(run.config())
    shutil.copytree(root, root.with_name("kept"))
    return run


@pytest.fixture
def run(made: Run) -> Iterator[Run]:
    """The finished run, put back as it was after the test."""
    yield made
    shutil.rmtree(made.root)
    shutil.copytree(made.root.with_name("kept"), made.root)


def test_a_finished_run_has_nothing_to_do(made: Run) -> None:
    found = stages.status(made.config())
    assert [one.state for one in found] == DONE and next_command(found) is None
    assert [one.stage for one in found] == ["label", "dataset", "train", "evaluate"]
    about = json.loads((made.workspace.student / "student.json").read_text())
    evaluation = made.evaluation()
    sizes = found[1].counts.splits
    assert [one.summary for one in found] == [
        "35 images: 0 accepted, 0 abstained",
        # As it was dealt before the splits were moved by hand.
        ", ".join(f"{sum(sizes[name].values())} {name}" for name in ("train", "valid", "test")),
        f"1 epoch, {about['valid_top1']:.1%} agreement on valid",
        f"student {evaluation['student']['accuracy']['value'] * 100:.1f} %, "
        f"teacher {evaluation['teacher']['accuracy']['value'] * 100:.1f} %, "
        f"{evaluation['comparison']['speedup']['end_to_end']:.1f} times as fast",
    ]  # fmt: skip


@pytest.mark.parametrize("changes, states", [
    # The teacher's answers, and what becomes of them.
    ({"label": {"min_confidence": 0.1}}, LABEL),
    ({"label": {"min_margin": 0.1}}, LABEL),
    ({"ontology": {"a crimson ball": "red"}}, LABEL),
    ({"templates": "photo"}, LABEL),
    ({"describe": {"red": ["a crimson ball"]}}, LABEL),
    ({"background": {"class": "blue"}}, LABEL),
    ({"max_pixels": 99_999}, LABEL),
    ({"teacher": {"precision": "bf16"}}, LABEL),
    ({"teacher": {"weight": 2.0}}, LABEL),
    ({"teacher": {"model": "pocket"}}, LABEL),
    ({"dataset": {"seed": 1}}, DATASET_ON),
    ({"dataset": {"near_duplicate": 0.9}}, DATASET_ON),
    ({"dataset": {"splits": {"train": 0.7, "valid": 0.2, "test": 0.1}}}, DATASET_ON),
    ({"dataset": {"files": "link"}}, DATASET_ON),
    ({"student": {"epochs": 2}}, TRAIN),
    ({"student": {"imgsz": 64}}, TRAIN),
    ({"student": {"batch": 8}}, TRAIN),
    ({"student": {"seed": 1}}, TRAIN),
    ({"student": {"model": "yolov8s-cls.yaml"}}, TRAIN),
    ({"student": {"train": {"lr0": 0.002}}}, TRAIN),
    ({"student": {"start": "promoted"}}, TRAIN),
    ({"student": {"distill": "soft"}}, TRAIN),
    ({"student": {"balance": "loss"}}, TRAIN),
    ({"truth": None}, EVALUATE),
    ({"truth": "pool.csv"}, EVALUATE),
    ({"pool_truth": None}, EVALUATE),
    ({"pool_truth": "truth"}, EVALUATE),
    ({"evaluate": {"latency_images": 9}}, EVALUATE),
    ({"evaluate": {"disagreements": 3}}, EVALUATE),
    ({"evaluate": {"suspects": 3}}, EVALUATE),
    ({"evaluate": {"gates": {"accuracy": ">= 0.5"}}}, EVALUATE),
    ({"evaluate": {"margin": 0.02}}, EVALUATE),
    ({"teacher": {"device": "auto"}}, EVALUATE),
    ({"student": {"device": "auto"}}, EVALUATE),
    ({"student": {"precision": "bf16"}}, EVALUATE),
    ({"student": {"precision": "fp32"}}, EVALUATE),
    # How something is done changes nothing about what comes out.
    ({"student": {"workers": 1}}, DONE),
    ({"student": {"keep": 1}}, DONE),
    ({"teacher": {"batch": 3}}, DONE),
    ({"teacher": {"compile": "never"}}, DONE),
    ({"roboflow": {"project": "line"}}, DONE),
])  # fmt: skip
def test_a_setting_makes_the_stages_out_of_date_that_depend_on_it(
    made: Run, changes: dict[str, Any], states: list[str]
) -> None:
    assert made.states(**changes) == states
    command = {0: "label", 1: "label", 2: "train", 3: "evaluate", 4: None}[states.count("done")]
    assert next_command(stages.status(made.config(**changes))) == command


def spoil(path: Path) -> None:
    """Change a file's content by a bit; its size stays."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def test_another_teacher_in_the_same_folder_makes_all_out_of_date(run: Run) -> None:
    spoil(run.root / "teacher" / "open_clip_model.safetensors")
    assert run.states() == LABEL


def test_other_images_and_other_decisions_make_all_out_of_date(run: Run) -> None:
    extra = run.root / "photos" / "new.png"
    Image.new("RGB", (8, 8), "red").save(extra)
    assert run.states() == LABEL
    extra.unlink()
    assert run.states() == DONE
    review = pl.read_csv(run.workspace.review, infer_schema=False)
    review.with_columns(pl.lit("blue").alias("class")).write_csv(run.workspace.review)
    assert run.states() == LABEL


def test_truth_counts_by_its_content(run: Run) -> None:
    pool, folder = run.root / "pool.csv", run.root / "truth" / "red"
    for path in (pool, *folder.iterdir()):
        os.utime(path, (1.7e9, 1.7e9))
    assert run.states() == DONE
    known = pool.read_text()
    pool.write_text(known.replace("red_000.png,red", "red_000.png,blue"))
    assert run.states() == EVALUATE
    pool.write_text(known)
    assert run.states() == DONE
    spoil(next(folder.iterdir()))
    assert run.states() == EVALUATE


def test_a_picture_more_or_in_another_class_is_another_truth(run: Run) -> None:
    one = photos(run.root / "truth" / "red", {"red": 1}, start=900)[0]
    assert run.states() == EVALUATE
    one.unlink()
    assert run.states() == DONE
    # The last of one class and the first of the next: only the folder tells them apart.
    other = sorted((run.root / "truth" / "green").iterdir())[-1]
    other.rename(run.root / "truth" / "red" / other.name)
    assert run.states() == EVALUATE


@pytest.mark.parametrize("stage", ["label", "dataset", "train"])
def test_a_stage_that_ran_again_asks_for_another_evaluation(run: Run, stage: str) -> None:
    """Also where it was made from the same: a training on other hardware gives other weights."""
    file = run.workspace.root / f"{stage}.json"
    stamp = json.loads(file.read_text())
    file.write_text(json.dumps(stamp | {"finished": "2020-01-01T00:00:00+00:00"}))
    assert run.states() == EVALUATE


def test_what_never_ran_and_what_comes_after_it(run: Run, tmp_path: Path) -> None:
    assert [one.state for one in stages.status(Run(tmp_path).config())] == ["not run"] * 4
    assert next_command(stages.status(Run(tmp_path).config())) == "label"
    done = stages.status(run.config())
    run.forget("train")
    found = stages.status(run.config())
    assert [one.state for one in found] == ["done", "done", "not run", "out of date"]
    assert (found[2].finished, found[2].summary, found[2].counts) == (None, "", None)
    assert (found[3].finished, found[3].summary) == (done[3].finished, done[3].summary)
    assert next_command(found) == "train"
    run.forget("label")
    # What comes after it is made from the same still, and yet its input is about to change.
    assert run.states() == ["not run", "out of date", "not run", "out of date"]


def test_the_command_that_goes_on_is_that_of_the_first_stage_missing(run: Run) -> None:
    run.forget("train", "evaluate")
    assert run.states() == ["done", "done", "not run", "not run"]
    run.forget("dataset")
    assert run.states() == ["done", "not run", "not run", "not run"]
    assert next_command(stages.status(run.config())) == "label"


@pytest.mark.parametrize("table, stage", [("dataset_table", 2), ("labels", 1)])
def test_a_damaged_table_is_out_of_date_and_no_error(run: Run, table: str, stage: int) -> None:
    getattr(run.workspace, table).write_bytes(b"no table")
    assert run.states()[stage] == "out of date"


@pytest.mark.parametrize("name", ["report.html", "evaluation.json"])
def test_a_deleted_result_of_an_evaluation_is_written_again(run: Run, name: str) -> None:
    assert stages.evaluate(run.config()).skipped
    before = run.evaluation()
    (run.workspace.root / name).unlink()
    again = stages.evaluate(run.config())
    assert not again.skipped and (run.workspace.root / name).is_file()
    assert asdict(again.counts.held_out) == before["held_out"] == run.evaluation()["held_out"]
    assert run.evaluation()["student"]["accuracy"] == before["student"]["accuracy"]
    assert stages.evaluate(run.config()).skipped


def test_an_evaluation_depends_on_the_precision_by_itself(run: Run) -> None:
    # Labels may come from another precision than the one that is evaluated.
    half = run.config().with_precision("bf16")
    assert not stages.evaluate(half).skipped
    assert run.evaluation()["teacher"]["precision"]["used"] == "bf16"
    assert run.evaluation()["teacher"]["precision"]["agrees_with_fp32"]["n"] == 12
    assert stages.evaluate(half).skipped
    assert not stages.evaluate(run.config()).skipped
    assert run.evaluation()["teacher"]["precision"] == {"used": "fp32", "agrees_with_fp32": None}


@pytest.mark.usefixtures("with_bf16")
def test_a_student_is_evaluated_in_the_precision_that_it_is_asked_in(run: Run) -> None:
    weights = sha256(run.workspace.weights)
    lowered = run.config(student={"precision": "bf16"})
    assert stages.train(lowered).skipped
    told = Told()
    assert not stages.evaluate(lowered, told).skipped
    assert sha256(run.workspace.weights) == weights
    found = run.evaluation()["student"]["precision"]
    alike = found["agrees_with_fp32"]
    assert found["used"] == "bf16" and alike["n"] == 12
    assert run.evaluation()["teacher"]["precision"] == {"used": "fp32", "agrees_with_fp32": None}
    warned = [one for one in told.warned if "precision: fp32" in one]
    assert len(warned) == (alike["value"] < 0.995)
    assert "Computed in bf16, the student answers as in fp32 on" in run.workspace.report.read_text()
    assert "bf16 answers as fp32 would" in run.workspace.report_md.read_text()
    assert stages.evaluate(lowered).skipped
    assert not stages.evaluate(run.config(student={"precision": "fp32"})).skipped
    exact = {"used": "fp32", "agrees_with_fp32": None}
    assert run.evaluation()["student"]["precision"] == exact


@pytest.mark.usefixtures("without_bf16")
def test_bf16_is_refused_before_any_work(made: Run) -> None:
    with pytest.raises(ConfigError, match=r"`student\.precision: bf16`"):
        stages.evaluate(made.config(student={"precision": "bf16"}))


def test_chance_knows_the_train_split_only(made: Run) -> None:
    evaluation = made.evaluation()
    plan = read_table(made.workspace.dataset_table, DATASET, "label")
    assert dict(plan.group_by("class").len().rows()) == {"red": 8, "green": 15, "blue": 12}
    assert evaluation["chance"]["name"] == "always 'red'"
    assert evaluation["held_out"]["images"] == 12
    assert evaluation["chance"]["accuracy"]["value"] == TRUTH["red"] / 12


def test_without_truth_the_test_split_is_what_is_held_out(run: Run) -> None:
    evaluation = run.evaluate_again(truth=None)
    assert evaluation["held_out"] == {
        "source": "the dataset's test split", "images": 9, "has_truth": False, "excluded": {},
    }  # fmt: skip
    # Evaluated on the whole pool, what was trained and chosen on is left out: the same 9 stay.
    evaluation = run.evaluate_again(truth="pool.csv")
    assert evaluation["held_out"]["images"] == 9 and evaluation["held_out"]["has_truth"]
    assert evaluation["held_out"]["excluded"] == {"the student was trained or chosen on": 26}


def always(name: str, weights: Path) -> None:
    """Make a student of one that names one color whatever it sees."""
    checkpoint = torch.load(weights, weights_only=False)
    names, head = checkpoint["model"].names, checkpoint["model"].model[-1].linear
    head.weight.data.zero_()
    said = [9.0 * (names[index] == name) for index in sorted(names)]
    head.bias.data = torch.tensor(said).to(head.bias.dtype)
    torch.save(checkpoint, weights)


def test_a_new_student_is_compared_with_the_one_in_use_on_the_same_images(run: Run) -> None:
    assert run.evaluation()["against"] is None  # the first one
    old = run.students.promoted
    assert old is not None
    always("red", old / "weights.pt")
    always("blue", run.workspace.student / "weights.pt")
    against = run.evaluate_again()["against"]
    assert (against["promoted"], against["measure"]) == (old.name, "accuracy")
    assert (against["paired"], against["images"]) == (True, 12)
    assert (against["new"], against["old"]) == (TRUTH["blue"] / 12, TRUTH["red"] / 12)
    assert (against["only_new_right"], against["only_old_right"]) == (5, 3)
    assert against["difference"]["value"] == pytest.approx(2 / 12)
    answers = read_table(run.workspace.answers, ANSWERS, "evaluate")
    assert answers["student"].to_list() == ["blue"] * 12
    assert dict(answers.group_by("truth").len().rows()) == TRUTH
    better = run.students.promoted
    assert better is not None and better.name != old.name
    # And the other way round: worse by two in twelve, which is more than the margin.
    always("red", run.workspace.student / "weights.pt")
    evaluation = run.evaluate_again()
    assert evaluation["against"]["difference"]["value"] == pytest.approx(-2 / 12)
    assert run.students.promoted == better
    assert f"{better.name} stays in use" in evaluation["outcome"]["reason"]


def test_a_student_of_other_classes_is_no_rival_and_no_beginning(run: Run, tmp_path: Path) -> None:
    ours = run.students.promoted
    assert ours is not None
    start = {"student": {"start": "promoted", "seed": 2}}
    told = Told()
    stages.train(run.config(**start), told)
    assert f"Starting from the promoted student {ours.name}." in told.said
    about = json.loads((run.workspace.student / "student.json").read_text())
    assert about["trained_with"]["model"] == str(ours / "weights.pt")

    shutil.copytree(run.workspace.dataset, tmp_path / "dataset")
    for split in ("train", "valid", "test"):
        (tmp_path / "dataset" / split / "red").rename(tmp_path / "dataset" / split / "violet")
    others = ("violet", "green", "blue")
    hard = run.config(student={"distill": "hard"}).student
    train(tmp_path / "dataset", tmp_path / "odd", hard, others)
    odd = run.students.keep(tmp_path / "odd")
    run.students.promote(odd)
    told = Told()
    evaluation = run.evaluate_again(told, **start)
    assert evaluation["against"] is None
    assert any(f"student {odd} knows other classes (blue, green, violet)" in one
               for one in told.warned)  # fmt: skip
    run.students.promote(odd)
    run.forget("train")
    told = Told()
    stages.train(run.config(**start), told)
    assert any(f"student {odd} knows other classes (blue, green, violet)" in one
               for one in told.warned)  # fmt: skip
    about = json.loads((run.workspace.student / "student.json").read_text())
    assert about["trained_with"]["model"] == "yolov8n-cls.yaml"


def test_a_student_in_the_ontologys_order_stays_in_use_and_is_compared(run: Run) -> None:
    # Its like were trained before students took the order of the folders.
    ours, before = run.students.promoted, run.evaluation()
    assert ours is not None
    renumber(ours, COLORS)
    evaluation = run.evaluate_again()
    assert evaluation["against"]["promoted"] == ours.name
    assert evaluation["against"]["only_new_right"] == evaluation["against"]["only_old_right"] == 0
    assert evaluation["against"]["old"] == evaluation["against"]["new"] > 0.3

    renumber(run.workspace.student, COLORS)
    again = run.evaluate_again()
    for figure in ("confusion", "answers", "agreement_matrix", "accuracy"):
        assert again["student"][figure] == before["student"][figure]
    assert again["classes"] == before["classes"] == list(COLORS)

    told = Told()
    start = {"student": {"start": "promoted", "seed": 2}}
    stages.train(run.config(**start), told)
    in_use = run.students.promoted
    assert in_use is not None and told.warned == []
    assert f"Starting from the promoted student {in_use.name}." in told.said
    about = json.loads((run.workspace.student / "student.json").read_text())
    assert about["classes"] == sorted(COLORS)


def test_a_student_of_another_ontology_is_not_evaluated(run: Run) -> None:
    known = json.loads((run.workspace.student / "student.json").read_text())
    renamed = {f"a {name} ball": name for name in ("red", "green", "azure")}
    others = run.config(truth=None, pool_truth=None).model_copy(update={"ontology": renamed})
    with pytest.raises(WorkspaceError, match=r"other classes \(blue, green, red\)"):
        stages.evaluate(others, Listener())
    assert json.loads((run.workspace.student / "student.json").read_text()) == known


def test_the_first_student_starts_from_scratch(run: Run) -> None:
    (run.workspace.students / "promoted").unlink()
    told = Told()
    stages.train(run.config(student={"start": "promoted"}), told)
    assert told.said == [
        "No student is promoted yet, so this one starts from yolov8n-cls.yaml."
    ]  # fmt: skip


def test_a_student_is_trained_again_where_its_start_has_changed_or_it_is_gone(
    run: Run, tmp_path: Path
) -> None:
    start = tmp_path / "start.pt"
    shutil.copy(run.workspace.student / "weights.pt", start)
    changes = {"student": {"model": str(start)}}
    assert run.states(**changes) == TRAIN
    assert not stages.train(run.config(**changes)).skipped
    assert stages.train(run.config(**changes)).skipped
    assert run.states(**changes)[:3] == ["done"] * 3
    (run.workspace.student / "weights.pt").unlink()
    assert not stages.train(run.config(**changes)).skipped
    spoil(start)
    assert run.states(**changes) == TRAIN


def test_a_teachers_own_weights_count_by_their_content(run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")

    def digest(config: Config) -> str:
        nothing = LabelInputs(pl.DataFrame(schema=IMAGES), [], {}, [], pl.DataFrame())
        return LABELING.digest(StageRun.of(config), nothing)

    def asked() -> str:
        teacher = {"model": "ViT-B-32", "pretrained": str(weights)}
        return digest(run.config(teacher=teacher))

    before = asked()
    os.utime(weights, (1.7e9, 1.7e9))
    assert asked() == before
    weights.write_bytes(b"two")
    assert asked() != before
    # A published name is no file, and no error.
    assert digest(run.config(teacher={"model": "ViT-B-32", "pretrained": "openai"}))


def table_of(**columns: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def test_a_digest_of_text_tells_cells_rows_and_columns_apart() -> None:
    tables = [
        table_of(a=["x", "y"], b=["", ""]), table_of(a=["y", "x"], b=["", ""]),
        table_of(a=["xy", ""], b=["", ""]), table_of(a=["", ""], b=["x", "y"]),
        table_of(a=["x", "y"], b=["", None]), table_of(a=["x", "y"], b=[None, ""]),
        table_of(a=["x", "y", ""], b=["", "", ""]), table_of(a=["x"], b=["y"]),
    ]  # fmt: skip
    assert len({digest_of(one, "a", "b") for one in tables}) == len(tables)
    assert digest_of(tables[0], "a", "b") == digest_of(tables[0].select("b", "a"), "a", "b")
    assert digest_of(tables[0], "a") != digest_of(tables[0], "a", "b")
    many = [str(number) for number in range(100_001)]
    assert digest_of(table_of(a=many), "a") != digest_of(table_of(a=[*many[:-1], "x"]), "a")
    assert digest_of(table_of(a=["x"], b=["y"]), "a", "b") == (
        "86bb98d53a0ec5a43abceb8d88862a5ab7a3a9302fbb479cd4d785324ec079d9"
    )
