"""The transformers backend, on random models that transformers itself wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import TeacherConfig
from pipeline.errors import TeacherError
from pipeline.ontology import build_ontology
from pipeline.teachers import load_teacher
from pipeline.teachers.packed import PackedLinear, pack
from pipeline.teachers.precision import multiplies_bf16
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts, unknown_word_warnings
from tests.fakes import picture

transformers = pytest.importorskip("transformers", reason="the extra [transformers] is missing")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["a", "red", "blue", "ball", "box", "猫", "ä", "nothing", "photo", "of"]
PROMPTS = ["a red ball", "a blue box", "nothing"]
VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "patch_size": 8,
          "num_attention_heads": 2, "image_size": 32}  # fmt: skip
TEXT = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 16,
        "num_attention_heads": 2, "max_position_embeddings": 12, "pad_token_id": 1,
        "bos_token_id": 2, "eos_token_id": 3}  # fmt: skip
KINDS = {
    "clip": ("CLIPConfig", "CLIPModel", "CLIPImageProcessor", TEXT, {"projection_dim": 20}),
    "siglip": ("SiglipConfig", "SiglipModel", "SiglipImageProcessor",
               {**TEXT, "projection_size": 32}, {}),
    "altclip": ("AltCLIPConfig", "AltCLIPModel", "CLIPImageProcessor",
                {**TEXT, "max_position_embeddings": 14, "project_dim": 20, "type_vocab_size": 1},
                {"projection_dim": 20}),
    "chinese_clip": ("ChineseCLIPConfig", "ChineseCLIPModel", "ChineseCLIPImageProcessor",
                     {**TEXT, "type_vocab_size": 1}, {"projection_dim": 20}),
    "metaclip_2": ("MetaClip2Config", "MetaClip2Model", "CLIPImageProcessor", TEXT,
                   {"projection_dim": 20}),
}  # fmt: skip


def write_model(folder: Path, kind: str, seed: int = 0) -> Any:
    """Write model, image processor and tokenizer as `save_pretrained` does; returns the model."""
    config_class, model_class, images_class, text, options = KINDS[kind]
    torch.manual_seed(seed)
    config = getattr(transformers, config_class)(
        vision_config=dict(VISION), text_config=dict(text), **options
    )
    model = getattr(transformers, model_class)(config).eval()
    model.save_pretrained(folder)
    shortest = kind in ("clip", "altclip", "metaclip_2")
    size = {"shortest_edge": 32} if shortest else {"height": 32, "width": 32}
    crop = {"crop_size": {"height": 32, "width": 32}} if kind != "siglip" else {}
    getattr(transformers, images_class)(size=size, **crop).save_pretrained(folder)
    vocabulary = {"<unk>": 0, "<pad>": 1, "<s>": 2, "</s>": 3}
    vocabulary |= {word: 4 + number for number, word in enumerate(WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
        eos_token="</s>", model_max_length=12, model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return model


def load(folder: Path, **settings: Any) -> Any:
    known = {
        "kind": "transformers",
        "model": f"local-dir:{folder}",
        "device": "cpu",
        "precision": "fp32",
    }
    settings = known | settings
    return load_teacher(TeacherConfig(**settings))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_probabilities_are_the_librarys_own(tmp_path: Path, kind: str) -> None:
    write_model(tmp_path, kind)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    images = [picture(name, 3, size) for name in ("red", "blue") for size in ((40, 32), (33, 70))]
    padding = {"padding": "max_length", "max_length": 12} if kind == "siglip" else {"padding": True}
    with torch.no_grad():
        answer = model(
            **tokenizer(PROMPTS, return_tensors="pt", **padding),
            pixel_values=torch.stack(
                [processor(images=i, return_tensors="pt")["pixel_values"][0] for i in images]
            ),
        )
    teacher = load(tmp_path)
    batch = [teacher.prepare(image) for image in images]
    unit = torch.nn.functional.normalize
    assert teacher.embed_images(batch) == pytest.approx(
        unit(answer.image_embeds, dim=-1).numpy(), abs=1e-4
    )
    assert teacher.embed_texts(PROMPTS) == pytest.approx(
        unit(answer.text_embeds, dim=-1).numpy(), abs=1e-4
    )
    ontology = build_ontology({prompt: f"c{i}" for i, prompt in enumerate(PROMPTS)})
    ours = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    wanted = answer.logits_per_image.softmax(dim=1).numpy()
    assert ours.predict(batch) == pytest.approx(wanted, abs=1e-4)


def test_one_sentence_alone_and_in_a_list_is_the_same(tmp_path: Path) -> None:
    write_model(tmp_path, "siglip")
    teacher = load(tmp_path)
    alone = np.concatenate([teacher.embed_texts([prompt]) for prompt in PROMPTS])
    assert alone == pytest.approx(teacher.embed_texts(PROMPTS), abs=1e-5)


def test_the_fingerprint_names_image_tower_and_preprocessing(tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", 0)):
        write_model(tmp_path / name, "clip", seed)
        if name == "d":
            path = tmp_path / name / "preprocessor_config.json"
            settings = json.loads(path.read_text())
            path.write_text(json.dumps(settings | {"image_mean": [0.1, 0.1, 0.1]}))
        prints.append(load(tmp_path / name).fingerprint)
    assert prints[0] == prints[1] and len(set(prints)) == 3


def test_words_without_a_piece_are_named_and_scripts_arrive_unchanged(tmp_path: Path) -> None:
    write_model(tmp_path, "altclip")
    teacher = load(tmp_path)
    ontology = build_ontology({"猫": "cat", "a\u0308": "letter", "a zeppelin": "ship"})
    assert ontology.prompts[1] == "ä"
    (warning,) = unknown_word_warnings(teacher, ontology)
    assert "'zeppelin'" in warning


def test_prompts_beyond_the_context_are_counted(tmp_path: Path) -> None:
    write_model(tmp_path, "clip")
    teacher = load(tmp_path)
    assert teacher.context_overflow("a " * 10) == 0
    assert teacher.context_overflow("a " * 13) == 3


def test_what_cannot_be_loaded_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"has no config\.json"):
        load(tmp_path)
    write_model(tmp_path / "whole", "clip")
    weights = tmp_path / "whole" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load(tmp_path / "whole")
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                     intermediate_size=8, vocab_size=16)  # fmt: skip
    write_model(tmp_path / "bert", "clip")
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(TeacherError, match="features of both images and texts"):
        load(tmp_path / "bert")


def test_weights_with_holes_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_model(tmp_path, "clip")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("visual_projection.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(TeacherError, match="lack 1 of the model's tensors"):
        load(tmp_path)


def test_a_models_own_code_runs_only_when_asked_for(tmp_path: Path) -> None:
    write_model(tmp_path, "clip")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"},
               "model_type": "evil"}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "it_ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(TeacherError, match="is not run unasked"):
        load(tmp_path)
    assert not marker.exists()


@pytest.mark.skipif(
    not multiplies_bf16(),
    reason="this processor does not multiply bf16 as weights are packed for",
)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights_give_the_same_vectors(tmp_path: Path, kind: str) -> None:
    model = write_model(tmp_path, kind)
    teacher = load(tmp_path, precision="bf16")
    images = [teacher.prepare(picture(name, 3)) for name in ("red", "blue", "red")]
    before, texts = teacher.embed_images(images), teacher.embed_texts(PROMPTS)
    teacher.get_ready(1000, 8, "auto")
    assert teacher.embed_images(images) == pytest.approx(before, abs=0.02)
    assert (teacher.embed_texts(PROMPTS) == texts).all()

    # The same by hand, to see that it has happened: the text tower keeps its weights.
    model.requires_grad_(False).bfloat16()
    pixels = torch.from_numpy(np.stack(images)).bfloat16()

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        answer = model.get_image_features(pixel_values=pixels)
        return answer if isinstance(answer, torch.Tensor) else answer.pooler_output

    assert pack(model, encode, pixels[:2], 8)
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert PackedLinear in kinds.values()
    assert all(kind is not PackedLinear for name, kind in kinds.items() if "text" in name)
