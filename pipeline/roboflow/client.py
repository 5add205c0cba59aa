"""A project on Roboflow, through roboflow's own package, with its loose ends tied.

The package (1.7.3) prints, waits for five minutes, and puts the key into every URL, and with it
into the messages of every failed request. Here nothing is printed, waiting has an end, what may
pass is tried again, and no text leaves without the key having been taken out of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests

from pipeline.config import Config
from pipeline.errors import ConfigError, UploadError
from pipeline.keys import without_key
from pipeline.roboflow.wire import (
    Bounded,
    StatusError,
    bound_waiting,
    find_key,
    is_of_the_network,
    quietly,
    status_of,
)

Answer = TypeVar("Answer")

PROJECT_TYPE = "single-label-classification"
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LONGEST = 30.0  # seconds between two tries


class Refused(Exception):
    """Roboflow's answer to one request is no, and asking again would not change it."""


class RoboflowProject:
    """One project of one workspace.

    Args:
        name: the project's id in its URL, as in app.roboflow.com/workspace/<name>.
        workspace: the workspace's id; by default the key's own.
        timeout: seconds that one answer may take.
        retries: tries after the first, each waiting up to twice as long.
        backoff: seconds before the second try.

    Raises:
        ConfigError: there is no key, or it cannot be one.
        UploadError: Roboflow cannot be reached, or does not know the key.
    """

    def __init__(
        self,
        name: str,
        workspace: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 8,
        backoff: float = 0.5,
    ) -> None:
        self._timeout, self._retries, self._backoff = timeout, retries, backoff
        self._key = find_key(workspace)
        self.name = name
        with quietly():
            import roboflow

            bound_waiting(timeout)
            self._rf = roboflow
            answer = self._must(self._log_in)
            self._workspace = self._must(lambda: answer.workspace(workspace))
        self.workspace = str(self._workspace.url)
        self._project: Any = None

    def _log_in(self) -> Any:
        return self._rf.Roboflow(api_key=self._key)

    def open(
        self, create: Callable[[], bool] = lambda: False, license_name: str = "Private"
    ) -> bool:
        """Look the project up, or create it; returns whether it was created.

        Args:
            create: asked whether to create the project where it is missing.
            license_name: of a project that is created.

        Raises:
            UploadError: it is not there and is not to be created, or it cannot be.
        """
        from roboflow.adapters.rfapi import RoboflowError

        def look() -> Any:
            try:
                return self._workspace.project(self.name)
            except RoboflowError as error:
                if error.status_code in (404, None):
                    return None
                raise

        with quietly():
            self._project = self._must(look)
            if self._project is not None:
                return False
            if not create():
                raise UploadError(
                    f"The workspace {self.workspace} has no project {self.name!r}. Create it "
                    "there, or run again with `--create`."
                )

            def look_or_create() -> Any:
                # An answer that was cut off may have been a yes: asked again, it would be a second
                # project.
                return look() or self._workspace.create_project(
                    self.name, PROJECT_TYPE, license_name, self.name
                )

            created = str(self._must(look_or_create).id).rsplit("/", 1)[-1]
            if created != self.name:
                raise UploadError(
                    f"Roboflow has created the project as {created!r}. Write that into the config: "
                    f"`roboflow: {{project: {created}}}`."
                )
            self._project = self._must(look)
        if self._project is None:
            raise UploadError(f"{self.name!r} was created, but Roboflow does not list it yet.")
        return True

    def upload(
        self, image: Path, split: str, batch: str, tags: list[str], metadata: dict[str, Any]
    ) -> tuple[str, bool]:
        """Send an image; returns Roboflow's id of it and whether it was there already.

        Raises:
            Refused: it does not want this image.
            UploadError: it cannot be reached.
        """

        def send() -> Any:
            return self._project.upload_image(
                str(image), False, split, 0, batch, tags, metadata=metadata
            )[0]

        answer = self._patiently(send)
        return str(answer["id"]), bool(answer.get("duplicate"))

    def annotate(self, image: str, class_name: str, batch: str, overwrite: bool = False) -> bool:
        """Give an image, by Roboflow's id, its class; False where it has been annotated already
        and that label shall stay.

        Raises:
            Refused: it does not want this label.
            UploadError: it cannot be reached.
        """
        # As text: a bare name would be opened where a file or folder of that name lies around.
        given = {"name": class_name, "rawText": class_name}
        answer = self._patiently(
            lambda: self._project.save_annotation(
                given, None, image, batch, annotation_overwrite=overwrite
            )[0]
        )
        return "warn" not in answer

    def latest_version(self) -> int:
        """Return the number of the newest version.

        Raises:
            UploadError: there is none yet.
        """
        with quietly():
            found = self._must(self._project.get_version_information)
        numbers = [int(str(one["id"]).rsplit("/", 1)[-1]) for one in found]
        if not numbers:
            raise UploadError(
                f"{self.workspace}/{self.name} has no version yet. Generate one on Roboflow."
            )
        return max(numbers)

    def export(self, version: int, target: Path) -> None:
        """Download a version as a zip of class folders.

        Raises:
            UploadError: there is no such version, or it cannot be fetched.
        """
        from roboflow.adapters import rfapi

        def ask() -> Any:
            return rfapi.get_version_export(
                self._key, self.workspace, self.name, str(version), "folder"
            )

        with quietly():
            while True:
                answer = self._must(ask)
                if answer.get("ready") is not False:
                    break
                time.sleep(self._backoff)  # Roboflow prepares it
            self._must(lambda: self._fetch(answer["export"]["link"], target))

    def _fetch(self, link: str, target: Path) -> None:
        with requests.get(link, timeout=self._timeout, stream=True) as answer:
            if answer.status_code != 200:
                raise StatusError(answer.status_code, "the export cannot be downloaded")
            with target.open("wb") as file:
                for chunk in answer.iter_content(1 << 20):
                    file.write(chunk)

    def deploy(self, student: Path, name: str, model_type: str) -> list[str]:
        """Package a student's weights and send them to the project; returns packaging's warnings.

        Raises:
            UploadError: the weights cannot be packaged or are refused.
        """
        from roboflow.config import API_URL
        from roboflow.util.model_processor import ModelPackagingError, package_custom_weights

        with quietly():
            try:
                # The newest ultralytics is not the one roboflow names; the format is the same.
                bundle = package_custom_weights(
                    model_type,
                    str(student),
                    "weights.pt",
                    allow_dependency_mismatch=True,
                    allow_size_mismatch=True,
                )
            except ModelPackagingError as error:
                raise UploadError(f"{student} cannot be packaged: {self._clean(error)}") from None
            try:
                where = f"{API_URL}/{self.workspace}/models/prepareUpload"
                asked = {
                    "api_key": self._key,
                    "modelType": bundle.model_type,
                    "modelName": name,
                    "projectIds": self.name,
                    "nocache": "true",
                }
                url = self._must(lambda: self._json("post", where, params=asked)["url"])
                data = Path(bundle.archive_path).read_bytes()
                self._must(lambda: self._json("put", url, data=data))
            finally:
                bundle.cleanup()
        return [self._clean(warning) for warning in bundle.warnings]

    def _json(self, method: str, url: str, **options: Any) -> Any:
        answer = requests.request(method, url, timeout=self._timeout, **options)
        if answer.status_code != 200:
            raise StatusError(answer.status_code, answer.text[:200])
        try:
            return answer.json()
        except ValueError:
            return {}

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask; where it may pass, wait and ask again."""
        reason = ""
        for number in range(self._retries + 1):
            if number:
                wait = min(_LONGEST, self._backoff * 2 ** (number - 1))
                time.sleep(wait * random.uniform(0.5, 1))  # so that threads do not come at once
            try:
                self._set_timeout()
                return ask()
            except (UploadError, Refused):
                raise
            except Exception as error:  # noqa: BLE001 - roboflow raises whatever it met
                status = status_of(error)
                reason = self._clean(error)
                if status in (401, 403):
                    raise UploadError(
                        f"Roboflow does not accept the key for this (status {status}). Check "
                        "`ROBOFLOW_API_KEY` and what the key may do."
                    ) from None
                if status is not None and status not in _AGAIN:
                    raise Refused(reason) from None
                if status is None and not is_of_the_network(error):
                    raise Refused(reason) from None
        raise UploadError(
            f"Roboflow did not answer properly {self._retries + 1} times in a row ({reason}). Run "
            "the same command again later: it sends only what is missing."
        )

    def _must(self, ask: Callable[[], Answer]) -> Answer:
        """Ask what everything else depends on: a no is an `UploadError`."""
        try:
            return self._patiently(ask)
        except Refused as error:
            raise UploadError(
                f"Roboflow says no: {error}. Check `ROBOFLOW_API_KEY` and the names in the "
                "config's `roboflow` section."
            ) from None

    def _set_timeout(self) -> None:
        """Bound the waiting of roboflow's own session of this thread, which is five minutes."""
        from roboflow.adapters import rfapi

        session = getattr(rfapi, "_upload_session", None)
        if session is not None and not isinstance(session().get_adapter("https://"), Bounded):
            for scheme in ("http://", "https://"):
                session().mount(scheme, Bounded(self._timeout))

    def _clean(self, what: object) -> str:
        """Words of an error, on one line, without the key."""
        text = without_key(str(what)) or type(what).__name__
        return " ".join(text.split())[:300]


def project_of(config: Config) -> RoboflowProject:
    section = config.roboflow
    if section.project is None:
        raise ConfigError(
            "The config names no Roboflow project. Add `roboflow: {project: my-project}`."
        )
    return RoboflowProject(
        section.project, section.workspace, timeout=section.timeout, retries=section.retries
    )
