"""Which project of Roboflow a run's config means, once Roboflow has given it an id of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

from pipeline.config import Config
from pipeline.errors import ConfigError, WorkspaceError
from pipeline.files import write_text
from pipeline.listener import SILENT, Listener
from pipeline.roboflow.client import RoboflowProject
from pipeline.run.workspace import Workspace

_FILE = "projects.json"  # lines of workspace, name in the config, id on Roboflow


def open_project(
    config: Config, create: Callable[[], bool] = lambda: False, listener: Listener = SILENT
) -> RoboflowProject:
    """Open the project that the config names, or create it.

    Roboflow spells ids as it likes: "My Project" becomes my-project-abc12. The run remembers that,
    so that the next command finds the project instead of creating another one.

    Args:
        config: its `roboflow` section names the project.
        create: asked whether to create the project where it is missing.
        listener: told of a project that was created.

    Raises:
        ConfigError: no project or no key.
        UploadError: Roboflow cannot be reached, or the project is not there.
        WorkspaceError: what the run remembers is damaged.
    """
    section, workspace = config.roboflow, Workspace(config.workspace)
    if section.project is None:
        raise ConfigError(
            "The config names no Roboflow project. Add `roboflow: {project: my-project}`."
        )
    known = _known(workspace)
    project = RoboflowProject(
        section.project, section.workspace, timeout=section.timeout, retries=section.retries
    )
    place = [project.workspace, section.project]
    project.name = next((name for *asked, name in known if asked == place), project.name)

    def created(name: str) -> None:
        listener.say(f"Created the project {project.workspace}/{name}.")
        if name != section.project:
            others = [line for line in known if line[:2] != place]
            write_text(workspace.uploads / _FILE, json.dumps([*others, [*place, name]], indent=2))
            listener.say(
                f"Roboflow spells {section.project!r} as {name!r}. This run remembers that; write "
                f"`roboflow: {{project: {name}}}` into the config of others."
            )

    project.open(create, section.license, created)
    return project


def possible_names(config: Config) -> set[str]:
    """Return the ids that the config's project may have on Roboflow; asks nobody."""
    asked = config.roboflow.project
    known = _known(Workspace(config.workspace))
    return {str(asked)} | {name for _, title, name in known if title == asked}


def _known(workspace: Workspace) -> list[list[str]]:
    file = workspace.uploads / _FILE
    if not file.is_file():
        return []
    try:
        known = [[str(word) for word in line] for line in json.loads(file.read_text("utf-8"))]
        if any(len(line) != 3 for line in known):
            raise ValueError("a line has three words")
    except (ValueError, TypeError) as error:
        raise WorkspaceError(
            f"{file} is damaged. Delete it, and write the project's id on Roboflow into the "
            "config's `roboflow: {project: …}`."
        ) from error
    return known
