"""Vectors of sentences are kept, so that a text tower is asked about each of them once."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.ontology import build_ontology
from pipeline.teachers.sentences import embed_sentences, sentences_root
from pipeline.teachers.zero_shot import embed_prompts
from tests.fakes import ColorTeacher
from tests.tiny_models import load, write_model

SENTENCES = ["a red ball", "a blue cup", "a red ball"]


class Reader(ColorTeacher):
    """Notes what it reads."""

    text_fingerprint: str | None = "7e47"

    def __init__(self) -> None:
        super().__init__()
        self.read_: list[str] = []

    def tokens(self, text: str) -> Sequence[int]:
        return [ord(sign) for sign in text]

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.read_ += texts
        return super().embed_texts(texts)


def test_each_sentence_is_read_once() -> None:
    first, second, other = Reader(), Reader(), Reader()
    found = embed_sentences(first, SENTENCES)
    assert (found == ColorTeacher().embed_texts(SENTENCES)).all()
    assert first.read_ == ["a red ball", "a blue cup"]
    assert (embed_sentences(second, ["green", *SENTENCES])[1:] == found).all()
    assert second.read_ == ["green"]
    other.text_fingerprint = "07e4"  # another tower
    assert (embed_sentences(other, SENTENCES) == found).all() and len(other.read_) == 2


def test_templates_are_sentences_of_their_own() -> None:
    reader = Reader()
    embed_prompts(reader, build_ontology({"red": "r", "blue": "b"}, ["{}", "a {} thing"]))
    assert sorted(reader.read_) == ["a blue thing", "a red thing", "blue", "red"]
    again = Reader()
    embed_prompts(again, build_ontology({"red": "r", "blue": "b"}, ["a {} thing", "my {}"]))
    assert sorted(again.read_) == ["my blue", "my red"]


def test_who_names_no_tower_is_asked_every_time() -> None:
    for _ in range(2):
        reader = Reader()
        reader.text_fingerprint = None
        embed_sentences(reader, SENTENCES)
        assert reader.read_ == SENTENCES
    assert not sentences_root().exists()


def damage_numbers(file: Path) -> None:
    vectors = np.load(file)
    vectors[0] = np.nan
    np.save(file, vectors)


@pytest.mark.parametrize("damage", [
    damage_numbers,
    lambda file: file.write_bytes(file.read_bytes()[:-7]),
    lambda file: file.write_bytes(b""),
    lambda file: np.save(file, np.zeros((2, 6), np.float32)),
    lambda file: np.save(file, np.zeros((5, 6), np.float32)),
    Path.unlink,
])  # fmt: skip
def test_what_is_damaged_is_read_again(damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    whole = embed_sentences(Reader(), SENTENCES)
    (file,) = sentences_root().rglob("*.vectors.npy")
    damage(file)
    reader = Reader()
    with caplog.at_level(logging.WARNING):
        assert (embed_sentences(reader, SENTENCES) == whole).all()
    assert reader.read_


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_takes_nothing_keeps_nobody_from_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sentences_root().mkdir(parents=True)
    sentences_root().chmod(0o500)
    try:
        for _ in range(2):
            embed_sentences(Reader(), SENTENCES)
    finally:
        sentences_root().chmod(0o700)
    assert "cannot be written to" in caplog.text


def test_a_cache_that_is_no_folder_is_told(caplog: pytest.LogCaptureFixture) -> None:
    sentences_root().parent.mkdir(parents=True, exist_ok=True)
    sentences_root().write_text("in the way")
    whole = ColorTeacher().embed_texts(SENTENCES)
    assert (embed_sentences(Reader(), SENTENCES) == whole).all()
    assert caplog.text


def test_a_tower_is_named_by_weights_architecture_and_file(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 1), ("quick", 0), ("later", 0)):
        write_model(tmp_path / name, seed)
    config = tmp_path / "quick" / "open_clip_config.json"
    known = json.loads(config.read_text())
    known["model_cfg"]["quick_gelu"] = True
    config.write_text(json.dumps(known))
    weights = "open_clip_model.safetensors"
    then = (tmp_path / "one" / weights).stat().st_mtime
    for name in ("two", "quick"):
        os.utime(tmp_path / name / weights, (then, then))
    os.utime(tmp_path / "later" / weights, (then + 5, then + 5))
    shutil.copytree(tmp_path / "one", tmp_path / "copy")  # with its times
    named = {
        name: load(f"local-dir:{tmp_path / name}").text_fingerprint
        for name in ("one", "two", "quick", "later", "copy")
    }
    assert named["one"] == named["copy"] and len(set(named.values())) == 4


def test_a_model_of_open_clip_says_the_same_from_the_cache(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    first, again = (load(f"local-dir:{tmp_path / 'model'}") for _ in range(2))
    found = embed_sentences(first, SENTENCES)
    assert found == pytest.approx(first.embed_texts(SENTENCES), abs=1e-6)
    broken = again._model.token_embedding  # nobody may read by it any more
    broken.weight.data.fill_(float("nan"))
    assert (embed_sentences(again, SENTENCES) == found).all()
    assert np.isnan(embed_sentences(again, ["something else"])).all()


def told(*words: str) -> Any:
    answer = CliRunner().invoke(main, ["cache", "--json", *words])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_the_command_counts_sentences_and_gives_them_up_first() -> None:
    embed_sentences(Reader(), SENTENCES)
    (entry,) = told()["sentences"]
    size = sum(file.stat().st_size for file in sentences_root().rglob("*") if file.is_file())
    assert (entry["teacher"], entry["sentences"], entry["size"]) == ("color teacher", 2, size)
    shown = CliRunner().invoke(main, ["cache"])
    assert "2 sentences" in shown.stdout and "color teacher" in shown.stdout
    assert len(told("--down-to", f"{size / 1000}KB")["sentences"]) == 1
    then = sentences_root().stat().st_mtime - 50 * 86_400
    os.utime(sentences_root() / "7e47", (then, then))
    assert len(told("--unused-for", "60")["sentences"]) == 1
    assert told("--unused-for", "40")["sentences_removed"][0]["sentences"] == 2
    embed_sentences(Reader(), SENTENCES)
    text = CliRunner().invoke(main, ["cache", "--down-to", "0.1KB"])
    assert "Removed the vectors of 2 sentences" in text.stdout and told()["sentences"] == []
