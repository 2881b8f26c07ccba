#!/usr/bin/env bash
# slurm.sh [TRIES]: the shipped sbatch script, and ddp-launch as a step of srun, under a real slurmctld and slurmd on this one machine, and
# the ways in which SLURM ends a job. Each must leave a checkpoint from which the next job goes on.
arguments=("$@")
. "$(dirname "$0")/common.sh"
isolated slurmctld slurmd sbatch srun scancel scontrol
tries=${1:-3}

# A name and an address of our own. 192.0.2.1 is reserved for examples; with 127.0.0.1 alone the resolver believes that there is no network.
hostname node
ip address add 192.0.2.1/32 dev lo
mkdir jobs slurm slurm/state slurm/spool
cat >slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=node(192.0.2.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
SlurmdParameters=config_overrides
StateSaveLocation=$work/slurm/state
SlurmdSpoolDir=$work/slurm/spool
SlurmctldPidFile=$work/slurm/slurmctld.pid
SlurmdPidFile=$work/slurm/slurmd.pid
SlurmctldLogFile=$work/slurm/slurmctld.log
SlurmdLogFile=$work/slurm/slurmd.log
GresTypes=gpu
NodeName=node NodeAddr=192.0.2.1 CPUs=256 Gres=gpu:64
PartitionName=main Nodes=node Default=YES State=UP
CONF
mkdir slurm/gpus
touch slurm/gpus/gpu{0..63}  # SLURM counts them and gives their numbers to jobs
echo "NodeName=node Name=gpu File=$work/slurm/gpus/gpu[0-63]" >slurm/gres.conf
export SLURM_CONF=$work/slurm/slurm.conf
slurmctld -D 2>slurm/slurmctld.err & controller=$!
slurmd -D 2>slurm/slurmd.err & daemon=$!
trap 'kill $controller $daemon 2>/dev/null || true' EXIT
idle() { [[ $(sinfo -h -o %t 2>/dev/null) == idle ]]; }
until_true 60 "an idle node" idle

# The shipped script, and ddp-launch as a step of srun. Both are submitted from a run's folder.
with="$launch --nproc 2 --device cpu"
edits=('ddp-launch --gpus 0,1,2,3' "$with" configs/gpt2-small.yaml train.yaml)
minute=(--time=24:00:00 --time=00:01:00)  # the shortest limit; SLURM looks twice a minute
shipped scripts/examples/train.sbatch "${edits[@]}" >jobs/batch
shipped scripts/examples/train.sbatch "${edits[@]}" "${minute[@]}" @120 @20 >jobs/batch-limit
shipped scripts/examples/train.sbatch "${edits[@]}" "${minute[@]}" B:USR1@120 B:TERM@20 >jobs/batch-limit-term
shipped scripts/examples/train.sbatch "${edits[@]}" "${minute[@]}" --signal=B:USR1@120 '' >jobs/batch-limit-bare
step_job() { printf '#!/bin/bash\n#SBATCH --open-mode=append %s\nsrun %s --resume auto train.yaml\n' "$1" "$with"; }
step_job --requeue >jobs/step
step_job '--time=00:01:00 --signal=TERM@20' >jobs/step-limit
step_job '--time=00:01:00' >jobs/step-limit-bare

# A way of stopping is also the name of the folder in which its runs train, each where the one before it was stopped. Of the job in hand:
# `way`, its number `job`, what it prints `log`, and `before`, the step from which it is to go on.
declare -A how
of_job() { scontrol -o show job "$job" | sed -n "s/.* $1=\([^ ]*\).*/\1/p"; }
ended() { [[ $(of_job JobState) =~ ^(CANCELLED|COMPLETED|FAILED|TIMEOUT)$ ]] && [ -z "$(squeue -h -j "$job" 2>/dev/null)" ]; }
in_state() { [ "$(of_job JobState)" = "$1" ]; }
n_steps() { cat "$way/run/metrics.jsonl" 2>/dev/null | wc -l; }
trained_beyond() { [ "$(n_steps)" -gt $(($1 + 10)) ]; }
committed() { [ "$(newest_step "$way")" -gt "$before" ]; }
n_starts() { grep -s '^start-up' "$log" | wc -l; }
runs_again() { [ "$(n_starts)" -ge 2 ]; }
or_ended() { "$@" || ended; }

# Where a signal reaches srun itself, as of the batch script's processes too, srun answers with SIGKILL to the step, and the run may have
# committed by then or not. These commit every 20 steps, and the last of these commits must serve.
through_srun() { [[ $way == srun,* || $way == 'step: scancel' || $way == 'step: scancel --full'* || $way == 'step: scontrol requeue' ]]; }

use() {  # WAY: what is known of its job, before it starts
  way=$1
  if [ ! -d "$way" ]; then
    new_run "$way"
    if through_srun; then echo 'checkpoint: {every: 20}' >>"$way/train.yaml"; fi
  fi
  before=$(newest_step "$way")
}

submit() {  # SCRIPT
  job=$(cd "$way" && sbatch --parsable "../jobs/$1")
  log=$way/slurm-$job.out
}

trains() {
  until_true 90 "job $job trains ($way)" trained_beyond "$before"
  if through_srun; then until_true 90 "a commit ($way)" committed; fi
}

# finish STATES: waits for the end of the job, and notes it: in one of these states, a launcher that ended with 75, and a checkpoint that is
# newer than the one from which the job went on.
finish() {
  local state code
  until_true 180 "job $job ends ($way)" ended
  state=$(of_job JobState)
  code=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["exit_code"])' "$way/run/status.json")
  [ "$code" != None ] || code=killed
  how[$way]+="${how[$way]:+, }$state $code"
  [[ " $1 " == *" $state "* ]] || wrong "$way: job $job is $state"
  [ "$code" = 75 ] || { through_srun && [ "$code" = killed ]; } || wrong "$way: the launcher ended with $code"
  committed || { wrong "$way: nothing committed after step $before"; tail -n 3 "$log"; }
  [ "$before" -eq 0 ] || told "$log" "resumed after step $before\$" || wrong "$way: it did not go on from step $before"
}

