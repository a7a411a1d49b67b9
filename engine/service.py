"""The show as a systemd user service: from power on without a keyboard, watched and brought back."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

NAME: Final = "chladni.service"

# Restart=always but for the two statuses (see engine/__main__.py) that trying again does not mend. A day is
# the longest that one performance lasts: its recording is closed then, and the next begins within seconds.
_UNIT: Final = """\
[Unit]
Description=Chladni plays {show}
After=graphical-session.target sound.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
WorkingDirectory={folder}
Environment=DISPLAY={display} PYTHONUNBUFFERED=1
Restart=always
RestartSec=2
RestartPreventExitStatus=1 2
WatchdogSec=10
TimeoutStartSec=90
TimeoutStopSec=15
RuntimeMaxSec=1d
KillMode=mixed
SyslogIdentifier=chladni
LogRateLimitIntervalSec=30
LogRateLimitBurst=200

[Install]
WantedBy=default.target
"""


def folder() -> Path:
    """Return where systemd looks for a user's units."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "systemd" / "user"


def _quoted(text: str) -> str:
    """Return an argument as systemd reads it back (systemd.service(5), "Command lines")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def unit(show: Path, health_port: int, keep: int) -> str:
    """Return the unit that plays a show."""
    words = [sys.executable, "-m", "engine", "play", str(show), "--unattended", "--health", str(health_port)]
    words += ["--keep", str(keep), "--recordings", str(show.parent / "recordings")]
    command = " ".join(map(_quoted, words))
    display = os.environ.get("DISPLAY") or ":0"
    root = Path(__file__).resolve().parent.parent
    escaped = str(show).replace("%", "%%")
    return _UNIT.format(show=escaped, command=command, folder=str(root).replace("%", "%%"), display=display)


def install(show: Path, health_port: int, keep: int) -> str:
    """Write the unit; return what to tell the user. Raise OSError where it can't be written."""
    path = folder() / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    text = unit(show.resolve(), health_port, keep)
    path.write_text(text, encoding="utf-8")
    return (
        f"{text}\nwrote {path}; start it, at each log-in too, with\n"
        "    systemctl --user daemon-reload\n"
        f"    systemctl --user enable --now {NAME}\n"
        f"and see docs/gallery.md for logging in by itself. Its log: journalctl --user -u {NAME}"
    )


def remove() -> str:
    """Stop and disable the service where systemd runs, delete the unit; return what to tell the user."""
    path = folder() / NAME
    disable = ["systemctl", "--user", "disable", "--now", NAME]
    with suppress(OSError, subprocess.TimeoutExpired):  # no systemd here: there is only the file
        subprocess.run(disable, capture_output=True, timeout=30, check=False)
    if not path.exists():
        return f"there is no {path}"
    path.unlink()
    return f"removed {path}"


def prune(recordings: Path, suffix: str, keep: int) -> None:
    """Delete all but the newest recordings of a folder; what can't be deleted stays."""
    files = sorted(recordings.glob(f"*{suffix}"), key=lambda path: path.stat().st_mtime)
    for path in files[: max(len(files) - keep, 0)]:
        path.unlink(missing_ok=True)
