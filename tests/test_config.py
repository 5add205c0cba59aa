from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from pipeline.config import Config, load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.ontology import ontology_of
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


def loaded(folder: Path, text: str = "") -> Config:
    """The minimal config with further lines."""
    return load_config(write(folder, MINIMAL + text))


def with_value(folder: Path, key: str, value: Any) -> Config:
    """The minimal config with one setting, by its dotted key."""
    settings = yaml.safe_load(MINIMAL)
    *sections, last = key.split(".")
    inner = settings
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    return load_config(write(folder, yaml.safe_dump(settings, sort_keys=False)))


def value_of(config: Config, key: str) -> Any:
    """The value of a setting, by its dotted key."""
    found: Any = config.model_dump(by_alias=True)
    for part in key.split("."):
        found = found[part]
        found = found[0] if isinstance(found, list) and part in ("source", "teacher") else found
    return found


def test_the_defaults_are_these(tmp_path: Path) -> None:
    """What a config of two lines means; a change here changes everybody's results."""
    assert loaded(tmp_path).model_dump(mode="json") == {
        "workspace": str(tmp_path / "runs" / "pets"),
        "sources": [
            {
                "path": str(tmp_path / "photos"), "column": None, "every": None, "fps": None,
                "skip_similar": False,
            }
        ],
        "max_pixels": 100_000_000,
        "truth": None,
        "pool_truth": None,
        "ontology": {"a cat": "cat", "a dog": "dog"},
        "examples": {},
        "describe": {},
        "templates": "none",
        "background": None,
        "teachers": [
            {
                "kind": "open_clip", "model": "pocket", "pretrained": None, "device": "auto",
                "quick_gelu": None,
                "preprocess": {
                    "mean": None, "std": None, "interpolation": None, "resize_mode": None,
                },
                "precision": "auto", "compile": "auto", "batch": None, "weight": 1.0,
                "trust_remote_code": False, "url": "https://infer.roboflow.com",
                "connections": 8, "timeout": 60.0, "retries": 6,
            }
        ],
        "label": {
            "min_confidence": 0.5, "min_margin": 0.0, "refine": "auto", "prompts": "sum",
            "prior": {}, "reject": "none", "space": None, "engine": "local", "address": None,
            "vectors": None, "sample": 50_000,
        },
        "dataset": {
            "splits": {"train": 0.8, "valid": 0.1, "test": 0.1},
            "seed": 0, "near_duplicate": 0.98, "files": "copy", "format": "folder", "to": None,
            "shard_size": "256MB",
        },
        "student": {
            "model": "yolov8n-cls.yaml", "imgsz": 224, "fit": "stretch", "epochs": 30,
            "batch": 32, "seed": 0, "device": "auto", "precision": "auto", "workers": 2,
            "start": "scratch", "keep": 5, "distill": "soft", "balance": "none", "rounds": "auto",
            "train": {},
        },
        "exports": [],
        "evaluate": {
            "latency_images": 100, "cold_starts": True, "disagreements": 24, "suspects": 100,
            "look_alikes": "leave_out", "gates": {}, "margin": 0.01,
        },
        "review": {"until": 0.001},
        "roboflow": {
            "project": None, "workspace": None, "batch": None, "license": "Private",
            "connections": 8, "timeout": 60.0, "retries": 8,
        },
    }  # fmt: skip


def test_a_background_is_kept_unless_it_says_otherwise(tmp_path: Path) -> None:
    for text, kept in (("", True), (", keep: true", True), (", keep: false", False)):
        background = loaded(tmp_path, f"background: {{class: dog{text}}}\n").background
        assert background is not None and (background.name, background.keep) == ("dog", kept)


# Borders: what is just allowed and what is not any more.

FRACTIONS = ("label.min_confidence", "label.min_margin", "dataset.near_duplicate",
             "evaluate.margin", "review.until")  # fmt: skip
