"""ultralytics, kept in its place: silent, offline, writing only where it is told to.

Importing it writes a settings file, may report usage and may install packages; what it loads is
pickled. Everything that needs it imports it from here, after all of that has been turned off.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import StudentError, describe_os_error
from pipeline.files import cache_dir
from pipeline.imports import all_of_torch, waiting
from pipeline.yolo.apart import importing, undisturbed

with importing(), waiting():
    from ultralytics import __version__ as ultralytics_version
    from ultralytics.cfg import DEFAULT_CFG_DICT
    from ultralytics.nn.modules import Classify
    from ultralytics.nn.tasks import ClassificationModel, guess_model_scale, torch_safe_load
    from ultralytics.utils import ROOT, YAML
    from ultralytics.utils.dist import find_free_network_port
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

__all__ = [
    "ClassificationModel",
    "check_model",
    "find_free_network_port",
    "find_model",
    "load_checkpoint",
    "open_weights",
    "ultralytics_version",
]


@dataclass(frozen=True)
class Weights:
    """A classification model with weights, as a checkpoint describes it."""

    file: Path
    model: Any  # a ClassificationModel in fp32
    imgsz: int | tuple[int, int]  # that it was trained at; ultralytics' default where none is said


def check_model(name: str) -> None:
    """Refuse what `find_model` could not find, or what is no classifier. Downloads nothing.

    Raises:
        StudentError: as `find_model`.
    """
    path = Path(name)
    if path.suffix == ".pt" and not path.is_absolute():
        _refuse_unpublished(name)
        return
    find_model(name)


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
        return open_weights(name).model
    raise StudentError(
        f"`student.model` is {name!r}. It must end in .yaml (an architecture, trained from random "
        "weights) or .pt (weights to start from), like yolov8n-cls.yaml or yolov8n-cls.pt."
    )


def open_weights(name: str, key: str = "student.model") -> Weights:
    """Open classification weights that ultralytics saved.

    Args:
        name: an absolute path, or weights that ultralytics publishes, which are fetched once.
        key: of the config, that names them.

    Raises:
        StudentError: there is no such file, none can be fetched, or it holds no classifier.
    """
    file = _find_weights(name, key)
    checkpoint = load_checkpoint(file)
    model = (checkpoint.get("ema") or checkpoint["model"]).float()
    size = (DEFAULT_CFG_DICT | (checkpoint.get("train_args") or {}))["imgsz"]
    return Weights(file, model, size if isinstance(size, int) else tuple(size))


def _find_weights(name: str, key: str) -> Path:
    path = Path(name)
    if not path.is_absolute():
        return _published(name)
    if not path.is_file():
        raise StudentError(f"{path} does not exist. Correct `{key}` in the config.")
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
    _build(description, source)
    return description


class _Uncounted(ClassificationModel):  # type: ignore[misc]
    """A model whose operations are not counted when it is built, which takes longer than that."""

    def info(self, *args: Any, **settings: Any) -> None:
        """Nothing."""


@undisturbed()
def _build(description: dict[str, Any], source: Path) -> None:
    """Build the architecture once, without memory for its weights, to refuse it before training.

    ultralytics looks layers and activations up by the names that the file gives them; told to be
    restricted, it takes nothing but torch's and its own layers, and evaluates nothing.
    """
    all_of_torch()
    try:
        with torch.device("meta"):
            _Uncounted(deepcopy(description), ch=3, nc=2, verbose=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise StudentError(
            f"{source} is not an architecture that can be built ({reason}). Its layers and its "
            "`activation` must be ones of torch or ultralytics, like nn.SiLU(); other code is "
            "refused."
        ) from error


@undisturbed()
def _published(name: str) -> Path:
    """Weights by name, from the cache or, once, from ultralytics' releases."""
    _refuse_unpublished(name)
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


def _refuse_unpublished(name: str) -> None:
    if name not in GITHUB_ASSETS_NAMES or "-cls" not in name:
        names = ", ".join(sorted(one for one in GITHUB_ASSETS_NAMES if "-cls." in one))
        raise StudentError(
            f"ultralytics publishes no classification weights {name!r}. It publishes {names}. "
            "For a file of your own give its path, with a slash in it."
        )


@undisturbed()
def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a classification checkpoint without executing anything that it holds.

    The file is pickled, and a pickle can run code. Only the classes that such models are made of
    are let in: ultralytics' own list, through torch's restricted unpickler.

    Raises:
        StudentError: the file is damaged, holds something else, or is no classifier.
    """
    # It imports what it lets in, torchvision among it.
    with _only_weights(), _plain_copy(path) as plain, waiting():
        try:
            checkpoint, _ = torch_safe_load(str(plain), safe_only=True)
        except Exception as error:
            raise StudentError(
                f"{path} cannot be loaded: it is damaged, or it holds more than a model's weights, "
                "which is refused because it could run code. Take weights that ultralytics saved, "
                "from a source that you trust."
            ) from error
    mean = checkpoint.get("ema")
    model = checkpoint.get("model") if mean is None else mean
    layers = getattr(model, "model", None) if isinstance(model, ClassificationModel) else None
    if not layers or not isinstance(layers[-1], Classify):
        raise StudentError(f"{path} is no classification model. Take one whose name has `-cls`.")
    return checkpoint  # type: ignore[no-any-return]


@contextlib.contextmanager
def _only_weights() -> Iterator[None]:
    """Have torch refuse all that could run code, whatever it is asked for.

    ultralytics asks it to where it finds that it can be asked, and elsewhere loads everything
    without a word.

    Raises:
        StudentError: this torch cannot refuse it. Before 2.6 the refusal could be got around.
    """
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise StudentError(
            f"torch {torch.__version__} cannot load weights without running the code that they may "
            "hold. Install torch 2.6 or later."
        )
    force, force_not = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (force, force_not)}
    os.environ[force] = "1"
    try:
        yield
    finally:
        del os.environ[force]
        os.environ.update({name: value for name, value in before.items() if value is not None})


@contextlib.contextmanager
def _plain_copy(path: Path) -> Iterator[Path]:
    """Yield a copy of a file under a name that ultralytics opens as it is: it takes what it is
    given for something to look for, renames some and drops apostrophes from all.

    Raises:
        StudentError: the file cannot be read, or nothing can be copied to such a name.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as folder:
            if "'" in folder:
                raise StudentError(
                    f"The folder for temporary files, {Path(folder).parent}, has an apostrophe in "
                    "its path, with which ultralytics opens nothing. Let TMPDIR name another one."
                )
            plain = Path(folder) / "weights.pt"
            shutil.copyfile(path, plain)
            yield plain
    except OSError as error:
        raise StudentError(describe_os_error(error)) from error
