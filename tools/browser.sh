#!/bin/sh
# Brings what tests need beside Python, where it is missing: for the page Chromium, with letters for Chinese, and npm;
# nginx for the proxy that is documented.
# Debian's packages, installed by root alone; anybody else is told what is missing, which in CI is a failure.
set -eu

missing=
command -v chromium >/dev/null || missing="chromium fonts-noto-cjk"
command -v npm >/dev/null || missing="$missing npm"
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || missing="$missing nginx"
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    for package in $missing; do
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null
    done
else
    echo "some tests will be skipped; install: $missing" >&2
    [ "${CI:-}" != true ]
fi
