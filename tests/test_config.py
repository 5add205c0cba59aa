from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.stages.common import ontology_of
from pipeline.teachers import BACKENDS, resolve
from tests.repository import REPOSITORY

MINIMAL = "source: photos\nontology: {a cat: cat, a dog: dog}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "pets.yaml"
    path.write_text(text, "utf-8")
    return path


def test_paths_are_relative_to_the_file_not_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + "truth: t.csv\nteacher: {model: 'local-dir:clip'}\nstudent: {model: ./own.pt}\n",
        )
    )
    assert [one.path for one in config.sources] == [tmp_path / "photos"]
    assert config.truth == tmp_path / "t.csv"
    assert config.teachers[0].model == f"local-dir:{tmp_path / 'clip'}"
    assert config.student.model == str(tmp_path / "own.pt")
    assert config.workspace == tmp_path / "runs" / "pets"


def test_names_of_models_stay_names(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, MINIMAL + "teacher: {model: ViT-B-32}\nstudent: {model: yolov8n-cls.pt}\n")
    )
    assert config.teachers[0].model == "ViT-B-32"
    assert config.student.model == "yolov8n-cls.pt"


def test_prompts_keep_the_order_of_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "source: a\nontology: {z: z, a: a, m: m}\n"))
    assert list(config.ontology) == ["z", "a", "m"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "sourc: x\n", "`sourc` is not a key"),
        (MINIMAL + "label: {min_confidense: 0.5}\n", r"`label\.min_confidense` is not a key"),
        (MINIMAL + "label: {min_confidence: 1.5}\n", r"`label\.min_confidence` is 1\.5"),
        (MINIMAL + "label: {min_confidence: high}\n", r"`label\.min_confidence` is 'high'"),
        (MINIMAL + "student: {epochs: 0}\n", r"`student\.epochs` is 0"),
        (MINIMAL + "dataset: {splits: {train: 0.9}}\n", "sum to 1"),
        (MINIMAL + "dataset: {splits: {train: 1.0, valid: 0.0, test: 0.0}}\n", "above 0"),
        (MINIMAL + "teacher: 3\n", "`teacher` is 3"),
        (MINIMAL + "teacher: []\n", "`teacher` is "),
        (MINIMAL + "teacher: [pocket, {weight: 0}]\n", r"`teacher\.1\.weight` is 0"),
        ("ontology: {a cat: cat}\n", "`source` is missing"),
        ("source: x\n", "`ontology` is missing"),
        ("source: 3\nontology: {a: b}\n", "`source` is 3"),
        ("source: x\nontology: {yes: no, a: b}\n", "quotes"),
        ("source: x\nontology: {a cat: cat, a cat: dog}\n", "twice"),
        ("source: x\nontology: {a: 1}\n", r"`ontology\.a` must be text"),
        ("source: [unclosed\n", "not valid YAML"),
        ("just words\n", "clip2yolo init"),
        ("", "clip2yolo init"),
        ("file: /etc/passwd\n" + MINIMAL, "`file` is not a key"),
        ("source: !!python/object/apply:os.system [true]\n", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_file(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n  " not in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, MINIMAL + "nope: 1\nstudent: {epochs: -1}\n"))
    assert "`nope`" in str(caught.value)
    assert "`student.epochs`" in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "binary.yaml")


def test_the_ready_made_configs_load() -> None:
    configs = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
    assert configs
    for path in configs:
        assert load_config(path).ontology


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_ready_made_configs_are_whole(path: Path) -> None:
    config = load_config(path)
    assert ontology_of(config).dataset_classes
    assert all(resolve(one).kind in BACKENDS for one in config.teachers)
    first = path.read_text("utf-8").split("\n\n")[0]
    assert all(line.startswith("#") for line in first.splitlines()) and "make label" in first
