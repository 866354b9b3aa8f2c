# SPDX-License-Identifier: Apache-2.0
"""Whether somebody listens, looked up rather than tried: a connection that is only a try would be served."""


def listens(pid, port):
    """Whether a TCP socket in the process's network namespace listens at that port."""
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:
            return False
        if any(row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port for row in rows):
            return True
    return False
