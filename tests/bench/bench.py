#!/usr/bin/env python3
"""The benchmark's driver; started by run.sh, which see. Needs no packages; PyTorch is asked for in another process.

Each part measures its sides in turn, several times over, in one run, and keeps every figure. A part that fails is
told of and does not stop the others. table.py shows the file that this writes."""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import files
import jobs
import machine
import table
from sides import HERE, ROOT, Dltrain, Failure, Floor, Torch, run, spread
from tune import tune

SIDES = {
    "dltrain": "dltrain bench: wall time of whole steps, all ranks: batches of a shuffled epoch read from the job's "
               "mapped or decompressed files or drawn samples and prepared (uint8 to float32, scaling, one-hot) by "
               "its reading thread on the same cores, forward, loss, backward, sum over ranks, update, loss read each "
               "step; weights and sums in float32. Metrics other than the loss are left out (metrics: []).",
    "floor": "bench_floor: the library's primitives of the same step one after another, each in the fastest of its "
             "forms here: convolutions and dense layers forward with bias and relu fused, backward data (not of the "
             "first layer), backward weights with bias, pooling forward and backward; no reorders, no other "
             "mathematics, no input, loss, update or communication. `products` leaves out pooling, too, for which "
             "dltrain has faster kernels of its own; `floor_and_norm` adds batch normalisation.",
    "torch": "torch_step.py: batches of a shuffled epoch gathered from float32 tensors in memory that need no "
             "preparation, labels as class numbers, forward, cross-entropy, backward, update, loss.item() each step; "
             "bf16 is autocast on float32 weights; several ranks are DistributedDataParallel over gloo, each with its "
             "share of the data, bound to its cores. Best of its settings, tried beforehand: `settings`.",
}


