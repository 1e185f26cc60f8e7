/* Rows of the top level (job.md 2.2), of data (2.3), checkpoint and evaluate (2.7), comm (2.8).
 * A default is written as it would stand in a job; "" means absent unless given. */
#include "launcher/keys.h"

static const dl_key root_keys[] = {
    {"version", "int 1..1", "1", "version of this language"},
    {"name", "label", "", "folder of the run; the file's name unless given"},
    {"description", "text", "", "a line for the report"},
    {"output", "path", "runs", "where run folders go"},
    {"seed", "int 0..", "0", "initial weights, order, dropout and random steps (data: data.seed)"},
    {"repeat", "keys repeat", "1", "train with seed, seed + 1, ...; mean and standard error"},
    {"constants", "map of number", "{}", "named numbers for expressions"},
    {"device", "word auto|cpu|cuda", "auto",
     "where to compute; auto: a GPU if one is seen\n"
     "auto looks for a GPU and says so where it can use none; cuda ends with exit code 69 and the\n"
     "reason instead; cpu never looks. Each process takes one GPU of CUDA_VISIBLE_DEVICES, by its\n"
     "number on the host: start as many ranks there as there are GPUs. dltrain plan --device\n"
     "cuda:sm_90 JOB tells without one what a GPU would do."},
    {"precision", "word fp32|bf16|fp16", "fp32",
     "number format of activations and their gradients; weights and sums are fp32\n"
     "bf16: half the memory and faster products, on GPUs of compute capability 8.0 and later and\n"
     "on CPUs with AMX or AVX-512 BF16. fp16: on GPUs alone; 3 bits more than bf16, but so little\n"
     "range that dltrain scales the loss and leaves out a step whose gradients are not finite.\n"
     "Checkpoints and model.h5 are fp32 in any case."},
    {"tf32", "bool", "false",
     "a GPU may round the factors of fp32 products to 10 bits\n"
     "Faster fp32 on Ampere and later, about as exact as fp16; without it fp32 is fp32. It says\n"
     "nothing to bf16 and fp16, nor to a CPU."},
    {"kernels", "word heuristic|timed", "heuristic",
     "how those of a GPU are chosen: by its libraries, or timed by rank 0; a CPU has no choice\n"
     "timed runs the first few for each shape before the first step: worth it for long trainings.\n"
     "Choices are kept in ~/.cache/dltrain (DLTRAIN_CACHE names another folder), in the run's\n"
     "kernels.txt and in its checkpoints, with which it goes on with the same bits."},
    {"steps_per_execution", "int 1..16 or word auto", "auto",
     "steps that go to a GPU together; auto: several of a tiny network\n"
     "A launch may take the host longer than a step of a tiny network takes the GPU; auto sends "
     "4,\n"
     "8 or 16 at once where these last 2 ms at most. It changes no bit; a stop waits for what was\n"
     "sent. A CPU has no use for it."},
    {"recompute", "number 0..1", "0.06",
     "share of a GPU step's memory traffic for making large values again, not keeping them\n"
     "What is cheapest to make comes first, just before the backward pass reads it; 0: all are\n"
     "kept. It changes no bit, but memory and time. A CPU keeps all."},
    {"accumulate", "int 1.. or word auto", "auto", "micro-batches of a rank in a step"},
    {"reproducible", "word run|any_ranks", "run",
     "same bits for the same ranks, or for any number\n"
     "run: another number of ranks or threads adds in another order, so the last digits differ.\n"
     "any_ranks: the batch is cut into `shards` pieces, each computed alone, so that 1, 2 or 4\n"
     "ranks train to the same bits; slower where pieces are small. CPU and GPU differ in either."},
    {"shards", "int 1..4096", "8",
     "pieces of a batch under reproducible: any_ranks\n"
     "Another number gives other bits. More ranks than shards are refused."},
    {"batch_statistics", "word global|shard|rank", "global",
     "what batch normalisation averages over\n"
     "global: the whole batch, so that a job means the same on any number of ranks; they wait for\n"
     "each other at each normalisation. shard and rank: the part that one computes, with less\n"
     "waiting and another result; rank is refused under reproducible: any_ranks."},
    {"data", "keys data", 0, "where samples come from and how they are prepared"},
    {"models", "map of items layer", "{}",
     "parts for call (shared weights) and copy (own weights)"},
    {"model", "items layer", 0, "what is trained; a chain unless inputs says otherwise"},
    {"freeze", "list of pattern", "[]",
     "layers that stand still: no gradient, update or all-reduce"},
    {"loss", "item loss or map of item loss", "", "one loss, or named terms that are added"},
    {"loss_weights", "map of number", "", "factor of each term, 1 unless given"},
    {"metrics", "items metric", "[]", "what is measured beside the loss"},
    {"optimizer", "item optimizer", "", "how weights move"},
    {"batch_size", "int 1..", "32", "samples in the global batch, always"},
    {"epochs", "int 0..", "", "length of training; this or steps; 0 only evaluates"},
    {"steps", "int 1..", "", "length of training in batches; this or epochs"},
    {"steps_per_epoch", "int 1..", "", "batches in an epoch; one pass unless given"},
    {"class_weight", "word none|balanced or map of number", "none",
     "weight of a sample in the loss by its class"},
    {"callbacks", "items callback", "[]", "what happens between epochs"},
    {"checkpoint", "keys checkpoint", "{}", "when to save and what to keep"},
    {"evaluate", "keys evaluate", "{}", "what to measure after training"},
    {"comm", "keys comm", "{}", "how ranks exchange gradients"},
};
const dl_table dl_root_table = {"job", DL_KEYS(root_keys), 0};

