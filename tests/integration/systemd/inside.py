"""Runs inside the box, over the fake broker: what the unit promises."""

import os
import signal
import socket
import subprocess
import sys
import time

SOCKET = "/run/heddle/local.sock"


def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True)


def show(name):
    return systemctl("show", "-P", name, "heddled").stdout.strip()


def eventually(what, holds):
    end = time.monotonic() + 10
    while not holds():
        if time.monotonic() > end:
            journal = subprocess.run(["journalctl", "-u", "heddled", "-n", "30", "--no-pager"],
                                     capture_output=True, text=True).stdout
            sys.exit(f"FAILED {what}\n{systemctl('status', 'heddled').stdout}\n{journal}")
        time.sleep(0.05)
    print(f"ok {what}")


def tell(command):
    """The fake broker's answer; "" while there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(5)
            link.connect(SOCKET)
            link.send(command.encode())
            return link.recv(65536).decode()
    except OSError:
        return ""


def restarted(action):
    before = tell("pid")
    action()
    eventually("a new broker", lambda: tell("pid") not in ("", before))


def main():
    subprocess.run(["systemd-sysusers"], check=True)
    systemctl("daemon-reload")
    begun = systemctl("start", "heddled")
    eventually("start", lambda: begun.returncode == 0 and show("ActiveState") == "active")
    eventually("status line", lambda: show("StatusText").startswith("serving; broker "))
    eventually("runs as heddle", lambda: os.stat(SOCKET).st_uid == os.stat(
        f"/proc/{show('MainPID')}").st_uid != 0)
    eventually("rights", lambda: os.stat(SOCKET).st_mode & 0o777 == 0o666
               and os.stat("/run/heddle").st_mode & 0o777 == 0o755)
    for number in range(300):
        assert tell(f"keep {number} value{number}") == "ok"
    eventually("parked", lambda: int(show("NFileDescriptorStore")) == 303)

    restarted(lambda: systemctl("restart", "heddled"))
    eventually("kept over restart", lambda: tell("read 299") == "value299"
               and tell("count") == "300")
    restarted(lambda: os.kill(int(show("MainPID")), signal.SIGKILL))
    eventually("kept over kill -9", lambda: tell("read 7") == "value7" and tell("count") == "300")
    restarted(lambda: os.kill(int(tell("pid")), signal.SIGKILL))
    eventually("kept over the broker's death", lambda: tell("count") == "300")

    os.makedirs("/etc/heddle", exist_ok=True)
    with open("/etc/heddle/heddled.json", "w", encoding="utf-8") as file:
        file.write('{"drain_ms": 1234}')
    eventually("reload", lambda: systemctl("reload", "heddled").returncode == 0
               and '"drain_ms": 1234' in tell("config"))
    with open("/etc/heddle/heddled.json", "w", encoding="utf-8") as file:
        file.write('{"drain_sm": 1234}')
    systemctl("reload", "heddled")
    eventually("bad reload is shown", lambda: "did you mean" in show("StatusText"))

    systemctl("stop", "heddled")
    eventually("stop", lambda: show("ActiveState") == "inactive" and not os.path.exists(SOCKET))
    systemctl("start", "heddled")
    eventually("status 2 is not retried", lambda: show("ExecMainStatus") == "2"
               and show("ActiveState") == "failed" and show("NRestarts") == "0")
    os.unlink("/etc/heddle/heddled.json")
    systemctl("start", "heddled")
    eventually("cold after stop", lambda: tell("count") == "0")


main()
