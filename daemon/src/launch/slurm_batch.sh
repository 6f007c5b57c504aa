# What the cluster runs: a user's line, on a port that is free on this machine.
choose $ports || {
    echo "none of these ports is free on $(uname -n): $ports" >&2
    exit 1
}
file=$(mktemp "${TMPDIR:-/tmp}/nbtunnel.XXXXXX") || exit
trap 'rm -f "$file"' EXIT
# It removes itself: a job that is ended from outside runs no trap.
{ printf '%s' 'rm -f "$NBTUNNEL_LINE"; ' && line; } >"$file"
cd "$dir" || exit
run_line "$file"
