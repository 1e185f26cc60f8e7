#!/usr/bin/env python3
"""Tables from the benchmark's JSON.

  tests/bench/table.py FILE...             as the benchmark prints them
  tests/bench/table.py FILE... --readme    puts them into README.md, between the lines that mark their place; what
                                           several files have measured comes from the first of them"""
import json
import os
import sys
import textwrap

BEGIN, END = "<!-- benchmark: written by tests/bench/table.py -->", "<!-- end of benchmark -->"
GPU_BEGIN, GPU_END = "<!-- GPU benchmark: written by tests/bench/table.py -->", "<!-- end of GPU benchmark -->"
TITLES = {"mlp": "MNIST MLP, 128", "convnet": "MNIST convnet, 64", "cifar": "CIFAR CNN, 64",
          "resnet50-bf16": "ResNet-50 bf16, 8", "resnet50": "ResNet-50, 8", "vgg16-bf16": "VGG16 bf16, 8",
          "vgg16": "VGG16, 8"}


def short(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(spread):
    return f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})" if spread else "-"


def place(part):
    return f"{part['ranks']} x {part['threads']}"


def parts(results, first):
    return [(name, part) for name, part in results["parts"].items() if name.split()[0] == first]


def steps_table(results):
    rows = [["job, batch", "ranks x threads", "samples/s", "ms a step", "floor / dltrain", "products / dltrain",
             "PyTorch / dltrain", "compiled / dltrain"]]
    for name, part in parts(results, "steps"):
        ms, ratios = part["ms"], part["ratio"]
        rows.append([TITLES[name.split()[1]], place(part), short(part["batch"] / ms["dltrain"]["median"] * 1e3),
                     short(ms["dltrain"]["median"]), ratio(ratios.get("floor")), ratio(ratios.get("products")),
                     ratio(ratios.get("torch")), ratio(ratios.get("torch_compile"))])
    note = ("Ratios of times, medians (least-most) over pairs. floor / dltrain: 1 is as fast as the bare kernels; "
            "products: the same without pooling. PyTorch / dltrain: above 1 is faster than PyTorch.")
    return "Steps", note, rows


def start_table(results):
    rows = [["MLP, from the process's beginning", "dltrain", "PyTorch", "PyTorch / dltrain"]]
    for _, part in parts(results, "start"):
        for key, title, scale in (("start_to_first_step", "first step done, s", 1),
                                  ("peak_memory", "peak memory, MiB", 1 / (1 << 20))):
            both = part[key]
            theirs = both.get("torch")
            rows.append([title, short(both["dltrain"]["median"] * scale),
                         short(theirs["median"] * scale) if theirs else "-", f"{both['ratio']:.2f}" if theirs else "-"])
    return "Start", "", rows


def allreduce_table(results):
    rows = [["sum over 2 ranks", "dltrain, ms", "MPI, ms", "gloo, ms", "MPI / dltrain", "gloo / dltrain"]]
    for _, part in parts(results, "allreduce"):
        for row in part["sizes"]:
            mpi = min(row["mpi_ms"]["median"], row["mpi_in_place_ms"]["median"])
            gloo = row.get("gloo_ms")
            rows.append([f"{row['megabytes']} MB", short(row["dltrain_ms"]["median"]), short(mpi),
                         short(gloo["median"]) if gloo else "-", f"{row['ratio']['mpi']:.2f}",
                         f"{row['ratio']['gloo']:.2f}" if gloo else "-"])
    return "All-reduce", "MPI: the faster of from buffer to buffer and in place.", rows


def any_ranks_table(results):
    rows = [["any_ranks", "ranks x threads", "run, ms a step", "4 shards / run", "8 shards / run"]]
    for name, part in parts(results, "any_ranks"):
        rows.append([TITLES[name.split()[1]], place(part), short(part["ms"]["dltrain"]["median"]),
                     ratio(part["ratio"].get("4 shards")), ratio(part["ratio"].get("8 shards"))])
    return "Reproducible on any ranks", "", rows


def communication_table(results):
    rows = [["2 ranks", "communication, share of the step", "waiting for the other rank"]]
    for name, part in parts(results, "steps"):
        if part["ranks"] > 1:
            split = part["dltrain_parts"]
            rows.append([TITLES[name.split()[1]]] + [f"{100 * split[key] / split['step']:.1f} %"
                                                     for key in ("communication", "waiting")])
    return "Communication", "", rows


def weak_table(results):
    rows = [["weak scaling, a thread a rank", "1 rank, samples/s", "2 ranks, samples/s", "efficiency"]]
    for name, part in parts(results, "weak"):
        rate = part["samples_per_second"]
        rows.append([TITLES[name.split()[1]] + " a rank", short(rate["1"]["median"]), short(rate["2"]["median"]),
                     ratio(part["efficiency"])])
    return "Weak scaling", "", rows


def loaders_table(results):
    rows = [["loader", "plain read, GB/s", "samples/s", "share of a plain read", "shuffled, samples/s", "share"]]
    for _, part in parts(results, "loaders"):
        for row in part["rows"]:
            rows.append([row["form"], short(row["plain_bytes_per_second"]["median"] / 1e9)] +
                        [cell for way in ("file_order", "shuffled")
                         for cell in (short(row[way]["samples_per_second"]["median"]),
                                      ratio(row[way]["share_of_plain"]))])
    return "Loaders", "Against a plain read of the same bytes in the same order, from the page cache.", rows


def alone(part, key, scale, unit):
    both = part[key]
    if "ratio" not in both:
        return short(both["dltrain"] * scale) + unit if "dltrain" in both else "-"
    return f"{both['ratio']:.2f} ({short(both['torch'] * scale)} / {short(both['dltrain'] * scale)}{unit})"


