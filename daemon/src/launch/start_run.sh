# The process that holds the claim and has the server as its child. It says who has the claim on its standard output,
# and closes that.
main() {
    trap '' HUP PIPE
    enter || return
    take || return
    keep_vigil
    choose $ports || {
        over 1
        echo "no_port $ports"
        return
    }
    echo "$port" >"port.$number"
    [ ! -e log ] || mv -f log log.1
    line >line && : >log || {
        over 1
        echo "unwritable $state"
        return
    }
    echo "ours $$ $port $number $forsaken"
    trap - PIPE
    exec >log 2>&1 </dev/null
    # What ends the server is sent to all of its group, and is not to end this before it.
    trap : TERM INT
    # What it starts is in this session, until something begins one of its own.
    NBTUNNEL_SESSION=$$
    export NBTUNNEL_SESSION
    (umask "$NBTUNNEL_MASK" && cd "$dir" && run_line "$state/line")
    status=$?
    [ "$status" != 0 ] || outlast
    over "$status"
}

# Waits until nothing is left of what the line put into the background: its server may be there.
outlast() {
    while left=$(others) && [ -n "$left" ]; do
        sleep 2
        for one in $left; do
            first=$(began "$one")
            while [ -n "$first" ] && [ "$(began "$one")" = "$first" ]; do sleep 2; done
        done
    done
}

# Prints the processes of this group that do not come of this one: who made them is gone.
others() {
    { ps -A -o pid= -o ppid= -o pgid= -o stat= 2>/dev/null || ps -o pid,ppid,pgid,stat; } | awk -v me=$$ '
        { parent[$1] = $2 }
        $3 == me && $4 !~ /^Z/ { found[$1] }
        END {
            for (one in found) {
                for (up = one; up != me && up + 0 > 1 && up in parent; up = parent[up]) { }
                if (up != me) print one
            }
        }'
}

case ${1-} in
    vigil) shift && vigil "$@" ;;
    *) main ;;
esac
