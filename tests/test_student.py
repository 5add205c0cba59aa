"""The student learns, resumes, keeps its classes in order, and trusts no file."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import Compose, RandomErasing, RandomResizedCrop, ToTensor

from pipeline.errors import SourceError, StudentError
from pipeline.pixels import read_rgb
from pipeline.student import EpochReport, Student, train
from pipeline.student.data import EpochOrder, FolderImages
from pipeline.student.settings import KNOWN
from tests.command import in_a_copy
from tests.fakes import picture, sha256
from tests.repository import REPOSITORY
from tests.second_process import in_another_process
from tests.tiny_student import CLASSES, config, make_dataset, renumber


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "dataset")


@pytest.fixture
def taught(three_colors: Path) -> Path:
    """The folder of a student that has learned three colors."""
    return three_colors / "student"


def test_it_learns_and_answers_in_the_order_of_the_folders(taught: Path) -> None:
    student = Student.load(taught, "cpu")
    assert student.classes == ("blue", "green", "red") and student.name == "yolov8n-cls"
    names = [name for name in CLASSES for _ in range(5)]
    batch = np.stack([student.prepare(picture(name, 77 + i)) for i, name in enumerate(names)])
    answers = student.predict(batch)
    assert answers.shape == (15, 3) and answers.dtype == np.float32
    assert answers.sum(axis=1) == pytest.approx(np.ones(15), abs=1e-4)
    right = [
        student.classes[i] == name for i, name in zip(answers.argmax(axis=1), names, strict=True)
    ]
    assert np.mean(right) > 0.9


def test_what_lies_beside_the_weights(taught: Path) -> None:
    about = json.loads((taught / "student.json").read_text())
    assert about["classes"] == sorted(CLASSES) and about["imgsz"] == 32
    assert about["file_bytes"] == (taught / "weights.pt").stat().st_size < 4e6
    header, *rows = (line.split(",") for line in (taught / "curve.csv").read_text().splitlines())
    curve = [float(row[header.index("valid_top1")]) for row in rows]
    # It is the last epoch's weights that are kept, so theirs is the figure.
    assert len(curve) == 14 and curve[0] < curve[-1] == about["valid_top1"]
    assert Image.open(taught / "curve.png").width > 600
    assert sorted(path.name for path in taught.parent.iterdir()) == ["dataset", "student"]


@pytest.mark.parametrize("size", [(32, 32), (90, 40), (31, 77), (200, 150)])
def test_answers_are_ultralytics_own(taught: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    from ultralytics import YOLO

    path = tmp_path / "x.png"
    picture("blue", 5, size).save(path)
    student = Student.load(taught, "cpu")
    ours = student.predict(student.prepare(read_rgb(path))[np.newaxis])[0]
    (result,) = YOLO(taught / "weights.pt").predict(
        str(path), imgsz=32, device="cpu", verbose=False
    )
    theirs = {result.names[i]: float(p) for i, p in enumerate(result.probs.data)}
    assert ours == pytest.approx([theirs[name] for name in student.classes], abs=1e-4)


def test_nothing_is_written_elsewhere_and_pictures_stay(dataset: Path, tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    before = {path: sha256(path) for path in dataset.rglob("*") if path.is_file()}
    script = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from tests.tiny_student import CLASSES, config
        from pipeline.student import train
        out = Path({str(tmp_path / "student")!r})
        train(Path({str(dataset)!r}), out, config(epochs=1), CLASSES)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=cwd,
        env=os.environ | {"HOME": str(home), "CLIP2YOLO_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(cwd.iterdir()) == []
    written = [path for path in home.rglob("*") if path.is_file() and "matplotlib" not in str(path)]
    assert written == []
    assert {path: sha256(path) for path in dataset.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir() if "training" in path.name) == []


def test_odd_pictures_are_trained_on(dataset: Path, tmp_path: Path) -> None:
    folder = dataset / "train" / "red"
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(folder / "cmyk.jpg")
    Image.fromarray(np.full((30, 30), 40_000, np.uint16)).save(folder / "deep.png")
    result = train(dataset, tmp_path / "s", config(epochs=1), CLASSES)
    assert result.images == 38


def test_an_unreadable_picture_is_named(dataset: Path, tmp_path: Path) -> None:
    (dataset / "train" / "red" / "bad.png").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"bad\.png"):
        train(dataset, tmp_path / "s", config(), CLASSES)


def run_until_killed(dataset: Path, out: Path, epoch: int, after: float = 0.0) -> None:
    """Train in another process, and kill it so many seconds after an epoch's figures are known and
    before its state is saved; with 0 at that moment."""
    assert in_a_copy(_train_and_be_killed, dataset, out, epoch, after) == -signal.SIGKILL


def _train_and_be_killed(dataset: Path, out: Path, epoch: int, after: float) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch(report: EpochReport) -> None:
        if report.epoch == epoch:
            threading.Timer(after, kill).start() if after else kill()

    train(dataset, out, config(epochs=4, train=CHANCE), CLASSES, on_epoch=on_epoch)


# All that is drawn by chance or carried from epoch to epoch: a batch and a half make a step.
CHANCE = {"dropout": 0.2, "nbs": 24, "warmup_epochs": 2.5, "erasing": 0.5}


def answers_of(student: Path) -> dict[str, torch.Tensor]:
    model = torch.load(student / "weights.pt", weights_only=False)["model"]
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a student that was trained on it without interruption."""
    root = tmp_path_factory.mktemp("undisturbed")
    settings = config(epochs=4, train=CHANCE)
    train(make_dataset(root / "dataset"), root / "student", settings, CLASSES)
    return root


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize(("epoch", "after"), [(3, 0.0), (2, 0.2)])
def test_a_killed_training_ends_at_the_same_weights(
    undisturbed: Path, tmp_path: Path, epoch: int, after: float
) -> None:
    run_until_killed(undisturbed / "dataset", tmp_path / "student", epoch, after)
    torch.rand(3)  # what else was drawn in a process does not matter
    settings = config(epochs=4, train=CHANCE)
    train(undisturbed / "dataset", tmp_path / "student", settings, CLASSES)
    wanted, found = answers_of(undisturbed / "student"), answers_of(tmp_path / "student")
    assert list(wanted) == list(found)
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
    # Nor does the file say when and in which folder that was.
    assert sha256(tmp_path / "student" / "weights.pt") == sha256(
        undisturbed / "student" / "weights.pt"
    )


