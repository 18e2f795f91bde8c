"""A sum over the ranks that goes on while its rank computes."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

NAP_SECONDS = 3e-4
"""Between two looks of the thread: it shares a core with what computes."""


class EarlySum:
    """A sum that was begun before all of its rank's work was done.

    MPI libraries move big messages only when they are called; a thread does that meanwhile.
    """

    def __init__(self, request: Any) -> None:
        """Take an MPI request under way."""
        self._request = request
        self._is_over = False
        self._thread = threading.Thread(target=self._keep_going, daemon=True)
        self._thread.start()

    def _keep_going(self) -> None:
        with contextlib.suppress(Exception):  # the next one to ask hears of it
            while not self._is_over and not self._request.Test():
                time.sleep(NAP_SECONDS)

    def handed_over(self) -> Any:
        """Return the request, to be waited for by the caller alone."""
        self._is_over = True
        self._thread.join()
        return self._request
