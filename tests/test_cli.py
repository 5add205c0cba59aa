"""The whole path through the command line, on drawn frames, with the bundled teacher."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.run.workspace import Workspace
from tests.command import Command
from tests.fakes import sha256
from tests.packing_line import settings, write_config
from tests.repository import REPOSITORY


def begin(folder: Path, sample: Path) -> None:
    """Write a config like the built-in run's, beside a source of its own."""
    shutil.copytree(sample, folder / "sample")
    write_config(folder, settings({"distill": "hard", "epochs": 3}))


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.setenv("CLIP2YOLO_CACHE", str(folder / "cache"))
    patch.setenv("COLUMNS", "160")


@pytest.fixture
def run_folder(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a run that nobody has begun with."""
    begin(tmp_path, sample)
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    """A folder with a run that is labeled and trained; `trained` puts it back."""
    folder = tmp_path_factory.mktemp("taught")
    begin(folder, sample)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        answer("label"), answer("train")
    shutil.copytree(folder, folder.with_name("as-taught"))
    return folder


@pytest.fixture
def trained(taught: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with that run as it was; paths in it are absolute, so it stays there."""
    shutil.rmtree(taught)
    shutil.copytree(taught.with_name("as-taught"), taught)
    enter(taught, monkeypatch)
    return taught


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    settings = yaml.safe_load((folder / "run.yaml").read_text())
    change(settings)
    write_config(folder, settings)


def clip2yolo(*words: str) -> Result:
    """Run a command in this process; tests that kill use `start`."""
    return CliRunner().invoke(main, words)


def answer(*words: str) -> Any:
    done = clip2yolo(*words, "--config", "run.yaml", "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def start(*words: str, first: Callable[[], None] | None = None) -> Command:
    """Start a command in a process of its own."""
    here = Path.cwd()
    return Command((*words, "--config", "run.yaml"), here, here / f"{words[0]} said", first)


def kill_when(process: Command, there: Callable[[], bool]) -> None:
    """SIGKILL the process as soon as something is there."""
    end = time.monotonic() + 120
    while not there():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    process.wait()


def test_the_whole_path_and_what_it_leaves(run_folder: Path) -> None:
    labeled = answer("label")
    assert labeled["label"]["usable"] == 120 and labeled["label"]["embedded"] == 120
    trained = answer("train")["train"]
    assert trained["epochs"] == 3 and trained["classes"] == sorted(labeled["label"]["classes"])
    evaluation = answer("evaluate")
    # The camera stands still: frames that look like training images are not held out.
    held_out = evaluation["held_out"]
    assert held_out["images"] + sum(held_out["excluded"].values()) == 24
    assert held_out["images"] > 15 and evaluation["labels"]["accuracy"]["n"] > 90
    assert evaluation["teacher"]["accuracy"]["value"] > 0.6  # far above chance, which is 0.25
    workspace = Workspace(run_folder / "run")
    assert json.loads(workspace.evaluation.read_text()) == evaluation
    assert "<svg" in workspace.report.read_text()

    # Nothing has changed, so nothing is done again, and the readers say so.
    before = {path: path.stat().st_mtime_ns for path in workspace.root.glob("[!.]*.*")}
    again = clip2yolo("run", "--config", "run.yaml")
    assert again.exit_code == 0 and again.stderr.count("up to date") == 4
    assert {path: path.stat().st_mtime_ns for path in workspace.root.glob("[!.]*.*")} == before
    states = answer("status")
    assert [state["state"] for state in states["stages"]] == ["done"] * 4
    assert states["next"] is None

    # A setting of the student redoes it and what follows, nothing before.
    change_config(run_folder, lambda config: config["student"].update(epochs=2))
    states = answer("status")
    assert [state["state"] for state in states["stages"]] == [
        "done", "done", "out of date", "out of date",
    ]  # fmt: skip
    done = clip2yolo("run", "--config", "run.yaml")
    assert done.stderr.count("up to date") == 2

    # Other prompts embed nothing.
    change_config(run_folder, lambda c: c["ontology"].update({"two oranges": "orange"}))
    labeled = answer("label")
    assert labeled["label"]["embedded"] == 0 and labeled["label"]["from_cache"] == 120


def test_new_images_are_added_and_old_splits_stay(run_folder: Path) -> None:
    files = sorted((run_folder / "sample" / "images").iterdir())
    aside = run_folder / "aside"
    aside.mkdir()
    for path in files[:40]:
        path.rename(aside / path.name)
    answer("label")
    before = pl.read_parquet(run_folder / "run" / "dataset.parquet")
    for path in aside.iterdir():
        path.rename(run_folder / "sample" / "images" / path.name)
    assert answer("label")["label"]["embedded"] == 40
    after = pl.read_parquet(run_folder / "run" / "dataset.parquet")
    splits = dict(after.select("id", "split").iter_rows())
    assert len(splits) > len(before)
    # One that is now of the background class, by what the new images show, is in none.
    old = before.filter(pl.col("id").is_in(list(splits))).select("id", "split").iter_rows()
    assert all(splits[one] == split for one, split in old)


def test_images_are_looked_at_together_or_each_alone(run_folder: Path) -> None:
    alone = answer("label", "--refine", "none")["label"]
    assert (alone["refined"], alone["moved"]) == (False, 0)
    together = answer("label", "--refine", "always")["label"]
    assert together["refined"] and together["why"] and together["embedded"] == 0
    labels = pl.read_parquet(run_folder / "run" / "labels.parquet")
    assert together["moved"] == labels["moved"].sum()
    done = clip2yolo("label", "--refine", "sometimes", "--config", "run.yaml")
    assert done.exit_code == 2 and "'sometimes' is not one of" in done.stderr


def test_a_person_decides(run_folder: Path) -> None:
    change_config(run_folder, lambda config: config["label"].update(min_confidence=0.95))
    counts = answer("label")["label"]
    assert counts["abstained"] > 0
    review = run_folder / "run" / "review.csv"
    table = pl.read_csv(review, infer_schema=False)
    doubtful = table["id"][0]
    table.with_columns(
        pl.when(pl.col("id") == doubtful).then(pl.lit("banana")).otherwise("class").alias("class")
    ).write_csv(review)
    assert answer("label")["label"]["human"] == 1
    plan = pl.read_parquet(run_folder / "run" / "dataset.parquet")
    assert plan.filter(pl.col("id") == doubtful)["class"].to_list() == ["banana"]
    change_config(run_folder, lambda config: config["ontology"].update({"a lemon": "nothing"}))
    assert answer("label")["label"]["human"] == 1


def test_bad_images_never_stop_the_run(run_folder: Path) -> None:
    images = run_folder / "sample" / "images"
    first, second, *_ = sorted(images.iterdir())
    (images / "copy.jpg").write_bytes(first.read_bytes())
    (images / "cut.jpg").write_bytes(second.read_bytes()[:900])
    (images / "empty.jpg").touch()
    done = clip2yolo("label", "--config", "run.yaml")
    assert done.exit_code == 0
    assert "1 exact duplicate" in done.stderr and "2 unreadable" in done.stderr
    table = pl.read_parquet(run_folder / "run" / "images.parquet")
    assert dict(table.group_by("status").len().iter_rows()) == {
        "ok": 120, "duplicate": 1, "unreadable": 2,
    }  # fmt: skip
    states = answer("status")["stages"]
    assert [state["state"] for state in states[:2]] == ["done", "done"]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.slow
def test_killed_in_any_stage_it_goes_on(run_folder: Path) -> None:
    run, cache = run_folder / "run", run_folder / "cache" / "embeddings"
    change_config(run_folder, lambda config: config["teacher"].update(batch=8))
    kill_when(start("label"), lambda: bool(list(cache.glob("*/*.ids.npy"))))
    assert not (run / "label.json").exists()
    counts = answer("label")["label"]
    assert counts["from_cache"] >= 8 and counts["embedded"] + counts["from_cache"] == 120
    labels, dataset = sha256(run / "labels.parquet"), sha256(run / "dataset.parquet")

    (run / "dataset.json").unlink()
    kill_when(start("label"), lambda: bool(list(run.glob(".dataset.*"))))
    answer("label")
    assert sha256(run / "dataset.parquet") == dataset and sha256(run / "labels.parquet") == labels
    written = list((run / "dataset").rglob("*.jpg"))
    assert len(written) == len(pl.read_parquet(run / "dataset.parquet"))

    state = run / ".student.training" / "weights" / "last.pt"
    kill_when(start("train"), state.exists)
    done = clip2yolo("train", "--config", "run.yaml")
    assert done.exit_code == 0 and "epoch   1/3" not in done.stderr

    (run / "report.html").unlink(missing_ok=True)
    held_out = len(list(cache.glob("*/*.ids.npy")))
    kill_when(start("evaluate"), lambda: len(list(cache.glob("*/*.ids.npy"))) > held_out)
    assert not (run / "evaluate.json").exists()
    evaluation = answer("evaluate")
    held = evaluation["held_out"]
    assert held["images"] + sum(held["excluded"].values()) == 24


def test_a_busy_run_refuses_a_second_process(run_folder: Path) -> None:
    with Workspace(run_folder / "run").locked():
        done = clip2yolo("label", "--config", "run.yaml")
    assert done.exit_code == 1 and "in use by another clip2yolo process" in done.stderr


def small_files_only() -> None:
    """What a full disk looks like: writing beyond the first 3 kB of a file fails."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_a_disk_that_takes_no_more(run_folder: Path) -> None:
    answer("label")
    before = {path: sha256(path) for path in (run_folder / "run").rglob("*") if path.is_file()}
    change_config(run_folder, lambda config: config["label"].update(min_confidence=0.7))
    full = start("label", first=small_files_only)
    status, said = full.wait(), full.err.read_text()
    assert status == 1 and "Traceback" not in said, said
    assert said.strip().splitlines()[-1].startswith("error: ")
    after = {path: sha256(path) for path in (run_folder / "run").rglob("*") if path.is_file()}
    assert after == before


def failing(*words: str) -> tuple[int, str]:
    done = clip2yolo(*words)
    assert "Traceback" not in done.stderr and done.stdout == ""
    return done.exit_code, done.stderr


def test_mistakes_get_a_sentence_and_a_status(run_folder: Path) -> None:
    status, text = failing("train", "--config", "run.yaml")
    assert status == 1 and "Run `clip2yolo label` first" in text
    status, text = failing("label", "--config", "none.yaml")
    assert status == 2 and "none.yaml" in text
    status, text = failing("label", "--confg", "run.yaml")
    assert status == 2 and "--confg" in text

    def refused(change: Callable[[dict[str, Any]], None], status: int, words: str) -> None:
        original = (run_folder / "run.yaml").read_text()
        change_config(run_folder, change)
        code, text = failing("label", "--config", "run.yaml")
        assert code == status and words in text, text
        (run_folder / "run.yaml").write_text(original)

    refused(lambda c: c.update(sauce=1), 2, "`sauce` is not a key that is known")
    refused(lambda c: c.update(source="nowhere"), 1, "nowhere does not exist")
    refused(lambda c: c["teacher"].update(model="ViT-Q"), 2, "ViT-Q")
    refused(lambda c: c["ontology"].update({"an apple " * 20: "apple"}), 2, "too long")
    refused(lambda c: c.update(workspace="run.yaml/x"), 1, "a part of the path is a file")

    (run_folder / "sample" / "images2").mkdir()
    (run_folder / "sample" / "images2" / "x.jpg").write_text("no picture")
    refused(
        lambda c: c.update(source="sample/images2"), 1, "None of the 1 images found can be read"
    )


def test_truth_must_speak_the_ontologys_language(trained: Path) -> None:
    (trained / "sample" / "test" / "apple").rename(trained / "sample" / "test" / "apples")
    code, text = failing("evaluate", "--config", "run.yaml")
    assert code == 2 and "'apples', which the ontology does not have" in text


def test_without_truth_only_agreement(trained: Path) -> None:
    change_config(trained, lambda config: (config.pop("truth"), config.pop("pool_truth")))
    done = clip2yolo("evaluate", "--config", "run.yaml")
    assert done.exit_code == 0 and "agreement with teacher" in done.stdout
    assert "accuracy" not in done.stdout and "names no `truth`" in done.stderr


def test_a_background_class_can_be_left_out(run_folder: Path) -> None:
    change_config(run_folder, lambda config: config["background"].update(keep=False))
    labeled = answer("label")
    assert "nothing" not in labeled["dataset"]["splits"]["train"]
    assert labeled["label"]["per_class"]["nothing"] > 0
    assert answer("train")["train"]["classes"] == ["apple", "banana", "orange"]
    evaluation = answer("evaluate")
    assert evaluation["held_out"]["images"] == 18
    assert list(evaluation["held_out"]["excluded"].values()) == [6]


def test_images_that_were_trained_on_are_not_tested_on(run_folder: Path) -> None:
    change_config(run_folder, lambda config: (
        config.update(truth="sample/pool_truth.csv"), config["student"].update(distill="soft"),
    ))  # fmt: skip
    for stage in ("label", "train"):
        answer(stage)
    evaluation = answer("evaluate")
    plan = pl.read_parquet(run_folder / "run" / "dataset.parquet")
    beliefs = pl.read_parquet(run_folder / "run" / "beliefs.parquet")
    undecided = beliefs.filter(pl.col("kind") == "belief").height
    assert undecided > 0
    learned = plan.filter(pl.col("split") != "test").height + undecided
    assert evaluation["held_out"]["excluded"] == {"the student was trained or chosen on": learned}
    assert evaluation["held_out"]["images"] == 120 - learned


def test_init_writes_a_config_that_runs(run_folder: Path) -> None:
    words = ("init", "--images", "sample/images", "--classes", "orange, apple,banana",
             "--background", "nothing", "--teacher", "pocket", "-o", "mine.yaml")  # fmt: skip
    assert clip2yolo(*words).exit_code == 0
    again = clip2yolo(*words)
    assert again.exit_code == 2 and "--force" in again.stderr
    done = clip2yolo("label", "--config", "mine.yaml", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert (run_folder / "runs" / "mine" / "dataset" / "train" / "orange").is_dir()


def test_help_is_light_and_complete() -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom pipeline.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "heavy = {'torch', 'ultralytics', 'open_clip', 'polars', 'numpy', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("label", "train", "evaluate", "run", "status", "init"):
        assert command in done.stdout
        text = clip2yolo(command, "--help").stdout
        assert "Example: clip2yolo" in text and "--json" in text


def test_documented_commands_exist() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    shown = re.findall(r"^(?:\$ )?(make|clip2yolo) (.+?)(?:  +#.*)?$", readme, re.MULTILINE)
    assert {name for name, _ in shown} == {"make", "clip2yolo"}
    helps: dict[str, str] = {}
    for name, line in shown:
        words = line.split()
        if name == "make":
            for target in (word for word in words if "=" not in word):
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
            continue
        command = words[0]
        helps.setdefault(command, clip2yolo(command, "--help").stdout)
        for option in (word for word in words[1:] if word.startswith("-")):
            assert option.split("=")[0] in helps[command], f"{command} {option}"
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (REPOSITORY / path).exists(), path


def test_nothing_new_is_said_without_loading_torch(trained: Path) -> None:
    answer("evaluate")
    assert answer("promote")["promoted"] in answer("promote")["students"]
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom pipeline.cli import main\n"
        "done = CliRunner().invoke(main, ['run', '--if-changed', '--config', 'run.yaml'])\n"
        "print(done.output)\n"
        "heavy = {'torch', 'ultralytics', 'open_clip', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or done.exit_code)"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Nothing is new" in done.stdout
        # A fresh checkout has other times, also of truth and weights, and the same content.
        for path in (trained / "sample").rglob("*"):
            os.utime(path, (1.7e9, 1.7e9))
    other = clip2yolo("evaluate", "--config", "run.yaml", "--against", "run")
    assert other.exit_code == 0 and "+0.0 points" in other.stdout
    nothing = clip2yolo("evaluate", "--config", "run.yaml", "--against", "sample")
    assert nothing.exit_code == 1 and "no answers.parquet" in nothing.stderr


def test_a_failed_gate_is_exit_status_3_every_time(trained: Path) -> None:
    gates = {"accuracy": ">= 99.9%", "speedup": "> 0"}
    change_config(trained, lambda config: config["evaluate"].update(gates=gates))
    for _ in range(2):
        done = clip2yolo("evaluate", "--config", "run.yaml")
        assert done.exit_code == 3
        assert "1 of 2 gates failed" in done.stderr and "too little" in done.stderr
    compared = clip2yolo("evaluate", "--config", "run.yaml", "--against", "run")
    assert compared.exit_code == 3 and "+0.0 points" in compared.stdout
    idle = clip2yolo("run", "--if-changed", "--config", "run.yaml")
    assert idle.exit_code == 0 and "failed its gates (accuracy)" in idle.stderr
    assert not (trained / "run" / "students" / "promoted").exists()
    assert answer("promote")["promoted"] is None and len(answer("promote")["students"]) == 1
    change_config(trained, lambda config: config["evaluate"].update(gates={"accuracy": "much"}))
    wrong = clip2yolo("evaluate", "--config", "run.yaml")
    assert wrong.exit_code == 2 and "is no limit" in wrong.stderr


def test_pulled_decisions_override_the_teacher_and_a_review_overrides_them(
    run_folder: Path,
) -> None:
    answer("label")
    run = run_folder / "run"
    labels = pl.read_parquet(run / "labels.parquet")
    first, second = labels["id"][0], labels["id"][1]
    pulled = pl.DataFrame({"path": ["", ""], "class": ["banana"] * 2, "id": [first, second]})
    pulled.write_csv(run / "human.csv")
    change_config(run_folder, lambda config: config["label"].update(min_confidence=0.4))
    assert answer("label", "--verify", "--precision", "fp32")["label"]["human"] == 2
    review = pl.read_csv(run / "review.csv", infer_schema=False)
    rows = review.filter(pl.col("id").is_in([first, second])).select("class", "reason").rows()
    assert rows == [(None, "Decided on Roboflow: banana.")] * 2
    changed = pl.when(pl.col("id") == first).then(pl.lit("apple")).otherwise("class")
    review.with_columns(changed.alias("class")).write_csv(run / "review.csv")
    answer("label")
    decided = dict(
        pl.read_parquet(run / "labels.parquet")
        .filter(pl.col("decision") == "human").select("id", "class").iter_rows()
    )  # fmt: skip
    assert decided == {first: "apple", second: "banana"}
    # Taken back there, it is undecided again; what the review says stays.
    pulled.clear().write_csv(run / "human.csv")
    assert answer("label")["label"]["human"] == 1
    labels = pl.read_parquet(run / "labels.parquet").filter(pl.col("decision") == "human")
    assert labels.select("id", "class").rows() == [(first, "apple")]


@pytest.mark.parametrize(
    ("end", "status"),
    [("pass", 0), ("sys.exit(3)", 3), ("raise click.UsageError('no')", 2),
     ("raise Clip2YoloError('no')", 1), ("raise RuntimeError('a mistake of ours')", 1),
     ("sys.stdout = open('/dev/full', 'w'); sys.stdout.write('lost')", 120)],
)  # fmt: skip
def test_leaving_at_once_loses_nothing(tmp_path: Path, end: str, status: int) -> None:
    if "/dev/full" in end and not Path("/dev/full").exists():
        pytest.skip("there is no device that is always full")
    script = (
        "import atexit, sys, threading, time\nimport click\nfrom pathlib import Path\n"
        "from pipeline.cli import main\nfrom pipeline.cli.__main__ import console\n"
        "from pipeline.errors import Clip2YoloError\n"
        "def slow():\n    time.sleep(0.3)\n    Path('slow').write_text('done')\n"
        "@main.command('work')\ndef work():\n"
        "    atexit.register(lambda: Path('last').write_text('done'))\n"
        "    threading.Thread(target=slow).start()\n"
        "    sys.stdout.write('x' * 300_000)\n"
        f"    {end}\n"
        "sys.argv = ['clip2yolo', 'work']\nconsole()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == status
    if status != 120:
        assert len(done.stdout) == 300_000
    assert ("Traceback" in done.stderr) == ("RuntimeError" in end)
    for name in ("slow", "last"):
        assert (tmp_path / name).read_text() == "done"
