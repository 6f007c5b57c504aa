# Who may do what only one may do at a time, on this machine or on all that share the directory. A claim is a
# symbolic link, made together with its words in one step, also over NFS:
#     claim.NUMBER -> HOST PID BEGAN@BOOT COMMAND
# Only the highest counts. It is never removed, only followed by the next one: so nobody who looked too long ago can
# take what somebody else holds now. It is over once over.NUMBER is there, or its process is not. Another machine
# cannot ask for that process: it sees by alive.NUMBER, see `vigil.sh`, that somebody still watches it.

# Goes to the directory of this notebook, which is made if the word `make` is given.
enter() {
    # What is kept here is for nobody else; what the user's line makes is as he has it.
    NBTUNNEL_MASK=${NBTUNNEL_MASK-$(umask)}
    export NBTUNNEL_MASK
    umask 077
    case ${XDG_STATE_HOME-} in
        /*) state=$XDG_STATE_HOME/nbtunnel/$name ;;
        *) state=$HOME/.local/state/nbtunnel/$name ;;
    esac
    if [ "${1-}" = make ]; then
        mkdir -p "$state" && chmod 700 "$state" || return 1
    fi
    cd "$state" 2>/dev/null
}

# Makes ready what is run on its own; says what is in the way.
prepare() {
    enter make || {
        echo "unwritable $state"
        return 1
    }
    (cd "$dir") 2>/dev/null || {
        echo "no_dir $dir"
        return 1
    }
    runner >"run.$$" && mv -f "run.$$" run || {
        echo "unwritable $state"
        return 1
    }
}

# When process $1 began; nothing if it is gone, or dead and not buried yet.
began() {
    if [ -r /proc/self/stat ]; then
        stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
        # Its name may hold anything; after it the third word follows (proc(5)), and the 22nd is the time.
        set -- ${stat##*") "}
        case $1 in Z | X) return 0 ;; esac
        shift 19
        echo "$1"
    else
        set -- $(LC_ALL=C ps -o stat= -o lstart= -p "$1" 2>/dev/null)
        case ${1-} in '' | Z*) return 0 ;; esac
        shift
        echo "$*" | tr ' ' _
    fi
}

# Which boot of this machine it is, where that can be told: processes get the same numbers again after another.
boot() {
    ! boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) || echo "${boot%%-*}"
}

# Whether process $1, which began at $2, lives, or what it left behind in its process group.
lives() {
    case $2 in *@?*) [ "${2#*@}" = "$(boot)" ] || return 1 ;; esac
    since=$(began "$1")
    case $since in
        # Not what another user has there by now. Of who has what, not every `ps` tells.
        '') { ps -A -o pgid= -o stat= -o uid= 2>/dev/null || ps -o pgid,stat; } |
            awk -v group="$1" -v me="$(id -u)" \
                '$1 == group && $2 !~ /^Z/ && ($3 !~ /[0-9]/ || $3 == me) { found = 1 } END { exit !found }' ;;
        *) [ "$since" = "${2%@*}" ] ;;
    esac
}

# Sets `top`: the highest claim's number, or 0.
highest() {
    top=0
    for link in claim.*; do
        case ${link#claim.} in
            *[!0-9]*) ;;
            *) [ "${link#claim.}" -le "$top" ] || top=${link#claim.} ;;
        esac
    done
}

# Prints how many seconds ago the file $1 changed, by the clock of whoever keeps it: machines may differ by minutes.
age() {
    # What is opened is looked up anew over NFS.
    [ ! -f "$1" ] || cat "$1" >/dev/null
    times=$({ touch now && { stat -c %Y now "$1" || stat -f %m now "$1"; }; } 2>/dev/null) || times='0 0'
    set -- $times
    echo "$(($1 - $2))"
}

# Sets `claim` (none, over, died, lives, elsewhere, gone) and `top`, `host`, `pid`, `at`, `what`.
judge() {
    claim=none host= pid= at= what=
    highest
    [ "$top" != 0 ] && words=$(readlink "claim.$top") || return 0
    set -- $words
    host=$1 pid=$2 at=$3 what=${4:--}
    if [ -e "over.$top" ]; then
        claim=over
    elif [ "$host" != "$(uname -n)" ]; then
        claim=elsewhere
        sign=alive.$top
        [ -e "$sign" ] || sign=claim.$top
        # Many beats of its vigil are missing: that machine is gone, or it ends what it runs when it is back.
        [ "$(age "$sign")" -lt 300 ] || claim=gone
    elif lives "$pid" "$at"; then
        claim=lives
    elif [ -e "over.$top" ]; then
        # It ended between the two looks.
        claim=over
    else
        claim=died
    fi
}

# Takes the claim and sets `number`, and `before`: what became of the one before it, on the machine `forsaken` if that
# is gone. Or says who has it. To be called by the process that does the work.
take() {
    me="$(uname -n) $$ $(began $$)@$(boot) ${command:--}"
    while :; do
        judge
        case $claim in
            lives) echo "running $pid $(cat "port.$top" 2>/dev/null || echo 0) $host $what" && return 1 ;;
            elsewhere) echo "elsewhere $pid 0 $host $what" && return 1 ;;
        esac
        before=$claim number=$((top + 1)) forsaken=-
        [ "$claim" != gone ] || forsaken=$host
        ln -s "$me" "claim.$number" 2>/dev/null || {
            [ -L "claim.$number" ] || {
                echo "unwritable $state"
                return 1
            }
            # Over NFS it may take a while to be listed.
            sleep 0.1 2>/dev/null || sleep 1
        }
        # The link may be another's. And one that is not the highest comes too late.
        highest
        [ "$top" != "$number" ] || [ "$(readlink "claim.$number")" != "$me" ] || break
    done
    for old in claim.* over.* port.* alive.*; do
        [ "${old##*.}" -ge "$number" ] 2>/dev/null || rm -f "$old"
    done
}

# Ends the claim that was taken; $1 is how it ended.
over() {
    echo "$1" >"over.new" && mv -f over.new "over.$number"
}

# Runs what follows in a session of its own, so that it outlives this one, or at least as the leader of its own process
# group, which is how it is ended. A plain `&` would do as a last resort: it has interrupts ignored for good, down to
# the programs in a notebook's terminals.
detach() {
    if setsid -f true 2>/dev/null; then
        setsid -f "$@"
    elif command -v perl >/dev/null 2>&1; then
        perl -e 'use POSIX (); fork and exit; POSIX::setsid(); exec @ARGV' "$@"
    elif command -v setsid >/dev/null 2>&1; then
        setsid "$@" &
    elif command -v python3 >/dev/null 2>&1; then
        # It has broken pipes ignored, which would be inherited.
        python3 -c 'import os, sys
from signal import *
os.fork() and os._exit(0)
os.setsid()
signal(SIGPIPE, SIG_DFL)
signal(SIGXFSZ, SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$@"
    elif command -v bash >/dev/null 2>&1; then
        bash -c 'set -m; nohup "$@" &' bash "$@"
    else
        nohup "$@" &
    fi
}