def test_what_an_epoch_shows_depends_on_its_number_alone(dataset: Path) -> None:
    samples = [(path, 0) for path in sorted((dataset / "train").rglob("*.png"))]
    transforms = Compose([RandomResizedCrop(32), ToTensor(), RandomErasing()])

    def shown(epochs: list[int], workers: int = 0, seed: int = 3) -> list[torch.Tensor]:
        images = FolderImages(samples, transforms, 10**6, seed)
        order = EpochOrder(len(samples), seed, epochs[0])
        loader = DataLoader(images, 8, sampler=order, num_workers=workers)
        return [torch.cat([batch["img"] for batch in loader]) for _ in epochs]

    first, second = shown([0, 1])
    assert not torch.equal(first, second)
    assert torch.equal(shown([1])[0], second)  # gone on with
    assert torch.equal(shown([1], workers=2)[0], second)
    assert not torch.equal(shown([1], seed=4)[0], second)


def test_another_seed_ends_at_other_weights(undisturbed: Path, tmp_path: Path) -> None:
    settings = config(epochs=4, train=CHANCE, seed=1)
    train(undisturbed / "dataset", tmp_path / "student", settings, CLASSES)
    wanted, found = answers_of(undisturbed / "student"), answers_of(tmp_path / "student")
    assert any(not torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_costs_at_most_an_epoch(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    run_until_killed(dataset, out, 3)  # after two whole epochs, within the third
    assert not out.exists()
    shutil.copytree(tmp_path / ".student.training", tmp_path / "torn")
    seen: list[EpochReport] = []
    result = train(dataset, out, config(epochs=4, train=CHANCE), CLASSES, on_epoch=seen.append)
    assert [report.epoch for report in seen] == [3, 4] and result.epochs == 4
    lines = (out / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert not (tmp_path / ".student.training").exists()

    # Other settings start anew, and so does a state that was torn.
    for spoil, settings in ((False, config(epochs=2)), (True, config(epochs=4, train=CHANCE))):
        state = tmp_path / ".again.training"
        shutil.copytree(tmp_path / "torn", state)
        if spoil:
            last = state / "state.pt"
            last.write_bytes(last.read_bytes()[:5000])
        seen.clear()
        train(dataset, tmp_path / "again", settings, CLASSES, on_epoch=seen.append)
        assert seen[0].epoch == 1


def test_an_earlier_student_stays_until_the_new_one_is_whole(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    train(dataset, out, config(epochs=1), CLASSES)
    before = sha256(out / "weights.pt")

    def stop(report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, out, config(epochs=2), CLASSES, on_epoch=stop)
    assert sha256(out / "weights.pt") == before
    train(dataset, out, config(epochs=2), CLASSES)
    assert sha256(out / "weights.pt") != before


@pytest.mark.parametrize("missing", ["valid", "test"])
def test_a_missing_split_is_refused(dataset: Path, tmp_path: Path, missing: str) -> None:
    shutil.rmtree(dataset / missing)
    with pytest.raises(StudentError, match="is missing"):
        train(dataset, tmp_path / "s", config(), CLASSES)


def test_an_empty_split_is_refused(dataset: Path, tmp_path: Path) -> None:
    for path in (dataset / "valid").rglob("*.png"):
        path.unlink()
    with pytest.raises(StudentError, match="holds 0 images"):
        train(dataset, tmp_path / "s", config(), CLASSES)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "yolov8n.yaml"}, "lists no classification architecture"),
        ({"model": "yolov8n.pt"}, "publishes no classification weights"),
        ({"model": "resnet"}, "must end in .yaml"),
        ({"model": "/nowhere/x-cls.pt"}, "does not exist"),
        ({"model": "/nowhere/x-cls.yaml"}, "does not exist"),
        ({"imgsz": 100}, "multiple of 32"),
        ({"train": {"project": "/tmp"}}, "`student.train.project` cannot be set"),
        ({"train": {"lr0": "fast"}}, "lr0"),
        ({"device": "cuda:7"}, "not available"),
    ],
)
def test_what_cannot_be_trained_gets_a_sentence(
    dataset: Path, tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(StudentError, match=reason):
        train(dataset, tmp_path / "s", config(**settings), CLASSES)
    assert not (tmp_path / "s").exists()


def test_every_size_and_family_of_architecture_is_known(dataset: Path) -> None:
    from pipeline.yolo.library import find_model

    for name in ("yolov8n-cls.yaml", "yolov8s-cls.yaml", "yolo11n-cls.yaml"):
        assert find_model(name)["scale"] == name.split("-")[0][-1]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_is_taken_without_a_look_is_known_to_ultralytics(name: str) -> None:
    from pipeline.yolo.library import check_model

    check_model(name)
    with pytest.raises(StudentError, match="classification"):
        check_model(name.replace("yolov8", "yolov9"))


def test_training_starts_from_given_weights(dataset: Path, taught: Path, tmp_path: Path) -> None:
    seen: list[EpochReport] = []
    start = config(model=str(taught / "weights.pt"), epochs=1, train={"lr0": 1e-6})
    train(dataset, tmp_path / "s", start, CLASSES, on_epoch=seen.append)
    assert seen[0].valid_top1 > 0.8
    # Who gets the file learns nothing of the folders and the repository that it was made in.
    written = (tmp_path / "s" / "weights.pt").read_bytes()
    for told in (taught, tmp_path, REPOSITORY):
        assert str(told).encode() not in written


def test_weights_in_another_order_are_started_from_by_name(
    dataset: Path, taught: Path, tmp_path: Path
) -> None:
    shutil.copytree(taught, tmp_path / "old")
    renumber(tmp_path / "old", CLASSES)
    old = Student.load(tmp_path / "old", "cpu")
    assert old.classes == CLASSES
    seen: list[EpochReport] = []
    start = config(model=str(tmp_path / "old" / "weights.pt"), epochs=1, train={"lr0": 1e-6})
    train(dataset, tmp_path / "s", start, CLASSES, on_epoch=seen.append)
    assert seen[0].valid_top1 > 0.8
    assert Student.load(tmp_path / "s", "cpu").classes == ("blue", "green", "red")


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def test_weights_that_would_run_code_are_refused(
    dataset: Path, taught: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    legacy, packed = tmp_path / "legacy.pt", tmp_path / "packed.pt"
    legacy.write_bytes(pickle.dumps({"model": Evil(marker)}))
    with zipfile.ZipFile(taught / "weights.pt") as source, zipfile.ZipFile(packed, "w") as target:
        for item in source.infolist():
            data = source.read(item)
            if item.filename.endswith("data.pkl"):
                data = pickle.dumps({"model": Evil(marker), "ema": None}, protocol=2)
            target.writestr(item, data)
    for path in (legacy, packed):
        with pytest.raises(StudentError, match="could run code"):
            train(dataset, tmp_path / "s", config(model=str(path)), CLASSES)
        folder = tmp_path / f"as-student-{path.stem}"
        shutil.copytree(taught, folder)
        shutil.copy(path, folder / "weights.pt")
        with pytest.raises(StudentError, match="could run code"):
            Student.load(folder)
    assert not marker.exists()


def test_damaged_students_are_refused(taught: Path, tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="holds no student"):
        Student.load(tmp_path)
    folder = tmp_path / "student"
    shutil.copytree(taught, folder)
    about = json.loads((folder / "student.json").read_text())
    (folder / "student.json").write_text(json.dumps(about | {"classes": ["a", "b", "c"]}))
    with pytest.raises(StudentError, match="other classes"):
        Student.load(folder)
    (folder / "student.json").write_text("{")
    with pytest.raises(StudentError, match="damaged"):
        Student.load(folder)


def test_a_refusal_that_torch_was_told_to_leave_out_stays(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert Student.load(taught, "cpu").classes == ("blue", "green", "red")
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    shutil.copytree(taught, tmp_path / "evil")
    (tmp_path / "evil" / "weights.pt").write_bytes(pickle.dumps({"model": Evil(tmp_path / "ran")}))
    with pytest.raises(StudentError, match="could run code"):
        Student.load(tmp_path / "evil", "cpu")
    assert not (tmp_path / "ran").exists()


# What torch had not before 2.6, and where ultralytics looks whether it may ask for the refusal.
OLD_TORCH = "del torch.serialization.get_unsafe_globals_in_checkpoint"
OLD_ULTRALYTICS = "import ultralytics.nn.tasks as tasks; tasks._SafeLoad.SUPPORTED = False"


@pytest.mark.parametrize(("before", "says"), [
    (OLD_TORCH, "Install torch 2.6 or later"), (OLD_ULTRALYTICS, "could run code"),
])  # fmt: skip
def test_without_the_guard_nothing_is_loaded(
    taught: Path, tmp_path: Path, before: str, says: str
) -> None:
    folder = tmp_path / "evil"
    shutil.copytree(taught, folder)
    torch.save({"model": Evil(tmp_path / "ran"), "ema": None}, folder / "weights.pt")
    script = f"""
        import torch
        {before}
        from pathlib import Path
        from pipeline.student import Student
        from pipeline.errors import StudentError
        try:
            Student.load(Path({str(folder)!r}), "cpu")
        except StudentError as error:
            print(error)
    """
    assert says in in_another_process("-c", textwrap.dedent(script))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [
    [1, 2], {"model": None}, {"ema": torch.ones(3)}, {"model": torch.nn.Linear(2, 2)},
    torch.ones(2),
])  # fmt: skip
def test_weights_of_something_else_are_refused_in_a_sentence(
    taught: Path, tmp_path: Path, content: object
) -> None:
    shutil.copytree(taught, tmp_path / "s")
    torch.save(content, tmp_path / "s" / "weights.pt")
    with pytest.raises(StudentError, match=r"no classification model|cannot be loaded"):
        Student.load(tmp_path / "s", "cpu")


def test_paths_are_names_and_no_patterns(taught: Path, tmp_path: Path) -> None:
    root = tmp_path / "it's [a] 50%?*#{b}" / " run ü "
    dataset = make_dataset(root / "data'set [x]", 6)
    first = train(dataset, root / "student '1'", config(epochs=2), CLASSES)
    shutil.copytree(taught, root / "yolov5n")
    (root / "yolov5n" / "weights.pt").rename(root / "yolov5n" / "yolov5n.pt")
    start = config(epochs=1, model=str(root / "yolov5n" / "yolov5n.pt"), train={"lr0": 1e-6})
    second = train(dataset, root / "student '2'", start, CLASSES)
    assert (first.epochs, second.epochs) == (2, 1) and second.valid_top1 > 0.8
    for name in ("student '1'", "student '2'"):
        assert Student.load(root / name, "cpu").classes == ("blue", "green", "red")
    assert sorted(path.name for path in root.iterdir()) == [
        "data'set [x]", "student '1'", "student '2'", "yolov5n"
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["it's [a] 50%?*#{b}"]


@pytest.mark.parametrize(("block", "says"), [
    ("[-1, 1, Konv, [64, 3, 2]]", "Konv"), ("[-1, 1, Conv, [many]]", "that can be built"),
    ("[7, 1, Conv, [64, 3, 2]]", "that can be built"), ("[-1, 1]", "that can be built"),
])  # fmt: skip
def test_an_architecture_that_cannot_be_built_is_named(
    dataset: Path, tmp_path: Path, block: str, says: str
) -> None:
    own = tmp_path / "own-cls.yaml"
    own.write_text(f"nc: 3\nbackbone:\n  - {block}\nhead:\n  - [-1, 1, Classify, [nc]]\n")
    with pytest.raises(StudentError, match=says) as refused:
        train(dataset, tmp_path / "s", config(model=str(own)), CLASSES)
    assert str(own) in str(refused.value) and not (tmp_path / "s").exists()


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_a_training_that_explodes_leaves_no_student(
    dataset: Path, tmp_path: Path, rate: float
) -> None:
    settings = config(epochs=3, train={"lr0": rate})
    for _ in range(2):  # nor does it the second time, where only the last step is left
        with pytest.raises(StudentError, match=r"training diverged.*Lower the learning rate"):
            train(dataset, tmp_path / "s", settings, CLASSES)
    assert not (tmp_path / "s").exists()


def test_threads_are_as_before_after_a_training(dataset: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train(dataset, tmp_path / "s", config(epochs=1), CLASSES)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_diverging_training_says_so(dataset: Path, taught: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(taught / "weights.pt", weights_only=False)
    for weight in checkpoint["model"].parameters():
        weight.fill_(float("nan"))
    torch.save(checkpoint, tmp_path / "lost.pt")
    with pytest.raises(StudentError, match="Lower the learning rate"):
        train(dataset, tmp_path / "s", config(model=str(tmp_path / "lost.pt")), CLASSES)


def test_weights_of_the_field_can_be_started_from(
    dataset: Path, tmp_path: Path, shared: Path
) -> None:
    start = shared / "students" / "yolov8n-cls-features.pt"
    result = train(dataset, tmp_path / "s", config(model=str(start), epochs=1), CLASSES)
    assert result.parameters > 1_000_000
