"""Where a student is right and where it is not, in sentences, the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.slices import KINDS
from pipeline.evaluation.wording import interval, percent

if TYPE_CHECKING:
    from pipeline.evaluation.analysis_record import Slice
    from pipeline.evaluation.metrics import ConfidenceBin
    from pipeline.evaluation.record import Evaluation

_TOLD = 5  # slices
_FAR = 0.02  # between confidence and accuracy, from where on it is told
_LEVEL = 0.05


def reliability_sentences(evaluation: Evaluation) -> list[str]:
    """Say of teacher, labels and student how sure they are, and how often they are right."""
    found = evaluation.reliability
    if found is None:
        return []
    sides = (
        ("The teacher", "is", found.teacher),
        ("The labels", "are", found.labels),
        ("The student", "is", found.student),
    )
    return [_reliability(*side) for side in sides if any(slot.n for slot in side[2])]


def _reliability(who: str, verb: str, bins: Sequence[ConfidenceBin]) -> str:
    total = sum(slot.n for slot in bins)
    sure = sum(slot.n * (slot.confidence or 0.0) for slot in bins) / total
    right = sum(slot.n * (slot.accuracy or 0.0) for slot in bins) / total
    gap = sum(slot.n * abs((slot.accuracy or 0) - (slot.confidence or 0)) for slot in bins) / total
    if abs(sure - right) < _FAR:
        verdict = "as sure as it should be" if verb == "is" else "as sure as they should be"
    else:
        verdict = "too sure" if sure > right else "less sure than it could be"
        if verb == "are" and sure <= right:
            verdict = "less sure than they could be"
    return (
        f"{who} {verb} {percent(sure)} sure on average and right on {percent(right)}: on the whole "
        f"{verdict} (calibration error {gap:.3f}, {total:,} images)."
    )


def slice_sentences(evaluation: Evaluation) -> list[str]:
    """Say on which images the student is significantly worse than on the others; of slices that lie
    within one another, the clearest. Where there are none, say how many were looked at."""
    slices = evaluation.slices
    if not slices:
        return []
    significant = clearest(slices)
    right = "right on" if slices[0].accuracy else "of one mind with the teacher on"
    if not significant:
        kinds = sorted({one.by for one in slices}, key=KINDS.index)
        return [
            f"Looked at: {len(slices)} groups of held-out images, by {_listed(kinds)}. On none of "
            f"them is the student significantly less often {right.removesuffix(' on')} than on the "
            "other images."
        ]
    sentences = [_slice(one, right, len(slices)) for one in significant[:_TOLD]]
    if (more := len(significant) - _TOLD) > 0:
        sentences.append(f"It is worse on {more} more groups of images, too.")
    return sentences


def clearest(slices: Sequence[Slice]) -> list[Slice]:
    """Return the significant ones without those that say the same less clearly: of one end of a
    scale the darkest tenth or the darkest quarter, of folders in one another the worst."""
    kept: list[Slice] = []
    for one in slices:  # the worst comes first
        if one.significant and not any(_same(one, other) for other in kept):
            kept.append(one)
    return kept


def _same(one: Slice, other: Slice) -> bool:
    if one.by != other.by:
        return False
    if one.by == "source":
        places = f"{one.name}/", f"{other.name}/"
        return places[0].startswith(places[1]) or places[1].startswith(places[0])
    return one.name.split(":")[0] == other.name.split(":")[0]


def _slice(one: Slice, right: str, looked_at: int) -> str:
    p = "< 0.001" if one.p_corrected < 0.001 else f"= {one.p_corrected:.3f}"
    what, _, exactly = one.name.partition(": ")
    which = f"from {one.name!r}" if one.by == "source" else f"that are {what}"
    which += f" ({exactly})" if exactly and one.by != "source" else ""
    sentence = (
        f"On {one.n:,} images {which} the student is {right} {percent(one.figure.value)} "
        f"({interval(one.figure)} with 95 % confidence), on the {one.rest.n:,} others on "
        f"{percent(one.rest.value)} (exact test, corrected for {looked_at} groups that were looked "
        f"at: p {p})."
    )
    if one.within_classes is not None and one.within_classes >= _LEVEL:
        sentence += (
            " That may be because of the classes that they show: compared with images of their own "
            "class they are not significantly worse."
        )
    return sentence


def look_alike_sentence(evaluation: Evaluation) -> str:
    """Say how many held-out images look like learned ones, and what became of them; "" where nobody
    looked."""
    found = evaluation.look_alikes
    if found is None:
        return ""
    compared = f"{found.compared:,} held-out images with {found.learned:,} learned ones"
    if not found.count:
        return f"Compared by {found.seen_by}: {compared}; none looks like one."
    sentence = (
        f"Of {found.compared:,} held-out images {found.count:,} "
        f"{'looks' if found.count == 1 else 'look'} like one of {found.learned:,} learned images, "
        f"by {found.seen_by}, "
    )
    if found.left_out:
        return sentence + "and are left out."
    sentence += "and are evaluated on all the same."
    if found.on_alike and found.on_others:
        right = "right on" if evaluation.held_out.has_truth else "of one mind with the teacher on"
        sentence += (
            f" The student is {right} {percent(found.on_alike.value)} of those and on "
            f"{percent(found.on_others.value)} of the others."
        )
    return sentence


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