# queued_again: the job is back, in the same log, where it was stopped; it is then cancelled.
queued_again() {
  local from
  until_true 180 "job $job is back or ends ($way)" or_ended runs_again
  runs_again || { wrong "$way: job $job was not queued again"; return 0; }
  from=$(sed -n 's/^resumed after step //p' "$log" | tail -n 1)
  how[$way]+="${how[$way]:+, }queued again after step ${from:-0}"
  [ "${from:-0}" -gt "$before" ] || wrong "$way: job $job began again after step ${from:-0}"
  until_true 60 "job $job trains again ($way)" or_ended trained_beyond "${from:-0}"
  scancel "$job"
}

# stop_by SCRIPT COMMAND STATES: the job's number is added to the command; the states are `again` where the job is to come back.
stop_by() {
  for ((i = 0; i < tries; i++)); do
    use "$1: $2"
    submit "$1"
    trains
    $2 "$job"
    if [ "$3" = again ]; then
      queued_again
      finish CANCELLED
    else
      finish "$3"
    fi
  done
}

# goes_on SCRIPT WAY COMMAND: what does not stop a run. It commits where the command is SIGUSR1, trains on, and stops as ever.
goes_on() {
  for ((i = 0; i < tries; i++)); do
    use "$1: $2"
    submit "$1"
    trains
    $3
    until_true 60 "job $job trains on ($way)" or_ended trained_beyond "$(n_steps)"
    scancel "$job"
    finish CANCELLED
  done
}
commits() {
  scancel --signal=USR1 "$job"
  until_true 60 "a commit ($way)" or_ended committed
}
suspends() {
  scontrol suspend "$job"
  until_true 60 "job $job is suspended ($way)" in_state SUSPENDED
  scontrol resume "$job"
}

# from_shell WAY SIGNAL...: srun as a person starts it, which gets these signals, the second as soon as srun has told of the first.
from_shell() {
  local srun signal
  for ((i = 0; i < tries; i++)); do
    use "$1"
    log=$way/srun-$i.out
    (cd "$way" && exec python3 "$root/tests/system/foreground.py" srun --job-name="shell-$i" $with --resume auto train.yaml) >"$log" 2>&1 &
    srun=$!
    job="of srun"
    trains
    job=$(squeue -h -o %A -n "shell-$i")
    for signal in "${@:2}"; do
      kill -"$signal" "$srun"
      until_true 10 "srun tells of the signal ($way)" told "$log" '^srun: '
    done
    wait "$srun" || true
    finish 'FAILED CANCELLED'
  done
}

# Of several tasks each would be a launcher of the same run.
refuses_tasks() {
  local code=0
  new_run tasks
  (cd tasks && srun --ntasks=2 $with train.yaml) >tasks/log 2>&1 || code=$?
  [ "$code" -eq 64 ] || wrong "srun --ntasks=2 ended with $code"
  [ "$(grep -c 'srun started 2 of these.*srun --ntasks=1' tasks/log)" -eq 2 ] || { wrong "srun --ntasks=2 says"; cat tasks/log; }
  [ ! -e tasks/run ] || wrong "srun --ntasks=2 made a run's folder"
}

say "SLURM $(sinfo --version | cut -d' ' -f2), $tries tries each"
refuses_tasks
stop_by batch scancel CANCELLED
stop_by batch 'scancel --batch --signal=TERM' FAILED
stop_by batch 'scancel --full --signal=TERM' FAILED
stop_by batch 'scancel --full --signal=INT' FAILED
stop_by batch 'scancel --batch --signal=USR1' again
stop_by batch 'scancel --full --signal=USR1' again
stop_by batch 'scontrol requeue' again
stop_by step scancel CANCELLED
stop_by step 'scancel --full --signal=TERM' 'FAILED CANCELLED'
stop_by step 'scancel --signal=TERM' FAILED
stop_by step 'scancel --signal=INT' FAILED
stop_by step 'scontrol requeue' again
goes_on batch suspended suspends
goes_on step suspended suspends
goes_on step 'scancel --signal=USR1' commits
from_shell 'srun, TERM' TERM
from_shell 'srun, Ctrl-C twice' INT INT

limits=(batch-limit batch-limit-term batch-limit-bare step-limit step-limit-bare)
declare -A job_of
for limit in "${limits[@]}"; do  # at once: each takes a minute or two
  use "$limit"
  submit "$limit"
  job_of[$limit]=$job
done
for limit in "${limits[@]}"; do
  before=0 way=$limit job=${job_of[$limit]} log=$limit/slurm-${job_of[$limit]}.out
  case $limit in
    batch-limit) queued_again && finish CANCELLED ;;
    *term | step-limit) finish 'FAILED TIMEOUT' ;;
    *) finish TIMEOUT ;;
  esac
done

printf '%-38s %s\n' "way" "the job's state, the launcher's exit code"
for way in "${!how[@]}"; do resumes "$way"; done
for way in "${!how[@]}"; do printf '%-38s %s\n' "$way" "${how[$way]}"; done | sort
verdict