static const dl_key repeat_keys[] = {
    {"times", "int 1..10000", "1", "number of trainings"},
    {"seeds", "word model|data|both", "model", "which seeds move from one to the next"},
    {"spread", "word population|sample", "population",
     "form of the standard deviation behind the standard error"},
};
const dl_table dl_repeat_table = {"repeat", DL_KEYS(repeat_keys), "times"};

static const dl_key data_keys[] = {
    {"root", "path", ".", "start of relative paths, itself relative to the working folder"},
    {"seed", "int 0..", "0", "random parts, folds, fixed variants, synthetic samples"},
    {"source", "item source", "", "what test, validation and train are cut from, in this order"},
    {"train", "item source or keys cut", "", "training samples; the rest of source unless given"},
    {"validation", "item source or keys cut", "", "samples measured after each epoch"},
    {"test", "item source or keys cut", "", "samples measured after training"},
    {"classes", "list of text or map of (list of text or word others)", "",
     "old labels in their new order, or {new name: [old labels]}; others are left out"},
    {"prepare", "items step", "[]", "steps in order, from raw samples to what the model reads"},
    {"shuffle", "bool or word with_replacement", "true", "order of training samples"},
    {"on_device", "word auto|never", "auto",
     "keep the samples in a GPU's memory if it has room\n"
     "auto: parts that fit into an eighth of the free memory, 2 GiB in all, are sent once; others\n"
     "are streamed ahead of the steps, and with never all are. The bits are the same."},
};
const dl_table dl_data_table = {"data", DL_KEYS(data_keys), 0};

static const dl_key cut_keys[] = {
    {"from", "word source|train|test", "", "what is cut; source if there is one, else train"},
    {"keep", "bool", "false", "the samples also stay where they came from"},
    {"first", "amount", "", "this many (or this share) from the beginning"},
    {"last", "amount", "", "this many (or this share) from the end"},
    {"random", "amount", "", "this many (or this share), drawn by data.seed"},
    {"rows", "range 0..", "", "samples of these numbers, both ends included"},
    {"folds", "int 2..", "", "so many parts, one training with each held out"},
    {"shuffle", "bool", "false", "folds of permuted samples"},
    {"remainder", "word spread|drop", "spread", "what folds do with samples left over"},
    {"stratify", "bool", "false", "keep the shares of the classes"},
};
const dl_table dl_cut_table = {"cut", DL_KEYS(cut_keys), 0};

static const dl_key checkpoint_keys[] = {
    {"every", "quantity epochs|steps|min|s or list of quantity epochs|steps|min|s", "1 epoch",
     "when to save"},
    {"keep", "int 1..", "2", "checkpoints that stay"},
    {"best", "word none or name", "none", "logged value whose best checkpoint stays too"},
    {"mode", "word auto|min|max", "auto", "whether small or large is best"},
};
const dl_table dl_checkpoint_table = {"checkpoint", DL_KEYS(checkpoint_keys), 0};

static const dl_key evaluate_keys[] = {
    {"parts", "list of word train|validation|test", "[test]", "parts of the data"},
    {"before_training", "bool", "false", "measure the initial weights too"},
};
const dl_table dl_evaluate_table = {"evaluate", DL_KEYS(evaluate_keys), 0};

static const dl_key comm_keys[] = {
    {"backend", "word auto|mpi|shm", "auto", "shared memory within a host, else MPI"},
    {"bucket", "quantity MiB|KiB", "25 MiB", "gradients that travel together"},
    {"first_bucket", "quantity MiB|KiB", "1 MiB", "the bucket that is ready first"},
    {"overlap", "word auto|always|never", "never",
     "sum gradients while others are computed; auto: between hosts"},
    {"timeout", "quantity s|min", "60 s", "silence of a rank after which the job ends"},
};
const dl_table dl_comm_keys_table = {"comm", DL_KEYS(comm_keys), 0};
