"""CLIP on a Roboflow Inference server, hosted or one's own: vectors over HTTP.

The key travels in the body of a request: it is in no URL, so that no log, proxy or error message
can hold it.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, TeacherError
from pipeline.files import fingerprint
from pipeline.keys import roboflow_key
from pipeline.network import failed_proxy
from pipeline.pixels import READING
from pipeline.pool import work_ahead
from pipeline.teachers.base import Teacher

DEFAULT_VERSION = "ViT-B-16"  # the server's own default
COMPARE_LIMIT = 8  # prompts that the server takes in one comparison
# CLIP's learned factor on the cosines; OpenAI's weights all ended at this cap, and the server does
# not say.
_LOGIT_SCALE = 100.0
_SIDES = {"ViT-L-14-336px": 336, "RN50x4": 288, "RN50x16": 384, "RN50x64": 448}
_CONTEXT = 77  # tokens, two of them around the sentence
_BACKOFF = 0.5  # seconds before the second try; doubles with each further one
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class InferenceTeacher(Teacher):
    """CLIP behind HTTP."""

    logit_scale = _LOGIT_SCALE
    parameters = 0  # the server's affair

    def __init__(self, settings: TeacherConfig, version: str, key: str | None) -> None:
        url = settings.url.rstrip("/")
        self.name = f"inference {version}"
        self.device = f"the server {urlsplit(url).hostname}"
        # The server does not tell its weights' hash: version and preprocessing are all there is.
        self._side = 2 * _SIDES.get(version, 224)
        self.fingerprint = fingerprint("inference", READING, version, "png", self._side)
        self._url, self._version, self._key = url, version, key
        self._timeout, self._connections = settings.timeout, settings.connections
        self._retries = settings.retries
        self._session = _session(settings.connections, settings.retries)
        self._tokenizer: Any = None
        self.dim = self.embed_texts(["a"]).shape[1]

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the bytes of a PNG; pictures over twice the model's input are made smaller."""
        scale = self._side / min(image.size)
        if scale < 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=3)
        return np.frombuffer(buffer.getvalue(), np.uint8)

    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) float32; several requests are under way at a time."""
        vectors = work_ahead(
            self._embed_image,
            batch,
            workers=self._connections,
            ahead=len(batch),
            name="inference",
        )
        return _unit(list(vectors))

    def _embed_image(self, png: np.ndarray) -> list[float]:
        asked = {"image": _base64(png.tobytes()), "clip_version_id": self._version}
        return self._vectors("embed_image", asked, 1)[0]

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for sentences."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), COMPARE_LIMIT):
            part = list(texts[start : start + COMPARE_LIMIT])
            asked = {"text": part, "clip_version_id": self._version}
            vectors += self._vectors("embed_text", asked, len(part))
        return _unit(vectors)

    def compare(self, image: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Return the cosines (texts,) of one prepared image, by the server's own comparison, which
        spares it the vectors.

        The server takes at most 8 texts a call; longer lists are asked in parts, which changes
        nothing, since a cosine does not depend on the other texts.
        """
        subject = _base64(image.tobytes())
        cosines: list[float] = []
        for start in range(0, len(texts), COMPARE_LIMIT):
            part = list(texts[start : start + COMPARE_LIMIT])
            answer = self._post(
                "compare",
                {
                    "subject_type": "image",
                    "subject": subject,
                    "prompt_type": "text",
                    "prompt": part,
                    "clip_version_id": self._version,
                },
            )
            found = answer.get("similarity")
            if not isinstance(found, list) or len(found) != len(part):
                raise self._broken("compare", "no similarity for each prompt")
            cosines += found
        return np.array(cosines, np.float32)

    def context_overflow(self, text: str) -> int:
        """Count the tokens of `text` beyond CLIP's 77."""
        if self._tokenizer is None:
            from pipeline.teachers.library import open_clip

            self._tokenizer = open_clip.tokenizer.SimpleTokenizer()
        return max(0, len(self._tokenizer.encode(text)) + 2 - _CONTEXT)

    def _vectors(self, endpoint: str, asked: dict[str, Any], count: int) -> list[list[float]]:
        vectors = self._post(endpoint, asked).get("embeddings")
        if not isinstance(vectors, list) or len(vectors) != count:
            raise self._broken(endpoint, f"not {count} embeddings")
        return vectors

    def _post(self, endpoint: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask the server; waits longer and longer where it is busy, and gives up with a sentence.

        Nothing of the request is in a message: its body holds the key.
        """
        server = urlsplit(self._url).netloc
        for cuts in itertools.count():
            try:
                # No redirect is followed: it would hand the key to whoever is at the other end.
                answer = self._session.post(
                    f"{self._url}/clip/{endpoint}",
                    json=asked if self._key is None else asked | {"api_key": self._key},
                    timeout=self._timeout,
                    allow_redirects=False,
                )
                break
            except requests.exceptions.ChunkedEncodingError as error:
                # An answer that is cut off comes too late for the session's own retries.
                if cuts < self._retries:
                    continue
                raise self._failed(endpoint, "cuts its answers off") from error
            except requests.exceptions.RetryError as error:
                why = "is too busy or fails; a lower `teacher.connections` may help"
                raise self._failed(endpoint, why) from error
            except requests.RequestException as error:
                reason = getattr(error.args[0] if error.args else None, "reason", None)
                slow = isinstance(error, requests.Timeout) or isinstance(reason, ReadTimeoutError)
                why = f"does not answer within {self._timeout:g} s" if slow else "cannot be reached"
                if proxy := failed_proxy(error):
                    why = f"cannot be reached, since the proxy {proxy} does not answer"
                raise self._failed(endpoint, why) from error
        if answer.status_code in (401, 403):
            given = "was refused" if self._key else "is missing"
            raise TeacherError(
                f"The API key for {server} {given}. Set ROBOFLOW_API_KEY to a key of your "
                "workspace."
            )
        if answer.status_code != 200:
            raise TeacherError(
                f"The inference server {server} answered /clip/{endpoint} with status "
                f"{answer.status_code}. Check `teacher.url`, and `teacher.model` "
                f"({self._version}), which must be a CLIP that it offers."
            )
        try:
            found = answer.json()
        except ValueError:
            raise self._broken(endpoint, "no JSON") from None
        if not isinstance(found, dict):
            raise self._broken(endpoint, "no JSON object")
        return found

    def _failed(self, endpoint: str, what: str) -> TeacherError:
        return TeacherError(
            f"The inference server {urlsplit(self._url).netloc} {what} (/clip/{endpoint}, tried "
            f"{self._retries + 1} times). Check `teacher.url`, and run again to go on from here."
        )

    def _broken(self, endpoint: str, what: str) -> TeacherError:
        server = urlsplit(self._url).netloc
        return TeacherError(
            f"The inference server {server} answered /clip/{endpoint} with {what}. Check that "
            "`teacher.url` is a Roboflow Inference server, and run again to go on from here."
        )


def load(settings: TeacherConfig, sentences: Sequence[str] = ()) -> InferenceTeacher:
    """Connect to the server of `teacher.url`; `teacher.model` is its `clip_version_id`.

    Raises:
        ConfigError: the address is no http address, or holds a key.
        TeacherError: the server cannot be reached or refuses the key.
    """
    parts = urlsplit(settings.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("`teacher.url` must be an address that begins with http:// or https://.")
    if parts.query or parts.username:
        raise ConfigError(
            "`teacher.url` must not hold a key or a password. Set ROBOFLOW_API_KEY instead."
        )
    version = DEFAULT_VERSION if settings.model == "default" else settings.model
    return InferenceTeacher(settings, version, roboflow_key())


def _session(connections: int, retries: int) -> requests.Session:
    retry = Retry(
        total=retries,
        backoff_factor=_BACKOFF,
        status_forcelist=_AGAIN,
        allowed_methods=None,  # every request here is a question: asking twice changes nothing
        respect_retry_after_header=True,
        raise_on_status=True,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=connections, max_retries=retry))
    return session


def _base64(data: bytes) -> dict[str, str]:
    return {"type": "base64", "value": base64.b64encode(data).decode("ascii")}


def _unit(vectors: Sequence[Sequence[float]]) -> np.ndarray:
    try:
        array = np.array(vectors, np.float32)
        norms = np.linalg.norm(array, axis=1, keepdims=True)
    except (ValueError, TypeError) as error:
        raise TeacherError("The inference server sent vectors of different lengths.") from error
    if not np.isfinite(array).all() or (norms == 0).any():
        raise TeacherError("The inference server sent vectors that are no directions.")
    unit: np.ndarray = array / norms
    return unit
