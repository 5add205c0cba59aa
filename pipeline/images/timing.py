"""When the frames of a film are shown, and which of them are taken."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pipeline.values import Sampling

_RECENT = 25  # frames that say how long one usually lasts
_WOBBLE = 0.1  # seconds that a timestamp may lie behind its predecessor without starting anew
# Seconds without a frame from which on the timestamps have jumped: where the container's clock may
# be set anew in the middle, and where it may not. Players draw the line at the same places.
_PAUSE = 10.0
_LONG_PAUSE = 3600.0
_FAR = 10.0  # times as long as the longest frame of late, which is what a jump must be, too
_SIMILAR = 3.0  # mean difference of grey levels, 0 to 255, up to which two frames count as alike
_ROUNDED = 1e-3  # seconds to which a film's times may be rounded, as in Matroska
_THUMBNAIL = (16, 9)  # small, so that the noise of a camera averages out


@dataclass
class FilmTime:
    """Turns timestamps into seconds from the first frame, which never run backwards.

    Where timestamps start anew or jump, as in recordings that were joined, time goes on by what a
    frame usually lasts.
    """

    restarts: bool  # whether the container's clock may be set anew in the middle
    length: float  # seconds that the container's header speaks of, 0 where it does not
    otherwise: float  # seconds that a frame lasts where nothing else is known
    jumped: bool = False
    _seconds: float = 0.0
    _stamp: float | None = None  # the last one
    _base: float = 0.0  # the timestamp of second 0
    _stated: float = 0.0
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _begun: bool = False

    def tell(self, stamp: float | None, stated: float) -> float:
        """Return the seconds at which the next frame begins.

        Args:
            stamp: its timestamp in seconds, None where it has none.
            stated: seconds that it says it lasts, 0 where it does not say.
        """
        before = self._seconds
        if not self._begun:
            self._base, self._begun = stamp or 0.0, True
        elif stamp is None:
            self._seconds = before + self._usual()
        elif self._stamp is None or self._jumps(stamp, stamp - self._stamp):
            self.jumped = self._stamp is not None
            self._seconds = before + self._usual()
            self._base = stamp - self._seconds
        else:
            self._seconds = max(before, stamp - self._base)
            if self._seconds > before:
                self._recent.append((self._seconds - before, self._stated))
        self._stamp = self._stamp if stamp is None else stamp
        self._stated = stated
        return self._seconds

    def lasts(self) -> float:
        """Return the seconds that the last frame lasts.

        What it says of itself counts where the frames before it lasted as long as they said; a
        header that states one rate for a show of slides is not believed.
        """
        kept = [abs(step - said) <= max(2 * _ROUNDED, said / 10) for step, said in self._recent]
        if self._stated > 0 and 2 * sum(kept) >= len(kept):
            return self._stated
        return self._usual()

    def _usual(self) -> float:
        if self._recent:
            return statistics.median(step for step, _ in self._recent)
        return self._stated if self._stated > 0 else self.otherwise

    def _jumps(self, stamp: float, step: float) -> bool:
        if step < 0:
            return step < -_WOBBLE
        # A film whose frames all last long has no jumps between them.
        if step <= _FAR * max((step for step, _ in self._recent), default=0.0):
            return False
        if self.restarts:
            return step > (_PAUSE if self._recent else _LONG_PAUSE)
        return step > _LONG_PAUSE and stamp - self._base > self.length


@dataclass
class Chooser:
    """Decides which frames are kept."""

    sampling: Sampling
    due: float = 0.0  # seconds
    last: np.ndarray | None = field(default=None, repr=False)

    def wants(self, number: int, start: float, end: float) -> bool:
        """Say whether a frame's number is one of those asked for, or whether it is the one that is
        shown at a point of the grid of times.

        Args:
            number: from 0.
            start: seconds at which it appears.
            end: seconds at which the next one does.
        """
        if self.sampling.frames is not None:
            return number % self.sampling.frames == 0
        step = self.sampling.seconds
        assert step is not None
        near = min(_ROUNDED, step / 2)
        if start + near < self.due and end - near <= self.due:
            return False
        # The next point that it is not shown at: each frame is kept once, however long it stays.
        self.due = max(np.floor((start + near) / step) + 1, np.ceil((end - near) / step)) * step
        return True

    def differs(self, image: Image.Image) -> bool:
        """Say whether the frame differs from the last one that was kept."""
        if not self.sampling.skip_similar:
            return True
        small = image.convert("L").resize(_THUMBNAIL, Image.Resampling.BOX)
        grey = np.asarray(small, np.float32)
        if self.last is not None and float(np.abs(grey - self.last).mean()) <= _SIMILAR:
            return False
        self.last = grey
        return True
