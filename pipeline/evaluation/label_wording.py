"""What is said of the labels, the same in the report and in its Markdown."""

from __future__ import annotations

from pipeline.evaluation.label_record import LabelFigures, SuspectFigures
from pipeline.evaluation.wording import interval, percent
from pipeline.values import counted


def label_sentences(labels: LabelFigures) -> list[str]:
    """Return what refinement did, what it changed, and whether that was right."""
    sentences = [labels.why] if labels.why else []
    if labels.moved_known:
        sentences.append(
            f"Of {counted(labels.moved_known, 'moved image')} whose class a person gave, "
            f"{labels.moved_right:,} are right now and {labels.moved_were_right:,} were right by "
            "the words alone."
        )
    if labels.refined and labels.refined_accuracy and labels.plain_accuracy:
        refined, plain = labels.refined_accuracy, labels.plain_accuracy
        sentences.append(
            f"Of all guesses that can be checked, accepted or not, {percent(refined.value)} are "
            f"right ({interval(refined)}, n = {refined.n:,}); by the words alone it would be "
            f"{percent(plain.value)} ({interval(plain)})."
        )
    if labels.rejected:
        sentences.append(f"{counted(labels.rejected, 'image')} abstained, as they fit no class.")
    if labels.labeled_before:
        sentences.append(
            f"{labels.changed:,} of {counted(labels.labeled_before, 'earlier label')} are others "
            "since the last labeling."
        )
    return sentences


def suspect_sentences(suspects: SuspectFigures | None) -> list[str]:
    """Return how many of the likeliest errors are wrong, or how many wait for a person."""
    if suspects is None or not suspects.shown:
        return []
    looked = counted(suspects.images, "accepted label")
    first = f"Of {looked} that the student learned or was chosen by, {suspects.shown:,} "
    if not suspects.known:
        return [f"{first}look likeliest wrong by what it sees; nobody has said how many are."]
    of_known = (
        "" if suspects.known == suspects.shown else f" {suspects.known:,} whose class is known"
    )
    return [
        f"{first}look likeliest wrong by what it sees: {suspects.wrong:,} of these"
        f"{of_known or f' {suspects.shown:,}'} are wrong."
    ]
