"""A project on Roboflow, through roboflow's own package, with its loose ends tied.

The package (1.7.3) prints, waits for five minutes, and puts the key into every URL, and with it
into the messages of every failed request. Here nothing is printed, waiting has an end, what may
pass is tried again, and no text leaves without the key having been taken out of it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from pipeline.errors import UploadError, describe_os_error
from pipeline.network import TooLarge, TooSlow, receive
from pipeline.roboflow.patience import LONGEST, Patience, clean
from pipeline.roboflow.patience import Refused as Refused
from pipeline.roboflow.wire import SENDING, StatusError, bounded, find_key, quietly

PROJECT_TYPE = "single-label-classification"
_EXPORT = 60  # times as long as one answer may take, an export may take to be prepared, and to come
_ROOM, _IMAGE = 64 << 20, 32 << 20  # bytes that an export may have, and more for each image


class RoboflowProject:
    """One project of one workspace.

    Args:
        name: the project's id in its URL, as in app.roboflow.com/workspace/<name>; or how a new one
            is to be called, from which Roboflow makes an id.
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
        self._timeout, self._patience = timeout, Patience(timeout, retries, backoff)
        self._key = find_key(workspace)
        self.name = self._title = name
        with quietly():
            import roboflow

            self._rf = roboflow
            self._login = self._patience.must(lambda: roboflow.Roboflow(api_key=self._key))
            self._workspace = self._patience.must(lambda: self._login.workspace(workspace))
        self.workspace = str(self._workspace.url)
        self._project: Any = None

    def open(
        self,
        create: Callable[[], bool] = lambda: False,
        license_name: str = "Private",
        created: Callable[[str], None] = lambda name: None,
    ) -> bool:
        """Look the project up, or create it; returns whether it was created.

        Args:
            create: asked whether to create the project where it is missing.
            license_name: of a project that is created.
            created: told the id that Roboflow has given to a new project, before anything else is
                asked; from then on it is this object's `name`, too.

        Raises:
            UploadError: it is not there and is not to be created, or it cannot be.
        """
        with quietly():
            self._project = self._patience.must(self._look)
            if self._project is not None:
                return False
            if not create():
                raise UploadError(
                    f"The workspace {self.workspace} has no project {self.name!r}. Create it "
                    "there, or run again with `--create`."
                )
            self.name = self._patience.must(self._creation(license_name))
            created(self.name)
            self._project = self._patience.must(self._look)
        if self._project is None:
            raise UploadError(f"{self.name!r} was created, but Roboflow does not list it yet.")
        return True

    def _look(self) -> Any:
        from roboflow.adapters.rfapi import RoboflowError

        try:
            return self._workspace.project(self.name)
        except RoboflowError as error:
            if error.status_code in (404, None):
                return None
            raise

    def _creation(self, license_name: str) -> Callable[[], str]:
        """What creates the project, and returns its id, however often it has to be asked."""
        before = self._listed(self._workspace)
        tried = False

        def create() -> str:
            nonlocal tried
            # An answer that was cut off may have been a yes: asked again, it would be a second
            # project, and which id the first one was given only the list of all can tell.
            if tried and (new := self._listed(self._login.workspace(self.workspace)) - before):
                return max(new)
            tried = True
            made = self._workspace.create_project(
                self._title, PROJECT_TYPE, license_name, self._title
            )
            return str(made.id).rsplit("/", 1)[-1]

        return create

    def _listed(self, workspace: Any) -> set[str]:
        """The ids of the projects of our title in the workspace."""
        return {
            str(one["id"]).rsplit("/", 1)[-1]
            for one in workspace.project_list
            if one.get("name", self._title) == self._title
        }

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

        answer = self._patience.ask(send)
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
        answer = self._patience.ask(
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
        numbers = self._versions()
        if not numbers:
            raise UploadError(
                f"{self.workspace}/{self.name} has no version yet. Generate one on Roboflow."
            )
        return max(numbers)

    def _versions(self) -> dict[int, int]:
        """How many images each version has, by its number."""
        with quietly():
            found = self._patience.must(self._project.get_version_information)
        return {
            int(str(one["id"]).rsplit("/", 1)[-1]): int(one.get("images") or 0) for one in found
        }

    def export(self, version: int, target: Path) -> None:
        """Download a version as a zip of class folders.

        Raises:
            UploadError: there is no such version, or it cannot be fetched, or it has no end.
        """
        images = self._versions().get(version, 0)
        with quietly():
            link = self._prepared(version)
            self._patience.must(lambda: self._download(version, link, target, images))

    def _prepared(self, version: int) -> str:
        """Wait until Roboflow has prepared a version; returns its address."""
        from roboflow.adapters import rfapi

        def ask() -> str | None:
            answer = rfapi.get_version_export(
                self._key, self.workspace, self.name, str(version), "folder"
            )
            return None if answer.get("ready") is False else str(answer["export"]["link"])

        waited = 0.0
        while (link := self._patience.must(ask)) is None:
            if waited >= _EXPORT * self._timeout:
                raise UploadError(
                    f"Roboflow has not prepared version {version} within {waited:.0f} s. Pull "
                    "again later."
                )
            pause = min(LONGEST, max(self._patience.backoff, waited / 10))
            time.sleep(pause)
            waited += pause
        return link

    def _download(self, version: int, link: str, target: Path, images: int) -> None:
        most, seconds = _ROOM + images * _IMAGE, _EXPORT * self._timeout

        def ask() -> requests.Response:
            answer = requests.get(link, timeout=self._timeout, stream=True)
            if answer.status_code != 200:
                answer.close()
                raise StatusError(answer.status_code, "the export cannot be downloaded")
            return answer

        try:
            with target.open("wb") as file:
                receive(ask, file, seconds, most)
        except TooLarge:
            raise UploadError(
                f"Version {version} takes more than {most >> 20:,} MB, which is too much for its "
                f"{images:,} images. Look at it on Roboflow, or pull another one with `--version`."
            ) from None
        except TooSlow:
            raise UploadError(
                f"Version {version} was not there within {seconds:g} s. Pull again, or set a "
                f"longer `roboflow.timeout`: an export may take {_EXPORT} times as long."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UploadError(describe_os_error(error)) from None  # not the network's fault

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
                raise UploadError(f"{student} cannot be packaged: {clean(error)}") from None
            try:
                where = f"{API_URL}/{self.workspace}/models/prepareUpload"
                asked = {
                    "api_key": self._key,
                    "modelType": bundle.model_type,
                    "modelName": name,
                    "projectIds": self.name,
                    "nocache": "true",
                }
                url = self._patience.must(lambda: self._json("post", where, params=asked)["url"])
                data = Path(bundle.archive_path).read_bytes()
                self._patience.must(lambda: self._json("put", url, data=data))
            finally:
                bundle.cleanup()
        return [clean(warning) for warning in bundle.warnings]

    def _json(self, method: str, url: str, **options: Any) -> Any:
        with bounded(requests.Session(), self._timeout, SENDING * self._timeout) as session:
            answer = session.request(method, url, **options)
        if answer.status_code != 200:
            raise StatusError(answer.status_code, answer.text[:200])
        try:
            return answer.json()
        except ValueError:
            return {}
