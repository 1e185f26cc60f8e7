/* Words of error messages: types in plain English, and where a word that is not known here belongs
 * (Keras's other spellings and homes, the same word elsewhere in the language, the nearest word).
 */
#include <math.h>
#include <string.h>

#include "launcher/job_inner.h"

enum { NAMES = 512, LISTED = 12 };

static const char *joined(dl_job *job, const char *before, const char *between, const char *text) {
    char *all = dl_arena_format(&job->arena, "%s%s%s", before, *before ? between : "", text);
    if (!all)
        job->out_of_memory = true;
    return all ? all : "";
}

const char *dl_job_a(dl_job *job, const char *noun) {
    return joined(job, strchr("aeiou", *noun) ? "an" : "a", " ", noun);
}

static const char *bounds(dl_job *job, const dl_form *form) {
    char *text = NULL;
    if (isfinite(form->low) && isfinite(form->high))
        text = dl_arena_format(&job->arena, " from %.12g to %.12g", form->low, form->high);
    else if (isfinite(form->low))
        text = dl_arena_format(&job->arena, " of at least %.12g", form->low);
    else if (isfinite(form->high))
        text = dl_arena_format(&job->arena, " of at most %.12g", form->high);
    return text ? text : "";
}

/* a, b or c */
static const char *words_text(dl_job *job, const dl_form *form) {
    const char *text = form->words[0];
    for (int i = 1; i < form->word_count; i++)
        text = joined(job, text, i == form->word_count - 1 ? " or " : ", ", form->words[i]);
    return text;
}

static const char *one_text(dl_job *job, const dl_form *form) {
    switch (form->kind) {
    case DL_FORM_INT:
        return joined(job, "a whole number", "", bounds(job, form));
    case DL_FORM_NUMBER:
        return joined(job, "a number", "", bounds(job, form));
    case DL_FORM_BOOL:
        return "true or false";
    case DL_FORM_WORD:
        return words_text(job, form);
    case DL_FORM_IDENTIFIER:
        return "a name (letters, digits and _)";
    case DL_FORM_NAME:
        return "a name (letters, digits and _, with dots into a model)";
    case DL_FORM_LABEL:
        return "a name (letters, digits, '_', '-' and '.')";
    case DL_FORM_TEXT:
        return "text";
    case DL_FORM_PATH:
        return "a path";
    case DL_FORM_PATTERN:
        return "a pattern";
    case DL_FORM_EXPR:
        return "an expression in quotes";
    case DL_FORM_QUANTITY:
        return joined(job, "a number with its unit:", " ", words_text(job, form));
    case DL_FORM_AMOUNT:
        return "a count (1000) or a share (0.2)";
    case DL_FORM_RANGE:
        return "a range (2..31, or 5.. for an open end)";
    case DL_FORM_ITEM:
        return dl_job_a(job, form->family->name);
    case DL_FORM_ITEMS:
        return joined(job, "a list of", " ", form->family->plural);
    case DL_FORM_KEYS:
        return joined(job, "{KEY: value, ...}, see dltrain help", " ", form->table->name);
    case DL_FORM_LIST:
        return joined(job, "a list, each entry", " ", dl_form_text(job, form->element));
    case DL_FORM_MAP:
        return joined(job, "{NAME: value, ...}, each value", " ", dl_form_text(job, form->element));
    default:
        return "a value";
    }
}

const char *dl_form_text(dl_job *job, const dl_form *form) {
    const char *text = one_text(job, form);
    for (form = form->next; form; form = form->next)
        text = joined(job, text, ", or ", one_text(job, form));
    return text;
}

#define NOT_VARIED "images are not varied at random yet; leave it out"

/* job.md 2.9. '@' stands for the value that was given; `where` is a family or table, "" anywhere.
 */
