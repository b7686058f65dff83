# SPDX-License-Identifier: MIT
# What the scripts share: finding Python, making .venv, installing what is missing.
# Sourced by them, in the root of the repository.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Say whether mountpoint/ is a mount of ours, dead or alive, without touching it.
is_mounted() {
    local here
    here=$(pwd -P)
    grep -qF " ${here// /\\040}/mountpoint fuse.fakeproc " /proc/mounts
}

# Print a Python of 3.11 or newer.
find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    die "Python 3.11 or newer is missing: install it, then run this again."
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Run what needs apt's lists of packages; when it fails, once more with fresh ones.
with_apt_lists() {
    "$@" >/dev/null 2>&1 || { as_root apt-get update -qq && "$@" >/dev/null; }
}

require_apt() {
    command -v apt-get >/dev/null ||
        die "$* is missing and there is no apt-get here: install it with this system's package manager, then run this again."
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        die "$* is missing: as root, run: apt-get install $*"
}

# Install Debian packages; sudo only for who is not root.
apt_install() {
    local sudo=""
    require_apt "$@"
    [ "$(id -u)" -eq 0 ] || sudo="sudo "
    say "Installing $* with ${sudo}apt-get."
    export DEBIAN_FRONTEND=noninteractive
    with_apt_lists as_root apt-get install -qq -y --no-install-recommends "$@" ||
        die "apt-get could not install $*; it says why above."
}

# Unpack Debian packages into a folder.  Daemons among them do not begin to work, as they
# would if they were installed.
apt_unpack() {
    local folder=$1 archives package
    shift
    require_apt "$@"
    say "Unpacking $* into $folder."
    archives=$(mktemp -d)
    (cd "$archives" && with_apt_lists apt-get download -qq "$@") ||
        die "apt-get could not download $*; it says why above."
    mkdir -p "$folder"
    for package in "$archives"/*.deb; do dpkg-deb --extract "$package" "$folder"; done
    rm -r "$archives"
}

# Have the live kernel, which is for x86 only and not in every distribution.
need_uml() {
    [ "$(uname -m)" != x86_64 ] || command -v linux.uml >/dev/null || (apt_install user-mode-linux)
}

# Have the daemons that are run on a mount, in .venv/tools.
need_tools() {
    [ -d .venv/tools ] || apt_unpack .venv/tools atop earlyoom nohang prometheus-node-exporter
}

# Make .venv with these extras of the project, unless it is there and up to date.
make_venv() {
    local extras=$1 python wanted stamp=.venv/.installed
    wanted="$extras $(cksum setup.cfg pyproject.toml)"
    [ -f "$stamp" ] && grep -qxF -e "$(printf '%s' "$wanted" | tr '\n' ' ')" "$stamp" && return
    python=$(find_python)
    if [ ! -x .venv/bin/pip ]; then
        say "Making .venv with $python."
        "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        "$python" -m venv .venv
    fi
    say "Installing fakeproc${extras:+[$extras]} into .venv."
    .venv/bin/pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
    printf '%s\n' "$(printf '%s' "$wanted" | tr '\n' ' ')" >>"$stamp"
}

# Install libfuse 2 when fusepy cannot load it, and what lets an ordinary user mount.
need_fuse() {
    .venv/bin/python -c 'import fuse' 2>/dev/null || apt_install libfuse2
    if [ "$(id -u)" -ne 0 ] && ! command -v fusermount3 fusermount >/dev/null; then
        apt_install fuse3
    fi
    [ -e /dev/fuse ] || die "/dev/fuse is missing: this kernel has no FUSE (as root: modprobe fuse)."
}
