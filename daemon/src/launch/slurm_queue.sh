# Says how the job stands.
main() {
    enter make || {
        echo "unwritable $state"
        return
    }
    find_slurm && find_name || return
    jobs=$(ask) || {
        echo unasked
        return
    }
    echo "asked $job"
    printf '%s\n' "$jobs"
}
main
