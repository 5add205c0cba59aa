"""Teachers of the transformers library: CLIP, AltCLIP, MetaCLIP, SigLIP, Chinese-CLIP and others.

Any model qualifies whose Auto class offers `get_image_features` and `get_text_features`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.config import TeacherConfig
from pipeline.errors import TeacherError
from pipeline.files import fingerprint
from pipeline.imports import all_of_torch
from pipeline.machine import out_of_memory, pick_device, streams_of
from pipeline.pixels import READING
from pipeline.teachers.base import Teacher
from pipeline.teachers.packed import WORTHWHILE, pack_where_faster
from pipeline.teachers.precision import DTYPES, lower, pick_precision
from pipeline.teachers.sentences import embed_sentences
from pipeline.teachers.towers import (
    dropped_words,
    in_batches,
    noise,
    text_identity,
    unit,
    weights_digest,
)

all_of_torch()
try:
    import transformers
except ImportError as error:
    raise TeacherError(
        "`kind: transformers` needs the library transformers, which is not installed. "
        "Install it with `pip install 'clip2yolo[transformers]'` and run again."
    ) from error

# How many positions at the end of the table are never reached: RoBERTa starts counting at 2.
_ROBERTA_OFFSET = 2


class TransformersTeacher(Teacher):
    """A two-tower model of transformers."""

    def __init__(
        self,
        name: str,
        model: Any,
        images: Any,
        tokenizer: Any,
        device: str,
        precision: str = "fp32",
    ) -> None:
        self.name = name
        self.device = device
        self.precision = precision
        self.streams = streams_of(device)
        self._model = model.eval().requires_grad_(False).to(device)
        self._images = images
        self._tokenizer = tokenizer
        self.logit_scale, self.logit_bias = _logits(model)
        self.parameters = sum(tensor.numel() for tensor in model.parameters())
        preprocessing = {k: v for k, v in images.to_dict().items() if "version" not in k}
        self.fingerprint = fingerprint(
            weights_digest(preprocessing, model, without=("text_", "logit_")), READING, precision
        )
        # SigLIP's text tower pools its last position, so it wants every sentence at full length.
        self._padding = "max_length" if "siglip" in model.config.model_type else True
        self._context = _context_length(model, tokenizer)
        self._dtype = DTYPES[precision]
        self._packed = False
        if precision != "fp32":
            for child, module in model.named_children():
                if not child.startswith("text_"):
                    lower(module, precision)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]  # it may be written, too
        """Of the vectors."""
        return int(embed_sentences(self, ["a"]).shape[1])

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return float32 (3, H, W): the model's own resize, crop and normalization."""
        pixels = self._images(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(pixels, np.float32)

    def get_ready(self, images: int, batch: int, compiling: str) -> None:
        """Pack the encoder's weights where so many images make it pay; nothing is compiled."""
        if images >= WORTHWHILE and not self._packed:
            pictures = [self.prepare(Image.fromarray(noise(number))) for number in range(2)]
            example = self._inputs((pictures * batch)[: max(batch, 2)])
            given = (self._model, self._encode, example)
            self._packed = pack_where_faster(*given, images, self.fingerprint)

    @torch.inference_mode()
    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for prepared images, (3, H, W) each.

        Raises:
            OutOfMemory: the batch is too large for the device.
        """
        with out_of_memory(self.device):
            return unit(self._encode(self._inputs(batch)))

    def _inputs(self, batch: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(batch)).to(self.device, self._dtype)

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return _tensor_of(self._model.get_image_features(pixel_values=pixels))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for sentences."""

        def encode(part: list[str]) -> np.ndarray:
            tokens = self._tokenizer(
                part,
                padding=self._padding,
                max_length=self._context if self._padding == "max_length" else None,
                return_tensors="pt",
            ).to(self.device)
            return unit(_tensor_of(self._model.get_text_features(**tokens)))

        return in_batches(encode, texts)

    def tokens(self, text: str) -> Sequence[int]:
        """Return the tokens of a sentence."""
        found: list[int] = self._tokenizer(text)["input_ids"]
        return found

    def context_overflow(self, text: str) -> int:
        """Count the tokens of `text` beyond the longest sentence the model can read."""
        return max(0, len(self._tokenizer(text)["input_ids"]) - self._context)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that the tokenizer has no piece for."""
        return dropped_words(self._tokenizer, text)


def repository_of(settings: TeacherConfig) -> str | None:
    """The repository of the Hugging Face hub with the model; None for a folder."""
    if settings.model.startswith("local-dir:") or Path(settings.model).is_dir():
        return None
    return settings.model.removeprefix("hf-hub:")


def load(settings: TeacherConfig, sentences: Sequence[str] = ()) -> TransformersTeacher:
    """Load a model of the hub (`org/name`) or of a folder (`local-dir:folder`).

    Raises:
        TeacherError: unknown names, missing or damaged weights, no way to download them, a model
            without two towers, or one that brings its own code where that was not allowed.
    """
    device = pick_device(settings.device)
    with loading(settings, device) as (place, options):
        model, report = transformers.AutoModel.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        )
        images = transformers.AutoImageProcessor.from_pretrained(place, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
    refuse_holes(place, report["missing_keys"])
    if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
        raise TeacherError(
            f"{place} is a {type(model).__name__}, which does not give features of both images and "
            "texts. Choose a model such as openai/clip-vit-base-patch32."
        )
    name = name_of(settings)
    precision = pick_precision(settings.precision, device, model)
    named = f"transformers {name}"
    teacher = TransformersTeacher(named, model, images, tokenizer, device, precision)
    teacher.text_fingerprint = _text_fingerprint(model, Path(place), device)
    return teacher


def _text_fingerprint(model: Any, place: Path, device: str) -> str:
    """Name the text tower as it is now, see `towers.text_identity`."""
    weights = {
        key: of
        for key, of in model.state_dict().items()
        if not key.startswith(("vision_", "visual_"))
    }
    # Of a repository of the hub, the config names the commit.
    files = sorted(file for file in place.glob("*") if file.is_file())
    commit = getattr(model.config, "_commit_hash", None)
    config, kind = model.config.to_dict(), torch.device(device).type
    return text_identity(weights, files, transformers.__version__, kind, config, commit)


@contextlib.contextmanager
def loading(settings: TeacherConfig, device: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a model's place and the options to load it by, and have transformers silent.

    Raises:
        TeacherError: for whatever loading it raises.
    """
    local = settings.model.startswith("local-dir:")
    place = settings.model.removeprefix("local-dir:").removeprefix("hf-hub:")
    if local and not (Path(place) / "config.json").is_file():
        raise TeacherError(
            f"{place} has no config.json. `local-dir:` names a folder that `save_pretrained` of "
            "transformers wrote."
        )
    options: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code}
    if local:
        options["local_files_only"] = True
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield place, options
    except torch.OutOfMemoryError as error:
        raise TeacherError(
            f"{place} does not fit into the memory of {device}. Choose a smaller model, or "
            "`device: cpu`."
        ) from error
    except Exception as error:
        raise TeacherError(_explain(settings, place, error)) from error
    finally:
        transformers.logging.set_verbosity(before)


