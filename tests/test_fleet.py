"""A process on each device, one cache, and nothing lost when one of them fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.cache import EmbeddingCache
from pipeline.config import TeacherConfig
from pipeline.embed import embed
from pipeline.errors import TeacherError
from pipeline.fleet import devices_of, embed_on_devices, is_worthwhile
from pipeline.teachers import load_teacher
from tests.fakes import photos, sha256
from tests.tiny_models import write_model


def test_devices_are_named_or_found() -> None:
    assert devices_of("cpu") == ["cpu"]
    assert devices_of("cuda:0, cuda:3") == ["cuda:0", "cuda:3"]
    assert is_worthwhile(["cuda:0", "cuda:1"], 50_000)
    assert not is_worthwhile(["cuda:0", "cuda:1"], 50) and not is_worthwhile(["cpu"], 50_000)


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    settings = TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu,cpu")
    paths = photos(tmp_path / "p", {"red": 9, "blue": 8})
    pairs = [(sha256(path), str(path)) for path in paths]
    paths[3].write_bytes(b"damaged")
    teacher = load_teacher(settings)
    assert teacher.device == "cpu"
    cache = EmbeddingCache(tmp_path / "cache", teacher.fingerprint)
    told: list[tuple[int, int]] = []
    done = embed_on_devices(
        settings, [], devices_of(settings.device), pairs, cache,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert done.computed == 16 and list(done.failures) == [pairs[3][0]]
    assert told[0] == (0, 17) and told[-1] == (17, 17) and told == sorted(told)
    # Each has written what it did: every other image, of which the second could not read one.
    shares = sorted(len(np.load(path)) for path in cache.folder.glob("*.ids.npy"))
    assert shares == [7, 9]
    alone = EmbeddingCache(tmp_path / "alone", teacher.fingerprint)
    embed(teacher, pairs, alone)
    rest = [one for one, _ in pairs if one != pairs[3][0]]
    assert cache.vectors(rest) == pytest.approx(alone.vectors(rest), abs=1e-2)
    again = embed_on_devices(settings, [], ["cpu", "cpu"], pairs[:3], cache)
    assert again.computed == 0


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = TeacherConfig(model=f"local-dir:{tmp_path / 'none'}")
    cache = EmbeddingCache(tmp_path / "c", "x")
    with pytest.raises(TeacherError, match=r"On cpu: .*is not a folder"):
        embed_on_devices(settings, [], ["cpu", "cpu"], [("0" * 64, "x.png")], cache)
