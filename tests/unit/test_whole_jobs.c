/* Whole jobs through dl_run_job, watched from inside: a step allocates nothing and leaves the heap
 * as it was; the memory plan changes no bit of any job in jobs/. The linker puts the __wrap_
 * functions here in the place of those they are named after (CMakeLists.txt), so that the program
 * needs no option for it. */
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/comm.h"
#include "launcher/keeper.h"
#include "launcher/run.h"
#include "launcher/verbs.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/runs.h"

/* ---- what watches ---- */

enum { EARLY = 20, MIDDLE = 200, LATE = 2000, ALL = 2100 };

typedef struct sample {
    uint64_t allocations;
    size_t heap;
} sample;

static struct watch {
    int steps, programs;
    sample early, middle, late;
    dl_memory_mode memory;
} watch;

static sample take_sample(void) {
    struct mallinfo2 info = mallinfo2();
    return (sample){dl_alloc_count(), info.uordblks + info.hblkhd};
}

void __real_dl_keeper_count(dl_keeper *keeper, const float *metrics, int64_t batch, float noticed);
void __wrap_dl_keeper_count(dl_keeper *keeper, const float *metrics, int64_t batch, float noticed);
void __wrap_dl_keeper_count(dl_keeper *keeper, const float *metrics, int64_t batch, float noticed) {
    __real_dl_keeper_count(keeper, metrics, batch, noticed);
    watch.steps++;
    if (watch.steps == EARLY)
        watch.early = take_sample();
    if (watch.steps == MIDDLE)
        watch.middle = take_sample();
    if (watch.steps == LATE)
        watch.late = take_sample();
}

dl_status __real_dl_exec_open(dl_exec **out, const dl_exec_options *options);
dl_status __wrap_dl_exec_open(dl_exec **out, const dl_exec_options *options);
dl_status __wrap_dl_exec_open(dl_exec **out, const dl_exec_options *options) {
    dl_exec_options changed = *options;
    changed.memory = watch.memory;
    watch.programs++;
    return __real_dl_exec_open(out, &changed);
}

/* ---- running ---- */

static int mute(void) {
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDOUT_FILENO);
    close(null);
    return saved;
}

static void speak(int saved) {
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
}

static dl_status run_read(dl_job *job, const char *output, dl_run_result *result) {
    dl_comm *comm;
    char folder[DL_PATH_MAX];
    DL_TRY(dl_comm_open(&comm, "auto"));
    snprintf(folder, sizeof folder, "%s/%s", output, dl_text(dl_job_root(job), "name"));
    dl_run_options options = {.folder = folder, .threads = 2, .fresh = true};
    int saved = mute();
    dl_status status = dl_run_job(job, comm, &options, result);
    speak(saved);
    dl_comm_finish(comm);
    return status;
}

/* Files as CIFAR-10's, of a few images: a label and 3 x 32 x 32 bytes each. */
static void write_cifar(const char *folder) {
    static const char *const names[] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                        "data_batch_4", "data_batch_5", "test_batch"};
    enum { IMAGES = 20, IMAGE = 1 + 3 * 32 * 32 };
    for (int n = 0; n < DL_COUNT(names); n++) {
        char path[128];
        unsigned char image[IMAGE];
        snprintf(path, sizeof path, "%s/%s.bin", folder, names[n]);
        FILE *file = fopen(path, "wb");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        for (int i = 0; i < IMAGES; i++) {
            for (int k = 1; k < IMAGE; k++)
                image[k] = (unsigned char)((k * (i + 3) + n * 77) >> 4);
            image[0] = (unsigned char)(i % 10);
            fwrite(image, sizeof image, 1, file);
        }
        fclose(file);
    }
}

/* Runs the job in a scratch folder. `text` is its content, or NULL to read the file. */
static dl_status run(const char *file, const char *text, const char *const *sets, int count,
                     dl_memory_mode memory, dl_run_result *result) {
    enum { SETS = 32 };
    char scratch[] = "/tmp/dltrain-jobs-XXXXXX", output[64], command[64], root[64];
    const char *all[SETS + 2] = {output};
    if (!mkdtemp(scratch))
        return dl_fail(DL_NO_WRITE, "no scratch folder");
    snprintf(output, sizeof output, "output=%s", scratch);
    for (int i = 0; i < count && i < SETS; i++)
        all[i + 1] = sets[i];
    if (strstr(file, "/cifar")) {
        write_cifar(scratch);
        snprintf(root, sizeof root, "data.root=%s", scratch);
        all[++count] = root;
    }
    memset(&watch, 0, sizeof watch);
    watch.memory = memory;
    dl_job *job = NULL;
    const dl_vocabulary *words = dl_job_vocabulary();
    dl_status status = text
                           ? dl_job_read_text(&job, file, text, strlen(text), words, all, count + 1)
                           : dl_job_read(&job, file, words, all, count + 1);
    if (status == DL_OK)
        status = run_read(job, scratch, result);
    dl_job_close(job);
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    CU_ASSERT_EQUAL(system(command), 0);
    return status;
}

