# Shows the end of what the job wrote: the newest of ours, or wherever one that was there already writes. Of several of
# that name it is `only`, where one is followed.
main() {
    enter make || return
    if [ -n "$job" ]; then
        find_slurm || return
        jobs=$(ask) || {
            echo unasked
            return
        }
        number=${only:-$(printf '%s\n' "$jobs" | awk -F "$unit" '{ print $1 }' | sort -n | tail -n 1)}
        [ -z "$number" ] || file=$(scontrol show job -o "$number" | sed -n 's/.* StdOut=\([^ ]*\).*/\1/p')
    else
        newest=$(ls | sed -n 's/^job-\([0-9][0-9]*\)\.log$/\1/p' | sort -n | tail -n 1)
        file=${newest:+job-$newest.log}
    fi
    [ -n "${file-}" ] && [ -r "$file" ] || {
        echo unwritten
        return
    }
    echo log
    tail -n "$lines" "$file" | tail -c "$most"
}
main
