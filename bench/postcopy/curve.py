# SPDX-License-Identifier: Apache-2.0
"""The guest's progress over time, seen from outside: how fast it was, stood still, and became again."""

import statistics

_STEP_S = 0.010    # of the curve
_STEADY_S = 0.100  # as long the guest has to be fast for it to count
_QUIET_S = 0.2     # between the end of the move and the rate after it


class Curve:
    """samples: [(seconds, heartbeat of the source, of the destination)]. The guest counts as running on the destination
    from the first heartbeat beyond the source's last one: before that what changes there are only copies."""

    def __init__(self, samples, started_s, finished_s):
        last = samples[-1][1]
        # The source's last step, and the destination's first one.
        self.stopped_s = next(at for at, source, _ in samples if source == last)
        self.running_s = next(at for at, _, destination in samples
                              if at >= self.stopped_s and _beyond(destination, last) > 0)
        self.handover_gap_ms = (self.running_s - self.stopped_s) * 1e3
        self._progress = [(at, _beyond(source if at < self.running_s else destination, samples[0][1]))
                          for at, source, destination in samples]
        before = [rate for at, rate in self._rates(samples[0][0], started_s)]
        after = [rate for at, rate in self._rates(finished_s + _QUIET_S, samples[-1][0])]
        assert before and after, "the guest was not watched for long enough"
        self.rate_before = statistics.median(before)
        self.rate_after = statistics.median(after)
        # Another host, or another hour of this one, may be slower; what is to be reached is there to be reached.
        self.normal = min(self.rate_before, self.rate_after)
        assert self.normal > 0, "the guest hardly had a CPU before the move, or after it"
        self._rates_since = self._rates(self.stopped_s, samples[-1][0])
        self.to_90_percent_ms = self._time_to(0.9)
        until = finished_s + _QUIET_S
        self.lost_ms = sum(max(0.0, 1 - rate / self.normal) * _STEP_S * 1e3
                           for at, rate in self._rates(started_s, until))

    def _at(self, when_s, index):
        """Progress at a time, by straight lines between samples; and the sample from where to look for later ones."""
        points = self._progress
        while index + 1 < len(points) and points[index + 1][0] <= when_s:
            index += 1
        here = points[index]
        if index + 1 == len(points):
            return here[1], index
        there = points[index + 1]
        return here[1] + (there[1] - here[1]) * (when_s - here[0]) / (there[0] - here[0]), index

    def _rates(self, begin_s, end_s):
        """[(start, steps per second)] of each step of the curve."""
        rates = []
        value, index = self._at(begin_s, 0)
        number = 1
        while begin_s + number * _STEP_S <= end_s:
            later, index = self._at(begin_s + number * _STEP_S, index)
            rates.append((begin_s + (number - 1) * _STEP_S, (later - value) / _STEP_S))
            value = later
            number += 1
        return rates

    def _time_to(self, part):
        """Milliseconds from the guest's stop until it is that fast, and stays so for a while; None: not seen."""
        window = round(_STEADY_S / _STEP_S)
        rates = [rate for _, rate in self._rates_since]
        for index in range(len(rates) - window):
            if rates[index] >= part * self.normal and \
               statistics.mean(rates[index:index + window]) >= part * self.normal:
                return index * _STEP_S * 1e3
        return None

    def as_json(self):
        """Progress in each 10 ms from the guest's stop on, of the normal rate."""
        return {"step_ms": _STEP_S * 1e3, "rate_before_per_s": round(self.rate_before),
                "rate_after_per_s": round(self.rate_after),
                "of_normal": [round(rate / self.normal, 3) for _, rate in self._rates_since]}


def _beyond(value, start):
    """value - start of 32-bit counters, as a signed number."""
    return (value - start + (1 << 31)) % (1 << 32) - (1 << 31)
