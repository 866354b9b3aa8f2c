# SPDX-License-Identifier: Apache-2.0
"""Many moves: every tool in turn, and that repeatedly, so that what drifts on the machine hits them all."""

import sys
import time

from .measure import measure as measure_whole
from .tools import DidNotComplete


def run(tools, profiles, runs, place, measure=measure_whole):
    """Returns {(profile, tool): [{metric: value}]} and, in words, the moves that failed. Says on stderr how it goes."""
    results = {(profile.name, tool.name): [] for profile in profiles for tool in tools}
    failures = []
    started = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    for number in range(runs):
        for profile in profiles:
            for tool in tools:
                try:
                    values = measure(tool, profile, place)
                except (DidNotComplete, AssertionError) as error:
                    failures.append(f"{profile.name}, {tool.name}, run {number + 1}: {error}")
                    say(failures[-1])
                    continue
                results[profile.name, tool.name].append(values)
                say(f"{profile.name:9} {tool.name:22} {values['wall']:7.0f} ms total, "
                    f"{values['guest-downtime']:7.1f} ms downtime, {values['cpu']:5.2f} s CPU")
    return results, failures
