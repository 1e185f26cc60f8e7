#!/usr/bin/env python3
"""The driver of the benchmark on a GPU; started by gpu.sh, which see.

For each job: what PyTorch's eager form and dltrain need of the card's memory, each alone; from a process's beginning
to its first step done, caches warm; then the steps, all sides in turn, several times over. Every figure is kept. A
side that fails is told of and does not stop the others; a figure that was not measured is absent."""
import argparse
import json
import os
import sys
import tempfile
import threading
import time

import files
import jobs
import machine
import table
from sides import HERE, ROOT, Dltrain, Failure, Processes, run, spread

SIDES = {
    "dltrain": "dltrain bench: whole steps by the wall clock, batches of a shuffled epoch, forward, loss, backward, "
               "update, loss read each step; float32 weights and sums.",
    "torch": "torch_step.py on the card: batches gathered from float32 tensors that lie on the card, channels_last, "
             "autocast to the job's precision (fp16 with GradScaler) on float32 weights, fused optimizer (RMSprop: foreach), "
             "cudnn.benchmark, forward, cross-entropy, backward, update, loss.item() each step. eager, and "
             "torch.compile in the modes named; fp32 is without TF32 on either side.",
    "memory": "what nvidia-smi says is used of the card, above what was used before the process began, at most",
}
IMAGE_SHAPES = {"mlp": (784,), "convnet": (1, 28, 28), "cifar": (3, 32, 32)}
MODES = {"torch_max_autotune": "max-autotune", "torch_reduce_overhead": "reduce-overhead"}


def imagenet(name, file, model, precision, batch, decay):
    sets = [f"data.train.synthetic.samples={2 * batch}"]
    return jobs.Job(name, file, sets, model, precision, batch, 2 * batch, jobs.momentum(decay), 0.1, True)


def small(name, like, batch):
    job = jobs.BY_NAME[like]
    return job._replace(name=name, batch=batch)


JOBS = [
    small("mlp", "mlp", 128),
    small("convnet", "convnet", 64),
    small("cifar", "cifar", 128),
    imagenet("resnet50-fp16", jobs.RESNET, "resnet50v1.5", "fp16", 256, 1e-4),
    imagenet("resnet50-bf16", jobs.RESNET, "resnet50v1.5", "bf16", 256, 1e-4),
    imagenet("vgg16-fp16", jobs.VGG, "vgg16", "fp16", 128, 5e-4),
    imagenet("vgg16-bf16", jobs.VGG, "vgg16", "bf16", 128, 5e-4),
]


def used_bytes():
    """Of the card; None where nobody tells."""
    try:
        text = run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], 10)
        return int(text.splitlines()[0]) << 20
    except (Failure, OSError, ValueError, IndexError):
        return None


class Watch:
    """The most that is used of the card meanwhile."""

    def __enter__(self):
        self.before = self.most = used_bytes()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self):
        while self.before is not None and not self.over.wait(0.05):
            self.most = max(self.most, used_bytes() or 0)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.bytes = None if self.before is None else self.most - self.before


class Torch(Processes):
    name = "PyTorch"

    def __init__(self, options, job):
        text = json.dumps({"model": job.model, "batch": job.batch, "samples": min(job.samples, options.samples),
                           "threads": 4, "precision": job.precision, "optimizer": job.optimizer,
                           "smoothing": job.smoothing, "device": options.torch_device})
        self.shape = IMAGE_SHAPES.get(job.model, (3, 224, 224))
        self.optimizer = "foreach" if job.optimizer["name"] == "rmsprop" else "fused"  # RMSprop has no fused form
        super().__init__([[sys.executable, os.path.join(HERE, "torch_step.py"), text]], [{}], 300)

    def setup(self, mode, timeout):
        setup = {"channels_last": len(self.shape) == 3, "optimizer": self.optimizer, "compile": mode}
        return self.ask(json.dumps({"setup": setup}), timeout)[0]

    def step(self, steps, timeout):
        """Milliseconds."""
        return self.ask(json.dumps({"run": steps}), timeout)[0]["seconds"] / steps * 1e3


