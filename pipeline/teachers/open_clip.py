"""Teachers of the open_clip library: its own list, the Hugging Face hub, local folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import TeacherConfig
from pipeline.errors import TeacherError
from pipeline.files import fingerprint
from pipeline.machine import pick_device
from pipeline.pixels import READING
from pipeline.teachers.base import Teacher
from pipeline.teachers.brief import text_encoder
from pipeline.teachers.geometry import Geometry
from pipeline.teachers.known_weights import doubts_about, facts_of
from pipeline.teachers.library import open_clip
from pipeline.teachers.loading import file_of, load_model, take_from_file
from pipeline.teachers.precision import lower, pick_precision
from pipeline.teachers.rearranged import rearrange
from pipeline.teachers.sentences import embed_sentences
from pipeline.teachers.sight import TorchSight
from pipeline.teachers.towers import (
    calm,
    digest_of,
    dropped_words,
    in_batches,
    nearest,
    settings_of,
    text_identity,
    unit,
)

# How images become inputs. Another way gives other vectors, so it counts in the fingerprint.
_PREPARATION = "scaled decoding, resize of bytes, crop"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


class OpenClipTeacher(TorchSight, Teacher):
    """A CLIP-like model of open_clip.

    Args:
        folder: that it was loaded from; it may hold a list of the words that the model knows.
        weights: the file of them; where it is known, vectors of sentences can be kept.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        device: str,
        precision: str = "fp32",
        folder: Path | None = None,
        weights: Path | None = None,
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._encode_text = text_encoder(model)
        config = model.visual.preprocess_cfg
        super().__init__(
            name,
            _fingerprint_later(model.visual, precision),
            sum(tensor.numel() for tensor in model.parameters()),
            model.visual,
            model.encode_image,
            Geometry.of_open_clip(config),
            open_clip.transform.image_transform_v2(
                open_clip.transform.PreprocessCfg(**config), is_train=False
            ),
            device,
            precision,
        )
        self.logit_scale = float(model.logit_scale.exp())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias = 0.0 if bias is None else float(bias)
        self._vocabulary = None
        if folder is not None:
            self.file_bytes = _weights(folder).stat().st_size
            self._vocabulary = _vocabulary(folder)
        if weights is not None:
            self.text_fingerprint = _text_fingerprint(model, weights, device)
        rearrange(model.visual)
        if precision != "fp32":
            lower(model.visual, precision)
        take_from_file(model.visual)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]  # it may be written, too
        """Of the vectors."""
        return int(embed_sentences(self, ["a"]).shape[1])

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for sentences."""

        def encode(part: list[str]) -> np.ndarray:
            return unit(self._encode_text(self._tokenizer(part).to(self.device)))

        return in_batches(encode, texts)

    def tokens(self, text: str) -> Sequence[int]:
        """Return the tokens of a sentence, with those that fill it up."""
        found: list[int] = self._tokenizer([text])[0].tolist()
        return found

    def context_overflow(self, text: str) -> int:
        """Count the tokens of `text`, with the two that frame it, beyond the context length."""
        inner = getattr(self._tokenizer, "tokenizer", None)  # Hugging Face's, where it wraps one
        if inner is not None:
            count = len(inner(text)["input_ids"])
        else:
            # The same cleaning as in the tokenizer's own call, which then cuts in silence (3.3.0).
            count = len(self._tokenizer.encode(text)) + 2
        return max(0, count - int(self._tokenizer.context_length))

    def unknown_words(self, text: str) -> list[str]:
        """Return words outside the list that the weights came with, or that the tokenizer drops."""
        if self._vocabulary is None:
            inner = getattr(self._tokenizer, "tokenizer", None)
            return [] if inner is None else dropped_words(inner, text)
        words = dict.fromkeys(_WORD.findall(text.lower()))
        return [word for word in words if word not in self._vocabulary]


def _fingerprint_later(tower: Any, precision: str) -> str | Callable[[], str]:
    """Return what computes the fingerprint of a tower as it is now: reading all of its weights
    takes longer than a single image, for which nobody asks. On a GPU, where the weights as they are
    now would take memory until then, it is the fingerprint itself."""
    config = tower.preprocess_cfg
    weights, kind = tower.state_dict(), type(tower).__name__
    # The weights do not tell the activation; GELU, the usual one, was never named here.
    quick = any(isinstance(part, open_clip.transformer.QuickGELU) for part in tower.modules())
    named = ["QuickGELU"] * quick

    def compute() -> str:
        digest = digest_of(config, kind, weights)
        return fingerprint(digest, READING, _PREPARATION, precision, *named)

    return compute if next(tower.parameters()).device.type == "cpu" else compute()


def _text_fingerprint(model: Any, weights: Path, device: str) -> str:
    """Name the text tower as it is now, see `towers.text_identity`."""
    own = {key: of for key, of in model.state_dict().items() if not key.startswith("visual.")}
    parts = [(name, part) for name, part in model.named_children() if name != "visual"]
    settings = [settings_of(part) for part in (model, *(part for _, part in parts))]
    kind = torch.device(device).type
    return text_identity(own, [weights], open_clip.__version__, kind, repr(parts), settings)


def repository_of(settings: TeacherConfig) -> str | None:
    """The repository of the Hugging Face hub with the model's weights; None where it has none."""
    if settings.model.startswith("hf-hub:"):
        return settings.model.removeprefix("hf-hub:")
    known = open_clip.get_pretrained_cfg(settings.model, settings.pretrained or "") or {}
    return str(known.get("hf_hub", "")).rstrip("/") or None


