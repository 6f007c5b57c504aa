# Ends all jobs of the name, and waits until they are at least on their way out; also one that is being submitted. A
# name that the file gives may be that of other jobs of the user, too: then it is job `only`, or the one there is.
main() {
    enter make || {
        echo "unwritable $state"
        return
    }
    # One that is there already was not submitted by us.
    ours=$([ -n "$job" ] || echo yes)
    find_slurm && find_name || return
    [ -z "$ours" ] || { only= && submitted; } || return
    looks=0
    while :; do
        jobs=$(ask) || {
            echo unasked
            return
        }
        numbers=$(printf '%s\n' "$jobs" |
            awk -F "$unit" -v only="$only" '$2 != "COMPLETING" && (only == "" || $1 == only) { print $1 }')
        [ -z "$ours" ] || [ -n "$numbers" ] || {
            recorded
            case $? in
                0) numbers=$(cat job) ;;
                2)
                    say_unrecorded
                    return
                    ;;
            esac
        }
        [ -n "$numbers" ] || break
        if [ -n "$ours" ]; then
            rm -f doubt
        else
            set -- $numbers
            [ "$#" = 1 ] || {
                echo "several" $numbers
                return
            }
            only=$1
        fi
        [ "$looks" -lt 20 ] || {
            echo "stubborn" $numbers
            return
        }
        # More than once: one that is being requeued is not always heard.
        [ "$((looks % 5))" != 0 ] || said=$(scancel $numbers 2>&1) || {
            echo uncancelled
            echo "$said"
            return
        }
        looks=$((looks + 1))
        sleep 1
    done
    [ -z "$ours" ] || ! doubtful || {
        say_doubt
        return
    }
    echo cancelled
}

# Waits for who submits at this moment: what he submits is to be ended, too.
submitted() {
    looks=0
    while judge; do
        case $claim in lives | elsewhere) ;; *) return 0 ;; esac
        [ "$looks" -lt 25 ] || {
            echo "running $pid 0 $host"
            return 1
        }
        looks=$((looks + 1))
        sleep 1
    done
}
main
