"""Every kind of space gives the vectors of its own library, through cache and engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from pipeline.config import SpaceConfig, StudentConfig, TeacherConfig
from pipeline.errors import StudentError, TeacherError
from pipeline.spaces import load_space
from pipeline.spaces.see import see
from pipeline.teachers import load_teacher
from tests.spaces.tiny_spaces import (
    PICTURES,
    VISION_MODELS,
    saved,
    settings_of,
    write_timm,
    write_vision_model,
    write_yolo,
)
from tests.tiny_models import write_model


def vectors_of(settings: SpaceConfig, folder: Path) -> np.ndarray:
    """The vectors of PICTURES, by the function that a run calls."""
    images = saved(folder / "pictures", PICTURES)
    seen = see(settings, StudentConfig(), images)
    assert seen.computed == len(PICTURES) and not seen.failures
    found = seen.vectors(images["id"].to_list())
    assert found.dtype == np.float32 and found.shape == (len(PICTURES), seen.dim)
    return found


def agree(mine: np.ndarray, features: torch.Tensor) -> None:
    wanted = torch.nn.functional.normalize(features, dim=-1).numpy()
    assert mine.shape == wanted.shape
    assert (mine * wanted).sum(axis=1).min() > 0.9999
    # They tell the pictures apart, so that agreeing means something.
    assert (wanted @ wanted.T).min() < 0.999999


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("size", [None, 96])
def test_timm(tmp_path: Path, architecture: str, size: int | None) -> None:
    write_timm(tmp_path / "model", architecture)
    place = f"local-dir:{tmp_path / 'model'}"
    overlay = {} if size is None else {"input_size": (3, size, size)}
    model = timm.create_model(
        place, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
    ).eval()
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"][1] == (size or 160)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.no_grad():
        wanted = model(torch.stack([transform(image) for image in PICTURES]))
    agree(vectors_of(settings_of("timm", tmp_path / "model", size=size), tmp_path), wanted)


@pytest.mark.parametrize("mode", ["squash", "border"])
def test_timm_with_another_crop(tmp_path: Path, mode: str) -> None:
    write_timm(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    about = json.loads(file.read_text())
    about["pretrained_cfg"] |= {"crop_mode": mode, "crop_pct": 0.8}
    file.write_text(json.dumps(about))
    model = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(model.eval())
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.no_grad():
        wanted = model(torch.stack([transform(image) for image in PICTURES]))
    agree(vectors_of(settings_of("timm", tmp_path / "model"), tmp_path), wanted)


@pytest.mark.parametrize("kind", [kind for kind in VISION_MODELS if kind != "mae"])
def test_transformers(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    write_vision_model(tmp_path / "model", kind)
    model = transformers.AutoModel.from_pretrained(tmp_path / "model").eval()
    images = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        pixels = [images(images=i, return_tensors="pt")["pixel_values"][0] for i in PICTURES]
        answer = model(pixel_values=torch.stack(pixels))
    # Weights of a classifier have no pooler, and a random one is not asked.
    own = kind != "vit classifier"
    wanted = answer.pooler_output.flatten(1) if own else answer.last_hidden_state[:, 0]
    agree(vectors_of(settings_of("transformers", tmp_path / "model"), tmp_path), wanted)


@pytest.mark.parametrize("imgsz", [64, 96])
def test_a_students_features(tmp_path: Path, imgsz: int) -> None:
    from ultralytics.data.augment import classify_transforms

    model = write_yolo(tmp_path / "mine.pt")
    caught: list[torch.Tensor] = []
    model.model[-1].linear.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    transform = classify_transforms(size=imgsz)
    with torch.no_grad():
        model(torch.stack([transform(image) for image in PICTURES]))
    settings = settings_of("student", tmp_path / "mine.pt", size=imgsz)
    assert caught[0].shape == (4, 1280)
    agree(vectors_of(settings, tmp_path), caught[0])


def test_the_config_s_student_is_meant_where_none_is_named(tmp_path: Path) -> None:
    write_yolo(tmp_path / "mine.pt")
    images = saved(tmp_path / "pictures", PICTURES)
    student = StudentConfig(model=str(tmp_path / "mine.pt"), imgsz=64)
    space = SpaceConfig(kind="student", device="cpu")
    first = see(space, student, images)
    again = see(settings_of("student", tmp_path / "mine.pt", size=64), StudentConfig(), images)
    assert (first.name, first.computed, again.computed) == ("student mine at 64", 4, 0)
    assert first.fingerprint == again.fingerprint
    larger = see(space, StudentConfig(model=student.model, imgsz=96), images)
    assert larger.computed == 4


def test_open_clip_s_sight_is_the_teacher_s_own(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    teacher: Any = load_teacher(
        TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu", precision="fp32")
    )
    settings = settings_of("open_clip", tmp_path / "model")
    assert load_space(settings).fingerprint == teacher.fingerprint
    mine = vectors_of(settings, tmp_path)
    wanted = teacher.embed_images([teacher.prepare(image) for image in PICTURES])
    assert mine == pytest.approx(wanted, abs=1e-5)


def test_two_towers_of_transformers_are_the_teacher_s_own(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.teachers.test_transformers import write_model as write_two_towers

    write_two_towers(tmp_path / "model", "clip")
    named = {"kind": "transformers", "model": f"local-dir:{tmp_path / 'model'}", "device": "cpu"}
    space = load_space(SpaceConfig(**named))
    assert space.fingerprint == load_teacher(TeacherConfig(**named)).fingerprint


def test_the_fingerprint_names_weights_preparation_and_precision(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", 0)):
        write_timm(tmp_path / name, seed=seed)
    about = json.loads((tmp_path / "d" / "config.json").read_text())
    about["pretrained_cfg"]["mean"] = [0.1, 0.1, 0.1]
    (tmp_path / "d" / "config.json").write_text(json.dumps(about))

    def print_of(name: str, **more: Any) -> str:
        return load_space(settings_of("timm", tmp_path / name, **more)).fingerprint

    first, same, seeded, other = (print_of(name) for name in "abcd")
    assert first == same
    sized, lowered = print_of("a", size=96), print_of("a", precision="bf16")
    assert len({first, seeded, other, sized, lowered}) == 5


def test_a_student_s_classes_do_not_count(tmp_path: Path) -> None:
    """What was trained further with a frozen backbone sees what it saw."""
    model = write_yolo(tmp_path / "a.pt")
    with torch.no_grad():
        model.model[-1].linear.weight.mul_(2)
    torch.save({"model": model, "ema": None, "train_args": model.args}, tmp_path / "b.pt")
    a, b = (load_space(settings_of("student", tmp_path / f"{name}.pt")) for name in "ab")
    assert a.fingerprint == b.fingerprint


def test_low_precision_sees_nearly_the_same(tmp_path: Path) -> None:
    write_timm(tmp_path / "model", "test_vit")
    exact, rough = (
        load_space(settings_of("timm", tmp_path / "model", precision=precision))
        for precision in ("fp32", "bf16")
    )
    a, b = (one.embed_images([one.prepare(i) for i in PICTURES]) for one in (exact, rough))
    assert b.dtype == np.float32 and (a * b).sum(axis=1).min() > 0.99


def test_weights_with_holes_are_refused(tmp_path: Path) -> None:
    write_timm(tmp_path / "timm")
    file = tmp_path / "timm" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("conv_head.weight")
    save_file(tensors, file)
    with pytest.raises(TeacherError, match=r"conv_head\.weight.*Check its two files"):
        load_space(settings_of("timm", tmp_path / "timm"))
    pytest.importorskip("transformers")
    write_vision_model(tmp_path / "vit", "vit")
    file = tmp_path / "vit" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("layernorm.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(TeacherError, match="lack 1 of the model's tensors"):
        load_space(settings_of("transformers", tmp_path / "vit"))


def test_what_cannot_be_loaded_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="is not a folder"):
        load_space(settings_of("timm", tmp_path / "none"))
    with pytest.raises(TeacherError, match=r"has no config\.json"):
        load_space(settings_of("timm", tmp_path))
    write_timm(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load_space(settings_of("timm", tmp_path / "cut"))
    for text in ("[]", "{", '{"architecture": "no_such", "pretrained_cfg": {}}'):
        (tmp_path / "cut" / "config.json").write_text(text)
        with pytest.raises(TeacherError, match="cannot be loaded"):
            load_space(settings_of("timm", tmp_path / "cut"))
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(StudentError, match="cannot be loaded"):
        load_space(settings_of("student", tmp_path / "bad.pt"))
    with pytest.raises(StudentError, match=r"Correct `label\.space\.model`"):
        load_space(settings_of("student", tmp_path / "none.pt"))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it_ran",)

    write_timm(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({"conv_stem.weight": Evil()}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(TeacherError, match=r"has no model\.safetensors"):
        load_space(settings_of("timm", tmp_path / "model"))
    assert not (tmp_path / "it_ran").exists()


def test_what_sees_otherwise_each_time_or_reads_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_vision_model(tmp_path / "mae", "mae")
    with pytest.raises(TeacherError, match="differently each time"):
        load_space(settings_of("transformers", tmp_path / "mae"))
    write_vision_model(tmp_path / "bert", "vit")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        vocab_size=16,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(TeacherError, match="BertModel, which does not see images"):
        load_space(settings_of("transformers", tmp_path / "bert"))


def test_another_s_sight_is_what_the_shared_teacher_has_cached(
    shared: Path, tmp_path: Path
) -> None:
    """natural-small as a space beside any teacher: its own vectors, embedded once."""
    folder = shared / "teachers" / "natural-small"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    settings = SpaceConfig(model=f"local-dir:{folder}", device="cpu")
    teacher: Any = load_teacher(TeacherConfig(model=f"local-dir:{folder}", device="cpu"))
    wanted = teacher.embed_images([teacher.prepare(image) for image in PICTURES])
    mine = vectors_of(settings, tmp_path)
    assert (mine * wanted).sum(axis=1).min() > 0.9999


def test_the_shared_student_tells_photos_apart(shared: Path, tmp_path: Path) -> None:
    file = shared / "students" / "yolov8n-cls-features.pt"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    vectors = vectors_of(settings_of("student", file, size=96), tmp_path)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2]  # two red pictures, and a blue one