LIMITS: dict[str, tuple[list[Any], list[Any]]] = {
    **{key: ([0.0, 1.0, 0, 1], [-0.001, 1.001, "0.5"]) for key in FRACTIONS},
    "max_pixels": ([1, 1_000_000_000], [0, 1.5]),
    "source.every": ([1, "1ms"], [0, -1, "0s", "soon", 1.5]),
    "source.fps": ([0.001], [0, -1.0]),
    "teacher.batch": ([1, None], [0]),
    "teacher.quick_gelu": ([True, False, None], ["yes", 1]),
    "teacher.preprocess.mean": ([[0, 0.5, 1]], [[0.5], [123.7, 116.3, 103.5], 0.5]),
    "teacher.preprocess.std": ([[0.2, 0.5, 1]], [[0, 1, 1], [58.4, 57.1, 57.4], 1]),
    "teacher.preprocess.interpolation": (["bicubic", "bilinear"], ["nearest"]),
    "teacher.preprocess.resize_mode": (["shortest", "longest", "squash"], ["crop"]),
    "teacher.weight": ([0.001], [0, -1.0]),
    "teacher.connections": ([1, 64], [0, 65]),
    "teacher.timeout": ([0.001], [0.0]),
    "teacher.retries": ([0, 20], [-1, 21]),
    "teacher.precision": (["auto", "fp32", "bf16", "fp16"], ["fp64", ""]),
    "teacher.compile": (["auto", "always", "never"], [True, "yes"]),
    "student.imgsz": ([32, 2048], [31, 2049, 224.5]),
    "student.epochs": ([1], [0]),
    "student.batch": ([1], [0]),
    "student.seed": ([0], [-1]),
    "student.workers": ([0], [-1]),
    "student.keep": ([1], [0]),
    "student.fit": (["crop", "pad", "stretch"], ["squash", True]),
    "student.precision": (["auto", "fp32", "bf16"], ["fp16", "int8"]),
    "student.start": (["scratch", "promoted"], ["pretrained"]),
    "dataset.files": (["link", "copy"], ["move"]),
    "dataset.format": (["folder", "webdataset", "parquet"], ["tar", None, ["folder"]]),
    "dataset.seed": ([-1, 0], [0.5]),
    "evaluate.latency_images": ([8], [7]),
    "evaluate.disagreements": ([0], [-1]),
    "evaluate.suspects": ([0], [-1]),
    "evaluate.look_alikes": (["keep", "leave_out"], ["drop", True]),
    "roboflow.connections": ([1, 32], [0, 33]),
    "roboflow.timeout": ([0.001], [0.0]),
    "roboflow.retries": ([0, 20], [-1, 21]),
    "templates": (["none", "photo", "openai7", ["{}"]], ["photos", 3, [3]]),
}


