"""The open_clip backend, on random models in open_clip's own format and on the bundled one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, TeacherError
from pipeline.ontology import build_ontology
from pipeline.teachers import PRESETS, check_names, to_fetch
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts, unknown_word_warnings
from tests.fakes import picture
from tests.tiny_models import load, write_model


@pytest.mark.parametrize("bias", [None, -4.0])
def test_vectors_and_probabilities_are_the_librarys_own(tmp_path: Path, bias: float | None) -> None:
    write_model(tmp_path, bias=bias)
    teacher = load(f"local-dir:{tmp_path}", precision="fp32")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    images = [picture(name, 3, size) for name in ("red", "blue") for size in ((40, 32), (33, 70))]
    prompts = ["a red ball", "a blue box", "nothing at all"]
    with torch.no_grad():
        pictures = model.encode_image(torch.stack([transform(i) for i in images]), normalize=True)
        texts = model.encode_text(tokenizer(prompts), normalize=True)
        logits = model.logit_scale.exp() * pictures @ texts.T
        if bias is not None:
            logits = logits + model.logit_bias
        wanted = logits.softmax(dim=1).numpy()
    batch = np.stack([teacher.prepare(image) for image in images])
    # Resizing bytes rounds differently from Pillow here and there, by one in 255.
    mine = teacher.embed_images(batch)
    assert mine == pytest.approx(pictures.numpy(), abs=1e-3)
    assert (mine * pictures.numpy()).sum(axis=1).min() > 0.99999
    assert teacher.embed_texts(prompts) == pytest.approx(texts.numpy(), abs=1e-4)
    assert teacher.logit_bias == pytest.approx(bias or 0.0)
    ontology = build_ontology({p: f"c{i}" for i, p in enumerate(prompts)}, ["{}"], None, True)
    ours = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    assert ours.predict(batch) == pytest.approx(wanted, abs=1e-3)


def test_the_fingerprint_names_weights_and_preprocessing(tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_model(tmp_path / name, seed)
        prints.append(load(f"local-dir:{tmp_path / name}"))
    config = json.loads((tmp_path / "b" / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.1, 0.1]
    (tmp_path / "b" / "open_clip_config.json").write_text(json.dumps(config))
    other = load(f"local-dir:{tmp_path / 'b'}")
    first, same, seeded = (teacher.fingerprint for teacher in prints)
    assert first == same and len({first, seeded, other.fingerprint}) == 3


def test_what_cannot_be_loaded_gets_a_sentence(tmp_path: Path) -> None:
    write_model(tmp_path / "whole")

    def fails(model: str, pretrained: str | None, reason: str) -> None:
        with pytest.raises(TeacherError, match=reason):
            load(model, pretrained=pretrained)

    fails(f"local-dir:{tmp_path / 'none'}", None, "is not a folder")
    (tmp_path / "bare").mkdir()
    fails(f"local-dir:{tmp_path / 'bare'}", None, "no open_clip_config.json")
    (tmp_path / "bare" / "open_clip_config.json").write_text("{}")
    fails(f"local-dir:{tmp_path / 'bare'}", None, "no open_clip_model.safetensors")
    weights = tmp_path / "whole" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    fails(f"local-dir:{tmp_path / 'whole'}", None, r"whole cannot be loaded: .*Check its two files")
    fails("ViT-B-33", "openai", "no model 'ViT-B-33'. Did you mean .*ViT-B-32")
    fails("ViT-B-32", "opanai", "'opanai' is neither a file nor .*openai")
    fails("ViT-B-32", None, "`teacher.pretrained` is missing.*openai")
    with pytest.raises(ConfigError, match="not available"):
        load(PRESETS["pocket"].model, device="cuda:9")
    with pytest.raises(ConfigError, match=r"must be one of: .*open_clip"):
        load("x", kind="opencv")


@pytest.mark.parametrize("name", ["a b/c", "", "../x", "a/b/c", "x\0y"])
def test_what_no_repository_can_be_called_is_said(name: str) -> None:
    settings = TeacherConfig(model=f"hf-hub:{name}")
    for ask in (check_names, to_fetch):
        with pytest.raises(ConfigError, match=r"`teacher\.model` is .* cannot be called so"):
            ask(settings)


def test_pickled_weights_are_not_even_looked_for(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(TeacherError, match="safetensors"):
        load(f"local-dir:{tmp_path}")


def test_prompts_beyond_the_context_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    teacher = load(f"local-dir:{tmp_path}")
    assert teacher.context_overflow("a cat " * 7) == 0
    assert teacher.context_overflow("a cat " * 8) == 2


@pytest.fixture(scope="module")
def pocket() -> Any:
    return load("pocket")


def test_the_pocket_teacher_is_small_and_knows_its_words(pocket: Any) -> None:
    folder = Path(PRESETS["pocket"].model.removeprefix("local-dir:"))
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    known = build_ontology(
        {"a green apple on a table": "a", "two bananas": "b", "an empty conveyor belt": "c"},
        ["{}"], None, True,
    )  # fmt: skip
    assert unknown_word_warnings(pocket, known) == []
    odd = build_ontology({"a rusty tractor": "a", "an apple": "b"}, ["{}"], None, True)
    (warning,) = unknown_word_warnings(pocket, odd)
    assert "'rusty', 'tractor'" in warning
    card = (folder / "README.md").read_text()
    vocabulary = json.loads((folder / "vocabulary.json").read_text())["words"]
    assert all(word in card for word in vocabulary)


def test_the_pocket_teacher_understands_what_it_was_taught(pocket: Any) -> None:
    """Zero-shot on pictures of its own world that it has never seen, far above chance."""
    from PIL import Image

    from pocket_world.scene import draw

    things = ("apple", "orange", "banana", "cup", "box", "leaf")
    shown = [draw(0, 1, index) for index in range(700_000, 700_260)]
    shown = [one for one in shown if one.facts.thing in things]
    images = np.stack([pocket.prepare(Image.fromarray(one.pixels)) for one in shown])
    vectors = pocket.embed_images(images)
    articles = ["an" if thing[0] in "ao" else "a" for thing in things]
    prompts = [f"a photo of {a} {thing}" for a, thing in zip(articles, things, strict=True)]
    answers = (vectors @ pocket.embed_texts(prompts).T).argmax(axis=1)
    right = [things[i] == one.facts.thing for i, one in zip(answers, shown, strict=True)]
    assert len(shown) > 50 and np.mean(right) > 0.55  # chance: 0.17

    apples = [row for row, one in enumerate(shown) if one.facts.thing == "apple"]
    colors = ("red", "green", "yellow")
    painted = pocket.embed_texts([f"a photo of a {color} apple" for color in colors])
    answers = (vectors[apples] @ painted.T).argmax(axis=1)
    right = [colors[i] == shown[row].facts.color for i, row in zip(answers, apples, strict=True)]
    assert len(apples) > 8 and np.mean(right) > 0.6  # chance: 0.33


def test_a_real_clip_gives_its_published_accuracy(shared: Path) -> None:
    """Plain zero-shot of natural-tiny on the everyday test photos: its card says 72.0 %."""
    from pipeline.pixels import read_rgb

    folder = shared / "data" / "everyday" / "test"
    names = sorted(path.name for path in folder.iterdir())
    article = {name: "an" if name[0] in "aeiou" else "a" for name in names}
    ontology = build_ontology(
        {f"a photo of {article[name]} {name}": name for name in names}, ["{}"], None, True
    )
    model = f"local-dir:{shared / 'teachers' / 'natural-tiny'}"
    teacher = load(model)
    asked = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    files = sorted(folder.glob("*/*"))
    answers = np.concatenate(
        [
            asked.predict(np.stack([teacher.prepare(read_rgb(f)) for f in files[i : i + 64]]))
            for i in range(0, len(files), 64)
        ]
    ).argmax(axis=1)
    right = [names[i] == file.parent.name for i, file in zip(answers, files, strict=True)]
    assert np.mean(right) == pytest.approx(0.72, abs=0.01)
