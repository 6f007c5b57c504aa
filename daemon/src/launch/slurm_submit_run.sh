# The process that holds the claim while it submits. Between the claim and sbatch it asks the queue once more.
main() {
    trap '' HUP PIPE
    enter || return
    take || return
    keep_vigil
    find_slurm && find_name || {
        over 1
        return
    }
    # Who died while submitting may have been heard: that shows in a moment.
    case $before in died | gone) sleep 3 ;; esac
    jobs=$(ask 2>errors) || {
        over 1
        echo unasked
        tail -n 3 errors
        return
    }
    [ -n "$jobs" ] || recorded
    is_there=$?
    [ "$is_there" != 2 ] || {
        over 1
        say_unrecorded
        return
    }
    if [ "$is_there" = 0 ]; then
        [ -z "$jobs" ] || note_job "$(printf '%s\n' "$jobs" | awk -F "$unit" '{ print $1 }' | sort -n | tail -n 1)"
        over 0
        echo "there $(cat job 2>/dev/null)"
        return
    fi
    ! doubtful || {
        over 1
        say_doubt
        return
    }
    asks=$(unfit)
    [ -z "$asks" ] || {
        over 1
        echo "unfit $asks"
        return
    }
    # There is no job that could write to one of them.
    find . ! -name . -prune -type f -name 'job-*.log' -mtime +30 -exec rm -f {} +
    batch >batch && rm -f answers && echo "it was cut off while it submitted the job" >doubt || {
        over 1
        echo "unwritable $state"
        return
    }
    submit >told 2>errors
    status=$?
    # With several clusters it is NUMBER;CLUSTER.
    submitted=$(sed -n 's/^\([0-9][0-9]*\)\(;.*\)*$/\1/p' told | tail -n 1)
    if [ "$status" = 0 ] && [ -n "$submitted" ]; then
        note_job "$submitted"
        over 0
        echo "submitted $submitted"
    elif refused; then
        rm -f doubt
        over 1
        echo refused
        tail -n 5 errors
    else
        # Whoever asked the queue meanwhile asked too early.
        rm -f answers
        [ ! -s errors ] || tail -n 5 errors >doubt
        over 1
        say_doubt
    fi
}

# There is a job, with number $1.
note_job() {
    echo "$1" >job.new && mv -f job.new job
    rm -f doubt
}

# Whether sbatch says that there is no job: it found no fault with the way to the cluster, and ended by itself.
refused() {
    case $status in
        126 | 127) return 0 ;;
        # A signal ended it, whatever it said before.
        129 | 1[3-9]?) return 1 ;;
    esac
    said=$(sed -n 's/^sbatch: error: Batch job submission failed: //p' errors)
    [ -n "$said" ] || said=$(grep '^sbatch: ' errors) || return
    ! printf '%s\n' "$said" | grep -Eqi "$lost"
}
lost='timed out|timeout|unable to contact|communication|connect|message|bytes were|transport|unreachable|no route'
lost="$lost|standby|broken pipe|temporarily unavailable|interrupted|in progress|authentication"

case ${1-} in
    vigil) shift && vigil "$@" ;;
    *) main ;;
esac
