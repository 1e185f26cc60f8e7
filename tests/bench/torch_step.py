"""PyTorch's side of the benchmark: one process a rank, told by lines of JSON on its input what to do.

  torch_step.py '{"model": "mlp", "batch": 64, "samples": 60000, "threads": 1, "precision": "fp32",
                  "optimizer": {"name": "rmsprop", "lr": 0.001}, "smoothing": 0}'
  {"setup": {"channels_last": true, "optimizer": "foreach", "compile": false, "threads": 1}}
  {"run": STEPS}            {"seconds": ..., "loss": ...}
  {"reduce": FLOATS, "turns": N}

batch and samples are those of this rank. Several ranks (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT in the
environment) are joined by DistributedDataParallel over gloo. A step is: a batch of a shuffled epoch gathered
from tensors in memory that are ready as the network takes them; forward; loss; backward; update; the loss as
a number, read each step as dltrain's is.

"device": "cuda" puts all of it on a GPU. There "compile" may be a mode of torch.compile; fp16 has a GradScaler; the
loss is added up on the card and read after the last step; "bytes": [MEANS, STDS] keeps the samples as uint8, which the
step scales, channel by channel; "benchmark": false does without cudnn.benchmark.

  torch_step.py --first FILE FILE    imports PyTorch, reads MNIST's files, does one step, tells when and with
                                     how much memory (dltrain's first step, done PyTorch's way)"""
import json
import os
import sys
import time


def process_age():
    with open("/proc/self/stat") as file:
        started = int(file.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def answer(**what):
    print(json.dumps(what), flush=True)


class Worker:
    def __init__(self, job):
        self.job = job
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        torch.set_num_threads(job["threads"])
        torch.manual_seed(self.rank)
        if self.size > 1:
            torch.distributed.init_process_group("gloo")
        self.shape, self.classes = torch_models.SHAPES.get(job["model"], torch_models.IMAGENET)
        self.data = None
        self.device = torch.device(job.get("device", "cpu"))
        self.half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(job["precision"])
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def setup(self, channels_last=False, optimizer="foreach", compile=False, threads=0, benchmark=True):
        torch.set_num_threads(threads or self.job["threads"])
        torch.backends.cudnn.benchmark = benchmark
        self.net = self.optimizer = None
        format = torch.channels_last if channels_last else torch.contiguous_format
        if self.data is None or self.channels_last != channels_last:
            self.make_data(channels_last)
        model = torch_models.MODELS[self.job["model"]]().train().to(self.device)
        parameters = torch_models.count(model)
        if channels_last:
            model = model.to(memory_format=format)
        if self.size > 1:
            model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True,
                                                              static_graph=True, broadcast_buffers=False)
        self.net = torch_models.Loss(model, self.job["smoothing"], self.job.get("bytes"), self.half).to(self.device)
        self.compiled = bool(compile)
        if compile:
            self.net = torch.compile(self.net, **({"mode": compile} if isinstance(compile, str) else {}))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)
        self.optimizer = torch_models.optimizer(self.job["optimizer"], model.parameters(), optimizer)
        self.start = self.data[0].shape[0]
        begun = time.perf_counter()
        self.run(1)
        return {"parameters": parameters, "first_step_s": time.perf_counter() - begun, "age": process_age()}

    def make_data(self, channels_last):
        n = self.job["samples"]
        shape = (n,) + tuple((self.shape[1:] + self.shape[:1]) if channels_last else self.shape)
        self.data = None
        self.channels_last = channels_last
        x = (torch.randint(256, shape, device=self.device, dtype=torch.uint8) if self.job.get("bytes") else
             torch.rand(shape, device=self.device))
        self.data = x, torch.randint(self.classes, (n,), device=self.device)

    def batch(self):
        x, y = self.data
        n, b = x.shape[0], self.job["batch"]
        if self.start + b > n:
            self.order, self.start = torch.randperm(n, device=self.device), 0
        chosen = self.order[self.start:self.start + b]
        self.start += b
        x = x.index_select(0, chosen)
        return x.permute(0, 3, 1, 2) if self.channels_last else x, y.index_select(0, chosen)

    def one(self):
        x, y = self.batch()
        self.optimizer.zero_grad(set_to_none=True)
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        if self.half:
            with torch.autocast(self.device.type, dtype=self.half):
                loss = self.net(x, y)
        else:
            loss = self.net(x, y)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def run(self, steps):
        on_card = self.device.type == "cuda"
        if self.size > 1:
            torch.distributed.barrier()
        total = torch.zeros((), device=self.device) if on_card else 0.0
        begun = time.perf_counter()
        for _ in range(steps):
            total += self.one() if on_card else self.one().item()
        loss = float(total) / steps
        seconds = time.perf_counter() - begun
        memory = ({"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
                  if on_card else {})
        return {"seconds": seconds, "loss": loss, **memory}

    def reduce(self, floats, turns):
        took = []
        for _ in range(turns + 1):
            tensor = torch.ones(floats)
            torch.distributed.barrier()
            begun = time.perf_counter()
            torch.distributed.all_reduce(tensor)
            took.append((time.perf_counter() - begun) * 1e3)
        return {"gloo_ms": took[1:]}

    def serve(self):
        build = torch.__config__.show()
        library = [line.split("Intel(R) ")[-1].split(" (")[0] for line in build.splitlines() if "MKL-DNN" in line]
        answer(ready=True, torch=torch.__version__, library="".join(library).replace("MKL-DNN", "oneDNN"),
               threads=torch.get_num_threads(), cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
        for line in sys.stdin:
            order = json.loads(line)
            if "setup" in order:
                answer(**self.setup(**order["setup"]))
            elif "run" in order:
                answer(**self.run(order["run"]))
            else:
                answer(**self.reduce(order["reduce"], order["turns"]))


def first_step(images, labels):
    """With what PyTorch needs least memory for: pictures stay uint8 until their batch is taken."""
    import gzip
    import resource
    imported = process_age()
    with gzip.open(images) as file:
        x = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)[16:].view(-1, 784)
    with gzip.open(labels) as file:
        y = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)[8:].long()
    model = torch_models.mlp()
    optimizer = torch_models.optimizer({"name": "rmsprop", "lr": 1e-3, "alpha": 0.9, "eps": 1e-7},
                                       model.parameters(), "foreach")
    chosen = torch.randperm(x.shape[0])[:128]
    loss = torch.nn.functional.cross_entropy(model(x[chosen].float() / 255), y[chosen])
    loss.backward()
    optimizer.step()
    loss.item()
    answer(start_to_first_step=process_age(), import_s=imported,
           peak_memory=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    if "PIN" in os.environ:
        os.sched_setaffinity(0, {int(core) for core in os.environ["PIN"].split(",")})
    import torch
    import torch_models
    if sys.argv[1] == "--first":
        first_step(sys.argv[2], sys.argv[3])
    else:
        Worker(json.loads(sys.argv[1])).serve()
