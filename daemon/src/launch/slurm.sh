# Functions about Slurm: where its programs are, and what it says of a user's jobs.

# Finds Slurm's programs where a login would, or where sites put them.
find_slurm() {
    # What a user likes to see of the queue must not hide a job from us.
    unset SQUEUE_ACCOUNT SQUEUE_ALL SQUEUE_ARRAY SQUEUE_ARRAY_UNIQUE SQUEUE_FEDERATION SQUEUE_FORMAT SQUEUE_FORMAT2
    unset SQUEUE_LICENSES SQUEUE_LOCAL SQUEUE_NAMES SQUEUE_ONLY_JOB_STATE SQUEUE_PARTITION SQUEUE_PRIORITY SQUEUE_QOS
    unset SQUEUE_SIBLING SQUEUE_SORT SQUEUE_STATES SQUEUE_USERS SQUEUE_CLUSTERS
    [ -z "${clusters-}" ] || { SLURM_CLUSTERS=$clusters && export SLURM_CLUSTERS; }
    told=
    command -v squeue >/dev/null 2>&1 && return
    case ${XDG_STATE_HOME-} in
        /*) told=$XDG_STATE_HOME/nbtunnel ;;
        *) told=$HOME/.local/state/nbtunnel ;;
    esac
    # Other machines may share that directory, and have their programs elsewhere.
    told=$told/slurm.$(uname -n)
    usual=$PATH
    [ -f "$told" ] && [ -O "$told" ] && theirs=$(cat "$told") && search && return
    PATH=$usual
    ask_login
    search || {
        echo no_slurm
        return 1
    }
    # A login may take its time, and the queue is asked all day.
    { (umask 077 && printf '%s\n' "$theirs" >"$told.$$") && mv -f "$told.$$" "$told"; } 2>/dev/null || :
}

# Sets `theirs`: what a login sets of what matters here.
ask_login() {
    case ${SHELL-} in
        '') login='sh -l -c' ;;
        */csh | */tcsh) login="$SHELL -c" ;;
        *) login="$SHELL -l -c" ;;
    esac
    theirs=$($login env 2>/dev/null </dev/null | sed -n -e '/^PATH=/p' -e '/^SLURM_CONF=/p')
}

# Whether the programs are where `theirs` says, or where sites put them; sets what they need.
search() {
    theirs_too=$(printf '%s\n' "$theirs" | sed -n 's/^PATH=//p' | tail -n 1)
    PATH=$PATH${theirs_too:+:$theirs_too}
    PATH=$PATH:/usr/local/bin:/opt/slurm/bin:/usr/local/slurm/bin:/opt/slurm/current/bin:/usr/slurm/bin
    PATH=$PATH:/cm/shared/apps/slurm/current/bin
    command -v squeue >/dev/null 2>&1 || return
    conf=$(printf '%s\n' "$theirs" | sed -n 's/^SLURM_CONF=//p' | tail -n 1)
    [ -z "$conf" ] || { SLURM_CONF=$conf && export SLURM_CONF; }
}

# The name of our job: one that is there already, or one that lasts as long as this directory.
find_name() {
    [ -z "$job" ] || return 0
    ln -s "$new_id" id 2>/dev/null
    id=$(readlink id) && [ -n "$id" ] || {
        echo "unwritable $state"
        return 1
    }
    job=nbtunnel-$notebook-$id
}

# Prints the user's jobs of that name, a line each; fails where the cluster does not answer.
ask() {
    all=$(SLURM_TIME_FORMAT=%s squeue --noheader --all --user="$(id -u)" \
        --format="%A$unit%T$unit%B$unit%L$unit%S$unit%r$unit%j") || {
        # What a login told may be out of date.
        rm -f answers ${told:+"$told"}
        return 1
    }
    [ ! -e doubt ] || [ -e answers ] || date >answers
    # By ourselves: --name takes commas for ends of names.
    printf '%s\n' "$all" | job=$job awk -F "$unit" '$7 == ENVIRON["job"]'
}
unit=$(printf '\037')

# Whether the job that was submitted last is not over; some sites answer `squeue` with what was true a minute ago.
# It is 2 where the cluster does not say.
recorded() {
    [ -s job ] && command -v scontrol >/dev/null 2>&1 || return 1
    said=$(scontrol show job -o "$(cat job)" 2>&1) || case $said in
        # Of several clusters it never tells.
        *'Invalid job id'* | *'Only one cluster'*) return 1 ;;
        *) return 2 ;;
    esac
    case $said in *"JobName=$job "*) ;; *) return 1 ;; esac
    case $said in
        *JobState=PENDING* | *JobState=RUNNING* | *JobState=SUSPENDED* | *JobState=CONFIGURING* | *JobState=REQUEUED*) ;;
        *) return 1 ;;
    esac
}

say_unrecorded() {
    echo unasked
    printf '%s\n' "$said" | tail -n 3
}

# Whether there may be a job that nobody sees yet. Before sbatch is called, `doubt` is written, and it is removed once
# the cluster said yes or no. A controller that was slow takes what it was sent when it comes to itself: so the doubt
# is over when the queue has been without the job for two minutes since `answers`, when it was first heard again.
doubtful() {
    [ -e doubt ] || return
    [ ! -e answers ] || [ "$(age answers)" -lt 120 ]
}

say_doubt() {
    echo doubtful
    cat doubt
}
