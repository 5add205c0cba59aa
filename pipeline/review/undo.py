"""Taking answers back: the history is only added to, so what stood before is said again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.labels.answers import Answer, Kind, now

# Begins the act of an answer that takes one back: "undo:", the act that is taken back, ":", and the
# act whose answer stands again.
_UNDO = "undo:"


def taken_back(
    history: Sequence[Answer],
    fits: Callable[[Answer], bool],
    who: str,
    decided: Callable[[Sequence[str]], Mapping[str, str]],
) -> tuple[list[Answer], int]:
    """Return the answers that take back the last act that fits, and how many answers of it stay as
    they are, since somebody has answered after them.

    An act that was taken back, or of which nothing stands any more, is passed over.

    Args:
        history: all answers of one purpose, in their order.
        fits: says of an answer whether its act may be taken back.
        who: takes it back.
        decided: returns of ids what was decided in other places, image id → class.
    """
    undone = {_taken(a) for a in history if a.act.startswith(_UNDO)}
    mine = dict.fromkeys(
        a.act
        for a in reversed(history)
        if a.act and fits(a) and not a.act.startswith(_UNDO) and a.act not in undone
    )
    last = {answer.id: answer for answer in history}
    passed = 0
    for act in mine:
        said = {answer.id for answer in history if answer.act == act}
        stands = [image_id for image_id in said if _origin(last[image_id]) == act]
        if stands:
            return _mended(history, act, stands, who, decided(stands)), len(said) - len(stands)
        passed = passed or len(said)
    return [], passed


def _mended(
    history: Sequence[Answer], act: str, ids: Sequence[str], who: str, decided: Mapping[str, str]
) -> list[Answer]:
    """What says again what stood before an act."""
    before: dict[str, Answer] = {}
    wanted = set(ids)
    order = [answer.id for answer in history if answer.act == act and answer.id in wanted]
    for answer in history:
        if answer.act == act:
            break
        before[answer.id] = answer
    mended, at = [], now()
    for image_id in dict.fromkeys(order):
        earlier = before.get(image_id)
        kind: Kind = "withdrawn" if earlier is None else earlier.kind
        mended.append(
            Answer(
                id=image_id,
                kind=kind,
                class_name=None if earlier is None else earlier.class_name,
                purpose=history[0].purpose,
                who=who,
                at=at,
                over=decided.get(image_id),
                act=f"{_UNDO}{act}:{'' if earlier is None else _origin(earlier)}",
            )
        )
    return mended


def _origin(answer: Answer) -> str:
    """The act that an answer came from; of one that an undo brought back, its first."""
    return answer.act.rsplit(":", 1)[-1]


def _taken(answer: Answer) -> str:
    """The act that an undo took back."""
    return answer.act.removeprefix(_UNDO).split(":", 1)[0]
