"""Labels of more images than are learned from: the sample, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import stages
from pipeline.config import Config, LabelConfig, load_config, parse_config
from pipeline.errors import ConfigError, SourceError
from pipeline.labels.judge import judge
from pipeline.labels.sampling import ranks, sampled_rows
from tests.fakes import photos, sha256
from tests.test_doubt import clusters


def ids_of(count: int, seed: int = 0) -> pl.Series:
    drawn = np.random.default_rng(seed).bytes(32 * count).hex()
    return pl.Series("id", [drawn[64 * one : 64 * (one + 1)] for one in range(count)])


def config_of(folder: Path, sample: Any, **label: Any) -> Config:
    return parse_config(
        {
            "source": str(folder / "photos"), "workspace": str(folder / "run"),
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": {"refine": "always", "sample": sample, "reject": 0.9, **label},
        }, folder / "run.yaml",
    )  # fmt: skip


def test_the_sample_is_drawn_by_content_and_seed(tmp_path: Path) -> None:
    ids, known = ids_of(3000), np.full(3000, -1)
    known[7] = 0
    config = config_of(tmp_path, 500)
    rows = sampled_rows(config, ids, 3000, known, None)
    assert rows is not None and 7 in rows and 500 <= len(rows) <= 501
    chosen = ids[rows].to_list()
    mixed = np.random.default_rng(1).permutation(3000)
    again = sampled_rows(config, ids[mixed], 3000, known[mixed], None)
    assert again is not None and ids[mixed][again].to_list() == chosen  # in the same order, too
    more = pl.concat([ids, ids_of(300, seed=1)])
    grown = sampled_rows(config, more, 3300, np.full(3300, -1), None)
    assert grown is not None and len(set(more[grown]) & set(chosen)) > 420
    other = config.model_copy(update={"dataset": config.dataset.model_copy(update={"seed": 1})})
    reseeded = sampled_rows(other, ids, 3000, known, None)
    assert reseeded is not None and len(set(ids[reseeded]) & set(chosen)) < 150
    assert sampled_rows(config, ids[:500], 500, known[:500], None) is None
    assert abs(np.median(ranks(ids, 0).astype(np.float64)) / 2**64 - 0.5) < 0.05


@pytest.mark.parametrize("reject", ["auto", "none"])
def test_a_sample_that_covers_all_decides_as_all_do(reject: Any) -> None:
    batch, truth = clusters([200, 150, 120, 30], classes=3, noise=0.2)
    known = batch.known.copy()
    known[:2], known[200] = 0, 1
    batch = replace(batch, known=known)
    ids = ids_of(len(truth))
    settings = LabelConfig(refine="always", reject=reject)
    whole = judge(batch, ids, settings, None)
    sampled = judge(replace(batch, sample=np.arange(len(truth))), ids, settings, None)
    for name in ("probabilities", "unlike", "doubt", "guess", "accepted", "strange"):
        assert np.array_equal(getattr(whole, name), getattr(sampled, name)), name
    assert whole.sampled == 0 and sampled.sampled == len(truth)
    assert "learned from a sample of 500 and holds for 500 images" in sampled.why
    order = np.random.default_rng(0).permutation(len(truth))
    mixed = judge(replace(batch, sample=order), ids, settings, None)
    assert (whole.guess == mixed.guess).mean() > 0.99
    assert np.abs(whole.probabilities - mixed.probabilities).mean() < 0.01


def test_what_a_sample_taught_holds_for_the_others() -> None:
    batch, truth = clusters([900, 700, 600, 200], classes=3, noise=0.2)
    ids = ids_of(len(truth))
    sample = np.random.default_rng(0).permutation(len(truth))[:600]
    settings = LabelConfig(refine="always", reject="auto")
    whole = judge(batch, ids, settings, None)
    found = judge(replace(batch, sample=sample), ids, settings, None)
    rest = np.setdiff1d(np.arange(len(truth)), sample)
    mine = rest[truth[rest] < 3]
    assert (found.guess[mine] == truth[mine]).mean() > 0.97
    assert (found.guess == whole.guess).mean() > 0.97
    assert found.strange[rest[truth[rest] == 3]].mean() > 0.9 > 0.1 > found.strange[mine].mean()
    assert np.abs(found.doubt[rest] - whole.doubt[rest]).mean() < 0.05
    # What is said of an image depends on the sample and on itself: not on who else is asked about.
    some = np.concatenate([sample, rest[::3]])
    fewer = judge(replace(batch.part(some), sample=np.arange(600)), ids[some], settings, None)
    assert np.array_equal(fewer.guess, found.guess[some])
    for name in ("probabilities", "unlike", "doubt"):
        assert np.abs(getattr(fewer, name) - getattr(found, name)[some]).max() < 1e-5
    assert fewer.limit == found.limit


def test_parts_of_a_source_that_share_a_sample_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos(tmp_path / "whole" / "photos", {"red": 70, "blue": 60, "green": 50})
    counts = stages.label(config_of(tmp_path / "whole", 100))[0].counts
    table = pl.read_parquet(tmp_path / "whole" / "run" / "labels.parquet").sort("id")
    kept = tmp_path / "whole" / "run" / "sample.parquet"
    assert counts.sampled == 100 and "a sample of 100" in counts.why and counts.usable == 180
    assert len(pl.read_parquet(kept)) == 100
    parts = []
    for number in range(2):
        folder = tmp_path / f"part{number}"
        (folder / "photos").mkdir(parents=True)
        for path in paths[number::2]:
            (folder / "photos" / path.name).write_bytes(path.read_bytes())
        config = config_of(folder, str(kept))
        assert stages.label(config)[0].counts.sampled == 100
        parts.append(pl.read_parquet(folder / "run" / "labels.parquet"))
    joined = pl.concat(parts).sort("id")
    same = ["id", "class", "guess", "plain", "decision", "reason"]
    assert joined.select(same).equals(table.select(same))
    for name in ("confidence", "doubt", "unlike"):
        assert np.allclose(joined[name], table[name], atol=1e-5)
    # Without an image of it, it is another sample.
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "elsewhere"))
    there = {sha256(path) for path in photos(tmp_path / "more" / "photos", {"red": 3, "blue": 3})}
    sample = pl.read_parquet(kept)
    Path(sample.filter(~pl.col("id").is_in(there))["path"][0]).unlink()
    with pytest.raises(SourceError, match=r"1 image of `label\.sample` cannot be read any more"):
        stages.label(config_of(tmp_path / "more", str(kept)))


def test_a_run_of_few_images_learns_from_all(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 20, "blue": 20})
    counts = stages.label(config_of(tmp_path, 100))[0].counts
    assert counts.sampled == 0 and "sample" not in counts.why
    assert not (tmp_path / "run" / "sample.parquet").exists()
    # Another size is no reason to label again where either covers all.
    assert stages.label(config_of(tmp_path, 200))[0].skipped


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense", None])
def test_what_is_no_sample_is_refused(tmp_path: Path, content: bytes | None) -> None:
    photos(tmp_path / "photos", {"red": 3, "blue": 3})
    place = tmp_path / "sample.parquet"
    if content is None:
        rows = {"id": ["../x"], "path": ["a"], "video": [None], "seconds": [None]}
        pl.DataFrame(rows).write_parquet(place)
    else:
        place.write_bytes(content)
    with pytest.raises(SourceError, match=r"`label\.sample`: .*sample\.parquet"):
        stages.label(config_of(tmp_path, str(place)))


def test_the_config_says_how_many_or_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"label\.sample"):
        config_of(tmp_path, 5)
    with pytest.raises(ConfigError, match="holds a user") as refused:
        config_of(tmp_path, "s3://key:hidden@bucket/sample.parquet")
    assert "hidden" not in str(refused.value)
    (tmp_path / "run.yaml").write_text(
        "source: photos\nontology: {a: b, c: d}\nlabel: {sample: first/sample.parquet}\n"
    )
    assert load_config(tmp_path / "run.yaml").label.sample == tmp_path / "first/sample.parquet"
