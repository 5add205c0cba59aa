"""A teacher and prompts answer together, and several teachers answer as one: figures by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.ontology import build_ontology
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fakes import ColorTeacher, panel_of, picture

# Two prompts of cat around one of dog, and one of none.
ONTOLOGY = build_ontology({"a cat": "cat", "a dog": "dog", "a kitten": "cat", "a road": "none"})
AXES = np.eye(4, dtype=np.float32)


class TunedTeacher(ColorTeacher):
    """One whose scale, name and size can be chosen."""

    def __init__(self, scale: float, name: str = "tuned", **facts: Any) -> None:
        super().__init__()
        self.logit_scale, self.name = scale, name
        for fact, value in facts.items():
            setattr(self, fact, value)


def asked(
    scale: float, classes: tuple[str, ...] = ONTOLOGY.classes, name: str = "tuned", **facts: Any
) -> ZeroShot:
    return ZeroShot(TunedTeacher(scale, name, **facts), ONTOLOGY, AXES, classes)


def test_probabilities_follow_the_teachers_scale_and_the_prompts_classes() -> None:
    # On an axis of its own a prompt has the cosine 1, and the three others 0: 5 shares against 1.
    member = asked(np.log(5))
    assert member.by_prompt(AXES[:1])[0] == pytest.approx([5 / 8, 1 / 8, 1 / 8, 1 / 8])
    assert member.classify(AXES[:2]) == pytest.approx(
        np.array([[6 / 8, 1 / 8, 1 / 8], [2 / 8, 5 / 8, 1 / 8]])
    )
    assert member.classify(AXES).dtype == np.float32
    assert asked(0.0).classify(AXES[:1])[0] == pytest.approx([0.5, 0.25, 0.25])


def test_other_classes_are_taken_out_and_the_order_is_the_askers() -> None:
    found = asked(np.log(5), ("none", "dog")).classify(AXES[1:3])
    assert found == pytest.approx(np.array([[1 / 6, 5 / 6], [1 / 2, 1 / 2]]))


def test_classes_that_have_no_share_at_all_stay_at_nothing() -> None:
    found = asked(5000.0, ("dog", "none")).classify(AXES[:1])
    assert found.tolist() == [[0, 0]]


def test_cosines_from_elsewhere_give_the_same_as_vectors() -> None:
    member = asked(7.0)
    vectors = np.array([[0.6, 0.8, 0, 0], [0, 0, 0.28, 0.96]], np.float32)
    assert member.from_cosines(vectors @ AXES.T) == pytest.approx(member.by_prompt(vectors))


def test_predicting_is_classifying_what_the_teacher_sees() -> None:
    teacher = ColorTeacher()
    ontology = build_ontology({"red": "red", "blue": "blue"})
    member = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    batch = [member.prepare(picture(name)) for name in ("blue", "red")]
    assert member.predict(batch).tolist() == (member.classify(teacher.embed_images(batch)).tolist())
    assert member.predict(batch).argmax(axis=1).tolist() == [1, 0]


def test_weights_are_shares_of_their_sum() -> None:
    panel = panel_of([asked(1, name="a"), asked(2, name="b"), asked(3, name="c")], [3, 1, 4])
    assert panel.weights == (0.375, 0.125, 0.5) and panel.name == "a + b + c"
    answers = [np.array([row], np.float32) for row in ([0.8, 0.2], [0, 1], [0.5, 0.5])]
    before = answers[0].copy()
    found = panel.mean(answers)
    assert found == pytest.approx(np.array([[0.55, 0.45]])) and found.dtype == np.float32
    assert (answers[0] == before).all()


def test_each_member_predicts_on_what_it_has_prepared() -> None:
    class Small(TunedTeacher):
        def prepare(self, image: Any) -> np.ndarray:
            return super().prepare(image)[:, :2, :2]

    ontology = build_ontology({"red": "red", "blue": "blue"})
    teachers = TunedTeacher(4.0), Small(20.0)
    members = [
        ZeroShot(one, ontology, embed_prompts(one, ontology), ("blue", "red")) for one in teachers
    ]
    panel = panel_of(members, [1, 3])
    images = [picture("red", 1), picture("blue", 2), picture("red", 3)]
    batch = [panel.prepare(image) for image in images]
    assert [[part.shape for part in one] for one in batch] == [[(3, 4, 4), (3, 2, 2)]] * 3
    alone = [m.predict([m.prepare(image) for image in images]) for m in members]
    assert panel.predict(batch) == pytest.approx(alone[0] / 4 + 3 * alone[1] / 4, abs=1e-6)
    assert panel.classes == ("blue", "red")


def test_a_panel_is_as_large_as_its_members_together() -> None:
    sized = asked(1, parameters=7, file_bytes=100, device="cpu")
    other = asked(1, parameters=8, file_bytes=250, device="cuda")
    unknown = asked(1, parameters=1, file_bytes=None, device="cpu")
    together = panel_of([sized, other, sized], [1, 1, 1])
    assert (together.parameters, together.file_bytes) == (22, 450)
    assert together.device == "cpu, cuda"
    assert panel_of([sized, unknown], [1, 1]).file_bytes is None
    assert panel_of([sized, asked(1, file_bytes=0)], [1, 1]).file_bytes == 100


def test_templates_need_vectors_and_a_single_one_does_not() -> None:
    teacher = TunedTeacher(1.0, gives_vectors=False)
    prompts = {"red": "red", "blue": "blue"}
    one = embed_prompts(teacher, build_ontology(prompts, ["a photo of {}"]))
    assert one == pytest.approx(teacher.embed_texts(["a photo of red", "a photo of blue"]))
    with pytest.raises(ConfigError, match="cannot average templates"):
        embed_prompts(teacher, build_ontology(prompts, ["{}", "a photo of {}"]))


def test_a_sentence_is_measured_in_its_template() -> None:
    teacher = ColorTeacher()  # reads twelve words
    prompts = {"red " * 10: "red", "blue": "blue"}
    embed_prompts(teacher, build_ontology(prompts, ["big big {}"]))
    with pytest.raises(ConfigError, match="is 1 tokens too long for color teacher"):
        embed_prompts(teacher, build_ontology(prompts, ["{}", "big big big {}"]))