def load(settings: TeacherConfig, sentences: Sequence[str] = ()) -> OpenClipTeacher:
    """Load `ViT-B-32` with a `pretrained` tag or file, `hf-hub:org/name` or `local-dir:folder`.

    Raises:
        TeacherError: unknown names, missing or damaged weights, or no way to download them. A model
            without its weights is never used: its labels would be noise.
    """
    model, pretrained, device = settings.model, settings.pretrained, pick_device(settings.device)
    folder = _folder_of(model)
    check_names(settings)
    facts = facts_of(settings)
    try:
        with calm():
            weights = file_of(model, pretrained) if folder is None else _weights(folder)
            net = load_model(model, weights, pretrained, facts, device)
            tokenizer = open_clip.get_tokenizer(model)
    except ImportError as error:
        raise TeacherError(
            f"{model} needs a library that is not installed ({error.name or error}). "
            "Install it with `pip install transformers` and run again."
        ) from error
    except torch.OutOfMemoryError as error:
        raise TeacherError(
            f"{model} does not fit into the memory of {device}. Choose a smaller model, or "
            "`device: cpu`."
        ) from error
    except Exception as error:
        raise TeacherError(_explain(settings, folder, error)) from error
    name = folder.name if folder is not None else "/".join(filter(None, (model, pretrained)))
    precision = pick_precision(settings.precision, device, net.visual)
    teacher = OpenClipTeacher(
        f"open_clip {name}", net, tokenizer, device, precision, folder, weights
    )
    teacher.doubts = doubts_about(settings, facts.assumed)
    return teacher


def check_names(settings: TeacherConfig) -> None:
    """Refuse names that open_clip does not list, and folders and files that are not there.

    Raises:
        TeacherError: the model or its weights are not known.
    """
    folder = _folder_of(settings.model)
    if folder is not None:
        _check_folder(folder)
    elif not settings.model.startswith("hf-hub:"):
        _check_names(settings)


def _folder_of(model: str) -> Path | None:
    return Path(model.removeprefix("local-dir:")) if model.startswith("local-dir:") else None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise TeacherError(f"{folder} is not a folder. `local-dir:` names a folder with a model.")
    if not (folder / "open_clip_config.json").is_file():
        raise TeacherError(
            f"{folder} has no open_clip_config.json. Put the model's config there, beside its "
            "open_clip_model.safetensors."
        )
    _weights(folder)


def _weights(folder: Path) -> Path:
    """The folder's safetensors file. Pickled weights are not looked for: they can run code."""
    for name in ("open_clip_model.safetensors", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise TeacherError(
        f"{folder} has no open_clip_model.safetensors. Put the weights there in safetensors format."
    )


def _vocabulary(folder: Path) -> frozenset[str] | None:
    path = folder / "vocabulary.json"
    if not path.is_file():
        return None
    try:
        return frozenset(word.lower() for word in json.loads(path.read_text("utf-8"))["words"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TeacherError(
            f'{path} must look like {{"words": ["apple", …]}}. Repair or delete it.'
        ) from error


def _check_names(settings: TeacherConfig) -> None:
    """Refuse names that open_clip does not list, before anything is built or downloaded."""
    model, pretrained = settings.model, settings.pretrained
    names = open_clip.list_models()
    if model not in names:
        raise TeacherError(
            f"open_clip has no model {model!r}.{nearest(model, names)} A folder is named "
            "`local-dir:path`, a model of the hub `hf-hub:org/name`; `pocket` comes with clip2yolo."
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None:
        raise TeacherError(
            f"`{settings.key}.pretrained` is missing, so {model} would have random weights. "
            f"Choose one of: {', '.join(tags) or 'a weights file'}."
        )
    # By open_clip's own look-up, which takes "LAION400M-E32" for the tag laion400m_e32.
    if not open_clip.get_pretrained_cfg(model, pretrained) and not Path(pretrained).is_file():
        raise TeacherError(
            f"{pretrained!r} is neither a file nor pretrained weights of {model}. "
            f"open_clip lists for it: {', '.join(tags) or 'none'}."
        )


def _explain(settings: TeacherConfig, folder: Path | None, error: Exception) -> str:
    model, pretrained = settings.model, settings.pretrained
    if folder is not None:
        reason = " ".join(str(error).split())[:300]
        return f"The model in {folder} cannot be loaded: {reason}. Check its two files."
    if model.startswith("hf-hub:"):
        what = f"the repository {model.removeprefix('hf-hub:')} of the Hugging Face hub"
    else:
        config = open_clip.get_pretrained_cfg(model, pretrained or "") or {}
        source = config.get("hf_hub", "").rstrip("/") or config.get("url", "") or "its file"
        what = f"the weights {pretrained!r} of {model} ({source})"
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return (
        f"{model} cannot be loaded: {what} could not be read or fetched ({type(error).__name__}). "
        f"On a machine with internet, load it there once and copy {home} here; or put "
        "open_clip_config.json and open_clip_model.safetensors into a folder and set "
        f"`{settings.key}: {{model: local-dir:that/folder}}`."
    )
