"""A person's own ultralytics, in the process in which a student is trained and after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.repository import REPOSITORY
from tests.tiny_student import make_dataset

# What a person has turned on, or changed: none of it is ultralytics' default.
CHOSEN = {"wandb": True, "tensorboard": True, "mlflow": False, "datasets_dir": "/their/datasets"}

# What `ultralytics` is told to report to. It leaves word that somebody has asked for it.
REPORTER = "open({!r}, 'a').write(__name__)\n__version__ = '1'\nrun = None\ndef init(**_): pass\n"

SCRIPT = """
    import json, logging, os, random, sys
    theirs_first = {theirs_first}
    import torch
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if theirs_first:
        import ultralytics
        ultralytics.utils.LOGGER.setLevel(17)
    import polars, supervision, autodistill.detection  # which set variables of their own
    before = dict(os.environ)
    from pipeline.autodistill import YOLOv8
    target = YOLOv8("yolov8n-cls.yaml")
    target.train({dataset!r}, epochs=1, device="cpu", output={output!r}, imgsz=32, workers=0)
    YOLOv8({output!r} + "/weights.pt").predict({picture!r})
    after = dict(os.environ)
    from ultralytics import settings
    from ultralytics.utils import LOGGER
    print(json.dumps(dict(
        changed=sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n)),
        settings=dict(settings), level=LOGGER.level, disabled=logging.root.manager.disable,
        threads=torch.get_num_threads(), exact=torch.are_deterministic_algorithms_enabled(),
        asked=os.path.exists({asked!r}),
    )))
    # What our training does not tell hears of theirs, in the same process.
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from ultralytics.utils.callbacks.wb import callbacks
    trainer = ClassificationTrainer(overrides=dict(
        model="yolov8n-cls.yaml", data={dataset!r}, device="cpu", project={own!r}, exist_ok=True))
    own = set(callbacks.values())
    assert own and own <= {{one for ones in trainer.callbacks.values() for one in ones}}
    settings.update({{"mlflow": True}})
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person has settings, a dataset, and a reporter that must not hear of a training."""
    home = tmp_path_factory.mktemp("home")
    make_dataset(home / "dataset", images=4)
    (home / "packages").mkdir()
    for name in ("wandb", "tensorboard"):
        (home / "packages" / f"{name}.py").write_text(REPORTER.format(str(home / "asked")))
    return home


def run(home: Path, script: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    paths = os.pathsep.join((str(REPOSITORY), str(home / "packages")))
    own = {"HOME": str(home), "PYTHONPATH": paths, "CLIP2YOLO_CACHE": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=kept | own | {"OMP_NUM_THREADS": "2"} | variables,
        cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def chosen(home: Path) -> str:
    """What ultralytics writes where a person changes settings."""
    script = f"from ultralytics import settings; settings.reset(); settings.update({CHOSEN!r})"
    run(home, script, YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(home / "once"))
    return (home / "once" / "Ultralytics" / "settings.json").read_text()


def put(chosen: str, place: Path) -> Path:
    """Have a person's settings lie in a folder; returns the file."""
    file = place / "Ultralytics" / "settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(chosen)
    return file


@pytest.mark.parametrize(("theirs_first", "elsewhere"), [(True, False), (False, True)])
def test_a_training_leaves_them_as_they_are_and_theirs_is_still_reported(
    home: Path, chosen: str, theirs_first: bool, elsewhere: bool
) -> None:
    variables = {"YOLO_CONFIG_DIR": str(home / "own folder")} if elsewhere else {}
    place = put(chosen, home / ("own folder" if elsewhere else ".config"))
    before: dict[str, Any] = json.loads(place.read_text())
    assert before.items() >= CHOSEN.items()
    script = SCRIPT.format(
        theirs_first=theirs_first,
        dataset=str(home / "dataset"),
        output=str(home / "student"),
        picture=str(home / "dataset" / "test" / "red" / "0.png"),
        asked=str(home / "asked"),
        own=str(home / "own"),
    )
    (home / "asked").unlink(missing_ok=True)
    said = run(home, script, **variables).splitlines()
    told = json.loads(next(line for line in said if line.startswith("{")))
    assert told["changed"] == []
    assert told["settings"] == before
    assert (told["threads"], told["exact"], told["disabled"]) == (2, True, 0)
    assert told["level"] == (17 if theirs_first else 20)
    assert not told["asked"]
    # Only what the person changed at the end, where they keep it.
    assert json.loads(place.read_text()) == before | {"mlflow": True}
