"""A sum over the ranks that goes on while its rank computes."""

from __future__ import annotations

import threading
import time
from typing import Any

NAP_SECONDS = 3e-4
"""Between two looks of the thread: it shares a core with what computes."""


class EarlySum:
    """A sum that was begun before all of its rank's work was done.

    MPI libraries move big messages only when they are called; a thread does that meanwhile.
    """

    def __init__(self, request: Any, errors: type[Exception]) -> None:
        """Take a request under way.

        Args:
            request: MPI's.
            errors: what it raises; told to who takes it over.
        """
        self._request = request
        self._errors = errors
        self._error: Exception | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._keep_going, daemon=True)
        self._thread.start()

    def _keep_going(self) -> None:
        try:
            while not self._is_over and not self._request.Test():
                time.sleep(NAP_SECONDS)
        except self._errors as error:
            self._error = error

    def handed_over(self) -> Any:
        """Return the request, to be waited for by the caller alone; raise what it has raised."""
        self._is_over = True
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._request
