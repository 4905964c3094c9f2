#!/bin/sh
# Brings what the page's tests need beside Python, where it is missing: Chromium, with letters for Chinese, and npm.
# Debian's packages, installed by root alone; anybody else is told what is missing, which in CI is a failure.
set -eu

missing=
command -v chromium >/dev/null || missing="chromium fonts-noto-cjk"
command -v npm >/dev/null || missing="$missing npm"
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    for package in $missing; do
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null
    done
else
    echo "the page's tests will be skipped; install: $missing" >&2
    [ "${CI:-}" != true ]
fi
