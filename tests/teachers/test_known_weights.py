"""A bare file of weights: how it takes pictures is known, stated, or assumed aloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import polars as pl
import pytest
import torch
import yaml
from autodistill.detection import CaptionOntology
from click.testing import CliRunner
from safetensors.torch import load_file

from pipeline.autodistill import CLIP
from pipeline.cli import main
from pipeline.config import TeacherConfig, parse_config
from pipeline.errors import ConfigError
from pipeline.labels.stage import LABEL, LabelInputs
from pipeline.records import IMAGES
from pipeline.run.stage import Run
from pipeline.teachers.known_weights import facts_of
from tests.fakes import photos, picture
from tests.tiny_models import PREPROCESS, TOWER, load, write_model

MODEL = "tiny-of-the-tests"
UNSAID = "does not say how its weights take pictures"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights of an architecture that open_clip knows, with no word on pictures."""
    folder = tmp_path_factory.mktemp("weights")
    write_model(folder / "model")
    (folder / "configs").mkdir()
    (folder / "configs" / f"{MODEL}.json").write_text(json.dumps(TOWER))
    open_clip.add_model_config(folder / "configs")
    return str(folder / "model" / "open_clip_model.safetensors")


def test_what_is_stated_is_taken(weights: str) -> None:
    batch = [picture(name, 3, (50, 32)) for name in ("red", "blue")]

    def vectors(teacher: Any) -> np.ndarray:
        found: np.ndarray = teacher.embed_images([teacher.prepare(one) for one in batch])
        return found

    folder = load(f"local-dir:{Path(weights).parent}", precision="fp32")
    stated = load(
        MODEL, pretrained=weights, preprocess=PREPROCESS, quick_gelu=False, precision="fp32"
    )
    assert (folder.doubts, stated.doubts) == ([], [])
    assert stated.fingerprint == folder.fingerprint
    assert vectors(stated) == pytest.approx(vectors(folder), abs=1e-6)
    quick = load(
        MODEL, pretrained=weights, preprocess=PREPROCESS, quick_gelu=True, precision="fp32"
    )
    own = open_clip.CLIP(**TOWER, quick_gelu=True).eval()
    own.load_state_dict(load_file(weights))
    with torch.no_grad():
        words = own.encode_text(open_clip.tokenize(["a cat"], 16), normalize=True).numpy()
    assert quick.embed_texts(["a cat"]) == pytest.approx(words, abs=1e-5)
    assert np.abs(folder.embed_texts(["a cat"]) - words).max() > 1e-4
    # Other vectors from the same weights: they must not be found in the cache for each other.
    assert np.abs(vectors(quick) - vectors(stated)).max() > 1e-4
    assert quick.fingerprint != stated.fingerprint


def test_what_was_assumed_is_named(weights: str, tmp_path: Path) -> None:
    (sentence,) = load(MODEL, pretrained=weights).doubts
    for part in (weights, UNSAID, "mean [0.48145466", "interpolation bicubic", "quick_gelu False"):
        assert part in sentence
    part = {key: PREPROCESS[key] for key in ("mean", "std", "resize_mode")}
    (sentence,) = load(MODEL, pretrained=weights, preprocess=part).doubts
    assert "assumed: interpolation bicubic, quick_gelu False." in sentence
    assert "{preprocess: {interpolation: …}, quick_gelu: …}" in sentence
    write_model(tmp_path)  # a folder whose config is silent, too
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TOWER}))
    (sentence,) = load(f"local-dir:{tmp_path}").doubts
    assert f"{tmp_path} {UNSAID}" in sentence and "quick_gelu" not in sentence
    assert load(f"local-dir:{tmp_path}", preprocess=PREPROCESS).doubts == []


def test_whoever_asks_is_told(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path / "photos", {"red": 3, "blue": 3})
    config = tmp_path / "run.yaml"
    settings = {
        "source": "photos", "ontology": {"a red thing": "red", "a blue thing": "blue"},
        "teacher": {"model": MODEL, "pretrained": weights, "device": "cpu"},
    }  # fmt: skip

    def said(*command: str) -> str:
        config.write_text(yaml.safe_dump(settings))
        done = CliRunner().invoke(main, [*command, "--config", str(config)])
        assert done.exit_code == 0, done.output
        return " ".join(done.stderr.split())

    commands = [["label"], ["ontology"], ["classify", str(tmp_path / "photos")]]
    for command in commands:
        assert UNSAID in said(*command), command
    CLIP(CaptionOntology(settings["ontology"]), **settings["teacher"])  # type: ignore[arg-type]
    assert UNSAID in " ".join(capsys.readouterr().err.split())
    settings["teacher"] |= {"preprocess": PREPROCESS, "quick_gelu": False}  # type: ignore[operator]
    for command in commands:
        assert UNSAID not in said(*command), command