def bordering(folder: Path, key: str, value: Any) -> Config:
    if key.startswith("source."):  # the minimal config has a source that is only a path
        return with_value(folder, "source", {"path": "v.mp4", key.split(".")[1]: value})
    return with_value(folder, key, value)


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, (good, _) in LIMITS.items() for value in good]
)
def test_a_value_at_its_border_is_taken_as_it_is(tmp_path: Path, key: str, value: Any) -> None:
    assert value_of(bordering(tmp_path, key, value), key) == value


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, (_, bad) in LIMITS.items() for value in bad]
)
def test_a_value_beyond_its_border_is_named_with_its_key(
    tmp_path: Path, key: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as caught:
        bordering(tmp_path, key, value)
    said = str(caught.value)
    # A rule about a whole section is said of the section.
    named = "source" if value in ("0s", "soon") else key
    assert all(line.startswith(f"{tmp_path / 'pets.yaml'}: `") for line in said.splitlines())
    assert f"`{named}`" in said or f"`{named}." in said, said


@pytest.mark.parametrize(
    ("train", "valid", "test", "good"),
    [
        (0.8, 0.1, 0.1, True), (0.5, 0.5, 0.0, True), (0.6, 0.3, 0.1, True),
        (0.3333333, 0.3333333, 0.3333333, True),  # rounded by hand
        (0.8, 0.1, 0.1001, False), (0.8, 0.1, 0.0999, False), (0.8, 0.1, 0.09, False),
        (0.0, 0.5, 0.5, False), (0.9, 0.0, 0.1, False), (1.1, 0.1, -0.2, False),
    ],
)  # fmt: skip
def test_splits_sum_to_one_and_leave_something_to_learn_and_choose_by(
    tmp_path: Path, train: float, valid: float, test: float, good: bool
) -> None:
    given = {"train": train, "valid": valid, "test": test}
    if good:
        assert value_of(with_value(tmp_path, "dataset.splits", given), "dataset.splits") == given
    else:
        with pytest.raises(ConfigError, match=r"`dataset\.splits"):
            with_value(tmp_path, "dataset.splits", given)


@pytest.mark.parametrize(
    ("gate", "limit", "good"),
    [
        ("accuracy", ">= 0.9", True), ("accuracy", "> 90%", True), ("accuracy", ">= 100%", True),
        ("accuracy", ">= 1", True), ("accuracy", ">= 1.01", False), ("accuracy", "< 0.9", False),
        ("accuracy", "<= 0.9", False), ("accuracy", "0.9", False), ("accuracy", "= 0.9", False),
        ("agreement", ">= 101%", False), ("agreement", ">=0.5", True),
        ("speedup", "> 5", True), ("speedup", "<= 5", False),
        ("regression", "<= 1%", True), ("regression", "< 1", True),
        ("regression", ">= 1%", False), ("regression", "<= 2", False),
        ("beauty", ">= 1", False),
    ],
)  # fmt: skip
def test_a_gate_points_the_right_way(tmp_path: Path, gate: str, limit: str, good: bool) -> None:
    if good:
        config = with_value(tmp_path, "evaluate.gates", {gate: limit})
        assert value_of(config, "evaluate.gates") == {gate: limit}
    else:
        with pytest.raises(ConfigError, match="`evaluate"):
            with_value(tmp_path, "evaluate.gates", {gate: limit})


@pytest.mark.parametrize("key", [
    "sauce", "label.sauce", "dataset.sauce", "dataset.splits.sauce", "student.sauce",
    "evaluate.sauce", "review.sauce", "roboflow.sauce", "teacher.sauce",
])  # fmt: skip
def test_a_key_that_is_not_known_is_named_whole(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_value(tmp_path, key, 1)
    assert str(caught.value) == (
        f"{tmp_path / 'pets.yaml'}: `{key}` is not a key that is known. Check its spelling or "
        "remove it."
    )


def test_keys_within_lists_are_named_by_their_number(tmp_path: Path) -> None:
    cases = [("teacher", ["pocket", {"sauce": 1}], "teacher.1.sauce"),
             ("source", ["a", "b", {"path": "c", "sauce": 1}], "source.2.sauce"),
             ("source", {"path": "c", "sauce": 1}, "source.sauce"),
             ("background", {"class": "dog", "sauce": 1}, "background.sauce")]  # fmt: skip
    for section, value, named in cases:
        with pytest.raises(ConfigError, match=f"`{named}` is not a key"):
            with_value(tmp_path, section, value)


def test_a_gate_that_is_none_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r": `evaluate\.gates\.beauty` is 'beauty'; it must be "):
        with_value(tmp_path, "evaluate.gates", {"beauty": ">= 1"})


# Durations and rates


@pytest.mark.parametrize(
    ("every", "frames", "seconds"),
    [
        ("0.5s", None, 0.5), ("200ms", None, 0.2), ("2m", None, 120.0), ("1h", None, 3600.0),
        (" 3 s ", None, 3.0), ("1.5m", None, 90.0), (10, 10, None), (None, None, 1.0),
    ],
)  # fmt: skip
def test_how_often_a_frame_is_taken(
    tmp_path: Path, every: Any, frames: int | None, seconds: float | None
) -> None:
    given = {"path": "v.mp4"} | ({} if every is None else {"every": every})
    (source,) = with_value(tmp_path, "source", given).sources
    assert source.sampling.frames == frames
    assert source.sampling.seconds == (None if seconds is None else pytest.approx(seconds))
    assert source.sampling.skip_similar is False
    assert source.names_frames == (every is not None)


def test_frames_may_be_givenper_second(tmp_path: Path) -> None:
    (source,) = with_value(tmp_path, "source", {"path": "v.mp4", "fps": 4}).sources
    assert (source.sampling.frames, source.sampling.seconds) == (None, 0.25)
    assert source.names_frames
    similar = {"path": "v.mp4", "skip_similar": True}
    (source,) = with_value(tmp_path, "source", similar).sources
    assert source.sampling.skip_similar and source.sampling.seconds == 1.0 and source.names_frames
    (source,) = with_value(tmp_path, "source", similar | {"every": 10}).sources
    assert source.sampling.skip_similar and source.sampling.frames == 10
    with pytest.raises(ConfigError, match="either `every` or `fps`, not both"):
        with_value(tmp_path, "source", {"path": "v.mp4", "fps": 4, "every": 2})


@pytest.mark.parametrize(
    "text", ["1", "s", "1 d", "-1s", "1.s", ".5s", "1,5s", "1s2", "0ms", "0.0s"]
)
def test_what_is_no_duration_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no duration; write it as 0\.5s, 200ms or 2m"):
        with_value(tmp_path, "source", {"path": "v.mp4", "every": text})


# One or several, and paths


def test_one_or_several_sources_and_teachers(tmp_path: Path) -> None:
    several = ["a", {"path": "b", "every": 2}, "/c"]
    for given, paths in (("a", ["a"]), ({"path": "a"}, ["a"]), (several, ["a", "b", "/c"])):
        config = with_value(tmp_path, "source", given)
        assert [one.path for one in config.sources] == [tmp_path / path for path in paths]
    assert [one.every for one in config.sources] == [None, 2, None]
    two = ["ViT-B-32", {"model": "pocket", "weight": 2.0}]
    for given, models in (
        ("ViT-B-32", ["ViT-B-32"]), ({"weight": 2.0}, ["pocket"]), (two, ["ViT-B-32", "pocket"]),
    ):  # fmt: skip
        config = with_value(tmp_path, "teacher", given)
        assert [one.model for one in config.teachers] == models
    assert [one.weight for one in config.teachers] == [1.0, 2.0]
    for key in ("source", "teacher"):
        with pytest.raises(ConfigError, match=f"`{key}` is "):
            with_value(tmp_path, key, [])


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("x/y", "{base}/x/y"), ("./x", "{base}/x"), ("../x", "{parent}/x"), ("x/../y", "{base}/y"),
        ("/x/y", "/x/y"), ("~/x", "{home}/x"), ("x/*.jpg", "{base}/x/*.jpg"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["workspace", "truth", "pool_truth", "source", "source.path"])
def test_every_path_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, given: str, becomes: str
) -> None:
    home, base = tmp_path / "home", tmp_path / "configs"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    base.mkdir()
    value = {"path": given} if key == "source.path" else given
    config = with_value(base, key.split(".")[0], value)
    found = config.sources[0].path if "source" in key else getattr(config, key)
    assert found == Path(becomes.format(base=base, parent=tmp_path, home=home))


