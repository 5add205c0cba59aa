"""clip2yolo behind autodistill's interfaces, for notebooks that were written for autodistill.

from pipeline.autodistill import CLIP, YOLOv8     # instead of autodistill_clip, autodistill_yolov8

base = CLIP(ontology=CaptionOntology({"a photo of a dog": "dog", "a photo of a cat": "cat"}))
base.label("./photos", extension=".jpeg", output_folder="./dataset")
target = YOLOv8("yolov8n-cls.pt")
target.train("./dataset", epochs=30)
target.predict("./photo.jpeg")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from autodistill.classification import ClassificationBaseModel, ClassificationTargetModel
from autodistill.detection import CaptionOntology
from PIL import Image

from pipeline.config import DatasetConfig, StudentConfig, TeacherConfig
from pipeline.dataset.export import export_dataset
from pipeline.dataset.plan import plan_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.images.scan import describe, scan, with_failures
from pipeline.images.sources import find_images
from pipeline.labels.decide import label_table
from pipeline.ontology import build_ontology
from pipeline.pixels import MAX_PIXELS, eight_bits, read_bytes, upright_rgb
from pipeline.records import SPLITS, Predictor
from pipeline.student import Student, TrainResult, train
from pipeline.teachers.panel import ask, load_panel
from pipeline.terminal import TerminalListener

ImageInput = str | os.PathLike[str] | Image.Image | np.ndarray


class CLIP(ClassificationBaseModel):  # type: ignore[misc]
    """A teacher of clip2yolo as a base model of autodistill; `label` asks in batches, with a cache.

    Args:
        ontology: prompt → class; several prompts may lead to one class.
        model: as `teacher.model` in a config: a name that `clip2yolo teachers` lists, one of
            open_clip's, or `local-dir:folder`.
        settings: any further key of `teacher`, as `pretrained`, `device`, `batch` or `kind`.

    Raises:
        ConfigError, TeacherError: the ontology or the teacher cannot be used.
    """

    def __init__(
        self, ontology: CaptionOntology, model: str = "clip-vit-b-32", **settings: Any
    ) -> None:
        self.ontology = ontology
        prompts = dict(zip(ontology.prompts(), ontology.classes(), strict=True))
        self._ontology = build_ontology(prompts)
        teacher = TeacherConfig(model=model, **settings)
        self._panel = load_panel([teacher], self._ontology, self._ontology.classes)

    def predict(self, input: ImageInput) -> sv.Classifications:
        """Return the probability of every prompt, ids in prompt order, as autodistill-clip does.

        Args:
            input: a path, a PIL image, or a grey or BGR array as OpenCV reads it.

        Raises:
            SourceError: the picture cannot be read.
        """
        asked = self._panel.members[0].zero_shot
        shares = asked.by_prompt(asked.teacher.embed_images([_read(asked, input)]))[0]
        return sv.Classifications(class_id=np.arange(len(shares)), confidence=shares)

    def label(
        self, input_folder: str, extension: str = "", output_folder: str | None = None
    ) -> sv.ClassificationDataset:
        """Label a folder and write it as `train/`, `valid/` and `test/` with a folder per class.

        Every picture below the folder is labeled, whatever its suffix, unless `extension` asks for
        one; every picture gets a label, as autodistill does. Splits are stable and keep
        near-duplicates together; files are linked or copied, never re-encoded.

        Args:
            input_folder: searched to the bottom.
            extension: as ".jpg", in any case; all that can be read by default.
            output_folder: `<input_folder>_labeled` by default; must not hold anything yet.

        Returns:
            All labeled pictures; class ids are indices into its `classes`.

        Raises:
            SourceError: there is nothing to label, or the output folder is not empty.
        """
        output = Path(output_folder or f"{input_folder.rstrip('/')}_labeled").absolute()
        if output.exists() and any(output.iterdir()):
            raise SourceError(f"{output} holds files already. Name another `output_folder`.")
        paths = find_images([Path(input_folder).absolute()])
        paths = [path for path in paths if path.lower().endswith(extension.lower())]
        listener = TerminalListener()
        with listener.bar("Scanning", "files") as progress:
            images = scan(paths, progress=progress)
        usable = images.filter(images["status"] == "ok")
        asked = ask(self._panel, usable, MAX_PIXELS, listener)
        listener.say(describe(with_failures(images, asked.failures)))
        if asked.ids.is_empty():
            raise SourceError(f"There is no readable image{extension} in {input_folder}.")
        kept = usable.filter(~usable["id"].is_in(list(asked.failures)))
        labels = label_table(
            kept["id"].to_list(),
            kept["path"].to_list(),
            asked.answers().together,
            self._ontology,
            min_confidence=0.0,
            min_margin=0.0,
        )
        classes = self._ontology.classes
        vectors = asked.vectors(labels["id"].to_list())
        export_dataset(plan_dataset(labels, vectors, DatasetConfig()), classes, output)
        answers = {
            path: sv.Classifications(
                class_id=np.array([classes.index(guess)]), confidence=np.array([share], np.float32)
            )
            for path, guess, share in labels.select("path", "guess", "confidence").iter_rows()
        }
        return sv.ClassificationDataset(list(classes), list(answers), answers)


class YOLOv8(ClassificationTargetModel):  # type: ignore[misc]
    """A student of clip2yolo as a target model of autodistill.

    Args:
        model: a `*-cls` model to start from (`yolov8n-cls.pt`, `yolov8n-cls.yaml`, a path), or the
            `student/` folder of a training, to predict with.
    """

    def __init__(self, model: str = "yolov8n-cls.pt") -> None:
        self._model = model
        self._student: Student | None = None
        if Path(model).is_dir():
            self._student = Student.load(Path(model))

    def train(
        self, dataset: str, epochs: int = 30, output: str = "runs/student", **settings: Any
    ) -> TrainResult:
        """Train on a folder dataset with `train/`, `valid/` and `test/`.

        Args:
            dataset: the folder; a path to a file in it, such as a data.yaml, means its folder.
            epochs: how often every picture is seen.
            output: folder for the student.
            settings: any further key of `student` in a config, as `imgsz` or `batch`.

        Raises:
            StudentError: a split is missing, or the training failed.
        """
        folder = Path(dataset).absolute()
        folder = folder.parent if folder.is_file() else folder
        classes = _classes_of(folder)
        config = StudentConfig(model=self._model, epochs=epochs, **settings)
        listener = TerminalListener()
        out = Path(output).absolute()
        result = train(folder, out, config, classes, on_epoch=listener.epoch)
        self._student = Student.load(out)
        return result

    def predict(self, input: ImageInput, confidence: float = 0.5) -> sv.Classifications:
        """Return the classes of at least this probability, the most probable first.

        Raises:
            ConfigError: it has not been trained.
            SourceError: the picture cannot be read.
        """
        if self._student is None:
            raise ConfigError("This student has not been trained yet. Call `train` first.")
        shares = self._student.predict([_read(self._student, input)])[0]
        order = [one for one in np.argsort(-shares).tolist() if shares[one] >= confidence]
        return sv.Classifications(class_id=np.array(order, int), confidence=shares[order])

    @property
    def classes(self) -> Sequence[str]:
        """The class of each id."""
        return () if self._student is None else self._student.classes


def _read(predictor: Predictor, given: ImageInput) -> Any:
    """What the predictor takes of a file, or of a picture in memory as if it lay in one."""
    if isinstance(given, np.ndarray):
        given = _from_array(given)
    if isinstance(given, Image.Image):
        return predictor.prepare(upright_rgb(given))
    return predictor.read(read_bytes(Path(given)), MAX_PIXELS)


def _from_array(array: np.ndarray) -> Image.Image:
    """A grey array (H, W) or (H, W, 1), or a BGR(A) one, as OpenCV has them."""
    known = array.dtype in (bool, np.uint8, np.uint16) or array.dtype.kind == "f"
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not known:
        raise SourceError(
            f"An array of shape {array.shape} and type {array.dtype} is no picture. Give (H, W), "
            "(H, W, 3) or (H, W, 4) in 8 or 16 bits, or floats."
        )
    pixels = eight_bits(array)
    if channels == 1:
        return Image.fromarray(np.ascontiguousarray(pixels.reshape(array.shape[:2])))
    return Image.fromarray(np.ascontiguousarray(pixels[..., [2, 1, 0, 3][:channels]]))


def _classes_of(folder: Path) -> list[str]:
    found: Mapping[str, list[str]] = {
        split: sorted(path.name for path in (folder / split).glob("*") if path.is_dir())
        for split in SPLITS
    }
    if not found["train"]:
        raise SourceError(f"{folder} has no train/<class>/ folders. Label into it first.")
    return found["train"]
