"""Compile every kernel for GPUs that are not here, and hold what came out against a table.

    python benchmarks/aot.py            write the table of the installed Triton
    python benchmarks/aot.py --check    compare with it; needs no GPU

Each case runs a public op forward and backward on CPU tensors. Triton sees a driver that names
another GPU, compiles what the op launches, and starts nothing. A row holds registers a thread,
bytes of shared memory, bytes of spills and matrix instructions of one kernel.
"""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from aot_cases import BARE, CASES, NETWORKS
from torch.utils._pytree import tree_map_only
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from fastvd.kernels import launch

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
SHARED_LIMIT = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
"""Bytes of shared memory that a program may ask for."""
HOPPER = 90
PROCESSORS = 132
"""Of an H100: numbers that are 1 are compiled in, and there are none of one program."""
TABLES = Path(__file__).parent / "results"
MATRIX_OPS = re.compile(r"\b(HGMMA|HMMA|UTC[A-Z]*MMA)\b")
INSTRUCTION_BYTES = 16


class Row(NamedTuple):
    """One compiled kernel."""

    case: str
    kernel: str
    arch: int
    warps: int
    registers: int
    shared: int
    spills: int
    matrix_ops: int


class Stub(DriverBase):  # type: ignore[misc]
    """A driver of a GPU that is not there: binaries are recorded, launches do nothing."""

    def __init__(self) -> None:
        self.arch = 90
        self.utils = self
        self.compiled: list[tuple[Any, bytes]] = []
        self.metadata: Any = None

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": SHARED_LIMIT[device]}

    def launcher_cls(self, src: Any, metadata: Any) -> Any:  # noqa: ARG002
        self.metadata = metadata
        return lambda *_: None

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[int, ...]:  # noqa: ARG002
        self.compiled.append((self.metadata, binary))
        return 1, 1, 0, 0, 1024

    def unload_module(self, module: int) -> None:
        pass

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:  # noqa: ARG002
        return 0

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("nothing is timed here")

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    @staticmethod
    def is_active() -> bool:
        return True


def compiled_rows(cases: list[str], archs: list[int]) -> Iterator[Row]:
    """A row for each kernel that the cases launch and no case before them did.

    No cases: those of the table.
    """
    stub = Stub()
    triton.runtime.driver.set_active(stub)
    launch.interpreted = launch.interprets_bfloat16 = True  # CPU tensors go to the kernels
    launch.INTERPRETED_PROCESSORS = PROCESSORS
    _library = without_products()
    for arch in archs:
        stub.arch = arch
        # networks launch the same everywhere, and take minutes
        whole = NETWORKS if arch == HOPPER else {}
        found: list[tuple[str, Any, bytes]] = []
        for case in cases or [*CASES, *whole]:
            stub.compiled.clear()
            (CASES | BARE | NETWORKS)[case]()
            found += [(case, *compiled) for compiled in stub.compiled]
        counts = matrix_ops([binary for _, _, binary in found], arch)
        for (case, metadata, binary), count in zip(found, counts, strict=True):
            usage = inspect("cuobjdump", binary, "--dump-resource-usage")
            registers, stack, local = (
                int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK", "LOCAL")
            )
            yield Row(
                *(case, metadata.name, arch, metadata.num_warps, registers),
                *(metadata.shared, stack + local, count),
            )


def matrix_ops(binaries: list[bytes], arch: int) -> list[int]:
    """Matrix instructions of each binary, disassembled as one: the tool takes long to start."""
    codes = [instructions(binary) for binary in binaries]
    ends = list(accumulate(map(len, codes)))
    name = f"SM{arch}a" if arch >= HOPPER else f"SM{arch}"
    listing = inspect("nvdisasm", b"".join(codes), "--binary", name)
    lines = re.findall(r"^\s*/\*([0-9a-f]+)\*/(.*)", listing, re.MULTILINE)
    if len(lines) * INSTRUCTION_BYTES != sum(map(len, codes)):
        raise RuntimeError(f"nvdisasm lists {len(lines)} instructions of {sum(map(len, codes))} B")
    counts = [0] * len(codes)
    for at, line in lines:
        counts[bisect_right(ends, int(at, 16))] += MATRIX_OPS.search(line) is not None
    return counts


def instructions(binary: bytes) -> bytes:
    """The code of an ELF file: its sections ``.text.*``."""
    (table,) = struct.unpack_from("<Q", binary, 40)
    size, count, names = struct.unpack_from("<HHH", binary, 58)
    # offset of the name, type, flags, address, offset and length of the section
    sections = [struct.unpack_from("<IIQQQQ", binary, table + i * size) for i in range(count)]
    code = b""
    for name, _, _, _, start, length in sections:
        if binary.startswith(b".text.", sections[names][4] + name):
            code += binary[start : start + length]
    return code


def without_products() -> torch.library.Library:
    """Until it goes, convolutions and matrix products of torch give memory as it is."""
    library = torch.library.Library("aten", "IMPL")
    for name in ("convolution", "convolution_backward", "mm", "bmm", "addmm"):
        library.impl(name, partial(_empty, getattr(torch.ops.aten, name).default), "CPU")
    return library


def _empty(op: Any, *args: Any) -> Any:
    metas = tree_map_only(torch.Tensor, lambda x: x.to("meta"), args)
    return tree_map_only(torch.Tensor, lambda y: torch.empty_like(y, device="cpu"), op(*metas))


def inspect(tool: str, binary: bytes, *options: str) -> str:
    """What one of NVIDIA's tools prints about a binary."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(TOOLS / tool), *options, file.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def lines(rows: Iterator[Row]) -> Iterator[str]:
    """Rows as lines of the table, each case in the order of its launches."""
    for row in rows:
        yield ",".join(map(str, row))


def main() -> int:
    """Write or check the table; the exit status is 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument(
        "--cases", nargs="+", choices=[*CASES, *BARE, *NETWORKS], help="print their rows alone"
    )
    parser.add_argument("--archs", nargs="*", type=int, default=list(SHARED_LIMIT))
    options = parser.parse_args()
    if options.cases:
        for line in lines(compiled_rows(options.cases, options.archs)):
            print(line, flush=True)
        return 0
    found = list(lines(compiled_rows([], options.archs)))
    table = TABLES / f"aot_triton_{triton.__version__}.csv"
    header = ",".join(Row._fields)
    if not options.check:
        table.write_text("\n".join([header, *sorted(found), ""]))
        return 0
    rows = table.read_text().splitlines()[1:]
    wanted = [line for line in rows if parse(line).arch in options.archs]
    changed = sorted(set(found) ^ set(wanted))
    for line in changed:
        print("now  " if line in found else "table", line)
    spilling = [row for row in map(parse, found) if row.spills]
    for row in spilling:
        print("spills", row)
    return 1 if changed or spilling else 0


def parse(line: str) -> Row:
    """A row from its line."""
    case, kernel, *numbers = line.split(",")
    return Row(case, kernel, *map(int, numbers))


if __name__ == "__main__":
    sys.exit(main())
