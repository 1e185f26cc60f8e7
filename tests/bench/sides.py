"""What the benchmark compares: dltrain, the bare kernels, PyTorch. Each can time some steps of a job on some
ranks; the driver (bench.py) lets them do so in turn.

dltrain is started anew for each turn (`dltrain bench`); the other two wait on their input between turns, blocked,
so that whoever is timed has the cores to itself."""
import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


class Failure(Exception):
    """Why a part of the benchmark is missing, in one line."""


def in_a_line(text):
    """What a program said when it failed: the last line of a Python traceback, else the first line."""
    lines = [line for line in text.strip().splitlines() if line.strip(" -")]
    return lines[-1 if "Traceback" in text else 0][:300] if lines else "no output"


def end(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(command, timeout, env=None, cores=None):
    """Standard output of a command; Failure if it fails or takes too long."""
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=pin,
                               cwd=ROOT)
    name = os.path.basename(command[0])
    try:
        out, err = process.communicate(timeout=max(timeout, 1))
    except subprocess.TimeoutExpired:
        end(process)
        raise Failure(f"{name}: not done after {timeout:.0f} s")
    except BaseException:
        end(process)
        raise
    if process.returncode:
        raise Failure(f"{name}: exit {process.returncode}: {in_a_line(err or out)}")
    return out


def median(values):
    ordered = sorted(values)
    n = len(ordered)
    return (ordered[n // 2] + ordered[(n - 1) // 2]) / 2


def spread(values):
    return {"median": median(values), "min": min(values), "max": max(values), "all": list(values)}


class Dltrain:
    """`dltrain bench`: whole steps by the wall clock, input included."""

    def __init__(self, build, scratch, env=None):
        self.build, self.scratch, self.env = build, scratch, env or {}

    def bench(self, job, sets, ranks, threads, steps, warmup, timeout, cores=None, rate=False):
        """What it wrote; rate: of samples/s alone, which is quicker, and takes no memory beside the step's."""
        file = os.path.join(self.scratch, "bench.json")
        command = [os.path.join(self.build, "dltrain"), "bench", job, "--steps", str(steps), "--warmup", str(warmup),
                   "--repeat", "1", "--json", file] + (["--rate"] if rate else [])
        for one in sets:
            command += ["--set", one]
        if ranks > 1:
            command = ["mpirun", "-np", str(ranks)] + command
        run(command, timeout, {**self.env, "DLTRAIN_THREADS": str(threads)}, cores)
        with open(file) as text:
            return json.load(text)


class Processes:
    """One process a rank that answers lines of JSON, or seconds, with lines of JSON."""

    def __init__(self, commands, envs, timeout):
        self.processes, self.lines, self.errors = [], [], []
        try:
            for command, env in zip(commands, envs):
                self.start(command, env)
            self.ready = self.hear(timeout)
        except BaseException:
            self.close()
            raise

    def start(self, command, env):
        error = tempfile.TemporaryFile("w+")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=error, text=True,
                                   env={**os.environ, **env}, start_new_session=True, cwd=ROOT)
        lines = queue.Queue()

        def listen():
            for line in process.stdout:
                lines.put(line)
            lines.put(None)
        threading.Thread(target=listen, daemon=True).start()
        self.processes.append(process)
        self.lines.append(lines)
        self.errors.append(error)

    def complaint(self, i):
        self.errors[i].seek(0)
        return in_a_line(self.errors[i].read())

    def hear(self, timeout):
        deadline, answers = time.monotonic() + timeout, []
        for i, lines in enumerate(self.lines):
            while True:
                try:
                    line = lines.get(timeout=max(deadline - time.monotonic(), 0.1))
                except queue.Empty:
                    raise Failure(f"{self.name}: no answer after {timeout:.0f} s")
                if line is None:
                    raise Failure(f"{self.name}: {self.complaint(i)}")
                if line.startswith("{"):
                    answers.append(json.loads(line))
                    break
        return answers

    def ask(self, line, timeout):
        try:
            for process in self.processes:
                process.stdin.write(line + "\n")
                process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.hear(timeout)

    def close(self):
        for process in self.processes:
            end(process)
            process.stdin.close()
            process.stdout.close()
        for error in self.errors:
            error.close()
        self.processes = []


class Floor(Processes):
    """The bare kernels of the step, in the library's own best layouts (floor.c)."""
    name = "floor"

    def __init__(self, build, job, sets, ranks, threads, precision, timeout):
        base = [os.path.join(build, "bench_floor"), job]
        for one in sets:
            base += ["--set", one]
        super().__init__([base + ["--", str(r), str(ranks), str(threads), precision] for r in range(ranks)],
                         [{}] * ranks, timeout)

    def step(self, seconds, timeout):
        """Milliseconds a step of the slowest rank."""
        return max(self.ask(str(seconds), timeout), key=lambda answer: answer["step_ms"])


# As PyTorch's performance tuning guide has it.
JEMALLOC = {"MALLOC_CONF": "oversize_threshold:1,background_thread:true,metadata_thp:auto,"
                           "dirty_decay_ms:9000000000,muzzy_decay_ms:9000000000"}


def allocators():
    """Environments for memory: glibc's own; glibc's told to keep what it has; what Debian packages give."""
    found = {"glibc": {}, "glibc, told to keep memory": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TOP_PAD_": "67108864",
                                                         "MALLOC_TRIM_THRESHOLD_": "17179869184"}}
    folders = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
    for name, library in (("jemalloc", "libjemalloc.so.2"), ("tcmalloc", "libtcmalloc_minimal.so.4")):
        for folder in folders:
            path = os.path.join(folder, library)
            if os.path.exists(path):
                found[name] = {"LD_PRELOAD": path, **(JEMALLOC if name == "jemalloc" else {})}
                break
    return found


WAITING = {"waits as PyTorch does": {}, "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
           "OMP_PROC_BIND=true": {"OMP_PROC_BIND": "true"}}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Torch(Processes):
    name = "PyTorch"

    def __init__(self, python, job, ranks, threads, cores, env, timeout):
        """job: as torch_step.py says, of one rank; cores: processors, a share for each rank when there are several."""
        port, envs = free_port(), []
        for rank in range(ranks):
            own = {"OMP_NUM_THREADS": str(threads), **env}
            if ranks > 1:
                own.update(RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                           PIN=",".join(str(c) for c in cores[rank * threads:(rank + 1) * threads]))
            envs.append(own)
        text = json.dumps({**job, "threads": threads})
        self.size = ranks
        super().__init__([[python, os.path.join(HERE, "torch_step.py"), text]] * ranks, envs, timeout)

    def setup(self, options, timeout):
        return self.ask(json.dumps({"setup": options}), timeout)[0]

    def step(self, steps, timeout):
        """Milliseconds a step of the slowest rank."""
        return max(a["seconds"] for a in self.ask(json.dumps({"run": steps}), timeout)) / steps * 1e3

    def reduce(self, floats, turns, timeout):
        answers = self.ask(json.dumps({"reduce": floats, "turns": turns}), timeout)
        return [max(each) for each in zip(*(a["gloo_ms"] for a in answers))]
