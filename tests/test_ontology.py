from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.class_names import check_class_name
from pipeline.config import parse_config
from pipeline.errors import ConfigError
from pipeline.ontology import build_ontology, declared_prior


def test_classes_keep_the_order_of_their_first_mention() -> None:
    ontology = build_ontology({"a lorry": "truck", "a van": "car", "a pick-up": "truck"})
    assert ontology.classes == ("truck", "car")
    assert ontology.prompt_classes == (0, 1, 0)


def test_every_template_is_filled_with_the_prompt() -> None:
    ontology = build_ontology({"a cat": "cat", "a dog": "dog"}, ["{}", "a bad photo of {}."])
    assert ontology.texts("a cat") == ["a cat", "a bad photo of a cat."]


def test_braces_in_a_prompt_are_only_letters() -> None:
    ontology = build_ontology({"a {0} cat": "cat", "a dog": "dog"}, ["see {}"])
    assert ontology.texts("a {0} cat") == ["see a {0} cat"]


def test_a_background_may_be_left_out_of_the_dataset() -> None:
    prompts = {"a cat": "cat", "a wall": "other", "a dog": "dog", "a floor": "other"}
    kept = build_ontology(prompts, background="other")
    left_out = build_ontology(prompts, background="other", keep_background=False)
    assert kept.dataset_classes == ("cat", "other", "dog")
    assert left_out.classes == kept.classes
    assert left_out.dataset_classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("prompts", "options", "says"),
    [
        ({}, {}, "empty"),
        ({"a cat": "cat"}, {}, "one class only"),
        ({"a cat": "cat", "a kitten": "cat"}, {}, "one class only"),
        ({"a cat": "cat", "": "dog"}, {}, "empty"),
        ({"a cat": "cat", "  ": "dog"}, {}, "empty"),
        ({"a cat": "cat", " a cat ": "dog"}, {}, "twice"),
        ({"a cat": "Cat", "a dog": "cat"}, {}, "differ only in case"),
        ({"a road": "Straße", "a way": "STRASSE"}, {}, "differ only in case"),
        ({"a cat": "cat", "a dog": "dog"}, {"templates": ["a photo"]}, "{}"),
        ({"a cat": "cat", "a dog": "dog"}, {"templates": ["{} or {}"]}, "{}"),
        ({"a cat": "cat", "a dog": "dog"}, {"templates": []}, "templates"),
        ({"a cat": "cat", "a dog": "dog"}, {"background": "wall"}, "no prompt"),
        (
            {"a cat": "cat", "a wall": "x"},
            {"background": "x", "keep_background": False},
            "one class is left",
        ),
    ],
)
def test_what_gives_no_choice_is_refused(
    prompts: dict[str, str], options: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build_ontology(prompts, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a/b",
            "a\\b",
            "..",
            ".",
            "",
            " ",
            "cat.",
            "cat ",
            " cat",
            ".cat",
            "CON",
            "con.txt",
            "lpt1",
        ),
        *("a:b", "a*b", 'a"b', "a\nb", "a\x00b", "x" * 121, "é" * 61, "a\u202eb", "\ud800"),
    ],
)
def test_a_class_that_cannot_be_a_folder_everywhere_is_refused_with_one_that_can(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_class_name(name)
    offered = str(caught.value).rsplit("Call the class ", 1)[1].split("'")[1]
    check_class_name(offered)


@pytest.mark.parametrize(
    "name", ["cat", "park or parking lot", "日本", "Größe 2", "a.b", "x" * 120, "می\u200cخواهم"]
)
def test_ordinary_names_pass(name: str) -> None:
    check_class_name(name)


def test_two_spellings_of_one_letter_are_one_class() -> None:
    ontology = build_ontology({"a": "caf\u00e9", "b": "cafe\u0301", "c": "bar"})
    assert ontology.classes == ("caf\u00e9", "bar")


@settings(max_examples=30)
@given(st.from_regex(r"[a-z]{5,20}( [a-z0-9]{1,20})?", fullmatch=True))
def test_plain_words_are_never_refused(name: str) -> None:
    check_class_name(name)


@given(st.text())
def test_any_name_is_either_a_usable_folder_or_refused(name: str) -> None:
    try:
        check_class_name(name)
    except ConfigError:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\:*?"<>|\x00')
    assert name[-1] not in ". "


# Names of classes: what just passes and what does not any more, rule by rule.

DEVICES = [
    *("con", "prn", "aux", "nul", "conin$", "conout$"),
    *(f"{device}{digit}" for device in ("com", "lpt") for digit in "123456789¹²³"),
]


def refusal(name: str) -> str:
    """Why a name is refused, and that what is offered instead can be used."""
    with pytest.raises(ConfigError) as caught:
        check_class_name(name)
    said = str(caught.value)
    offered = said.rsplit("Call the class ", 1)[1].removesuffix(", for instance.")
    check_class_name(ast.literal_eval(offered))
    return said


@pytest.mark.parametrize("device", DEVICES)
def test_names_of_devices_are_refused_in_any_case_and_with_any_ending(device: str) -> None:
    for name in (device, device.upper(), device.title(), f"{device}.txt", f"{device}.a.b"):
        assert "is a device name on Windows" in refusal(name)
    for name in (f"{device}x", f"x{device}", f"{device} 1", f"x.{device}"):
        check_class_name(name)


@pytest.mark.parametrize("name", ["com0", "lpt0", "com10", "com", "lpt", "console", "com⁴"])
def test_names_that_are_nearly_devices_pass(name: str) -> None:
    check_class_name(name)


@pytest.mark.parametrize("letter", [*'<>:"/\\|?*', "\x00", "\x1f", "\n", "\t", "\x7f"])
def test_letters_that_no_folder_may_have_are_named(letter: str) -> None:
    offered = "a-b" if letter.isprintable() else "ab"
    said = refusal(f"a{letter}b")
    assert f"holds {letter!r}" in said and f"Call the class {offered!r}" in said


@pytest.mark.parametrize("name", ["a b", "a'b", "a!b", "a~b", "a%b", "a(b)", "a,b;c=d+e&f#g@h"])
def test_other_signs_pass(name: str) -> None:
    check_class_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"), ("  ", "is empty"), (" a", "begins or ends with a space"),
        ("a ", "begins or ends with a space"),
        (".a", "begins with a dot, which hides a folder"),
        ("..", "begins with a dot"), ("a.", "ends with a dot, which Windows drops"),
        ("a" * 121, "is longer than 120 bytes"), ("é" * 60 + "a", "is longer than 120 bytes"),
        ("日" * 41, "is longer than 120 bytes"),
        ("a\u200bb", "holds an invisible or broken character"),
        ("a\ufeffb", "holds an invisible or broken character"),
        ("a\x80b", "holds an invisible or broken character"),
        ("a\ud800b", "holds an invisible or broken character"),
    ],
)  # fmt: skip
def test_each_rule_has_its_words(name: str, why: str) -> None:
    assert why in refusal(name)


