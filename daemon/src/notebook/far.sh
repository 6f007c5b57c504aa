# Tells which notebook servers run here, whose they are, and who listens. For any POSIX sh, with what every Unix has.
# One record a line: a word, then fields without spaces; what may hold anything is in hex. "end" ends it.
LC_ALL=C
export LC_ALL

hex() { od -An -v -tx1 | tr -d ' \n'; }

# Its owner, when it began, and the sockets that it holds, as far as that can be read.
process() {
    if [ -r "/proc/$1/stat" ]; then
        start=$(tail -n 1 "/proc/$1/stat" | sed 's/.*) //' | cut -d' ' -f20)
        held=-
        if [ -r "/proc/$1/fd" ]; then
            held=$(ls -ln "/proc/$1/fd" 2>/dev/null | sed -n 's/.*socket:\[\([0-9]*\)\]$/\1/p' | tr '\n' ',')
            held=${held:-,}
        fi
        # shellcheck disable=SC2046
        set -- "$1" $(ls -ldn "/proc/$1" 2>/dev/null)
        [ -z "$4" ] || echo "process $1 $4 ticks ${start:--} $held"
    else
        # shellcheck disable=SC2046
        set -- "$1" $(ps -o uid= -o etime= -p "$1" 2>/dev/null)
        [ $# -ne 3 ] || echo "process $1 $2 since $3 -"
    fi
}

# For which of our notebooks a server was started, or in which job. What runs in another session, as a notebook's
# terminal is one, was started by somebody there: that it inherited the name of the notebook says nothing.
mark() {
    [ -r "/proc/$1/environ" ] || return 0
    # shellcheck disable=SC2046
    set -- "$1" $(tail -n 1 "/proc/$1/stat" 2>/dev/null | sed 's/.*) //')
    tr '\n\000' ' \n' 2>/dev/null <"/proc/$1/environ" | (
        notebook='' session='' job=''
        while IFS= read -r one; do
            case $one in
                NBTUNNEL_LINE=*/nbtunnel/*/line) notebook=${one%/line} ;;
                NBTUNNEL_SESSION=*) session=${one#*=} ;;
                SLURM_JOB_ID=*) job=${one#*=} ;;
            esac
        done
        [ "${5:-none}" = "$session" ] || notebook=''
        notebook=$(printf %s "${notebook##*/}" | hex)
        case $job in *[!0-9]*) job='' ;; esac
        [ -z "$notebook$job" ] || echo "mark $1 ${notebook:--} ${job:--}"
    )
}

# The servers that were written down in a directory, those that run alone, the newest first.
servers() {
    cd "$1" 2>/dev/null || return 0
    here=$(pwd -P) || return 0
    # shellcheck disable=SC2046,SC2012
    set -- "$here" $(ls -ldn . 2>/dev/null)
    [ -n "$4" ] || return 0
    echo "dir $2 $4 $(printf %s "$here" | hex)"
    # shellcheck disable=SC2012
    ls -t jpserver-*.json nbserver-*.json 2>/dev/null | head -n 64 | while IFS= read -r name; do
        pid=${name#??server-}
        pid=${pid%.json}
        case $pid in '' | 0* | *[!0-9]*) continue ;; esac
        [ -d "/proc/$pid" ] || ps -p "$pid" >/dev/null 2>&1 || [ -n "$elsewhere" ] || continue
        # shellcheck disable=SC2046
        set -- $(ls -ldn "$name" 2>/dev/null)
        case $1 in -*) ;; *) continue ;; esac
        if [ "${5:-9999}" -gt 6144 ]; then
            echo "huge $name"
            continue
        fi
        changed=$(stat -c %Y "$name" 2>/dev/null || stat -f %m "$name" 2>/dev/null)
        echo "file $name $1 $3 ${changed:--} $(hex <"$name")"
        process "$pid"
        mark "$pid"
    done
}

# Where our own servers keep their files by what their environment says: a login shell's files may have set it, which
# this script has not read.
told_by_processes() {
    # shellcheck disable=SC3067
    for dir in /proc/[0-9]*; do
        [ ! -O "$dir" ] || echo "${dir#/proc/}"
    done | sort -rn | head -n 2000 | (
        own=$(cat)
        cd /proc && {
            # shellcheck disable=SC2046
            grep -ls NBTUNNEL_LINE= $(printf '%s/environ ' $own)
            # Not this grep itself.
            # shellcheck disable=SC2046
            grep -ls -e '[j]upyter' -e '[i]python' -e '[n]otebook' -e '[n]bclassic' $(printf '%s/cmdline ' $own)
        } 2>/dev/null </dev/null | cut -d/ -f1 | sort -un | head -n 100 | while read -r pid; do places "$pid"; done
    ) | sort -u | head -n 16
}

