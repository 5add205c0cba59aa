"""The same labels from a Ray cluster: three nodes of one machine, one of which dies."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from pipeline import stages
from pipeline.cluster import connected, mapped
from pipeline.config import (
    LabelConfig,
    SourceConfig,
    TeacherConfig,
    load_config,
    parse_config,
)
from pipeline.errors import ConfigError, TeacherError
from pipeline.files import cache_dir
from pipeline.images.scan import scan
from pipeline.images.sources import find_sources
from pipeline.listener import no_progress
from pipeline.storage.vectors import read_shard, shards_in
from pipeline.teachers import load_teacher
from pipeline.teachers.base import Sight
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.base import Embedded, Loader
from pipeline.teachers.engines.ray import RayEngine
from pipeline.teachers.engines.threads import embed
from tests.fakes import ColorTeacher, photos, picture, sha256
from tests.stores import s3_store, tar_of
from tests.tiny_models import write_model

ray = pytest.importorskip("ray", reason="needs Ray, of the extra `ray`")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes, of one processor each, that this process is connected to."""
    from ray.cluster_utils import Cluster

    from pipeline.cluster import check_installed

    check_installed()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    try:
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


class SlowColors(ColorTeacher):
    """Sees colors, takes its time, and notes each picture that it has encoded."""

    def __init__(self, notes: Path, pause: float) -> None:
        super().__init__()
        self._notes, self._pause = notes, pause

    def embed_images(self, batch: Any) -> np.ndarray:
        time.sleep(self._pause * len(batch))
        with (self._notes / f"{os.getpid()}").open("a") as file:
            file.write(f"{len(batch)}\n")
        return super().embed_images(batch)


class Colors:
    """A viewer of colors, see `Viewer`."""

    def __init__(self, notes: Path, pause: float = 0.0, teacher: type[Sight] | None = None) -> None:
        notes.mkdir(exist_ok=True)
        self.settings = TeacherConfig(model="colors", device="cpu", batch=8)
        self.sight: Sight = ColorTeacher()
        self._given = (notes, pause)

    @property
    def loader(self) -> Loader:
        given = self._given
        return lambda settings: SlowColors(*given)


def encoded(notes: Path) -> dict[str, int]:
    """Process → images that it has encoded."""
    return {path.name: sum(map(int, path.read_text().split())) for path in notes.iterdir()}


def pairs_of(paths: list[Path]) -> list[tuple[str, str]]:
    return [(sha256(path), str(path)) for path in paths]


def engine(**settings: Any) -> RayEngine:
    return RayEngine(LabelConfig(engine="ray", **settings))


