# How a user's line is run: by bash (by zsh for who logs in by it), after what the login shell's own files set.

# Whether somebody listens on port $1.
listens() {
    if [ -r /proc/net/tcp ]; then
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf ':%04X' "$1")" \
            '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1 } END { exit !found }'
    else
        netstat -an 2>/dev/null | grep LISTEN | grep -q "[.:]$1 "
    fi
}

# Sets `port`: the first of the rest of the words on which nobody listens.
choose() {
    for port; do
        listens "$port" || return 0
    done
    return 1
}

# Runs the file $1. It is a file so that its text is read by one shell only; fish and csh set the environment and are
# then replaced, since they would not understand it.
run_line() {
    NBTUNNEL_LINE=$1
    export NBTUNNEL_LINE
    bash=$(command -v bash || command -v sh)
    # A job's machine need not have the shell of the one from which it was submitted.
    shell=${SHELL-}
    [ -x "$shell" ] || shell=
    case ${shell##*/} in
        zsh) "$shell" -l "$1" ;;
        fish) "$shell" -l -c "exec $bash \"\$NBTUNNEL_LINE\"" ;;
        csh | tcsh) "$shell" -c "exec $bash \"\$NBTUNNEL_LINE\"" ;;
        *) "$bash" -l "$1" ;;
    esac
}