static const struct {
    const char *where, *key, *text;
} keras[] = {
    {"layer", "trainable", "here it is the top-level key: freeze: [NAME]"},
    {"layer", "input_shape", "the data say the shape, else begin with a layer: input"},
    {"layer", "batch_input_shape", "the data say the shape, else begin with a layer: input"},
    {"layer", "input_dim", "the data say the shape, else begin with a layer: input"},
    {"layer", "input_length", "the data say the length; leave it out"},
    {"layer", "negative_slope", "write alpha: @"},
    {"activation", "negative_slope", "write alpha: @"},
    {"", "validation_split", "here it is a key of data: validation: {last: @}"},
    {"", "validation_steps", "every sample of the part is measured; leave it out"},
    {"", "validation_data", "here it is a key of data: validation: {...}"},
    {"", "lr", "write learning_rate: @"},
    {"optimizer", "decay",
     "write schedule: {inverse_time_decay: {decay_rate: @, decay_steps: 1 step}}"},
    {"", "nb_epoch", "here it is the top-level key: epochs: @"},
    {"", "rescale", "here it is a step of data.prepare: - scale: @"},
    {"", "target_size", "images are not resized yet; give them in the size that the model reads"},
    {"", "class_mode", "labels come from data.classes and the step one_hot; leave it out"},
    {"", "rotation_range", NOT_VARIED},
    {"", "width_shift_range", NOT_VARIED},
    {"", "height_shift_range", NOT_VARIED},
    {"", "shear_range", NOT_VARIED},
    {"", "zoom_range", NOT_VARIED},
    {"", "horizontal_flip", NOT_VARIED},
    {"", "vertical_flip", NOT_VARIED},
    {"", "model_checkpoint", "here it is the top-level key: checkpoint: {best: val_loss}"},
    {"", "save_best_only", "here it is the top-level key: checkpoint: {best: val_loss}"},
    {"", "csv_logger", "log.csv is always written; leave it out"},
    {"", "compile", "its arguments are top-level keys: loss, optimizer, metrics"},
    {"", "fit", "its arguments are top-level keys: batch_size, epochs, class_weight, callbacks"},
    {"", "mean_squared_error", "write mse"},
    {"", "mean_absolute_error", "write mae"},
    {"", "mean_absolute_percentage_error", "write mape"},
    {"", "mean_squared_logarithmic_error", "write msle"},
    {"", "kullback_leibler_divergence", "write kl_divergence"},
    {"", "acc", "write accuracy"},
    {"", "val_acc", "write val_accuracy"},
};

/* The hint for a key with this value, or NULL. */
const char *dl_job_keras(dl_job *job, const char *where, const char *key, const dl_node *value) {
    for (int i = 0; i < DL_COUNT(keras); i++) {
        if (strcmp(keras[i].key, key) != 0 ||
            (*keras[i].where && strcmp(keras[i].where, where) != 0))
            continue;
        const char *text = keras[i].text, *at = strchr(text, '@');
        if (!at)
            return text;
        bool plain = value && value->kind == DL_NODE_SCALAR && *value->text;
        char *filled = dl_arena_format(&job->arena, "%.*s%s%s", (int)(at - text), text,
                                       plain ? dl_job_clip(job, value->text) : "...", at + 1);
        return filled ? filled : text;
    }
    return NULL;
}

typedef struct names {
    const char *list[NAMES];
    int count;
} names;

static void add_keys(names *n, const dl_key *keys, int count) {
    for (int i = 0; i < count && n->count < NAMES; i++)
        n->list[n->count++] = keys[i].name;
}

/* "did you mean 'x'?", else what there is. */
static const char *nearest_or_list(dl_job *job, const char *key, const names *n, const char *help) {
    const char *near = dl_nearest(key, n->list, n->count), *text = "";
    if (near) {
        char *asked = dl_arena_format(&job->arena, "did you mean '%s'?", near);
        return asked ? asked : "";
    }
    for (int i = 0; i < n->count && i < LISTED; i++)
        text = joined(job, text, ", ", n->list[i]);
    if (n->count > LISTED)
        text = joined(job, text, ", ", "...");
    char *listed =
        n->count == 0 ? dl_arena_format(&job->arena, "leave it out")
                      : dl_arena_format(&job->arena, "there %s %s (dltrain help%s%s)",
                                        n->count == 1 ? "is" : "are", text, *help ? " " : "", help);
    return listed ? listed : "";
}

/* A row of that name at the top level or in a table, or NULL. */
static const char *home_of_key(dl_job *job, const char *key, const dl_table *but) {
    const dl_vocabulary *v = job->vocabulary;
    if (v->root != but && dl_key_of(v->root->keys, v->root->key_count, key))
        return "it is a key of the top level";
    for (int i = 0; i < v->table_count; i++)
        if (v->tables[i] != but && dl_key_of(v->tables[i]->keys, v->tables[i]->key_count, key))
            return joined(job, "it is a key of", " ", v->tables[i]->name);
    return NULL;
}

const char *dl_job_no_argument(dl_job *job, const dl_family *family, const dl_word *word,
                               const dl_node *key) {
    names n = {.count = 0};
    const char *hint = dl_job_keras(job, family->name, key->key, key);
    if (hint)
        return hint;
    add_keys(&n, word->keys, word->key_count);
    if (!dl_nearest(key->key, n.list, n.count) && (hint = home_of_key(job, key->key, NULL)))
        return hint;
    return nearest_or_list(job, key->key, &n, word->name);
}

