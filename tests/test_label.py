"""From vectors to labels: the numbers are CLIP's, the decisions have reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.labels.decide import label_table
from pipeline.labels.decisions import read_decisions, review_table, write_review
from pipeline.ontology import Ontology, build_ontology
from pipeline.records import LABELS
from pipeline.teachers.zero_shot import class_probabilities, prompt_probabilities
from tests.fakes import ColorTeacher, picture, unit, verdicts_of

ONTOLOGY = build_ontology(
    {"a cat": "cat", "a kitten": "cat", "a dog": "dog", "a street": "none"}, ["{}"], "none", True
)


def read_review(path: Path) -> dict[str, str]:
    """Image id → class, of the rows that are filled in."""
    return dict(read_decisions(path, ONTOLOGY).select("id", "class").iter_rows())


def labels_for(
    probabilities: list[list[float]], human: dict[str, str] | None = None, **options: float
) -> pl.DataFrame:
    ids = [f"id{number}" for number in range(len(probabilities))]
    known = {ids.index(one): name for one, name in (human or {}).items() if one in ids}
    verdicts = verdicts_of(probabilities, ONTOLOGY.classes, known, **options)
    return label_table(ids, [f"/p/{one}.jpg" for one in ids], verdicts)


vectors = st.integers(0, 2**32 - 1).map(
    lambda seed: unit(np.random.default_rng(seed).normal(size=(4, 16)))
)


@given(vectors, st.floats(0.1, 100), st.floats(-20, 20))
def test_one_prompt_a_class_gives_clips_own_numbers(
    prompts: np.ndarray, scale: float, bias: float
) -> None:
    images = unit(np.random.default_rng(1).normal(size=(5, 16)))
    logits = scale * images.astype(float) @ prompts.T.astype(float) + bias
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_prompt = prompt_probabilities(images, prompts, scale, bias)
    ours = class_probabilities(by_prompt, [0, 1, 2, 3])
    assert ours.dtype == np.float32 and ours == pytest.approx(wanted, abs=1e-5)
    # Prompts of one class add up, and nothing is lost or invented.
    joined = class_probabilities(by_prompt, [0, 1, 0, 1])
    assert joined == pytest.approx(
        np.stack([wanted[:, [0, 2]].sum(axis=1), wanted[:, [1, 3]].sum(axis=1)], axis=1), abs=1e-5
    )


def test_decisions_and_their_reasons() -> None:
    labels = labels_for([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.1, 0.52, 0.38]], min_margin=0.2)
    assert labels.schema == pl.Schema(LABELS)
    assert labels["decision"].to_list() == ["accepted", "abstained", "abstained"]
    assert labels["class"].to_list() == ["cat", None, None]
    assert labels["guess"].to_list() == ["cat", "cat", "dog"]
    assert "below 0.5" in labels["reason"][1]
    assert "'none' by 0.140, less than 0.2" in labels["reason"][2]


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("share", "accepted"),
    # A probability is stored in 32 bits, where 0.7 and 0.9 are a little less, 0.6 and 0.8 more.
    [(0.5, True), (0.6, True), (0.7, False), (0.75, True), (0.8, True), (0.9, False)],
)
def test_a_probability_at_the_limit_is_compared_as_it_is_stored(
    share: float, accepted: bool, precision: type
) -> None:
    rest = (1 - share) / 2
    table = np.array([[share, rest, rest]], precision)
    (row,) = labels_for(table, min_confidence=share).iter_rows(named=True)  # type: ignore[arg-type]
    assert row["decision"] == ("accepted" if accepted else "abstained")
    assert row["class"] == ("cat" if accepted else None)
    if not accepted:
        assert row["reason"] == f"Confidence {share:.3f} is below {share:g}."


@pytest.mark.parametrize(
    ("first", "second", "least", "accepted"),
    [
        (0.75, 0.25, 0.5, True),
        (0.75, 0.25, 0.5000001, False),
        (0.6, 0.4, 0.2, True),  # 0.20000002 in 32 bits
        (0.7, 0.3, 0.4, False),  # 0.39999998
        (0.9, 0.0, 0.9, False),  # 0.89999998
        (0.5, 0.5, 0.0, True),
    ],
)
def test_a_lead_at_the_limit_is_enough(
    first: float, second: float, least: float, accepted: bool
) -> None:
    (row,) = labels_for([[second, first, 0]], min_margin=least).iter_rows(named=True)
    assert row["decision"] == ("accepted" if accepted else "abstained")


def test_the_reason_names_the_rule_and_the_figures() -> None:
    labels = labels_for(
        [
            [0.7, 0.05, 0.25],  # sure and ahead
            [0.3, 0.4375, 0.2625],  # neither: the confidence is named
            [0.4, 0.52, 0.08],  # sure, not ahead
            [0.49, 0.01, 0.5],
        ],
        min_margin=0.125,
        human={"id3": "dog"},
    )
    assert labels["reason"].to_list() == [
        "Confidence 0.700, 0.450 ahead of none.",
        "Confidence 0.438 is below 0.5.",
        "It leads 'cat' by 0.120, less than 0.125.",
        "Decided by a person.",
    ]
    assert labels["decision"].to_list() == ["accepted", "abstained", "abstained", "human"]
    assert labels["confidence"].to_list() == pytest.approx([0.7, 0.4375, 0.52, 0.5])
    assert labels["margin"].to_list() == pytest.approx([0.45, 0.1375, 0.12, 0.01])
    assert labels["probabilities"].to_list()[2] == pytest.approx([0.4, 0.52, 0.08])
    assert labels["id"].to_list() == ["id0", "id1", "id2", "id3"]
    assert labels["path"].to_list() == [f"/p/id{number}.jpg" for number in range(4)]


def test_between_equals_the_first_class_wins() -> None:
    labels = labels_for(
        [[0.4, 0.4, 0.2], [0.25, 0.375, 0.375], [0.5, 0, 0.5], [1 / 3] * 3], min_confidence=0
    )
    assert labels["guess"].to_list() == ["cat", "dog", "cat", "cat"]
    assert labels["margin"].to_list() == [0, 0, 0, 0]
    rivals = [reason.rsplit(maxsplit=1)[1] for reason in labels["reason"].to_list()]
    assert rivals == ["dog.", "none.", "none.", "dog."]


def test_a_person_decides_the_sure_and_the_unsure_and_nobody_who_is_not_there() -> None:
    labels = labels_for(
        [[0.9, 0.06, 0.04], [0.4, 0.35, 0.25], [0.1, 0.8, 0.1]],
        human={"id0": "none", "id1": "dog", "gone": "cat"},
    )
    assert labels["class"].to_list() == ["none", "dog", "dog"]
    assert labels["decision"].to_list() == ["human", "human", "accepted"]
    assert labels["guess"].to_list() == ["cat", "cat", "dog"]
    assert labels["confidence"].to_list() == pytest.approx([0.9, 0.4, 0.8])


def test_probabilities_by_hand() -> None:
    axes = np.eye(3, dtype=np.float32)
    # A cosine of 1 against 0 and 0, and e to the power of ln 6 is 6: shares of 6, 1 and 1.
    found = prompt_probabilities(axes[:1], axes, np.log(6))
    assert found.dtype == np.float64 and found[0] == pytest.approx([0.75, 0.125, 0.125])
    # Logits that no exponential could hold.
    found = prompt_probabilities(axes[1:2], axes, 5000, -10_000)
    assert found.tolist() == [[0, 1, 0]]


def test_a_class_gets_the_sum_over_its_prompts() -> None:
    by_prompt = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0, 0.3, 0]])
    found = class_probabilities(by_prompt, [2, 0, 2, 1])
    assert found == pytest.approx(np.array([[0.2, 0.4, 0.4], [0, 0, 1.0]]), abs=1e-7)


def test_a_person_overrules_the_teacher() -> None:
    labels = labels_for([[0.9, 0.05, 0.05]], human={"id0": "dog"})
    assert labels.select("class", "guess", "decision").row(0) == ("dog", "cat", "human")


def test_review_is_sorted_by_doubt_and_survives_a_round_trip(tmp_path: Path) -> None:
    labels = labels_for([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0], [0.36, 0.34, 0.3]])
    path = tmp_path / "review.csv"
    write_review(path, review_table(labels.lazy(), ONTOLOGY))
    review = pl.read_csv(path)
    assert review["id"].to_list() == ["id2", "id0"]
    assert review["rival"].to_list()[0] == "dog"
    assert read_review(path) == {}
    filled = review.with_columns(pl.Series("class", [" dog ", None], dtype=pl.String))
    filled.write_csv(path)
    assert read_review(path) == {"id2": "dog"}


def test_decisions_about_absent_images_are_kept(tmp_path: Path) -> None:
    """A photo that is away for a day, or a person's work, is not lost by labeling again."""
    path = tmp_path / "review.csv"
    write_review(path, review_table(labels_for([[0.4, 0.3, 0.3]] * 2).lazy(), ONTOLOGY))
    review = pl.read_csv(path).with_columns(pl.lit("dog").alias("class"))
    review.write_csv(path)
    human = read_review(path)
    labels = labels_for([[0.4, 0.3, 0.3]], human=human)
    write_review(path, review_table(labels.lazy(), ONTOLOGY))
    assert read_review(path) == {"id0": "dog", "id1": "dog"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("id,class\nx,horse\n", "'horse', which the ontology does not have"),
     ("a,b\n1,2\n", "cannot be read as a table of decisions"),
     ('id,class\n"x', "cannot be read|does not have")],
)  # fmt: skip
def test_spoiled_reviews_are_refused_not_ignored(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_review(tmp_path / "review.csv")


def color_ontology(**prompts: str) -> Ontology:
    return build_ontology({key.replace("_", " "): name for key, name in prompts.items()}, ["{}"],
                          None, True)  # fmt: skip


def test_zero_shot_answers_only_in_the_classes_asked_for() -> None:
    from pipeline.teachers.zero_shot import ZeroShot, embed_prompts

    teacher = ColorTeacher()
    ontology = color_ontology(a_red_ball="red", a_blue_ball="blue", a_gray_road="none")
    prompts = embed_prompts(teacher, ontology)
    everything = ZeroShot(teacher, ontology, prompts, ("red", "blue", "none"))
    two = ZeroShot(teacher, ontology, prompts, ("blue", "red"))
    batch = np.stack([everything.prepare(picture(name)) for name in ("red", "blue", "gray")])
    full, part = everything.predict(batch), two.predict(batch)
    assert full.argmax(axis=1).tolist() == [0, 1, 2]
    assert part.argmax(axis=1).tolist()[:2] == [1, 0]
    assert part.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-6)
    assert part[:, 1] == pytest.approx(full[:, 0] / (full[:, 0] + full[:, 1]), abs=1e-6)


