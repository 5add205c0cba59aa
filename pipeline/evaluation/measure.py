"""Running predictors on pictures: their answers on files, and the time that they take."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.errors import Clip2YoloError, SourceError
from pipeline.evaluation.latency import Latency, Percentiles
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores, model_threads
from pipeline.pixels import MAX_PIXELS, read_bytes
from pipeline.records import Prediction, Predictor
from pipeline.storage.address import Place
from pipeline.streams import ask_in_batches

BATCHES = (1, 8, 32)  # images a batch, for the throughput

_BATCH = 32  # larger ones fall out of a processor's caches
_MODEL = 0  # in the place of a size, of images that are prepared already
# Seconds before each turn at a single image, where runtimes differ: the threads of another one look
# for more work for a while after an answer, and would hold the cores.
_PAUSE = 0.02
_WARM_UP = 3  # images; the first calls allocate memory and choose kernels
_ROUNDS = 3  # of the throughput; the median of them counts
_AGAIN = 4  # times that each image is asked about in a round, at most
_SECONDS = 0.25  # that one round with one size of batches takes, of whoever is fast enough


def predict_files(
    predictor: Predictor,
    paths: Sequence[Place],
    batch: int = _BATCH,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Prediction:
    """Return the predictor's probabilities (n, classes) for image files, in their order.

    Files are decoded and prepared on threads, see `ask_in_batches`; at most three batches of them
    are in memory.

    Raises:
        SourceError: a file has vanished, cannot be decoded or is larger than `max_pixels`.
        Clip2YoloError: the predictor answered with something that is no probability.
    """

    def read(path: Place) -> Any:
        try:
            return predictor.read(read_bytes(path), max_pixels)
        except SourceError as error:
            # Not skipped: teacher and student must answer on the same images.
            raise SourceError(
                f"{path} belongs to the images to evaluate on and cannot be used any more: {error} "
                "Restore it, or run `clip2yolo label` again."
            ) from error

    def ask(prepared: list[Any]) -> np.ndarray:
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
        return answer.astype(np.float32, copy=False)

    answers = [np.empty((0, len(predictor.classes)), dtype=np.float32)]
    done = 0
    coming = ask_in_batches(read, ask, paths, batch, predictor.streams)
    with contextlib.closing(coming) as batches:
        for answer in batches:
            answers.append(answer)
            done += len(answer)
            progress(done, len(paths))
    return Prediction(tuple(predictor.classes), np.concatenate(answers))


def measure_latency(
    predictors: Sequence[Predictor],
    encoded: Sequence[bytes],
    batches: Sequence[int] = BATCHES,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> list[Latency]:
    """Time predictors on images that lie encoded in memory, so that no disk is measured.

    The predictors take turns on every image (A B A B …), and on every round of the throughput: a
    machine that slows down or is shared slows them alike, which keeps their ratio honest. The first
    calls warm up and are not counted. Nor is, where there are several predictors, the call on the
    image before with which each turn begins, after a pause where their runtimes differ. Each
    computes on all cores of this process, whatever number of threads was set before: a single image
    on as many threads, batches as `ask_in_batches` says.

    Args:
        encoded: the bytes of image files, at least one.
        batches: images a batch, rising, for the throughput; latency is that of one image alone.
        progress: told after each image and each round.

    Returns:
        Each predictor's figures, in their order.

    Raises:
        SourceError: an image cannot be decoded.
        ValueError: no images.
    """
    if not encoded:
        raise ValueError("latency needs at least one image")
    with model_threads(cores()):
        return _measure(predictors, encoded, batches, max_pixels, progress)


def _measure(
    predictors: Sequence[Predictor],
    encoded: Sequence[bytes],
    batches: Sequence[int],
    max_pixels: int,
    progress: Progress,
) -> list[Latency]:
    total = len(encoded) + _ROUNDS
    pause = _PAUSE if len({predictor.runtime for predictor in predictors}) > 1 else 0.0
    for data in itertools.islice(itertools.cycle(encoded), _WARM_UP):
        for predictor in predictors:
            _time_one(predictor, data, max_pixels)
    times: list[list[tuple[float, float]]] = [[] for _ in predictors]
    for done, data in enumerate(encoded, start=1):
        for predictor, own in zip(predictors, times, strict=True):
            time.sleep(pause)
            if len(predictors) > 1:  # the others' work has put its own out of the caches
                _time_one(predictor, encoded[done - 2], max_pixels)
            own.append(_time_one(predictor, data, max_pixels))
        progress(done, total)

    runs = [
        _Throughput(predictor, encoded, max_pixels, float(np.median([whole for whole, _ in own])))
        for predictor, own in zip(predictors, times, strict=True)
    ]
    for done in range(1, _ROUNDS + 1):
        for batch in batches:
            for run in runs:
                run.measure(batch)
        for run in runs:
            run.measure_model(batches[-1])
        progress(len(encoded) + done, total)

    return [
        Latency(
            end_to_end=_percentiles([whole for whole, _ in own]),
            model_only=_percentiles([model for _, model in own]),
            throughput=run.rate(batches[-1]),
            throughput_model_only=run.rate(_MODEL),
            images=len(encoded),
            batch=batches[-1],
            threads=cores(),
            decode_threads=cores(),
            device=predictor.device,
            throughput_by_batch={str(batch): run.rate(batch) for batch in batches},
        )
        for predictor, own, run in zip(predictors, times, runs, strict=True)
    ]


def _time_one(predictor: Predictor, data: bytes, max_pixels: int) -> tuple[float, float]:
    """Seconds for one image from its bytes to its probabilities, and the model's part of them."""
    started = time.perf_counter()
    prepared = [predictor.read(data, max_pixels)]
    asked = time.perf_counter()
    predictor.predict(prepared)  # returns numpy, so an accelerator has finished by then
    answered = time.perf_counter()
    return answered - started, answered - asked