def ask(
    viewer: Colors, pairs: list[tuple[str, str]], cache: EmbeddingCache, **settings: Any
) -> tuple[Embedded, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    done = engine(**settings)(viewer, pairs, cache, 10**8, lambda *now: told.append(now))
    return done, told


def cache_at(root: Path) -> EmbeddingCache:
    return EmbeddingCache(root, ColorTeacher.fingerprint)


@pytest.mark.slow
def test_vectors_are_those_of_this_machine_and_damage_is_recorded(
    cluster: Any, tmp_path: Path
) -> None:
    paths = photos(tmp_path / "p", {"red": 50, "blue": 50})
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    pairs = pairs_of(paths)
    paths[7].unlink()
    paths[9].write_bytes(paths[0].read_bytes())
    here, there = cache_at(tmp_path / "here"), cache_at(tmp_path / "there")
    local = embed(ColorTeacher(), pairs, here)
    done, told = ask(Colors(tmp_path / "notes"), pairs, there)
    assert done.failures == local.failures and len(done.failures) == 3
    assert done.computed == 97 and told[0] == (0, 100) and told[-1] == (100, 100)
    ids = [one for one, _ in pairs if one not in done.failures]
    assert np.allclose(here.vectors(ids), there.vectors(ids), atol=1e-6)
    assert sum(encoded(tmp_path / "notes").values()) == 97
    again, _ = ask(Colors(tmp_path / "notes"), pairs, there)
    assert again.computed == 0
    assert not list((cache_dir() / "shards").glob("*/*"))  # what has joined the cache is not kept


@pytest.mark.slow
def test_every_processor_encodes_and_what_is_finished_arrives_meanwhile(
    cluster: Any, tmp_path: Path
) -> None:
    """Tasks that wrote shards had to wait for a processor that an encoder held, so that there was
    an encoder less, and on a single one nothing arrived before the end."""
    pairs = pairs_of(photos(tmp_path / "p", {"red": 240, "blue": 240}))
    notes = tmp_path / "notes"
    _, told = ask(Colors(notes, pause=0.05), pairs, cache_at(tmp_path / "cache"))
    assert len(encoded(notes)) == 3  # processes
    assert len(told) == 1 + 480 // 32  # pieces
    shutil.rmtree(notes)


@pytest.mark.slow
def test_a_shard_that_exists_is_not_computed_again(cluster: Any, tmp_path: Path) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 64, "blue": 32}))
    notes, vectors = tmp_path / "notes", tmp_path / "vectors"
    ask(Colors(notes), pairs, cache_at(tmp_path / "first"), vectors=vectors)
    shards = shards_in(vectors / ColorTeacher.fingerprint)
    assert len(shards) == 3
    kept = [read_shard(place)[0] for place in shards]
    assert sorted(one for ids in kept for one in ids) == sorted(one for one, _ in pairs)
    Path(shards[0]).unlink()
    Path(shards[1]).write_bytes(b"PAR1 nonsense")
    shutil.rmtree(notes)
    done, told = ask(Colors(notes), pairs, cache_at(tmp_path / "second"), vectors=vectors)
    assert done.computed == 64 == sum(encoded(notes).values()) and told[0] == (32, 96)
    assert cache_at(tmp_path / "second").has([one for one, _ in pairs]).all()


@pytest.mark.slow
def test_a_node_that_dies_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 240, "blue": 240}))
    notes, cache = tmp_path / "notes", cache_at(tmp_path / "cache")
    viewer = Colors(notes, pause=0.02)
    doomed = cluster.add_node(num_cpus=1)

    def kill() -> None:
        while sum(encoded(notes).values()) < 100:
            time.sleep(0.1)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    done, told = ask(viewer, pairs, cache)
    killer.join()
    assert done.computed == 480 and done.failures == {} and told[-1] == (480, 480)
    ids = [one for one, _ in pairs]
    assert cache.has(ids).all() and len(set(ids)) == 480
    alone = embed(ColorTeacher(), pairs, cache_at(tmp_path / "alone"))
    assert alone.computed == 480
    assert np.allclose(cache.vectors(ids), cache_at(tmp_path / "alone").vectors(ids), atol=1e-6)


@pytest.mark.slow
def test_what_was_finished_stays_when_somebody_stops_the_run(cluster: Any, tmp_path: Path) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 160, "blue": 96}))
    cache = cache_at(tmp_path / "cache")

    def stop(done: int, total: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine()(Colors(tmp_path / "notes", 0.01), pairs, cache, 10**8, stop)
    kept = int(cache.has([one for one, _ in pairs]).sum())
    assert 64 <= kept < 256
    done, _ = ask(Colors(tmp_path / "more"), pairs, cache)
    assert done.computed == 256 - kept


class Clip:
    """A tiny CLIP that computes in bf16, see `Viewer`."""

    def __init__(self, folder: Path) -> None:
        write_model(folder)
        self.settings = TeacherConfig(
            model=f"local-dir:{folder}", device="cpu", precision="bf16", compile="never"
        )
        self.sight: Sight = load_teacher(self.settings)
        self.loader: Loader = load_teacher


@pytest.mark.slow
def test_vectors_in_bf16_are_those_of_this_machine(cluster: Any, tmp_path: Path) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 40, "blue": 40}))
    viewer = Clip(tmp_path / "model")
    assert viewer.sight.precision == "bf16"
    here, there = (
        EmbeddingCache(tmp_path / name, viewer.sight.fingerprint) for name in ("here", "there")
    )
    embed(viewer.sight, pairs, here)
    assert engine()(viewer, pairs, there, 10**8, no_progress).computed == 80
    ids = [one for one, _ in pairs]
    assert np.abs(here.vectors(ids) - there.vectors(ids)).max() < 1e-3


