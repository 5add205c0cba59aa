"""Any classification base model of autodistill, asked through its `predict`.

Such a model gives no vectors, only an answer to the prompts it was made with. That answer, as
logarithms, stands in the place of an image's vector, and each prompt's vector is its own axis: the
softmax that makes probabilities then returns the answer itself, and answers are cached like
vectors, keyed by image, teacher and list of prompts.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, TeacherError
from pipeline.files import expanded, fingerprint
from pipeline.imports import all_of_torch
from pipeline.pixels import READING
from pipeline.teachers.base import Teacher

_SMALLEST = 1e-12  # probability that stands for "not mentioned"


class AutodistillTeacher(Teacher):
    """A base model of autodistill."""

    gives_vectors = False
    logit_scale = 1.0

    def __init__(self, name: str, model: Any, sentences: Sequence[str], version: str) -> None:
        self.name = f"autodistill {name}"
        self._model = model
        self._sentences = list(sentences)
        self.dim = len(sentences)
        self.fingerprint = fingerprint("autodistill", READING, name, version, self._sentences)
        self.parameters = _parameters(model)
        self.device = "chosen by the model"

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the pixels, (H, W, 3) bytes."""
        return np.asarray(image)

    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return logarithms of probabilities (n, sentences) float32."""
        rows = []
        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as folder:
            # A path is the one input that every base model takes; PNG keeps the pixels.
            path = Path(folder) / "image.png"
            for pixels in batch:
                Image.fromarray(pixels).save(path, compress_level=1)
                rows.append(self._ask(path))
        logarithms: np.ndarray = np.log(np.maximum(np.stack(rows), _SMALLEST)).astype(np.float32)
        return logarithms

    def _ask(self, path: Path) -> np.ndarray:
        try:
            answer = self._model.predict(str(path))
            ids = np.asarray(answer.class_id, int)
            given = answer.confidence
            shares = np.ones(len(ids)) if given is None else np.asarray(given, float).ravel()
            found = np.zeros(self.dim)
            np.add.at(found, ids, shares)
        except (IndexError, AttributeError, TypeError, ValueError) as error:
            raise TeacherError(
                f"{self.name} answered with something else than a classification over its "
                f"{self.dim} prompts ({error}). Choose a classification base model."
            ) from error
        if not np.isfinite(found).all() or found.min(initial=0) < 0 or found.sum() == 0:
            raise TeacherError(f"{self.name} answered with numbers that are no probabilities.")
        shares_of_all: np.ndarray = found / found.sum()
        return shares_of_all

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the axis (n, sentences) of each sentence; only those it was made with have one."""
        return np.stack([np.eye(self.dim, dtype=np.float32)[self._index(text)] for text in texts])

    def _index(self, text: str) -> int:
        if text not in self._sentences:
            raise ConfigError(
                f"{self.name} was not made with the prompt {text!r}. It is asked whole lists only."
            )
        return self._sentences.index(text)


def load(settings: TeacherConfig, sentences: Sequence[str] = ()) -> AutodistillTeacher:
    """Make the base model `package.Class`, as `autodistill_clip.CLIP`, with all prompts.

    Raises:
        TeacherError: the package is not installed, or the model cannot be made.
        ConfigError: there is no such class, or no prompt to make it with.
    """
    from autodistill.detection import CaptionOntology

    module_name, _, class_name = settings.model.rpartition(".")
    if not module_name:
        raise ConfigError(
            f"`teacher.model` is {settings.model!r}. For `kind: autodistill` it must be a package "
            "and a class, as in `autodistill_clip.CLIP`."
        )
    if len(set(sentences)) < max(1, len(sentences)):
        raise ConfigError("Two prompts are the same once the template is filled in. Reword one.")
    if not sentences:
        raise ConfigError("A teacher of autodistill must be given its prompts when it is loaded.")
    all_of_torch()
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        package = module_name.split(".")[0].replace("_", "-")
        raise TeacherError(
            f"{settings.model} cannot be imported ({error}). Install it with "
            f"`pip install {package}` and run again."
        ) from error
    made = getattr(module, class_name, None)
    if made is None:
        raise ConfigError(f"The package {module_name} has no class {class_name!r}.")
    # autodistill's ontology wants classes; ids come back over prompts, which we map ourselves.
    ontology = CaptionOntology({text: text for text in sentences})
    try:
        with _no_installing():
            model = made(ontology=ontology)
    except TeacherError:
        raise
    except Exception as error:  # what strangers' constructors raise cannot be listed
        reason = " ".join(str(error).split())[:240]
        raise TeacherError(
            f"{settings.model} could not be made: {reason or type(error).__name__}. If it wants to "
            "download weights, load it once on a machine with internet and copy its cache here."
        ) from error
    return AutodistillTeacher(settings.model, model, sentences, _version(module_name))


@contextlib.contextmanager
def _no_installing() -> Iterator[None]:
    """Keep a constructor from running shell commands: autodistill-clip's (0.1.5) calls pip.

    A command through `os.system` is passed over, since such constructors ignore its outcome and go
    on with what is installed; one through `subprocess` is refused.
    """

    def pass_over(command: str) -> int:
        return 1

    class Refused(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
            words = args if isinstance(args, str) else " ".join(map(str, args))
            if "pip" in words:
                raise TeacherError(
                    f"The base model wants to run {words[:120]!r}, which clip2yolo does not allow. "
                    "Install what it needs yourself."
                )
            super().__init__(args, *rest, **options)

    marker = expanded(Path("~", ".cache", "autodistill", "clip"))
    was_there = marker.exists()
    system, popen = os.system, subprocess.Popen
    os.system, subprocess.Popen = pass_over, Refused  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        os.system, subprocess.Popen = system, popen  # type: ignore[misc]
        if not was_there and marker.is_dir() and not any(marker.iterdir()):
            marker.rmdir()  # it would tell autodistill-clip that the package had been fetched


def _version(module: str) -> str:
    package = module.split(".")[0].replace("_", "-")
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _parameters(model: Any) -> int:
    """Parameters of the torch modules among the model's attributes, each counted once."""
    parts = [part for part in vars(model).values() if callable(getattr(part, "parameters", None))]
    weights = {id(weight): weight.numel() for part in parts for weight in part.parameters()}
    return sum(weights.values())
