/* dltrain predict RUN INPUT: the outputs of a run for the samples of a file, which go through the
 * run's own steps with the constants learned from its training data. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/batches.h"
#include "launcher/finished.h"
#include "launcher/inputs.h"
#include "launcher/keeper.h"
#include "launcher/predict_input.h"
#include "launcher/verbs.h"

typedef struct predictor {
    dl_session *session;
    dl_exec *exec;
    dl_batches batches;
    int64_t samples, batch;
    int outputs;
    float **here;   /* [outputs]: this rank's samples of a batch */
    float **whole;  /* [outputs]: all samples, rank 0 */
    int64_t *width; /* [outputs]: floats a sample */
    char *gathered;
} predictor;

/* Every field that the program reads must be in the file. */
static dl_status check_fields(const predictor *p) {
    const dl_data *data = p->session->data;
    for (int i = 0; i < dl_data_field_count(data); i++) {
        const dl_data_field *field = dl_data_field_at(data, i);
        bool stored;
        if (dl_inputs_find(p->exec, field, &stored) >= 0 && !dl_data_input_has(data, i))
            return dl_fail(DL_BAD_JOB,
                           "the network reads field '%s' too; such a file gives it one field, "
                           "that of its first layer; give an .npz with all of them",
                           field->name);
    }
    return DL_OK;
}

static dl_status open_program(predictor *p) {
    dl_session *s = p->session;
    p->samples = dl_data_samples(s->data, DL_PART_INPUT);
    p->batch = dl_session_evaluation_batch(s);
    if (p->batch > p->samples)
        p->batch = p->samples;
    DL_TRY(dl_session_program(s, "prediction", dl_network_prediction, false, DL_PART_INPUT,
                              p->batch, p->samples % p->batch, &p->exec));
    DL_TRY(check_fields(p));
    dl_batches_options options = {.part = DL_PART_INPUT, .batch = p->batch, .in_order = true};
    DL_TRY(dl_batches_open(&p->batches, s, p->exec, &options));
    p->outputs = dl_network_output_count(s->network);
    size_t count = (size_t)p->outputs;
    p->here = dl_alloc(sizeof *p->here * count);
    p->whole = dl_alloc(sizeof *p->whole * count);
    p->width = dl_alloc(sizeof *p->width * count);
    int64_t widest = 0;
    bool enough = p->here && p->whole && p->width;
    for (int o = 0; o < p->outputs && enough; o++) {
        dl_type type = dl_network_output_type(s->network, o);
        p->width[o] = dl_type_count(&type) / type.dim[0];
        widest = p->width[o] > widest ? p->width[o] : widest;
        p->here[o] = dl_alloc(sizeof(float) * (size_t)(p->batch * p->width[o]));
        p->whole[o] = dl_alloc(sizeof(float) * (size_t)(p->samples * p->width[o]));
        enough = p->here[o] && p->whole[o];
    }
    size_t slot = sizeof(float) * (size_t)(p->batch * widest);
    p->gathered = enough ? dl_alloc(slot * (size_t)s->comm->size) : NULL;
    return dl_comm_agree(s->comm, p->gathered ? DL_OK : dl_fail_memory(slot));
}

static void close_program(predictor *p) {
    for (int o = 0; o < p->outputs; o++) {
        dl_free(p->here ? p->here[o] : NULL);
        dl_free(p->whole ? p->whole[o] : NULL);
    }
    dl_free(p->here);
    dl_free(p->whole);
    dl_free(p->width);
    dl_free(p->gathered);
    dl_batches_close(&p->batches);
    dl_exec_close(p->exec);
}

/* Puts the ranks' shares of an output, each a range of the batch, after one another. */
static dl_status collect(predictor *p, int output, int64_t batch, int64_t seen) {
    const dl_comm *comm = p->session->comm;
    int leaves = batch < p->session->leaves ? (int)batch : p->session->leaves;
    size_t sample = sizeof(float) * (size_t)p->width[output];
    size_t most = 0;
    for (int r = 0; r < comm->size; r++) {
        int first, last;
        dl_leaf_range(leaves, r, comm->size, &first, &last);
        size_t bytes = sample * (size_t)(last * batch / leaves - first * batch / leaves);
        most = bytes > most ? bytes : most;
    }
    DL_TRY(dl_comm_gather(p->session->comm, p->here[output], most, p->gathered));
    for (int r = 0; r < comm->size; r++) {
        int first, last;
        dl_leaf_range(leaves, r, comm->size, &first, &last);
        int64_t from = first * batch / leaves, to = last * batch / leaves;
        memcpy(p->whole[output] + (seen + from) * p->width[output], p->gathered + most * (size_t)r,
               sample * (size_t)(to - from));
    }
    return DL_OK;
}

