"""Asking without a run: classify pictures, look at an ontology's prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, on_a_run, print_json, refused_share, set_logging
from pipeline.errors import ConfigError
from pipeline.printable import printable
from pipeline.values import counted

if TYPE_CHECKING:
    from pipeline.classify import Answer
    from pipeline.config import Config
    from pipeline.student.precision import Asked
    from pipeline.terminal import TerminalListener

_BAR = 24  # characters


@main.command()
@click.argument("images", nargs=-1, required=True)
@click.option("-p", "--prompt", "prompts", multiple=True, help="What it may show; give several.")
@click.option(
    "-t",
    "--teacher",
    default="clip-vit-b-32",
    show_default=True,
    help="A name that `clip2yolo teachers` lists, local-dir:folder, or kind:model.",
)
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take ontology and teacher from a run's YAML file.",
)
@click.option(
    "--student",
    type=click.Path(path_type=Path),
    help="Ask a trained student instead: a run's folder, a student's, an exported folder, or a "
    "model's file.",
)
@click.option(
    "--reject",
    metavar="auto|none|SHARE",
    help="With --student: when it answers none of these. The share of pictures of its own classes "
    "that may be turned away, 0.05 for auto.  [default: auto, where it can]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    help="With --student, in PyTorch: what it computes with.  [default: auto, bf16 where the "
    "processor multiplies it faster]",
)
@click.option("--top", type=click.IntRange(min=1), help="Show only so many answers.")
@click.option("--device", default="auto", show_default=True, help="cuda, mps, cpu or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and warnings only.")
@click.option("-v", "--verbose", is_flag=True, help="Print what the libraries log, too.")
@click.pass_context
def classify(
    ctx: click.Context,
    images: tuple[str, ...],
    prompts: tuple[str, ...],
    teacher: str,
    config_file: Path | None,
    student: Path | None,
    reject: str | None,
    precision: Asked | None,
    top: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Say which of several prompts fits pictures best: files, folders, globs, addresses, or - for
    standard input.

    Example: clip2yolo classify car.jpg -p "a Toyota" -p "a Mercedes" -p "something else"
    """
    from pipeline.imports import only_answers
    from pipeline.terminal import TerminalListener

    set_logging(verbose)
    only_answers()
    listener = TerminalListener(quiet)
    asked = [bool(prompts), config_file is not None, student is not None]
    if sum(asked) != 1:
        raise ConfigError(
            "Give the answers to choose between in one way: several `--prompt`, a `--config` with "
            "an ontology, or a trained `--student`."
        )
    if student is not None:
        answers = _ask_student(images, student, reject, device, precision)
    elif reject is not None:
        raise ConfigError("Only a student can `--reject`. Give one with `--student`.")
    elif precision is not None:
        raise ConfigError("`--precision` is for students. Give one with `--student`.")
    else:
        answers = _ask_teachers(images, prompts, teacher, config_file, device, listener)
    failed, found = 0, []
    for answer in answers:
        if answer.problem is not None:
            failed += 1
            listener.warn(f"{answer.image}: {answer.problem}")
        elif not as_json:
            _print_answer(answer, top)
        if as_json:
            found.append(_as_dict(answer, top))
    if as_json:
        print_json(found)
    if failed:
        ctx.exit(1)


def _ask_student(
    images: tuple[str, ...],
    path: Path,
    reject: str | None,
    device: str,
    precision: Asked | None,
) -> Iterator[Answer]:
    from pipeline.classify import check_there, classify_or_refuse, classify_with_student
    from pipeline.export.open import Exported, open_student
    from pipeline.images.fetch import fetch_ahead
    from pipeline.student import Refusing
    from pipeline.student.precision import only_slower

    refuse = refused_share(reject or "auto")
    check_there(images)
    ahead = fetch_ahead(images)
    student = open_student(path, device, precision or "auto")
    if isinstance(student, Exported):
        if precision is not None:
            raise ConfigError("An export computes in what it was made in. Leave `--precision` out.")
    elif (slower := only_slower(student.precision, student.device)) is not None:
        echo(f"warning: {slower}", err=True)
    if refuse is None or (reject is None and not student.can_refuse):
        return classify_with_student(images, student, ahead=ahead)
    return classify_or_refuse(images, Refusing(student, refuse), ahead=ahead)