@pytest.mark.parametrize(
    ("section", "given", "becomes"),
    [
        ("teacher", "local-dir:x", "local-dir:{base}/x"),
        ("teacher", "local-dir:../x", "local-dir:{parent}/x"),
        ("teacher", "local-dir:/x", "local-dir:/x"),
        ("teacher", "local-dir:~/x", "local-dir:{home}/x"),
        ("teacher", "hf-hub:a/b", "hf-hub:a/b"),
        ("teacher", "openai/clip", "openai/clip"),  # a name on a hub
        ("teacher", "./openai/clip", "{base}/openai/clip"),
        ("teacher", "~/clip", "{home}/clip"),
        ("teacher", "/clip", "/clip"),
        ("student", "hf-hub:a/b", "hf-hub:a/b"),
        ("student", "openai/own.pt", "{base}/openai/own.pt"),
        ("student", "../own.pt", "{parent}/own.pt"),
        ("student", "~/own.pt", "{home}/own.pt"),
        ("student", "/own.pt", "/own.pt"),
        ("student", "own.pt", "own.pt"),  # a name that ultralytics publishes, or nothing
    ],
)
def test_models_that_are_paths_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, given: str, becomes: str
) -> None:
    home, base = tmp_path / "home", tmp_path / "configs"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    base.mkdir()
    config = with_value(base, section, {"model": given})
    model = config.student.model if section == "student" else config.teachers[0].model
    assert model == becomes.format(base=base, parent=tmp_path, home=home)
    if section == "teacher":
        assert with_value(base, "teacher", ["pocket", given]).teachers[1].model == model


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_stays_the_link_that_a_person_named(tmp_path: Path) -> None:
    (tmp_path / "far" / "photos").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "photos")
    assert with_value(tmp_path, "source", "near").sources[0].path == tmp_path / "near"
    # Beyond a link, `..` is the folder above the place that it leads to.
    path = with_value(tmp_path, "source", "near/../x").sources[0].path
    assert path.resolve() == tmp_path / "far" / "x"


