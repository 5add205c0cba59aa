"""ultralytics, kept in its place: silent, offline, writing only where it is told to.

Importing it writes a settings file, may report usage and may install packages; what it loads is
pickled. Everything that needs it imports it from here, after all of that has been turned off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.errors import StudentError
from pipeline.files import cache_dir
from pipeline.student.apart import importing, undisturbed

with importing():
    from ultralytics.cfg import DEFAULT_CFG_DICT
    from ultralytics.nn.modules import Classify
    from ultralytics.nn.tasks import ClassificationModel, guess_model_scale, torch_safe_load
    from ultralytics.utils import ROOT, YAML
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

__all__ = ["DEFAULT_CFG_DICT", "find_model", "find_weights", "load_checkpoint"]


def find_model(name: str) -> Any:
    """Return the model that a student starts from, for `student.model` of the config.

    Args:
        name: an architecture that ultralytics lists (`yolov8n-cls.yaml`), weights that it publishes
            (`yolov8n-cls.pt`), or the path of a file of either kind.

    Returns:
        A ClassificationModel with weights, or an architecture as a dict.

    Raises:
        StudentError: there is no such model, it does not classify, or it cannot be downloaded.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return _architecture(path)
    if path.suffix == ".pt":
        checkpoint = load_checkpoint(find_weights(name))
        return (checkpoint.get("ema") or checkpoint["model"]).float()
    raise StudentError(
        f"`student.model` is {name!r}. It must end in .yaml (an architecture, trained from random "
        "weights) or .pt (weights to start from), like yolov8n-cls.yaml or yolov8n-cls.pt."
    )


def find_weights(name: str) -> Path:
    """Return the file of weights: an absolute path, or weights that ultralytics publishes, which
    are fetched once.

    Raises:
        StudentError: there is no such file, and none can be fetched.
    """
    path = Path(name)
    if not path.is_absolute():
        return _published(name)
    if not path.is_file():
        raise StudentError(f"{path} does not exist. Correct `student.model` in the config.")
    return path


def _architecture(path: Path) -> dict[str, Any]:
    if path.is_absolute():
        source = path
    else:
        # Listed names only, never a file that happens to lie in the current folder.
        listed = {file.name: file for file in (ROOT / "cfg" / "models").rglob("*-cls*.yaml")}
        scale = guess_model_scale(path.name)
        plain = path.name.replace(f"{scale}-cls", "-cls", 1) if scale else path.name
        found = listed.get(path.name) or listed.get(plain)
        if found is None:
            names = ", ".join(sorted(listed))
            raise StudentError(
                f"ultralytics lists no classification architecture {path.name!r}. It lists "
                f"{names}, with a size before `-cls` (n, s, m, l, x)."
            )
        source = found
    try:
        description: dict[str, Any] = YAML.load(source)
        description["scale"] = guess_model_scale(path.name) or description.get("scale", "")
        description["yaml_file"] = str(path)
        head = description["head"][-1][2]
    except OSError:
        raise StudentError(
            f"{source} does not exist. Correct `student.model` in the config."
        ) from None
    except Exception as error:
        raise StudentError(
            f"{source} is not an architecture as ultralytics writes them."
        ) from error
    if head != "Classify":
        raise StudentError(
            f"{path.name} does not classify (its head is {head}). Take one whose name has `-cls`."
        )
    return description


@undisturbed()
def _published(name: str) -> Path:
    """Weights by name, from the cache or, once, from ultralytics' releases."""
    if name not in GITHUB_ASSETS_NAMES or "-cls" not in name:
        names = ", ".join(sorted(one for one in GITHUB_ASSETS_NAMES if "-cls." in one))
        raise StudentError(
            f"ultralytics publishes no classification weights {name!r}. It publishes {names}. "
            "For a file of your own give its path, with a slash in it."
        )
    path = cache_dir() / "weights" / name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        attempt_download_asset(path)
    except Exception as error:
        path.unlink(missing_ok=True)
        raise StudentError(
            f"{name} could not be downloaded ({type(error).__name__}). Fetch it from the releases "
            f"of ultralytics/assets on another machine and put it at {path}, or train from random "
            f"weights with `student: {{model: {name.removesuffix('.pt')}.yaml}}`."
        ) from error
    return path


@undisturbed()
def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a classification checkpoint without executing anything that it holds.

    The file is pickled, and a pickle can run code. Only the classes that such models are made of
    are let in: ultralytics' own list, through torch's restricted unpickler.

    Raises:
        StudentError: the file is damaged, holds something else, or is no classifier.
    """
    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=True)
    except Exception as error:
        raise StudentError(
            f"{path} cannot be loaded: it is damaged, or it holds more than a model's weights, "
            "which is refused because it could run code. Take weights that ultralytics saved, from "
            "a source that you trust."
        ) from error
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, ClassificationModel) or not isinstance(model.model[-1], Classify):
        raise StudentError(f"{path} is no classification model. Take one whose name has `-cls`.")
    return checkpoint  # type: ignore[no-any-return]


def describe_failure(error: Exception, batch: int) -> str:
    """Return a sentence for what training raised."""
    text = " ".join(str(error).split())
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in text.lower():
        return (
            f"The memory does not suffice to train with `student.batch: {batch}`. Make it smaller."
        )
    if "NaN" in text:
        return (
            "The training diverged: its loss is not a number any more. Lower the learning rate, as "
            "in `student: {train: {lr0: 0.0001}}`."
        )
    return f"ultralytics could not train: {text[:300] or type(error).__name__}."
