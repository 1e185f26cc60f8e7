/* The rows of all sources and steps (job.md 2.3). A new one is a file that defines its dl_source or
 * dl_step, and its row here. */
#include "runtime/data/keys.h"

#include "runtime/data/inner.h"

extern const dl_source dl_source_idx, dl_source_npy, dl_source_npz, dl_source_csv, dl_source_values,
    dl_source_cifar, dl_source_synthetic;
extern const dl_step dl_step_scale, dl_step_standardize, dl_step_reshape, dl_step_one_hot,
    dl_step_fill_missing;

static const dl_key idx_keys[] = {
    {"fields", "map of path", NULL, "a file for each field, plain or gzip"},
};
static const dl_key npy_keys[] = {
    {"fields", "map of path", NULL, "a file for each field"},
};
static const dl_key npz_keys[] = {
    {"file", "path", NULL, "archive of arrays (numpy.savez)"},
    {"fields", "map of text", NULL, "the array for each field"},
};
static const dl_key csv_keys[] = {
    {"file", "path", NULL, "table of text, a row a sample, plain or gzip"},
    {"fields", "map of any", NULL,
     "columns for each field: name, number from 0, range a..b, list of these, {all_but: [...]}"},
    {"header", "bool or word auto", "auto", "whether the first row has the names of the columns"},
    {"separator", "text", "\",\"", "one character, tab, or whitespace (any run of blanks)"},
    {"where", "map of text", "", "only rows with these values: {column: value}"},
    {"missing", "text or list of text", "", "cells that mean unknown, besides empty ones"},
    {"drop_missing", "bool", "false", "leave out rows with unknown values"},
};
static const dl_key values_keys[] = {
    {"fields", "map of any", NULL, "a list with an element for each sample, for each field"},
};
static const dl_key cifar_keys[] = {
    {"files", "list of path", NULL, "binary files of CIFAR-10 or CIFAR-100, in order"},
    {"label", "word coarse|fine", "", "which label of CIFAR-100; fine unless given"},
};
static const dl_key synthetic_keys[] = {
    {"kind", "word digits|images|vectors|tokens|series", NULL,
     "digits are drawn, 28 x 28, with MNIST's fields"},
    {"samples", "int 1..2147483647", NULL, "how many"},
    {"fields", "map of any", "",
     "{shape: [...], dtype: float32|uint8}, {classes: N} or {vocabulary: N, length: N} for each; x "
     "and y unless given"},
};

static const dl_word sources[] = {
    {"idx", "fields", DL_KEYS(idx_keys), "IDX files, as MNIST's: {field: FILE, ...}",
     &dl_source_idx},
    {"npy", "fields", DL_KEYS(npy_keys), "arrays of NumPy: {field: FILE, ...}", &dl_source_npy},
    {"npz", NULL, DL_KEYS(npz_keys), "an archive of arrays of NumPy", &dl_source_npz},
    {"csv", NULL, DL_KEYS(csv_keys), "a table of text", &dl_source_csv},
    {"values", "fields", DL_KEYS(values_keys), "samples written in the job: {field: [...], ...}",
     &dl_source_values},
    {"cifar", "files", DL_KEYS(cifar_keys), "CIFAR-10 and CIFAR-100, binary form",
     &dl_source_cifar},
    {"synthetic", "kind", DL_KEYS(synthetic_keys), "samples made up from data.seed: no file needed",
     &dl_source_synthetic},
};

static const dl_key source_siblings[] = {
    {"first", "amount", "", "only this many (or this share) from the beginning"},
    {"last", "amount", "", "only this many (or this share) from the end"},
    {"random", "amount", "", "only this many (or this share), drawn by data.seed"},
    {"rows", "range 0..", "", "only samples of these numbers, both ends included"},
    {"stratify", "bool", "false", "keep the shares of the classes"},
};

const dl_family dl_source_family = {"source", "sources", DL_KEYS(sources),
                                    DL_KEYS(source_siblings)};

#define FIT                                                   \
    {                                                         \
        "fit", "word training|source|everything", "training", \
            "samples the constants are learned from"          \
    }

static const dl_key scale_keys[] = {
    {"by", "number", NULL, "factor: x * by + offset"},
    {"offset", "number", "0", "added after the factor"},
};
static const dl_key standardize_keys[] = {
    {"columns", "list of (int 0.. or text)", "", "only these, by name or number from 0; else all"},
    {"epsilon", "number 0..", "0", "added to the standard deviation"},
    FIT,
    {"mean", "number or list of number", "", "given instead of learned, with std"},
    {"std", "number or list of number", "", "given instead of learned, with mean"},
};
static const dl_key reshape_keys[] = {
    {"shape", "int 1.. or list of int -1..", NULL, "dimensions of a sample; one may be -1"},
};
static const dl_key one_hot_keys[] = {
    {"classes", "int 1..", "", "length of a row; the classes seen in the data unless given"},
};
static const dl_key fill_missing_keys[] = {
    {"by", "number or word mean|median|mode", NULL, "what stands in for unknown values"},
    FIT,
};

static const dl_word steps[] = {
    {"scale", "by", DL_KEYS(scale_keys), "x * by + offset", &dl_step_scale},
    {"standardize", NULL, DL_KEYS(standardize_keys),
     "(x - mean) / std of each element, population form", &dl_step_standardize},
    {"reshape", "shape", DL_KEYS(reshape_keys), "other dimensions, same elements",
     &dl_step_reshape},
    {"one_hot", "classes", DL_KEYS(one_hot_keys), "whole numbers to rows of zeros with a one",
     &dl_step_one_hot},
    {"fill_missing", "by", DL_KEYS(fill_missing_keys), "a number for unknown values",
     &dl_step_fill_missing},
};

static const dl_key step_siblings[] = {
    {"field", "name or list of name", "x", "which fields the step works on"},
};

const dl_family dl_step_family = {"step", "steps", DL_KEYS(steps), DL_KEYS(step_siblings)};