class Benchmark:
    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        self.build, self.python = options.build, options.python
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        self.dltrain = Dltrain(self.build, scratch)
        self.failures, self.parts = [], {}
        self.begun = time.monotonic()
        os.environ["DLTRAIN_DATA"], self.data = files.mnist(scratch)

    def left(self):
        return self.options.budget - (time.monotonic() - self.begun)

    def pairs(self, big):
        return self.options.pairs or ((1 if big else 2) if self.options.quick else (3 if big else 5))

    def seconds(self):
        return 0.3 if self.options.quick else 1.0

    def wanted(self, *names):
        return not self.options.only or any(name in self.options.only for name in names)

    def fail(self, part, why):
        self.failures.append({"part": part, "why": str(why)})
        print(f"  FAILED {part}: {why}", flush=True)

    def within(self, seconds):
        """As long as is asked for, but not beyond the end of the part."""
        rest = self.end_of_part - time.monotonic()
        if rest < 1:
            raise Failure("the time of this part was over")
        return min(seconds, rest)

    def part(self, name, most, work, *arguments):
        """Runs one part, for `most` seconds at most; what it returns stands under its name."""
        if self.left() < 10:
            self.fail(name, "no time was left; give more with --budget, or name parts with --only")
            return
        begun = time.monotonic()
        self.end_of_part = begun + min(most, self.left() + 60)
        print(f"{name} ...", flush=True)
        try:
            result = work(*arguments)
        except Failure as why:
            self.fail(name, why)
            return
        except (KeyError, ValueError, OSError, TypeError) as why:
            self.fail(name, f"{type(why).__name__}: {why}")
            return
        result["seconds_taken"] = time.monotonic() - begun
        self.parts[name] = result
        for line in table.lines_of(name, result):
            print("  " + line, flush=True)

    # ---- steps of a job: dltrain, floor, PyTorch ----

    def bench(self, job, ranks, threads, steps, warmup, more=(), batch=None, cores=None):
        return self.dltrain.bench(job.file, jobs.sets(job, batch) + list(more), ranks, threads, steps, warmup,
                                  self.within(240), cores)

    def calibrate(self, job, ranks, threads, cores=None):
        """What a first short run tells, and how many steps make a turn."""
        first = self.bench(job, ranks, threads, 1 if job.big else 5, 1 if job.big else 5, cores=cores)
        count = int(self.seconds() / first["step"]["median"])
        return first, max(1 if self.options.quick and job.big else 2, min(5000, count))

    @staticmethod
    def warmup(job, count):
        return 1 if job.big else max(2, min(200, count // 4))

    def steps(self, job, ranks, threads, limit):
        deadline = time.monotonic() + limit
        first, count = self.calibrate(job, ranks, threads)
        sides, opened, missing = {}, [], {}
        result = {"job": job.file, "model": job.model, "precision": job.precision, "batch": job.batch, "ranks": ranks,
                  "changed": jobs.sets(job), "threads": threads, "parameters": first["parameters"], "missing": missing}
        latest = {}

        def ours():
            latest["dltrain"] = self.bench(job, ranks, threads, count, self.warmup(job, count))
            return latest["dltrain"]["step"]["median"] * 1e3
        sides["dltrain"] = ours
        try:
            more = self.open_floor(job, ranks, threads, sides, opened, missing, latest)
            self.open_torch(job, ranks, threads, sides, opened, missing, result, deadline - time.monotonic())
            until = max(deadline, time.monotonic() + 0.3 * limit)
            times = self.in_turn(sides, self.pairs(job.big), until, missing)
            if "floor" in times:
                times["products"] = [one for one, _ in more]
                times["floor_and_norm"] = [both for _, both in more]
        finally:
            for processes in opened:
                processes.close()
        self.put_times(result, times)
        if "floor" in latest:
            result["floor_kinds_ms"] = latest["floor"]["kinds_ms"]
            result["floor_norm_ms"] = latest["floor"]["norm_ms"]
        ours = latest["dltrain"]
        result["dltrain_parts"] = ours["parts"]
        result["dltrain_setting"] = {k: ours.get(k) for k in ("precision", "instructions", "communicator", "steps",
                                                              "warmup", "peak_memory", "share_of_peak")}
        return result

    def open_floor(self, job, ranks, threads, sides, opened, missing, latest):
        try:
            words = [word for word in jobs.sets(job) if not word.startswith("precision")]
            floor = Floor(self.build, job.file, words, ranks, threads, job.precision, self.within(180))
        except Failure as why:
            missing["floor"] = str(why)
            return []
        opened.append(floor)
        more = []  # of each turn: without pooling; with normalisation

        def bare():
            one = latest["floor"] = floor.step(self.seconds(), self.within(120))
            more.append((sum(ms for kind, ms in one["kinds_ms"].items() if kind.startswith(("conv", "dense"))),
                         one["step_ms"] + one["norm_ms"]))
            return one["step_ms"]
        floor.step(0, self.within(120))
        sides["floor"] = bare
        return more

    def open_torch(self, job, ranks, threads, sides, opened, missing, result, left):
        if not self.python:
            missing["torch"] = "no Python with PyTorch"
            return
        left = max(left, 10)
        work = {"model": job.model, "batch": job.batch // ranks, "samples": max(job.samples, job.batch) // ranks,
                "precision": job.precision, "optimizer": job.optimizer, "smoothing": job.smoothing}
        try:
            torch, settings = tune(self.python, work, ranks, threads, self.cores, job.big,
                                   0.2 if self.options.quick else 0.5, left * 0.4, self.end_of_part - 0.6 * left)
        except Failure as why:
            missing["torch"] = str(why)
            return
        opened.append(torch)
        result["settings"] = settings
        if settings["parameters"] != result["parameters"]:
            missing["torch"] = f"not the same network: {settings['parameters']} parameters"
            return
        sides["torch"] = self.timed(torch)
        if self.options.compile == "no" or (self.options.compile == "small" and (job.big or self.options.quick)):
            return
        try:
            compiled = Torch(self.python, work, ranks, threads, self.cores, settings["variables"],
                             self.within(60))
            opened.append(compiled)
            words = {k: settings[k] for k in ("channels_last", "optimizer", "threads")}
            result["compile_s"] = compiled.setup({**words, "compile": True}, self.within(120))["first_step_s"]
            sides["torch_compile"] = self.timed(compiled)
        except Failure as why:
            missing["torch_compile"] = str(why)

    def timed(self, torch):
        one = torch.step(1, self.within(120))
        count = max(1, min(5000, int(self.seconds() * 1e3 / one)))
        return lambda: torch.step(count, self.within(240))

    def in_turn(self, sides, pairs, deadline, missing):
        """Milliseconds a step of each side, `pairs` times; the order turns round each time."""
        times, over = {name: [] for name in sides}, set()
        for turn in range(pairs):
            if turn and (time.monotonic() > deadline or "dltrain" in over):
                break
            names = [name for name in sides if name not in over]
            for name in names if turn % 2 == 0 else reversed(names):
                try:
                    times[name].append(sides[name]())
                except Failure as why:  # its answer may yet come, so it is not asked again
                    over.add(name)
                    if not times[name]:
                        missing[name] = str(why)
        if not times["dltrain"]:
            raise Failure(missing["dltrain"])
        return {name: values for name, values in times.items() if values}

    @staticmethod
    def put_times(result, times):
        result["ms"] = {name: spread(values) for name, values in times.items()}
        ours = times["dltrain"]
        result["ratio"] = {name: spread([v / o for v, o in zip(values, ours)])
                           for name, values in times.items() if name != "dltrain"}

    # ---- the other parts ----

    def start(self):
        """From the beginning of the process to the end of the first step, and peak memory; MLP."""
        job = jobs.BY_NAME["mlp"]
        folder = os.path.join(os.environ["DLTRAIN_DATA"], "mnist")
        ours, theirs = [], []
        for _ in range(2 if self.options.quick else 7):
            ours.append(self.bench(job, 1, 2, 1, 1))
            if self.python:
                out = run([self.python, os.path.join(HERE, "torch_step.py"), "--first",
                           os.path.join(folder, files.NAMES[0]), os.path.join(folder, files.NAMES[1])], self.within(60))
                theirs.append(json.loads(out.strip().splitlines()[-1]))
        result = {"data": self.data}
        for key in ("start_to_first_step", "peak_memory"):
            result[key] = {"dltrain": spread([one[key] for one in ours])}
            if theirs:
                result[key]["torch"] = spread([one[key] for one in theirs])
                result[key]["ratio"] = result[key]["torch"]["median"] / result[key]["dltrain"]["median"]
        if theirs:
            result["torch_import"] = spread([one["import_s"] for one in theirs])
        return result

    def allreduce(self):
        gloo, sizes = None, []
        turns = 3 if self.options.quick else 9
        try:
            if self.python:
                work = {"model": "mlp", "batch": 64, "samples": 64, "precision": "fp32", "optimizer": {},
                        "smoothing": 0}
                gloo = Torch(self.python, work, 2, 1, self.cores, {}, 60)
            for megabytes in (1, 25, 100):
                floats = megabytes * 250000
                theirs = gloo.reduce(floats, turns, self.within(60)) if gloo else None
                out = run(["mpirun", "-np", "2", os.path.join(self.build, "bench_sums"), str(floats), str(turns)],
                          self.within(60))
                one = json.loads(out.strip().splitlines()[-1])
                row = {"megabytes": megabytes, "communicator": one["communicator"], "library": one["library"]}
                for name in ("dltrain_ms", "mpi_ms", "mpi_in_place_ms"):
                    row[name] = spread(one[name])
                if theirs:
                    row["gloo_ms"] = spread(theirs)
                ours = row["dltrain_ms"]["median"]
                row["ratio"] = {"mpi": min(row["mpi_ms"]["median"], row["mpi_in_place_ms"]["median"]) / ours}
                if theirs:
                    row["ratio"]["gloo"] = row["gloo_ms"]["median"] / ours
                sizes.append(row)
        finally:
            if gloo:
                gloo.close()
        return {"ranks": 2, "sizes": sizes}

    def any_ranks(self, job, ranks, threads):
        ways = {"run": [], "4 shards": ["reproducible=any_ranks", "shards=4"],
                "8 shards": ["reproducible=any_ranks", "shards=8"]}
        _, count = self.calibrate(job, ranks, threads)
        count, missing = max(count // 2, 2), {}

        def way(more):
            warmup = self.warmup(job, count)
            return lambda: self.bench(job, ranks, threads, count, warmup, more)["step"]["median"] * 1e3
        times = self.in_turn({"dltrain" if name == "run" else name: way(more) for name, more in ways.items()},
                             self.pairs(False), time.monotonic() + 60, missing)
        result = {"job": job.file, "batch": job.batch, "ranks": ranks, "threads": threads, "missing": missing}
        self.put_times(result, times)
        return result

    def weak(self, job):
        """The same batch for each rank: 1 rank on one core, 2 ranks on two, a thread each."""
        _, count = self.calibrate(job, 1, 1, {self.cores[0]})
        warmup = self.warmup(job, count)
        one, two = [], []

        def alone():
            return self.bench(job, 1, 1, count, warmup, cores={self.cores[0]})["samples_per_second"]["median"]

        def both():
            return self.bench(job, 2, 1, count, warmup, batch=2 * job.batch)["samples_per_second"]["median"]
        for turn in range(self.pairs(job.big)):
            for way, to in ((alone, one), (both, two)) if turn % 2 == 0 else ((both, two), (alone, one)):
                to.append(way())
        return {"job": job.file, "batch_of_a_rank": job.batch,
                "samples_per_second": {"1": spread(one), "2": spread(two)},
                "efficiency": spread([b / (2 * a) for a, b in zip(one, two)])}

    def loaders(self):
        rows = []
        for name, job, read in files.loader_jobs(self.scratch, self.options.quick):
            out = run([os.path.join(self.build, "bench_loader"), job, "3" if self.options.quick else "7"] + read,
                      self.within(60))
            one = json.loads(out.strip().splitlines()[-1])
            plain = {"file_order": one["plain_read_s"], "shuffled": one["plain_shuffled_s"]}
            row = {"form": name, "samples": one["samples"], "bytes": one["bytes"], "batch": one["batch"],
                   "plain_bytes_per_second": spread([one["bytes"] / s for s in plain["file_order"]]),
                   "plain_shuffled_bytes_per_second": spread([one["bytes"] / s for s in plain["shuffled"]])}
            for way in ("file_order", "shuffled"):
                took = one[way + "_s"]
                row[way] = {"samples_per_second": spread([one["samples"] / s for s in took]),
                            "share_of_plain": spread([p / s for p, s in zip(plain[way], took)])}
            rows.append(row)
        return {"rows": rows}

    def run_steps(self, big):
        quick = self.options.quick
        for job in jobs.JOBS:
            if job.big != big or not self.wanted(job.name, "steps", "big" if big else "small"):
                continue
            for ranks, threads in self.options.configs:
                limit = (45 if quick else 120) if big else (30 if quick else 60)
                name, most = f"steps {job.name} {ranks}x{threads}", max(2.5 * limit, 180)
                self.part(name, most, self.steps, job, ranks, threads, limit)

    def run_all(self):
        self.run_steps(False)
        if self.wanted("start"):
            self.part("start", 90, self.start)
        if self.wanted("allreduce"):
            self.part("allreduce", 90, self.allreduce)
        for name in ("mlp", "convnet"):
            for ranks, threads in self.options.configs if self.wanted("any_ranks") else ():
                self.part(f"any_ranks {name} {ranks}x{threads}", 90, self.any_ranks, jobs.BY_NAME[name], ranks, threads)
        for name in ("convnet", "cifar", "resnet50-bf16") if self.wanted("weak") else ():
            self.part(f"weak {name}", 120, self.weak, jobs.BY_NAME[name])
        if self.wanted("loaders"):
            self.part("loaders", 90, self.loaders)
        self.run_steps(True)

    def results(self):
        return {"format": "dltrain-benchmark 1", "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "command": "tests/bench/run.sh" + "".join(" " + word for word in self.options.words),
                "quick": self.options.quick, "machine": machine.describe(self.build, self.python), "data": self.data,
                "sides": SIDES, "parts": self.parts, "failures": self.failures,
                "seconds": time.monotonic() - self.begun}


def configs(text):
    pairs = [tuple(int(n) for n in one.split("x")) for one in text.split(",")]
    if any(len(pair) != 2 or pair[0] < 1 or pair[1] < 1 for pair in pairs):
        raise argparse.ArgumentTypeError("RANKSxTHREADS, as 1x2,2x1")
    return pairs


def read_options():
    words = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__.split("\n\n")[1])
    words.add_argument("--quick", action="store_true", help="few turns, short ones: does every part work?")
    words.add_argument("--only", default="", help="parts, with commas: steps, small, big, names of jobs ("
                       + ", ".join(job.name for job in jobs.JOBS) + "), start, allreduce, any_ranks, weak, loaders")
    words.add_argument("--configs", type=configs, default="1x2,2x1", help="RANKSxTHREADS of the steps (1x2,2x1)")
    words.add_argument("--pairs", type=int, default=0, help="turns of each side (5; big jobs 3; quick 2 and 1)")
    words.add_argument("--compile", choices=("no", "small", "all"), default="small",
                       help="torch.compile beside eager PyTorch, for which jobs (small)")
    words.add_argument("--budget", type=float, default=0, help="seconds after which no part begins (1450; quick 700)")
    words.add_argument("--output", default="", help="the JSON file (tests/bench/results/DATE.json)")
    words.add_argument("--build", required=True, help=argparse.SUPPRESS)
    words.add_argument("--python", default="", help=argparse.SUPPRESS)
    options = words.parse_args()
    known = {job.name for job in jobs.JOBS} | {"steps", "small", "big", "start", "allreduce", "any_ranks", "weak",
                                               "loaders"}
    options.only = [word for word in options.only.split(",") if word]
    strange = [word for word in options.only if word not in known]
    if strange:
        words.error(f"--only: no part is called {strange[0]}")
    options.budget = options.budget or (700 if options.quick else 1450)
    hidden = ("--build", "--python", "--output")
    given = sys.argv[1:]
    options.words = [w for i, w in enumerate(given) if w not in hidden and (i == 0 or given[i - 1] not in hidden)]
    return options


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up, and keep what was measured
    scratch = tempfile.mkdtemp(prefix="dltrain-bench-")
    try:
        benchmark = Benchmark(options, scratch)
        try:
            benchmark.run_all()
        except KeyboardInterrupt:
            benchmark.fail("the rest", "interrupted")
        results = benchmark.results()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    output = options.output or os.path.join(ROOT, "tests/bench/results",
                                            time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + ".json")
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    with open(output, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    print()
    print(table.terminal(results))
    print(f"\n{os.path.relpath(output)}")
    return 1 if benchmark.failures else 0


if __name__ == "__main__":
    sys.exit(main())
