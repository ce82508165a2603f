"""What streams are made of: frames as bytes, and which previews may stand between them."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from protocol.frames import PREVIEWED_TYPES, Frame, encode_frame
from store.live_previews import text_length
from store.live_watch import Preview

_MOST_BEGUN: Final = 256


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame as the bytes that every viewer of it is sent."""

    seq: int | None
    event_id: str
    type: str
    data: bytes


def piece_of(frame: Frame) -> Piece:
    """Encode a frame, once for all its viewers."""
    return Piece(frame.seq, frame.event_id, frame.type, encode_frame(frame))


class Previewed:
    """Which previews may be shown: after their start, without a gap, and never after the event itself."""

    __slots__ = ("_lengths", "_over", "types")

    def __init__(self, types: frozenset[str]) -> None:
        self.types = types
        self._lengths: dict[str, int] = {}
        self._over: deque[str] = deque(maxlen=32)

    def admit(self, preview: Preview) -> bool:
        """Return whether the preview may be shown now, and count it as shown."""
        event = preview.event
        if event["type"] == "event_start":
            event_id = event["event"]["id"]
            if event["event"]["type"] not in self.types or event_id in self._over:
                return False
            self._lengths.pop(event_id, None)
            if len(self._lengths) >= _MOST_BEGUN:
                self._lengths.pop(next(iter(self._lengths)))
            self._lengths[event_id] = 0
            return True
        event_id = event["event_id"]
        if self._lengths.get(event_id) != preview.at:
            self._lengths.pop(event_id, None)
            return False
        self._lengths[event_id] += text_length(event)
        return True

    def end(self, piece: Piece) -> None:
        """Show no more previews of the event that is shown now."""
        if piece.type in PREVIEWED_TYPES:
            self._lengths.pop(piece.event_id, None)
            self._over.append(piece.event_id)
