# SPDX-License-Identifier: Apache-2.0
"""Running the builds of one benchmark program in turn, so that what drifts on the machine hits all of them.

As a program, with the same as JSON on stdin and stdout: for where the program has to run in the lab.
"""

import json
import subprocess
import sys

NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


class RunFailed(Exception):
    """A benchmark program ended with an error."""


def run_in_turn(builds, runs, pattern, min_time_s):
    """builds: [path]. Returns ({benchmark: [[nanoseconds of each run] of each build]}, {benchmark: why it was skipped}).

    Every other round goes backwards: none is always the first after the other.
    """
    times, skipped = {}, {}
    for number in range(runs):
        order = list(range(len(builds)))
        for index in order if number % 2 == 0 else reversed(order):
            for entry in _run(builds[index], pattern, min_time_s):
                if entry.get("error_occurred"):
                    skipped[entry["name"]] = entry["error_message"]
                    continue
                of_all = times.setdefault(entry["name"], [[] for _ in builds])
                of_all[index].append(_nanoseconds(entry))
    return times, skipped


def _run(program, pattern, min_time_s):
    command = [str(program), "--benchmark_format=json", f"--benchmark_filter={pattern}",
               f"--benchmark_min_time={min_time_s}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RunFailed(f"{program}: {result.stderr[-500:]}")
    # Nothing at all where no benchmark's name fits the pattern.
    return json.loads(result.stdout)["benchmarks"] if result.stdout.strip() else []


def _nanoseconds(entry):
    """CPU time is the quieter measure, but for what has several threads, or times itself."""
    by_wall = entry["name"].endswith(("/real_time", "/manual_time"))
    return entry["real_time" if by_wall else "cpu_time"] * NANOSECONDS[entry["time_unit"]]


if __name__ == "__main__":
    json.dump(run_in_turn(**json.loads(sys.argv[1])), sys.stdout)
