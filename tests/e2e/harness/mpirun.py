# SPDX-License-Identifier: Apache-2.0
"""The launchers of Open MPI and MPICH, which reach the hosts of a Star by `ip netns exec` where they would use ssh."""

import os
import subprocess

# Called as ssh is: options, the host, a command. Each host has a name of its own, as Open MPI wants it.
_AGENT = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
number=${1##*.}
shift
eval "namespace=\\$NAMESPACE_$number"
exec ip netns exec "$namespace" unshare --uts sh -c "hostname n$number && $*"
"""


def _run(namespace, command, environment=None):
    return subprocess.run(["/sbin/ip", "netns", "exec", namespace.name, *command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, env={**os.environ, **(environment or {})},
                          check=False)


def _agent(folder, star):
    path = folder / "remote-shell"
    path.write_text(_AGENT)
    path.chmod(0o755)
    environment = {f"NAMESPACE_{number + 1}": host.name for number, host in enumerate(star.hosts)}
    return str(path), ",".join(star.address(number) for number in range(len(star.hosts))), environment


_OPEN_MPI = ("/usr/bin/mpirun.openmpi", "--allow-run-as-root", "--bind-to", "none")


def open_mpi(folder, star, *command):
    """A process on each host."""
    agent, hosts, environment = _agent(folder, star)
    return _run(star.hub, [*_OPEN_MPI, "--mca", "plm_rsh_agent", agent, "-H", hosts, "-np", str(len(star.hosts)), *command],
                environment)


def mpich(folder, star, *command):
    """The same."""
    agent, hosts, environment = _agent(folder, star)
    return _run(star.hub, ["/usr/bin/mpiexec.hydra", "-localhost", star.HUB_ADDRESS, "-launcher", "ssh", "-launcher-exec",
                           agent, "-hosts", hosts, "-n", str(len(star.hosts)), *command], environment)


def open_mpi_here(network, count, *command):
    """So many processes in one namespace."""
    return _run(network, [*_OPEN_MPI, "--oversubscribe", "-np", str(count), *command])
