# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench-micro makes of times: whether it sees what differs, and only that."""

import pathlib
import random
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

from micro.comparison import compare  # noqa: E402
from micro.interleave import run_in_turn  # noqa: E402


def noisy(generator, center, count=10):
    """Times as they are on a busy machine: 3 % of scatter, and now and then one twice as long."""
    return [center * generator.gauss(1, 0.03) * (2 if generator.random() < 0.05 else 1) for _ in range(count)]


class Comparison(unittest.TestCase):
    def test_what_takes_a_tenth_longer_is_seen(self):
        generator = random.Random(7)
        found = [compare(noisy(generator, 100), noisy(generator, 110)) for _ in range(20)]
        self.assertGreater(sum(row["differs"] and row["ratio"] > 1 for row in found), 17)

    def test_what_is_the_same_is_seldom_said_to_differ(self):
        generator = random.Random(7)
        found = [compare(noisy(generator, 100), noisy(generator, 100)) for _ in range(60)]
        self.assertLess(sum(row["differs"] for row in found), 10)

    def test_interval_holds_the_ratio(self):
        row = compare([100, 101, 99, 100], [50, 51, 49, 50])
        self.assertLessEqual(row["low"], row["ratio"])
        self.assertLessEqual(row["ratio"], row["high"])
        self.assertAlmostEqual(row["ratio"], 0.5, delta=0.02)

    def test_drift_that_hits_both_is_no_difference(self):
        drift = [100 * 1.2 ** number for number in range(10)]
        self.assertFalse(compare(drift, [time * 1.0 for time in drift])["differs"])


class Interleaving(unittest.TestCase):
    def test_builds_take_turns(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        log = folder / "log"
        builds = []
        for name, time in (("a", 100), ("b", 200)):
            program = folder / name
            program.write_text(f"#!/bin/sh\nprintf {name} >>{log}\n"
                               f"echo '{{\"benchmarks\": [{{\"name\": \"x\", \"cpu_time\": {time}, \"real_time\": 1, "
                               "\"time_unit\": \"us\"}]}'\n")
            program.chmod(0o755)
            builds.append(program)
        times, skipped = run_in_turn(builds, 3, "x", 0.1)
        self.assertEqual(log.read_text(), "abbaab")
        self.assertEqual(times, {"x": [[100e3] * 3, [200e3] * 3]})
        self.assertEqual(skipped, {})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
