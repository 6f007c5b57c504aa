# Ends the server that holds the claim, or if none does the process `found`, if that is the user's.
main() {
    ended=
    if enter; then
        judge
        case $claim in
            elsewhere) echo "elsewhere $pid 0 $host" && return ;;
            # If that machine comes back, it sees that another claim follows.
            gone) take && over stopped || return ;;
            lives)
                finish "-$pid" lives "$pid" "$at" || {
                    echo "stubborn $pid"
                    return
                }
                number=$top
                over stopped
                # It was this one's child, or is somebody else's: another notebook's, or started by hand.
                found= ended=ended
                ;;
        esac
    fi
    if [ -n "$found" ] && [ -n "$(began "$found")" ]; then
        mine "$found" || {
            echo "not_yours $found"
            return
        }
        finish "$found" lives_yet "$found" "$(began "$found")" || {
            echo "stubborn $found"
            return
        }
    fi
    echo "stopped ${forsaken:--} ${ended:--}"
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
