"""Who is compared, what each costs, and that nobody's failure spoils it for the others."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from pipeline import stages
from pipeline.cli import main
from pipeline.config import load_config
from pipeline.evaluation.costs import Costs, Start, cold_start, flops_of, own_process
from pipeline.evaluation.record import Evaluation
from pipeline.streams import ask_in_batches
from pipeline.student import Student
from pipeline.yolo.geometry import Preparation, saved_steps
from tests.fakes import ColorPredictor, OpenColors, picture
from tests.packing_line import half_of, settings, write_config
from tests.tiny_models import write_model

pytest.importorskip("onnxruntime", reason="exports are compared, which needs the extra `export`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Path]:
    """A folder with `run.yaml` and an evaluated run of two teachers and a student with an ONNX
    file."""
    folder = tmp_path_factory.mktemp("contenders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(folder / "cache"))
        half_of(sample, folder)
        write_model(folder / "tiny")
        teachers = [{"model": "pocket"}, {"model": f"local-dir:{folder / 'tiny'}"}]
        written = write_config(folder, settings({}, export="onnx", teacher=teachers))
        config = load_config(written)
        stages.label(config), stages.train(config), stages.export(config), stages.evaluate(config)
        yield folder


def known(folder: Path) -> Any:
    return json.loads((folder / "run" / "evaluation.json").read_text())


def test_everybody_is_compared_and_costed(folder: Path) -> None:
    found = known(folder)
    contenders = found["contenders"]
    kinds = [one["kind"] for one in contenders]
    assert kinds == ["teachers", "student", "teacher", "teacher", "export", "chance"]
    together, student, first, second, export, chance = contenders
    assert together["name"] == f"{first['name']} + {second['name']}"
    assert (student["format"], export["format"]) == ("pytorch", "onnx")
    assert export["name"] == "onnx fp32" and export["precision"]["used"] == "fp32"
    # The same answers, in another format.
    assert export["answers"] == student["answers"] and export["accuracy"] == student["accuracy"]
    for one in contenders[:-1]:
        assert one["accuracy"]["low"] <= one["accuracy"]["value"] <= one["accuracy"]["high"]
        assert list(one["throughput_by_batch"]) == ["1", "8", "32"] and one["threads"] >= 1
        assert min(one["throughput_by_batch"].values()) > 0
        times = one["latency_ms"]["end_to_end"]
        assert 0 < times["median"] <= times["p90"] <= times["p99"]
        assert one["file_bytes"] > 0 and one["parameters"] > 0 and one["flops"] > 0
        assert one["cold_start_s"] is None and one["peak_memory_mb"] is None
    assert export["flops"] == student["flops"]
    assert together["flops"] == first["flops"] + second["flops"]
    assert chance["accuracy"] is not None and "latency_ms" not in chance
    assert found["left_out"] == []
    assert Evaluation.from_json(found).as_json() == found


@pytest.mark.slow
def test_everybody_starts_anew(folder: Path) -> None:
    written = yaml.safe_load((folder / "run.yaml").read_text())
    written["evaluate"] = {"latency_images": 10}
    (folder / "anew.yaml").write_text(yaml.safe_dump(written))
    stages.evaluate(load_config(folder / "anew.yaml"))
    *contenders, chance = known(folder)["contenders"]
    for one in contenders:
        assert one["cold_start_s"] > 0
        if sys.platform == "linux":
            assert 10 < one["peak_memory_mb"] < 4000
    assert "cold_start_s" not in chance
    # A runtime alone takes less memory than what trains.
    if sys.platform == "linux":
        assert contenders[-1]["peak_memory_mb"] < contenders[1]["peak_memory_mb"]


def test_the_table_has_a_column_for_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(main, ["evaluate", "--config", str(folder / "run.yaml")])
    assert done.exit_code == 0
    (head,) = [line for line in done.stdout.splitlines() if "chance" in line]
    for name in ("teachers", "student", "open_clip pocket", "onnx fp32", "chance"):
        assert name in head
    for row in ("batch 8", "GFLOP", "computes in"):
        assert row in done.stdout
    page = (folder / "run" / "report.md").read_text()
    assert "onnx fp32" in page and "images a second, batch 32" in page


def test_an_export_that_cannot_run_is_named_and_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine where its runtime is not installed."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no such library')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    written = yaml.safe_load((folder / "run.yaml").read_text())
    written["evaluate"] = {"latency_images": 9, "cold_starts": False}  # so that it is done again
    (folder / "without.yaml").write_text(yaml.safe_dump(written))
    stages.evaluate(load_config(folder / "without.yaml"))
    found = known(folder)
    assert [one["kind"] for one in found["contenders"]][-2:] == ["teacher", "chance"]
    (missing,) = found["left_out"]
    assert missing["name"] == "onnx fp32" and "pip install" in missing["reason"]
    assert found["contenders"][1]["cold_start_s"] is None
    page = (folder / "run" / "report.md").read_text()
    assert "onnx fp32 is left out" in page


def test_a_new_process_that_fails_or_hangs_costs_nothing_but_its_figures() -> None:
    quick = Start([sys.executable, "-c", "x = bytearray(150_000_000); print(1)"])
    found = cold_start(quick)
    assert found.cold_start_s is not None and found.cold_start_s > 0
    if sys.platform == "linux":
        # What it held itself, not what whoever started it holds.
        assert found.peak_memory_mb is not None and 150 < found.peak_memory_mb < 200
    assert cold_start(Start([sys.executable, "-c", "raise SystemExit(3)"])) == Costs()
    assert cold_start(Start([sys.executable, "-c", "pass"])) == Costs()  # it never answered


def test_a_file_in_the_current_folder_is_not_taken_for_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    picture("red").save(tmp_path / "a.png")
    assert cold_start(own_process(OpenColors(), tmp_path / "a.png", 10**6)).cold_start_s is not None


def test_operations_are_counted_and_unknown_where_torch_does_not_compute(
    folder: Path, tmp_path: Path
) -> None:
    picture("red").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert flops_of(ColorPredictor(), data, 10**6) is None
    student = Student.load(folder / "run" / "student", "cpu")
    # By hand, of the first and the last layer: 3 x 3 x 3 x 16 at 16 x 16, and 1,280 to 4 classes.
    least = 2 * (27 * 16 * 16 * 16 + 1280 * len(student.classes))
    found = flops_of(student, data, 10**6)
    assert found is not None and least < found < 50 * least


@pytest.mark.parametrize("streams", [1, 3])
def test_batches_are_answered_in_order_and_whole(streams: int) -> None:
    asked: list[int] = []
    names: set[str] = set()

    def read(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item * 10

    def ask(batch: list[int]) -> list[int]:
        asked.append(len(batch))
        names.add(threading.current_thread().name)
        return [value + 1 for value in batch]

    before = torch.get_num_threads()
    with contextlib.closing(ask_in_batches(read, ask, range(23), 4, streams)) as answers:
        got = [one for batch in answers for one in batch]
    assert got == [item * 10 + 1 for item in range(23)]
    assert sorted(asked) == [3, 4, 4, 4, 4, 4]
    assert (names == {threading.main_thread().name}) is (streams == 1)
    assert torch.get_num_threads() == before
    # Too few for a full batch in each stream: each has some.
    asked.clear()
    with contextlib.closing(ask_in_batches(read, ask, range(7), 64, streams)) as answers:
        assert [len(batch) for batch in answers] == ([7] if streams == 1 else [3, 3, 1])


@pytest.mark.parametrize("streams", [1, 2])
def test_an_error_comes_after_the_answers_before_it(streams: int) -> None:
    def read(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    got = []
    with pytest.raises(ValueError, match="five"):
        for batch in ask_in_batches(read, list, range(100), 2, streams):
            got += batch
    assert got == [0, 1, 2, 3] and threading.active_count() < 20


@pytest.mark.parametrize("size", [(40, 32), (31, 77), (200, 64), (5, 300), (64, 64)])
@pytest.mark.parametrize(
    ("fit", "imgsz"), [("crop", 48), ("crop", (32, 64)), ("pad", 48), ("stretch", 48)]
)
def test_pixels_are_those_of_the_saved_transforms(
    size: tuple[int, int], fit: str, imgsz: int | tuple[int, int]
) -> None:
    image = picture("blue", 3, size)
    made = Preparation(fit, imgsz).pixels(image)
    if fit == "pad" and max(size) > 48 * min(size):
        assert made.shape == (3, 48, 48)  # which the saved ones refuse
        return
    assert np.array_equal(made, saved_steps(fit, imgsz)(image).numpy())
    # Of many pictures, each pixel's colors lie together, as convolutions take them fastest.
    batch = torch.from_numpy(np.stack([made, made]))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_two_models_share_no_activation(folder: Path) -> None:
    """One that is opened to be used must not change how another one is trained."""
    from ultralytics.nn.modules import Conv

    Student.load(folder / "run" / "student", "cpu")
    assert Conv.default_act.inplace is False
