#!/usr/bin/env python3
"""Classify pictures with the model in this folder: `python predict.py picture.jpg [...]`.

Needs numpy, Pillow (11.3 or later) and the model's own runtime, which `labels.json` beside this
file names. From Python:

    model = load("the folder")
    probabilities, features = model.run(numpy.stack([model.prepare(read("picture.jpg"))]))
    print(model.classes[probabilities[0].argmax()], model.unlike(features)[0] > model.threshold)
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Outputs = list[np.ndarray]  # probabilities (n, classes), features (n, f)
Ask = Callable[[np.ndarray], Outputs]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's orientation
_LEAST = 1e-12
_MOST = 100_000_000  # pixels of what is cropped


class CannotAnswer(Exception):
    """A folder, a runtime or a picture that cannot be used; the message is for people."""


def load(folder: str | Path, device: str = "auto", threads: int | None = None) -> Model:
    """Open the model in a folder.

    Args:
        folder: with labels.json.
        device: cpu, cuda where the runtime can, or auto: the CPU, and for engines the GPU.
        threads: that the model computes on; by default as many as its runtime likes.

    Raises:
        CannotAnswer: something is missing or damaged.
    """
    folder = Path(folder)
    try:
        labels = json.loads((folder / "labels.json").read_text("utf-8"))
        _check(labels)
        for name, digest in labels["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise ValueError(f"{name} is not the file that was proved")
        known = None
        if labels["none"] is not None:
            with np.load(folder / "unlike.npz", allow_pickle=False) as arrays:
                known = {name: arrays[name] for name in _KNOWN}
    except OSError as error:
        name = error.filename or folder
        raise CannotAnswer(f"{name} cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CannotAnswer(f"{folder} holds no whole model ({error}). Export it again.") from error
    if device == "auto":
        device = "cuda" if labels["format"] == "tensorrt" else "cpu"
    try:
        ask = _RUNTIMES[labels["format"]](folder / labels["file"], labels, device, threads)
    except ImportError as error:
        needed = labels["runtime"]
        raise CannotAnswer(
            f"This model needs {needed}, which is not installed here ({error}). Install it: "
            f"pip install {needed}"
        ) from error
    return Model(labels, ask, known, device)


def _check(labels: dict[str, Any]) -> None:
    """Raise what `load` words, where labels.json is not as it is written by an export."""
    if labels["format"] not in list(_RUNTIMES):
        raise ValueError(f"this predict.py does not know the format {labels['format']!r}")
    for key in ("input", "outputs", "batch", "mean", "std", "runtime"):
        labels[key]
    if labels["none"] is not None:
        float(labels["none"]["threshold"])
    names = [labels["file"], *labels["files"]]
    if any(not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts
           for name in names):  # fmt: skip
        raise ValueError("labels.json names a file outside the folder")
    if labels["fit"] not in ("crop", "pad", "stretch"):
        raise ValueError(f"the fit {labels['fit']!r} is not known")
    if not 1 <= int(labels["imgsz"]) <= 4096 or not labels["classes"]:
        raise ValueError("labels.json has no size or no classes")


class Model:
    """A model that is open; `load` opens one.

    Attributes:
        labels: what labels.json says.
        device: where it computes.
        classes: names, in the order of the probabilities.
        threshold: of `unlike`, above which a picture is none of the classes; None where the model
            cannot tell.
    """

    def __init__(
        self, labels: dict[str, Any], ask: Ask, known: dict[str, np.ndarray] | None, device: str
    ) -> None:
        self.labels, self.device = labels, device
        self.classes = tuple(map(str, labels["classes"]))
        self.threshold = None if labels["none"] is None else float(labels["none"]["threshold"])
        self._ask, self._known = ask, known

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the model's input for one RGB picture, float32 (3, imgsz, imgsz)."""
        square = fitted(image, self.labels["fit"], int(self.labels["imgsz"]))
        pixels = np.asarray(square, np.float32) / np.float32(255)
        mean, std = (np.asarray(self.labels[key], np.float32) for key in ("mean", "std"))
        return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, classes) and features (n, f), both float32, of inputs
        (n, 3, imgsz, imgsz).

        Raises:
            CannotAnswer: the runtime fails.
        """
        batch = np.ascontiguousarray(batch, np.float32)
        most = self.labels["batch"] or len(batch)  # null: any number at once
        try:
            parts = [self._ask(batch[at : at + most]) for at in range(0, len(batch), most)]
        except CannotAnswer:
            raise
        except Exception as error:  # each runtime has its own
            reason = " ".join(str(error).split())[:200]
            raise CannotAnswer(
                f"{self.labels['runtime']} fails on this model ({reason})."
            ) from error
        probabilities, features = (
            np.concatenate([np.asarray(part[number], np.float32) for part in parts])
            for number in (0, 1)
        )
        return probabilities, features

    def unlike(self, features: np.ndarray) -> np.ndarray:
        """Return how unlike any of its classes pictures are, (n,) from 0 to 1.

        Raises:
            CannotAnswer: the model was exported without this knowledge.
        """
        if self._known is None:
            raise CannotAnswer("This model cannot say that a picture is none of its classes.")
        return unlike(features, self._known)

    def answer(self, image: Image.Image) -> dict[str, Any]:
        """Return what is said of one RGB picture: every class with its probability, the likeliest
        first; with `none` (whether it is none of them) and `unlike` where the model can tell."""
        probabilities, features = self.run(self.prepare(image)[np.newaxis])
        order = np.argsort(-probabilities[0], kind="stable")
        found: dict[str, Any] = {
            "answers": [
                {"class": self.classes[at], "probability": float(probabilities[0, at])}
                for at in order
            ]
        }
        if self.threshold is not None:
            score = float(self.unlike(features)[0])
            found |= {"none": score > self.threshold, "unlike": score}
        return found


# From a file to the square that the model sees


def read(path: str | Path) -> Image.Image:
    """Return the picture in a file, upright and in RGB, its transparent parts over white.

    Raises:
        CannotAnswer: it cannot be decoded.
    """
    try:
        Image.init()
        with Path(path).open("rb") as file:
            if file.read(12)[4:8] == b"ftyp":
                _know_heic()
        # EPS and WMF run an interpreter over the file.
        with Image.open(path, formats=sorted(set(Image.OPEN) - {"EPS", "WMF"})) as image:
            image.load()
            rgb, turn = _rgb(image), _orientation(image)
            return rgb.transpose(_TURNS[turn]) if turn in _TURNS else rgb
    except OSError as error:
        reason = error.strerror or "it is no picture that Pillow can read, or a damaged one"
        raise CannotAnswer(f"{path} cannot be read ({reason}).") from error
    except Exception as error:  # decoders raise anything on damaged bytes
        raise CannotAnswer(f"{path} cannot be read ({type(error).__name__}).") from error


def _know_heic() -> None:
    """HEIC is read where pi-heif is installed."""
    with contextlib.suppress(ImportError):
        from pi_heif import register_heif_opener

        register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:  # noqa: BLE001 - EXIF that cannot be parsed says nothing about the pixels
        return 1
    return found if type(found) is int else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_bytes_of(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB")
    return image.convert("RGB")


def _bytes_of(samples: np.ndarray) -> np.ndarray:
    """Grey samples of more than 8 bits as bytes: 65535 of 16 bits are white; floats, and integers
    of 32 bits, go to the first of 1, 255, 65535 that at most half of those above 0 exceed."""
    values = samples.astype(np.float32)
    if samples.dtype.itemsize == 2:
        white = 65535
    elif samples.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=1e9, neginf=0)
        above = np.count_nonzero(values > 0)
        tops = (top for top in (1, 255) if 2 * np.count_nonzero(values > top) <= above)
        white = next(tops, 65535)
    else:
        white = 255 if values.max(initial=0) <= 255 else 65535
    values = values.clip(0, white)
    shares = values * (255 / white) if white <= 255 else values / (white / 255)
    grey: np.ndarray = shares.clip(0, 255).round().astype(np.uint8)
    return grey


def fitted(image: Image.Image, fit: str, side: int) -> Image.Image:
    """Return a square of an RGB picture, as the model was trained on it. Resizing is Pillow's
    BILINEAR, which looks at all pixels when it makes a picture smaller.

    Args:
        image: any size.
        fit: "stretch": both sides become `side`. "crop": the short side does, and the middle is
            cut out. "pad": the long side does, and the picture stands in the middle of a grey
            square; one that is square is a pixel smaller than it.
        side: in pixels.

    Raises:
        CannotAnswer: cropping it would take more memory than is sensible.
    """
    if fit == "stretch":
        return _resized(image, side, side)
    if fit == "crop":
        short = min(image.size)
        wide, high = (side if length == short else int(side * length / short)
                      for length in image.size)  # fmt: skip
        if wide * high > _MOST:
            raise CannotAnswer(f"A picture of {image.width} x {image.height} is too thin to crop.")
        left, top = round((wide - side) / 2), round((high - side) / 2)
        return _resized(image, wide, high).crop((left, top, left + side, top + side))
    least = -(-max(image.size) // side)  # a hair is made as thick as one pixel of the square
    if min(image.size) < least:
        image = _resized(image, max(image.width, least), max(image.height, least))
    short, long = sorted(image.size)
    low, high = side - 1, int((side - 1) * long / short)
    if high > side:
        low, high = int(side * low / high), side
    inner = (low, high) if image.width <= image.height else (high, low)
    square = Image.new("RGB", (side, side), (114, 114, 114))
    square.paste(_resized(image, *inner), ((side - inner[0]) // 2, (side - inner[1]) // 2))
    return square


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    same = image.size == (width, height)
    return image if same else image.resize((width, height), Image.Resampling.BILINEAR)


# None of these: how far the features lie from those of the pictures that it learned from

_KNOWN = ("weights", "bias", "centre", "space", "means", "outside", "middle", "spread")


def unlike(features: np.ndarray, known: dict[str, np.ndarray]) -> np.ndarray:
    """Return how unlike any class pictures are, (n,) float32 from 0 to 1.

    Args:
        features: (n, f), the model's second output.
        known: the arrays of unlike.npz: `weights` (classes, f) and `bias` (classes,) of the last
            layer, `centre` (f,), `space` (directions, f), `means` (classes, f), `outside`
            (kinds, f), `middle` and `spread` (3,), or (4,) where there are kinds.
    """
    features = features.astype(np.float64)  # what is left of two long sums below is small
    weights, space = known["weights"], known["space"]
    logits = features @ weights.T + known["bias"]
    between = np.linalg.norm(weights[:, np.newaxis] - weights, axis=2)
    ahead = logits.max(axis=1, keepdims=True) - logits
    distances = ahead / np.maximum(between[logits.argmax(axis=1)], _LEAST)
    from_centre = np.linalg.norm(features - known["centre"], axis=1)
    away = distances.sum(axis=1) / max(len(weights) - 1, 1) / np.maximum(from_centre, _LEAST)
    squares = (features**2).sum(axis=1) - ((features @ space.T) ** 2).sum(axis=1)
    roots = np.sqrt(np.maximum(features, 0))
    seen = roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), _LEAST)
    likeness = (seen @ known["means"].T).max(axis=1)
    measures = [-away, np.sqrt(np.maximum(squares, 0)), 1 - likeness]
    if len(known["outside"]):
        measures.append((seen @ known["outside"].T).max(axis=1) - likeness)
    above = (np.stack(measures, axis=1) - known["middle"]) / known["spread"]
    far = np.clip(above.mean(axis=1) - 2, -50, 50)
    scores: np.ndarray = (1 / (1 + np.exp(-far))).astype(np.float32)
    return scores


# The runtimes: each opens a model's file and returns what takes (n, 3, imgsz, imgsz) to its outputs


def _onnx(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    wanted = f"{'CUDA' if device.startswith('cuda') else 'CPU'}ExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise CannotAnswer(f"This onnxruntime cannot compute on {device}. Use the device cpu.")
    try:
        session = onnxruntime.InferenceSession(str(file), options, [wanted])
    except Exception as error:  # its errors have no common class
        raise CannotAnswer(f"{file} cannot be opened by onnxruntime.") from error
    return lambda batch: list(session.run(labels["outputs"], {labels["input"]: batch}))


def _openvino(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    import openvino

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if labels["precision"] != "fp16" and device == "cpu":
        settings["INFERENCE_PRECISION_HINT"] = "f32"  # else what the processor multiplies fastest
    if threads and device == "cpu":
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        model = openvino.Core().compile_model(str(file), device.upper(), settings)
    except RuntimeError as error:
        raise CannotAnswer(f"{file} cannot be opened by OpenVINO on {device}.") from error

    def ask(batch: np.ndarray) -> Outputs:
        found = model({labels["input"]: batch})
        return [found[name] for name in labels["outputs"]]

    return ask


def _torchscript(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    import torch

    if threads:
        torch.set_num_threads(threads)
    jit: Any = torch.jit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has a successor
            model = jit.load(str(file), map_location=device).eval()
    except RuntimeError as error:
        raise CannotAnswer(f"{file} cannot be opened by torch on {device}.") from error

    def ask(batch: np.ndarray) -> Outputs:
        with torch.inference_mode():
            found = model(torch.from_numpy(batch).to(device))
        return [one.float().cpu().numpy() for one in found]

    return ask


def _tensorrt(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    import tensorrt
    import torch

    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(file.read_bytes()) if device != "cpu" else None
    if engine is None:
        raise CannotAnswer(
            f"{file} answers on the kind of GPU and with the version of TensorRT that it was made "
            f"for, and not here on {device}. Export it again on this machine."
        )
    cuda: Any = torch.cuda
    context, stream = engine.create_execution_context(), cuda.Stream(device)

    def ask(batch: np.ndarray) -> Outputs:
        tensors = {labels["input"]: torch.from_numpy(batch).to(device)}
        context.set_input_shape(labels["input"], batch.shape)
        for name in labels["outputs"]:
            shape = tuple(context.get_tensor_shape(name))
            tensors[name] = torch.empty(shape, dtype=torch.float32, device=device)
        for name, tensor in tensors.items():
            context.set_tensor_address(name, tensor.data_ptr())
        stream.wait_stream(cuda.current_stream(device))
        if not context.execute_async_v3(stream.cuda_stream):
            raise CannotAnswer(f"TensorRT failed on {file}.")
        stream.synchronize()
        return [tensors[name].cpu().numpy() for name in labels["outputs"]]

    return ask


def _ncnn(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", labels["precision"] == "fp16" and option[0] == "f")
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(file)) or net.load_model(str(file.with_suffix(".bin"))):
        raise CannotAnswer(f"{file} cannot be opened by ncnn.")

    def ask(batch: np.ndarray) -> Outputs:
        with net.create_extractor() as one:
            one.input(labels["input"], ncnn.Mat(batch[0]))
            return [np.array(one.extract(name)[1])[np.newaxis] for name in labels["outputs"]]

    return ask


def _litert(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    from ai_edge_litert.interpreter import Interpreter

    try:
        model = Interpreter(model_path=str(file), num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise CannotAnswer(f"{file} cannot be opened by LiteRT.") from error
    model.allocate_tensors()
    (given,) = model.get_input_details()
    # By their names, output_0 and output_1: a quantized model's signature names another tensor.
    found = sorted(model.get_output_details(), key=lambda one: str(one["name"]))

    def ask(batch: np.ndarray) -> Outputs:
        model.set_tensor(given["index"], batch)
        model.invoke()
        return [model.get_tensor(one["index"]) for one in found]

    return ask


def _coreml(file: Path, labels: dict[str, Any], device: str, threads: int | None) -> Ask:
    import coremltools

    if sys.platform != "darwin":
        raise CannotAnswer("Core ML answers on macOS only.")
    model = coremltools.models.MLModel(str(file))

    def ask(batch: np.ndarray) -> Outputs:
        found = model.predict({labels["input"]: batch})
        return [np.asarray(found[name]) for name in labels["outputs"]]

    return ask


_RUNTIMES: dict[str, Callable[[Path, dict[str, Any], str, int | None], Ask]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "torchscript": _torchscript,
    "tensorrt": _tensorrt,
    "ncnn": _ncnn,
    "litert": _litert,
    "coreml": _coreml,
}


def main(arguments: list[str] | None = None) -> int:
    """Answer on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Classify pictures with the model beside this.")
    parser.add_argument("pictures", nargs="+", help="files")
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    parser.add_argument("--device", default="auto", help="cpu, or cuda where the runtime can")
    asked = parser.parse_args(arguments)
    try:
        model = load(Path(__file__).parent, asked.device)
    except CannotAnswer as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found, failed = [], False
    for name in asked.pictures:
        try:
            answer = model.answer(read(name))
        except CannotAnswer as error:
            failed = True
            answer = {"problem": str(error)}
            print(f"error: {_plain(str(error))}", file=sys.stderr)
        found.append({"image": name, **answer})
        if not asked.json and "answers" in answer:
            print(_plain(f"{name}: {_sentence(answer)}"))
    if asked.json:
        print(json.dumps(found, indent=2))
    return 1 if failed else 0


def _sentence(answer: dict[str, Any]) -> str:
    best = answer["answers"][0]
    if answer.get("none"):
        return f"none of these (unlike them all: {answer['unlike']:.3f})"
    return f"{best['class']} {best['probability']:.4f}"


def _plain(text: str) -> str:
    """A line that no name can break or color."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii")
                   for one in text)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
