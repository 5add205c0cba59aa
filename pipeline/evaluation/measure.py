"""Running predictors on pictures: their answers on files, and the time that they take."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import Clip2YoloError, SourceError
from pipeline.evaluation.latency import Latency, Percentiles
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores, model_threads
from pipeline.pixels import MAX_PIXELS, read_bytes
from pipeline.pool import work_ahead
from pipeline.records import Prediction, Predictor

Item = TypeVar("Item")

_WARM_UP = 3  # images; the first calls allocate memory and choose kernels
_ROUNDS = 3  # of the throughput; the median of them counts


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    batch: int = 64,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Prediction:
    """Return the predictor's probabilities (n, classes) for image files, in their order.

    Files are decoded and prepared on threads ahead of the model, at most three batches of them.

    Raises:
        SourceError: a file has vanished, cannot be decoded or is larger than `max_pixels`.
        Clip2YoloError: the predictor answered with something that is no probability.
    """

    def read(path: Path) -> Any:
        try:
            return predictor.read(read_bytes(path), max_pixels)
        except SourceError as error:
            # Not skipped: teacher and student must answer on the same images.
            raise SourceError(
                f"{path} belongs to the images to evaluate on and cannot be used any more: {error} "
                "Restore it, or run `clip2yolo label` again."
            ) from error

    answers = [np.empty((0, len(predictor.classes)), dtype=np.float32)]
    done = 0
    with contextlib.closing(_batches(read, paths, batch)) as batches:
        for prepared in batches:
            answer = predictor.predict(prepared)
            if answer.shape != (len(prepared), len(predictor.classes)):
                raise Clip2YoloError(
                    f"{predictor.name} answered {len(prepared)} images and "
                    f"{len(predictor.classes)} classes with an array of shape {answer.shape}."
                )
            if not np.isfinite(answer).all():
                raise Clip2YoloError(
                    f"{predictor.name} answered with numbers that are no probabilities (not "
                    "finite). Its weights are damaged, or its training diverged; make them anew."
                )
            answers.append(answer.astype(np.float32, copy=False))
            done += len(prepared)
            progress(done, len(paths))
    return Prediction(tuple(predictor.classes), np.concatenate(answers))


def _batches(
    read: Callable[[Item], Any], items: Sequence[Item], batch: int
) -> Generator[list[Any], None, None]:
    """Yield what was read of the items in their order, batch by batch; threads work ahead."""
    coming = work_ahead(read, items, workers=cores(), ahead=2 * batch, name="decode")
    with contextlib.closing(coming) as ready:
        while some := list(itertools.islice(ready, batch)):
            yield some


def measure_latency(
    predictors: Sequence[Predictor],
    encoded: Sequence[bytes],
    batch: int = 32,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> dict[str, Latency]:
    """Time predictors on images that lie encoded in memory, so that no disk is measured.

    The predictors take turns on every image (A B A B …), and on every round of the throughput: a
    machine that slows down or is shared slows them alike, which keeps their ratio honest. The first
    calls warm up and are not counted. Each computes on all cores of this process, whatever number
    of threads was set before.

    Args:
        predictors: with different names.
        encoded: the bytes of image files, at least one.
        batch: images a batch, for the throughput only; latency is that of one image alone.
        progress: told after each image and each round.

    Returns:
        Each predictor's figures under its name.

    Raises:
        SourceError: an image cannot be decoded.
        ValueError: no images, or two predictors of one name.
    """
    names = [predictor.name for predictor in predictors]
    if not encoded or len(set(names)) < len(names):
        raise ValueError("latency needs at least one image and predictors with different names")
    with model_threads(cores()):
        return _measure(predictors, encoded, batch, max_pixels, progress)


def _measure(
    predictors: Sequence[Predictor],
    encoded: Sequence[bytes],
    batch: int,
    max_pixels: int,
    progress: Progress,
) -> dict[str, Latency]:
    total = len(encoded) + _ROUNDS
    for data in itertools.islice(itertools.cycle(encoded), _WARM_UP):
        for predictor in predictors:
            _time_one(predictor, data, max_pixels)
    times: list[list[tuple[float, float]]] = [[] for _ in predictors]
    for done, data in enumerate(encoded, start=1):
        for predictor, own in zip(predictors, times, strict=True):
            own.append(_time_one(predictor, data, max_pixels))
        progress(done, total)

    prepared = [
        [predictor.read(data, max_pixels) for data in encoded[:batch]] for predictor in predictors
    ]
    for predictor, images in zip(predictors, prepared, strict=True):
        predictor.predict(images)
    rates: list[list[tuple[float, float]]] = [[] for _ in predictors]
    for done in range(1, _ROUNDS + 1):
        for predictor, images, rounds in zip(predictors, prepared, rates, strict=True):
            through = _rate_end_to_end(predictor, encoded, batch, max_pixels)
            rounds.append((through, _rate_model_only(predictor, images)))
        progress(len(encoded) + done, total)

    return {
        predictor.name: Latency(
            end_to_end=_percentiles([whole for whole, _ in own]),
            model_only=_percentiles([model for _, model in own]),
            throughput=round(float(np.median([through for through, _ in rounds])), 3),
            throughput_model_only=round(float(np.median([model for _, model in rounds])), 3),
            images=len(encoded),
            batch=min(batch, len(encoded)),
            threads=cores(),
            decode_threads=cores(),
            device=predictor.device,
        )
        for predictor, own, rounds in zip(predictors, times, rates, strict=True)
    }


def _time_one(predictor: Predictor, data: bytes, max_pixels: int) -> tuple[float, float]:
    """Seconds for one image from its bytes to its probabilities, and the model's part of them."""
    started = time.perf_counter()
    prepared = [predictor.read(data, max_pixels)]
    asked = time.perf_counter()
    predictor.predict(prepared)  # returns numpy, so an accelerator has finished by then
    answered = time.perf_counter()
    return answered - started, answered - asked


def _rate_end_to_end(
    predictor: Predictor, encoded: Sequence[bytes], batch: int, max_pixels: int
) -> float:
    def read(data: bytes) -> Any:
        return predictor.read(data, max_pixels)

    started = time.perf_counter()
    with contextlib.closing(_batches(read, encoded, batch)) as batches:
        for prepared in batches:
            predictor.predict(prepared)
    return len(encoded) / _since(started)


def _rate_model_only(predictor: Predictor, prepared: Sequence[Any]) -> float:
    started = time.perf_counter()
    predictor.predict(prepared)
    return len(prepared) / _since(started)


def _since(started: float) -> float:
    # Never 0: a clock may be coarser than a trivial model is fast.
    return max(time.perf_counter() - started, 1e-9)


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    median, p90, p99 = np.percentile(np.array(seconds) * 1000, [50, 90, 99]).round(4).tolist()
    return Percentiles(median, p90, p99)
