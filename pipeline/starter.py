"""The config that `clip2yolo init` writes: complete, commented, ready to run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.files import write_text
from pipeline.ontology import build_ontology

_TEMPLATE = """\
# {title}
#   clip2yolo run --config {name}

source: {source}   # folder, glob, image, video or manifest (CSV or Parquet with a `path` column)
# truth: labeled/            # optional: images you labeled, as <class>/… folders or a CSV;
                             # only evaluation reads them, never training

# What the teacher is asked: prompt -> class. Several prompts may share one class.
ontology:
{ontology}
{background}
# templates: photo          # none, photo, openai7, or a list such as ["a photo of {{}}", "a {{}}"]

teacher: {teacher}

label:
  min_confidence: 0.5        # below it the image is left out and listed in review.csv
  min_margin: 0.0            # lead over the runner-up that a label needs
  refine: auto               # let all images together correct the labels where the evidence says
                             # so; always, or none: each image alone, by the words
  # reject: auto             # abstain on images that fit no class; or a limit such as 0.9

student:
  model: {student}
  imgsz: 224
  epochs: 30

workspace: {workspace}       # everything the run writes goes here
"""

TEACHERS = {
    "clip": "clip-vit-b-32   # downloads 600 MB once; `clip2yolo teachers` lists others",
    "pocket": "pocket   # comes with clip2yolo; knows few words",
}


def starter_config(
    images: Path, classes: Sequence[str], file: Path, *, teacher: str, background: str | None
) -> str:
    """Return the text of a config.

    Args:
        images: what to label.
        classes: names, in the order they shall have.
        file: where the config will lie; paths in it are made relative to it.
        teacher: a key of `TEACHERS`.
        background: name of a class for everything else, kept out of the dataset; None for none.

    Raises:
        ConfigError: the images are not there, or a class name cannot be used.
    """
    if not images.exists() and not any(letter in str(images) for letter in "*?["):
        raise ConfigError(f"{images} does not exist. `--images` names the photos to label.")
    prompts = {f"a photo of {_with_article(name)}": name for name in classes}
    if len(prompts) < len(classes):
        raise ConfigError("A class is named twice in `--classes`. Name each once.")
    if background:
        prompts |= {"a photo of something else": background, "an empty scene": background}
    build_ontology(prompts, background=background, keep_background=background is None)
    return _TEMPLATE.format(
        title=f"{', '.join(classes)} from {images.name or images}",
        name=file.name,
        source=_quoted(_relative(images, file.parent)),
        ontology="\n".join(f"  {_quoted(key)}: {_quoted(name)}" for key, name in prompts.items()),
        background=(
            f"background: {{class: {_quoted(background)}, keep: false}}   # left out of the dataset"
            if background
            else '# background: {class: "other", keep: false}   # recognized, but left out'
        ),
        teacher=TEACHERS[teacher],
        student=(
            "yolov8n-cls.pt      # pretrained; downloads 5 MB once. yolov8n-cls.yaml: from scratch"
            if teacher != "pocket"
            else "yolov8n-cls.yaml    # from scratch; yolov8n-cls.pt starts pretrained (a download)"
        ),
        workspace=_quoted(f"runs/{file.stem}"),
    )


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
