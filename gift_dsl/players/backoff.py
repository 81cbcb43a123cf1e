"""How long to wait before a failed request is sent again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter (M. Brooker, AWS Architecture Blog, 2015), or what the server asks for.

    Attributes:
        base_s: most seconds before the first further try; doubles with each try.
        cap_s: most seconds before any try.
        retry_after_cap_s: most seconds that a server's `Retry-After` is waited for.
    """

    base_s: float = 0.5
    cap_s: float = 30.0
    retry_after_cap_s: float = 120.0

    def delay_s(self, failures: int, retry_after_s: float | None, uniform: Callable[[float, float], float]) -> float:
        """Seconds to wait.

        Args:
            failures: tries that failed so far, at least 1.
            retry_after_s: what the server asked for; the jitter is added to it, so that not all come back at once.
            uniform: draws a number between two.
        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 60))
        jitter = uniform(0.0, ceiling)
        return jitter if retry_after_s is None else min(retry_after_s, self.retry_after_cap_s) + jitter


def read_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3): a number or a date.

    Args:
        value: of the header.
        now: the time that a date is compared with; the present unless given.

    Returns:
        At least 0; None where there is no header or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, now or datetime.now(UTC))
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    # "-0000" means an unknown zone, which HTTP has not: its dates are always GMT.
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())
