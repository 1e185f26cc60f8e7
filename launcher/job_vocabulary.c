/* Checking the rows themselves, and nothing of a job: a defect of a row is found by a test that
 * calls this, not by a user. See job.h. */
#include <string.h>

#include "launcher/job_inner.h"

static dl_status check_row(dl_job *job, const char *who, const dl_key *key) {
    dl_form *forms = dl_form_parse(job, key->type);
    if (!forms)
        return dl_fail_prefix(DL_INTERNAL, "%s, key '%s': ", who, key->name);
    if (!key->help || !*key->help)
        return dl_fail(DL_INTERNAL, "%s, key '%s' has no help", who, key->name);
    if (!key->value || !*key->value)
        return DL_OK;
    dl_node place = {.kind = DL_NODE_MAP, .file = who};
    int before = job->errors;
    if (!dl_job_default(job, key, &place))
        return dl_fail_prefix(DL_INTERNAL, "%s, key '%s': ", who, key->name);
    if (job->errors > before)
        return dl_fail(DL_INTERNAL, "%s, key '%s': the default '%s' is not of its type '%s'", who,
                       key->name, key->value, key->type);
    return DL_OK;
}

static dl_status check_row_list(dl_job *job, const char *who, const dl_key *keys, int count,
                                const char *main) {
    if (main && !dl_key_of(keys, count, main))
        return dl_fail(DL_INTERNAL, "%s: its main key '%s' is no row", who, main);
    for (int i = 0; i < count; i++) {
        if (dl_key_of(keys, i, keys[i].name))
            return dl_fail(DL_INTERNAL, "%s: two rows '%s'", who, keys[i].name);
        DL_TRY(check_row(job, who, &keys[i]));
    }
    return DL_OK;
}

static dl_status check_all_rows(dl_job *job, const dl_vocabulary *v) {
    DL_TRY(check_row_list(job, "the root", v->root->keys, v->root->key_count, v->root->main));
    for (int i = 0; i < v->table_count; i++)
        DL_TRY(check_row_list(job, v->tables[i]->name, v->tables[i]->keys, v->tables[i]->key_count,
                              v->tables[i]->main));
    for (int i = 0; i < v->family_count; i++) {
        const dl_family *family = v->families[i];
        DL_TRY(check_row_list(job, family->name, family->siblings, family->sibling_count, NULL));
        for (int j = 0; j < family->word_count; j++) {
            const dl_word *word = &family->words[j];
            if (dl_word_of(family, word->name) != word ||
                dl_key_of(family->siblings, family->sibling_count, word->name))
                return dl_fail(DL_INTERNAL, "%s: two rows '%s'", family->name, word->name);
            if (!word->help || !*word->help)
                return dl_fail(DL_INTERNAL, "%s '%s' has no help", family->name, word->name);
            DL_TRY(check_row_list(job, word->name, word->keys, word->key_count, word->main));
        }
    }
    return DL_OK;
}

dl_status dl_vocabulary_check(const dl_vocabulary *vocabulary) {
    dl_job *job = dl_alloc(sizeof *job);
    if (!job)
        return dl_fail_memory(sizeof *job);
    job->vocabulary = vocabulary;
    job->file = "rows";
    dl_status status = check_all_rows(job, vocabulary);
    dl_job_close(job);
    return status;
}
