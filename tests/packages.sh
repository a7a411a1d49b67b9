#!/bin/sh
# Installs the system packages that the tests need, where they are missing (Debian and Ubuntu).
set -eu
wanted="timgm6mb-soundfont jackd2 jack-capture xvfb xdotool x11-apps libasound2 libgl1 libegl1 libgl1-mesa-dri libatomic1"
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || dpkg -s "${package}t64" >/dev/null 2>&1 || missing="$missing $package"
done
browser=""
command -v chromium >/dev/null || command -v google-chrome >/dev/null || browser="chromium"
[ -z "$missing$browser" ] && exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
echo "installing for the tests:$missing $browser"
$as_root apt-get -qq update
# shellcheck disable=SC2086
[ -z "$missing" ] || $as_root apt-get -qq install -y --no-install-recommends $missing
# Ubuntu has Chromium as a snap only, which can't be driven here: the page's tests are skipped there.
[ -z "$browser" ] || $as_root apt-get -qq install -y --no-install-recommends chromium || echo "no chromium here"
