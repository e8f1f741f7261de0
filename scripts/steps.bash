# Sourced by the scripts that do long things: named steps with their times, and one clear line when one fails.

began=$SECONDS
step_name=""

# step NAME COMMAND...: run it; a failure names the step and what to do.
step() {
    step_name=$1
    shift
    local from=$SECONDS
    echo "==> $step_name"
    if ! "$@"; then
        echo "==> failed: $step_name. When what it says is mended, repeat the command: it goes on from there." >&2
        exit 1
    fi
    echo "==> $step_name: done in $((SECONDS - from)) s"
    note_time "$step_name" $((SECONDS - from))
}

times=()
note_time() {
    times+=("\"$1\": $2")
}

times_json() {
    local joined
    printf -v joined '%s, ' "${times[@]}"
    echo "{${joined%, }}"
}
