#!/bin/sh
# Installs the system packages that the tests need, where they are missing (Debian and Ubuntu).
set -eu
wanted="timgm6mb-soundfont jackd2 jack-capture xvfb xdotool x11-apps libasound2 libgl1 libegl1 libgl1-mesa-dri libatomic1"
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || dpkg -s "${package}t64" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
echo "installing for the tests:$missing"
$as_root apt-get -qq update
# shellcheck disable=SC2086
$as_root apt-get -qq install -y --no-install-recommends $missing
