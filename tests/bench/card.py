"""The GPU that a benchmark runs on: its name, and how much of its memory is taken. NVIDIA's management library is asked
where it is found, which takes microseconds; else nvidia-smi, which takes tenths of a second."""
import ctypes
import os
import threading
import time

from sides import Failure, run


class Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def index():
    """The first card that programs see; those that are named otherwise than by number count as the first."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def smi(query, timeout):
    return run(["nvidia-smi", f"--id={index()}", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
               timeout).strip().splitlines()[0]


def name():
    """Name, MiB and driver; "" where there is no card."""
    try:
        return smi("name,memory.total,driver_version", 20)
    except (Failure, OSError, IndexError):
        return ""


def open_library():
    try:
        library, card = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_void_p()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index()), ctypes.byref(card)):
            return None
        return library, card
    except (OSError, AttributeError):
        return None


LIBRARY = open_library()


def used_bytes():
    """None where nobody tells."""
    if LIBRARY:
        memory = Memory()
        return memory.used if LIBRARY[0].nvmlDeviceGetMemoryInfo(LIBRARY[1], ctypes.byref(memory)) == 0 else None
    try:
        return int(smi("memory.used", 10)) << 20
    except (Failure, OSError, ValueError, IndexError):
        return None


def settled():
    """What is used once the processes that ended have given back theirs."""
    before, now = None, used_bytes()
    for _ in range(20):
        if now is None or now == before:
            break
        time.sleep(0.1)
        before, now = now, used_bytes()
    return now


class Watch:
    """The most that is used meanwhile, above what was used before."""

    def __enter__(self):
        self.before = self.most = settled()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self):
        while self.before is not None and not self.over.wait(0.005):
            self.most = max(self.most, used_bytes() or 0)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.bytes = None if self.before is None else self.most - self.before
