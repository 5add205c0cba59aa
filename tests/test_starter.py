"""The config that `init` writes is, once read, the config that it promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.config import Config, load_config
from pipeline.ontology import ontology_of


@pytest.fixture(autouse=True)
def _beside_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my photos").mkdir()
    monkeypatch.chdir(tmp_path)


def init(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["init", *words])
    assert done.exit_code == status, done.output
    return done


def written(classes: str, *words: str, output: str = "pets.yaml") -> Config:
    """The config that `init` writes for the photos."""
    init("--images", "my photos", "--classes", classes, "-o", output, *words)
    return load_config(Path(output))


def settings(config: Config) -> dict[str, Any]:
    found = config.model_dump(mode="json")
    return {key: found[key] for key in ("label", "student", "teachers", "templates", "truth")}


def test_the_prompts_are_the_classes_with_their_articles_in_their_order(tmp_path: Path) -> None:
    config = written("dog, apple,Igel,hour, über,x")
    assert list(config.ontology.items()) == [
        ("a photo of a dog", "dog"), ("a photo of an apple", "apple"),
        ("a photo of an Igel", "Igel"), ("a photo of a hour", "hour"),
        ("a photo of a über", "über"), ("a photo of a x", "x"),
    ]  # fmt: skip
    assert config.background is None
    assert ontology_of(config).dataset_classes == ("dog", "apple", "Igel", "hour", "über", "x")


@pytest.mark.parametrize("letter", "aeiou")
def test_vowels_take_an(letter: str) -> None:
    assert list(written(f"{letter}x, {letter.upper()}y").ontology) == [
        f"a photo of an {letter}x", f"a photo of an {letter.upper()}y",
    ]  # fmt: skip


def test_a_background_gets_prompts_and_stays_out_of_the_dataset() -> None:
    config = written("cat,dog", "--background", "other")
    assert list(config.ontology.items())[2:] == [
        ("a photo of something else", "other"), ("an empty scene", "other"),
    ]  # fmt: skip
    assert config.background is not None
    assert (config.background.name, config.background.keep) == ("other", False)
    assert ontology_of(config).dataset_classes == ("cat", "dog")


def test_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    config = written("cat,dog", output="configs/pets.yaml")
    assert [one.path for one in config.sources] == [tmp_path / "my photos"]
    assert config.workspace == tmp_path / "configs" / "runs" / "pets"
    text = (tmp_path / "configs" / "pets.yaml").read_text("utf-8")
    assert 'source: "../my photos"' in text and 'workspace: "runs/pets"' in text
    assert text.startswith("# cat, dog from my photos\n#   clip2yolo run --config pets.yaml\n")


@pytest.mark.parametrize(
    ("teacher", "asked", "student"),
    [("clip", "clip-vit-b-32", "yolov8n-cls.pt"), ("pocket", "pocket", "yolov8n-cls.yaml")],
)
def test_settings_are_those_that_the_comments_explain(
    teacher: str, asked: str, student: str
) -> None:
    found = settings(written("cat,dog", "--teacher", teacher))
    defaults = load_minimal()
    defaults["teachers"][0]["model"] = asked
    defaults["student"]["model"] = student
    space = found["label"].pop("space")
    assert (space["model"] if space else None) == (None if teacher == "pocket" else "dinov2-small")
    del defaults["label"]["space"]
    assert found == defaults


def load_minimal() -> dict[str, Any]:
    path = Path("minimal.yaml")
    path.write_text("source: x\nontology: {a: a, b: b}\n")
    return settings(load_config(path))


@pytest.mark.parametrize("background", [None, "other"])
def test_what_is_commented_out_can_be_used(tmp_path: Path, background: str | None) -> None:
    """A person takes the number sign away."""
    classes = "cat,dog" if background else "cat,dog,other"
    config = written(classes, *(["--background", background] if background else []))
    path = tmp_path / "pets.yaml"
    text = path.read_text("utf-8")
    for key in ("truth", "templates", "background"):
        assert f"\n# {key}: " in text or (key == "background" and background)
        text = text.replace(f"\n# {key}: ", f"\n{key}: ")
    path.write_text(text, "utf-8")
    changed = load_config(path)
    assert changed.truth == tmp_path / "labeled" and changed.templates == "photo"
    assert changed.background is not None
    assert (changed.background.name, changed.background.keep) == ("other", False)
    assert ontology_of(changed).dataset_classes == ("cat", "dog")
    assert changed.student == config.student and changed.label == config.label
    listed = text.split("or a list such as ")[1].splitlines()[0]
    assert json.loads(listed) == ["a photo of {}", "a {}"]


@pytest.mark.parametrize("name", ["yes", "123", "no: maybe", "a 'b' #c", "über", "{x}", "null"])
def test_any_name_comes_back_as_it_was_given(name: str) -> None:
    if ":" in name:
        init("--images", "my photos", "--classes", f"cat,{name}", status=2)
        return
    config = written(f"cat,{name}")
    assert list(config.ontology.values()) == ["cat", name]


def test_images_may_be_a_pattern_and_must_otherwise_be_there(tmp_path: Path) -> None:
    for pattern in ("nowhere/*.jpg", "nowhere/?.jpg", "nowhere/[ab].jpg"):
        init("--images", pattern, "--classes", "cat,dog", "--force", "-o", "pets.yaml")
        assert load_config(Path("pets.yaml")).sources[0].path == tmp_path / pattern
    said = init("--images", "nowhere", "--classes", "cat,dog", status=2).stderr
    assert said == "error: nowhere does not exist. `--images` names the photos to label.\n"


@pytest.mark.parametrize(
    ("classes", "further", "says"),
    [
        ("cat,dog,cat", (), "A class is named twice in `--classes`. Name each once."),
        ("cat", (), "one class only"),
        (" , ", (), "The ontology is empty"),
        ("cat", ("--background", "other"), "only one class is left"),
        ("cat,CON", (), "is a device name on Windows"),
        ("cat,dog", ("--background", "a/b"), "holds '/'"),
    ],
)
def test_what_cannot_be_a_config_is_not_written(
    tmp_path: Path, classes: str, further: tuple[str, ...], says: str
) -> None:
    words = ("--images", "my photos", "--classes", classes, "-o", "pets.yaml", *further)
    assert says in init(*words, status=2).stderr
    assert not (tmp_path / "pets.yaml").exists()


def test_an_existing_config_stays_unless_it_is_to_go(tmp_path: Path) -> None:
    path = tmp_path / "clip2yolo.yaml"
    path.write_text("mine")
    words = ("--images", "my photos", "--classes", "cat,dog")
    said = init(*words, status=2).stderr
    assert said == (
        "error: clip2yolo.yaml exists already. Choose another `--output`, or add `--force`.\n"
    )
    assert path.read_text() == "mine"
    done = init(*words, "--force", "--json")
    assert json.loads(done.stdout) == {"config": str(path)}
    assert load_config(path).workspace == tmp_path / "runs" / "clip2yolo"


# Examples


def labeled(*names: str) -> None:
    for name in names:
        Path("labeled", name).mkdir(parents=True)


def test_a_folder_of_labeled_folders_names_classes_and_shows_them(tmp_path: Path) -> None:
    labeled("water_lily", "oak-tree", "type B", "class_01", ".hidden", "猫")
    Path("labeled", "readme.txt").touch()
    init("--images", "my photos", "--examples", "labeled", "-o", "pets.yaml")
    config = load_config(Path("pets.yaml"))
    assert config.ontology == {
        "a photo of an oak tree": "oak-tree", "a photo of a water lily": "water_lily",
        "a photo of a 猫": "猫",
    }  # fmt: skip
    assert set(config.examples) == {"class_01", "oak-tree", "type B", "water_lily", "猫"}
    assert config.examples["type B"] == [tmp_path / "labeled" / "type B"]
    # Names of numbers and letters mean nothing to a teacher: they have examples only.
    assert ontology_of(config).classes == ("oak-tree", "water_lily", "猫", "class_01", "type B")


def test_classes_may_be_named_beside_those_that_are_shown() -> None:
    labeled("cat", "other")
    words = ("--images", "my photos", "--examples", "labeled", "-o", "pets.yaml", "--force")
    init(*words, "--classes", "dog, cat", "--background", "other")
    config = load_config(Path("pets.yaml"))
    assert list(config.ontology.values()) == ["dog", "cat", "other", "other"]
    assert list(config.examples) == ["cat", "other"]
    init(*words, "--no-prompts")
    config = load_config(Path("pets.yaml"))
    assert config.ontology == {} and ontology_of(config).classes == ("cat", "other")
    init(*words, "--no-prompts", "--classes", "dog")
    assert list(load_config(Path("pets.yaml")).ontology.values()) == ["dog"]


def test_paths_of_examples_are_relative_to_the_config(tmp_path: Path) -> None:
    labeled("cat", "dog")
    (tmp_path / "configs").mkdir()
    init("--images", "my photos", "--examples", "labeled", "-o", "configs/pets.yaml")
    assert '"cat": "../labeled/cat"' in (tmp_path / "configs" / "pets.yaml").read_text("utf-8")
    config = load_config(tmp_path / "configs" / "pets.yaml")
    assert config.examples["dog"] == [tmp_path / "labeled" / "dog"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Name the classes with `--classes`, or show them with `--examples`."),
        (("--classes", "cat,dog", "--no-prompts"), "`--no-prompts` needs `--examples`"),
        (("--examples", "nowhere"), "nowhere does not exist. `--examples` names a folder"),
        (("--examples", "file"), "file is a file. `--examples` names a folder"),
        (("--examples", "my photos"), "my photos holds no folders."),
        (("--examples", "alike"), "would have one prompt, 'a photo of an oak tree'"),
        (("--examples", "one"), "one class only"),
    ],
)
def test_examples_that_show_nothing_are_refused(words: tuple[str, ...], says: str) -> None:
    Path("file").touch()
    Path("one", "cat").mkdir(parents=True)
    for name in ("oak-tree", "oak_tree"):
        Path("alike", name).mkdir(parents=True)
    assert says in init("--images", "my photos", *words, status=2).stderr
    assert not Path("clip2yolo.yaml").exists()
