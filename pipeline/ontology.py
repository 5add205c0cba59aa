"""The ontology: which prompts stand for which class, in which order, in which words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.errors import ConfigError

# Device names that Windows keeps for itself, with any extension and in any case.
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{device}{digit}" for device in ("com", "lpt") for digit in "123456789¹²³"
}
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_MAX_NAME_BYTES = 120
# Joiners that Persian, Indic scripts and emoji are spelled with; other format characters only hide.
_JOINERS = "\u200c\u200d"


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


@dataclass(frozen=True)
class Ontology:
    """Prompts, the class of each, and the classes in their fixed order (first mention first)."""

    prompts: tuple[str, ...]
    prompt_classes: tuple[int, ...]  # index into `classes`, one per prompt
    classes: tuple[str, ...]
    templates: tuple[str, ...] = ("{}",)
    background: str | None = None
    keep_background: bool = True

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

    Raises:
        ConfigError: there is nothing to choose between, or a name or prompt cannot be used.
    """
    if not prompts:
        raise ConfigError(
            "The ontology is empty. Give it one line per prompt: `a photo of a dog: dog`."
        )
    if isinstance(templates, str):
        templates = TEMPLATES[templates]
    clean_prompts, prompt_classes, classes = _gathered(prompts, describe or {})
    _refuse_look_alikes(classes)
    if background is not None:
        background = unicodedata.normalize("NFC", background)
        if background not in classes:
            raise ConfigError(
                f"The background class {background!r} has no prompt. Add at least one line "
                f"`<what it looks like>: {background}` to the ontology."
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
    )


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


def check_class_name(name: str) -> None:
    """Refuse a name that is no folder name on some system people use.

    Raises:
        ConfigError: says which rule the name breaks and offers a name that works.
    """
    problem = None
    if not name.strip():
        problem = "is empty"
    elif name != name.strip():
        problem = "begins or ends with a space"
    elif _FORBIDDEN.search(name):
        problem = f"holds {_FORBIDDEN.search(name)[0]!r}"  # type: ignore[index]
    elif name.startswith("."):
        problem = "begins with a dot, which hides a folder"
    elif name.endswith("."):
        problem = "ends with a dot, which Windows drops"
    elif name.split(".")[0].casefold() in _RESERVED:
        problem = "is a device name on Windows"
    elif len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        problem = f"is longer than {_MAX_NAME_BYTES} bytes"
    elif any(_is_invisible(letter) for letter in name):
        problem = "holds an invisible or broken character"
    if problem:
        raise ConfigError(
            f"The class name {name!r} {problem}, so it cannot be a folder on every system. "
            f"Call the class {_suggest(name)!r}, for instance."
        )


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cs", "Cc", "Cf") and letter not in _JOINERS


def _suggest(name: str) -> str:
    """A name near the given one that passes `check_class_name`."""
    kept = "".join(letter for letter in name if not _is_invisible(letter))
    kept = _FORBIDDEN.sub("-", kept).strip()[:40].strip(" .-")
    # File systems count bytes: 40 letters of some scripts are more than a name may have.
    kept = kept.encode()[: _MAX_NAME_BYTES - 10].decode("utf-8", "ignore").strip().strip(" .-")
    return f"class-{kept}" if not kept or kept.split(".")[0].casefold() in _RESERVED else kept


def _refuse_look_alikes(classes: Sequence[str]) -> None:
    by_fold: dict[str, str] = {}
    for name in classes:
        other = by_fold.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            raise ConfigError(
                f"The classes {other!r} and {name!r} differ only in case or letter form and would "
                "share one folder on Windows and macOS. Use one spelling."
            )


def ontology_of(config: Config) -> Ontology:
    """Build the config's ontology (see `build_ontology` for what is refused)."""
    background = config.background
    return build_ontology(
        config.ontology,
        config.templates,
        None if background is None else background.name,
        True if background is None else background.keep,
        config.describe,
    )
