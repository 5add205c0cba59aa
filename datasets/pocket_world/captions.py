"""Captions: what may truly be said of a picture, in many wordings.

A picture's `Facts` and a caption's `Facts` have the same form; a caption leaves open (None) what
it does not speak of, and is true of a picture that agrees with the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from pocket_world.things import THINGS

Rng = np.random.Generator

EMPTY = "empty"
MANY = 9  # a plural without a number: two or more

COLORS = sorted({color for thing in THINGS.values() for color in thing.colors})
KINDS = [*THINGS, EMPTY]
LIGHTS = ("dim", "bright", "warm")
PLACES: dict[str, tuple[str, ...]] = {
    "belt": ("conveyor belt", "conveyor belt", "belt", "conveyor", "production line"),
    "table": ("table", "wooden table", "wooden board", "desk"),
    "grass": ("lawn", "green lawn", "meadow"),
    "cloth": ("cloth", "tablecloth", "blanket"),
    "concrete": ("concrete floor", "stone floor", "floor"),
    "paper": ("sheet of paper", "white sheet", "piece of paper"),
    "sand": ("beach", "sandy beach", "patch of sand"),
    "plate": ("plate", "dish", "round plate"),
}
_BARE = {"grass": "grass", "concrete": "concrete", "paper": "paper", "sand": "sand"}
_NUMBERS = {2: "two", 3: "three"}
_FRAMES = (
    "{}", "{}", "{}", "a photo of {}", "a photo of {}", "a picture of {}", "an image of {}",
    "a photograph of {}", "there is {} here", "this is {}", "a close up of {}", "a view of {}",
    "a blurry photo of {}", "a camera image of {}", "we see {}",
)  # fmt: skip
_LIT = {
    "dim": ("in dim light", "in the dark", "in low light"),
    "bright": ("in bright light", "in the sun", "brightly lit"),
    "warm": ("in warm light", "in evening light", "by lamp light"),
}
_RIPE = {"green": "unripe", "yellow": "ripe"}
_OTHER_NAMES = {"cup": ("cup", "mug", "coffee cup"), "box": ("box", "cardboard box", "carton"),
                "can": ("can", "tin can", "soda can"), "ball": ("ball", "toy ball")}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a picture shows, or what a caption claims; None where a caption is silent."""

    thing: str | None = None
    color: str | None = None
    count: int | None = None
    place: str | None = None
    light: str | None = None

    def true_of(self, picture: Facts) -> bool:
        """Whether a caption with these facts holds for `picture`."""
        counted = self.count in (None, picture.count) or (
            self.count == MANY and picture.count in (2, 3)
        )
        return counted and all(
            claim is None or claim == fact
            for claim, fact in (
                (self.thing, picture.thing), (self.color, picture.color),
                (self.place, picture.place), (self.light, picture.light),
            )
        )  # fmt: skip


def article(phrase: str) -> str:
    """`phrase` with "a" or "an" before it."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural_of(name: str, thing: str) -> str:
    """The plural of a name of `thing`: "coffee cup" -> "coffee cups"."""
    head, _, last = name.rpartition(" ")
    many = THINGS[thing].plural if last == thing else last + "s"
    return f"{head} {many}".strip()


def _where(place: str, rng: Rng) -> str:
    if place in _BARE and rng.random() < 0.6:
        bare = _BARE[place]
        within = "in" if bare == "grass" and rng.random() < 0.4 else "on"
        return f"{within} {'the ' if rng.random() < 0.4 else ''}{bare}"
    name = PLACES[place][rng.integers(len(PLACES[place]))]
    return f"on {'the ' + name if rng.random() < 0.2 else article(name)}"


def _empty(place: str, rng: Rng) -> str:
    bare = place in _BARE and rng.random() < 0.4
    name = _BARE[place] if bare else PLACES[place][rng.integers(len(PLACES[place]))]
    roll = rng.random()
    if roll < 0.66:
        return f"empty {name}" if bare else article(f"empty {name}")
    if roll < 0.76:
        return f"nothing on {name if bare else article(name)}"
    if roll < 0.88:
        return f"{name if bare else article(name)} with nothing on it"
    return f"just {name if bare else article(name)}"


def _named(facts: Facts, rng: Rng) -> str:
    thing = facts.thing or ""
    others = _OTHER_NAMES.get(thing, (thing,))
    name = others[rng.integers(len(others))] if rng.random() < 0.5 else thing
    if facts.color:
        # "an orange orange" says nothing; fruit of one color is named without it by the sampler.
        ripe = thing == "banana" and facts.color in _RIPE and rng.random() < 0.25
        name = f"{_RIPE[facts.color] if ripe else facts.color} {name}"
    if thing == "grapes":
        return f"a bunch of {name}" if rng.random() < 0.4 else name
    if facts.count is None:
        return name
    if facts.count == 1:
        if rng.random() < 0.1:
            return f"{'one' if rng.random() < 0.15 else 'single'} {name}"
        return article(name)
    many = plural_of(name, thing)
    if facts.count == MANY:
        return f"some {many}" if rng.random() < 0.4 else many
    return f"{_NUMBERS[facts.count]} {many}"


def phrase(claim: Facts, rng: Rng) -> str:
    """Word a claim, within one of many frames ("a photo of …")."""
    if claim.thing == EMPTY and claim.place:
        body = _empty(claim.place, rng)
    else:
        body = _named(claim, rng) if claim.thing else "something"
        if claim.place:
            body = f"{body} {_where(claim.place, rng)}"
    if claim.light:
        options = _LIT[claim.light]
        body = f"{body} {options[rng.integers(len(options))]}"
    return _FRAMES[rng.integers(len(_FRAMES))].format(body)


def claim_about(picture: Facts, rng: Rng) -> Facts:
    """A true claim about `picture` that leaves some of its facts open."""
    place = picture.place if rng.random() < 0.6 else None
    light = picture.light if picture.light in _LIT and rng.random() < 0.4 else None
    if picture.thing == EMPTY:
        return Facts(EMPTY, None, None, picture.place, light)
    if place and rng.random() < 0.06:
        return Facts(None, None, None, place, light)
    thing = THINGS[picture.thing or ""]
    color = picture.color if len(thing.colors) > 1 and rng.random() < 0.5 else None
    count: int | None = picture.count
    if picture.count in (2, 3) and rng.random() < 0.35:
        count = MANY
    elif rng.random() < 0.08:
        count = None
    return Facts(picture.thing, color, count, place, light)


def words_of(caption: str) -> list[str]:
    """The lowercase words of a caption or a prompt."""
    return re.findall(r"[a-z]+", caption.lower())
