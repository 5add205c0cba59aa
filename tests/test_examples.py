"""Example images: how they are found, what is refused, and what every command makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipeline import stages
from pipeline.classify import classify_with_teachers
from pipeline.cli import main
from pipeline.config import Config, parse_config
from pipeline.errors import ConfigError, SourceError
from pipeline.evaluation.sample import choose_sample
from pipeline.images.examples import read_examples
from pipeline.labels.stage import LABEL
from pipeline.listener import Listener
from pipeline.ontology import build_ontology, ontology_of
from pipeline.records import DATASET, read_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from pipeline.teachers.panel import load_panel, panel_of
from tests.fakes import Told, photos, picture, sha256
from tests.films import write_video


def shown(folder: Path, counts: dict[str, int], start: int = 500) -> dict[str, str]:
    """Write examples `examples/<color>/…`; returns the config's section."""
    for name, count in counts.items():
        photos(folder / "examples" / name, {name: count}, start)
    return {name: f"examples/{name}/" for name in counts}


def config_of(folder: Path, **settings: Any) -> Config:
    return parse_config(
        {
            "source": "photos", "teacher": {"model": "pocket", "device": "cpu"},
            "label": {"min_confidence": 0.0, "refine": "none"}, **settings,
        }, folder / "run.yaml",
    )  # fmt: skip


def command(folder: Path, *words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, [*words, "--config", str(folder / "run.yaml")])
    assert done.exit_code == status, done.output
    return done


def write_config(folder: Path, **settings: Any) -> None:
    known = {
        "source": "photos", "teacher": {"model": "pocket", "device": "cpu"},
        "label": {"min_confidence": 0.0, "refine": "none"}, **settings,
    }  # fmt: skip
    (folder / "run.yaml").write_text(json.dumps(known))


# Finding them


def test_a_class_has_folders_globs_and_single_files(tmp_path: Path) -> None:
    red = photos(tmp_path / "deep" / "er", {"red": 2})
    blue = photos(tmp_path / "flat", {"blue": 3})
    green = photos(tmp_path / "any", {"green": 2, "gray": 1})
    (tmp_path / "again.png").write_bytes(red[0].read_bytes())
    examples = {
        "red": ["deep", "again.png"], "blue": str(blue[1]), "green": "any/green_*.png",
    }  # fmt: skip
    found = read_examples(config_of(tmp_path, examples=examples))
    assert found.notes == []
    assert found.table.select("id", "class").rows() == [
        *((sha256(path), "red") for path in (red[0], red[1])),
        (sha256(blue[1]), "blue"),
        *((sha256(path), "green") for path in green[:2]),
    ]  # fmt: skip


def test_the_digest_names_pictures_and_classes_and_no_places(tmp_path: Path) -> None:
    examples = shown(tmp_path, {"red": 2, "blue": 1})
    config = config_of(tmp_path, examples=examples)
    first = read_examples(config).digest
    red = tmp_path / "examples" / "red"
    (red / "red_500.png").rename(red / "other.png")
    assert read_examples(config).digest == first
    turned = config_of(tmp_path, examples={"blue": "examples/red", "red": "examples/blue"})
    assert read_examples(turned).digest != first
    (red / "other.png").unlink()
    assert read_examples(config).digest not in (first, "")
    assert read_examples(config_of(tmp_path, ontology={"a": "a", "b": "b"})).digest == ""


def test_a_picture_that_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    config = config_of(tmp_path, examples=shown(tmp_path, {"red": 2, "blue": 1}))
    (tmp_path / "examples" / "red" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "examples" / "blue" / "new.jxl").write_bytes(b"\xff\x0a")
    found = read_examples(config)
    assert found.table["class"].to_list() == ["red", "red", "blue"]
    assert found.notes == [
        f"{tmp_path / 'examples' / 'red' / 'bad.png'} is no example. "
        "It is no image in a format that can be read.",
        "`examples.blue`: Left out: 1 JPEG XL image (save as JPEG, PNG or TIFF to have them read).",
    ]


def refused(folder: Path, examples: dict[str, Any]) -> str:
    with pytest.raises(SourceError) as caught:
        read_examples(config_of(folder, examples=examples))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_what_is_no_example_is_refused(tmp_path: Path) -> None:
    examples = shown(tmp_path, {"red": 1, "blue": 1})
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("red")
    write_video(tmp_path / "film.mp4", ["red"] * 4)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    says = {
        "nowhere": "does not exist. Correct `examples.red` in the config.",
        "nowhere/*.png": "matches no image",
        "empty": "There is no image in",
        "notes.txt": "is neither an image",
        "film.mp4": "names the film",
        "bad": "No picture of `examples.red` can be read. It is no image in a format",
    }
    for place, sentence in says.items():
        assert sentence in refused(tmp_path, {**examples, "red": place})
    shutil.copy(tmp_path / "examples" / "red" / "red_500.png", tmp_path / "examples" / "blue")
    assert "are the same picture, given as an example of 'red' and of 'blue'" in refused(
        tmp_path, examples
    )


