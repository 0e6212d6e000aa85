"""The API budget: requests of the last 24 hours against the org's ceiling, and what is done as it runs low. Pure.

left of the ceiling
20 % and more    everybody works
under 20 %       bulk work pauses: what is left is live traffic's reserve
under 10 %       the live consumers' batching windows stretch, so that what is left lasts for the day
nothing          Salesforce says REQUEST_LIMIT_EXCEEDED: its breaker opens until the 24 hours move on
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: share of the ceiling under which live traffic spares it, too; bulk work has paused at its `api_reserve` before
SHORT = 0.1
#: share that must be free again before a breaker that a used-up budget opened closes: or it would open at the next batch
USABLE = 0.01
#: API requests that one window costs: a batch each of the two live queues, a mirrored one about 3 requests, a look at shared records about 7
REQUESTS_PER_WINDOW = 10
DAY_SECONDS = 86_400
#: batching windows in seconds, the last one SQS's longest; few steps, as every change of an event source mapping takes it a minute
WINDOWS = (1, 5, 10, 20, 40, 80, 160, 300)


@dataclass(frozen=True, slots=True)
class Usage:
    """API requests of the last 24 hours: used, and the org's ceiling."""

    used: int
    total: int

    @property
    def left(self) -> int:
        """Requests still allowed."""
        return max(0, self.total - self.used)

    @property
    def share_left(self) -> float:
        """0 to 1; an org without a ceiling has nothing left."""
        return self.left / self.total if self.total else 0.0

    @property
    def usable(self) -> bool:
        """Is there enough to go on?"""
        return self.share_left >= USABLE


def window(usage: Usage) -> int:
    """Seconds that the live consumers collect for one batch. Full batches don't wait."""
    if usage.share_left >= SHORT:
        return WINDOWS[0]
    needed = math.ceil(DAY_SECONDS * REQUESTS_PER_WINDOW / max(1, usage.left))
    return next((step for step in WINDOWS if step >= needed), WINDOWS[-1])
