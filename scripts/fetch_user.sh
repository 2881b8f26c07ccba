#!/usr/bin/env bash
# What a build needs, for who may not install it: fetch_user.sh PACKAGE... unpacks those of these that are missing into .cache/user and writes
# .cache/user/env, which a shell sources before it builds. setup.sh --user and quickstart.sh call it. Meson and ninja are PyPI's where there is
# pip; all else is Debian's or Ubuntu's, by apt-get with lists of its own. A compiler cannot come this way: it looks into /usr.
. "$(dirname "$0")/common.sh"
user=$root/.cache/user
wheels=() debs=()
for package in $(missing_of "$@"); do
  case $package in
    g++ | pkg-config | python3)
      die "$package is missing, which only root may install; a wheel needs no build: pip install ddp_launch-*.whl" ;;
    ccache) ;;  # a build does without
    meson | ninja-build)
      if python3 -m pip --version >/dev/null 2>&1; then wheels+=("${package%-build}"); else debs+=("$package"); fi ;;
    *) debs+=("$package") ;;
  esac
done

if [ ${#wheels[@]} -gt 0 ]; then fetch_wheels "$user/python" "${wheels[@]}"; fi

if [ ${#debs[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "missing: ${debs[*]}, and no apt-get to fetch them; a wheel needs no build: pip install ddp_launch-*.whl"
  say "fetching ${debs[*]}"
  mkdir -p "$user"/apt/{lists,archives}/partial
  apt=(apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root -o Debug::NoLocking=true -o Dir::State="$user/apt" -o Dir::Cache="$user/apt")
  "${apt[@]}" update
  "${apt[@]}" --no-install-recommends --download-only install "${debs[@]}"
  for deb in "$user"/apt/archives/*.deb; do
    case ${deb##*/} in
      libc6* | libc-* | catch2_*) ;;  # the compiler has its own C library; spdlog's package names Catch2, which only tests include
      *) dpkg -x "$deb" "$user" ;;
    esac
  done
  rm -rf "$user/apt"
fi

# The name that a program is linked by is a link to the library beside it, which was not fetched where it is installed.
triplet=$(uname -m)-linux-gnu
find "$user" -name '*.so' -xtype l | while read -r link; do
  for folder in "$user"/{lib,usr/lib} /usr/lib; do
    library=$folder/$triplet/$(basename "$(readlink "$link")")
    if [ -e "$library" ]; then ln -sfn "$library" "$link"; fi
  done
done

mkdir -p "$user/bin"
tool() { # tool NAME: standard input is the program
  cat >"$user/bin/$1"
  chmod +x "$user/bin/$1"
}
for folder in "$user/python" "$user/usr/lib/python3/dist-packages"; do
  [ -d "$folder/mesonbuild" ] || continue
  tool meson <<END
#!/usr/bin/env python3
import sys
sys.path.insert(0, "$folder")
from mesonbuild import mesonmain
sys.exit(mesonmain.main())
END
done
for program in "$user/python/bin/ninja" "$user/usr/bin/ninja"; do
  if [ -x "$program" ]; then ln -sfn "$program" "$user/bin/ninja"; fi
done
if [ -x "$user/usr/bin/bible" ]; then
  tool bible <<END
#!/bin/sh
LD_LIBRARY_PATH="$user/usr/lib/$triplet:$user/lib/$triplet" exec "$user/usr/bin/bible" -p / -d "$user/usr/lib/bible.data" "\$@"  # in -p a space parts folders
END
fi

# An old rpath, not a runpath: it holds for what libraries need, too, as oneDNN does libOpenCL.
include=$user/usr/include lib=$user/usr/lib/$triplet lib0=$user/lib/$triplet
cat >"$user/env" <<END
# Where scripts/setup.sh --user put tools, headers and libraries: to be sourced by a shell that configures a build. A build folder remembers.
case :\$PATH: in
  *":$user/bin:"*) ;;
  *)
    export PATH="$user/bin:\$PATH"
    export PKG_CONFIG_PATH="$lib/pkgconfig:$user/usr/share/pkgconfig\${PKG_CONFIG_PATH:+:\$PKG_CONFIG_PATH}"
    export CPPFLAGS="-isystem '$include' -isystem '$include/$triplet' \${CPPFLAGS:-}"
    export LDFLAGS="-L'$lib' -L'$lib0' -Wl,--disable-new-dtags,-rpath,'$lib':'$lib0' \${LDFLAGS:-}"
    ;;
esac
END
