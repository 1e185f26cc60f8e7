/* `dltrain help`: the rows as text, and as a JSON Schema for editors. See job.h. */
#include <string.h>

#include "launcher/job_inner.h"
#include "runtime/expr/expr.h"

enum { NAMES = 1024 };

/* Of the help its first line. */
static void print_row(FILE *out, const char *name, const char *note, const char *help) {
    fprintf(out, "  %-24s %.*s%s%s\n", name, (int)strcspn(help, "\n"), help,
            note && *note ? "  " : "", note ? note : "");
}

/* "required", "= 0.9", or nothing for what is absent unless given. */
static void print_keys(FILE *out, const dl_key *keys, int count, const char *main) {
    for (int i = 0; i < count; i++) {
        char note[256] = "";
        if (!keys[i].value)
            snprintf(note, sizeof note, "(%s; required)", keys[i].type);
        else if (!*keys[i].value)
            snprintf(note, sizeof note, "(%s)", keys[i].type);
        else
            snprintf(note, sizeof note, "(%s; default %s)", keys[i].type, keys[i].value);
        char name[64];
        snprintf(name, sizeof name, "%s%s", keys[i].name,
                 main && strcmp(main, keys[i].name) == 0 ? " *" : "");
        print_row(out, name, note, keys[i].help);
    }
}

static void print_table(FILE *out, const dl_table *table) {
    fprintf(out, "%s\n", table->name);
    print_keys(out, table->keys, table->key_count, table->main);
    if (table->main)
        fprintf(out, "* a lone value sets it: %s: VALUE\n", table->name);
}

static void print_siblings(FILE *out, const dl_family *family) {
    if (family->sibling_count == 0)
        return;
    fprintf(out, "beside a word: - {WORD: {...}, %s: ...}\n", family->siblings[0].name);
    print_keys(out, family->siblings, family->sibling_count, NULL);
}

static void print_family(FILE *out, const dl_family *family) {
    fprintf(out, "%s\n", family->plural);
    for (int i = 0; i < family->word_count; i++)
        print_row(out, family->words[i].name, NULL, family->words[i].help);
    print_siblings(out, family);
    fprintf(out, "dltrain help WORD tells the arguments of one.\n");
}

/* "abs(a), sign(a), ...", whatever the expression is of. */
static void print_functions(FILE *out) {
    static const char *const arguments[] = {"", "a", "a, b", "a, b, c"};
    const char *name;
    int arity = 0, column = 0;
    fprintf(out, "functions of every expression, of each element\n");
    for (int i = 0; (name = dl_expr_function_name(i, &arity)); i++) {
        column = column > 80 ? 0 : column;
        column += fprintf(out, "%s%s(%s)",
                          column ? ", "
                          : i    ? ",\n  "
                                 : "  ",
                          name, arguments[arity]);
    }
    putc('\n', out);
}

static void print_word(FILE *out, const dl_family *family, const dl_word *word) {
    fprintf(out, "%s %s: %s\n", family->name, word->name, word->help);
    print_keys(out, word->keys, word->key_count, word->main);
    if (word->main)
        fprintf(out, "* a lone value sets it: %s: VALUE\n", word->name);
    print_siblings(out, family);
}

static void print_key(FILE *out, const char *where, const dl_key *key) {
    int line = (int)strcspn(key->help, "\n");
    fprintf(out, "%s%s%s: %.*s\n  type: %s\n", where, *where ? "." : "", key->name, line, key->help,
            key->type);
    if (!key->value)
        fprintf(out, "  required\n");
    else
        fprintf(out, "  default: %s\n", *key->value ? key->value : "absent unless given");
    if (key->help[line])
        fprintf(out, "%s\n", key->help + line + 1);
}

/* The first table that the type of a key names: data of `keys data`, cut of `item source or keys
 * cut`. */
static const dl_table *table_in(dl_job *job, const dl_key *key) {
    for (const dl_form *form = dl_form_parse(job, key->type); form; form = form->next)
        if (form->kind == DL_FORM_KEYS)
            return form->table;
    return NULL;
}