def test_a_workspace_is_named_after_the_file_or_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "My pets.v2.yaml"
    path.write_text(MINIMAL)
    assert load_config(path).workspace == tmp_path / "runs" / "My pets.v2"
    assert load_config(path).file == path
    assert with_value(tmp_path, "workspace", "w").workspace == tmp_path / "w"


def test_where_yaml_breaks_is_said_by_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the key 'a cat' stands here twice; keep one of them "
                       r"\(line 4, column 3\)\.$"):  # fmt: skip
        load_config(write(tmp_path, "source: x\nontology:\n  a cat: cat\n  a cat: dog\n"))


def test_the_ontology_of_a_config_is_built_from_all_its_keys(tmp_path: Path) -> None:
    text = "background: {class: dog, keep: %s}\ntemplates: photo\ndescribe: {cat: [a kitten]}\n"
    text += "ontology: {a cat: cat, a dog: dog, a cow: cow}\nsource: photos\n"
    for keep, classes in (("true", ("cat", "dog", "cow")), ("false", ("cat", "cow"))):
        ontology = ontology_of(load_config(write(tmp_path, text % keep)))
        assert ontology.prompts == ("a cat", "a dog", "a cow", "a kitten")
        assert ontology.prompt_classes == (0, 1, 2, 0)
        assert ontology.templates == ("a photo of {}.",)
        assert ontology.dataset_classes == classes and ontology.background == "dog"
    plain = ontology_of(loaded(tmp_path))
    assert plain.templates == ("{}",) and plain.background is None
    assert plain.dataset_classes == ("cat", "dog")


def test_settings_of_the_trainer_keep_their_kinds(tmp_path: Path) -> None:
    given = {"lr0": 0.003, "nbs": 16, "cos_lr": True, "auto_augment": "", "momentum": 1.0}
    found = with_value(tmp_path, "student.train", given).student.train
    assert found == given
    assert [type(value) for value in found.values()] == [float, int, bool, str, float]


def test_a_source_without_a_path_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`source\.path` is missing\. Add it\."):
        parse_config(
            {"source": {"every": 2}, "ontology": {"a": "a", "b": "b"}}, tmp_path / "r.yaml"
        )


def test_seeds_begin_with_zero(tmp_path: Path) -> None:
    def seeded(section: str, seed: int) -> None:
        known = {"source": ".", "ontology": {"a": "a", "b": "b"}, section: {"seed": seed}}
        parse_config(known, tmp_path / "r.yaml")

    seeded("student", 0)
    seeded("dataset", -1)  # any number names a way to deal
    with pytest.raises(ConfigError, match=r"`student\.seed` is -1"):
        seeded("student", -1)


# YAML, as people write it


def test_a_list_as_key_stands_for_each_of_its_entries(tmp_path: Path) -> None:
    text = "source: p\nontology:\n  [a red paper, a red sheet]: red\n  a blue paper: blue\n"
    ontology = ontology_of(load_config(write(tmp_path, text)))
    assert ontology.prompts == ("a red paper", "a red sheet", "a blue paper")
    assert ontology.prompt_classes == (0, 0, 1)
    with pytest.raises(ConfigError, match=r"'a red sheet' stands here twice; .* \(line 4, column"):
        load_config(write(tmp_path, text.replace("a blue paper", "a red sheet")))


def test_the_shared_file_with_a_list_as_key(shared: Path) -> None:
    file = shared / "data" / "odd_files" / "list_key.yaml"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    assert load_config(file).ontology["a red sheet"] == "red"