def name_of(settings: TeacherConfig) -> str:
    """What people call the model."""
    if settings.model.startswith("local-dir:"):
        return Path(settings.model.removeprefix("local-dir:")).name
    return settings.model.removeprefix("hf-hub:")


def refuse_holes(place: str, missing: Iterable[str]) -> None:
    """Refuse weights that lack tensors of the model.

    Raises:
        TeacherError: they do.
    """
    names = sorted(name for name in missing if "position_ids" not in name)
    if names:
        # transformers fills what is missing with random numbers; such labels would be noise.
        raise TeacherError(
            f"The weights of {place} lack {len(names)} of the model's tensors ({names[0]}, …). "
            "Fetch them again, or choose another model."
        )


def _tensor_of(features: Any) -> torch.Tensor:
    """The features themselves: up to transformers 4 they come bare, later in a record."""
    return features if isinstance(features, torch.Tensor) else features.pooler_output


def _logits(model: Any) -> tuple[float, float]:
    """Return the factor on the cosines and what is added to them."""
    scale = getattr(model, "logit_scale", None)
    if scale is None and hasattr(model, "temperature"):  # ALIGN divides instead
        return 1 / float(model.temperature), 0.0
    if scale is None:
        raise TeacherError(
            f"{type(model).__name__} has no logit scale, so its cosines cannot become "
            "probabilities. Choose a model trained with a contrastive loss, such as CLIP."
        )
    bias = getattr(model, "logit_bias", None)
    return float(scale.exp()), 0.0 if bias is None else float(bias)


def _context_length(model: Any, tokenizer: Any) -> int:
    text = getattr(model.config, "text_config", model.config)
    positions = int(text.max_position_embeddings)
    if "roberta" in str(getattr(text, "model_type", "")) or model.config.model_type == "altclip":
        positions -= _ROBERTA_OFFSET
    return min(positions, int(tokenizer.model_max_length))


def _explain(settings: TeacherConfig, place: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:240]
    if "trust_remote_code" in str(error):
        return (
            f"{place} brings Python code of its own, which is not run unasked. Read it, and if you "
            f"trust it, set `{settings.key}: {{trust_remote_code: true}}`."
        )
    if settings.model.startswith("local-dir:"):
        return f"The model in {place} cannot be loaded: {reason}. Write it with `save_pretrained`."
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return (
        f"{place} cannot be loaded: the repository of the Hugging Face hub could not be read or "
        f"fetched ({type(error).__name__}). On a machine with internet, load it there once and "
        f"copy {home} here; or write it to a folder with `save_pretrained` and set "
        f"`{settings.key}: {{kind: transformers, model: local-dir:that/folder}}`."
    )
