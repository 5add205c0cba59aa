"""The config that `clip2yolo init` writes: complete, commented, ready to run."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pipeline.errors import ConfigError, describe_os_error
from pipeline.files import write_text
from pipeline.ontology import build_ontology

_TEMPLATE = """\
# {title}
#   clip2yolo run --config {name}

source: {source}   # folder, glob, image, video or manifest (CSV or Parquet with a `path` column)
# truth: labeled/            # optional: images you labeled, as <class>/… folders or a CSV;
                             # only evaluation reads them, never training

{ontology}
{examples}
{background}
# templates: photo          # none, photo, openai7, or a list such as ["a photo of {{}}", "a {{}}"]

teacher: {teacher}

label:
  min_confidence: 0.5        # below it the image is left out and listed in review.csv
  min_margin: 0.0            # lead over the runner-up that a label needs
  refine: auto               # let all images together correct the labels where the evidence says
                             # so; always, or none: each image alone, by the words
  {space}
  # reject: auto             # abstain on images that fit no class; or a limit such as 0.9

student:
  model: {student}
  imgsz: 224
  epochs: 30                 # in each of two rounds at most; `rounds: 1` takes half the time

# export: [onnx, openvino]   # for devices, each proved to answer as the student does

workspace: {workspace}       # everything the run writes goes here
"""

_ONTOLOGY = """\
# What the teacher is asked: prompt -> class. Several prompts may share one class.
ontology:
"""
_NO_ONTOLOGY = """\
# ontology: {"a photo of a cat": "cat"}   # words help, too: prompt -> class"""
_EXAMPLES = """\
# What classes look like: class -> pictures (a folder, a glob, a file, or a list of these). A few of
# each are enough, and a class that has some needs no prompt.
examples:
"""
_NO_EXAMPLES = """\
# examples: {"cat": examples/cat/}   # pictures that show what a class looks like; five are a lot"""

_SPACE = """\
space: dinov2-small        # a second look at all images, without words; downloads 90 MB once.
                             # `clip2yolo teachers --spaces` lists others; none: words alone"""
_NO_SPACE = """\
# space: dinov2-small      # a second look at all images, without words: a download of 90 MB"""

TEACHERS = {
    "clip": "clip-vit-b-32   # downloads 600 MB once; `clip2yolo teachers` lists others",
    "pocket": "pocket   # comes with clip2yolo; knows few words",
}


def starter_config(
    images: Path,
    classes: Sequence[str],
    file: Path,
    *,
    teacher: str,
    background: str | None,
    examples: Path | None = None,
    prompts: bool = True,
) -> str:
    """Return the text of a config.

    Args:
        images: what to label.
        classes: names, in the order they shall have.
        file: where the config will lie; paths in it are made relative to it.
        teacher: a key of `TEACHERS`.
        background: name of a class for everything else, kept out of the dataset; None for none.
        examples: a folder of folders, each with pictures of the class that it is named after.
            These classes come after those of `classes`, by name.
        prompts: whether a class that has examples gets a prompt, too, if its name is made of words.

    Raises:
        ConfigError: the images or the examples are not there, or a class name cannot be used.
    """
    if not images.exists() and not any(letter in str(images) for letter in "*?["):
        raise ConfigError(f"{images} does not exist. `--images` names the photos to label.")
    shown = {} if examples is None else _labeled_folders(examples)
    names = [*classes, *(name for name in shown if name not in classes)]
    told = [name for name in names if name not in shown or (prompts and _is_of_words(name))]
    asked = prompts_of([name for name in told if name != background], shown)
    if background and (background not in shown or prompts):
        asked |= {"a photo of something else": background, "an empty scene": background}
    ontology = build_ontology(
        asked,
        background=background,
        keep_background=background is None,
        examples=list(shown),
    )
    named = [name for name in ontology.classes if name != background]
    return _TEMPLATE.format(
        title=f"{', '.join(named)} from {images.name or images}",
        name=file.name,
        source=_quoted(_relative(images, file.parent)),
        ontology=_ONTOLOGY + _lines(asked) if asked else _NO_ONTOLOGY,
        examples=(
            _EXAMPLES
            + _lines({name: _relative(folder, file.parent) for name, folder in shown.items()})
            if shown
            else _NO_EXAMPLES
        ),
        background=(
            f"background: {{class: {_quoted(background)}, keep: false}}   # left out of the dataset"
            if background
            else '# background: {class: "other", keep: false}   # recognized, but left out'
        ),
        teacher=TEACHERS[teacher],
        space=_NO_SPACE if teacher == "pocket" else _SPACE,
        student=(
            "yolov8n-cls.pt      # pretrained; downloads 5 MB once. yolov8n-cls.yaml: from scratch"
            if teacher != "pocket"
            else "yolov8n-cls.yaml    # from scratch; yolov8n-cls.pt starts pretrained (a download)"
        ),
        workspace=_quoted(f"runs/{file.stem}"),
    )


def prompts_of(classes: Sequence[str], folders: Collection[str] = ()) -> dict[str, str]:
    """Return a prompt for each class, prompt → class.

    Args:
        classes: their names.
        folders: those of them that are names of folders, and spelled so.

    Raises:
        ConfigError: a class is named twice, or two would have one prompt.
    """
    prompts: dict[str, str] = {}
    for name in classes:
        prompt = f"a photo of {_with_article(_as_words(name) if name in folders else name)}"
        other = prompts.get(prompt)
        if other == name:
            raise ConfigError("A class is named twice in `--classes`. Name each once.")
        if other is not None:
            raise ConfigError(
                f"The classes {other!r} and {name!r} would have one prompt, {prompt!r}. Rename one "
                "of them."
            )
        prompts[prompt] = name
    return prompts


def _labeled_folders(root: Path) -> dict[str, Path]:
    """The folders in a folder, by name: each is named after the class that its pictures show."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ConfigError(
            f"{root} {what}. `--examples` names a folder with a folder of pictures for each class."
        )
    try:
        found = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise ConfigError(describe_os_error(error)) from error
    folders: dict[str, Path] = {}
    for path in found:
        name = unicodedata.normalize("NFC", path.name)  # as classes are spelled
        if folders.setdefault(name, path) != path:
            raise ConfigError(f"{path} and {folders[name]} have one name. Rename one of them.")
    folders = {name: path for name, path in folders.items() if not name.startswith(".")}
    if not folders:
        raise ConfigError(
            f"{root} holds no folders. `--examples` names a folder with a folder of pictures for "
            "each class."
        )
    return folders


def _as_words(name: str) -> str:
    """The name of a folder as one would say it: `water_lily` is a water lily."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def _is_of_words(name: str) -> bool:
    """Say whether a teacher may know what a name means: not one of numbers or of single letters,
    such as `type B` or `class_01`."""
    words = _as_words(name).split()
    return bool(words) and all(
        word.isalpha() and (len(word) > 1 or not word.isascii()) for word in words
    )


def _lines(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"  {_quoted(key)}: {_quoted(value)}" for key, value in pairs.items())


def write_starter(file: Path, text: str, *, force: bool) -> None:
    """Write the config; an existing file is replaced only where that was asked for."""
    if file.exists() and not force:
        raise ConfigError(f"{file} exists already. Choose another `--output`, or add `--force`.")
    write_text(file, text)


def _relative(path: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(path.absolute(), base.absolute())).as_posix()
    except ValueError:  # another drive on Windows
        return path.absolute().as_posix()


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _quoted(text: str) -> str:
    """Text as a YAML scalar; JSON strings are YAML."""
    return json.dumps(text, ensure_ascii=False)
