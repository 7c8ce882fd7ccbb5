#!/usr/bin/env bash
# Fuzzes every target for FUZZ_SECONDS (60) seconds, starting from fuzz/corpus/TARGET. New inputs
# are kept in fuzz/found/TARGET, which git ignores; a crash leaves its input in
# fuzz/artifacts/TARGET and ends the run with an error.
#
#   fuzz/run.sh                  all targets
#   fuzz/run.sh header wire      these
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}

# Where the config target has its file.
FUZZ_DIRECTORY=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/linkerd-gateway-fuzz.XXXXXX")
export FUZZ_DIRECTORY
trap 'rm -rf "$FUZZ_DIRECTORY"' EXIT

# The sanitizer needs unstable flags of the compiler; this lets the stable one take them.
export RUSTC_BOOTSTRAP=1
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

targets=("$@")
[ ${#targets[@]} -gt 0 ] ||
    targets=(config header http identity link policy proxy_protocol record wire)
for target in "${targets[@]}"; do
    cargo fuzz build "$target"
done
for target in "${targets[@]}"; do
    mkdir -p "fuzz/found/$target"
    echo "== $target, $seconds s"
    options=(-max_total_time="$seconds" -print_final_stats=1 -timeout=20 -max_len=4096)
    [ ! -f "fuzz/$target.dict" ] || options+=(-dict="fuzz/$target.dict")
    # The first directory takes new inputs.
    cargo fuzz run "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- "${options[@]}" 2>&1 |
        grep -Ev '^(INFO|[[:space:]]+NEW_FUNC|#[0-9]+[[:space:]]+(NEW|REDUCE|pulse))' || exit 1
done
