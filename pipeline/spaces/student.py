"""The features of a student's pretrained weights as a space: they cost no further download.

They see the images at the size at which the student will. That matters: of a YOLOv8n-cls with
pretrained features, the centroids of the true classes told 61 % of 565 photos right at 64 pixels,
68 % at 96, 76 % at 128 and at 224, and at 640 again 61 %.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import SpaceConfig
from pipeline.files import fingerprint
from pipeline.machine import pick_device
from pipeline.pixels import READING
from pipeline.spaces.tower import Tower, space_of
from pipeline.teachers.geometry import Geometry
from pipeline.teachers.precision import pick_precision
from pipeline.teachers.towers import weights_digest


def repository_of(settings: SpaceConfig) -> str | None:
    """None: ultralytics publishes weights elsewhere."""
    return None


def check_names(settings: SpaceConfig) -> None:
    """Refuse weights that are not there, and those that ultralytics does not publish.

    Raises:
        StudentError: there are none of that name.
    """
    from pipeline.yolo.library import check_model

    check_model(settings.model)


def load(settings: SpaceConfig) -> Tower:
    """Open classification weights of ultralytics, without their head.

    Raises:
        StudentError: there are none, they cannot be downloaded, or they are no classifier.
        TeacherError: they give no vectors.
    """
    from pipeline.yolo.features import features, without_classes
    from pipeline.yolo.geometry import Preparation, fit_of
    from pipeline.yolo.library import open_weights

    device = pick_device(settings.device)
    given = open_weights(settings.model, "label.space.model")
    fit = fit_of(given.model, given.imgsz)
    model = without_classes(given)
    precision = pick_precision(settings.precision, device, model)
    size = settings.size
    assert size is not None  # `check_space` has seen to it
    digest = weights_digest({"imgsz": size} | ({} if fit == "crop" else {"fit": fit}), model)
    # As `Preparation` does it, and faster: ultralytics resizes with bilinear weights and leaves the
    # colors on the scale 0 to 1.
    geometry = None
    if fit != "pad":
        squash = fit == "stretch"
        geometry = Geometry(size, "bilinear", squash=squash, mean=(0, 0, 0), std=(1, 1, 1))
    # Convolution and batch norm become one; the features stay, the time falls.
    model = model.fuse(verbose=False).to(device)
    return space_of(
        f"student {Path(settings.model).stem} at {size}",
        model,
        features(model),
        fingerprint("student", digest, READING, precision),
        geometry,
        Preparation(fit, size),
        device,
        precision,
    )
