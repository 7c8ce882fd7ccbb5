#!/bin/sh
# cargo deny with config/deny.toml. Installs cargo-deny when it is missing.
#
# Advisories need the RustSec database from its git repository. Where that cannot be reached they
# are skipped, loudly; REQUIRE_ALL=1 makes that an error.
set -eu
cd "$(dirname "$0")/.."

cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
cargo deny --all-features check --config config/deny.toml bans licenses sources
if cargo deny fetch --config config/deny.toml db >/dev/null 2>&1; then
    cargo deny --all-features check --config config/deny.toml advisories
else
    echo "deny.sh: SKIPPED advisories: the advisory database cannot be fetched from here" >&2
    [ "${REQUIRE_ALL:-0}" != 1 ] || exit 1
fi