class _Throughput:
    """Images a second of one predictor, in batches.

    Args:
        encoded: the bytes of image files, taken one after the other and again.
        alone: seconds that it took for one image, by which is decided how many are asked about.
    """

    def __init__(
        self, predictor: Predictor, encoded: Sequence[bytes], max_pixels: int, alone: float
    ) -> None:
        self._predictor, self._encoded, self._max_pixels = predictor, encoded, max_pixels
        self._alone = max(alone, 1e-6)
        self._prepared: list[Any] = []
        self._rates: dict[int, list[float]] = {}

    def measure(self, batch: int) -> None:
        """Time one round with batches of that size, from the encoded images on."""

        def read(data: bytes) -> Any:
            return self._predictor.read(data, self._max_pixels)

        self._time(read, self._some(self._encoded, batch), batch, batch)

    def measure_model(self, batch: int) -> None:
        """Time one round on images that are prepared already."""
        if not self._prepared:
            some = self._encoded[:batch]
            self._prepared = [self._predictor.read(data, self._max_pixels) for data in some]
        self._time(lambda ready: ready, self._some(self._prepared, batch), batch, _MODEL)

    def rate(self, batch: int) -> float:
        """Return the median of the rounds."""
        return round(float(np.median(self._rates[batch])), 3)

    def _some(self, given: Sequence[Any], batch: int) -> list[Any]:
        """Whole batches, at least one in each stream, as many as the time allows."""
        most = min(_SECONDS / self._alone, _AGAIN * len(self._encoded))
        batches = max(self._predictor.streams, round(most / batch))
        return list(itertools.islice(itertools.cycle(given), batches * batch))

    def _time(self, read: Callable[[Any], Any], items: list[Any], batch: int, under: int) -> None:
        predictor = self._predictor
        started = time.perf_counter()
        asked = ask_in_batches(read, predictor.predict, items, batch, predictor.streams)
        with contextlib.closing(asked) as answers:
            for _ in answers:
                pass
        # Never 0: a clock may be coarser than a trivial model is fast.
        seconds = max(time.perf_counter() - started, 1e-9)
        self._rates.setdefault(under, []).append(len(items) / seconds)


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    median, p90, p99 = np.percentile(np.array(seconds) * 1000, [50, 90, 99]).round(4).tolist()
    return Percentiles(median, p90, p99)