def test_templates_are_averaged_as_unit_vectors() -> None:
    from pipeline.teachers.zero_shot import embed_prompts

    teacher = ColorTeacher()
    templates = ["{}", "a gray photo of {}"]
    ontology = build_ontology({"red": "red", "blue": "blue"}, templates, None, True)
    first, second = teacher.embed_texts(["red"]), teacher.embed_texts(["a gray photo of red"])
    found = embed_prompts(teacher, ontology)
    assert found[0] == pytest.approx(unit(first + second)[0], abs=1e-6)
    first, second = teacher.embed_texts(["blue"]), teacher.embed_texts(["a gray photo of blue"])
    assert found[1] == pytest.approx(unit(first + second)[0], abs=1e-6)
    assert found.dtype == np.float32 and np.linalg.norm(found, axis=1) == pytest.approx([1, 1])


def test_long_prompts_are_refused_and_unknown_words_named() -> None:
    from pipeline.teachers.zero_shot import embed_prompts, unknown_word_warnings

    teacher = ColorTeacher()
    long = build_ontology({"red " * 20: "red", "blue": "blue"}, ["{}"], None, True)
    with pytest.raises(ConfigError, match="8 tokens too long"):
        embed_prompts(teacher, long)
    odd = color_ontology(a_red_flurb="red", blue="blue")
    (warning,) = unknown_word_warnings(teacher, odd)
    assert "'flurb'" in warning and "'a red flurb'" in warning
