# Submits the job, unless there is one. What holds the claim is a process of its own: it goes on when we are gone.
main() {
    enter make || {
        echo "unwritable $state"
        return
    }
    (cd "$dir") 2>/dev/null || {
        echo "no_dir $dir"
        return
    }
    runner >"run.$$" && mv -f "run.$$" run || {
        echo "unwritable $state"
        return
    }
    detach sh run </dev/null 2>/dev/null | cat
}
main
