# Shared by the scripts: to be sourced. Says what it does, installs what is missing, works as root or with sudo.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# What `setup.sh --user` fetched, where it did.
if [ -f "$root/.cache/user/env" ]; then . "$root/.cache/user/env"; fi

# What shows that a package is not needed: the tool runs, pkg-config knows the library, wherever they come from. Of others dpkg is asked.
declare -A shown_by=(
  [g++]='g++ --version' [pkg-config]='pkg-config --version' [python3]='python3 --version' [meson]=meson_is_new [ninja-build]='ninja --version'
  [ccache]='ccache --version' [clang]='clang --version' [clang-format]='clang-format --version' [patchelf]='patchelf --version'
  [xz-utils]='xz --version' [python3-pip]='python3 -m pip --version' [bible-kjv]='bible gen1:1'
  [libcli11-dev]='pkg-config CLI11' [libspdlog-dev]='pkg-config spdlog' [libfmt-dev]='pkg-config fmt' [libyaml-cpp-dev]='pkg-config yaml-cpp'
  [nlohmann-json3-dev]='pkg-config nlohmann_json' [libxxhash-dev]='pkg-config libxxhash' [libjpeg-dev]='pkg-config libjpeg'
  [libpng-dev]='pkg-config libpng' [zlib1g-dev]='pkg-config zlib' [libdnnl-dev]=compiler_finds_onednn
)
meson_is_new() { printf '%s\n' 1.0 "$(meson --version)" | sort -CV; }
compiler_finds_onednn() { eval "g++ ${CPPFLAGS:-} -E -x c++ -" <<<"#include <dnnl.hpp>"; }
dpkg_has() { dpkg-query -W -f '${Status}' "$1" | grep -q 'ok installed'; }

# missing_of PACKAGE...: prints those that are needed, a line each.
missing_of() {
  local package
  for package in "$@"; do
    ${shown_by[$package]:-dpkg_has $package} >/dev/null 2>&1 || printf '%s\n' "$package"
  done
}

# may_install: whether there is apt-get, and root's rights or a sudo that gives them, to who sits at a terminal also for a password.
may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" -ne 0 ] || return 0
  command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }
}

# need_packages PACKAGE...: installs what of these is missing, as root; waits for another apt or dpkg to finish.
need_packages() {
  local missing as_root=()
  mapfile -t missing < <(missing_of "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  may_install || die "missing: ${missing[*]}, which only root may install, by apt-get; without root ./scripts/setup.sh --user fetches what a build" \
    "needs, and a wheel needs no build: pip install ddp_launch-*.whl"
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  say "installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600
    -o Acquire::Retries=3 --no-install-recommends)
  "${apt[@]}" install "${missing[@]}" >/dev/null 2>&1 && return 0
  "${apt[@]}" update >/dev/null
  "${apt[@]}" install "${missing[@]}" >/dev/null
}

# bring PACKAGE...: the same, or without root into .cache/user.
bring() {
  local missing
  mapfile -t missing < <(missing_of "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  if may_install; then
    need_packages "${missing[@]}"
  elif [ "${missing[*]}" != ccache ]; then  # which a build does without
    say "nothing can be installed here, so what is missing goes into .cache/user"
    "$root/scripts/fetch_user.sh" "${missing[@]}"
    . "$root/.cache/user/env"
  fi
}

# What the two programs are built with; README.md says what each is for.
build_packages=(g++ pkg-config python3 meson ninja-build ccache libcli11-dev libspdlog-dev libfmt-dev libyaml-cpp-dev libdnnl-dev
  nlohmann-json3-dev libxxhash-dev libjpeg-dev libpng-dev zlib1g-dev)
data_packages=(bible-kjv)
test_packages=(catch2 clang clang-format debootstrap "${data_packages[@]}")
bundle_packages=(patchelf xz-utils)
system_test_packages=(cron slurmctld slurmd slurm-client iproute2 python3-venv)
bench_packages=(libgloo-dev libopenmpi-dev openmpi-bin)

# fetch_wheels FOLDER WHEEL...: unpacks wheels of PyPI into a folder, which is there when it is whole, in the place of what was there.
# Touches no Python environment, needs no root.
fetch_wheels() {
  local folder=$1
  shift
  need_packages python3-pip
  say "fetching $*"
  rm -rf "$folder.unpacked"
  mkdir -p "$(dirname "$folder")"
  python3 -m pip install -q --root-user-action=ignore --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
    --only-binary=:all: --target "$folder.unpacked" "$@"
  rm -rf "$folder"
  mv "$folder.unpacked" "$folder"
}

# fetch_debs FOLDER RELEASE COMPONENT PACKAGE...: unpacks packages of a release of Debian, this machine's or another, into a folder, without
# what they depend on. Installs nothing, needs no root: the mirror is this machine's, the lists are its own.
fetch_debs() {
  local folder=$1 release=$2 component=$3 mirror own
  shift 3
  mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' "Release: $(. /etc/os-release && echo "$VERSION_CODENAME")" \
    'Component: main' 'Created-By: Packages' | head -n 1)
  [ -n "$mirror" ] || die "apt names no mirror of Debian to take $* from"
  own=$root/.cache/apt/$release-$component
  mkdir -p "$own"/lists/partial "$own"/archives/partial "$folder"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release $component" >"$own/sources.list"
  local apt=(apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$own/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::State="$own" -o Dir::State::status=/dev/null -o Dir::Cache="$own")
  say "fetching $* of Debian $release"
  "${apt[@]}" update
  (cd "$own/archives" && rm -f ./*.deb && "${apt[@]}" download "$@")
  for package in "$own"/archives/*.deb; do dpkg -x "$package" "$folder"; done
  rm "$own"/archives/*.deb
}

# ccache: paths count from the root of the tree, and the folder of a build is no part of the key. So a clone elsewhere hits, and of two
# build folders that stand beside each other with the same options the second compiles nothing.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

# build_option NAME WHERE: a list among the build options of a build folder, or of meson.build: their defaults. Meson warns of loops there.
build_option() {
  meson introspect --buildoptions "$2" 2>/dev/null | python3 -c "import json, sys
print(','.join(next(o['value'] for o in json.load(sys.stdin) if o['name'] == '$1')))"
}

# configure_as FOLDER [meson options]: sets a build folder up, or gives these options to the one that is there.
configure_as() {
  if [ -f "$1/build.ninja" ]; then
    meson configure "$@"
    ninja -C "$1" build.ninja >/dev/null  # so that it knows today's targets
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