/* A key by its dotted name: batch_size, data.shuffle, data.test.random. */
static bool help_key(dl_job *job, const char *what, FILE *out) {
    char copy[256], where[256] = "";
    const dl_table *table = job->vocabulary->root;
    snprintf(copy, sizeof copy, "%s", what);
    for (char *rest = copy, *one; (one = strsep(&rest, "."));) {
        const dl_key *key = table ? dl_key_of(table->keys, table->key_count, one) : NULL;
        if (!key)
            return false;
        table = table_in(job, key);
        if (!rest) {
            print_key(out, where, key);
            if (table)
                print_table(out, table);
            return true;
        }
        size_t used = strlen(where);
        snprintf(where + used, sizeof where - used, "%s%s", used ? "." : "", one);
    }
    return false;
}

static bool help_word(const dl_vocabulary *v, const char *what, FILE *out) {
    bool found = false;
    for (int i = 0; i < v->family_count; i++) {
        const dl_word *word = dl_word_of(v->families[i], what);
        if (word)
            print_word(out, v->families[i], word);
        found |= word != NULL;
    }
    return found;
}

static bool help_family(const dl_vocabulary *v, const char *what, FILE *out) {
    for (int i = 0; i < v->family_count; i++)
        if (strcmp(v->families[i]->name, what) == 0 || strcmp(v->families[i]->plural, what) == 0) {
            print_family(out, v->families[i]);
            return true;
        }
    return false;
}

static void help_all(const dl_vocabulary *v, FILE *out) {
    fprintf(out, "The keys of a job:\n");
    for (int i = 0; i < v->root->key_count; i++)
        print_row(out, v->root->keys[i].name, NULL, v->root->keys[i].help);
    fprintf(out, "Words, by kind:\n ");
    for (int i = 0; i < v->family_count; i++)
        fprintf(out, " %s", v->families[i]->plural);
    fprintf(out, "\ndltrain help KEY, dltrain help KIND and dltrain help WORD tell more.\n");
}

static void add(const char **names, int *count, const char *name) {
    if (*count < NAMES)
        names[(*count)++] = name;
}

static dl_status not_found(const dl_vocabulary *v, const char *what) {
    const char *names[NAMES];
    int count = 0;
    for (int i = 0; i < v->root->key_count; i++)
        add(names, &count, v->root->keys[i].name);
    for (int i = 0; i < v->family_count; i++) {
        add(names, &count, v->families[i]->plural);
        for (int j = 0; j < v->families[i]->word_count; j++)
            add(names, &count, v->families[i]->words[j].name);
    }
    for (int i = 0; i < v->table_count; i++)
        for (int j = 0; j < v->tables[i]->key_count; j++)
            add(names, &count, v->tables[i]->keys[j].name);
    const char *near = dl_nearest(what, names, count);
    if (near)
        return dl_fail(DL_BAD_JOB, "no key or word '%.80s'; did you mean '%s'?", what, near);
    return dl_fail(DL_BAD_JOB, "no key or word '%.80s'; dltrain help lists them", what);
}

dl_status dl_job_help(const dl_vocabulary *vocabulary, const char *what, FILE *out) {
    if (!what || !*what) {
        help_all(vocabulary, out);
        return DL_OK;
    }
    dl_job *job = dl_alloc(sizeof *job); /* for the type texts */
    if (!job)
        return dl_fail_memory(sizeof *job);
    job->vocabulary = vocabulary;
    bool found = help_family(vocabulary, what, out);
    found |= help_key(job, what, out);
    found |= help_word(vocabulary, what, out);
    if (found && strcmp(what, "expr") == 0)
        print_functions(out);
    for (int i = 0; !found && i < vocabulary->table_count; i++) {
        const dl_table *table = vocabulary->tables[i];
        const dl_key *key = dl_key_of(table->keys, table->key_count, what);
        if (strcmp(table->name, what) == 0)
            print_table(out, table);
        else if (key)
            print_key(out, table->name, key);
        found = key || strcmp(table->name, what) == 0;
    }
    dl_job_close(job);
    return found ? DL_OK : not_found(vocabulary, what);
}
