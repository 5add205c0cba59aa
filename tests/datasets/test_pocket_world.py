"""The pocket teacher's world: captions that are true, and a training that runs from end to end."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from pocket_world import train
from pocket_world.captions import KINDS, Facts, claim_about, phrase, words_of
from pocket_world.data import TRAIN, world
from pocket_world.scene import draw
from pocket_world.tower import encode, holds
from tests.second_process import in_another_process

PICTURES = [Facts("apple", "green", 2, "table", "dim"), Facts("empty", "none", 0, "belt", "plain"),
            Facts("banana", "yellow", 1, "grass", "bright"),
            Facts("grapes", "purple", 1, "plate", "warm")]  # fmt: skip


@pytest.mark.parametrize("picture", PICTURES)
def test_every_claim_about_a_picture_is_true_of_it(picture: Facts) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        claim = claim_about(picture, rng)
        assert claim.true_of(picture)
        text = phrase(claim, rng)
        assert text.strip() == text and words_of(text)
        if claim.thing == "apple":
            assert "apple" in text
        if claim.place == "belt":
            assert "belt" in text or "conveyor" in text or "production line" in text


def test_some_claims_are_false_of_others_and_both_ways_of_checking_agree() -> None:
    rng = np.random.default_rng(1)
    claims = [claim_about(picture, rng) for picture in PICTURES for _ in range(100)]
    expected = [[claim.true_of(picture) for claim in claims] for picture in PICTURES]
    found = holds(encode(claims), encode(PICTURES))
    assert torch.equal(found, torch.tensor(expected))
    assert not all(map(all, expected))


def test_a_dozen_things_or_more_drawn_alike_everywhere_without_the_packing_line() -> None:
    assert len(KINDS) > 12
    script = """
        import hashlib, sys
        from pocket_world.data import TRAIN
        from pocket_world.scene import draw
        for index in range(6):
            picture = draw(0, TRAIN, index)
            print(picture.facts, hashlib.sha256(picture.pixels.tobytes()).hexdigest())
        assert not {"pipeline.sample.scene", "pipeline.sample.draw"} & set(sys.modules)
    """
    drawn = [draw(0, TRAIN, index) for index in range(6)]
    lines = [f"{one.facts} {hashlib.sha256(one.pixels.tobytes()).hexdigest()}" for one in drawn]
    assert len(set(lines)) == 6
    assert in_another_process("-c", textwrap.dedent(script)).splitlines() == lines


def test_pictures_that_are_drawn_are_not_drawn_again(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = world(tmp_path, 6, 0, TRAIN, 1, lambda done, total: told.append((done, total)))
    second = world(tmp_path, 6, 0, TRAIN, 1, lambda done, total: told.append((done, total)))
    assert told == [(6, 6)]
    assert np.array_equal(first.pixels, second.pixels) and first.facts == second.facts


@pytest.mark.slow
def test_the_training_script_makes_a_teacher_that_loads_and_goes_on_after_a_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too few pictures to learn anything: what is tested is the whole way to a loadable folder."""
    words = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--pictures", "256"]
    words += ["--held-out", "64"]
    assert train.main([*words, "--epochs", "1"]) == 0
    assert train.main([*words, "--epochs", "1"]) == 0
    assert "going on after epoch 1" in capsys.readouterr().out

    from pipeline.config import TeacherConfig
    from pipeline.teachers import load_teacher

    teacher = load_teacher(TeacherConfig(model=f"local-dir:{tmp_path / 'out'}", device="cpu"))
    vectors = teacher.embed_texts(["an apple on a table"])
    assert np.isclose(np.linalg.norm(vectors), 1, atol=1e-5)
    assert teacher.unknown_words("an apple on a zeppelin") == ["zeppelin"]
