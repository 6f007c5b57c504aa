# A way to a port that only the machine $node itself reaches: a Unix socket here, in a directory of ours alone, which an
# ssh of the user's own forwards to $place. That ssh is shared, and ends ten minutes after somebody last came by it.
umask 077
me=$(id -u)

# Sets `dir`. Not below the home directory: other login machines share it, and a socket is this one's alone. The names
# are short, since that of a socket ends at a hundred bytes or so.
find_dir() {
    case ${XDG_STATE_HOME-} in
        /*) state=$XDG_STATE_HOME/nbtunnel ;;
        *) state=$HOME/.local/state/nbtunnel ;;
    esac
    kept=$state/nodes.$(uname -n)
    usual=/tmp/nbtunnel-nodes-$me
    for dir in "${XDG_RUNTIME_DIR-}/nbtunnel-nodes" "$usual" "$(cat "$kept" 2>/dev/null)"; do
        case $dir in '' | /nbtunnel-nodes | [!/]* | *[!A-Za-z0-9/._-]*) continue ;; esac
        [ "${#dir}" -le 60 ] || continue
        mkdir -m 700 "$dir" 2>/dev/null
        # shellcheck disable=SC2046
        set -- $(ls -ldn "$dir" 2>/dev/null)
        case ${1-} in drwx------*) [ "$3" != "$me" ] || return 0 ;; esac
    done
    # Somebody else was there first, by mistake or not: one of a name that nobody guesses, which is kept.
    dir=$(mktemp -d "$usual-XXXXXX") || {
        echo "unwritable /tmp"
        return 1
    }
    { mkdir -p "$state" && echo "$dir" >"$kept.$$" && mv -f "$kept.$$" "$kept"; } 2>/dev/null || {
        rmdir "$dir"
        echo "unwritable $state"
        return 1
    }
}

to_node() {
    ssh -o "ControlPath=$dir/$master" "$@"
}

fail() {
    echo unreached
    cat "$said" 2>/dev/null
    exit 0
}

find_dir || exit 0
said=$dir/$master.said
rm -f "$said"
if ! to_node -O check -- "$node" >/dev/null 2>&1; then
    # What it runs is over at once; of two who begin at a time one stays.
    $limit ssh -T -o "ControlPath=$dir/$master" -o ControlMaster=auto -o ControlPersist=10m \
        -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o StreamLocalBindUnlink=yes \
        -o ClearAllForwardings=yes -o ForwardAgent=no -o ForwardX11=no -o PermitLocalCommand=no \
        -- "$node" true </dev/null >/dev/null 2>"$said" || fail
fi
# Whether that machine lets anybody through, it says only to who asks for a port by name.
$limit ssh -o "ControlPath=$dir/$master" -o BatchMode=yes -W "$place" -- "$node" \
    </dev/null >/dev/null 2>"$said" || [ $? -eq 124 ] || fail
# What somebody removed is made again only after it was let go of.
[ -S "$dir/$socket" ] || to_node -O cancel -L "$dir/$socket:$place" -- "$node" >/dev/null 2>&1
to_node -O forward -L "$dir/$socket:$place" -- "$node" >/dev/null 2>"$said" || fail
rm -f "$said"
echo "reached $dir/$socket"
