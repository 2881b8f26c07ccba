"""What the stages run on: the bundle, folders for runs, the GPU and NVIDIA's libraries. Asks NVIDIA's tools and libraries alone."""
import glob
import os
import shutil
import subprocess
import sys
import tarfile

SHM = "/dev/shm"
SHM_BYTES = 4 << 30  # which it must have free to be used
GPU_FACTS = (("name", "GPU"), ("compute_cap", "compute capability"), ("driver_version", "driver"), ("memory.total", "memory, MiB"),
             ("memory.used", "memory in use before, MiB"), ("clocks.max.sm", "largest SM clock, MHz"), ("power.limit", "power limit, W"),
             ("mig.mode.current", "MIG"))
# library: the function that tells its version, in a process of its own; some return it, some write it.
VERSIONS = {"libcublasLt.so": "cublasLtGetVersion", "libcudnn.so": "cudnnGetVersion", "libnccl.so": "ncclGetVersion",
            "libcuda.so": "cuDriverGetVersion"}
WRITES_IT = ("ncclGetVersion", "cuDriverGetVersion")
ASK_VERSION = """
import ctypes, sys
path, function, writes = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
call = getattr(ctypes.CDLL(path), function)
value = ctypes.c_int(0)
call.restype = ctypes.c_int if writes else ctypes.c_size_t
result = call(ctypes.byref(value)) if writes else call()
print(value.value if writes else result)
"""
ASK_DRIVER = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
name, total, major, minor, device = ctypes.create_string_buffer(96), ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
for error in (cuda.cuInit(0), cuda.cuDeviceGet(ctypes.byref(device), 0), cuda.cuDeviceGetName(name, 96, device),
              cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device), cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device),
              cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)):
    assert error == 0, error
print(name.value.decode(), f"{major.value}.{minor.value}", total.value >> 20, sep=chr(10))
"""


def unpack(bundle, folder):
    """The bundle's top folder: `bundle` itself, or what the .tar.xz holds, unpacked into `folder`. Errors: ValueError."""
    if os.path.isdir(bundle):
        top = os.path.abspath(bundle)
    elif os.path.isfile(bundle):
        try:
            with tarfile.open(bundle) as tar:
                tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(f"{bundle} does not unpack: {error}") from error
        top = os.path.join(folder, sorted(os.listdir(folder))[0])
    else:
        raise ValueError(f"{bundle} is not there")
    for needed in ("bin/ddp-launch", "bin/ddp-launcher", "bin/bench_step", "bin/bench_pointwise", "bin/test_cuda_ops_on_gpu",
                   "data/kjv/train.txt", "scripts/acceptance/bert_case.py"):
        if not os.path.exists(os.path.join(top, needed)):
            raise ValueError(f"{bundle} has no {needed}: it is not of scripts/bundle.sh --tests")
    return top


def folder_for_runs():
    """Where temporary folders with runs go: memory, if there is room."""
    try:
        if os.access(SHM, os.W_OK) and shutil.disk_usage(SHM).free >= SHM_BYTES:
            return SHM
    except OSError:
        pass
    return None  # TMPDIR


def build_facts(top):
    """File BUILD of the bundle."""
    try:
        with open(os.path.join(top, "BUILD"), encoding="utf-8") as file:
            return dict(line.strip().partition(": ")[::2] for line in file if ": " in line)
    except OSError:
        return {}


def ask(argv, limit=20):
    """What a command says, or None."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


class Gpu:
    """GPU 0 in nvidia-smi's order; the simulator's where there are no tools to ask."""

    def __init__(self, simulated):
        self.facts = []
        self.count = 0
        keys = ",".join(key for key, _ in GPU_FACTS)
        said = ask(["nvidia-smi", f"--query-gpu={keys}", "--format=csv,noheader,nounits"])
        driver = None if said else ask([sys.executable, "-c", ASK_DRIVER])
        if said:
            rows = [[value.strip() for value in line.split(",")] for line in said.splitlines()]
            self.count = len(rows)
            self.facts = list(zip([label for _, label in GPU_FACTS], rows[0]))
        elif driver:
            self.count = 1
            name, capability, memory = driver.splitlines()
            self.facts = [("GPU", name), ("compute capability", capability), ("memory, MiB", memory)]
        elif simulated:
            self.count = 1
            self.facts = [("GPU", "simulated"), ("compute capability", os.environ["DDP_SIM_CAPABILITY"]), ("memory, MiB", "4096")]
        known = dict(self.facts)
        self.name = known.get("GPU", "no GPU")
        try:
            self.capability = tuple(int(part) for part in known["compute capability"].split("."))
            self.memory_bytes = int(known["memory, MiB"]) << 20
        except (KeyError, ValueError):  # nothing is known: the least
            self.capability, self.memory_bytes = (7, 5), 8 << 30

    def precisions(self):
        """Those of 16 bits and tf32 that it computes in, in the order of their worth."""
        return ["bf16", "fp16", "tf32"] if self.capability >= (8, 0) else ["fp16"]

    @staticmethod
    def used_mib():
        said = ask(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"])
        try:
            return int(said.splitlines()[0]) if said else None
        except ValueError:
            return None


def version_of(path):
    """As the library itself says, or None. It is opened in a process of its own."""
    for prefix, function in VERSIONS.items():
        if os.path.basename(path).startswith(prefix):
            return ask([sys.executable, "-c", ASK_VERSION, path, function, str(function in WRITES_IT)])
    return None


def folders_of(variable):
    return [folder for folder in os.environ.get(variable, "").split(":") if folder]


def site_packages():
    """Those that DDP_SITE_PACKAGES names, then those of this Python that hold NVIDIA's wheels."""
    return folders_of("DDP_SITE_PACKAGES") + [entry for entry in sys.path if entry and os.path.isdir(os.path.join(entry, "nvidia"))]


def library_files(name):
    """Files of that name in the order in which ddp-rank looks for it, where this Python is the one that ddp-launch asks. Left out are
    the loader's own, which come after DDP_CUDA_LIBRARIES, and the folder around the bundle, which is no site-packages."""
    folders = folders_of("DDP_CUDA_LIBRARIES") + ["/usr/local/cuda/lib64"]
    for entry in site_packages():
        folders += sorted(glob.glob(os.path.join(glob.escape(entry), "nvidia", "*", "lib")))
    if os.environ.get("CONDA_PREFIX"):
        folders.append(os.path.join(os.environ["CONDA_PREFIX"], "lib"))
    return [path for path in (os.path.join(folder, name) for folder in folders) if os.path.exists(path)]


def tool(name):
    """NVIDIA's tool on PATH, in the toolkit, or in Python's packages; None: not here."""
    places = [shutil.which(name)] + [os.path.join(f, "bin", name) for f in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if f]
    for entry in sys.path:
        places += sorted(glob.glob(os.path.join(glob.escape(entry), "nvidia", "*", "bin", name))) if entry else []
    return next((path for path in places if path and os.access(path, os.X_OK)), None)


def mapped_libraries(pid):
    """Files of NVIDIA's libraries and of the module that a process has mapped."""
    found = set()
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                path = line.rstrip("\n").partition("/")[2]
                name = os.path.basename(path)
                if name.startswith(("libcu", "libnccl", "libnv", "libddp-cuda")) and ".so" in name:
                    found.add("/" + path)
    except OSError:
        pass  # it is gone
    return found
