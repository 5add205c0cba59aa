"""`watch`: a video's timeline."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, on_a_run, print_json, refused_share
from pipeline.errors import ConfigError
from pipeline.values import counted

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.records import Predictor
    from pipeline.student.unlike import Refuse
    from pipeline.terminal import TerminalListener

_OWN = ""  # the value of a `--student` that names none


@main.command()
@click.argument("video", required=False, type=click.Path(path_type=Path))
@click.option(
    "--student",
    is_flag=False,
    flag_value=_OWN,
    metavar="[PATH]",
    help="Ask the run's trained student, not its teacher; or another one: a run's folder, a "
    "student's, an exported folder, or a model's file.",
)
@click.option(
    "--reject",
    default="none",
    metavar="auto|none|SHARE",
    help="With --student: when a frame is none of its classes, as for classify.  [default: none]",
)
@click.option("--every", default="200ms", show_default=True, help="Look this often: 0.5s, 200ms.")
@click.option(
    "--min-duration",
    default="0.6s",
    show_default=True,
    help="What lasts less is taken for flicker.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the timeline as CSV on stdout.")
@on_a_run
def watch(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    as_csv: bool,
    video: Path | None,
    student: str | None,
    reject: str,
    every: str,
    min_duration: str,
) -> None:
    """Say what a video shows and when: start, end, class and confidence, without flicker.

    Example: clip2yolo watch line.mp4 --config configs/packing_line.yaml --student
    """
    from pipeline.images.video import clock
    from pipeline.imports import only_answers
    from pipeline.terminal import print_table
    from pipeline.timeline import watch as look
    from pipeline.values import Sampling, seconds_of

    if video is None and student:
        video, student = Path(student), _OWN  # `--student line.mp4` names the film alone
    if video is None:
        raise ConfigError("Name the video to watch: clip2yolo watch line.mp4")
    try:
        sampling = Sampling(None, seconds_of(every), False)
        shortest = seconds_of(min_duration)
    except ValueError as error:
        raise ConfigError(f"`--every` and `--min-duration` are durations: {error}.") from None
    only_answers()
    predictor = _predictor(config, student, refused_share(reject), listener)
    started = time.monotonic()
    with listener.bar("Watching", "seconds") as progress:
        watched = look(video, predictor, sampling, shortest, config.max_pixels, progress)
    took = time.monotonic() - started
    if watched.problem:
        listener.warn(f"{video}: {watched.problem}")
    if as_json:
        print_json([asdict(event) for event in watched.events])
    elif as_csv:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["start", "end", "class", "confidence"])
        for one in watched.events:
            figures = f"{one.start:.3f}", f"{one.end:.3f}"
            rows.writerow([*figures, one.class_name, f"{one.confidence:.5f}"])
        echo(*text.getvalue().splitlines())
    else:
        print_table(
            f"{video.name} through {predictor.name}",
            ["start", "end", "class", "confidence"],
            [
                [clock(one.start), clock(one.end), one.class_name, f"{one.confidence:.3f}"]
                for one in watched.events
            ],
            left=("class",),
        )
    listener.say(
        f"{counted(watched.frames, 'frame')} of {clock(watched.seconds)} in {took:.1f} s, "
        f"{watched.seconds / max(took, 1e-9):.1f} times as fast as it plays."
    )


def _predictor(
    config: Config, student: str | None, refuse: Refuse | None, listener: TerminalListener
) -> Predictor:
    from pipeline.ontology import ontology_of
    from pipeline.teachers.panel import in_words, panel_of, prompt_warnings

    if student is not None:
        from pipeline.export.open import open_student
        from pipeline.run.workspace import Workspace
        from pipeline.student import Refusing, Student

        own = Workspace(config.workspace).student
        where = config.student.device, config.student.precision
        found = open_student(Path(student), *where) if student else Student.load(own, *where)
        return found if refuse is None else Refusing(found, refuse)
    if refuse is not None:
        raise ConfigError("Only a student can `--reject`. Add `--student`.")
    ontology = ontology_of(config)
    listener.say(f"Loading {in_words(config.teachers)}.")
    panel = panel_of(config, ontology, ontology.classes, listener)
    for sentence in prompt_warnings(panel, ontology):
        listener.warn(sentence)
    return panel
