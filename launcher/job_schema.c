/* The rows as a JSON Schema (2020-12): one definition for each table and each family. An aid for
 * editors, not the check: it takes what the check may refuse, and it knows nothing of ${NAME}. */
#include <math.h>
#include <string.h>

#include "launcher/job_inner.h"

typedef struct schema {
    dl_job *job;
    FILE *out;
} schema;

static void put_text(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p < ' ')
            fprintf(out, "\\u%04x", *p);
        else
            fputc(*p, out);
    }
    fputc('"', out);
}

static void put_forms(schema *s, const dl_form *forms);

static void put_bounds(FILE *out, const dl_form *form) {
    if (isfinite(form->low))
        fprintf(out, ",\"minimum\":%.17g", form->low);
    if (isfinite(form->high))
        fprintf(out, ",\"maximum\":%.17g", form->high);
}

static void put_form(schema *s, const dl_form *form) {
    FILE *out = s->out;
    switch (form->kind) {
    case DL_FORM_INT:
        fprintf(out, "{\"type\":\"integer\"");
        put_bounds(out, form);
        fprintf(out, "}");
        break;
    case DL_FORM_NUMBER:
        fprintf(out, "{\"anyOf\":[{\"type\":\"number\"");
        put_bounds(out, form);
        fprintf(out, "},{\"type\":\"string\",\"pattern\":\"^[-+0-9.eE]+(/[0-9.eE]+)?$\"}]}");
        break;
    case DL_FORM_BOOL:
        fprintf(out, "{\"type\":\"boolean\"}");
        break;
    case DL_FORM_WORD:
        fprintf(out, "{\"enum\":[");
        for (int i = 0; i < form->word_count; i++) {
            fprintf(out, i ? "," : "");
            put_text(out, form->words[i]);
        }
        fprintf(out, "]}");
        break;
    case DL_FORM_QUANTITY:
    case DL_FORM_RANGE:
    case DL_FORM_EXPR:
    case DL_FORM_PATH:
    case DL_FORM_PATTERN:
    case DL_FORM_NAME:
    case DL_FORM_IDENTIFIER:
    case DL_FORM_LABEL:
        fprintf(out, "{\"type\":\"string\"}");
        break;
    case DL_FORM_TEXT:
    case DL_FORM_AMOUNT:
        fprintf(out, "{\"type\":[\"string\",\"number\",\"boolean\"]}");
        break;
    case DL_FORM_ITEM:
        fprintf(out, "{\"$ref\":\"#/$defs/item_%s\"}", form->family->name);
        break;
    case DL_FORM_ITEMS:
        fprintf(out, "{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/item_%s\"}}",
                form->family->name);
        break;
    case DL_FORM_KEYS:
        fprintf(out, "{\"$ref\":\"#/$defs/keys_%s\"}", form->table->name);
        break;
    case DL_FORM_LIST:
        fprintf(out, "{\"type\":\"array\",\"items\":");
        put_forms(s, form->element);
        fprintf(out, "}");
        break;
    case DL_FORM_MAP:
        fprintf(out, "{\"type\":\"object\",\"additionalProperties\":");
        put_forms(s, form->element);
        fprintf(out, "}");
        break;
    default:
        fprintf(out, "true");
    }
}

static void put_forms(schema *s, const dl_form *forms) {
    if (forms && !forms->next) {
        put_form(s, forms);
        return;
    }
    fprintf(s->out, "{\"anyOf\":[");
    for (const dl_form *form = forms; form; form = form->next) {
        put_form(s, form);
        fprintf(s->out, form->next ? "," : "");
    }
    fprintf(s->out, "]}");
}

/* "key": {...}, ... without braces around. */
static dl_status put_properties(schema *s, const dl_key *keys, int count, bool more) {
    for (int i = 0; i < count; i++) {
        const dl_form *forms = dl_form_parse(s->job, keys[i].type);
        if (!forms)
            return s->job->out_of_memory ? DL_NO_MEMORY : DL_INTERNAL;
        fprintf(s->out, more || i ? "," : "");
        put_text(s->out, keys[i].name);
        fprintf(s->out, ":{\"description\":");
        put_text(s->out, keys[i].help);
        fprintf(s->out, ",\"allOf\":[");
        put_forms(s, forms);
        fprintf(s->out, "]}");
    }
    return DL_OK;
}

static dl_status put_object(schema *s, const dl_key *keys, int count) {
    fprintf(s->out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    DL_TRY(put_properties(s, keys, count, false));
    fprintf(s->out, "}}");
    return DL_OK;
}

static dl_status put_table(schema *s, const dl_table *table) {
    if (!table->main)
        return put_object(s, table->keys, table->key_count);
    fprintf(s->out, "{\"anyOf\":[");
    put_forms(s,
              dl_form_parse(s->job, dl_key_of(table->keys, table->key_count, table->main)->type));
    fprintf(s->out, ",");
    DL_TRY(put_object(s, table->keys, table->key_count));
    fprintf(s->out, "]}");
    return DL_OK;
}

/* word, {word: main}, {word: {arguments}}, with siblings beside. */
static dl_status put_family(schema *s, const dl_family *family) {
    fprintf(s->out, "{\"anyOf\":[{\"enum\":[");
    for (int i = 0; i < family->word_count; i++) {
        fprintf(s->out, i ? "," : "");
        put_text(s->out, family->words[i].name);
    }
    fprintf(s->out, "]},{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (int i = 0; i < family->word_count; i++) {
        const dl_word *word = &family->words[i];
        const dl_key *main = word->main ? dl_key_of(word->keys, word->key_count, word->main) : NULL;
        fprintf(s->out, i ? "," : "");
        put_text(s->out, word->name);
        fprintf(s->out, ":{\"description\":");
        put_text(s->out, word->help);
        fprintf(s->out, ",\"anyOf\":[{\"type\":\"null\"},");
        if (main) {
            put_forms(s, dl_form_parse(s->job, main->type));
            fprintf(s->out, ",");
        }
        DL_TRY(put_object(s, word->keys, word->key_count));
        fprintf(s->out, "]}");
    }
    DL_TRY(put_properties(s, family->siblings, family->sibling_count, family->word_count > 0));
    fprintf(s->out, "}}]}");
    return DL_OK;
}

static dl_status put_all(schema *s, const dl_vocabulary *v) {
    fprintf(s->out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
                    "\"title\":\"dltrain job\",\"$defs\":{");
    for (int i = 0; i < v->table_count; i++) {
        fprintf(s->out, "%s\"keys_%s\":", i ? ",\n" : "\n", v->tables[i]->name);
        DL_TRY(put_table(s, v->tables[i]));
    }
    for (int i = 0; i < v->family_count; i++) {
        fprintf(s->out, "%s\"item_%s\":", i || v->table_count ? ",\n" : "\n", v->families[i]->name);
        DL_TRY(put_family(s, v->families[i]));
    }
    fprintf(s->out, "},\n\"allOf\":[");
    DL_TRY(put_table(s, v->root));
    fprintf(s->out, "]}\n");
    return DL_OK;
}

dl_status dl_job_schema(const dl_vocabulary *vocabulary, FILE *out) {
    DL_TRY(dl_vocabulary_check(vocabulary)); /* then every type and main key is sound */
    dl_job *job = dl_alloc(sizeof *job);
    if (!job)
        return dl_fail_memory(sizeof *job);
    job->vocabulary = vocabulary;
    schema s = {.job = job, .out = out};
    dl_status status = put_all(&s, vocabulary);
    dl_job_close(job);
    return status;
}
