"""promtool and prometheus, which come from no Python package: Debian's, where they are missing.

    python -m scripts.install_prometheus

For `make check` and `make test`. Where it cannot install them it says how to get them and exits 0:
what needs them then fails and says so again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

HOW = (
    "install Prometheus 2.42 or newer (Debian: apt-get install --no-install-recommends prometheus; "
    "macOS: brew install prometheus)"
)


def main() -> int:
    if shutil.which("promtool") and shutil.which("prometheus"):
        return 0
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and not shutil.which("sudo")):
        print(f"promtool or prometheus is missing; {HOW}", file=sys.stderr)
        return 0
    # Without its recommended packages Debian's brings no exporter along.
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "prometheus"]
    for command in (["apt-get", "update", "-qq"], install):
        line = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", *command]
        if subprocess.run(line, stdout=subprocess.DEVNULL).returncode:
            print(f"promtool or prometheus is missing; {HOW}", file=sys.stderr)
            return 0
    if shutil.which("systemctl"):  # its port is that of a worker's metrics
        stop = [*as_root, "systemctl", "disable", "--now", "prometheus"]
        subprocess.run(stop, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