def test_what_the_run_has_made_is_no_example(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "runs" / "run")
    dataset = space.dataset / "train" / "red"
    photos(dataset, {"red": 2})
    space.claim(space.dataset)
    examples = {"red": str(dataset)}
    with pytest.raises(SourceError, match=r"Name your own images in `examples\.red`"):
        read_examples(config_of(tmp_path, examples=examples))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("examples: 3", "`examples` is 3; it must be `key: value` lines"),
        ("examples: {cat: 3}", "`examples.cat` must be a path"),
        ("examples: {cat: []}", "`examples.cat` is []; it must be a list with something in it"),
        ("examples: {cat: ''}", "`examples.cat` must be a path"),
        ("examples: {cat: [a, 3]}", "`examples.cat.1` must be a path"),
        ("examples: {a/b: x, c: y}", "The class name 'a/b' holds '/'"),
        ("examples: {cat: x}", "The ontology has one class only ('cat')"),
        ("examples: {cat: x, Cat: y}", "differ only in case"),
        ("ontology: {a cat: cat}\nexamples: {}", "The ontology has one class only"),
        ("examples: {}", "`ontology` is missing"),
        ("examples: {cat: x, dog: y}\nbackground: {class: other}", "or `examples` of it"),
    ],
)
def test_a_section_that_cannot_be_used_is_a_mistake_in_the_config(
    tmp_path: Path, section: str, says: str
) -> None:
    photos(tmp_path / "photos", {"red": 1})
    (tmp_path / "run.yaml").write_text(f"source: photos\n{section}\n")
    said = command(tmp_path, "label", status=2).stderr
    assert says in said and "Traceback" not in said


def test_a_panel_without_the_examples_of_its_ontology_is_a_mistake_of_ours(tmp_path: Path) -> None:
    ontology = build_ontology({"a red box": "red"}, examples=["blue"])
    with pytest.raises(ValueError, match="none were given"):
        load_panel(config_of(tmp_path, ontology={}).teachers, ontology, ontology.classes)


# What is made of them


def test_classes_without_words_are_labeled_by_their_examples(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 8, "green": 8, "gray": 8})
    examples = shown(tmp_path, {"gray": 3})
    config = config_of(
        tmp_path, ontology={"a red box": "red", "a green leaf": "green"}, examples=examples
    )
    result, _ = stages.label(config)
    assert result.counts.classes == ["red", "green", "gray"]
    labels = pl.read_parquet(config.workspace / "labels.parquet")
    colors = labels["path"].str.split("/").list.last().str.split("_").list.first()
    assert (labels["guess"] == colors).mean() > 0.9
    assert set(labels["guess"]) == {"red", "green", "gray"}


def test_examples_alone_make_an_ontology(tmp_path: Path) -> None:
    names = {"red": 2, "blue": 2, "gray": 2}
    photos(tmp_path / "photos", dict.fromkeys(names, 8))
    config = config_of(tmp_path, examples=shown(tmp_path, names))
    result, _ = stages.label(config)
    labels = pl.read_parquet(config.workspace / "labels.parquet")
    colors = labels["path"].str.split("/").list.last().str.split("_").list.first()
    assert (labels["guess"] == colors).all()
    assert result.counts.embedded == 24  # of the images: examples are no images of the source
    assert result.counts.found == 24


def test_other_examples_make_other_labels_and_the_same_do_nothing(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 6, "blue": 6})
    config = config_of(
        tmp_path,
        ontology={"a red box": "red", "a blue box": "blue"},
        examples=shown(tmp_path, {"red": 2}),
    )
    stages.label(config)
    assert stages.label(config)[0].skipped
    (tmp_path / "examples" / "red" / "red_501.png").rename(tmp_path / "examples" / "red" / "z.png")
    assert stages.label(config)[0].skipped
    (tmp_path / "examples" / "red" / "z.png").unlink()
    assert stages.status(config)[0].state == "out of date"
    assert not stages.label(config)[0].skipped


def test_one_that_cannot_be_decoded_is_told_and_one_of_a_class_is_needed(tmp_path: Path) -> None:
    config = config_of(tmp_path, examples=shown(tmp_path, {"red": 2, "blue": 1}))
    cut = tmp_path / "examples" / "red" / "red_500.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    ear, ontology = Told(), ontology_of(config)
    panel = panel_of(config, ontology, ontology.classes, ear)
    assert panel.examples["class"].to_list() == ["red", "blue"]
    assert any(one.startswith(f"{cut} is no example. ") for one in ear.warned)
    cut = tmp_path / "examples" / "blue" / "blue_500.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(SourceError, match="No example of 'blue' can be read"):
        panel_of(config, ontology, ontology.classes, ear)


def test_a_teacher_without_vectors_cannot_learn_from_examples(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        ontology={"a red box": "red"},
        examples=shown(tmp_path, {"blue": 1}),
        teacher={
            "kind": "autodistill", "model": "tests.teachers.tiny_autodistill.TopOne",
        },
    )  # fmt: skip
    ontology = ontology_of(config)
    with pytest.raises(ConfigError, match="cannot learn from `examples`"):
        panel_of(config, ontology, ontology.classes)


