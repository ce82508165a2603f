"""What follows the commit of something the engine must see. Nothing here can fail, so no stored effect is denied."""

from api.deps import AppState
from store.endings import Ending
from store.events import Accepted


def follow(state: AppState, session_id: str, stored: Accepted | Ending) -> None:
    """Show viewers what was stored, and wake the session if it owes work."""
    if isinstance(stored, Ending):
        wake, signal = stored.wake, True
    else:
        wake, signal = stored.wake, stored.signal
    announce(state, session_id, stored.last_seq)
    if wake:
        state.waker.wake(session_id, signal=signal)


def announce(state: AppState, session_id: str, last_seq: int) -> None:
    """Show viewers of a session what is new in its log."""
    if state.live is not None:
        state.live.announce(session_id, last_seq)
