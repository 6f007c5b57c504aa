# Ends the server that holds the claim, and the process `found`, if that is the user's.
main() {
    if enter; then
        judge
        case $claim in
            elsewhere) echo "elsewhere $pid 0 $host" && return ;;
            lives)
                end "-$pid" lives "$pid" "$at" || {
                    echo "stubborn $pid"
                    return
                }
                number=$top
                over 1
                ;;
        esac
    fi
    if [ -n "$found" ] && [ -n "$(began "$found")" ]; then
        mine "$found" || {
            echo "not_yours $found"
            return
        }
        end "$found" lives_yet "$found" "$(began "$found")" || {
            echo "stubborn $found"
            return
        }
    fi
    echo stopped
}

# Ends $1 (a process, or a group of them) kindly, then not; the rest of the words tell whether it lives.
end() {
    whom=$1
    shift
    kill -s TERM -- "$whom" 2>/dev/null
    gone 50 "$@" && return
    kill -s KILL -- "$whom" 2>/dev/null
    gone 15 "$@"
}

# Waits for so many times 0.2 s until the rest of the words are no longer true.
gone() {
    looks=$1
    shift
    while "$@"; do
        [ "$looks" -gt 0 ] || return 1
        sleep 0.2 2>/dev/null || { sleep 1 && looks=$((looks - 4)); }
        looks=$((looks - 1))
    done
}

lives_yet() {
    [ "$(began "$1")" = "$2" ]
}

mine() {
    if [ -d /proc/self ]; then
        [ -O "/proc/$1" ]
    else
        [ "$(ps -o uid= -p "$1" | tr -d ' ')" = "$(id -u)" ]
    fi
}
main
