# Tells whether what was started last has ended, how, and its last words.
main() {
    enter || return
    judge
    case $claim in
        over) echo "ended $(cat "over.$top")" ;;
        died) echo ended ;;
        *)
            echo awaited
            return
            ;;
    esac
    tail -n 20 log | tail -c 3000
}
main
