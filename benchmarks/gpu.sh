#!/usr/bin/env bash
# A whole session on a GPU, without network or Rust: tests of every kernel, then the benchmarks, whose
# records go to benchmarks/results/ (and to $OUT where that is set).
#   benchmarks/gpu.sh          on a machine with a GPU; PYTHON names the interpreter
#   benchmarks/gpu.sh --dry    its smallest form on a CPU, in Triton's interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH=python:benchmarks PYTHONUNBUFFERED=1
# cuBLAS is deterministic with this alone
export CUBLAS_WORKSPACE_CONFIG=:4096:8
# the other tests' conftest wants what a GPU host has not: PyAV
tests=("$python" -m pytest tests/kernels --confcutdir=tests/kernels --ignore=tests/kernels/test_aot.py
  -q -p no:cacheprovider -o timeout=300)

if [[ ${1:-} == --dry ]]; then
  TRITON_INTERPRET=1 "${tests[@]}" -k dispatch
  "$python" -m fastvd.cli bench --dim 16 --mults 1 --batch 1 --frames 2 --size 8 --eager_only
  exit
fi

"$python" -c 'import torch; assert torch.cuda.is_available(), "there is no GPU here"'
failed=0
"${tests[@]}" || failed=1
for suite in bench_kernels bench_sampling bench_train_step; do
  timeout 150 "$python" "benchmarks/$suite.py" || failed=1
done
timeout 120 "$python" benchmarks/bench_kernels.py --convs || failed=1
[[ -z ${OUT:-} ]] || cp benchmarks/results/*.json "$OUT"
exit $failed