def test_every_teacher_of_a_panel_sees_them(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        examples=shown(tmp_path, {"red": 2, "blue": 2}),
        teacher=[{"model": "pocket", "device": "cpu"}, {"model": "pocket", "device": "cpu"}],
    )
    ontology = ontology_of(config)
    panel = panel_of(config, ontology, ontology.classes)
    images = [panel.prepare(picture(name, 9)) for name in ("red", "blue")]
    assert panel.predict(images).argmax(axis=1).tolist() == [0, 1]


def test_classify_answers_with_prompts_and_examples(tmp_path: Path) -> None:
    write_config(
        tmp_path,
        ontology={"a red box": "red", "a green leaf": "green"},
        examples=shown(tmp_path, {"gray": 3, "red": 1}),
    )
    (path,) = photos(tmp_path, {"gray": 1})
    done = command(tmp_path, "classify", str(path), "--json")
    (found,) = json.loads(done.stdout)
    first, *others = found["answers"]
    assert (first["prompt"], first["class"]) == ("examples of gray", "gray")
    assert "similarity" not in first and all("similarity" in one for one in others)
    assert sum(one["probability"] for one in found["answers"]) == pytest.approx(1, abs=1e-4)


def test_the_review_of_prompts_has_a_row_for_classes_without(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 5, "gray": 4})
    write_config(
        tmp_path,
        ontology={"a red box": "red", "a green leaf": "green"},
        examples=shown(tmp_path, {"gray": 2}),
    )
    rows = json.loads(command(tmp_path, "ontology", "--json").stdout)
    assert [one["prompt"] for one in rows] == ["a red box", "a green leaf", "examples of gray"]
    assert rows[2]["won"] == 4
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    write_config(tmp_path, examples=shown(tmp_path, {"gray": 2, "red": 1}, 700))
    rows = json.loads(command(tmp_path, "ontology", "--json").stdout)
    assert [(one["prompt"], one["won"]) for one in rows] == [
        ("examples of gray", 4), ("examples of red", 5),
    ]  # fmt: skip


def test_examples_are_not_evaluated_on(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 12, "blue": 12})
    for name in ("red", "blue"):
        photos(tmp_path / "truth" / name, {name: 4}, start=700)
    config = config_of(
        tmp_path,
        truth="truth",
        ontology={"a red box": "red", "a blue box": "blue"},
        examples={"red": ["truth/red/red_700.png", "truth/red/red_701.png"]},
    )
    stages.label(config)
    run = Run.of(config, Listener())
    plan = read_table(run.workspace.dataset_table, DATASET, "label")
    sample = choose_sample(run, plan)
    assert sample.excluded == {"that the teacher was given as examples": 2}
    assert len(sample.ids) == 6


# How prompts of a class, and declared shares, count


def test_four_prompts_start_with_four_times_the_share_unless_averaged(tmp_path: Path) -> None:
    (path,) = photos(tmp_path, {"yellow": 1})
    prompts = {f"a red {thing}": "red" for thing in ("box", "cup", "leaf", "ball")}
    prompts["a blue box"] = "blue"
    odds = {}
    for how in ("sum", "mean"):
        config = config_of(tmp_path, ontology=prompts, label={"prompts": how})
        ontology = ontology_of(config)
        panel = panel_of(config, ontology, ontology.classes)
        (red, blue), = panel.predict([panel.prepare(picture("yellow", 0))])  # fmt: skip
        odds[how] = red / blue
        (answer,) = classify_with_teachers([str(path)], panel, ontology)
        shares = dict.fromkeys(ontology.classes, 0.0)
        for row in answer.rows:
            shares[row.class_name] += row.probability
        assert shares["red"] == pytest.approx(red, abs=1e-6)
    assert odds["sum"] == pytest.approx(4 * odds["mean"], rel=1e-4)


def test_a_declared_share_moves_the_labels_once(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 4, "blue": 4, "yellow": 4})
    prompts = {"a red box": "red", "a blue box": "blue", "a yellow box": "yellow"}
    shares = {}
    for name, prior in (("even", {}), ("told", {"red": 0.8})):
        config = config_of(
            tmp_path, ontology=prompts, workspace=name,
            label={"min_confidence": 0.0, "refine": "none", "prior": prior},
        )  # fmt: skip
        stages.label(config)
        table = pl.read_parquet(config.workspace / "labels.parquet")
        shares[name] = np.stack(table["probabilities"].to_numpy())
    by_hand = shares["even"] * np.array([0.8, 0.1, 0.1])
    by_hand /= by_hand.sum(axis=1, keepdims=True)
    assert shares["told"] == pytest.approx(by_hand, abs=1e-4)


def test_the_digest_of_labels_knows_shares_and_prompts(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 2, "blue": 2})
    seen = set()
    for settings in ({}, {"prompts": "mean"}, {"prior": {"red": 0.9}}):
        config = config_of(
            tmp_path, ontology={"a red box": "red", "a blue box": "blue"},
            label={"min_confidence": 0.0, "refine": "none", **settings},
        )  # fmt: skip
        stages.label(config)
        stamp = LABEL.stamp(Run.of(config).workspace)
        assert stamp is not None
        seen.add(stamp.digest)
    assert len(seen) == 3
