"""A teacher behind autodistill's interface of base models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import supervision as sv
from autodistill.classification import ClassificationBaseModel
from autodistill.core.embedding_model import EmbeddingModel
from autodistill.core.embedding_ontology import EmbeddingOntology
from autodistill.detection import CaptionOntology

from pipeline.autodistill.folders import refuse_others_files, write_listing
from pipeline.autodistill.given import ImageInput, read_picture, settings_of
from pipeline.config import DatasetConfig, LabelConfig, TeacherConfig, with_model_paths
from pipeline.dataset.export import export_dataset
from pipeline.dataset.plan import plan_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.files import replacing
from pipeline.images.scan import describe, scan, with_failures
from pipeline.images.sources import find_images
from pipeline.labels.decide import label_table
from pipeline.labels.judge import each_alone
from pipeline.ontology import Ontology, build_ontology
from pipeline.pixels import MAX_PIXELS
from pipeline.teachers import load_teacher
from pipeline.teachers.base import Teacher
from pipeline.teachers.panel import Member, Panel, ask, prompt_warnings
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from pipeline.terminal import TerminalListener

# What autodistill's detectors take in `label` and its classifiers do not: what to do instead.
_OF_DETECTORS = {
    "sahi": "a classifier looks at whole pictures",
    "nms_settings": "a classifier finds no boxes that could overlap",
    "record_confidence": "the dataset that `label` returns holds each picture's confidence",
    "human_in_the_loop": "`clip2yolo upload` sends labels to Roboflow",
    "roboflow_project": "`clip2yolo upload` sends labels to Roboflow",
    "roboflow_tags": "`clip2yolo upload` sends labels to Roboflow",
}


class CLIP(ClassificationBaseModel, EmbeddingModel):  # type: ignore[misc]
    """A teacher of clip2yolo as a base model of autodistill; `label` asks in batches, with a cache.

    Args:
        ontology: prompt → class, where several prompts may lead to one class; or one of
            autodistill's ontologies of embeddings, class → pictures or vectors.
        model: as `teacher.model` in a config: a name that `clip2yolo teachers` lists, one of
            open_clip's, or `local-dir:folder`.
        settings: any further key of `teacher`, as `pretrained`, `device`, `batch` or `kind`.

    Raises:
        ConfigError, TeacherError: the ontology or the teacher cannot be used.
    """

    def __init__(
        self,
        ontology: CaptionOntology | EmbeddingOntology,
        model: str = "clip-vit-b-32",
        **settings: Any,
    ) -> None:
        named = with_model_paths({"model": model, **settings}, "teacher", Path.cwd())
        self._settings = settings_of(TeacherConfig, named)
        self._teacher: Teacher | None = None
        self.ontology = ontology

    @property
    def ontology(self) -> CaptionOntology | EmbeddingOntology:
        """What is asked. Another one may be set at any time, as `set_ontology` does."""
        return self._given

    @ontology.setter
    def ontology(self, given: CaptionOntology | EmbeddingOntology) -> None:
        embeddings = isinstance(given, EmbeddingOntology)
        asked = build_ontology(_names(given) if embeddings else _prompts(given))
        if self._teacher is None or not self._teacher.gives_vectors:
            self._teacher = load_teacher(self._settings, asked.sentences)
        teacher = self._teacher
        vectors = self._embedded(given, asked) if embeddings else embed_prompts(teacher, asked)
        member = Member(ZeroShot(teacher, asked, vectors, asked.classes), self._settings)
        self._given, self._ontology, self._panel = given, asked, Panel([member])
        self._cosines = embeddings
        for sentence in teacher.doubts if embeddings else prompt_warnings(self._panel, asked):
            TerminalListener().warn(sentence)

    def predict(self, input: ImageInput) -> sv.Classifications:
        """Return the probability of every prompt, ids in prompt order, as autodistill-clip does;
        for an ontology of embeddings, the cosine with every class's.

        Args:
            input: a path, an address, a PIL image, or a grey or BGR array as OpenCV reads it.

        Raises:
            SourceError: the picture cannot be read.
        """
        asked = self._panel.members[0].zero_shot
        vectors = asked.teacher.embed_images([read_picture(asked, input)])
        answers = (vectors @ asked.prompts.T if self._cosines else asked.by_prompt(vectors))[0]
        return sv.Classifications(class_id=np.arange(len(answers)), confidence=answers)

    def embed_image(self, input: ImageInput) -> np.ndarray:
        """Return the vector (1, dim) of a picture, float32, of length 1.

        Raises:
            ConfigError: the teacher gives no vectors.
            SourceError: the picture cannot be read.
        """
        teacher = self._with_vectors()
        return teacher.embed_images([read_picture(teacher, input)])

    def embed_text(self, input: str) -> np.ndarray:
        """Return the vector (1, dim) of a sentence, float32, of length 1.

        Raises:
            ConfigError: it is no sentence, it is too long, or the teacher gives no vectors.
        """
        if not isinstance(input, str):
            raise ConfigError(f"{type(input).__name__} is no sentence. Give one text at a time.")
        teacher = self._with_vectors()
        if overflow := teacher.context_overflow(input):
            raise ConfigError(f"{input!r} is {overflow} tokens too long for {teacher.name}.")
        return teacher.embed_texts([input])

    def label(
        self,
        input_folder: str | os.PathLike[str],
        extension: str = "",
        output_folder: str | os.PathLike[str] | None = None,
        **others: Any,
    ) -> sv.ClassificationDataset:
        """Label a folder and write it as `train/`, `valid/` and `test/` with a folder per class.

        Every picture below the folder is labeled, whatever its suffix, unless `extension` asks for
        one; every picture gets a label, as autodistill does, and each is looked at alone, where
        `clip2yolo label` refines labels by all pictures at once. Splits are stable and keep
        near-duplicates together; files are linked or copied, never re-encoded. What an earlier
        call wrote is replaced, so that the call can be repeated.

        Args:
            input_folder: searched to the bottom.
            extension: as ".jpg", in any case; all that can be read by default.
            output_folder: `<input_folder>_labeled` by default; must not hold any file but those
                that an earlier call wrote there.
            others: what autodistill's detectors take; refused unless empty.

        Returns:
            All labeled pictures; class ids are indices into its `classes`.

        Raises:
            ConfigError: an argument that has no meaning here.
            SourceError: there is nothing to label, or the output folder holds a person's files.
        """
        _refuse(others)
        source = Path(input_folder).expanduser().absolute()
        named = source.with_name(f"{source.name}_labeled") if output_folder is None else None
        output = named or Path(output_folder or "").expanduser().absolute()
        refuse_others_files(output)
        listener = TerminalListener()
        with listener.bar("Scanning", "files") as progress:
            images = scan(_found(source, extension, output), progress=progress)
        usable = images.filter(images["status"] == "ok")
        asked = ask(self._panel, usable, MAX_PIXELS, listener)
        listener.say(describe(with_failures(images, asked.failures)))
        if asked.ids.is_empty():
            raise SourceError(f"There is no readable image{extension} in {source}.")
        kept = usable.filter(~usable["id"].is_in(list(asked.failures)))
        # Each picture alone, as the original library does: the same picture gets the same class in
        # whatever folder it lies.
        plain = asked.answers().together
        nobody = np.full(len(plain), -1)
        settings = LabelConfig(min_confidence=0.0)
        verdicts = each_alone(plain, nobody, self._ontology.classes, settings, "")
        labels = label_table(kept["id"].to_list(), kept["path"].to_list(), verdicts)
        vectors = asked.vectors(labels["id"].to_list())
        plan = plan_dataset(labels, vectors, DatasetConfig())
        with replacing(output) as aside:
            export_dataset(plan, aside)
            write_listing(aside)
        return _as_dataset(labels, self._ontology.classes)

    def _with_vectors(self) -> Teacher:
        assert self._teacher is not None
        if not self._teacher.gives_vectors:
            raise ConfigError(
                f"{self._teacher.name} gives answers and no vectors. Name another `model`."
            )
        return self._teacher

    def _embedded(self, given: EmbeddingOntology, asked: Ontology) -> np.ndarray:
        """The unit vectors (classes, dim) float32 of an ontology of embeddings."""
        teacher = self._with_vectors()
        if not all(isinstance(one, np.ndarray) for one in dict(given.embeddingMap).values()):
            given.process(self)  # autodistill's: it embeds the pictures, and takes their mean
        found = []
        for name, vector in dict(given.embeddingMap).items():
            array = np.asarray(vector, np.float32).reshape(-1)
            length = np.linalg.norm(array)
            if array.shape != (teacher.dim,) or not 0 < length < np.inf:
                raise ConfigError(
                    f"The embedding of {name!r} is no vector of {teacher.name}. Make it with this "
                    f"model's `embed_image` or `embed_text`: {teacher.dim} numbers."
                )
            found.append(array / length)
        return np.stack(found)


def _prompts(given: CaptionOntology) -> dict[str, str]:
    """The prompt → class of an ontology of captions."""
    try:
        pairs = list(zip(given.prompts(), given.classes(), strict=True))
    except AttributeError:
        raise ConfigError(
            f"{type(given).__name__} is no ontology of autodistill. Give `CaptionOntology({{prompt:"
            " class}})`."
        ) from None
    for one in (text for pair in pairs for text in pair):
        if not isinstance(one, str):
            raise ConfigError(f"The ontology holds {one!r}. Prompts and classes must be text.")
    return dict(pairs)


def _names(given: EmbeddingOntology) -> dict[str, str]:
    """The classes of an ontology of embeddings, which holds a mapping, or pairs."""
    return {str(name): str(name) for name in dict(given.embeddingMap)}


def _refuse(others: Mapping[str, Any]) -> None:
    for name, value in others.items():
        if name not in _OF_DETECTORS:
            raise ConfigError(f"`label` takes no `{name}`. Check its spelling or remove it.")
        if value:
            raise ConfigError(f"`label` takes no `{name}`: {_OF_DETECTORS[name]}. Remove it.")


def _found(source: Path, extension: str, output: Path) -> list[str]:
    """The pictures to label: not those that an earlier call left in the output folder."""
    if not source.exists():
        raise SourceError(f"{source} does not exist. Correct `input_folder`.")
    if not isinstance(extension, str):
        raise ConfigError('`extension` is one suffix, as in ".jpg"; leave it out to take all.')
    pattern, place = f"*{extension.lower()}", output.resolve()
    return [
        path
        for path in find_images([source])
        if fnmatch(path.lower(), pattern) and not Path(path).resolve().is_relative_to(place)
    ]


def _as_dataset(labels: pl.DataFrame, classes: tuple[str, ...]) -> sv.ClassificationDataset:
    answers = {
        path: sv.Classifications(
            class_id=np.array([classes.index(guess)]), confidence=np.array([share], np.float32)
        )
        for path, guess, share in labels.select("path", "guess", "confidence").iter_rows()
    }
    return sv.ClassificationDataset(list(classes), list(answers), answers)