class Benchmark:
    def __init__(self, options, scratch):
        self.options = options
        self.dltrain = Dltrain(options.build, scratch)
        self.failures, self.parts = [], {}
        self.begun = time.monotonic()
        os.environ["DLTRAIN_DATA"], self.data = files.mnist(scratch)

    def ours(self, job, steps, warmup):
        sets = jobs.sets(job) + [f"device={self.options.device}"]
        before = os.environ.get("LD_LIBRARY_PATH")
        os.environ["LD_LIBRARY_PATH"] = os.environ.get("DLTRAIN_CUDA_PATH", before or "")
        try:
            return self.dltrain.bench(job.file, sets, 1, self.options.threads, steps, warmup, 300)
        finally:
            if before is None:
                del os.environ["LD_LIBRARY_PATH"]
            else:
                os.environ["LD_LIBRARY_PATH"] = before

    def alone(self, job, missing):
        """Memory and the time to the first step, of each by itself: once to warm caches, once measured."""
        result = {"memory": {}, "start_to_first_step": {}}
        for side in ("dltrain", "torch"):
            try:
                for _ in range(2):
                    with Watch() as watch:
                        start = self.one_start(side, job)
            except Failure as why:
                missing[side] = str(why)
                continue
            result["start_to_first_step"][side] = start
            if watch.bytes:
                result["memory"][side] = watch.bytes
        for both in result.values():
            if len(both) == 2:
                both["ratio"] = both["torch"] / both["dltrain"]
        return result

    def one_start(self, side, job):
        if side == "dltrain":
            return self.ours(job, 3, 3)["start_to_first_step"]
        torch = Torch(self.options, job)
        try:
            age = torch.setup(False, 300)["age"]
            torch.step(3, 120)
            return age
        finally:
            torch.close()

    def job(self, job):
        missing = {}
        result = {"job": job.file, "model": job.model, "precision": job.precision, "batch": job.batch,
                  "changed": jobs.sets(job), "missing": missing, **self.alone(job, missing)}
        if "dltrain" in missing:
            raise Failure(f"dltrain: {missing['dltrain']}")
        first = self.ours(job, 5, 5)
        result["parameters"] = first["parameters"]
        count = max(2, min(5000, int(self.options.seconds / first["step"]["median"])))
        sides = {"dltrain": lambda: self.ours(job, count, max(3, count // 5))["step"]["median"] * 1e3}
        opened = []
        try:
            self.open_torch(job, first, count, sides, opened, missing)
            result["ms"], result["ratio"] = self.turns(sides, missing)
        finally:
            for torch in opened:
                torch.close()
        result["steps"] = count
        return result

    def open_torch(self, job, first, count, sides, opened, missing):
        wanted = {"torch": False, **{k: v for k, v in MODES.items() if v in self.options.compile}}
        for side, mode in wanted.items():
            if side in missing:
                continue
            try:
                torch = Torch(self.options, job)
                opened.append(torch)
                made = torch.setup(mode, 900)
                if made["parameters"] != first["parameters"]:
                    raise Failure(f"{made['parameters']} parameters, dltrain {first['parameters']}")
                torch.step(max(3, count // 5), 600)
            except Failure as why:
                missing[side] = str(why)
                continue
            sides[side] = lambda torch=torch: torch.step(count, 300)

    def turns(self, sides, missing):
        took = {side: [] for side in sides}
        for turn in range(self.options.pairs):
            order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            for side in order:
                if side in missing:
                    continue
                try:
                    took[side].append(sides[side]())
                except Failure as why:
                    if side == "dltrain":
                        raise
                    missing[side] = str(why)
                    del took[side]
        ratio = {side: spread([t / o for t, o in zip(took[side], took["dltrain"])]) for side in took if side != "dltrain"}
        return {side: spread(each) for side, each in took.items()}, ratio

    def all(self):
        for job in JOBS:
            if self.options.only and job.name not in self.options.only:
                continue
            name = f"gpu {job.name}"
            if time.monotonic() - self.begun > self.options.budget:
                self.failures.append({"part": name, "why": "no time was left; give more with --budget"})
                continue
            print(f"{name} ...", flush=True)
            try:
                self.parts[name] = self.job(job)
            except (Failure, KeyError, ValueError, OSError) as why:
                self.failures.append({"part": name, "why": f"{why}"})
                print(f"  FAILED {name}: {why}", flush=True)
                continue
            for line in table.lines_of(name, self.parts[name]):
                print("  " + line, flush=True)


def card():
    try:
        text = run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 20)
        return text.strip().splitlines()[0]
    except (Failure, OSError, IndexError):
        return ""


def main():
    names = [job.name for job in JOBS]
    parser = argparse.ArgumentParser(description="Jobs: " + ", ".join(names))
    parser.add_argument("--build", required=True, help="the folder of dltrain")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="these jobs")
    parser.add_argument("--pairs", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn, about")
    parser.add_argument("--budget", type=float, default=3000, help="seconds after which no job begins")
    parser.add_argument("--compile", type=lambda text: [m for m in text.split(",") if m != "none"],
                        default=list(MODES.values()), help="modes of torch.compile, or none")
    parser.add_argument("--quick", action="store_true", help="does every part work?")
    parser.add_argument("--device", default="cuda", help="dltrain's")
    parser.add_argument("--torch-device", default="cuda", help="PyTorch's")
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1), help="dltrain's")
    parser.add_argument("--samples", type=int, default=1 << 30, help="at most so many for PyTorch")
    parser.add_argument("--output", default="", help="the JSON file")
    options = parser.parse_args()
    if set(options.only) - set(names):
        parser.error(f"no such job: {', '.join(sorted(set(options.only) - set(names)))}; there are {', '.join(names)}")
    if options.quick:
        options.pairs, options.seconds = 2, 0.5
        options.compile = [mode for mode in options.compile if mode != "max-autotune"]
    if options.torch_device == "cuda" and not card():
        sys.exit("gpu.sh: no GPU here (nvidia-smi tells of none); nothing was measured, no file was written")
    with tempfile.TemporaryDirectory() as scratch:
        benchmark = Benchmark(options, scratch)
        benchmark.all()
    results = {"format": "dltrain-benchmark-gpu 1", "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
               "command": " ".join(["tests/bench/gpu.sh"] + sys.argv[3:]), "sides": SIDES,
               "data": benchmark.data, "machine": {**machine.describe(options.build, sys.executable), "card": card()},
               "failures": benchmark.failures, "parts": benchmark.parts}
    path = options.output or os.path.join(ROOT, "tests/bench/results", time.strftime("%Y%m%d-gpu.json"))
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    print("\n" + table.terminal(results) + f"\n\n{path}")
    if not benchmark.parts:
        sys.exit(1)


if __name__ == "__main__":
    main()
