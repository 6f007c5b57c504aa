# What a user's script asks for by which it would be several jobs, or one that sbatch waits for, or none: prints the
# first such option. It is read as sbatch reads it: up to the first command, by its quotes, and up to a `#` outside of
# them; what an option takes as its value is no option.
unfit() {
    [ -n "$user_script" ] && [ -r "$user_script" ] || return 0
    awk '
        # Sets word[1] to word[count].
        function split_words(text,   at, c, quote, is_open) {
            count = 0
            for (at = 1; at <= length(text); at++) {
                c = substr(text, at, 1)
                if (c == "\\") c = substr(text, ++at, 1)
                else if (quote != "" && c == quote) { quote = ""; continue }
                else if (quote == "" && (c == "\"" || c == "\047")) {
                    quote = c
                    if (!is_open) { word[++count] = ""; is_open = 1 }
                    continue
                }
                else if (quote == "" && c == "#") return
                else if (quote == "" && c ~ /[ \t]/) { is_open = 0; continue }
                if (!is_open) { word[++count] = ""; is_open = 1 }
                word[count] = word[count] c
            }
        }
        function tell(text) {
            gsub(/[^ -~]/, "", text)
            print text
            exit
        }
        # Those that take no value, or only one in the same word; others take the next.
        BEGIN {
            flags = " --contiguous --exclusive --get-user-env --help --hold --ignore-pbs --nice --no-kill --no-requeue" \
                " --overcommit --oversubscribe --parsable --propagate --quiet --reboot --requeue --share --spread-job" \
                " --usage --use-min-nodes --verbose --version "
        }
        /^#SBATCH/ {
            split_words(substr($0, 8))
            if (word[1] == "hetjob" || word[1] == "packjob") tell(word[1])
            for (at = 1; at <= count; at++) {
                text = word[at]
                if (text ~ /^--/) {
                    name = text
                    sub(/=.*/, "", name)
                    # Also shortened, as far as it is no other one.
                    if (length(name) > 3 && index("--array", name) == 1) tell(text)
                    if (length(name) > 3 && index("--test-only", name) == 1 || name == "--wait") tell(text)
                    if (name == text && !index(flags, " " name)) at++
                } else if (text ~ /^-./) {
                    # Several in one word; what follows one that takes a value is that.
                    for (i = 2; i <= length(text); i++) {
                        letter = substr(text, i, 1)
                        if (letter ~ /[aW]/) tell(text)
                        if (letter !~ /[HIOQVhv]/) break
                    }
                    if (i == length(text) && letter !~ /[ks]/) at++
                }
            }
        }
        /^#PBS/ {
            split_words(substr($0, 5))
            for (at = 1; at <= count; at++) if (word[at] ~ /^-t/) tell(word[at])
        }
        !/^[ \t]*#/ && NF { exit }
    ' "$user_script"
}
