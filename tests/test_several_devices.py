"""A student that several processes train together is the one that a single one would have trained.

Nobody needs a GPU for this: `device: cpu,cpu` is two processes on the processors, which do all that
processes on GPUs do but for what joins them (gloo in the place of NCCL).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config import StudentConfig, TeacherConfig
from pipeline.dataset.export import export_dataset
from pipeline.dataset.shards import export_shards
from pipeline.errors import SourceError, StudentError
from pipeline.student import EpochReport, Student, train
from pipeline.student.data import EpochOrder
from pipeline.student.devices import devices_of
from pipeline.student.lessons import Lessons
from pipeline.student.share import Share, Weighed
from pipeline.student.task import Task
from tests.fakes import photos, picture
from tests.repository import REPOSITORY
from tests.test_rounds import Onlooker, Stopped, with_wrong_beliefs
from tests.test_shards import ODD, places_in, plan_of, sizes_of
from tests.test_sights import Seeing
from tests.test_soft_labels import beliefs_of, weights_of
from tests.tiny_student import CLASSES, config, make_dataset


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("auto", "auto"),
        ("cuda:1", "cuda:1"),
        (0, "cuda:0"),
        ("1", "cuda:1"),
        ("0,1", "cuda:0,cuda:1"),
        ([0, 1], "cuda:0,cuda:1"),
        (["cuda:0", 3], "cuda:0,cuda:3"),
        ("cuda:0, cuda:1", "cuda:0,cuda:1"),
        ("cpu,cpu", "cpu,cpu"),
    ],
)
def test_devices_are_written_as_ultralytics_or_torch_takes_them(given: Any, becomes: str) -> None:
    assert StudentConfig(device=given).device == becomes
    assert TeacherConfig(device=given).device == becomes


@pytest.mark.parametrize("given", [True, 1.5, None, [], [True], {"a": 1}])
def test_what_is_no_device_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        StudentConfig(device=given)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"device": "0,1,0"}, r"names cuda:0 twice\. Name each GPU once\.$"),
        ({"device": "cpu,cuda:0"}, r"is 'cpu,cuda:0'\. Several devices are GPUs by their numbers"),
        ({"device": "cuda,cuda:1"}, r"Several devices are GPUs by their numbers"),
        ({"device": "mps,mps"}, r"Several devices are GPUs by their numbers"),
        ({"device": "0,1", "batch": 9}, r"batch: 9` cannot be shared evenly by 2.*2, like 8\.$"),
        ({"device": [0, 1, 2], "batch": 3}, r"batch: 3` cannot be shared.*multiple of 3, like 6\."),
        ({"device": "cpu,cpu", "batch": 1}, r"batch: 1` cannot be shared.*multiple of 2, like 4\."),
    ],
)
def test_devices_that_cannot_train_together_get_a_sentence(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(StudentError, match=reason):
        train(tmp_path, tmp_path / "s", config(**settings), CLASSES)


def test_gpus_that_are_not_there_get_a_sentence(tmp_path: Path) -> None:
    far = torch.cuda.device_count()
    settings = config(device=[far, far + 1])
    with pytest.raises(StudentError, match=rf"'cuda:{far}' is not available here"):
        train(make_dataset(tmp_path / "d", 2), tmp_path / "s", settings, CLASSES)
    assert not (tmp_path / "s").exists()


def test_one_device_is_taken_unless_several_are_named() -> None:
    assert devices_of(config()) == ["auto"]
    assert devices_of(config(device="1,0", batch=4)) == ["cuda:1", "cuda:0"]


@given(st.integers(1, 90), st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**31))
def test_each_image_is_in_one_part_of_one_batch(
    rows: int, count: int, each: int, seed: int
) -> None:
    batch = count * each
    whole = list(EpochOrder(rows, seed, 0))
    order = EpochOrder(rows, seed, 0)
    for learned in (True, False):
        parts, weights = [], []
        for rank in range(count):
            own = EpochOrder(rows, seed, 0) if learned else range(rows)
            share = Share(own, rows, batch, count, rank, least=2 if learned else 0)
            numbers = list(share)
            assert len(numbers) == len(share)
            parts.append([numbers[at : at + each] for at in range(0, len(numbers), each)])
            weights.append(share.weights)
        assert np.sum(weights, axis=0) == pytest.approx(np.ones(-(-rows // batch)))
        batches = [whole[at : at + batch] for at in range(0, rows, batch)]
        if not learned:
            seen = [number for part in parts for numbers in part for number in numbers]
            assert sorted(seen) == list(range(rows))
            continue
        # All take as many steps, with two images or more, and weights say what counts.
        assert {len(part) for part in parts} == {len(batches)}
        for number, wanted in enumerate(batches):
            shown = [part[number] for part in parts]
            assert all(2 <= len(one) <= each for one in shown)
            counted: list[int] = []
            for one, weight in zip(shown, (one[number] for one in weights), strict=True):
                own_size = round(weight * len(wanted))
                counted += one[:own_size]
                assert set(one) == set(one[: max(own_size, 1)])
            assert counted == wanted
    assert len(order) == rows


def test_parts_of_an_epoch_go_on_where_it_was_left() -> None:
    share = Share(EpochOrder(10, 3, 5), 10, 4, 2, 1, least=2)
    fifth, sixth = list(share), list(share)
    assert fifth == list(Share(EpochOrder(10, 3, 5), 10, 4, 2, 1, least=2))
    assert sixth == list(Share(EpochOrder(10, 3, 6), 10, 4, 2, 1, least=2)) != fifth


def test_weighed_losses_of_parts_sum_to_the_loss_of_the_batch() -> None:
    logits, classes = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])

    def criterion(given: torch.Tensor, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        loss = torch.nn.functional.cross_entropy(given, batch["cls"])
        return loss, {"loss": loss}

    found = 0.0
    for part, weight in ((slice(0, 3), 0.6), (slice(3, 5), 0.4)):
        loss, named = Weighed(criterion, [weight])(logits[part], {"cls": classes[part]})
        assert named["loss"] == loss
        found += float(loss)
    assert found == pytest.approx(float(criterion(logits, {"cls": classes})[0]))


def test_a_task_is_read_as_it_was_written(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/x/\xff#b.tar#c.jpg@1+2") if os.name != "nt" else "/x/b.tar#c.jpg@1+2"
    samples: dict[str, list[tuple[Any, int]]] = {
        "train": [(Path(odd), 1), ("s3://b/a.tar#c.jpg@1+2", 0)], "valid": [], "test": [("a", 2)],
    }  # fmt: skip
    targets = np.array([[0.1, 0.9], [1, 0]], np.float32)
    settings = config(device="cpu,cpu", train={"lr0": 0.1, "cos_lr": False})
    for lessons in (Lessons(samples, targets, np.array([0.5, 1.5])), Lessons(samples)):
        task = Task(settings, ["cpu", "cpu"], lessons, ["ü", "\udcff"], 100, 30)
        task.write(tmp_path)
        found = Task.read(tmp_path)
        assert (found.config, found.classes, found.level) == (settings, task.classes, 30)
        assert found.lessons.samples == samples
        kinds = [type(place) for place, _ in found.lessons.samples["train"]]
        assert kinds == [type(Path()), str]
        for name in ("targets", "draws"):
            wanted, got = getattr(lessons, name), getattr(found.lessons, name)
            assert (got is None) if wanted is None else np.array_equal(wanted, got)


# Two processes


def curve_of(student: Path) -> pl.DataFrame:
    return pl.read_csv(student / "curve.csv").drop("seconds")


def members() -> list[psutil.Process]:
    """The processes that this one has a training in, by their rank."""
    children = psutil.Process().children()
    found = [one for one in children if "member import main" in " ".join(one.cmdline())]
    return sorted(found, key=lambda one: one.environ()["RANK"])


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one picture, under each class: whichever images a process has, batch norm sees
    the same, and what they teach differs. Its last batch of four has three images."""
    folder = make_dataset(tmp_path_factory.mktemp("alike") / "dataset", 4)
    (folder / "train" / "green" / "0.png").unlink()
    for path in folder.rglob("*.png"):
        picture("red", 5, (64, 64)).save(path)
    return folder