/* ---- tests ---- */

static const char steady[] =
    "data:\n"
    "  train: {synthetic: {kind: digits, samples: 72}}\n"
    "  validation: {first: 10}\n"
    "  prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]\n"
    "model:\n"
    "  - conv2d: {filters: 4, kernel_size: 3, strides: 2, activation: relu}\n"
    "  - batch_normalization\n"
    "  - max_pooling2d: 2\n"
    "  - flatten\n"
    "  - dropout: 0.25\n"
    "  - dense: {units: 10, activation: softmax}\n"
    "loss: sparse_categorical_crossentropy\n"
    "optimizer: {adam: {clipnorm: 1, schedule: {cosine_decay: 0.1}}}\n"
    "metrics: [accuracy]\n"
    "batch_size: 16\n" /* 14 samples in the last batch: two plans take turns */
    "steps: 2100\n"    /* the threads that read ahead are not at their end yet */
    "steps_per_epoch: 2100\n";

static void test_steady(void) {
    static const char *const any_ranks[] = {"reproducible=any_ranks", "shards=4"};
    for (int sets = 0; sets <= DL_COUNT(any_ranks); sets += DL_COUNT(any_ranks)) {
        dl_run_result result;
        if (!CHECK_OK(run("steady.yaml", steady, any_ranks, sets, DL_MEMORY_PLANNED, &result)))
            return;
        CU_ASSERT_EQUAL(watch.steps, ALL);
        CU_ASSERT_EQUAL(watch.middle.allocations, watch.early.allocations);
        CU_ASSERT_EQUAL(watch.late.allocations, watch.early.allocations);
        if (watch.late.heap != watch.early.heap)
            printf("\n    heap in use: %zu after step %d, %zu after step %d, %zu after step %d\n",
                   watch.early.heap, EARLY, watch.middle.heap, MIDDLE, watch.late.heap, LATE);
        CU_ASSERT_EQUAL(watch.late.heap, watch.early.heap);
    }
}

/* Jobs are made small: few samples and a last batch that is not full. Those listed need other words
 * for it than data.train.first. */
typedef struct small {
    const char *job, *sets[3];
} small;

static const char untrained[] = "the job only evaluates";

/* The large networks see small pictures: not too small, and with Keras's initial values, or
 * ResNet-50 overflows when it is evaluated with statistics of two steps. */
#define SMALL_PICTURES(size)                                                                     \
    "data.train.synthetic={kind: images, samples: 5, fields: {x: {shape: [" size ", 3], dtype: " \
    "uint8}, y: {classes: 1000}}}",                                                              \
        "batch_size=3"

static const small smalls[] = {
    {"resnet50-imagenet", {SMALL_PICTURES("64, 64"), "model.net.resnet50.variant=v1"}},
    {"vgg16-imagenet", {SMALL_PICTURES("32, 32")}},
    {"quickstart", {"data.train.synthetic.samples=33", "data.test.first=20"}},
    {"separable", {"data.train.synthetic.samples=13"}},
    {"inception-block", {"data.train.synthetic.samples=5", "batch_size=2"}},
    {"iris2", {"data.test.random=80"}},
    {"mnist-cnn-experiments", {"data.train.first=13", "data.validation.first=7"}},
    {"mnist-optimizers", {"data.train.first=13", "data.validation.first=7"}},
    {"mnist-init", {"data.train.first=13", "data.validation=none"}},
    {"mnist-batch-size", {"data.train.first=13", "steps=none"}},
    {"vae", {"data.train.first=13", "data.validation=none"}},
    {"cifar-animal-vehicle", {"data.train.first=13", "data.validation.first=7"}},
    {"cifar-deep", {"data.train.first=13", "data.validation.first=7"}},
    {"cifar-shallow", {"data.train.first=13", "data.validation.first=7"}},
    {"alien-perceptrons", {untrained}},
};

