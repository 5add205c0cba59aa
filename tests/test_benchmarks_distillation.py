"""The benchmark of distillation: which students there are, and how some of them are named."""

from __future__ import annotations

from benchmarks.distillation import SEEDS, chosen, students
from benchmarks.distillation_cases import Case
from benchmarks.distillation_students import METHODS


def case(labels: str, data: str = "packing line") -> Case:
    name = f"{data}-pocket-{labels}".replace(" ", "_")
    return Case(name, data, "pocket", labels, "yolov8n-cls.yaml", 96, 24, 32, 0.9)


def test_every_seed_is_whole_before_the_next_and_truth_is_not_softened() -> None:
    found = list(students([case("auto"), case("truth")]))
    assert len(found) == len(SEEDS) * (len(METHODS) + 2)
    assert [seed for _, _, seed in found] == sorted(seed for _, _, seed in found)
    assert {method for one, method, _ in found if one.labels == "truth"} == {"yolo", "hard"}


def test_words_choose_students() -> None:
    every = list(students([case("auto"), case("auto+sight"), case("auto", "everyday")]))
    assert [one for one in every if chosen(one, "")] == every
    (found,) = [one for one in every if chosen(one, "packing line auto soft 1")]
    assert (found[0].labels, found[1:]) == ("auto", ("soft", 1))
    assert len([one for one in every if chosen(one, "everyday second round")]) == len(SEEDS)
    assert not [one for one in every if chosen(one, "aut")]
