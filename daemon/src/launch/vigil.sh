# What ends a process, and what watches over the one that holds a claim: other machines that share the directory see
# by it that this one lives.

# Has the claim of this process watched over, from outside of its process group: that is empty once all is over.
keep_vigil() {
    detach sh run vigil "$number" "$$" "$(began $$)" </dev/null >/dev/null 2>&1
}

# Watches over claim $1 of process $2, which began at $3. A claim that follows it while that lives is of somebody who
# took this machine for gone: what is his goes on, and this ends.
vigil() {
    enter || return
    while [ ! -e "over.$1" ] && lives "$2" "$3"; do
        highest
        [ "$top" -le "$1" ] || {
            finish "-$2" lives "$2" "$3"
            return
        }
        touch "alive.$1"
        sleep 15
    done
}

# Ends $1 (a process, or a group of them) kindly, then not; the rest of the words tell whether it lives.
finish() {
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
