"""PyTorch's best settings for a job on some ranks, found by trying: layout, optimizer's form, threads, allocator,
how threads wait. Every trial is timed; the fastest stays. What was tried goes into the results."""
import time

from sides import WAITING, Failure, Torch, allocators


def measure(torch, seconds, timeout):
    one = torch.step(1, timeout)
    steps = min(2000, int(seconds * 1e3 / max(one, 1e-3)))
    return torch.step(steps, timeout) if steps > 1 else one


class Tuning:
    """Nothing new is tried after `deadline`; no answer is waited for after `end`."""

    def __init__(self, start, seconds, deadline, end):
        self.start, self.seconds, self.deadline, self.end = start, seconds, deadline, end
        self.tried, self.best = [], None

    def left(self):
        return max(self.deadline - time.monotonic(), 0)

    def patience(self):
        return min(120, max(self.end - time.monotonic(), 1))

    def try_setting(self, torch, environment, options):
        self.parameters = torch.setup(options, self.patience())["parameters"]
        ms = measure(torch, self.seconds, self.patience())
        self.tried.append({"environment": environment, **options, "ms": ms})
        if self.best is None or ms < self.best[0]:
            self.best = (ms, environment, options)

    def try_environment(self, name, env, option_list):
        torch = None
        try:
            torch = self.start(env)
            for options in option_list:
                if self.best is None or self.left() > 0:
                    self.try_setting(torch, name, options)
        except Failure as why:
            self.tried.append({"environment": name, "failed": str(why)})
        finally:
            if torch:
                torch.close()


def tune(python, job, ranks, threads, cores, big, seconds, budget, end):
    """The processes in their best setting, ready; and what was tried."""
    def start(env):
        return Torch(python, job, ranks, threads, cores, env, min(120, max(end - time.monotonic(), 1)))
    t = Tuning(start, seconds, time.monotonic() + budget, end)
    ways = ["fused"] if job["optimizer"]["name"] == "sgd" else ["foreach", "each"]
    layouts = [False] if job["model"] == "mlp" else [True, False]
    counts = [threads] if threads == 1 or big else [threads, 1]
    options = [{"channels_last": layout, "optimizer": way, "threads": count}
               for way in ways for count in counts for layout in layouts]
    memory = allocators()
    ready = [name for name in ("jemalloc", "tcmalloc", "glibc, told to keep memory") if name in memory]
    first = ready[0] if big else "glibc"
    t.try_environment(first, memory[first], options)
    environments = {first: memory[first]}
    for name, env in memory.items():
        if t.left() > 0 and name != first and (name == "glibc" or not big):
            environments[name] = env
            t.try_environment(name, env, [t.best[2]] if t.best else options)
    if t.best is None:
        raise Failure(t.tried[-1]["failed"])
    chosen = environments[t.best[1]]
    if threads > 1 and not big:
        allocator = t.best[1]
        for name, env in list(WAITING.items())[1:]:
            if t.left() > 0:
                both = f"{allocator}; {name}"
                environments[both] = {**environments[allocator], **env}
                t.try_environment(both, environments[both], [{**t.best[2], "threads": count} for count in counts])
        chosen = environments[t.best[1]]
    torch = start(chosen)
    try:
        parameters = torch.setup(t.best[2], t.patience())["parameters"]
    except Failure:
        torch.close()
        raise
    return torch, {"environment": t.best[1], "variables": chosen, **t.best[2], "parameters": parameters,
                   "tried": t.tried}