class Stranger(Colors):
    """Loads something else on the workers than here."""

    @property
    def loader(self) -> Loader:
        def load(settings: TeacherConfig) -> Sight:
            other = ColorTeacher()
            other.fingerprint = "other"
            return other

        return load


@pytest.mark.slow
def test_workers_that_see_otherwise_end_the_run(cluster: Any, tmp_path: Path) -> None:
    pairs = pairs_of(photos(tmp_path / "p", {"red": 3}))
    with pytest.raises(TeacherError, match="is loaded otherwise than where the run was started"):
        ask(Stranger(tmp_path / "notes"), pairs, cache_at(tmp_path / "cache"))


def run_of(folder: Path, source: Any, **label: Any) -> Path:
    written = {
        "source": source, "workspace": "run", "teacher": {"model": "pocket", "device": "cpu"},
        "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
        "label": {"min_confidence": 0.3, **label},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(written))
    return folder / "run.yaml"


@pytest.mark.slow
def test_a_run_on_a_cluster_is_the_run_on_this_machine(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos(tmp_path / "p", {"red": 44, "blue": 42, "green": 39})
    (tmp_path / "p" / "cut.png").write_bytes(paths[0].read_bytes()[:150])
    for path in (tmp_path / "p").iterdir():
        os.utime(path, (10**9, 10**9))  # of a file that has just changed no time is kept
    tables = []
    for name, settings in {"local": {}, "ray": {"engine": "ray"}}.items():
        monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / name / "cache"))
        config = load_config(run_of(tmp_path / name / "c", str(tmp_path / "p"), **settings))
        stages.label(config)
        tables.append(pl.read_parquet(config.workspace / "labels.parquet").sort("id"))
        tables.append(pl.read_parquet(config.workspace / "images.parquet").sort("path"))
    same = ["id", "path", "class", "guess", "plain", "moved", "decision", "reason"]
    assert tables[0].select(same).equals(tables[2].select(same))
    assert tables[1].equals(tables[3])
    for name in ("confidence", "margin", "doubt"):
        assert np.abs(tables[0][name].to_numpy() - tables[2][name].to_numpy()).max() < 1e-3