# Nothing by chance; steps that show it where gradients are not those of the whole batch; and the
# last layers only, as rounding grows with every layer that has batch norm over pictures all alike.
PLAIN = {
    "optimizer": "SGD", "lr0": 0.1, "nbs": 8, "freeze": 9, "scale": 0.0, "fliplr": 0.0,
    "erasing": 0.0, "auto_augment": "", "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0,
}  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_after_one_was_killed(
    alike: Path, tmp_path: Path
) -> None:
    settings = config(imgsz=64, epochs=3, batch=4, train=PLAIN)
    train(alike, tmp_path / "one", settings, CLASSES)

    seen: list[int] = []

    def kill(report: EpochReport) -> None:
        seen.append(report.epoch)
        if report.epoch == 2:
            members()[1].kill()

    several = settings.model_copy(update={"device": "cpu,cpu"})
    with pytest.raises(StudentError, match=r"^The process that trains on cpu has died \(exit stat"):
        train(alike, tmp_path / "two", several, CLASSES, on_epoch=kill)
    assert seen == [1, 2] and members() == [] and not (tmp_path / "two").exists()
    train(alike, tmp_path / "two", several, CLASSES, on_epoch=lambda one: seen.append(one.epoch))
    assert seen in ([1, 2, 2, 3], [1, 2, 3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]

    one, two = curve_of(tmp_path / "one"), curve_of(tmp_path / "two")
    assert two["epoch"].to_list() == [1, 2, 3]
    assert two["train_loss"].to_numpy() == pytest.approx(one["train_loss"].to_numpy(), abs=2e-5)
    # But for the spread that batch norm keeps, which it reckons from how many pictures it saw.
    wanted, found = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert list(wanted) == list(found)
    for name in wanted:
        if "running_var" not in name:
            assert torch.allclose(found[name].float(), wanted[name].float(), 2e-3, 2e-4), name
    assert Student.load(tmp_path / "two", "cpu").classes == ("blue", "green", "red")


@pytest.mark.slow
def test_two_processes_remember_and_see_as_one(alike: Path, tmp_path: Path) -> None:
    beliefs = with_wrong_beliefs(beliefs_of(alike, tmp_path / "undecided"))
    here = pl.col("path").map_elements(lambda path: Path(path).is_file(), pl.Boolean)
    beliefs = beliefs.filter(here & (pl.col("kind") == "label"))
    train(alike, tmp_path / "first", config(imgsz=64, epochs=1, batch=4), CLASSES)
    settings = config(
        model=str(tmp_path / "first" / "weights.pt"), distill="soft", rounds=1, imgsz=64, epochs=3,
        batch=4, train=PLAIN,
    )  # fmt: skip
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        how = settings.model_copy(update={"device": device})
        train(alike, tmp_path / name, how, CLASSES, beliefs=beliefs, onlooker=Seeing(beliefs))
    one, two = curve_of(tmp_path / "one"), curve_of(tmp_path / "two")
    assert two["train_loss"].to_numpy() == pytest.approx(one["train_loss"].to_numpy(), abs=2e-5)
    wanted, found = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    for name in wanted:
        if "running_var" not in name:
            assert torch.allclose(found[name].float(), wanted[name].float(), 2e-3, 2e-4), name


@pytest.mark.slow
def test_two_rounds_in_two_processes_end_the_same_wherever_they_were_interrupted(
    tmp_path: Path,
) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = with_wrong_beliefs(beliefs_of(dataset, tmp_path / "undecided"))
    settings = config(
        distill="soft", rounds=2, balance="sample", epochs=2, batch=4, device="cpu,cpu",
        train={"dropout": 0.2},
    )  # fmt: skip
    train(dataset, tmp_path / "whole", settings, CLASSES, beliefs=beliefs,
          onlooker=Onlooker(beliefs))  # fmt: skip
    onlooker, seen = Onlooker(beliefs), list[int]()

    def stop(report: EpochReport) -> None:
        seen.append(report.epoch)
        if len(seen) in stops:
            raise Stopped

    stops = {2, 4}  # in the first round, and in the second
    for _ in stops:
        with pytest.raises(Stopped):
            train(dataset, tmp_path / "again", settings, CLASSES, beliefs=beliefs, on_epoch=stop,
                  onlooker=onlooker)  # fmt: skip
        assert members() == []
    train(dataset, tmp_path / "again", settings, CLASSES, beliefs=beliefs, onlooker=onlooker)
    whole, again = weights_of(tmp_path / "whole"), weights_of(tmp_path / "again")
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []


@pytest.mark.slow
def test_two_processes_learn_the_same_from_shards(tmp_path: Path) -> None:
    plan = plan_of(photos(tmp_path / "images", {"red": 8, "blue": 8, "green": 8}))
    export_dataset(plan, tmp_path / "folder")
    export_shards(plan, sizes_of(plan), tmp_path / "dataset", form="webdataset", shard_bytes=40_000)
    files, how = plan["file"].to_list(), config(epochs=2, batch=4, device="cpu,cpu", workers=1)
    train(tmp_path / "folder", tmp_path / "a", how, sorted(ODD), files=files)
    train(tmp_path / "dataset", tmp_path / "b", how, sorted(ODD), files=files,
          places=places_in(tmp_path))  # fmt: skip
    wanted, found = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []


@pytest.mark.slow
def test_a_picture_that_one_process_cannot_read_is_named(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    (dataset / "train" / "red" / "bad.png").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"bad\.png"):
        train(dataset, tmp_path / "s", config(batch=4, device="cpu,cpu"), CLASSES)
    assert members() == []


def parent_of_two(dataset: Path, out: Path) -> subprocess.Popen[str]:
    """Start a training of two processes in another process that says when an epoch is over."""
    script = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from tests.tiny_student import CLASSES, config
        from pipeline.student import train
        train(Path({str(dataset)!r}), Path({str(out)!r}), config(**{ENDLESS!r}), CLASSES,
              on_epoch=lambda report: print(report.epoch, flush=True))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


ENDLESS: dict[str, Any] = {"epochs": 10_000, "batch": 4, "device": "cpu,cpu"}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_end_with_whoever_asked(sent: signal.Signals, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    parent = parent_of_two(dataset, tmp_path / "s")
    assert parent.stdout is not None and parent.stdout.readline() == "1\n"
    assert parent.stdout.readline() == "2\n"
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    if sent == signal.SIGINT:
        os.killpg(parent.pid, sent)  # as a terminal does it
    else:
        parent.send_signal(sent)
    _, said = parent.communicate(timeout=300)
    assert parent.returncode == -sent
    assert ("KeyboardInterrupt" in said) == (sent == signal.SIGINT)
    _, alive = psutil.wait_procs(children, timeout=300)
    assert alive == []
    # What is there can be gone on with: another number of epochs would be another training.
    seen: list[int] = []

    def stop(report: EpochReport) -> None:
        seen.append(report.epoch)
        raise Stopped

    with pytest.raises(Stopped):
        train(dataset, tmp_path / "s", config(**ENDLESS | {"device": "cpu"}), CLASSES,
              on_epoch=stop)  # fmt: skip
    assert seen[0] >= 2
