# SPDX-License-Identifier: Apache-2.0
"""How much slower or faster one build is than another, and how sure that is.

What is looked at are the ratios of neighbours in time. The interval is that of their median, by a percentile bootstrap:
it asks nothing of how the ratios are distributed, as long as there are some eight of them.
"""

import random
import statistics

RESAMPLES = 4000
CONFIDENCE = 0.95


def compare(before, after):
    """Of times: {"ratio", "low", "high", "differs"}; a ratio above 1 is slower."""
    ratios = [there / here for here, there in zip(before, after)]
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    low, high = medians[int(tail * RESAMPLES)], medians[int((1 - tail) * RESAMPLES) - 1]
    return {"ratio": statistics.median(ratios), "low": low, "high": high, "differs": low > 1 or high < 1}
