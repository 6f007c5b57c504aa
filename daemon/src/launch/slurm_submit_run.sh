# The process that holds the claim while it submits. Between the claim and sbatch it asks the queue once more.
main() {
    trap '' HUP PIPE
    enter || return
    # A submission takes no longer than that.
    forget=2
    take || return
    find_slurm && find_name || {
        over 1
        return
    }
    # Who died while submitting may have been heard: that shows in a moment.
    [ "$before" != died ] || sleep 3
    jobs=$(ask 2>errors) || {
        over 1
        echo unasked
        tail -n 3 errors
        return
    }
    if [ -n "$jobs" ] || recorded; then
        over 0
        echo "there $(cat job 2>/dev/null)"
        return
    fi
    batch >batch
    if submit >told 2>errors; then
        # With several clusters it is NUMBER;CLUSTER.
        submitted=$(sed -n 's/^\([0-9][0-9]*\).*/\1/p' told | tail -n 1)
        echo "$submitted" >job.new && mv -f job.new job
        over 0
        echo "submitted $submitted"
        return
    fi
    # Not to be heard in time is no refusal: then the claim stays that of a dead, and who comes next asks again.
    grep -qi 'timed out\|unable to contact\|communication\|connect' errors || over 1
    echo refused
    tail -n 5 errors
}

# Whether the job that was submitted last is not over; some sites answer `squeue` with what was true a minute ago.
recorded() {
    [ -s job ] || return
    said=$(scontrol show job -o "$(cat job)" 2>/dev/null) || return
    case $said in *"JobName=$job "*) ;; *) return 1 ;; esac
    case $said in
        *JobState=PENDING* | *JobState=RUNNING* | *JobState=SUSPENDED* | *JobState=CONFIGURING* | *JobState=REQUEUED*) ;;
        *) return 1 ;;
    esac
}
main
