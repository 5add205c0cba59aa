"""`label.space` in the config: how it is written, and what is refused before anything is loaded."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm

from pipeline.config import Config, SpaceConfig, StudentConfig, load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.spaces import BACKENDS, check_space, check_space_names, space_to_fetch
from pipeline.spaces.presets import PRESETS
from tests.repository import REPOSITORY
from tests.spaces.tiny_spaces import settings_of, write_timm, write_yolo


def config(folder: Path, space: Any, **more: Any) -> Config:
    given = {"source": "photos", "ontology": {"a cat": "cat", "a dog": "dog"}}
    return parse_config(given | {"label": {"space": space}} | more, folder / "run.yaml")


def test_a_space_is_a_name_or_a_mapping(tmp_path: Path) -> None:
    assert config(tmp_path, "none").label.space is None
    assert config(tmp_path, None).label.space is None
    assert parse_config({"source": "x", "ontology": {"a": "b", "c": "d"}},
                        tmp_path / "r.yaml").label.space is None  # fmt: skip
    assert config(tmp_path, "dinov2-small").label.space == SpaceConfig(model="dinov2-small")
    assert config(tmp_path, "student").label.space == SpaceConfig(kind="student")
    mapping = {"kind": "timm", "model": "local-dir:towers/a", "batch": 4, "size": 96}
    found = config(tmp_path, mapping).label.space
    assert found is not None and found.model == f"local-dir:{tmp_path}/towers/a"
    mine = config(tmp_path, {"kind": "student", "model": "weights/mine.pt"}).label.space
    assert mine is not None and mine.model == str(tmp_path / "weights" / "mine.pt")


def test_it_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "source: photos\nontology: {a cat: cat, a dog: dog}\n"
        "label: {space: {model: local-dir:here}}\n"
    )
    space = load_config(file).label.space
    assert space is not None and space.model == f"local-dir:{tmp_path}/here"


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (5, r"`label\.space` is 5"),
        ([], r"`label\.space`"),
        ({}, r"`label\.space` is .*`model` is missing"),
        ({"kind": "timm"}, "`model` is missing"),
        ({"model": 3}, r"`label\.space\.model` must be text"),
        ({"model": "dinov2-small", "sise": 3}, r"`label\.space\.sise` is not a key"),
        ({"model": "dinov2-small", "size": 7}, r"`label\.space\.size` is 7; it must be at least"),
        ({"model": "dinov2-small", "precision": "int8"}, r"`label\.space\.precision`"),
    ],
)
def test_what_is_written_wrongly_gets_a_sentence(tmp_path: Path, space: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        config(tmp_path, space)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            {"model": "dinov9"},
            r"'dinov9', which is no space that is known.*dinov2-small, .*student",
        ),
        ({"kind": "detr", "model": "x"}, r"kind` is 'detr'. It must be one of: timm, "),
        ({"kind": "inference", "model": "ViT-B-16"}, "It must be one of"),
        ({"kind": "student"}, r"`student.model: yolov8n-cls.yaml` has random ones"),
        ({"kind": "student", "model": "yolo11n-cls.yaml"}, r"`label.space.model: yolo11n-cls.yaml"),
        ({"kind": "student", "model": "dinov2-small"}, "is of `kind: timm`, not student"),
        ({"kind": "transformers", "model": "dinov2-small"}, "is of `kind: timm`, not transformers"),
        ({"kind": "timm", "model": "clip-vit-b-32"}, "is of `kind: open_clip`, not timm"),
        ({"model": "clip-vit-b-32", "pretrained": "laion2b_e16"}, "brings its own weights"),
        ({"model": "dinov2-small", "weight": 2.0}, r"`label.space.weight` does not apply"),
        ({"model": "dinov2-small", "url": "http://x"}, r"`label.space.url` does not apply"),
        ({"model": "dinov2-small", "pretrained": "x"}, r"`label.space.pretrained` applies to"),
        ({"model": "pocket", "size": 64}, r"`label.space.size` applies to `kind: timm or student`"),
        ({"model": "dinov2-small", "quick_gelu": True}, r"`label.space.quick_gelu` applies to"),
        ({"model": "dinov2-small", "trust_remote_code": True}, r"applies to `kind: transformers`"),
        ({"model": "dinov2-small", "device": "cuda:99"}, r"`label.space.device`: The device"),
        ({"model": "dinov2-small", "device": "tpu"}, r"`label.space.device`: The device"),
    ],
)
def test_what_does_not_belong_together_is_refused(space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        check_space(SpaceConfig(**space), StudentConfig())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            {"kind": "timm", "model": "resnet51.a1_in1k"},
            "no model 'resnet51.a1_in1k'. Did you mean resnet",
        ),
        ({"kind": "timm", "model": "resnet50.a77"}, "lists for resnet50: .*a1_in1k"),
        ({"kind": "timm", "model": "test_vit4"}, "lists no weights 'test_vit4'"),
        ({"kind": "timm", "model": "."}, "no model '.'"),
        ({"kind": "timm", "model": "hf-hub:"}, "hub cannot be called so"),
        ({"kind": "timm", "model": "hf-hub:a b/c"}, "hub cannot be called so"),
        ({"kind": "timm", "model": "hf-hub:a/b/c"}, "Name one as `org/name`"),
        ({"model": "hf-hub:../x"}, r"`label.space.model` is 'hf-hub:../x'"),
        ({"kind": "timm", "model": "local-dir:/no/such"}, "is not a folder"),
        ({"kind": "timm", "model": "local-dir:\n"}, "is not a folder"),
        ({"kind": "student", "model": "yolov99-cls.pt"}, "publishes no classification weights"),
        ({"kind": "student", "model": "/no/such.pt"}, r"/no/such.pt does not exist"),
        ({"model": "ViT-B-33", "pretrained": "openai"}, "Did you mean ViT-B-32"),
        ({"kind": "open_clip", "model": "local-dir:/no/such"}, "is not a folder"),
    ],
)
def test_names_that_nobody_knows_are_refused(space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        check_space_names(SpaceConfig(**space), StudentConfig())
    assert "`teacher" not in str(refused.value)


def test_every_backend_has_all_that_is_asked_of_one() -> None:
    pytest.importorskip("transformers")
    for name in BACKENDS.values():
        backend = importlib.import_module(name)
        for asked in ("load", "check_names", "repository_of"):
            assert callable(getattr(backend, asked)), name


def test_a_folder_of_transformers_must_be_one(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        check_space_names(settings_of("transformers", tmp_path), StudentConfig())


def test_a_folder_of_another_library_is_asked_for_its_kind(tmp_path: Path) -> None:
    write_timm(tmp_path)
    with pytest.raises(ConfigError, match=r"say so: `label\.space: \{kind: timm"):
        check_space(SpaceConfig(model=f"local-dir:{tmp_path}"), StudentConfig())


def test_what_can_be_loaded_passes(tmp_path: Path) -> None:
    write_timm(tmp_path / "model")
    write_yolo(tmp_path / "mine.pt")
    for settings in (
        settings_of("timm", tmp_path / "model"),
        settings_of("student", tmp_path / "mine.pt"),
        SpaceConfig(model="pocket"),
        SpaceConfig(model="dinov2-small", size=448),
        SpaceConfig(kind="timm", model="resnet50.a1_in1k"),
    ):
        check_space_names(settings, StudentConfig())


def test_presets_are_what_timm_says_of_them() -> None:
    for preset in PRESETS.values():
        space = check_space(SpaceConfig(model=preset.name), StudentConfig())
        assert (space.kind, space.model, space.size) == (
            preset.kind, preset.model, preset.input_size
        )  # fmt: skip
        listed = timm.get_pretrained_cfg(preset.model)
        assert listed.hf_hub_id == preset.weights
        assert listed.license.removesuffix("-license") == preset.licence.lower()
        assert space_to_fetch(space) in (preset.weights, None)


def test_without_a_way_to_the_weights_there_is_a_sentence(tmp_path: Path) -> None:
    """Nothing is seen through random weights in their place."""
    # In a process of its own: the hub's library reads its settings when it is imported.
    code = (
        "from pipeline.config import SpaceConfig, StudentConfig\n"
        "from pipeline.errors import TeacherError\n"
        "from pipeline.spaces import BACKENDS, check_space, load_space\n"
        "space = SpaceConfig(kind='timm', model='test_vit.r160_in1k', device='cpu')\n"
        "try:\n    load_space(check_space(space, StudentConfig()))\n"
        "except TeacherError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1",
                          "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    (sentence,) = done.stdout.splitlines()
    assert "test_vit.r160_in1k cannot be loaded: model.safetensors of the repository" in sentence
    assert str(tmp_path) in sentence and "`label.space: {kind: timm, model: local-dir:" in sentence


def test_a_run_s_precision_is_the_space_s_too(tmp_path: Path) -> None:
    run = config(tmp_path, "dinov2-small")
    changed = run.with_precision("fp32").label.space
    assert changed is not None and changed.precision == "fp32"
    assert run.with_precision(None) == run
    assert config(tmp_path, "none").with_precision("fp32").label.space is None
