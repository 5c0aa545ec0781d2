"""A progress bar for the engine's start."""

from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from legato.engine.load_progress import LoadProgress


class LoadBar:
    """A bar on stderr, one stage after the other; nothing where nobody watches."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def update(self, progress: LoadProgress) -> None:
        """Shows how far the engine has come."""
        if progress.stage != self._stage:
            self._close()
            self._stage = progress.stage
            self._bar = tqdm(
                desc=progress.stage, unit=progress.unit, unit_scale=True, leave=False, disable=None
            )
        assert self._bar is not None
        self._bar.total = progress.total or None
        self._bar.update(progress.done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