def _ask_teachers(
    images: tuple[str, ...],
    prompts: tuple[str, ...],
    teacher: str,
    config_file: Path | None,
    device: str,
    listener: TerminalListener,
) -> Iterator[Answer]:
    from pipeline.classify import check_there, classify_with_teachers
    from pipeline.config import load_config
    from pipeline.images.fetch import fetch_ahead
    from pipeline.ontology import build_ontology, ontology_of
    from pipeline.pixels import MAX_PIXELS
    from pipeline.teachers import teacher_named
    from pipeline.teachers.panel import load_panel, panel_of, prompt_warnings

    max_pixels = MAX_PIXELS
    if config_file is not None:
        config = load_config(config_file)
        ontology, max_pixels = ontology_of(config), config.max_pixels
        check_there(images)
        ahead = fetch_ahead(images)
        panel = panel_of(config, ontology, ontology.classes, listener)
    else:
        # A class may not be called everything that a prompt may; nobody sees these names.
        ontology = build_ontology({text: f"answer {n}" for n, text in enumerate(prompts)})
        asked = [teacher_named(teacher, device)]
        check_there(images)
        ahead = fetch_ahead(images)
        panel = load_panel(asked, ontology, ontology.classes, listener)
    for sentence in prompt_warnings(panel, ontology):
        listener.warn(sentence)
    return classify_with_teachers(images, panel, ontology, max_pixels, ahead)


def _print_answer(answer: Answer, top: int | None) -> None:
    import sys

    rows = answer.rows[:top]
    texts = [printable(row.text) for row in rows]
    width = max(map(len, texts))
    echo(answer.image)
    if answer.none:
        echo(f"  none of these: unlike any of them ({answer.unlike:.3f})")
    for row, text in zip(rows, texts, strict=True):
        similarity = "" if row.similarity is None else f"  {row.similarity:8.5f}"
        length = round(row.probability * _BAR)
        bar = f"  {'█' * length:<{_BAR}}" if sys.stdout.isatty() else ""
        echo(f"  {text:<{width}}{similarity}  {row.probability:7.5f}{bar}".rstrip())


def _as_dict(answer: Answer, top: int | None) -> dict[str, object]:
    if answer.problem is not None:
        return {"image": answer.image, "problem": answer.problem}
    rows = [
        {"prompt": row.text, "class": row.class_name}
        | ({} if row.similarity is None else {"similarity": round(row.similarity, 5)})
        | {"probability": round(row.probability, 5)}
        for row in answer.rows[:top]
    ]
    known: dict[str, object] = {"image": answer.image, "answers": rows}
    if answer.unlike is not None:
        known |= {"none": answer.none, "unlike": round(answer.unlike, 5)}
    return known


@main.command()
@on_a_run
def ontology(config: Config, listener: TerminalListener, as_json: bool) -> None:
    """Show how each prompt fares on the run's images, so that you see which wording to change.

    Example: clip2yolo ontology --config configs/packing_line.yaml
    """
    from dataclasses import asdict

    from pipeline import stages
    from pipeline.labels.prompts import advice
    from pipeline.terminal import print_table

    figures, images = stages.review_prompts(config, listener)
    if as_json:
        print_json([asdict(one) for one in figures])
        return
    print_table(
        f"Prompts on {counted(images, 'image')}",
        ["prompt", "class", "won", "mean margin", "nearest rival"],
        [
            [
                one.prompt,
                one.class_name,
                f"{one.won:,}",
                "–" if one.margin is None else f"{one.margin:.3f}",
                f"{one.rival} ({one.rival_class})",
            ]
            for one in figures
        ],
        left=("class", "nearest rival"),
    )
    for sentence in advice(figures, images):
        echo(sentence)