def test_what_is_merged_counts_less_than_what_is_written(tmp_path: Path) -> None:
    text = MINIMAL + (
        "small: &small {imgsz: 32, epochs: 2}\nshort: &short {epochs: 3, batch: 4}\n"
        "student: {batch: 8, <<: [*small, *short]}\nlabel: &label {min_margin: 0.1}\n"
        "dataset: {<<: &rest {seed: 3}}\n"
    )
    student = load_config(write(tmp_path, text)).student
    assert (student.imgsz, student.epochs, student.batch) == (32, 2, 8)
    # What is merged nowhere is no more known than any other key.
    with pytest.raises(ConfigError, match="`spare` is not a key"):
        load_config(write(tmp_path, text + "spare: &spare {epochs: 3}\n"))
    with pytest.raises(ConfigError, match="`<<` takes a mapping"):
        load_config(write(tmp_path, MINIMAL + "label: {<<: 3}\n"))


def refusal(folder: Path, text: str) -> str:
    """What is said of a config, which is one sentence."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(path)) and line.endswith(".")
    return line.removeprefix(str(path))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("cat: [a photo of a cat, a kitten]", "`a photo of a cat: cat`, `a kitten: cat`."),
        ("a photo of a cat: [cat]", "`a photo of a cat: cat` if 'a photo of a cat' is the prompt"),
        ("a cat: no", 'YAML reads `no` as false; write "no" in quotes'),
        ("a cat: ON", 'YAML reads `ON` as true; write "ON" in quotes'),
        ("a cat: 012", 'YAML reads `012` as the number 10; write "012" in quotes'),
        ("a cat: 12:30:45", 'YAML reads `12:30:45` as the number 45045; write "12:30:45" in'),
        ("a cat: null", 'YAML reads `null` as nothing; write "null" in quotes'),
        ("a cat: 1.0", 'YAML reads `1.0` as the number 1.0; write "1.0" in quotes'),
        ("a cat: 2024-01-02", 'YAML reads `2024-01-02` as a date; write "2024-01-02" in quotes'),
        ("a cat:", "`ontology.a cat` must be text: nothing is written there"),
        ("a cat: {b: c}", "`ontology.a cat` must be text"),
        ("yes: cat", 'YAML reads `yes` as true; write "yes" in quotes (line 4, column 3)'),
        ("12: cat", 'YAML reads `12` as the number 12; write "12" in quotes (line 4, column 3)'),
        ("2024-01-02: cat", 'as a date; write "2024-01-02" in quotes (line 4, column 3)'),
        ("? {a: b}\n  : cat", "a key is text, or a list of texts"),
        ("[a, 12]: cat", 'YAML reads `12` as the number 12; write "12" in quotes (line 4, column'),
    ],
)
def test_what_yaml_makes_of_a_word_is_said(tmp_path: Path, line: str, says: str) -> None:
    assert says in refusal(tmp_path, f"source: x\nontology:\n  a dog: dog\n  {line}\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source: {path: x, every: 1.5}", "`source.every` is 1.5; it must be text or a whole num"),
        ("source: [{path: x, every: 0}]", "`source.0.every` is 0; it must be text or at least 1."),
        ("source: x\ntemplates: 3", "`templates` is 3; it must be 'none', 'photo' or 'openai7' or"),
        ("source: x\ntemplates: [3]", "`templates.0` must be text: YAML reads `3` as the number 3"),
        ("source: x\nstudent: {train: {lr0: [1]}}", "`student.train.lr0` is [1]; it must be true "),
        ("source: x\nworkspace: no", "`workspace` must be a path: YAML reads `no` as false"),
        ("source: x\ntruth: ''", "`truth` must be a path, not ''"),
        ("source: x\nlabel: {min_margin: .nan}", "`label.min_margin` is nan; it must be a finite"),
        ("source: x\nstudent: {train: {lr0: .inf}}", "`student.train.lr0` is inf; it must be"),
        ("source: x\nstudent: {seed: 99999999999}", "`student.seed` is 99999999999; it must be at"),
        ("source: x\nroboflow: {timeout: 1.0e+300}", "`roboflow.timeout` is 1e+300; it must be at"),
    ],
)
def test_no_type_of_the_libraries_shows(tmp_path: Path, text: str, says: str) -> None:
    said = refusal(tmp_path, f"ontology: {{a: b}}\n{text}\n")
    assert says in said
    for word in ("constrained", "literal", "list[", "input", "instance"):
        assert word not in said


LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGED_LAUGHS = "a0: &a0 {a: b}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x: " + "[" * 5000, "nested too deeply"),
        ("x: " + "{a: " * 5000, "nested too deeply"),
        ("x: &a [*a]", "recursive"),
        ("x: &a {<<: *a}", "within itself"),
        ("student: {epochs: " + "9" * 5000 + "}", "cannot be read as int"),
        ("student: {epochs: " + "9" * 400 + "}", "`student.epochs` is "),
        ("x: 2024-99-99", "'2024-99-99' cannot be read as timestamp"),
        ("x: !!bool maybe", "'maybe' cannot be read as bool"),
        ("x: !!timestamp soon", "'soon' cannot be read as timestamp"),
        ("x: !!binary é", "failed to convert base64"),
        ("student:\n\tepochs: 3", "indent with spaces, not tabs (line 4, column 1)"),
        ("x: a\x00b", "the character U+0000 must not stand in it (line 3, column 5)"),
        ("x: a\x1bb", "the character U+001B must not stand in it (line 3, column 5)"),
        ("--- \nx: y", "another document"),
        ("student: " + LAUGHS.splitlines()[0][4:] + "\n", "`student` is "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wild_yaml_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(tmp_path, f"{MINIMAL}{text}\n")


@pytest.mark.parametrize("laughs", [LAUGHS, MERGED_LAUGHS])
def test_what_grows_without_bounds_is_refused(tmp_path: Path, laughs: str) -> None:
    """Each line is nine times the one before; written out, the last would fill any memory."""
    with pytest.raises(ConfigError, match=r"`a0?29` is not a key|`student` is not|must be"):
        load_config(write(tmp_path, f"{MINIMAL}{laughs}student: *a29\n"))


def test_marks_and_line_ends_of_editors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert list(load_config(path).ontology) == ["a cat", "a dog"]
    for encoding in ("utf-16", "latin-1"):
        path.write_bytes((MINIMAL + "truth: é\n").encode(encoding))
        with pytest.raises(ConfigError, match="not UTF-8 text\\. Save it as UTF-8"):
            load_config(path)


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.text("{}[]:,&*!<> \n\t-?|'\"#%@`ab10.~é\x85\ufeff\u2028", max_size=40))
def test_any_text_is_a_config_or_a_sentence(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(text.encode())
        try:
            load_config(path)
        except ConfigError as error:
            assert str(error).startswith(str(path))


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    text = "student: {train: {lr0: 1e-3, weight_decay: 5E-4, lrf: .1e+0}}\n"
    assert loaded(tmp_path, text).student.train == {
        "lr0": 0.001, "weight_decay": 0.0005, "lrf": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("laion2b_s34b_b88k", "laion2b_s34b_b88k"),
        ("openai", "openai"),
        ("weights/w.pt", "{base}/weights/w.pt"),
        ("w.safetensors", "{base}/w.safetensors"),
        ("../w", "{parent}/w"),
        ("/w.pt", "/w.pt"),
    ],
)
def test_pretrained_weights_are_relative_to_the_file(
    tmp_path: Path, given: str, becomes: str
) -> None:
    base = tmp_path / "configs"
    base.mkdir()
    expected = becomes.format(base=base, parent=tmp_path)
    named = {"model": "ViT-B-32", "pretrained": given}
    for several in (named, ["pocket", named]):
        assert with_value(base, "teacher", several).teachers[-1].pretrained == expected


def test_a_home_that_nobody_knows_is_named(tmp_path: Path) -> None:
    for key in ("source", "truth", "workspace"):
        with pytest.raises(ConfigError, match="~nobody-here/x begins with a home folder"):
            with_value(tmp_path, key, "~nobody-here/x")
    with pytest.raises(ConfigError, match="begins with a home folder"):
        load_config(Path("~nobody-here/pets.yaml"))


@pytest.mark.parametrize("key", ["source", "truth", "workspace"])
def test_a_path_that_no_file_can_have_is_one_sentence(tmp_path: Path, key: str) -> None:
    known = {"source": "photos", "ontology": {"a": "a", "b": "b"}, key: "a\0b"}
    with pytest.raises(ConfigError, match=r"'a\\x00b' cannot be a path"):
        parse_config(known, tmp_path / "run.yaml")