const char *dl_job_no_key(dl_job *job, const dl_table *table, const dl_node *key) {
    names n = {.count = 0};
    const char *hint = dl_job_keras(job, table->name, key->key, key);
    if (hint)
        return hint;
    hint = home_of_key(job, key->key, table);
    if (hint)
        return hint;
    add_keys(&n, table->keys, table->key_count);
    return nearest_or_list(job, key->key, &n, table == job->vocabulary->root ? "" : table->name);
}

const char *dl_job_no_word(dl_job *job, const dl_family *family, const char *word,
                           const dl_node *value) {
    const dl_vocabulary *v = job->vocabulary;
    names n = {.count = 0};
    char *text = NULL;
    const char *hint = dl_job_keras(job, family->name, word, value);
    if (hint)
        return hint;
    for (int i = 0; i < family->word_count && n.count < NAMES; i++)
        n.list[n.count++] = family->words[i].name;
    const char *near = dl_nearest(word, n.list, n.count);
    if (near) {
        text = dl_arena_format(&job->arena, "did you mean '%s'? (dltrain help %s)", near,
                               family->plural);
        return text ? text : "";
    }
    for (int i = 0; i < v->family_count; i++)
        if (v->families[i] != family && dl_word_of(v->families[i], word))
            return joined(job, "it is", " ", dl_job_a(job, v->families[i]->name));
    return nearest_or_list(job, word, &n, family->plural);
}

const char *dl_job_no_sibling(dl_job *job, const dl_family *family, const dl_word *word,
                              const dl_node *key) {
    names n = {.count = 0};
    if (dl_key_of(word->keys, word->key_count, key->key)) {
        char *text = dl_arena_format(&job->arena, "it belongs inside: %s: {%s: ...}", word->name,
                                     dl_job_clip(job, key->key));
        return text ? text : "";
    }
    const char *hint = dl_job_keras(job, family->name, key->key, key);
    if (hint)
        return hint;
    add_keys(&n, family->siblings, family->sibling_count);
    return nearest_or_list(job, key->key, &n, family->plural);
}

static const dl_form *quantity_in(const dl_form *forms) {
    const dl_form *quantity = NULL;
    for (; forms; forms = forms->next)
        if (forms->kind == DL_FORM_QUANTITY)
            quantity = forms;
    return quantity;
}

static bool plain_number(const dl_node *node) {
    static const dl_form number = {.kind = DL_FORM_NUMBER, .low = -1.7e308, .high = 1.7e308};
    dl_node copy = *node;
    return dl_form_read(&number, &copy);
}

/* "'500 steps', '500 epochs' or '500 s'" */
static const char *with_units(dl_job *job, const char *number, const dl_form *form) {
    const char *text = "";
    for (int i = 0; i < form->word_count && text; i++)
        text = dl_arena_format(&job->arena, "%s%s'%s %s'", text,
                               i == 0                      ? ""
                               : i == form->word_count - 1 ? " or "
                                                           : ", ",
                               number, form->words[i]);
    return text ? text : "";
}

/* Few words are all told: the nearest of auto, cpu and cuda may be the opposite of what is meant.
 */
static const char *nearest_choice(const dl_form *forms, const char *text) {
    enum { FEW = 4 };
    for (; forms; forms = forms->next) {
        const char *near = NULL;
        if (forms->kind == DL_FORM_WORD && forms->word_count > FEW)
            near = dl_nearest(text, forms->words, forms->word_count);
        else if (forms->kind == DL_FORM_ITEM)
            near = dl_word_nearest(forms->family, text);
        if (near)
            return near;
    }
    return NULL;
}

void dl_job_wrong_value(dl_job *job, const dl_form *forms, const dl_node *raw, const char *label) {
    const char *key = dl_job_clip(job, label);
    if (dl_node_is_empty(raw)) {
        dl_job_error_key(job, raw, "'%s' has no value; write %s, or leave the %s out", key,
                         dl_form_text(job, forms), raw->key ? "key" : "entry");
        return;
    }
    if (raw->kind != DL_NODE_SCALAR) {
        dl_job_error_at(job, raw, "'%s' cannot be %s; write %s", key,
                        raw->kind == DL_NODE_LIST ? "a list" : "a map", dl_form_text(job, forms));
        return;
    }
    const char *text = dl_job_clip(job, raw->text);
    const dl_form *quantity = quantity_in(forms);
    if (quantity && plain_number(raw)) {
        dl_job_error_at(job, raw, "'%s' needs a unit; write %s", key,
                        with_units(job, text, quantity));
        return;
    }
    const char *near = nearest_choice(forms, raw->text);
    if (near)
        dl_job_error_at(job, raw, "'%s' cannot be '%s'; did you mean '%s'?", key, text, near);
    else
        dl_job_error_at(job, raw, "'%s' cannot be '%s'; write %s", key, text,
                        dl_form_text(job, forms));
}
