"""Why a launch fails."""


class StartError(Exception):
    """Why nothing (or nothing more) was started: one line, with the remedy.

    Attributes:
        code: exit code of the launcher; 2 where the person must change something, 1 where a child failed.
    """

    def __init__(self, what: str, *, code: int = 2) -> None:
        super().__init__(what)
        self.code = code