@pytest.mark.slow
def test_shards_of_a_store_are_labeled_by_a_cluster_that_leaves_vectors_there(
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch, s3_store(patch) as store:
        files = []
        for number in range(96):
            data = io.BytesIO()
            picture("red" if number % 2 else "blue", number).save(data, "PNG")
            files.append((f"{number:06d}.png", data.getvalue()))
        store.put("s/0.tar", tar_of(files[:50]))
        store.put("s/1.tar", tar_of(files[50:]))
        ray.shutdown()  # a cluster of its own, whose workers know where the store is
        store.fault = lambda method, path, times: (
            ("503", "cut", "500")[len(path) % 3] if times < 1 else None
        )
        settings = {"engine": "ray", "vectors": "s3://photos/vectors"}
        config = load_config(run_of(tmp_path / "c", "s3://photos/s", **settings))
        labels, _ = stages.label(config)
        assert labels.counts.embedded == 96 and labels.counts.unreadable == 0
        place = f"s3://photos/vectors/{labels.counts.vectors_of}"
        ids = [one for shard in shards_in(place) for one in read_shard(shard)[0]]
        assert sorted(ids) == sorted(hashlib.sha256(data).hexdigest() for _, data in files)
        shutil.rmtree(cache_dir())
        shutil.rmtree(config.workspace)
        again, _ = stages.label(config)
        assert again.counts.embedded == 0 and again.counts.usable == 96


def test_settings_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    given = {"source": "a", "ontology": {"a": "b", "c": "d"}}
    for label, reason in (
        ({"address": "auto"}, "add `engine: ray`"),
        ({"engine": "cluster"}, "must be 'local' or 'ray'"),
        ({"engine": "ray", "vectors": "s3://k:hidden@b/v"}, "holds a user"),
    ):
        with pytest.raises(ConfigError, match=reason) as refused:
            parse_config({**given, "label": label}, tmp_path / "run.yaml")
        assert "hidden" not in str(refused.value)
    config = parse_config(given, tmp_path / "run.yaml")
    assert config.with_engine(None, "auto").label.engine == "ray"
    assert config.with_engine("ray", None).label.address is None
    with pytest.raises(ConfigError, match="leave it out"):
        config.with_engine("local", "auto")
    asked = parse_config(
        {**given, "label": {"engine": "ray"}, "teacher": {"kind": "inference", "model": "x"}},
        tmp_path / "run.yaml",
    )
    with pytest.raises(ConfigError, match="asks a server"):
        stages.label(asked)


def test_the_clusters_configuration_in_the_docs_is_one_that_rays_launcher_takes() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with some versions of Ray")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    if not schema.is_file():
        pytest.skip("this version of Ray has no schema of such files")
    file = Path(__file__).parents[1] / "docs" / "cluster.yaml"
    config = yaml.safe_load(file.read_text("utf-8"))
    jsonschema.validate(config, json.loads(schema.read_text("utf-8")))
    kinds = config["available_node_types"]
    assert config["head_node_type"] in kinds
    assert sum(kind["max_workers"] for kind in kinds.values()) <= config["max_workers"]


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    ray.shutdown()
    pairs = pairs_of(photos(tmp_path / "p", {"red": 3}))
    with pytest.raises(TeacherError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        ask(Colors(tmp_path / "n"), pairs, cache_at(tmp_path / "c"), address="127.0.0.1:1")


def test_a_teacher_reads_alike_with_and_without_its_weights(tmp_path: Path) -> None:
    teacher = load_teacher(TeacherConfig(model="pocket", device="cpu"))
    data = photos(tmp_path, {"red": 1})[0].read_bytes()
    assert np.array_equal(teacher.reader(data, 10**8), teacher.read(data, 10**8))


@pytest.mark.slow
def test_twenty_thousand_images_in_shards_of_a_store(tmp_path: Path) -> None:
    ray.shutdown()
    with pytest.MonkeyPatch.context() as patch, s3_store(patch) as store:
        ids = set()
        for shard in range(20):
            files = []
            for number in range(1000):
                pixels = np.frombuffer((shard * 1000 + number).to_bytes(3, "big") * 64, np.uint8)
                data = io.BytesIO()
                Image.fromarray(pixels.reshape(8, 8, 3)).save(data, "BMP")
                files.append((f"{number:06d}.bmp", data.getvalue()))
                ids.add(hashlib.sha256(data.getvalue()).hexdigest())
            store.put(f"s/{shard:03d}.tar", tar_of(files))
        store.fault = lambda method, path, times: (
            (None, "503", "cut", "500")[len(store.asked) % 4] if times < 2 else None
        )
        found = find_sources([SourceConfig(path="s3://photos/s")])
        with connected(None):
            images = scan(found.images, states=found.states, spread=mapped)
            assert set(images["id"]) == ids and set(images["status"]) == {"ok"}
            cache = cache_at(tmp_path / "cache")
            settings = LabelConfig(engine="ray", vectors="s3://photos/vectors")
            viewer = Colors(tmp_path / "notes")
            viewer.settings = viewer.settings.model_copy(update={"batch": 256})
            done = RayEngine(settings)(viewer, images, cache, 10**8, no_progress)
        assert done.computed == 20_000 and done.failures == {}
        assert cache.has(sorted(ids)).all()
        assert sum(encoded(tmp_path / "notes").values()) >= 20_000
