"""What the benchmark ran on: hardware, versions, and how busy it was."""
import os
import platform

from sides import ROOT, Failure, run

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "sve", "asimd")


def attempt(command):
    try:
        return run(command, 60).strip()
    except (Failure, OSError):
        return ""


def cpuinfo(key):
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.split(":")[0].strip() == key:
                return line.split(":", 1)[1].strip()
    return ""


def memory_gib():
    with open("/proc/meminfo") as file:
        return round(int(file.readline().split()[1]) / (1 << 20), 1)


def system():
    name = ""
    if hasattr(platform, "freedesktop_os_release"):
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "") + ", "
    return name + "Linux " + platform.release().split("-")[0]


def commit():
    """A bundle has no repository and says what it was made from."""
    try:
        with open(os.path.join(ROOT, "COMMIT")) as file:
            return file.read().strip()
    except OSError:
        return attempt(["git", "-C", ROOT, "describe", "--always", "--dirty"])


def describe(build, python):
    flags = (cpuinfo("flags") or cpuinfo("Features")).split()
    torch = attempt([python, "-c", "import torch; print(torch.__version__)"]) if python else ""
    return {
        "processor": cpuinfo("model name"),
        "processors": os.cpu_count(),
        "used": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": memory_gib(),
        "system": system(),
        "load_average_at_the_end": os.getloadavg()[0],
        "versions": {
            "dltrain": attempt([os.path.join(build, "dltrain"), "--version"]).splitlines(),
            "commit": commit(),
            "mpi": attempt(["mpirun", "--version"]).splitlines()[:1],
            "compiler": attempt(["cc", "--version"]).splitlines()[:1],
            "torch": torch,
            "python": platform.python_version(),
        },
    }