# Those that process $1 names, if it was started from here, or is of this home; of a job's only in that job.
places() {
    tr '\n\000' ' \n' 2>/dev/null <"/proc/$1/environ" | grep -e '^[HJNSX][A-Z_]*=' | (
        mark='' its_home='' job='' conf='' found=''
        while IFS= read -r one; do
            value=${one#*=}
            case $one in
                HOME=*) its_home=$value ;;
                NBTUNNEL_LINE=*) mark=$value ;;
                SLURM_JOB_ID=*) job=$value ;;
                SLURM_CONF=*) conf=$value ;;
                JUPYTER_RUNTIME_DIR=/*) found=$found$value$newline ;;
                JUPYTER_DATA_DIR=/*) found=$found$value/runtime$newline ;;
                XDG_DATA_HOME=/*) found=$found$value/jupyter/runtime$newline ;;
            esac
        done
        [ "$job" = "${SLURM_JOB_ID-}" ] || exit 0
        [ -z "$job" ] || [ "$conf" = "${SLURM_CONF-}" ] || exit 0
        case ${XDG_STATE_HOME-} in
            /*) state=$XDG_STATE_HOME ;;
            *) state=$HOME/.local/state ;;
        esac
        case $mark in
            "$state"/nbtunnel/*) ;;
            */nbtunnel/*/line) exit 0 ;;
            *) [ "$its_home" = "$HOME" ] || exit 0 ;;
        esac
        printf %s "$found"
    )
}
newline='
'

me=$(id -u) || exit 1
who=$me
home=$HOME
if [ -n "$owner" ]; then
    if ! who=$(id -u "$owner" 2>/dev/null); then
        echo "nobody"
        echo "end"
        exit 0
    fi
    [ "$who" = "$me" ] || eval "home=~$owner"
fi
echo "who $me $who"
date '+now %s'
if [ -r /proc/stat ]; then
    echo "boot $(sed -n 's/^btime //p' /proc/stat) $(getconf CLK_TCK 2>/dev/null || echo 100)"
fi

if [ -n "$root" ]; then
    case $root in
        '~') root=$home ;;
        '~/'*) root=$home/${root#'~/'} ;;
    esac
    root=$(cd "$root" 2>/dev/null && pwd -P || printf %s "$root")
    echo "root $(printf %s "$root" | hex)"
fi

if [ -n "$written" ]; then
    # The environment is that of whoever logs in.
    if [ "$who" = "$me" ]; then
        dirs="JUPYTER_RUNTIME_DIR XDG_DATA_HOME JUPYTER_DATA_DIR XDG_RUNTIME_DIR"
    else
        dirs=
    fi
    for name in $dirs; do
        eval "value=\${$name-}"
        [ -n "$value" ] || continue
        case $name in
            JUPYTER_RUNTIME_DIR) (servers "$value") ;;
            XDG_DATA_HOME | XDG_RUNTIME_DIR) (servers "$value/jupyter/runtime") && (servers "$value/jupyter") ;;
            *) (servers "$value/runtime") ;;
        esac
    done
    for value in "$home/.local/share/jupyter/runtime" "$home/Library/Jupyter/runtime" "/run/user/$who/jupyter"; do
        (servers "$value")
    done
    if [ "$who" = "$me" ] && [ -z "$elsewhere" ] && [ -r /proc/self/environ ]; then
        told_by_processes | while IFS= read -r value; do (servers "$value" </dev/null); done
    fi
    if command -v jupyter >/dev/null 2>&1; then echo "jupyter"; fi
fi

for pid in $pids; do process "$pid" && mark "$pid"; done

if [ -n "$elsewhere" ]; then
    :
elif [ -r /proc/net/tcp ]; then
    # In which order this machine keeps the bytes of a number.
    echo "table proc $(printf '\001\000' | od -An -tx2 | tr -d ' \n')"
    for table in /proc/net/tcp /proc/net/tcp6; do
        # 0A is LISTEN.
        sed -n 's/^ *[0-9]*: \([0-9A-F]*\):\([0-9A-F]*\) [0-9A-F]*:[0-9A-F]* 0A [^ ]* [^ ]* [^ ]* *\([0-9]*\) *[0-9]* *\([0-9]*\) .*/listen \1 \2 \3 \4/p' "$table" 2>/dev/null | head -n 3000
    done
elif command -v ss >/dev/null 2>&1; then
    echo "table ss"
    ss -ltneH 2>/dev/null | head -n 2000 | sed 's/^/ss /'
elif command -v sockstat >/dev/null 2>&1; then
    echo "table sockstat"
    sockstat -46lnP tcp 2>/dev/null | head -n 2000 | sed 's/^/sockstat /'
elif command -v lsof >/dev/null 2>&1; then
    echo "table lsof"
    lsof -nP -iTCP -sTCP:LISTEN -Fpun 2>/dev/null | head -n 4000 | sed 's/^/lsof /'
fi
echo "end"
