from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.ontology import build_ontology, check_class_name


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
