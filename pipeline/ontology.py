"""The ontology: the prompts and examples of each class, in which order, in which words."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.class_names import check_class_name, refuse_look_alikes
from pipeline.config import Config
from pipeline.errors import ConfigError

# Named lists of templates, for `templates:` in the config. "openai7" is the subset of its 80 that
# OpenAI found best for ImageNet (notebook "Prompt Engineering for ImageNet" of openai/CLIP).
TEMPLATES: dict[str, tuple[str, ...]] = {
    "none": ("{}",),
    "photo": ("a photo of {}.",),
    "openai7": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
}


_ROUNDED = 1e-6  # by how much shares may miss their sum


@dataclass(frozen=True)
class Ontology:
    """Prompts, the class of each, and the classes in their fixed order: those of prompts by first
    mention, then those that have examples only."""

    prompts: tuple[str, ...]
    prompt_classes: tuple[int, ...]  # index into `classes`, one per prompt
    classes: tuple[str, ...]
    templates: tuple[str, ...] = ("{}",)
    background: str | None = None
    keep_background: bool = True
    examples: tuple[str, ...] = ()  # the classes that have example images, in class order
    combine: Literal["sum", "mean"] = "sum"  # how a class's prompts become its probability
    prior: tuple[float, ...] = ()  # share of each class, where that is declared; they sum to 1

    @property
    def worded(self) -> tuple[bool, ...]:
        """Whether a prompt leads to each class."""
        led_to = set(self.prompt_classes)
        return tuple(number in led_to for number in range(len(self.classes)))

    @property
    def answers(self) -> tuple[str, ...]:
        """What an image may show: every prompt, then the examples of each class without words."""
        wordless = self.answer_classes[len(self.prompts) :]
        return (*self.prompts, *(f"examples of {self.classes[number]}" for number in wordless))

    @property
    def answer_classes(self) -> tuple[int, ...]:
        """The class of each answer: an index into `classes`."""
        wordless = (number for number, worded in enumerate(self.worded) if not worded)
        return (*self.prompt_classes, *wordless)

    @property
    def answer_weights(self) -> np.ndarray | None:
        """What the probability of each answer is multiplied by, (answers,), before all are scaled
        to sum to 1; None where they stay as they are.

        With `combine: mean` an answer counts by one over the number of its class's, which averages
        what the prompts of a class say (the logarithm of the mean of exponentials, not the mean of
        logits: a prompt that fits is enough). A declared prior stands in the place of the shares
        that the numbers of prompts would give, so it averages, too.
        """
        if self.combine == "sum" and not self.prior:
            return None
        of = np.array(self.answer_classes)
        each = 1 / np.bincount(of, minlength=len(self.classes))
        shares = np.array(self.prior) if self.prior else np.ones(len(self.classes))
        weights: np.ndarray = (each * shares)[of]
        return weights

    @property
    def dataset_classes(self) -> tuple[str, ...]:
        """The classes that the dataset and the student know, in class order."""
        if self.keep_background:
            return self.classes
        return tuple(name for name in self.classes if name != self.background)

    def texts(self, prompt: str) -> list[str]:
        """The prompt in every template."""
        return [template.replace("{}", prompt) for template in self.templates]

    @property
    def sentences(self) -> list[str]:
        """Every prompt in every template: what a teacher is asked, prompt by prompt."""
        return [text for prompt in self.prompts for text in self.texts(prompt)]


def build_ontology(
    prompts: Mapping[str, str],
    templates: Sequence[str] | str = "none",
    background: str | None = None,
    keep_background: bool = True,
    describe: Mapping[str, Sequence[str]] | None = None,
    examples: Sequence[str] = (),
    combine: Literal["sum", "mean"] = "sum",
    prior: Mapping[str, float] | None = None,
) -> Ontology:
    """Check prompts and class names and fix their order.

    Text is brought to Unicode NFC, so that two spellings of one letter are one letter.

    Args:
        prompts: prompt → class, in the order that the classes shall have.
        templates: sentences with one `{}` for the prompt, whose vectors are averaged; or a name
            in `TEMPLATES`.
        background: the class that stands for "something else", if there is one.
        keep_background: whether the dataset keeps it as a class.
        describe: class → further prompts of it, beside those of `prompts`.
        examples: classes that have example images; a class may have nothing else.
        combine: whether the probabilities of a class's prompts are summed or averaged.
        prior: class → its share of the images; what is left of 1 is shared by the others.

    Raises:
        ConfigError: there is nothing to choose between, or a name or prompt cannot be used.
    """
    if not prompts and not examples:
        raise ConfigError(
            "The ontology is empty. Give it one line per prompt: `a photo of a dog: dog`."
        )
    if isinstance(templates, str):
        templates = TEMPLATES[templates]
    clean_prompts, prompt_classes, worded = _gathered(prompts, describe or {})
    shown = _shown(examples)
    classes = (*worded, *(name for name in shown if name not in worded))
    refuse_look_alikes(classes)
    if background is not None:
        background = unicodedata.normalize("NFC", background)
        if background not in classes:
            raise ConfigError(
                f"The background class {background!r} has no prompt. Add at least one line "
                f"`<what it looks like>: {background}` to the ontology, or `examples` of it."
            )
    if len(classes) < 2:
        raise ConfigError(
            f"The ontology has one class only ({classes[0]!r}), so every image would get it. Add "
            "another class, or prompts for a background class such as `something else`."
        )
    if not keep_background and len(classes) < 3:
        raise ConfigError(
            f"Without the background class {background!r} only one class is left for the student. "
            "Add another class or set `background.keep: true`."
        )
    for template in templates:
        if template.count("{}") != 1:
            raise ConfigError(
                f"The template {template!r} must hold `{{}}` once, where the prompt goes."
            )
    if not templates:
        raise ConfigError("`templates` is empty. Remove it, or give at least `'{}'`.")
    return Ontology(
        prompts=tuple(clean_prompts),
        prompt_classes=tuple(prompt_classes),
        classes=classes,
        templates=tuple(unicodedata.normalize("NFC", template) for template in templates),
        background=background,
        keep_background=keep_background,
        examples=tuple(name for name in classes if name in shown),
        combine=combine,
        prior=_whole_prior(prior or {}, classes),
    )


def _shown(examples: Sequence[str]) -> list[str]:
    """The classes that have examples, spelled as names are here."""
    names: list[str] = []
    for raw_class in examples:
        name = unicodedata.normalize("NFC", raw_class)
        check_class_name(name)
        if name in names:
            raise ConfigError(f"The class {name!r} stands in `examples` twice. Keep one.")
        names.append(name)
    return names


def _whole_prior(declared: Mapping[str, float], classes: Sequence[str]) -> tuple[float, ...]:
    """The share of every class; () where none is declared."""
    if not declared:
        return ()
    given = {unicodedata.normalize("NFC", name): share for name, share in declared.items()}
    for name in given:
        if name not in classes:
            raise ConfigError(
                f"`label.prior` names the class {name!r}, which the ontology does not have. Use "
                f"one of: {', '.join(classes)}."
            )
    total = sum(given.values())
    others = [name for name in classes if name not in given]
    if total > 1 + _ROUNDED or (not others and total < 1 - _ROUNDED):
        raise ConfigError(
            f"The shares in `label.prior` sum to {total:g}. They are parts of all images: make "
            "them sum to 1."
        )
    if others and total > 1 - _ROUNDED:
        raise ConfigError(
            f"The shares in `label.prior` sum to {total:g}, which leaves nothing for "
            f"{others[0]!r}. Lower one of them, or give {others[0]!r} a share."
        )
    left = (1 - total) / len(others) if others else 0.0
    shares = [given.get(name, left) for name in classes]
    return tuple(share / sum(shares) for share in shares)


def declared_prior(config: Config, classes: Sequence[str]) -> np.ndarray | None:
    """Return the declared shares (classes,) float64 of some classes of a config's ontology, scaled
    to sum to 1; None where the config declares none.

    Raises:
        ConfigError: the ontology or the prior cannot be used.
    """
    ontology = ontology_of(config)
    if not ontology.prior:
        return None
    shares = np.array([ontology.prior[ontology.classes.index(name)] for name in classes])
    return shares / shares.sum()  # type: ignore[no-any-return]


def _gathered(
    prompts: Mapping[str, str], describe: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[int], tuple[str, ...]]:
    """All prompts, the index of each one's class, and the classes, the first mentioned first."""
    for name in describe:
        if name not in prompts.values():
            raise ConfigError(
                f"`describe` names the class {name!r}, which no prompt of the ontology leads to. "
                f"Add a prompt for it, or correct the name."
            )
    further = [(text, name) for name, texts in describe.items() for text in texts]
    seen: dict[str, int] = {}
    clean_prompts: list[str] = []
    prompt_classes: list[int] = []
    for raw_prompt, raw_class in [*prompts.items(), *further]:
        prompt = unicodedata.normalize("NFC", raw_prompt).strip()
        name = unicodedata.normalize("NFC", raw_class)
        if not prompt:
            raise ConfigError(f"A prompt of the class {name!r} is empty. Write what it looks like.")
        if prompt in clean_prompts:
            raise ConfigError(f"The prompt {prompt!r} stands in the ontology twice. Keep one.")
        check_class_name(name)
        clean_prompts.append(prompt)
        prompt_classes.append(seen.setdefault(name, len(seen)))
    return clean_prompts, prompt_classes, tuple(seen)


def ontology_of(config: Config) -> Ontology:
    """Build the config's ontology (see `build_ontology` for what is refused)."""
    background = config.background
    return build_ontology(
        config.ontology,
        config.templates,
        None if background is None else background.name,
        True if background is None else background.keep,
        config.describe,
        list(config.examples),
        config.label.prompts,
        config.label.prior,
    )