@pytest.mark.parametrize(
    "name", ["a" * 120, "é" * 60, "日" * 40, "a.b", "a. b", "a\u200cb", "a\u200db", "-a", "a-"]
)
def test_names_at_the_border_of_a_rule_pass(name: str) -> None:
    check_class_name(name)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("", "class-"), ("...", "class-"), ("CON", "class-CON"), ("lpt1.x", "class-lpt1.x"),
        ("a/b", "a-b"), ("a\u202eb", "ab"), ("x" * 200, "x" * 40), (" cat. ", "cat"),
        ("x" * 39 + "." + "y" * 99, "x" * 39),
    ],
)  # fmt: skip
def test_the_name_that_is_offered_is_near_the_one_that_was_given(name: str, offered: str) -> None:
    said = refusal(name)
    assert said.endswith(f"Call the class {offered!r}, for instance.")


# Of letters of up to three bytes, and of spaces the usual one.
PLAIN = st.characters(
    max_codepoint=0xFFFF, exclude_categories=("Zs", "Zl", "Zp"), include_characters=" "
)


@given(st.text(PLAIN, max_size=150))
def test_whatever_is_offered_can_be_used(name: str) -> None:
    try:
        check_class_name(name)
    except ConfigError:
        refusal(name)


# Prompts, further words and templates


