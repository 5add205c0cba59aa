"""Mistakes in a config are found before the first image is read, whatever stage would meet them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from pipeline import stages
from pipeline.cli import main
from pipeline.config import StudentConfig, load_config
from pipeline.errors import ConfigError, StudentError
from pipeline.student import train
from tests.fakes import photos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with six photos."""
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", {"red": 3, "blue": 3})
    return tmp_path


def clip2yolo(change: Callable[[dict[str, Any]], None], *words: str) -> Result:
    settings: dict[str, Any] = {
        "source": "photos", "workspace": "run", "teacher": {"model": "pocket"}, "student": {},
        "ontology": {"a red box": "red", "a blue cup": "blue"}, "label": {"min_confidence": 0.0},
    }  # fmt: skip
    change(settings)
    Path("run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return CliRunner().invoke(main, [*words, "--config", "run.yaml"])


def student(**settings: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config.update(student=settings)


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no such teacher": (lambda c: c["teacher"].update(model="ViT-Q"), "no model 'ViT-Q'"),
    "no such folder": (lambda c: c["teacher"].update(model="local-dir:x"), "x is not a folder"),
    "size": (student(imgsz=100), "`student.imgsz` is 100. It must be a multiple of 32"),
    "no such architecture": (student(model="yolov9x-cls.yaml"), "'yolov9x-cls.yaml'"),
    "no such weights": (student(model="yolov8z-cls.pt"), "'yolov8z-cls.pt'"),
    "no weights there": (student(model="mine/own.pt"), "mine/own.pt does not exist"),
    "damaged weights": (student(model="./damaged.pt"), "damaged.pt cannot be loaded"),
    "a detector": (student(model="yolov8n.yaml"), "'yolov8n.yaml'"),
    "a broken architecture": (student(model="./broken.yaml"), "is not an architecture"),
    "no model": (student(model="resnet"), "`student.model` is 'resnet'"),
    "unknown key": (student(train={"lr": 1}), "`student.train.lr` cannot be set"),
    "a truth for a number": (student(train={"lr0": True}), "`student.train.lr0` cannot be True"),
    "a word for a number": (student(train={"lr0": "small"}), "`student.train.lr0` cannot be 's"),
    "beyond one": (student(train={"erasing": 1.5}), "`student.train.erasing` cannot be 1.5"),
    "a number for a truth": (student(train={"cos_lr": 1}), "`student.train.cos_lr` cannot be 1"),
    "no whole number": (student(train={"nbs": 1.5}), "`student.train.nbs` cannot be 1.5"),
    "optimizer": (student(train={"optimizer": "Best"}), "`student.train.optimizer` cannot be"),
    "beta": (student(train={"momentum": 1.0}), "`student.train.momentum` cannot be 1.0"),
    "policy": (student(train={"auto_augment": "all"}), "`student.train.auto_augment` cannot be"),
    "freeze": (student(train={"freeze": "all"}), "`student.train.freeze` cannot be 'all'"),
    "student's device": (student(device="npu"), "`student.device`: The device 'npu' is not"),
    "a GPU that is not there": (student(device=[99, 98]), "`student.device`: The device 'cuda:99'"),
    "a batch for two": (student(device="cpu,cpu", batch=7), "cannot be shared evenly by 2 process"),
    "truth": (lambda config: config.update(truth="nowhere"), "nowhere does not exist. Correct `tr"),
    "truth's file": (lambda config: config.update(truth="run.yaml"), "is no labeled folder, CSV"),
    "truth's class": (lambda config: config.update(truth="truth.csv"), "has the class 'green', wh"),
    "pool's class": (lambda config: config.update(pool_truth="truth.csv"), "has the class 'green'"),
    "truth's folder": (lambda config: config.update(truth="labeled"), "labeled has the class 'gr"),
    "teacher's device": (lambda c: c["teacher"].update(device="cuda:99"), "`teacher.device`: The "),
    "one of several": (lambda c: c["teacher"].update(device="cpu,npu"), "The device 'npu' is not"),
    "teacher's kind": (lambda c: c["teacher"].update(kind="oracle"), "`teacher.kind` is 'oracle'"),
    "kind beside a name": (
        lambda c: c["teacher"].update(kind="inference"), "is of `kind: open_clip`, not inference"
    ),
    "second teacher": (
        lambda c: c.update(
            teacher=["pocket", {"kind": "inference", "model": "b", "precision": "bf16"}]
        ),
        "`teacher.precision: bf16` does not apply",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_before_an_image_is_read(folder: Path, mistake: str) -> None:
    change, says = MISTAKES[mistake]
    (folder / "damaged.pt").write_bytes(b"no weights")
    (folder / "broken.yaml").write_text("head: [[-1, 1, Classify, [nc]]]\nbackbone: 3\n")
    (folder / "truth.csv").write_text("path,class\nphotos/red_000.png,green\n")
    photos(folder / "labeled" / "green", {"green": 1})
    before = sorted(folder.rglob("*"))
    for command in ("label", "run", "train"):
        done = clip2yolo(change, command)
        assert done.exit_code == 2, (done.stdout, done.stderr)
        assert done.stderr.startswith("error: ") and says in done.stderr
        assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    assert set(folder.rglob("*")) - set(before) == {folder / "run.yaml"}


def test_a_device_beyond_those_there_are_is_refused(folder: Path) -> None:
    count = torch.cuda.device_count()
    done = clip2yolo(student(device=f"cuda:{count}"), "label")
    assert done.exit_code == 2 and f"'cuda:{count}' is not available here" in done.stderr


def test_weights_that_would_be_fetched_are_not_fetched_to_check_them(folder: Path) -> None:
    done = clip2yolo(student(model="yolov8n-cls.pt"), "label", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert list((folder / "run").glob("dataset/train/*/*"))


def test_good_settings_of_every_kind_pass(folder: Path) -> None:
    given = {
        "lr0": 0.5, "momentum": 0, "cos_lr": False, "nbs": 64, "auto_augment": "", "freeze": 2,
        "optimizer": "musgd", "warmup_epochs": 0.5, "scale": 0.5, "erasing": 1,
    }  # fmt: skip
    done = clip2yolo(student(train=given), "label", "--quiet")
    assert done.exit_code == 0, done.stderr


def test_python_is_told_the_same(folder: Path) -> None:
    clip2yolo(student(train={"lr0": True}), "status")
    config = load_config(folder / "run.yaml")
    for stage in (stages.label, stages.train, stages.evaluate):
        with pytest.raises(ConfigError, match=r"`student\.train\.lr0` cannot be True"):
            stage(config)
    for split in ("train", "valid"):
        photos(folder / "data" / split / "red", {"red": 2})
    with pytest.raises(StudentError, match=r"`student\.train\.lr0` cannot be True"):
        train(folder / "data", folder / "out", StudentConfig(train={"lr0": True}), ["red"])
