# Shared by the scripts: to be sourced. Says what it does, installs what is missing, works as root or with sudo.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need_packages [--no-install-recommends] PACKAGE...: installs those Debian packages that are missing; waits for another apt or dpkg to
# finish.
need_packages() {
  local missing=() options=()
  if [ "$1" = --no-install-recommends ]; then
    options=("$1")
    shift
  fi
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]} (no apt-get here: install them by hand)"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "missing: ${missing[*]}; run as root, or install sudo"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600
    -o Acquire::Retries=3 "${options[@]}")
  "${apt[@]}" install "${missing[@]}" >/dev/null 2>&1 && return 0
  "${apt[@]}" update >/dev/null
  "${apt[@]}" install "${missing[@]}" >/dev/null
}

# What the two programs are built with; README.md says what each is for.
build_packages=(g++ meson ninja-build pkg-config ccache libcli11-dev libspdlog-dev libfmt-dev libyaml-cpp-dev libdnnl-dev
  nlohmann-json3-dev libxxhash-dev libjpeg62-turbo-dev libpng-dev zlib1g-dev)
data_packages=(bible-kjv)
test_packages=(catch2 clang clang-format python3 debootstrap "${data_packages[@]}")
bundle_packages=(patchelf xz-utils python3)
system_test_packages=(cron slurmctld slurmd slurm-client iproute2 python3-venv)
bench_packages=(libgloo-dev libopenmpi-dev openmpi-bin)

# fetch_wheels FOLDER WHEEL...: unpacks wheels of PyPI into an empty folder. Touches no Python environment, needs no root.
fetch_wheels() {
  local folder=$1
  shift
  python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip
  say "fetching $*"
  rm -rf "$folder"
  mkdir -p "$(dirname "$folder")"
  python3 -m pip install -q --root-user-action=ignore --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
    --only-binary=:all: --target "$folder" "$@"
}

# ccache: paths count from the root of the tree, and the folder of a build is no part of the key. So a clone elsewhere hits, and of two
# build folders that stand beside each other with the same options the second compiles nothing.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

# build_option NAME WHERE: a list among the build options of a build folder, or of meson.build: their defaults.
build_option() {
  meson introspect --buildoptions "$2" | python3 -c "import json, sys
print(','.join(next(o['value'] for o in json.load(sys.stdin) if o['name'] == '$1')))"
}

# configure_as FOLDER [meson options]: sets a build folder up, or gives these options to the one that is there.
configure_as() {
  if [ -f "$1/build.ninja" ]; then
    meson configure "$@"
  else
    configure "$@"
  fi
}

# configure FOLDER [meson options]: sets a build folder up, once.
configure() {
  local folder=$1
  shift
  [ -f "$folder/build.ninja" ] && return 0
  say "configuring $folder"
  meson setup "$folder" "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; die "meson setup failed"; }
  rm -f "$folder.log"
}
