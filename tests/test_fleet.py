"""A process on each device, one cache, and nothing lost when one of them fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import TeacherConfig
from pipeline.errors import TeacherError
from pipeline.teachers import load_teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.devices import devices_of, embed_on_devices, is_worthwhile
from pipeline.teachers.engines.threads import embed
from tests.fakes import photos, picture, sha256
from tests.tiny_models import write_model


def test_devices_are_named_or_found() -> None:
    assert devices_of("cpu") == ["cpu"]
    assert devices_of("cuda:0, cuda:3") == ["cuda:0", "cuda:3"]
    assert is_worthwhile(["cuda:0", "cuda:1"], 50_000)
    assert not is_worthwhile(["cuda:0", "cuda:1"], 50) and not is_worthwhile(["cpu"], 50_000)
    assert is_worthwhile(["cuda:0", "cuda:1"], 1000)
    assert not is_worthwhile(["cuda:0", "cuda:1"], 999)
    assert devices_of(" , cpu ,,mps") == ["cpu", "mps"] and devices_of("") == ["auto"]


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_all_gpus_are_taken_where_there_are_several(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, devices in ((0, [asked]), (1, [asked]), (2, ["cuda:0", "cuda:1"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda found=count: found)
        assert devices_of(asked) == devices
    assert devices_of("cuda:1") == ["cuda:1"] and devices_of("cuda,cpu") == ["cuda", "cpu"]


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    settings = TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu,cpu")
    paths = photos(tmp_path / "p", {"red": 9, "blue": 8})
    pairs = [(sha256(path), str(path)) for path in paths]
    paths[3].write_bytes(b"damaged")
    large = tmp_path / "large.png"
    picture("green", 0, (101, 100)).save(large)
    pairs.append((sha256(large), str(large)))
    teacher = load_teacher(settings)
    assert teacher.device == "cpu"
    cache = EmbeddingCache(tmp_path / "cache", teacher.fingerprint)
    told: list[tuple[int, int]] = []
    done = embed_on_devices(
        settings, load_teacher, devices_of(settings.device), pairs, cache,
        progress=lambda *step: told.append(step), max_pixels=10_000,
    )  # fmt: skip
    assert done.computed == 16 and set(done.failures) == {pairs[3][0], pairs[17][0]}
    assert "more than `max_pixels` (10,000)" in done.failures[pairs[17][0]]
    assert told[0] == (0, 18) and told[-1] == (18, 18) and told == sorted(told)
    # Each has written what it did: every other image, of which the second could not read two.
    shares = sorted(len(np.load(path)) for path in cache.folder.glob("*.ids.npy"))
    assert shares == [7, 9]
    alone = EmbeddingCache(tmp_path / "alone", teacher.fingerprint)
    embed(teacher, pairs, alone)
    rest = [one for one, _ in pairs if one not in done.failures]
    assert cache.vectors(rest) == pytest.approx(alone.vectors(rest), abs=1e-2)
    told.clear()
    again = embed_on_devices(
        settings,
        load_teacher,
        ["cpu", "cpu"],
        pairs[:3],
        cache,
        progress=lambda *step: told.append(step),
    )
    assert again.computed == 0 and told[0] == told[-1] == (3, 3)


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = TeacherConfig(model=f"local-dir:{tmp_path / 'none'}")
    cache = EmbeddingCache(tmp_path / "c", "x")
    with pytest.raises(TeacherError, match=r"On cpu: .*is not a folder"):
        embed_on_devices(settings, load_teacher, ["cpu", "cpu"], [("0" * 64, "x.png")], cache)