def test_further_words_follow_the_prompts_and_keep_the_order_of_classes() -> None:
    ontology = build_ontology(
        {"a cat": "cat", "a dog": "dog"},
        describe={"dog": ["a puppy", " a hound "], "cat": ["a kitten"]},
    )
    assert ontology.prompts == ("a cat", "a dog", "a puppy", "a hound", "a kitten")
    assert ontology.prompt_classes == (0, 1, 1, 1, 0)
    assert ontology.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("describe", "says"),
    [
        ({"cow": ["a calf"]}, "`describe` names the class 'cow', which no prompt"),
        ({"cat": ["a dog"]}, "The prompt 'a dog' stands in the ontology twice"),
        ({"cat": [" a cat"]}, "The prompt 'a cat' stands in the ontology twice"),
        ({"cat": [" "]}, "A prompt of the class 'cat' is empty"),
    ],
)
def test_further_words_are_checked_like_prompts(describe: dict[str, list[str]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_ontology({"a cat": "cat", "a dog": "dog"}, describe=describe)


@pytest.mark.parametrize(
    ("name", "templates"),
    [
        ("none", ("{}",)),
        ("photo", ("a photo of {}.",)),
        ("openai7", (
            "itap of a {}.", "a bad photo of the {}.", "a origami {}.",
            "a photo of the large {}.", "a {} in a video game.", "art of the {}.",
            "a photo of the small {}.",
        )),
    ],
)  # fmt: skip
def test_templates_that_have_a_name_are_these(name: str, templates: tuple[str, ...]) -> None:
    assert build_ontology({"a": "a", "b": "b"}, name).templates == templates


def test_a_teacher_is_asked_every_prompt_in_every_template_prompt_by_prompt() -> None:
    ontology = build_ontology({"cat": "cat", "dog": "dog"}, ["a {}", "the {}"])
    assert ontology.sentences == ["a cat", "the cat", "a dog", "the dog"]


def test_prompts_classes_and_templates_are_spelled_in_one_way() -> None:
    ontology = build_ontology(
        {" cafe\u0301 ": "cafe\u0301", "bar": "bar", "x": "other"},
        ["le\u0301 {}"], background="other", keep_background=False,
        describe={"bar": ["pu\u0301b"]},
    )  # fmt: skip
    assert ontology.prompts == ("caf\u00e9", "bar", "x", "p\u00fab")
    assert ontology.templates == ("l\u00e9 {}",)
    assert ontology.dataset_classes == ("caf\u00e9", "bar")


def test_a_background_in_another_spelling_of_its_letters_is_found() -> None:
    ontology = build_ontology({"a": "caf\u00e9", "b": "b"}, background="cafe\u0301")
    assert ontology.background == "caf\u00e9"


def test_without_the_background_two_classes_must_be_left() -> None:
    two = {"a": "a", "x": "x"}
    assert build_ontology(two, background="x").dataset_classes == ("a", "x")
    three = {"x": "x", "a": "a", "b": "b"}
    left = build_ontology(three, background="x", keep_background=False)
    assert left.dataset_classes == ("a", "b") and left.keep_background is False
    with pytest.raises(ConfigError, match="only one class is left for the student"):
        build_ontology(two, background="x", keep_background=False)


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("ﬁsh", "fish"), ("①", "1"), ("ß", "SS")])
def test_classes_that_would_share_a_folder_are_named_both(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_ontology({"a": pair[0], "b": pair[1]})
    assert str(caught.value).startswith(f"The classes {pair[0]!r} and {pair[1]!r} differ only")


def test_an_ontology_takes_no_class_that_cannot_be_a_folder() -> None:
    with pytest.raises(ConfigError, match="The class name 'a/b' holds '/'"):
        build_ontology({"a": "a/b", "b": "b"})
    with pytest.raises(ConfigError, match="The class name 'c ' begins or ends with a space"):
        build_ontology({"a": "a", "b": "c "})


@pytest.mark.parametrize("name", ["a\u3000", "\u3000a", "😀" * 41, "é" * 200, "a/" * 80])
def test_what_is_suggested_can_be_used(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_class_name(name)
    suggested = re.search(r"Call the class '(.*)', for instance", str(caught.value))
    assert suggested is not None
    check_class_name(suggested[1])


# Examples, and how answers count


def test_classes_of_examples_come_after_those_of_prompts() -> None:
    ontology = build_ontology(
        {"a cat": "cat", "a dog": "dog", "a kitten": "cat"}, examples=["defect", "dog", "x"]
    )
    assert ontology.classes == ("cat", "dog", "defect", "x")
    assert ontology.examples == ("dog", "defect", "x")
    assert ontology.worded == (True, True, False, False)
    assert ontology.answers == (
        "a cat", "a dog", "a kitten", "examples of defect", "examples of x",
    )  # fmt: skip
    assert ontology.answer_classes == (0, 1, 0, 2, 3)
    assert ontology.answer_weights is None


def test_examples_alone_are_an_ontology_and_may_be_the_background() -> None:
    ontology = build_ontology({}, examples=["a", "b", "rest"], background="rest")
    assert ontology.prompts == () and ontology.sentences == []
    assert ontology.background == "rest" and ontology.dataset_classes == ("a", "b", "rest")
    with pytest.raises(ConfigError, match="one class only"):
        build_ontology({}, examples=["a"])
    with pytest.raises(ConfigError, match="twice"):
        build_ontology({}, examples=["caf\u00e9", "cafe\u0301"])
    assert build_ontology({"a": "caf\u00e9", "b": "b"}, examples=["cafe\u0301"]).examples == (
        "caf\u00e9",
    )


def test_averaged_prompts_and_declared_shares_are_weights_of_answers() -> None:
    prompts = {"a": "x", "b": "x", "c": "y", "d": "x"}
    mean = build_ontology(prompts, combine="mean", examples=["z"]).answer_weights
    assert mean is not None and mean.tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3, 1])
    # A share stands in the place of what the number of prompts would give: it is no further factor.
    prior = build_ontology(prompts, prior={"x": 0.6}, examples=["z"])
    assert prior.prior == pytest.approx((0.6, 0.2, 0.2))
    assert prior.answer_weights is not None
    assert prior.answer_weights.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    ("prior", "says"),
    [
        ({"x": 0.7, "y": 0.4}, "sum to 1.1"),
        ({"x": 0.7, "y": 0.2, "z": 0.05}, "sum to 0.95"),
        ({"x": 0.7, "y": 0.3}, "leaves nothing for 'z'"),
        ({"x": 1.0}, "leaves nothing for 'y'"),
        ({"w": 0.5}, "names the class 'w', which the ontology does not have. Use one of: x, y, z"),
    ],
)
def test_shares_that_are_none_are_refused(prior: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_ontology({"a": "x", "b": "y", "c": "z"}, prior=prior)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
def test_shares_always_sum_to_one(given_shares: list[float]) -> None:
    names = ["a", "b", "c", "d", "e"]
    total = sum(given_shares) * 1.1
    prior = {name: share / total for name, share in zip(names, given_shares, strict=False)}
    ontology = build_ontology({name: name for name in names}, prior=prior)
    assert sum(ontology.prior) == pytest.approx(1) and min(ontology.prior) > 0
    assert ontology.prior[0] == pytest.approx(prior["a"])


def test_the_declared_shares_of_some_classes_are_scaled(tmp_path: Path) -> None:
    known = {
        "source": "x", "ontology": {"a": "x", "b": "y", "c": "z"}, "label": {"prior": {"x": 0.5}},
    }  # fmt: skip
    config = parse_config(known, tmp_path / "run.yaml")
    assert declared_prior(config, ("x", "y", "z")) == pytest.approx([0.5, 0.25, 0.25])
    assert declared_prior(config, ("z", "x")) == pytest.approx([1 / 3, 2 / 3])
    del known["label"]
    assert declared_prior(parse_config(known, tmp_path / "run.yaml"), ("x", "y")) is None
