#!/usr/bin/env bash
# cron.sh [MINUTES]: the shipped crontab line under a real cron daemon, which runs it every minute in several folders with several time
# limits, and in one whose run outlasts the minute. Each run that was stopped ends with 75 and is where the next one goes on.
arguments=("$@")
. "$(dirname "$0")/common.sh"
isolated cron crontab timeout
minutes=${1:-3}
limits=(3.1 9.7 17.3 25.9)  # seconds, each a folder; runs that begin together take some of them to start

# What the daemon reads and writes is ours alone; the host's own entries must not run here.
mount -t tmpfs none /run
mount -t tmpfs none /var/spool/cron
install -d -m 1730 -g crontab /var/spool/cron/crontabs
mkdir none
mount --bind none /etc/cron.d
mount --bind /dev/null /etc/crontab

# cron starts this in the place of /bin/sh; it notes how each command ended.
cat >noting_shell <<SHELL
#!/bin/sh
/bin/sh "\$@"
echo "\$? \$2" >>$work/ended
SHELL
chmod +x noting_shell
touch ended

line() {  # FOLDER LIMIT
  shipped scripts/examples/crontab '0 2 * * *' '* * * * *' /srv/train "$work/$1" 6h "$2s" /usr/local/bin/ddp-launch "$launch" \
    '--gpus 0,1,2,3' '--nproc 2 --device cpu' gpt2.yaml train.yaml
}
codes_of() { sed -n "s|^\([0-9]*\) cd $work/$1 .*|\1|p" ended | paste -sd' '; }
n_ended() { [ "$(wc -l <ended)" -ge "$1" ]; }

{
  echo "SHELL=$work/noting_shell"
  for limit in "${limits[@]}"; do
    new_run "limit-$limit"
    line "limit-$limit" "$limit"
  done
  new_run two-nights
  line two-nights 80  # begun in minutes 1, 3, 5 ...; in the others it still runs
} >table
crontab table
say "cron for $minutes minutes: ${#limits[@]} folders and a run that outlasts its minute"
cron -f &
trap 'kill %1 2>/dev/null || true' EXIT
expected=$((minutes * (${#limits[@]} + 1)))
until_true $((minutes * 60 + 90)) "the first runs of the last minute" n_ended $((expected - 2))
crontab -r
until_true 120 "the end of the last run" n_ended "$expected"
kill %1

printf '%-14s %-24s %s\n' folder "exit codes" "last checkpoint"
for folder in "${limits[@]/#/limit-}" two-nights; do
  codes=$(codes_of "$folder")
  printf '%-14s %-24s %s\n' "$folder" "$codes" "step $(newest_step "$folder")"
  for code in $codes; do
    [ "$code" -eq 75 ] || { [ "$folder" = two-nights ] && [ "$code" -eq 73 ]; } || wrong "$folder: a run ended with $code"
  done
  resumes "$folder"
done
[[ $(codes_of two-nights) == *73* ]] || wrong "two-nights: no run was refused"
told two-nights/train.log "in use" || wrong "two-nights: the refusal was not told"
verdict
