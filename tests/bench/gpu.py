#!/usr/bin/env python3
"""The driver of the benchmark on a GPU; started by gpu.sh, which see.

For each job: what PyTorch's eager form and dltrain need of the card's memory, each alone; from a process's beginning
to its first step done, caches warm; then the steps, dltrain's and those of one form of PyTorch in turn, several times
over, eager first. Every figure is kept, and the file is written after each job. A side that fails, or for which no time
is left, is told of and does not stop the others; a figure that was not measured is absent."""
import argparse
import json
import math
import os
import signal
import sys
import tempfile
import time

import card
import files
import jobs
import machine
import table
from sides import HERE, ROOT, Dltrain, Failure, Processes, spread

SIDES = {
    "dltrain": "dltrain bench: whole steps by the wall clock, batches of a shuffled epoch from the job's data, forward, "
               "loss, backward, update, loss read each step; float32 weights and sums.",
    "torch": "torch_step.py on the card: batches of a shuffled epoch gathered from tensors that lie on the card "
             "(ImageNet's as uint8 and scaled in the step, as in dltrain's; the small jobs' as scaled float32), "
             "channels_last, autocast to the job's precision (fp16 with GradScaler) on float32 weights, fused optimizer "
             "(RMSprop: foreach), cudnn.benchmark, forward, cross-entropy, backward, update; the loss is added up on the "
             "card. eager, and torch.compile of network and loss in the modes named; fp32 is without TF32 on either side.",
    "alone": "PyTorch eager and without cudnn.benchmark, which would take longer and more memory; each side once to "
             "warm its caches, then measured. Memory is what is used of the card, above what was used before the "
             "process began, at most; start is from the beginning of the process to the end of its first step.",
}
IMAGE_SHAPES = {"mlp": (784,), "convnet": (1, 28, 28), "cifar": (3, 32, 32)}
MODES = {"torch_max_autotune": "max-autotune", "torch_reduce_overhead": "reduce-overhead", "torch_compile": "default"}
BYTES = {jobs.RESNET: [[123.68, 116.78, 103.94], [58.39, 57.12, 57.38]], jobs.VGG: [[123.68, 116.78, 103.94], [1, 1, 1]]}
MOST_STEPS = 20000
TIMED = ["kernels=timed"]  # as PyTorch's: cudnn.benchmark, max-autotune


def imagenet(name, file, model, precision, batch, decay):
    sets = [f"data.train.synthetic.samples={2 * batch}"] + TIMED
    return jobs.Job(name, file, sets, model, precision, batch, 2 * batch, jobs.momentum(decay), 0.1, True)


def small(like, batch, precision="fp32"):
    job = jobs.BY_NAME[like]
    if precision == "fp32":
        return job._replace(batch=batch, sets=job.sets + TIMED)
    return job._replace(name=f"{like}-{precision}", batch=batch, precision=precision,
                        sets=job.sets + TIMED + [f"precision={precision}"])


JOBS = [
    imagenet("resnet50-fp16", jobs.RESNET, "resnet50v1.5", "fp16", 256, 1e-4),
    imagenet("vgg16-fp16", jobs.VGG, "vgg16", "fp16", 128, 5e-4),
    small("mlp", 128),
    small("cifar", 128),
    small("convnet", 64),
    imagenet("resnet50-bf16", jobs.RESNET, "resnet50v1.5", "bf16", 256, 1e-4),
    imagenet("vgg16-bf16", jobs.VGG, "vgg16", "bf16", 128, 5e-4),
    small("mlp", 128, "fp16"),
    small("cifar", 128, "fp16"),
    small("convnet", 64, "fp16"),
]
NAMES = [job.name for job in JOBS]
GROUPS = {"fp16": NAMES[0:2], "small": NAMES[2:5], "bf16": NAMES[5:7], "small-fp16": NAMES[7:10]}