/* 0: as it stands; there is nothing to train. */
static int set_for(const char *job, const char **sets) {
    static const char *const common[] = {"epochs=1", "batch_size=6", "repeat=1",
                                         "evaluate={parts: [train]}"};
    static const small usual = {NULL, {"data.train.first=13"}};
    const small *found = &usual;
    int count = 0;
    for (int i = 0; i < DL_COUNT(common); i++)
        sets[count++] = common[i];
    for (int i = 0; i < DL_COUNT(smalls); i++)
        if (strcmp(smalls[i].job, job) == 0)
            found = &smalls[i];
    for (int k = 0; k < DL_COUNT(found->sets); k++)
        if (found->sets[k])
            sets[count++] = found->sets[k];
    return found->sets[0] == untrained ? 0 : count;
}

static bool same(const dl_run_result *a, const dl_run_result *b) {
    return a->weights == b->weights && a->steps == b->steps && a->mean.count == b->mean.count &&
           memcmp(a->mean.value, b->mean.value, sizeof(double) * (size_t)a->mean.count) == 0;
}

typedef struct tally {
    int ran, absent; /* absent: the data, or what the processor lacks */
    char why[512];   /* of the last of them */
} tally;

/* Runs a job made small, with `set` (or NULL) besides; whether it ran. */
static bool run_small(const char *job, const char *set, tally *tour, dl_run_result *result) {
    const char *sets[16], *require = getenv("DLTRAIN_REQUIRE");
    char file[DL_PATH_MAX];
    int count = set_for(job, sets);
    snprintf(file, sizeof file, "%s/jobs/%s.yaml", DL_SOURCE_DIR, job);
    if (set)
        sets[count++] = set;
    dl_status status = run(file, NULL, sets, count, DL_MEMORY_PLANNED, result);
    bool absent = status == DL_NO_INPUT && !(require && strcmp(require, "data") == 0);
    if (absent || status == DL_UNAVAILABLE) {
        tour->absent++;
        snprintf(tour->why, sizeof tour->why, "%s", dl_message());
        return false;
    }
    tour->ran += status == DL_OK;
    return CHECK_OK(status);
}

static void prove(const char *job, const dl_run_result *want) {
    static const char *const modes[] = {"planned", "off", "poisoned"};
    const char *sets[16];
    char file[DL_PATH_MAX];
    int count = set_for(job, sets);
    dl_run_result got;
    snprintf(file, sizeof file, "%s/jobs/%s.yaml", DL_SOURCE_DIR, job);
    CU_ASSERT(want->mean.count >= 2);
    CU_ASSERT(count == 0 || (watch.programs >= 2 && want->steps >= 2));
    for (int i = 0; i < want->mean.count; i++)
        CU_ASSERT(isfinite(want->mean.value[i]));
    for (int mode = DL_MEMORY_OFF; mode <= DL_MEMORY_POISONED; mode++) {
        if (!CHECK_OK(run(file, NULL, sets, count, (dl_memory_mode)mode, &got)))
            return;
        if (!same(&got, want))
            printf("\n    %s: other bits with the memory plan %s\n", job, modes[mode]);
        CU_ASSERT(same(&got, want));
    }
}

/* Runs every job, and `after` where it ran; returns how many did. */
static int each_job(const char *test, const char *set,
                    void (*after)(const char *job, const dl_run_result *result)) {
    DIR *dir = opendir(DL_SOURCE_DIR "/jobs");
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    tally tour = {0, 0, ""};
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (length < 6 || strcmp(entry->d_name + length - 5, ".yaml") != 0)
            continue;
        char job[256];
        dl_run_result result;
        snprintf(job, sizeof job, "%.*s", (int)length - 5, entry->d_name);
        if (run_small(job, set, &tour, &result) && after)
            after(job, &result);
    }
    closedir(dir);
    if (tour.absent) {
        char line[128];
        snprintf(line, sizeof line, "%s of %d job(s)", test, tour.absent);
        check_skip(line, tour.why);
    }
    return tour.ran;
}

int small_jobs_run_each(const char *test, const char *set) {
    return each_job(test, set, NULL);
}

static void test_memory_plan(void) {
    CU_ASSERT(each_job("memory plan", NULL, prove) >= 3);
}

void suite_whole_jobs(void) {
    CU_pSuite suite = CU_add_suite("whole jobs", NULL, NULL);
    CU_add_test(suite, "a step allocates nothing", test_steady);
    CU_add_test(suite, "the memory plan of every job", test_memory_plan);
}