NOTHING = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")
HUB = "models--apple--MobileCLIP-S2-OpenCLIP/snapshots/0a1b"


@pytest.mark.parametrize(
    ("model", "file", "expected", "assumed"),
    [
        # The name tells the content, or is nobody else's.
        ("ViT-B-32", "vit_b_32-quickgelu-laion400m_e32-46683a32.pt", {"quick_gelu": True}, ()),
        ("ViT-B-32", "vit_b_32-laion2b_e16-af8dbd0c.pth", {"quick_gelu": False}, ()),
        ("ViT-B-32", "b32_400m.pt", {"quick_gelu": True}, ()),
        ("MobileCLIP-S2", f"{HUB}/open_clip_pytorch_model.bin", {"mean": (0.0, 0.0, 0.0)}, ()),
        ("MobileCLIP-S2", "MobileCLIP-S2-OpenCLIP/open_clip_model.safetensors",
         {"interpolation": "bilinear"}, ()),
        # It tells nothing: everybody calls a file so.
        ("ViT-B-32", "ViT-B-32.pt", {"quick_gelu": False, "resize_mode": "shortest"}, NOTHING),
        ("ViT-B-32", "open_clip_pytorch_model.bin", {"quick_gelu": False}, NOTHING),
        # Nor does this, but all published weights of the architecture agree.
        ("MobileCLIP-S2", "mine.pt", {"std": (1.0, 1.0, 1.0)}, NOTHING),
        ("ViT-B-16-SigLIP2", "mine.pt", {"resize_mode": "squash"}, NOTHING),
        ("ViT-B-32-quickgelu", "mine.pt", {"quick_gelu": True}, NOTHING),
    ],
)  # fmt: skip
def test_published_files_are_known(
    tmp_path: Path, model: str, file: str, expected: dict[str, Any], assumed: tuple[str, ...]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"any")
    facts = facts_of(TeacherConfig(model=model, pretrained=str(path)))
    found = facts.preprocess | {"quick_gelu": facts.quick_gelu}
    assert {key: found[key] for key in expected} == expected
    assert tuple(facts.assumed) == assumed
    stated = {"mean": [0.1, 0.2, 0.3]}
    settings = TeacherConfig.model_validate(
        {"model": model, "pretrained": str(path), "preprocess": stated, "quick_gelu": False}
    )
    facts = facts_of(settings)
    assert (facts.preprocess["mean"], facts.quick_gelu) == ([0.1, 0.2, 0.3], False)
    assert set(facts.assumed) == set(assumed) - {"mean", "quick_gelu"}


def test_published_tags_need_no_word() -> None:
    facts = facts_of(TeacherConfig(model="ViT-B-32", pretrained="openai"))
    assert (facts.quick_gelu, facts.assumed) == (True, {})
    facts = facts_of(TeacherConfig(model="ViT-B-32", pretrained="laion2b_s34b_b79k"))
    assert (facts.quick_gelu, facts.assumed) == (None, {})


def test_statements_count_for_the_labels(tmp_path: Path, weights: str) -> None:
    def digest(**stated: Any) -> str:
        teacher = {"model": MODEL, "pretrained": weights, **stated}
        ontology = {"a red thing": "red", "a blue thing": "blue"}
        given = {"source": "photos", "ontology": ontology, "teacher": teacher}
        run = Run.of(parse_config(given, tmp_path / "run.yaml"))
        return LABEL.digest(
            run, LabelInputs(pl.DataFrame(schema=IMAGES), [], {}, [], pl.DataFrame())
        )

    plain = digest()
    other = [digest(quick_gelu=True), digest(preprocess={"mean": [0.1, 0.2, 0.3]})]
    assert len({plain, *other}) == 3 and digest(preprocess={}) == plain


@pytest.mark.parametrize("key", ["preprocess", "quick_gelu"])
def test_other_kinds_take_no_such_word(key: str) -> None:
    value = {"preprocess": {"mean": [0.5, 0.5, 0.5]}, "quick_gelu": True}[key]
    with pytest.raises(ConfigError, match=f"`teacher.{key}` does not apply to `kind: transf"):
        load("x/y", kind="transformers", **{key: value})