def gpu_table(results):
    rows = [["job, batch", "samples/s", "ms a step", "eager / dltrain", "max-autotune / dltrain",
             "reduce-overhead / dltrain", "memory, eager / dltrain", "start, eager / dltrain"]]
    for name, part in parts(results, "gpu"):
        ms, ratios = part["ms"]["dltrain"]["median"], part["ratio"]
        rows.append([f"{name.split()[1]}, {part['batch']}", short(part["batch"] / ms * 1e3), short(ms)] +
                    [ratio(ratios.get(side)) for side in ("torch", "torch_max_autotune", "torch_reduce_overhead")] +
                    [alone(part, "memory", 1 / (1 << 30), " GiB"), alone(part, "start_to_first_step", 1, " s")])
    note = ("Ratios of PyTorch's to dltrain's, medians (least-most) over turns: above 1 is faster than PyTorch, or needs "
            "less.")
    return "Steps on a GPU", note, rows


TABLES = {"gpu": (gpu_table,), "steps": (steps_table, communication_table), "start": (start_table,), "allreduce": (allreduce_table,),
          "any_ranks": (any_ranks_table,), "weak": (weak_table,), "loaders": (loaders_table,)}


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(row, widths))) for row in rows]


def all_tables(results):
    for makers in TABLES.values():
        for make in makers:
            title, note, rows = make(results)
            if len(rows) > 1:
                yield title, note, rows


def lines_of(name, part):
    """What one part found, for the terminal, while the benchmark runs."""
    results = {"parts": {name: part}}
    lines = [line for make in TABLES[name.split()[0]] for rows in [make(results)[2]] if len(rows) > 1
             for line in aligned(rows)]
    missing = [f"without {side}: {why}" for side, why in part.get("missing", {}).items()]
    settings = part.get("settings")
    if settings:
        words = [settings["environment"], settings["optimizer"], f"{settings['threads']} threads"]
        words += ["channels_last"] if settings["channels_last"] else []
        lines.append("PyTorch's best: " + ", ".join(words))
    return lines + missing


def place_of(results):
    """Where it was measured: machine and versions."""
    machine = results["machine"]
    versions = machine["versions"]
    onednn = [line.split()[1] for line in versions["dltrain"] if line.split()[:1] == ["oneDNN"]]
    card = f"{machine['card']}, " if machine.get("card") else ""
    libraries = "".join(f" ({key} {versions[key]})" for key in ("cuda", "cudnn") if versions.get(key))
    return (f"{card}{machine['processor']}, {machine['used']} of {machine['processors']} processors, "
            f"{machine['memory_gib']} GiB, {machine['system']}; {', '.join(versions['dltrain'][:1])}, "
            f"oneDNN {''.join(onednn)}, {''.join(versions['mpi'])}, PyTorch {versions['torch'] or 'absent'}{libraries}")


def moment_of(results):
    return f"{results['when'][:16].replace('T', ' ')} UTC, commit {results['machine']['versions']['commit']}"


def terminal(results):
    lines = [f"{place_of(results)}; {moment_of(results)}"]
    for title, note, rows in all_tables(results):
        lines += ["", title + (". " + note if note else "")] + aligned(rows)
    for failure in results["failures"]:
        lines += ["", f"FAILED {failure['part']}: {failure['why']}"]
    return "\n".join(lines)


def wrapped(text):
    return textwrap.fill(text, 118, break_on_hyphens=False)


def markdown(results, name, told):
    """What is in `told` already, machines, notes and parts, is left out."""
    def new(text):
        fresh = bool(text) and text not in told
        told.add(text)
        return fresh

    results = results | {"parts": {key: part for key, part in results["parts"].items() if new(key)}}
    if not results["parts"]:
        return ""
    place = place_of(results)
    lines = ["", wrapped(f"On {place}:")] if new(place) else []
    lines += ["", f"**`{name}`**, {moment_of(results)}:", f"`{results['command']}`"]
    for _, note, rows in all_tables(results):
        lines += ["", wrapped(note)] if new(note) else []
        lines += [""]
        lines += ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
        lines += ["| " + " | ".join(row) + " |" for row in rows[1:]]
    missing = {f"{side} is missing in '{name}': {why}" for name, part in results["parts"].items()
               for side, why in part.get("missing", {}).items()}
    missing |= {f"'{failure['part']}' failed: {failure['why']}" for failure in results["failures"]}
    lines += [""] + [f"- {line}" for line in sorted(missing)] if missing else []
    return "\n".join(lines)


def between(text, begin, end, tables):
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit("README.md lacks the lines between which the tables stand")
    before, rest = text.split(begin)
    return "\n".join([before + begin] + tables + ["", end + rest.split(end)[1]])


def main():
    names = [word for word in sys.argv[1:] if word != "--readme"]
    if not names:
        sys.exit(__doc__)
    several = []
    for name in names:
        with open(name) as file:
            several.append(json.load(file))
    if "--readme" not in sys.argv:
        print("\n\n".join(terminal(results) for results in several))
        return
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")
    with open(path) as file:
        text = file.read()
    files = [(results, os.path.basename(name)) for results, name in zip(several, names)]
    for begin, end, gpu in ((BEGIN, END, False), (GPU_BEGIN, GPU_END, True)):
        told = set()
        tables = [markdown(*one, told) for one in files if ("gpu" in one[0]["format"]) == gpu]
        if tables:
            text = between(text, begin, end, [table for table in tables if table])
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
