# SPDX-License-Identifier: Apache-2.0
"""Nobody gets in uninvited: pre-shared keys, X.509 in QEMU's directory layout, and neither."""

import shutil
import subprocess

import pytest

from harness import agent, paths
from harness.scenario import COMPLETED, FAILED, REFUSED, USAGE, scenario

NOT_STARTED = (FAILED, REFUSED)


def new_key(path):
    subprocess.run([paths.GODWIT, "keygen", path], check=True, capture_output=True)
    return str(path)


def run(command, folder):
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def new_authority(folder, name):
    folder.mkdir()
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-subj", f"/CN={name}", "-keyout", "ca-key.pem", "-out", "ca-cert.pem",
         "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"], folder)
    for role in ("server", "client"):
        run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
             f"/CN={role}", "-keyout", f"{role}-key.pem", "-out", f"{role}.csr"], folder)
        (folder / "extensions").write_text(
            f"extendedKeyUsage={role}Auth\nsubjectAltName=IP:10.71.0.2,IP:127.0.0.1,DNS:localhost\n")
        run(["openssl", "x509", "-req", "-in", f"{role}.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-days",
             "2", "-CAcreateserial", "-extfile", "extensions", "-out", f"{role}-cert.pem"], folder)
    return folder


def attempt(guests, receive_options, send_options):
    """Returns the exit code of the source; the receiver may go on waiting for someone who may come in."""
    with guests.receive("--verify", *receive_options) as receiver, guests.send("--verify", *send_options) as sender:
        code = sender.wait(20)
        if code == COMPLETED:
            assert receiver.wait() == COMPLETED, receiver.output()
        return code, sender


def test_guest_moves_with_a_shared_key(folder, pair):
    key = new_key(folder / "key")
    with scenario(folder, None, pair=pair) as guests:
        code, sender = attempt(guests, ["--psk-file", key], ["--psk-file", key])

        assert code == COMPLETED, sender.output()
        guests.assert_moved()


def test_another_key_is_turned_away(folder, pair):
    with scenario(folder, None, pair=pair) as guests:
        code, sender = attempt(guests, ["--psk-file", new_key(folder / "one")], ["--psk-file", new_key(folder / "two")])

        assert code in NOT_STARTED, sender.output()
        guests.assert_runs_on_source()


@pytest.mark.parametrize("receiver_has_key", [True, False])
def test_a_key_on_one_side_only_is_turned_away(folder, pair, receiver_has_key):
    sides = (["--psk-file", new_key(folder / "key")], ["--insecure"])
    with scenario(folder, None, pair=pair) as guests:
        code, sender = attempt(guests, *(sides if receiver_has_key else sides[::-1]))

        assert code in NOT_STARTED, sender.output()
        guests.assert_runs_on_source()


def test_guest_moves_with_certificates(folder, pair):
    authority = new_authority(folder / "tls", "one")
    with scenario(folder, None, pair=pair) as guests:
        code, sender = attempt(guests, ["--tls-dir", str(authority)], ["--tls-dir", str(authority)])

        assert code == COMPLETED, sender.output()
        guests.assert_moved()


def test_certificate_of_another_authority_is_turned_away(folder, pair):
    receiver_tls, sender_tls = new_authority(folder / "one", "one"), new_authority(folder / "two", "two")
    # The sender trusts the receiver, so that it is the receiver who has to say no.
    shutil.copy(receiver_tls / "ca-cert.pem", sender_tls / "ca-cert.pem")
    with scenario(folder, None, pair=pair) as guests:
        code, sender = attempt(guests, ["--tls-dir", str(receiver_tls)], ["--tls-dir", str(sender_tls)])

        assert code in NOT_STARTED, sender.output()
        guests.assert_runs_on_source()


def test_without_security_only_loopback_is_allowed(folder, pair):
    with scenario(folder, None, pair=pair) as guests:
        with guests.send() as sender:
            assert sender.wait(10) in (USAGE, REFUSED), sender.output()
            assert "--insecure" in sender.output()
        listening = agent.Agent("receive", folder, ["receive", "--qmp", guests.destination.agent_socket, "--listen",
                                                    guests.address], netns=pair.destination.name)
        with listening:
            assert listening.wait(10) in (USAGE, REFUSED), listening.output()
            assert "--insecure" in listening.output()
        guests.assert_runs_on_source()


def test_insecure_is_said_aloud(folder, pair):
    with scenario(folder, None, pair=pair) as guests:
        code, sender = attempt(guests, ["--insecure"], ["--insecure"])

        assert code == COMPLETED, sender.output()
        assert "insecure" in sender.output().lower()
        guests.assert_moved()
