#!/bin/sh
# cargo deny with config/deny.toml. Installs cargo-deny when it is missing.
#
# Advisories need the RustSec database from its git repository. Where that cannot be reached they
# are skipped, loudly; REQUIRE_ALL=1 makes that an error.
set -eu
cd "$(dirname "$0")/.."

cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
deny() {
    cargo deny --all-features --config config/deny.toml "$@"
}

deny check bans licenses sources
if deny fetch db >/dev/null 2>&1; then
    deny check advisories
else
    echo "deny.sh: SKIPPED advisories: the advisory database cannot be fetched from here" >&2
    [ "${REQUIRE_ALL:-0}" != 1 ] || exit 1
fi
