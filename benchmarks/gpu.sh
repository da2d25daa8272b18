#!/usr/bin/env bash
# A session on a GPU that is lent for minutes, without network or Rust: tests of every kernel, then
# the benchmarks, in one call of BUDGET seconds. What matters most comes first, each figure is written
# when it is known, to benchmarks/results/, to out/gpu/, which git ignores, and to $OUT where that is
# set; a second call takes the figures that are not there yet. On a fresh machine, put what came back
# of the first into benchmarks/results/ before. COMMIT names the commit where there is no history.
#   benchmarks/gpu.sh [tests] [bench]   on a machine with a GPU; PYTHON names the interpreter
#   benchmarks/gpu.sh --dry             its smallest form on a CPU, in Triton's interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH=python:benchmarks PYTHONUNBUFFERED=1
# cuBLAS is deterministic with this alone
export CUBLAS_WORKSPACE_CONFIG=:4096:8
# the other tests' conftest wants what a GPU host has not: PyAV
# and what torch warns of on a GPU alone must not fail a thousand tests
tests=("$python" -m pytest --confcutdir=tests/kernels -q -p no:cacheprovider -o timeout=300 -W default)

if [[ ${1:-} == --dry ]]; then
  TRITON_INTERPRET=1 "${tests[@]}" tests/kernels/test_dispatch.py
  "$python" -m fastvd bench --dim 16 --mults 1 --batch 1 --frames 2 --size 8 --eager_only
  exit
fi

"$python" -c 'import einops, pytest, pytest_timeout, torch, triton
assert torch.cuda.is_available(), "there is no GPU here"'
records=$("$python" -c 'import report, torch; print(report.file_of(torch.cuda.get_device_name()))')
kept=out/gpu
mkdir -p $kept
if [[ ! -f $records && -f $kept/${records##*/} ]]; then cp "$kept/${records##*/}" "$records"; fi
failed=0

# at most so many seconds more, or what is left of the budget
within() {
  local left=$((${BUDGET:-510} - SECONDS))
  echo $((left < 1 ? 1 : left < $1 ? left : $1))
}

# run something within so many seconds, its output in a file too; what is known stays known
run() {
  local seconds log=$2
  seconds=$(within "$1")
  shift 2
  # an interrupted pytest still says what failed
  timeout -s INT -k 10 "$seconds" "$@" 2>&1 | tee -a "$kept/$log.txt" || failed=1
  if [[ -f $records ]]; then cp "$records" $kept; fi
  if [[ -n ${OUT:-} ]]; then cp $kept/* "$OUT"; fi
}

if [[ -z ${1:-} || " $* " == *" tests "* ]]; then
  # a thousand kernels are compiled, a second each: by all cores at once
  timeout "$(within 200)" "$python" benchmarks/warm.py >"$kept/warm.txt" 2>&1 &
  parallel=()
  if "$python" -c 'import xdist' 2>/dev/null; then
    parallel=(-n "$(($(nproc) > 6 ? $(nproc) - 4 : 2))")
  fi
  files=()
  for name in network modes temporal_block temporal_core linear_attention row_norm conv_pair \
    adamw_ema training group_norm dispatch references without_triton large conv_norm_act ops \
    bad_input adamw_checks convergence; do
    files+=("tests/kernels/test_$name.py")
  done
  run 260 tests env OMP_NUM_THREADS=1 "${tests[@]}" "${parallel[@]}" -m "not gpu" "${files[@]}"
  # up to 45 GiB each: one after the other
  run 60 tests "${tests[@]}" -m gpu tests/kernels/test_large.py tests/kernels/test_training.py
  wait
fi

if [[ -z ${1:-} || " $* " == *" bench "* ]]; then
  for suite in train_step sampling kernels; do
    run 200 bench "$python" "benchmarks/bench_$suite.py"
  done
  # minutes each, so last
  for suite in train_step sampling; do
    run 400 bench "$python" "benchmarks/bench_$suite.py" --compiled
  done
  run 200 bench "$python" benchmarks/bench_kernels.py --convs
  run 400 bench "$python" benchmarks/bench_kernels.py --compiled
fi
exit $failed