class Torch(Processes):
    name = "PyTorch"

    def __init__(self, options, job, timeout):
        text = json.dumps({"model": job.model, "batch": job.batch, "samples": min(job.samples, options.samples),
                           "threads": 4, "precision": job.precision, "optimizer": job.optimizer,
                           "smoothing": job.smoothing, "bytes": BYTES.get(job.file), "device": options.torch_device})
        self.channels_last = len(IMAGE_SHAPES.get(job.model, (3, 224, 224))) == 3
        self.optimizer = "foreach" if job.optimizer["name"] == "rmsprop" else "fused"  # RMSprop has no fused form
        super().__init__([[sys.executable, os.path.join(HERE, "torch_step.py"), text]], [{}], timeout)

    def setup(self, mode, timeout, benchmark=True):
        setup = {"channels_last": self.channels_last, "optimizer": self.optimizer, "compile": mode,
                 "benchmark": benchmark}
        return self.ask(json.dumps({"setup": setup}), timeout)[0]

    def run(self, steps, timeout):
        """seconds, loss and the allocator's memory."""
        return self.ask(json.dumps({"run": steps}), timeout)[0]


class Side:
    """Something that is timed in turn: turn() runs about so many seconds and gives milliseconds a step."""

    def __init__(self, seconds):
        self.steps, self.seconds, self.loss = 3, seconds, math.nan

    def settle(self, seconds_a_step):
        self.steps = max(2, min(MOST_STEPS, int(self.seconds / seconds_a_step)))

    def warmup(self):
        return max(3, self.steps // 5)


class TorchSide(Side):
    def __init__(self, torch, seconds, timeout):
        super().__init__(seconds)
        self.torch = torch
        for _ in range(2):  # the first steps are slower than the rest
            self.settle(self.torch.run(self.steps, timeout)["seconds"] / self.steps)

    def turn(self, timeout):
        self.torch.run(self.warmup(), timeout)
        answer = self.torch.run(self.steps, timeout)
        self.loss = answer["loss"]
        return answer["seconds"] / self.steps * 1e3


class OurSide(Side):
    def __init__(self, bench, job, seconds, first):
        super().__init__(seconds)
        self.bench, self.job = bench, job
        self.settle(first["step"]["median"])

    def turn(self, timeout):
        result = self.bench(self.job, self.steps, self.warmup(), timeout)
        self.loss = result["loss"]
        return result["step"]["median"] * 1e3


class Benchmark:
    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        env = {"LD_LIBRARY_PATH": os.environ["DLTRAIN_CUDA_PATH"]} if os.environ.get("DLTRAIN_CUDA_PATH") else {}
        self.dltrain = Dltrain(options.build, scratch, env)
        self.failures, self.parts, self.torch = [], {}, {}
        self.until = time.monotonic() + options.budget
        os.environ["DLTRAIN_DATA"], self.data = files.mnist(scratch)
        self.machine = {**machine.describe(options.build, None), "card": card.name()}

    def within(self, seconds, keep=0.0):
        """At most so many seconds, of those that are left after `keep`."""
        left = self.until - time.monotonic() - keep
        if left < 1:
            raise Failure("no time was left; give more with --budget, or fewer jobs with --only")
        return min(seconds, left)

    def ours(self, job, steps, warmup, timeout):
        sets = jobs.sets(job) + [f"device={self.options.device}"] + self.options.set
        return self.dltrain.bench(job.file, sets, 1, self.options.threads, steps, warmup, timeout, rate=True)

    def open(self, job, timeout):
        torch = Torch(self.options, job, timeout)
        self.torch = {key: torch.ready[0].get(key) for key in ("torch", "cuda", "cudnn")}
        return torch

    def alone(self, job, missing):
        """Memory and the time to the first step, of each by itself: once to warm caches, once measured. And what
        dltrain's bench said of itself."""
        result, said = {"memory": {}, "start_to_first_step": {}}, None
        for side in ("dltrain", "torch"):
            try:
                for _ in range(2):
                    with card.Watch() as watch:
                        if side == "dltrain":
                            said = self.ours(job, 5, 5, self.within(240))
                            start = said["start_to_first_step"]
                        else:
                            start, own = self.start_torch(job)
            except Failure as why:
                missing[side] = str(why)
                continue
            result["start_to_first_step"][side] = start
            if watch.bytes:
                result["memory"][side] = watch.bytes
        if "torch" not in missing:
            result["memory"].update(own)
        for key in ("memory", "start_to_first_step"):
            both = result[key]
            if "torch" in both and "dltrain" in both:
                both["ratio"] = both["torch"] / both["dltrain"]
        return result, said

    def start_torch(self, job):
        torch = self.open(job, self.within(120))
        try:
            age = torch.setup(False, self.within(240), benchmark=False)["age"]
            answer = torch.run(5, self.within(120))
            return age, {f"torch_{key}": answer[key] for key in ("allocated", "reserved") if key in answer}
        finally:
            torch.close()

    def job(self, job):
        missing = {}
        alone, said = self.alone(job, missing)
        if "dltrain" in missing:
            raise Failure(missing["dltrain"])
        result = {"job": job.file, "model": job.model, "precision": job.precision, "batch": job.batch,
                  "optimizer": job.optimizer, "changed": jobs.sets(job) + self.options.set, "device": said.get("device"),
                  "parameters": said["parameters"], "missing": missing, **alone}
        result.update({"ms": {}, "ratio": {}, "steps": {}, "setup_s": {}, "loss": {}})
        ours, took = OurSide(self.ours, job, self.options.seconds, said), []
        for side, mode in self.wanted(job, missing):
            try:
                self.beside(job, said, ours, took, side, mode, result)
            except Failure as why:
                missing[side] = str(why)
        if not took:
            self.turns({"dltrain": ours}, {"dltrain": took}, missing)
        self.keep("dltrain", ours, took, result)
        return result

    def wanted(self, job, missing):
        """Eager first: what compiling takes cannot cost its figures."""
        modes = [(side, mode) for side, mode in MODES.items() if mode in self.options.compile and
                 (mode != "reduce-overhead" or not job.big)]
        return [] if "torch" in missing else [("torch", False)] + modes

    @staticmethod
    def keep(name, side, took, result):
        result["ms"][name], result["steps"][name] = spread(took), side.steps
        if math.isfinite(side.loss):
            result["loss"][name] = side.loss

    def beside(self, job, said, ours, took, name, mode, result):
        """One form of PyTorch's and dltrain, in turn; dltrain's times are added to those that it took before."""
        keep = self.options.pairs * (2.6 * self.options.seconds + said["start_to_first_step"] + 1)  # turns, about
        torch = self.open(job, self.within(120, keep))
        try:
            made = torch.setup(mode, self.within(600, keep))
            if made["parameters"] != said["parameters"]:
                raise Failure(f"{made['parameters']} parameters, dltrain {said['parameters']}")
            result["setup_s"][name] = made["first_step_s"]
            side = TorchSide(torch, self.options.seconds, self.within(120))
            pairs = {"dltrain": [], name: []}
            self.turns({"dltrain": ours, name: side}, pairs, result["missing"])
            took += pairs["dltrain"]
            self.keep(name, side, pairs[name], result)
            result["ratio"][name] = spread([t / o for t, o in zip(pairs[name], pairs["dltrain"])])
        finally:
            torch.close()

    def turns(self, sides, took, missing):
        """Adds each side's milliseconds a step to its list, turn by turn; the first turn must be whole."""
        last = 0.0
        for turn in range(self.options.pairs):
            if turn > 0 and self.until - time.monotonic() < 1.3 * last:
                missing[f"turns from {turn + 1} on, {list(sides)[-1]}"] = "no time was left"
                break
            begun = time.monotonic()
            order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            now = {side: sides[side].turn(self.within(120)) for side in order}
            for side in order:
                took[side].append(now[side])
            last = time.monotonic() - begun

    def all(self):
        for job in JOBS:
            if self.options.only and job.name not in self.options.only:
                continue
            job = job._replace(batch=self.options.batch or job.batch)
            name = f"gpu {job.name}"
            print(f"{name} ...", flush=True)
            try:
                self.parts[name] = self.job(job)
                for line in table.lines_of(name, self.parts[name]):
                    print("  " + line, flush=True)
            except (Failure, KeyError, ValueError, OSError) as why:
                self.failures.append({"part": name, "why": f"{why}"})
                print(f"  FAILED {name}: {why}", flush=True)
            self.write()

    def results(self):
        self.machine["versions"].update(self.torch)
        return {"format": "dltrain-benchmark-gpu 1", "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "command": command(), "sides": SIDES, "data": self.data,
                "machine": self.machine, "failures": self.failures, "parts": self.parts}

    def write(self):
        os.makedirs(os.path.dirname(os.path.abspath(self.options.output)), exist_ok=True)
        with open(self.options.output + ".part", "w") as file:
            json.dump(self.results(), file, indent=1)
            file.write("\n")
        os.replace(self.options.output + ".part", self.options.output)


def command():
    """As it was typed, but for where the build and the file are."""
    words = sys.argv[3:]
    if "--output" in words:
        at = words.index("--output")
        words = words[:at] + words[at + 2:]
    return " ".join(["tests/bench/gpu.sh"] + [word for word in words if not word.startswith("--output=")])


def names_of(text):
    chosen = []
    for word in text.split(","):
        if word not in NAMES and word not in GROUPS:
            raise argparse.ArgumentTypeError(f"no job {word}; there are {', '.join(NAMES)}; groups: {', '.join(GROUPS)}")
        chosen += GROUPS.get(word, [word])
    return chosen


def arguments():
    groups = "; ".join(f"{group}: {', '.join(names)}" for group, names in GROUPS.items())
    parser = argparse.ArgumentParser(prog="gpu.sh", description=f"Jobs, in groups. {groups}")
    parser.add_argument("--build", required=True, help="the folder of dltrain")
    parser.add_argument("--only", type=names_of, default=[], help="these jobs or groups")
    parser.add_argument("--pairs", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn, about")
    parser.add_argument("--budget", type=float, default=540, help="seconds for all of it; what does not fit is left out")
    parser.add_argument("--compile", type=lambda text: [m for m in text.split(",") if m != "none"],
                        default=["max-autotune", "reduce-overhead"],
                        help=f"modes of torch.compile, of {', '.join(MODES.values())}, or none; default: the first two")
    parser.add_argument("--quick", action="store_true", help="does every part work?")
    parser.add_argument("--set", action="append", default=[], help="as dltrain's, for its side")
    parser.add_argument("--output", default="", help="the JSON file")
    trial = parser.add_argument_group("to try it out without a GPU")
    trial.add_argument("--device", default="cuda", help="dltrain's")
    trial.add_argument("--torch-device", default="cuda", help="PyTorch's")
    trial.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1), help="dltrain's")
    trial.add_argument("--samples", type=int, default=1 << 30, help="at most so many for PyTorch")
    trial.add_argument("--batch", type=int, default=0, help="of every job")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.seconds = 2, 0.3
        options.compile = [mode for mode in options.compile if mode != "max-autotune"]
    if not options.output:
        name = "-".join([time.strftime("%Y%m%d"), "gpu"] + (options.only if options.only else []))
        options.output = os.path.join(ROOT, "tests/bench/results", name + ".json")
    return options


def main():
    options = arguments()
    if options.torch_device == "cuda" and not card.name():
        sys.exit("gpu.sh: no GPU here (nvidia-smi tells of none); nothing was measured, no file was written")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as scratch:
        benchmark = Benchmark(options, scratch)
        benchmark.all()
    print("\n" + table.terminal(benchmark.results()) + f"\n\n{options.output}")
    if not benchmark.parts:
        sys.exit(1)


if __name__ == "__main__":
    main()
