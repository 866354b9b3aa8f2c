# SPDX-License-Identifier: Apache-2.0
"""One measurement by perftest's ib_{write,read}_{bw,lat}."""

from harness.listening import listens

from .processes import MeasurementFailed, run_pair

NAME = "perftest"
PORT = 18515
GID_INDEX = 1  # RoCEv2 over IPv4


def measure(transfer, host):
    """Returns {"mib_per_s"}, or {"median_us", "p99_us"}."""
    tool = f"ib_{transfer.verb}_{'bw' if transfer.measure == 'bandwidth' else 'lat'}"
    # -F: whatever the CPU's frequency does. -N: without the search for a peak, which takes a time stamp each.
    command = [tool, "-x", str(GID_INDEX), "-p", str(PORT), "-F",
               "-s", str(transfer.size_bytes), "-n", str(transfer.iterations)]
    if transfer.measure == "bandwidth":
        command += ["-N", "-q", str(transfer.queue_pairs), "-t", str(transfer.depth)]
        if transfer.verb == "read":
            command += ["-o", str(transfer.reads_in_flight)]
    serve = [*command, "-d", transfer.peer_device or transfer.device]
    output = run_pair(serve, [*command, "-d", transfer.device, host], lambda pid, _: listens(pid, PORT))
    return _parse(output, transfer.measure)


def _parse(output, measure_name):
    """The row of figures is the one below the headings."""
    lines = iter(output.splitlines())
    for line in lines:
        if line.lstrip().startswith("#bytes"):
            values = [float(word) for word in next(lines).split()]
            # #bytes #iterations BW-peak BW-average …, a MB being 2^20 bytes
            if measure_name == "bandwidth":
                return {"mib_per_s": values[3]}
            # #bytes #iterations t_min t_max t_typical t_avg t_stdev 99% 99.9%; typical is the median
            return {"median_us": values[4], "p99_us": values[7]}
    raise MeasurementFailed(f"perftest printed no figures: {output[-500:]}")
