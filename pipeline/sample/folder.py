"""A folder with the sample and its config, laid out as the repository is."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.files import write_text
from pipeline.listener import Listener
from pipeline.machine import cores
from pipeline.sample.draw import draw_sample

_CONFIG = Path(__file__).with_name("packing_line.yaml")


def set_up(folder: Path, listener: Listener) -> Path:
    """Put the sample and its config into `folder` and return the config's path.

    What is there already stays; what a killed call has drawn is not drawn again. The config lies in
    `configs/`, the pictures in `datasets/packing_line/`, and a run in `runs/packing_line/`, so that
    a checkout of the repository is such a folder, too.

    Raises:
        ConfigError: the folder holds something else, or its config has been changed.
        WorkspaceError: another process is drawing there.
    """
    config = folder / "configs" / _CONFIG.name
    text = _CONFIG.read_text("utf-8")
    if not config.is_file():
        other = next((path for path in folder.rglob("*") if not path.is_dir()), None)
        if other is not None:
            raise ConfigError(
                f"{folder} is not empty (it holds {other.relative_to(folder)}). Name a folder for "
                "the demo that does not exist yet."
            )
        write_text(config, text)
    elif config.read_text("utf-8") != text:
        raise ConfigError(
            f"{config} is not as the demo wrote it. `clip2yolo run --config {config}` goes on with "
            "it; name another folder for a new demo."
        )
    pictures = folder / "datasets" / "packing_line"
    listener.say(f"Drawing the sample in {pictures}: 1,200 images, 400 labeled ones and a film.")
    if not draw_sample(pictures, workers=cores(), listener=listener):
        listener.say("It is there already.")
    return config
