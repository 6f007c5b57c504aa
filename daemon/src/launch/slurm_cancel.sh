# Ends all jobs of the name, and waits until they are at least on their way out.
main() {
    enter make || {
        echo "unwritable $state"
        return
    }
    find_slurm && find_name || return
    looks=0
    while :; do
        jobs=$(ask) || {
            echo unasked
            return
        }
        numbers=$(printf '%s\n' "$jobs" | awk -F "$unit" '$2 != "COMPLETING" { print $1 }')
        [ -n "$numbers" ] || break
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
    echo cancelled
}
main
