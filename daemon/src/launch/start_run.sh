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
    (umask "$NBTUNNEL_MASK" && cd "$dir" && run_line "$state/line")
    over "$?"
}
case ${1-} in
    vigil) shift && vigil "$@" ;;
    *) main ;;
esac