static dl_status run_all(predictor *p) {
    const dl_network *network = p->session->network;
    for (int o = 0; o < p->outputs; o++)
        dl_exec_bind_output(p->exec, dl_exec_output(p->exec, dl_network_output_name(network, o)),
                            p->here[o]);
    for (int64_t seen = 0; seen < p->samples;) {
        int64_t batch = 0;
        dl_status status = dl_batches_begin(&p->batches);
        DL_TRY(dl_comm_agree(p->session->comm, status));
        DL_TRY(dl_exec_collect(p->exec, true, &batch));
        for (int o = 0; o < p->outputs; o++)
            DL_TRY(collect(p, o, batch, seen));
        seen += batch;
    }
    return DL_OK;
}

/* NPY version 1.0: magic, header padded to 64 bytes, float32 row by row. */
static dl_status write_npy(const char *path, const dl_type *type, int64_t samples,
                           const float *data) {
    char header[256], shape[160] = "";
    snprintf(shape, sizeof shape, "%" PRId64 ",", samples);
    for (int i = 1; i < type->rank; i++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), " %" PRId64 ",",
                 type->dim[i]);
    int length = snprintf(header, sizeof header,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    int padded = (10 + length + 1 + 63) / 64 * 64 - 10;
    FILE *file = fopen(path, "wb");
    if (!file)
        return dl_fail(DL_NO_WRITE, "cannot write '%s': %m", path);
    fwrite("\x93NUMPY\x01\x00", 1, 8, file);
    fputc(padded & 0xff, file);
    fputc(padded >> 8, file);
    fprintf(file, "%-*s\n", padded - 1, header);
    size_t count = (size_t)(dl_type_count(type) / type->dim[0] * samples);
    bool written = fwrite(data, sizeof *data, count, file) == count;
    written = fclose(file) == 0 && written;
    return written ? DL_OK : dl_fail(DL_NO_WRITE, "cannot write '%s': %m", path);
}

/* "NAME.npy" for one output; "NAME-LAYER.npy" for each of several. */
static dl_status write_output(const predictor *p, int output, const char *path) {
    const dl_network *network = p->session->network;
    dl_type type = dl_network_output_type(network, output);
    if (p->outputs == 1)
        return write_npy(path, &type, p->samples, p->whole[output]);
    char full[DL_PATH_MAX];
    const char *end = strrchr(path, '.');
    int stem = end && !strchr(end, '/') ? (int)(end - path) : (int)strlen(path);
    snprintf(full, sizeof full, "%.*s-%s%s", stem, path, dl_network_output_name(network, output),
             path + stem);
    return write_npy(full, &type, p->samples, p->whole[output]);
}

/* A row a sample: its number, its class where an output names classes, the values. */
static void print_outputs(const predictor *p) {
    for (int o = 0; o < p->outputs; o++) {
        int64_t width = p->width[o];
        printf("# %s\n# sample%s values\n", dl_network_output_name(p->session->network, o),
               width > 1 ? " largest" : "");
        for (int64_t i = 0; i < p->samples; i++) {
            const float *row = p->whole[o] + i * width;
            int64_t best = 0;
            for (int64_t k = 1; k < width; k++)
                best = row[k] > row[best] ? k : best;
            printf("%" PRId64, i);
            if (width > 1)
                printf(" %" PRId64, best);
            for (int64_t k = 0; k < width; k++)
                printf(" %.6g", (double)row[k]);
            putchar('\n');
        }
    }
}

static dl_status predict(dl_session *session, const dl_options *options) {
    predictor p = {.session = session};
    dl_status status = open_program(&p);
    if (status == DL_OK)
        status = run_all(&p);
    if (status == DL_OK && session->comm->rank == 0 && options->output)
        for (int o = 0; o < p.outputs && status == DL_OK; o++)
            status = write_output(&p, o, options->output);
    else if (status == DL_OK && session->comm->rank == 0)
        print_outputs(&p);
    close_program(&p);
    return dl_comm_agree(session->comm, status);
}

dl_status dl_verb_predict(const dl_options *options, dl_comm *comm, int threads) {
    char *real = realpath(options->argument[1], NULL);
    dl_status status = real ? DL_OK : dl_fail(DL_NO_INPUT, "no file '%s'", options->argument[1]);
    dl_finished run;
    dl_job *held = NULL;
    DL_GOTO(done, dl_comm_agree(comm, status));
    DL_GOTO(done, dl_finished_open(&run, options, comm, threads));
    status = dl_comm_agree(comm, dl_predict_open_input(&run.session, real, &held));
    if (status == DL_OK)
        status = predict(&run.session, options);
    dl_finished_close(&run);
done:
    dl_job_close(held);
    free(real);
    return status;
}
